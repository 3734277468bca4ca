"""How fast this very GPU trains: the training step itself, timed at the sizes that are asked about.

The step is the one that a training takes, recorded as a CUDA graph where that can be, in the
precision that was asked for, with dropout.
"""

from __future__ import annotations

import itertools
import math
import time

import torch

from charrnn.config import Settings
from charrnn.machine import backends, runtime
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.text.building import Survey
from charrnn.training.graph import make_step
from charrnn.training.optim import make_optimizer
from charrnn.training.sizing import Card, Size

LEAST_STEPS = 4
MEASURED_S = 0.1  # of each size
MOST_EMBEDDING = 64
DROPOUT = 0.1  # where nobody said; drawing takes time


def card_for(settings: Settings, survey: Survey) -> Card | None:
    """Return the GPU of these settings to the recipe; None where they run on no CUDA device."""
    if runtime.choose_device(settings.runtime.device).type != "cuda":
        return None
    line_chars = None
    if survey.mode == "lines":
        census = survey.censuses["train"]
        line_chars = max(1, math.ceil(census.chars / max(1, census.lines)))
    device = runtime.prepare(settings.runtime)
    return Card(MeasuredSpeed(settings, len(survey.vocabulary), survey.mode, device), line_chars)


class MeasuredSpeed:
    """Characters a second of training at a size, measured once for each."""

    def __init__(
        self, settings: Settings, vocabulary_size: int, mode: str, device: torch.device
    ) -> None:
        self._settings = settings
        self._vocabulary_size = vocabulary_size
        self._mode = mode
        self._device = device
        self._known: dict[Size, float] = {}

    def __call__(self, size: Size) -> float:
        """Return the speed at a size; 0.0 where the memory is too small for it."""
        if size not in self._known:
            try:
                self._known[size] = self._measured(size)
            except torch.OutOfMemoryError:
                self._known[size] = 0.0
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        return self._known[size]

    def _measured(self, size: Size) -> float:
        # 1. The training that would be, but for its text
        asked = self._settings
        model_settings = asked.model
        embedding = model_settings.embedding_size or min(MOST_EMBEDDING, self._vocabulary_size)
        if model_settings.tie_weights:
            embedding = size.hidden_size
        dropout = DROPOUT if model_settings.dropout is None else model_settings.dropout
        is_deep = size.num_layers > 1 and model_settings.skip == "none"
        settings = asked.with_values(
            "model",
            num_layers=size.num_layers,
            hidden_size=size.hidden_size,
            embedding_size=embedding,
            dropout=dropout,
            weight_drop=model_settings.weight_drop or 0.0,
            skip="dense" if is_deep else model_settings.skip,
        )
        settings = settings.with_values("training", batch_size=size.lanes, seq_length=size.length)
        backend = backends.expected_backend(settings, self._device)
        precision = backends.precision_of(settings.runtime, backend)
        with torch.random.fork_rng(devices=[]):
            model = CharModel(settings.model, self._vocabulary_size, backend, precision)
        model.to(self._device).train()
        optimizer = make_optimizer(model, settings.training)
        step = make_step(model, optimizer, settings, self._mode, self._device, lambda _: None)
        shape = (size.lanes, size.length)
        ids = (torch.arange(math.prod(shape)) % self._vocabulary_size).reshape(shape)
        batch = Batch(ids, ids, fresh=False)
        state = model.zero_state(size.lanes)

        # 2. Steps: the first records the graph. Each ends with a look at its loss, so it is over.
        numbers = itertools.count()
        for _ in range(2):
            state = step(batch, state, 0.0, next(numbers)).state
        began = time.perf_counter()
        least_s = math.inf
        for number in numbers:
            before = time.perf_counter()
            state = step(batch, state, 0.0, number).state
            now = time.perf_counter()
            least_s = min(least_s, now - before)
            if number >= 2 + LEAST_STEPS and now - began > MEASURED_S:
                break
        return math.prod(shape) / least_s

"""A stored network as a scorer: the nats of every character, under each protocol.

Shapes: B rows of a batch, T characters of a row, V vocabulary, n predicted characters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from charrnn.config import RuntimeSettings
from charrnn.machine import backends, runtime
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.scoring.mixed import CountedText, Mixer, predictor
from charrnn.scoring.readers import GateReader, Helped, LossReader, Reader, is_separable
from charrnn.scoring.score import Predictions
from charrnn.scoring.validation import (
    LINES,
    lane_batches,
    most_chars,
    shortened,
    window_batches,
)
from charrnn.text.batches import IGNORED, Batch, LineBatches
from charrnn.text.gate import Ally
from charrnn.text.spelling import Spelling


def load_model(model_file: ModelFile, device_name: str) -> tuple[CharModel, torch.device]:
    """The stored model on a device, dropout off.

    Raises SettingsError for a device that is not there.
    """
    here = dataclasses.replace(RuntimeSettings(), device=device_name)
    settings = dataclasses.replace(model_file.settings, runtime=here)
    device = runtime.prepare(settings.runtime)
    backend = backends.expected_backend(settings, device)
    # No dropout at all, so that dynamic evaluation can switch to training mode: cuDNN computes
    # gradients only there.
    network = dataclasses.replace(settings.model, dropout=0.0)
    vocabulary = model_file.vocabulary
    labels = len(vocabulary.labels)
    model = CharModel(
        network, len(vocabulary), backend, labels=labels, newline=vocabulary.newline or 0
    )
    tensors = {name: torch.from_numpy(value) for name, value in model_file.tensors.items()}
    model.load_tensors(tensors)
    return model.to(device).eval(), device


def load_scorer(
    model_file: ModelFile, device_name: str, helped: Helped | None = None
) -> NetworkScorer:
    """The stored model behind the seam. Raises SettingsError for a device that is not there.

    helped: reads batches with other processes.
    """
    model, device = load_model(model_file, device_name)
    vocabulary = model_file.vocabulary
    ally = model_file.ally
    return NetworkScorer(model, device, vocabulary.newline, ally, vocabulary.spelling, helped)


class NetworkScorer:
    """A network behind the seam of score.py. Dropout must be off (model.eval())."""

    def __init__(
        self,
        model: CharModel,
        device: torch.device,
        newline: int | None,
        ally: Ally | None = None,
        spelling: Spelling | None = None,
        helped: Helped | None = None,
    ) -> None:
        """ally: what counts beside the network. spelling: where rare characters are bytes.

        helped: reads batches with other processes.
        """
        self.model = model
        self.device = device
        self.ally = ally
        self.spelling = spelling
        self._newline = newline
        self._helped = helped if spelling is None and is_separable(model) else None

    def predictions(
        self,
        ids: np.ndarray,
        protocol: str,
        *,
        window: int = 256,
        detailed: bool = False,
        first: np.ndarray | None = None,
    ) -> Iterator[Predictions]:
        # A stream is one row, and details are more numbers than the characters are worth.
        if self._helped is not None and protocol != "stateful" and not detailed:
            yield from self._predictions_with_help(self._helped, ids, protocol, window, first)
            return
        predict = predictor(self.ally, ids, protocol, window, self.spelling, first)
        state = None
        for batch, places in self._placed_batches(ids, protocol, window, detailed, first):
            with torch.inference_mode():
                if batch.fresh or state is None:
                    state = self.model.zero_state(len(batch.inputs))
                logits, state = self.model(batch.inputs.to(self.device), state)
                targets = batch.targets.to(self.device)
                predictions = predict(logits, targets, places, detailed)
            yield predictions

    def _predictions_with_help(
        self,
        helped: Helped,
        ids: np.ndarray,
        protocol: str,
        window: int,
        first: np.ndarray | None,
    ) -> Iterator[Predictions]:
        mixer = None
        reader: Reader = LossReader(self.model, self.device)
        if self.ally is not None:
            counted = CountedText(self.ally, ids, protocol, window, first)
            mixer = Mixer(counted)
            best, _ = counted.seen(np.arange(len(ids)))
            reader = GateReader(self.model, self.device, best, None)
        placed = self._placed_batches(ids, protocol, window, False, first)
        for batch, places_of, numbers in helped(self.model, reader, placed):
            places = places_of[(batch.targets != IGNORED).numpy()]
            if mixer is None:
                yield Predictions(places, numbers[0])
            else:
                yield mixer.mixture(places, numbers)

    def _placed_batches(
        self,
        ids: np.ndarray,
        protocol: str,
        window: int,
        in_order: bool,
        first: np.ndarray | None,
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield batches, and for each the place in ids of every target (B, T)."""
        most = most_chars(self.model)
        if protocol == "lines":
            assert self._newline is not None
            lines = LineBatches(ids, self._newline, LINES, first=first)
            for chosen in lines.in_order(most, by_length=not in_order):
                batch = lines.collate(chosen)
                places = lines.starts[chosen][:, None] + np.arange(batch.targets.shape[1])
                yield from shortened(batch, places, most)
            return
        if len(ids) < 2:
            return
        if protocol == "windowed":
            batches = window_batches(ids, window, most)
        else:
            # One lane, unlike in training: all that stands before a character is its context.
            batches = lane_batches(ids, 1, most)
        place = 1
        for batch in batches:
            after = place + batch.targets.numel()
            places = np.arange(place, after).reshape(batch.targets.shape)
            yield from shortened(batch, places, most)
            place = after

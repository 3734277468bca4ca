"""What the labs look at: a run and its held-out text, or small, briefly trained networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from charrnn.config import ModelSettings, Settings, TextSettings
from charrnn.errors import SettingsError
from charrnn.insight.cells import refuse_counting
from charrnn.machine import backends
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile, read_model
from charrnn.scoring.text import text_of_split
from charrnn.terminal import one_line
from charrnn.text.batches import Batch
from charrnn.text.reading import pieces
from charrnn.text.sources import find_source
from charrnn.texts import OpenedRun
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep

HELD_OUT = 0.1  # of the names
BATCH = 32  # lanes
LENGTH = 32  # characters of truncated BPTT
LR = 0.005  # learning rate


def read_run(run: Path) -> tuple[ModelFile, np.ndarray]:
    """Read a network and the ids (N,) of its test text, or else its validation text.

    Raises CheckpointError, CorpusError; SettingsError if the model counts, or has bytes.
    """
    model_file = read_model(run)
    refuse_counting(model_file)
    if model_file.vocabulary.spelling is not None:
        shown = one_line(str(run))
        raise SettingsError(f"{shown} writes rare characters as bytes; train with --rare 0")
    advice = "labs need text held out: train with --split or --val"
    return model_file, text_of_split(OpenedRun(model_file), None, advice=advice).ids


def names_stream(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Read the shipped names, shuffled, as one stream.

    Returns the ids to train on, the ids held out, and how many distinct ones there are.
    """
    settings = TextSettings()
    codes = np.concatenate(list(pieces(find_source(None, settings)[0], settings)))
    symbols, ids = np.unique(codes, return_inverse=True)
    lines = np.split(ids, np.flatnonzero(codes == ord("\n")) + 1)
    order = np.random.default_rng(seed).permutation(len(lines))
    shuffled = np.concatenate([lines[line] for line in order])
    held_out = int(len(shuffled) * HELD_OUT)
    return shuffled[held_out:], shuffled[:held_out], len(symbols)


def fresh(settings: ModelSettings, vocabulary_size: int, seed: int) -> CharModel:
    """Make a model with its first weights, dropout off. torch's own generator does not move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = dataclasses.replace(settings, dropout=0.0, weight_drop=0.0)
        backend = backends.expected_backend(Settings(model=whole), torch.device("cpu"))
        return CharModel(whole, vocabulary_size, backend)


def train_briefly(model: CharModel, ids: np.ndarray, steps: int) -> None:
    """Train over lanes of a text: AdamW without decay, a constant rate, clipping at 1."""
    settings = Settings(model=model.settings).with_values("training", weight_decay=0.0)
    step = TrainStep(model, make_optimizer(model, settings.training), settings)
    state = model.zero_state(BATCH)
    model.train()
    for number, batch in zip(range(steps), _lanes(ids), strict=False):
        state = step(batch, state, LR, number).state
    model.eval()


def _lanes(ids: np.ndarray) -> Iterator[Batch]:
    """Yield BATCH lanes, LENGTH characters at a time, over and over."""
    lane = (len(ids) - 1) // BATCH
    rows = np.stack([ids[row * lane : (row + 1) * lane + 1] for row in range(BATCH)])
    text = torch.from_numpy(rows.astype(np.int64))
    while True:
        for start in range(0, lane - LENGTH + 1, LENGTH):
            piece = text[:, start : start + LENGTH + 1]
            yield Batch(piece[:, :-1], piece[:, 1:], fresh=start == 0)

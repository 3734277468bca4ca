"""What the labs look at: a run's model and the text held out from it, or small networks, fresh and briefly trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from charrnn.config import ModelSettings, Settings, TextSettings
from charrnn.insight.cells import refuse_counting
from charrnn.machine import backends
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile, read_model
from charrnn.scoring.text import text_of_split
from charrnn.text.batches import Batch
from charrnn.text.reading import find_source, pieces
from charrnn.texts import OpenedRun
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep

HELD_OUT = 0.1  # of the names
BATCH, LENGTH, LR = 32, 32, 0.005  # lanes, characters of truncated BPTT, learning rate


def read_run(run: Path) -> tuple[ModelFile, np.ndarray]:
    """A network and the ids (N,) of its test text, or else its validation text.

    Raises CheckpointError, CorpusError; SettingsError if the model counts.
    """
    model_file = read_model(run)
    refuse_counting(model_file)
    return model_file, text_of_split(
        OpenedRun(model_file), None, advice="labs need text held out: train with --split or --val"
    ).ids


def names_stream(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Ids to train on, ids held out, and how many distinct ones there are: the shipped names, shuffled, one after the other."""
    settings = TextSettings()
    codes = np.concatenate(list(pieces(find_source(None, settings)[0], settings)))
    symbols, ids = np.unique(codes, return_inverse=True)
    lines = np.split(ids, np.flatnonzero(codes == ord("\n")) + 1)
    order = np.random.default_rng(seed).permutation(len(lines))
    shuffled = np.concatenate([lines[line] for line in order])
    held_out = int(len(shuffled) * HELD_OUT)
    return shuffled[held_out:], shuffled[:held_out], len(symbols)


def fresh(settings: ModelSettings, vocabulary_size: int, seed: int) -> CharModel:
    """A model with its first weights; torch's own generator is left as it was. Dropout off."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = dataclasses.replace(settings, dropout=0.0, weight_drop=0.0)
        backend = backends.expected_backend(Settings(model=whole), torch.device("cpu"))
        return CharModel(whole, vocabulary_size, backend)


def train_briefly(model: CharModel, ids: np.ndarray, steps: int) -> None:
    """AdamW without decay at a constant rate, clipping at 1, over lanes of the text from its start."""
    settings = Settings(model=model.settings)
    settings = dataclasses.replace(
        settings, training=dataclasses.replace(settings.training, weight_decay=0.0)
    )
    step = TrainStep(model, make_optimizer(model, settings.training), settings)
    state = model.zero_state(BATCH)
    model.train()
    for number, batch in zip(range(steps), _lanes(ids), strict=False):
        state = step(batch, state, LR, number).state
    model.eval()


def _lanes(ids: np.ndarray) -> Iterator[Batch]:
    """BATCH lanes, LENGTH characters at a time, round and round."""
    lane = (len(ids) - 1) // BATCH
    rows = np.stack([ids[row * lane : (row + 1) * lane + 1] for row in range(BATCH)])
    text = torch.from_numpy(rows.astype(np.int64))
    while True:
        for start in range(0, lane - LENGTH + 1, LENGTH):
            piece = text[:, start : start + LENGTH + 1]
            yield Batch(piece[:, :-1], piece[:, 1:], fresh=start == 0)

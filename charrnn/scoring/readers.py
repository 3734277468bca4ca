"""What is asked of a network about each character of some batches.

With the compiled kernel a row of a batch gets the same numbers in any company, to the bit. So
several processes can read some rows each, and what one of them makes of all numbers is what it
would find alone.

Shapes: B rows of a batch, T characters of a row, n characters of a batch without padding, K numbers
a reader has for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State, emptied
from charrnn.scoring.mixed import Looks, masked, predictions_of, without_padding
from charrnn.scoring.score import Score
from charrnn.scoring.spelled import SpelledText
from charrnn.text.batches import IGNORED, Batch

VALIDATION, SAMPLE = "validation", "sample"  # what can be read: of training a sample


class Reader(Protocol):
    """Reads a batch. width: K, how many numbers it has for each character."""

    width: int

    def read(self, batch: Batch, places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return numbers (K, n), float64, row after row, and the state after the batch.

        places (B, T): of the targets in the text.
        """
        ...


class Read(NamedTuple):
    """A batch, its places (B, T), and what a reader has of it (K, n)."""

    batch: Batch
    places: np.ndarray
    numbers: np.ndarray


Placed = Iterator[tuple[Batch, np.ndarray]]
# Both read batches together with other processes, which find them by a name or are given them.
Share = Callable[[str, Reader, Placed], Iterator[Read]]
Helped = Callable[[CharModel, Reader, Placed], Iterator[Read]]


class NatsReader:
    """The nats of each character. The kernel must run."""

    width = 1

    def __init__(self, model: CharModel) -> None:
        self._model = model

    def read(self, batch: Batch, places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return nats (1, n), and the state after the batch."""
        nats, after = self._model.nats(batch.inputs, batch.targets, state, each=True)
        return nats.t()[batch.targets != IGNORED].numpy()[None], after


class LossReader:
    """The nats of each character as `charrnn eval` has them, from logits."""

    width = 1

    def __init__(self, model: CharModel, device: torch.device) -> None:
        self._model = model
        self._device = device

    def read(self, batch: Batch, places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return nats (1, n), and the state after the batch."""
        logits, after = self._model(batch.inputs.to(self._device), state)
        targets = batch.targets.to(self._device)
        return predictions_of(logits, targets, places, detailed=False).nats[None], after


class GateReader:
    """What a gate between network and counting is fitted on: of the network, all but the features.

    Its rows are those of mixed.Looks: ln P of the character that came, ln P of counting's first
    choice, the largest ln P, the entropy.
    """

    width = 4

    def __init__(
        self, model: CharModel, device: torch.device, best: np.ndarray, text: SpelledText | None
    ) -> None:
        """best (N,): counting's first choice for each character of the text.

        text: where rare characters are bytes.
        """
        self.best = best
        self._model = model
        self._device = device
        self._text = text

    def read(self, batch: Batch, places: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return the numbers (4, n), and the state after the batch."""
        logits, after = self._model(batch.inputs.to(self._device), state)
        targets = batch.targets.to(self._device)
        logits, targets, places = without_padding(logits, targets, places)
        if self._text is not None:
            logits = masked(logits, self._text, places)
        looks = Looks(logits, targets, self.best[places])
        return np.stack([looks.ln_target, looks.at_best, looks.top, looks.entropy]), after


def is_separable(model: CharModel) -> bool:
    """Return whether a row of a batch has the same numbers in any company, to the bit.

    So it is with the kernel; the products of torch round by the number of rows.
    """
    return model.backend == "kernel" and model.conv is None


def read_batches(model: CharModel, reader: Reader, placed: Placed) -> Iterator[Read]:
    """Yield batches in order as they are read, dropout off.

    A batch that is not fresh goes on with the state of the batch before. One without rows has no
    numbers.
    """
    was_training = model.training
    model.eval()
    state = None
    for batch, places in placed:
        numbers = np.empty((reader.width, 0))
        if len(batch.inputs):
            with torch.inference_mode():
                if batch.fresh or state is None:
                    state = model.zero_state(len(batch.inputs))
                elif batch.begins is not None:
                    state = emptied(state, ~batch.begins)
                numbers, state = reader.read(batch, places, state)
        yield Read(batch, places, numbers)
    model.train(was_training)


def summed(read: Iterator[Read]) -> Score:
    """Return the score of what NatsReader has read, added in the order of `CharModel.nats`."""
    total = Score(0.0, 0)
    for batch, _, numbers in read:
        is_counted = batch.targets != IGNORED
        nats = np.zeros(is_counted.shape)
        nats[is_counted.numpy()] = numbers[0]
        by_time = torch.from_numpy(nats.T.reshape(-1))  # (T B,)
        total += Score(float(by_time.sum()), len(numbers[0]))
    return total

"""What a score is, whatever kind of model made it: nats over characters, summed by block or line. No torch here.

A model is scored through one seam, `Scorer`: ids in, the nats of every predicted character out, in pieces. A network's
is in network.py, counting's in counting.py; figures, intervals, rankings and tables are made of what they yield.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

BLOCK = 1000  # characters of a stream that are summed together, and resampled together


@dataclass(frozen=True)
class Score:
    """Nats over characters. Scores add up."""

    nats: float
    chars: int

    def __add__(self, other: Score) -> Score:
        return Score(self.nats + other.nats, self.chars + other.chars)

    @property
    def nats_per_char(self) -> float:
        return self.nats / self.chars if self.chars else math.nan

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats_per_char, 700.0))


class Predictions(NamedTuple):
    """Some predicted characters of a text: where they stand in its ids, and what each cost. All arrays (n,)."""

    places: np.ndarray  # int64
    nats: np.ndarray  # float64
    ranks: np.ndarray | None = None  # 1: the model's first choice
    guesses: np.ndarray | None = None  # the id of that first choice
    guess_nats: np.ndarray | None = None


class Scorer(Protocol):
    """A model that predicts. protocol: "stateful", "windowed" (of window characters each) or "lines"."""

    def predictions(
        self, ids: np.ndarray, protocol: str, *, window: int = 256, detailed: bool = False
    ) -> Iterator[Predictions]:
        """Every predicted character of ids (N,) once.

        A stream's come in the order of the text, all but its first. Lines (each ends in the newline) come as is quickest,
        blank ones left out. detailed: with ranks and guesses, and lines too in the order of the text.
        """
        ...


class Tally:
    """Nats and characters of each block of BLOCK predicted characters, or of each line: memory for these alone."""

    def __init__(self, ids: np.ndarray, newline: int | None) -> None:
        """newline: its id in lines mode; None: a stream."""
        self._ends = None if newline is None else np.flatnonzero(ids == newline)
        units = -(-(len(ids) - 1) // BLOCK) if self._ends is None else len(self._ends)
        self.nats, self.chars = np.zeros(max(0, units)), np.zeros(max(0, units), np.int64)

    def add(self, found: Predictions) -> None:
        units = (
            (found.places - 1) // BLOCK
            if self._ends is None
            else np.searchsorted(self._ends, found.places)
        )
        np.add.at(self.nats, units, found.nats)
        np.add.at(self.chars, units, 1)

    def score(self, chosen: np.ndarray | slice = slice(None)) -> Score:
        """Of all, or of the chosen lines or blocks."""
        return Score(float(self.nats[chosen].sum()), int(self.chars[chosen].sum()))


def tallied(
    scorer: Scorer, ids: np.ndarray, protocol: str, newline: int | None, window: int = 256
) -> Tally:
    """The sums of a scorer over a text."""
    tally = Tally(ids, newline)
    for found in scorer.predictions(ids, protocol, window=window):
        tally.add(found)
    return tally

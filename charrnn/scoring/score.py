"""What a score is, whatever kind of model made it: nats over characters, summed by block or line.

A model is scored through one seam, `Scorer`: ids in, the nats of every predicted character out, in
pieces. A network's scorer is in network.py, counting's in counting.py. Figures, intervals, rankings
and tables are made of what they yield. No torch here.
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

    def __str__(self) -> str:
        """Return the score for a person: `2.165 bits/char (1.501 nats)`."""
        return self.per("char")

    def per(self, unit: str) -> str:
        """Return the score for a person. unit: what the model predicts, "char" or "byte"."""
        return f"{self.bits_per_char:.3f} bits/{unit} ({self.nats_per_char:.3f} nats)"

    @property
    def nats_per_char(self) -> float:
        """Nats per character; not a number where there is none."""
        return self.nats / self.chars if self.chars else math.nan

    @property
    def bits_per_char(self) -> float:
        """Bits per character: nats / ln 2."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """e to the nats per character: among how many equally likely ones it chooses."""
        return math.exp(min(self.nats_per_char, 700.0))


class Predictions(NamedTuple):
    """Some predicted characters of a text: their places in its ids, and their nats. All (n,)."""

    places: np.ndarray  # int64
    nats: np.ndarray  # float64
    ranks: np.ndarray | None = None  # 1: the model's first choice
    guesses: np.ndarray | None = None  # the id of that first choice
    guess_nats: np.ndarray | None = None
    # Where rare characters are bytes: the number of each one's character in the text, and whether
    # it is its first byte. None: each is a character, and its place is its number.
    numbers: np.ndarray | None = None
    is_first: np.ndarray | None = None
    w: np.ndarray | None = None  # of a mixture: the share of counting


class Scorer(Protocol):
    """A model that predicts. protocol: "stateful", "windowed" (of window characters) or "lines"."""

    def predictions(
        self,
        ids: np.ndarray,
        protocol: str,
        *,
        window: int = 256,
        detailed: bool = False,
        first: np.ndarray | None = None,
    ) -> Iterator[Predictions]:
        """Yield every predicted character of ids (N,) once.

        Of a stream, all but the first are predicted, in the order of the text. Lines, which each
        end in the newline, come in the quickest order, and blank ones are left out.
        detailed: with ranks and guesses, and lines in the order of the text.
        first: the id that a network reads before each line, of its label; None: the newline.
        """
        ...


class Adding(Protocol):
    """What adds up predictions."""

    def add(self, predictions: Predictions) -> None: ...


class Tally:
    """Nats and characters of each block of BLOCK predicted characters, or of each line.

    nats (U,) float64, chars (U,) int64: of U blocks or lines. No character is kept.
    """

    def __init__(self, ids: np.ndarray, newline: int | None) -> None:
        """newline: its id in lines mode; None: a stream."""
        self._ends = None
        units = max(0, -(-(len(ids) - 1) // BLOCK))
        if newline is not None:
            self._ends = np.flatnonzero(ids == newline)
            units = len(self._ends)
        self.nats = np.zeros(units)
        self.chars = np.zeros(units, np.int64)
        self._shares = 0.0  # of counting in a mixture, summed
        self._predictions = 0

    @property
    def mean_share(self) -> float:
        """The mean share of counting in the predictions; 0 where none is mixed in."""
        return self._shares / max(1, self._predictions)

    def add(self, predictions: Predictions) -> None:
        """Add each character to the sums of its block or line."""
        if self._ends is None:
            numbers = predictions.places if predictions.numbers is None else predictions.numbers
            units = (numbers - 1) // BLOCK
        else:
            units = np.searchsorted(self._ends, predictions.places)
        # Many characters of a piece share a unit: `nats[units] += ...` would add only one of them.
        np.add.at(self.nats, units, predictions.nats)
        np.add.at(self.chars, units, 1 if predictions.is_first is None else predictions.is_first)
        if predictions.w is not None:
            self._shares += float(predictions.w.sum())
            self._predictions += len(predictions.w)

    def score(self, chosen: np.ndarray | slice = slice(None)) -> Score:
        """The score of the chosen lines or blocks, or of all."""
        return Score(float(self.nats[chosen].sum()), int(self.chars[chosen].sum()))


def tallied(
    scorer: Scorer,
    ids: np.ndarray,
    protocol: str,
    newline: int | None,
    window: int = 256,
    first: np.ndarray | None = None,
    beside: Adding | None = None,
) -> Tally:
    """The sums of a scorer over a text. first: as for Scorer.predictions.

    beside: adds up the same predictions in another way.
    """
    tally = Tally(ids, newline)
    for predictions in scorer.predictions(ids, protocol, window=window, first=first):
        tally.add(predictions)
        if beside is not None:
            beside.add(predictions)
    return tally

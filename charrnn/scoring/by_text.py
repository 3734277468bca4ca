"""The score of each of several texts that a run has learnt from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.scoring.score import Predictions, Score
from charrnn.text.parts import Parts


@dataclass(frozen=True)
class TextScore:
    """The score of a model on one of several texts. share: of the training; None: as it is."""

    name: str
    share: float | None
    chars: int
    nats_per_char: float
    bits_per_char: float


class TextTally:
    """Nats and characters of each text of a split, added up as they are predicted."""

    def __init__(self, parts: Parts, split: str) -> None:
        self._parts = parts
        self._split = split
        self._nats = np.zeros(len(parts.names))
        self._chars = np.zeros(len(parts.names), np.int64)

    def add(self, predictions: Predictions) -> None:
        """Add each character to the sums of its text."""
        texts = self._parts.texts_at(self._split, predictions.places)
        is_first = 1 if predictions.is_first is None else predictions.is_first
        np.add.at(self._nats, texts, predictions.nats)
        np.add.at(self._chars, texts, is_first)

    def scores(self) -> list[TextScore]:
        """Return the score of each text of which something was predicted, in their order."""
        shares = self._parts.shares or [None] * len(self._parts.names)
        scores = []
        for name, share, nats, chars in zip(
            self._parts.names, shares, self._nats.tolist(), self._chars.tolist(), strict=True
        ):
            score = Score(nats, chars)
            if chars:
                scores.append(
                    TextScore(name, share, chars, score.nats_per_char, score.bits_per_char)
                )
        return scores

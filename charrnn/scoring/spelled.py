"""Scoring where rare characters are bytes: their nats count as one character's.

What may not follow (text/spelling.py) gets no probability, so that what is left sums to one over
characters. No torch here. Shapes: N ids of a text, n predictions of a piece, V symbols.
"""

from __future__ import annotations

import numpy as np

from charrnn.scoring.score import Predictions
from charrnn.text.spelling import Spelling


class SpelledText:
    """A text whose rare characters are bytes, as it is scored."""

    def __init__(self, spelling: Spelling, ids: np.ndarray) -> None:
        self.spelling = spelling
        self._places, self._states = spelling.inside(ids)
        # A character is predicted as a whole or not at all: not the first one of a stream.
        self._first = spelling.first_length(ids)

    def states(self, places: np.ndarray) -> np.ndarray:
        """Return the states before the ids at these places, both of one shape."""
        if not len(self._places):
            return np.zeros(places.shape, np.int32)
        nearest = np.minimum(np.searchsorted(self._places, places), len(self._places) - 1)
        return np.where(self._places[nearest] == places, self._states[nearest], 0)

    def allowed(self, places: np.ndarray) -> np.ndarray:
        """Return (n, V) bool: what may follow before these places (n,)."""
        return self.spelling.allowed(self.states(places))

    def counted(self, predictions: Predictions, *, is_stream: bool) -> Predictions:
        """Return the predictions of whole characters, with the number of each one's character."""
        if is_stream:
            is_counted = predictions.places >= self._first
            if not is_counted.all():
                chosen = (None if part is None else part[is_counted] for part in predictions)
                predictions = Predictions(*chosen)  # type: ignore[arg-type]
        places = predictions.places
        inside = np.searchsorted(self._places, places, side="right")
        before = np.searchsorted(self._places, places, side="left")
        return predictions._replace(numbers=places - inside, is_first=inside == before)


def spelled_text(spelling: Spelling | None, ids: np.ndarray) -> SpelledText | None:
    """Return the text as it is scored, or None where every id is a character."""
    return None if spelling is None else SpelledText(spelling, ids)

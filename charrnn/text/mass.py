"""What a counting model gives to all symbols that may follow, where rare characters are bytes.

An n-gram model counts symbols and gives a little to those that may not stand there (spelling.py).
What may follow has a mass of less than one, by which its probabilities are divided.
Shapes: N ids of a text, M of them inside a character, V symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from charrnn.text.spelling import CONTINUATIONS, FORBIDDEN, Spelling


@dataclass(frozen=True)
class Mass:
    """The mass of what may follow at each place of a text, with contexts up to some length."""

    spelling: Spelling
    lost: np.ndarray  # (N,) what is given to symbols that may not follow between characters
    places: np.ndarray  # (M,) the ids inside a character
    states: np.ndarray  # (M,)
    inside: np.ndarray  # (M, 64) the probabilities of the bytes that go on with a character

    @staticmethod
    def uniform(spelling: Spelling, ids: np.ndarray) -> Mass:
        """Return the mass with no context and no counts: all symbols are alike."""
        places, states = spelling.inside(ids)
        size = len(spelling.after)
        share = float((spelling.after == FORBIDDEN).sum()) / size
        inside = np.full((len(places), CONTINUATIONS), 1 / size)
        return Mass(spelling, np.full(len(ids), share), places, states, inside)

    def raised(
        self,
        grams: np.ndarray,
        gain: np.ndarray,
        back: np.ndarray,
        contexts: np.ndarray,
        known: np.ndarray,
    ) -> Mass:
        """Return the mass with a context that is one longer, where that is known (N,) bool.

        grams, gain, back: as in ngram.Level and ngram.Weights. contexts (N,).
        """
        # 1. Between characters
        size = len(self.spelling.after)
        is_lost = self.spelling.after[grams % size] == FORBIDDEN
        lost_gain = np.bincount(grams[is_lost] // size, gain[is_lost], minlength=len(back))
        lost = self.lost.copy()
        seen = contexts[known]
        lost[known] = lost_gain[seen] + back[seen] * lost[known]

        # 2. Inside one: each byte that may be next
        inside = self.inside.copy()
        rows = np.flatnonzero(known[self.places])
        owners = contexts[self.places[rows]][:, None]
        following = owners * size + self.spelling.first + np.arange(CONTINUATIONS)
        nearest = np.minimum(np.searchsorted(grams, following), len(grams) - 1)
        gains = np.where(grams[nearest] == following, gain[nearest], 0.0)
        inside[rows] = gains + back[owners] * inside[rows]
        return replace(self, lost=lost, inside=inside)

    def allowed(self) -> np.ndarray:
        """Return (N,): the mass of what may follow."""
        allowed = 1 - self.lost
        may_follow = self.spelling.table[self.states] != FORBIDDEN
        allowed[self.places] = (self.inside * may_follow).sum(1)
        return allowed

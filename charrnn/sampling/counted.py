"""One step of a counting model (text/ngram.py): what sampling needs of it.

The n-grams of all lengths stand in one array, each numbered by its place; 0 is the empty one. So one search finds where
contexts of every length lead.
"""

from __future__ import annotations

import numpy as np

from charrnn.sampling.steps import Headed, State
from charrnn.text.ngram import UNSEEN, NGram

MAX_CACHED = 1 << 22  # probabilities kept: 32 MB


class Counted(Headed):
    """An n-gram model's step. Its state: (contexts,), the numbers of the last 1, 2, ... characters, (order - 1, B)."""

    def __init__(self, counted: NGram) -> None:
        self.vocabulary_size, self._boundary = counted.vocabulary_size, counted.boundary
        self.name = f"{counted.order}-gram"
        self._length = counted.order - 1  # of the longest context
        # The contexts of level k are the n-grams of the level before, whose numbers begin at below[k].
        sizes = [len(level.grams) for level in counted.levels]
        below = np.cumsum([0, 1, *sizes])
        grams = [
            level.grams + at * self.vocabulary_size
            for level, at in zip(counted.levels, below, strict=False)
        ]
        self._grams = np.concatenate(grams)
        self._gain = np.concatenate([each.gain for each in counted.weights])
        self._back = np.concatenate([each.back for each in counted.weights])
        self._first = np.searchsorted(self._grams, np.arange(below[-2] + 1) * self.vocabulary_size)
        self._cache: dict[int, np.ndarray] = {}

    def zero_state(self, batch: int) -> State:
        """Nothing is known; in lines mode newlines, as many as a context holds."""
        state: State = (np.full((self._length, batch), UNSEEN, np.int64),)
        for _ in range(self._length if self._boundary is not None else 0):
            state = self._advance(np.full(batch, self._boundary), state)[1]
        return state

    def logits(self, state: State) -> np.ndarray:
        """(B, V) of the character after a state."""
        return self._logits(state[0].T)

    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        before = np.concatenate([np.zeros((1, len(ids)), np.int64), state[0][:-1]])[: self._length]
        grams = before * self.vocabulary_size + ids
        place = np.minimum(self._grams.searchsorted(grams), len(self._grams) - 1)
        contexts = np.where((before != UNSEEN) & (self._grams[place] == grams), place + 1, UNSEEN)
        return contexts.T, (contexts,)

    def _logits(self, seen: np.ndarray) -> np.ndarray:
        """Few contexts make up most of a text, and the longest that is known decides: its answer is kept."""
        rows = []
        for contexts in seen.tolist():
            known = [
                0,
                *(number for number in contexts if number != UNSEEN),
            ]  # those of a known context are known too
            row = self._cache.get(known[-1])
            if row is None:
                if len(self._cache) * self.vocabulary_size >= MAX_CACHED:
                    self._cache = {}
                row = self._cache[known[-1]] = np.log(self._next(np.array(known)))
            rows.append(row)
        return np.array(rows)

    def _next(self, contexts: np.ndarray) -> np.ndarray:
        """P (V,) of every character after these contexts, the empty one first: gains times the backs of longer ones."""
        first, stop, back = self._first[contexts], self._first[contexts + 1], self._back[contexts]
        scale = np.append(back[::-1].cumprod()[::-1], 1.0)
        lengths = stop - first
        index = np.arange(lengths.sum()) + np.repeat(first - (lengths.cumsum() - lengths), lengths)
        weights = self._gain[index] * np.repeat(scale[1:], lengths)
        found = np.bincount(
            self._grams[index] % self.vocabulary_size, weights, self.vocabulary_size
        )
        return found + scale[0] / self.vocabulary_size

"""One step of a counting model (text/ngram.py): what sampling needs of it.

The n-grams of all lengths stand in one array, each numbered by its place; 0 is the empty one. So
one search finds where contexts of every length lead. Letters: B rows, V vocabulary.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from charrnn.sampling.steps import Headed, State, counted_ids
from charrnn.text.labelgrams import LabelGrams
from charrnn.text.ngram import UNSEEN, NGram

MAX_CACHED = 1 << 22  # probabilities kept: 32 MB


class Counted(Headed):
    """An n-gram model's step.

    Its state is (contexts,), (order - 1, B): the numbers of the last 1, 2, ... characters.
    """

    def __init__(self, counted: NGram, by_label: LabelGrams | None = None) -> None:
        """by_label: the n-grams of labels; None: it knows none."""
        self._by_label = by_label
        self.vocabulary_size = counted.vocabulary_size
        self._boundary = counted.boundary
        self.name = f"{counted.order}-gram"
        self._length = counted.order - 1  # of the longest context
        # Contexts of level k are the n-grams of the level before; their numbers begin at below[k].
        sizes = [len(level.grams) for level in counted.levels]
        below = np.cumsum([0, 1, *sizes])
        grams = [
            level.grams + at * self.vocabulary_size
            for level, at in zip(counted.levels, below, strict=False)
        ]
        self._grams = np.concatenate(grams)
        self._gain = np.concatenate([weights.gain for weights in counted.weights])
        self._back = np.concatenate([weights.back for weights in counted.weights])
        contexts = np.arange(below[-2] + 1)
        self._first = np.searchsorted(self._grams, contexts * self.vocabulary_size)
        self._cache: dict[int, np.ndarray] = {}

    def for_label(self, number: int) -> Self:
        if self._by_label is None:
            return self
        return type(self)(self._by_label.of(number), self._by_label)

    def zero_state(self, batch: int) -> State:
        """Return the state in which nothing is known; in lines mode a context of newlines."""
        state: State = (np.full((self._length, batch), UNSEEN, np.int64),)
        if self._boundary is not None:
            for _ in range(self._length):
                state = self._advance(np.full(batch, self._boundary), state)[1]
        return state

    def logits(self, state: State) -> np.ndarray:
        """Return the logits (B, V) of the character after a state."""
        return self._logits(state[0].T)

    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        empty = np.zeros((1, len(ids)), np.int64)
        before = np.concatenate([empty, state[0][:-1]])[: self._length]
        grams = before * self.vocabulary_size
        grams += counted_ids(ids, self.vocabulary_size, self._boundary)
        place = np.minimum(self._grams.searchsorted(grams), len(self._grams) - 1)
        contexts = np.where((before != UNSEEN) & (self._grams[place] == grams), place + 1, UNSEEN)
        return contexts.T, (contexts,)

    def _logits(self, seen: np.ndarray) -> np.ndarray:
        """Look contexts up: few make up most of a text, and the longest known one decides."""
        rows = []
        for contexts in seen.tolist():
            # Where a context is known, all shorter ones are.
            known = [0, *(number for number in contexts if number != UNSEEN)]
            row = self._cache.get(known[-1])
            if row is None:
                if len(self._cache) * self.vocabulary_size >= MAX_CACHED:
                    self._cache = {}
                row = np.log(self._next(np.array(known)))
                self._cache[known[-1]] = row
            rows.append(row)
        return np.array(rows)

    def _next(self, contexts: np.ndarray) -> np.ndarray:
        """Return P (V,) of every character after these contexts, the empty one first.

        It is the sum of the contexts' gains, each times the backs of the longer contexts.
        """
        first = self._first[contexts]
        stop = self._first[contexts + 1]
        back = self._back[contexts]
        scale = np.append(back[::-1].cumprod()[::-1], 1.0)
        lengths = stop - first
        index = np.arange(lengths.sum()) + np.repeat(first - (lengths.cumsum() - lengths), lengths)
        weights = self._gain[index] * np.repeat(scale[1:], lengths)
        characters = self._grams[index] % self.vocabulary_size
        probabilities: np.ndarray = np.bincount(characters, weights, self.vocabulary_size)
        probabilities += scale[0] / self.vocabulary_size
        return probabilities

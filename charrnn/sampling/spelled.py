"""A model whose rare characters are bytes: what may not follow gets no probability.

The last part of its state says which bytes of a character have been read (text/spelling.py). The
compiled kernel does the same by itself (compiled.py), and this is its reference.
Letters: B rows, N ids, V symbols.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from charrnn.sampling.decode import surprise
from charrnn.sampling.steps import State, Step, Steps, counted_ids
from charrnn.text.spelling import Spelling


class Spelled(Steps):
    """The steps of a model, and the state of its spelling: (1, B) int32, the last of its states."""

    def __init__(self, steps: Steps, spelling: Spelling) -> None:
        """steps: of a network alone, or of counting."""
        self._steps = steps
        self._spelling = spelling
        self.engine = steps.engine
        self.name = steps.name
        self.vocabulary_size = steps.vocabulary_size

    def for_label(self, number: int) -> Self:
        twin = copy.copy(self)
        twin._steps = self._steps.for_label(number)
        return twin

    def zero_state(self, batch: int) -> State:
        return (*self._steps.zero_state(batch), np.zeros((1, batch), np.int32))

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        logits, after = self._steps.step(ids, state[:-1])
        return self._masked(ids, logits, after, state[-1])

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        logits, after = self._steps.write_step(ids, state[:-1])
        return self._masked(ids, logits, after, state[-1])

    def rows(self, state: State) -> tuple[Step, State]:
        of_rows, first = self._steps.rows(state[:-1])

        def step(ids: np.ndarray, rows: State) -> tuple[np.ndarray, State]:
            logits, after = of_rows(ids, rows[:-1])
            return self._masked(ids, logits, after, rows[-1])

        return step, (*first, state[-1])

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        nats = 0.0
        logits = np.zeros((1, 0))
        for at in range(len(ids)):
            newest = ids[at : at + 1]
            if at:
                nats += float(surprise(logits, newest)[0])
            logits, state = self.step(newest, state)
        return logits, state, nats

    def _masked(
        self, ids: np.ndarray, logits: np.ndarray, after: State, states: np.ndarray
    ) -> tuple[np.ndarray, State]:
        known = counted_ids(ids, self.vocabulary_size, 0)  # after a label begins a character
        now = self._spelling.advance(states[0], known)
        return self._spelling.masked(logits, now), (*after, now[None])

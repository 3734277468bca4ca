"""One row of a model in the compiled kernel (kernel/sampling.c): step, read, write.

Same answers as network.Network, faster.

Many rows side by side are rows.py's. Letters: B rows, N ids, V vocabulary, V' V padded.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator

import numpy as np

from charrnn.sampling.pace import Pace
from charrnn.sampling.packed import Packed, address_of, padded
from charrnn.sampling.rows import DONE, PAUSE_S, Rows, write_many
from charrnn.sampling.steps import Finished, Place, Plan, State

FIRST_CHARS = 32  # of a stream are shown at once


class Compiled(Packed):
    """A model in the kernel, with the methods of Network."""

    engine = "compiled"

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return logits (B, V) of the character after ids (B,), and the state after them."""
        ids = self._checked_ids(ids, state, len(ids))
        kernel_state = self.packed_state(state)
        logits = np.empty((len(ids), padded(self.vocabulary_size)), np.float32)  # (B, V')
        arrays = map(address_of, (ids, *kernel_state, logits))
        self.checked(self.library.charrnn_step(self.address, len(ids), *arrays))
        return logits[:, : self.vocabulary_size], self.plain_state(kernel_state)

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Take a step with characters that the model itself has written."""
        return self.step(ids, state)

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        """Read ids (N,), N >= 1, in one row.

        Returns logits (1, V), the state after them, and the nats of all ids but the first.
        """
        ids = self._checked_ids(ids, state, 1)
        if len(ids) > 1 and ids[1:].max() >= self.vocabulary_size:
            raise IndexError("a label stands before a text, and not in it")
        kernel_state = self.packed_state(state)
        logits = np.empty((1, padded(self.vocabulary_size)), np.float32)  # (1, V')
        nats = ctypes.c_double()
        pace = Pace(threads)
        at = 0
        while at < len(ids):
            now = pace.next()
            began = time.perf_counter()
            count = self.checked(
                self.library.charrnn_read(
                    self.address,
                    address_of(ids[at:]),
                    len(ids) - at,
                    *map(address_of, kernel_state),
                    address_of(logits),
                    ctypes.addressof(nats),
                    at > 0,  # what came before the pause predicts the first id after it
                    PAUSE_S,
                    now,
                )
            )
            pace.took(now, count, time.perf_counter() - began)
            at += count
        return logits[:, : self.vocabulary_size], self.plain_state(kernel_state), nats.value

    def write(self, plan: Plan, place: Place, *, threads: int = 1) -> Iterator[np.ndarray]:
        """Yield one text's ids from `place` on, in pieces of about 30 ms; `place` follows.

        Where rare characters are bytes, a piece has whole characters.
        """
        if plan.length == 0:
            return
        if place.pending >= 0:
            place.logits, place.state = self.step(np.array([place.pending]), place.state)
            place.pending = -1
        rows = Rows(self, plan, 1, place.logits, place.state)
        rows.job.want_nats = 0
        rows.begin_at(place)
        pace = Pace(threads)
        capacity = rows.job.capacity
        rows.job.capacity = min(FIRST_CHARS, capacity)
        result = None
        held = np.zeros(0, np.int32)  # ids that the caller has not
        while result != DONE:
            begin = int(rows.position[0])
            rows.job.base = begin
            rows.job.threads = pace.next()
            began = time.perf_counter()
            result = rows.run()
            count = int(rows.position[0]) - begin
            if rows.job.capacity == capacity:  # the first call is too short to judge by
                pace.took(rows.job.threads, count, time.perf_counter() - began)
            rows.job.capacity = capacity
            if result == DONE:
                written = rows.out[: rows.job.out_used]
            else:
                written = rows.written[0, :count]
            held = np.concatenate([held, written])
            if rows.is_inside and result != DONE:
                continue
            rows.leave_at(place)  # before the caller has the piece, who may stop here
            if len(held):
                yield held
            held = held[:0]

    def write_many(
        self,
        plan: Plan,
        begin: tuple[np.ndarray, State],
        first: int,
        stop: int,
        *,
        threads: int = 1,
    ) -> Iterator[Finished]:
        """Yield samples first ... stop - 1, in order, as they are ready.

        begin: logits (1, V) and state after the prompt.
        """
        return write_many(self, plan, begin, first, stop, threads)

    def _checked_ids(self, ids: np.ndarray, state: State, rows: int) -> np.ndarray:
        """Return ids as the kernel reads them, which trusts them and the state.

        Raises IndexError for an id, ValueError for a state that is not of this model.
        """
        ids = np.asarray(ids)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.input_size:
            raise IndexError(f"an id is not in 0 ... {self.input_size - 1}")
        shapes = [part.shape for part in state]
        expected = [part.shape for part in self.zero_state(rows)]
        if shapes != expected:
            raise ValueError(f"a state of shapes {shapes} does not fit this model: {expected}")
        return np.ascontiguousarray(ids, np.int32)

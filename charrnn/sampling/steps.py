"""Reading and writing with anything that can take one step in numpy: one row, or many side by side.

Runs everywhere; the compiled kernel (rows.py, compiled.py) does the same for networks, and this is its reference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.sampling.decode import WINDOW, Decoding, distribution, draw, surprise, uniforms

State = tuple[
    np.ndarray, ...
]  # arrays (L, B, ...): what a model knows of the text so far, of B rows

MAX_ROWS = 64  # samples side by side
MAX_SCORES = 1 << 22  # of all rows together: an alphabet of 100,000 gets fewer rows
MAX_WAITING = 4096  # samples begun after the oldest unfinished one


class Finished(NamedTuple):
    """Samples first, first + 1 ... that have ended: their ids one after the other, and length and nats of each."""

    first: int
    ids: np.ndarray
    lengths: list[int]
    nats: list[float]


@dataclass(frozen=True)
class Plan:
    """What one call asks for, checked. newline: the id that ends a sample, or -1."""

    decoding: Decoding
    length: int
    prime: np.ndarray
    until: np.ndarray
    seed: int
    newline: int


@dataclass
class Place:
    """Where one text stands: what it has read, what comes next, and the place of its next draw. Arrays change in place."""

    state: State  # of one row
    logits: np.ndarray  # (1, V)
    recent: np.ndarray  # (1, WINDOW) int32
    number: int = 0
    position: int = 0  # characters drawn so far
    pending: int = -1  # the newest character, if it was drawn but not read yet

    def copy(self) -> Place:
        state = tuple(part.copy() for part in self.state)
        return Place(
            state, self.logits.copy(), self.recent.copy(), self.number, self.position, self.pending
        )


class Steps(ABC):
    """A model that takes steps. Letters: B rows, V vocabulary."""

    engine = "numpy"
    vocabulary_size: int

    @abstractmethod
    def zero_state(self, batch: int) -> State:
        """The state before any character."""

    @abstractmethod
    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> logits (B, V) of the character after them, and a new state.

        Logits: up to a constant in each row the logarithms of the next character's probabilities.
        """

    @abstractmethod
    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        """ids (N,), N >= 1, in one row -> logits (1, V), a new state, and the nats of all ids but the first."""

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """As step, of characters that the model itself has written."""
        return self.step(ids, state)

    def write(self, plan: Plan, place: Place, *, threads: int = 1) -> Iterator[np.ndarray]:
        """Ids of one text from `place` on, as they are drawn; `place` follows with each."""
        tail: list[int] = []
        until = plan.until.tolist()
        end = place.position + plan.length
        for begin in range(place.position, end, 256):
            numbers = uniforms(
                plan.seed, np.array([place.number]), np.arange(begin, min(begin + 256, end))
            )
            for at in range(len(numbers)):
                if place.pending >= 0:
                    place.logits, place.state = self.write_step(
                        np.array([place.pending]), place.state
                    )
                    place.pending = -1
                ids = draw(
                    distribution(place.logits, plan.decoding, place.recent), numbers[at : at + 1]
                )
                place.pending = int(ids[0])
                place.recent[0, place.position % WINDOW] = place.pending
                place.position += 1
                yield ids
                tail = [*tail, place.pending][-len(until) :] if until else tail
                if place.pending == plan.newline or (until and tail == until):
                    return

    def write_many(
        self,
        plan: Plan,
        begin: tuple[np.ndarray, State],
        first: int,
        stop: int,
        *,
        threads: int = 1,
    ) -> Iterator[Finished]:
        """Samples first ... stop - 1, in order, as they are ready; begin: logits (1, V) and state after the prompt."""
        return write_rows(self.write_step, plan, begin, first, stop)


class Headed(Steps):
    """What ends in a head, whose products with many states are one. W: numbers that the head sees."""

    @abstractmethod
    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> what `_logits` needs, (B, W), and a new state."""

    @abstractmethod
    def _logits(self, seen: np.ndarray) -> np.ndarray:
        """(B, W) -> logits (B, V)."""

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        hidden, state = self._advance(ids, state)
        return self._logits(hidden), state

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        nats = 0.0
        piece = max(
            1, min(256, MAX_SCORES // self.vocabulary_size)
        )  # one product with the head for so many
        for begin in range(0, len(ids), piece):
            hiddens = []
            for at in range(begin, min(begin + piece, len(ids))):
                hidden, state = self._advance(ids[at : at + 1], state)
                hiddens.append(hidden)
            logits = self._logits(np.concatenate(hiddens))
            targets = ids[begin + 1 : begin + 1 + len(logits)]
            nats += float(surprise(logits[: len(targets)], targets).sum()) if len(targets) else 0.0
        return logits[-1:], state, nats


def write_rows(
    step: Callable[[np.ndarray, State], tuple[np.ndarray, State]],
    plan: Plan,
    begin: tuple[np.ndarray, State],
    first: int,
    stop: int,
) -> Iterator[Finished]:
    """Samples first ... stop - 1, in order, as they are ready; step: as Steps.step, for the rows of those under way."""
    first_logits, first_state = begin
    limit = max(1, min(MAX_ROWS, MAX_SCORES // first_logits.shape[1]))
    # Row r of every array belongs to sample index[r], which has position[r] characters so far.
    index, position, nats = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    written, recent = np.zeros((0, 32), np.int32), np.zeros((0, WINDOW), np.int32)
    logits, state = first_logits[:0], tuple(part[:, :0] for part in first_state)
    finished: dict[int, tuple[np.ndarray, float]] = {}
    begun = due = first  # the next to begin, the next to yield
    while True:
        new = min(limit - len(index), stop - begun, due + MAX_WAITING - begun)
        if new > 0:
            index = np.append(index, np.arange(begun, begun + new))
            position, nats = (
                np.append(position, np.zeros(new, np.int64)),
                np.append(nats, np.zeros(new)),
            )
            written = np.concatenate([written, np.zeros((new, written.shape[1]), np.int32)])
            recent = np.concatenate([recent, np.full((new, WINDOW), -1, np.int32)])
            logits = np.concatenate([logits, first_logits.repeat(new, 0)])
            pairs = zip(state, first_state, strict=True)
            state = tuple(np.concatenate([part, fresh.repeat(new, 1)], 1) for part, fresh in pairs)
            begun += new
        if not len(index):
            return
        ids = draw(
            distribution(logits, plan.decoding, recent), uniforms(plan.seed, index, position)
        )
        nats += surprise(logits, ids)
        if position.max() == written.shape[1]:
            written = np.concatenate([written, np.zeros_like(written)], 1)
        rows = np.arange(len(index))
        written[rows, position] = ids
        recent[rows, position % WINDOW] = ids
        position += 1
        done = (position >= plan.length) | (ids == plan.newline)
        for row in np.flatnonzero(ids == plan.until[-1]) if len(plan.until) else ():
            done[row] |= np.array_equal(
                written[row, : position[row]][-len(plan.until) :], plan.until
            )
        if done.any():
            for row in np.flatnonzero(done):
                finished[int(index[row])] = written[row, : position[row]].copy(), float(nats[row])
            keep = ~done
            ids, index, position, nats = ids[keep], index[keep], position[keep], nats[keep]
            written, recent, logits = written[keep], recent[keep], logits[keep]
            state = tuple(part[:, keep] for part in state)
            ready = []
            while due in finished:
                ready.append(finished.pop(due))
                due += 1
            if ready:
                each = [ended for ended, _ in ready]
                lengths, spent = [len(ended) for ended in each], [cost for _, cost in ready]
                yield Finished(due - len(ready), np.concatenate(each), lengths, spent)
        if len(ids):
            logits, state = step(ids, state)

"""Reading and writing with anything that can take one step in numpy: one row, or many side by side.

Runs everywhere; the compiled kernel (rows.py, compiled.py) does the same for networks, and this is
its reference. Letters: B rows, N ids, T characters of a row, V vocabulary, L layers.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from charrnn.sampling.decode import WINDOW, Decoding, distribution, draw, surprise, uniforms
from charrnn.text.spelling import Spelling

# What a model knows of the text so far: arrays (L, B, ...), one column a row.
State = tuple[np.ndarray, ...]

# numbers (B,) of samples -> logits (B, V) and the state that they begin with
Begin = Callable[[np.ndarray], tuple[np.ndarray, State]]

# ids (B,), state -> logits (B, V), state
Step = Callable[[np.ndarray, State], tuple[np.ndarray, State]]

MAX_ROWS = 64  # samples side by side
MAX_SCORES = 1 << 22  # of all rows together: an alphabet of 100,000 gets fewer rows
MAX_WAITING = 4096  # samples begun after the oldest unfinished one
UNIFORMS = 256  # random numbers drawn at once
FIRST_ROOM = 32  # characters of a row at first; it grows


class Finished(NamedTuple):
    """Samples that have ended: numbers first, first + 1, ..."""

    first: int
    ids: np.ndarray  # of all of them, one after the other
    lengths: list[int]  # of each, in ids
    nats: list[float]  # of each


@dataclass(frozen=True)
class Plan:
    """What one call asks for, checked."""

    decoding: Decoding
    length: int
    prime: np.ndarray
    until: np.ndarray
    seed: int
    newline: int  # the id that ends a sample, or -1
    # Where rare characters are bytes: `length` and the penalty's window count characters.
    spelling: Spelling | None = None

    def spelled(self, states: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the spelling's states (B,) after ids (B,); 0: a character ends there."""
        return states if self.spelling is None else self.spelling.advance(states, ids)

    def penalised(self, ids: np.ndarray) -> np.ndarray:
        """Return ids (B,) that end characters as the penalty remembers them: bytes as -1."""
        return ids if self.spelling is None else np.where(ids < self.spelling.first, ids, -1)

    def end_characters(
        self,
        rows: np.ndarray,
        ids: np.ndarray,
        spelled: np.ndarray,
        chars: np.ndarray,
        recent: np.ndarray,
    ) -> None:
        """Note in rows (K,) the characters that end with ids (K,).

        In place: spelled (B,), the spelling's states; chars (B,), how many characters there are;
        recent (B, WINDOW), what the penalty remembers of them.
        """
        spelled[rows] = self.spelled(spelled[rows], ids)
        is_whole = spelled[rows] == 0
        whole = rows[is_whole]
        recent[whole, chars[whole] % WINDOW] = self.penalised(ids[is_whole])
        chars[whole] += 1


@dataclass
class Place:
    """Where one text stands: what it has read, what comes next, and where its next draw falls.

    Its arrays change in place.
    """

    state: State  # of one row
    logits: np.ndarray  # (1, V)
    recent: np.ndarray  # (1, WINDOW) int32: the last characters drawn, -1 for none or for bytes
    number: int = 0  # of the sample
    position: int = 0  # ids drawn so far
    chars: int = 0  # characters drawn so far
    pending: int = -1  # the newest id, if it was drawn but not read yet

    def copy(self) -> Place:
        """Return another place of the same past."""
        state = tuple(part.copy() for part in self.state)
        logits = self.logits.copy()
        return dataclasses.replace(self, state=state, logits=logits, recent=self.recent.copy())


def no_recent() -> np.ndarray:
    """Return (1, WINDOW): nothing was drawn yet."""
    return np.full((1, WINDOW), -1, np.int32)


class Steps(ABC):
    """A model that takes steps."""

    engine = "numpy"
    name: str
    vocabulary_size: int

    @abstractmethod
    def zero_state(self, batch: int) -> State:
        """Return the state before any character."""

    @abstractmethod
    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return logits (B, V) of the character after ids (B,), and the state after them.

        Logits are, up to a constant in each row, the logarithms of the next character's
        probabilities.
        """

    @abstractmethod
    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        """Read ids (N,), N >= 1, in one row.

        Returns logits (1, V), the state after them, and the nats of all ids but the first.
        """

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Take a step with characters that the model itself has written."""
        return self.step(ids, state)

    def write(self, plan: Plan, place: Place, *, threads: int = 1) -> Iterator[np.ndarray]:
        """Yield ids of one text from `place` on, a character at a time; `place` follows."""
        until = plan.until.tolist()
        tail: list[int] = []  # the newest ids, as many as `until` has
        end = place.chars + plan.length
        number = np.array([place.number])
        spelled = np.zeros(1, np.int32)
        character: list[int] = []  # its ids so far
        while place.chars < end:
            positions = place.position + np.arange(min(UNIFORMS, end - place.chars))
            for u in uniforms(plan.seed, number, positions):
                # 1. Draw an id.
                self._read_pending(place)
                probabilities = distribution(place.logits, plan.decoding, place.recent)
                ids = draw(probabilities, np.array([u]))
                newest = int(ids[0])
                place.pending = newest
                place.position += 1
                if until:
                    tail = [*tail, newest][-len(until) :]

                # 2. Yield a character that ends with it.
                character.append(newest)
                spelled = plan.spelled(spelled, ids)
                if spelled[0]:
                    continue
                place.recent[0, place.chars % WINDOW] = plan.penalised(ids)[0]
                place.chars += 1
                yield np.array(character)
                character = []
                if newest == plan.newline or (until and tail == until):
                    return

    def _read_pending(self, place: Place) -> None:
        if place.pending >= 0:
            newest = np.array([place.pending])
            place.logits, place.state = self.write_step(newest, place.state)
            place.pending = -1

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
        logits, state = begin
        step, rows = self.rows(state)
        return write_rows(step, plan, begin_alike(logits, rows), first, stop)

    def rows(self, state: State) -> tuple[Step, State]:
        """Return what takes the steps of rows that begin in this state, and how each begins."""
        return self.write_step, state

    def for_label(self, number: int) -> Self:
        """Return what takes the steps of lines with a label, numbered from 1 on; 0: none.

        A network knows it by what it reads first; counting beside it does not.
        """
        return self


def counted_ids(ids: np.ndarray, vocabulary_size: int, boundary: int | None) -> np.ndarray:
    """Return ids (B,) as counting knows them: a label is the newline before a line."""
    ids = np.asarray(ids, np.int64)
    return np.where(ids < vocabulary_size, ids, boundary or 0)


class Headed(Steps):
    """A model that ends in a head, whose products with many states are one.

    W: numbers that the head sees.
    """

    @abstractmethod
    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return what `_logits` needs (B, W) after ids (B,), and the state after them."""

    @abstractmethod
    def _logits(self, seen: np.ndarray) -> np.ndarray:
        """Return the logits (B, V) of what the head sees (B, W)."""

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        hidden, state = self._advance(ids, state)
        return self._logits(hidden), state

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        nats = 0.0
        # One product with the head for so many characters
        width = max(1, min(256, MAX_SCORES // self.vocabulary_size))
        for begin in range(0, len(ids), width):
            hiddens = []
            for at in range(begin, min(begin + width, len(ids))):
                hidden, state = self._advance(ids[at : at + 1], state)
                hiddens.append(hidden)
            logits = self._logits(np.concatenate(hiddens))
            targets = ids[begin + 1 : begin + 1 + len(logits)]
            if len(targets):
                nats += float(surprise(logits[: len(targets)], targets).sum())
        return logits[-1:], state, nats


def begin_alike(logits: np.ndarray, state: State) -> Begin:
    """Return a Begin that lets every sample begin with logits (1, V) and the state of one row."""

    def begin(numbers: np.ndarray) -> tuple[np.ndarray, State]:
        new = len(numbers)
        return logits.repeat(new, 0), tuple(part.repeat(new, 1) for part in state)

    return begin


def write_rows(step: Step, plan: Plan, begin: Begin, first: int, stop: int) -> Iterator[Finished]:
    """Yield samples first ... stop - 1, in order, as they are ready.

    step: takes the rows of all samples under way.
    """
    rows = _Rows(*begin(np.array([first])))
    limit = max(1, min(MAX_ROWS, MAX_SCORES // rows.logits.shape[1]))
    ended: dict[int, tuple[np.ndarray, float]] = {}  # ids and nats by number, until they are due
    begun = first  # the next to begin
    due = first  # the next to yield
    while True:
        # 1. Begin as many as there is room for.
        new = min(limit - len(rows.number), stop - begun, due + MAX_WAITING - begun)
        if new > 0:
            numbers = np.arange(begun, begun + new)
            rows.begin(numbers, *begin(numbers))
            begun += new
        if not len(rows.number):
            return

        # 2. Draw a character for each row.
        u = uniforms(plan.seed, rows.number, rows.position)
        ids = draw(distribution(rows.logits, plan.decoding, rows.recent), u)
        rows.append(ids, plan)

        # 3. Take out the rows that have ended, and yield those that are due.
        is_over = rows.are_over(plan, ids)
        if is_over.any():
            for row in np.flatnonzero(is_over).tolist():
                ended[int(rows.number[row])] = (rows.text(row), float(rows.nats[row]))
            rows.keep(~is_over)
            ids = ids[~is_over]
            texts = []
            nats = []
            while due in ended:
                text, cost = ended.pop(due)
                texts.append(text)
                nats.append(cost)
                due += 1
            if texts:
                lengths = [len(text) for text in texts]
                yield Finished(due - len(texts), np.concatenate(texts), lengths, nats)

        # 4. Read what was drawn.
        if len(ids):
            rows.logits, rows.state = step(ids, rows.state)


class _Rows:
    """Samples under way: row r of every array belongs to sample number[r]."""

    def __init__(self, logits: np.ndarray, state: State) -> None:
        """logits (1, V), state: as of one row, whose shapes all rows have. There are none yet."""
        self.number = np.zeros(0, np.int64)
        self.position = np.zeros(0, np.int64)  # ids so far
        self.chars = np.zeros(0, np.int64)  # whole characters so far
        self.spelled = np.zeros(0, np.int32)  # the state of the spelling
        self.nats = np.zeros(0)
        self.written = np.zeros((0, FIRST_ROOM), np.int32)  # (B, T) their ids, and room for more
        self.recent = np.zeros((0, WINDOW), np.int32)
        self.logits = logits[:0]
        self.state = tuple(part[:, :0] for part in state)

    def begin(self, numbers: np.ndarray, logits: np.ndarray, state: State) -> None:
        """Add rows for these samples. logits (B, V), state: what they begin with."""
        new = len(numbers)
        room = self.written.shape[1]
        self.number = np.append(self.number, numbers)
        self.position = np.append(self.position, np.zeros(new, np.int64))
        self.chars = np.append(self.chars, np.zeros(new, np.int64))
        self.spelled = np.append(self.spelled, np.zeros(new, np.int32))
        self.nats = np.append(self.nats, np.zeros(new))
        self.written = np.concatenate([self.written, np.zeros((new, room), np.int32)])
        self.recent = np.concatenate([self.recent, np.full((new, WINDOW), -1, np.int32)])
        self.logits = np.concatenate([self.logits, logits])
        self.state = tuple(
            np.concatenate([part, fresh], 1) for part, fresh in zip(self.state, state, strict=True)
        )

    def append(self, ids: np.ndarray, plan: Plan) -> None:
        """Write down ids (B,), drawn from the logits."""
        self.nats += surprise(self.logits, ids)
        if self.position.max() == self.written.shape[1]:
            self.written = np.concatenate([self.written, np.zeros_like(self.written)], 1)
        rows = np.arange(len(ids))
        self.written[rows, self.position] = ids
        self.position += 1
        plan.end_characters(rows, ids, self.spelled, self.chars, self.recent)

    def are_over(self, plan: Plan, ids: np.ndarray) -> np.ndarray:
        """Return (B,) bool: does a row end with its newest id?"""
        is_over: np.ndarray = (self.chars >= plan.length) | (ids == plan.newline)
        if len(plan.until):
            for row in np.flatnonzero(ids == plan.until[-1]):
                newest = self.written[row, : self.position[row]][-len(plan.until) :]
                is_over[row] |= np.array_equal(newest, plan.until)
        return is_over

    def text(self, row: int) -> np.ndarray:
        """Return a copy of the ids of a row."""
        return self.written[row, : self.position[row]].copy()

    def keep(self, is_kept: np.ndarray) -> None:
        """Leave only these rows (B,) bool."""
        self.number = self.number[is_kept]
        self.position = self.position[is_kept]
        self.chars = self.chars[is_kept]
        self.spelled = self.spelled[is_kept]
        self.nats = self.nats[is_kept]
        self.written = self.written[is_kept]
        self.recent = self.recent[is_kept]
        self.logits = self.logits[is_kept]
        self.state = tuple(part[:, is_kept] for part in self.state)

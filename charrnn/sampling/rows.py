"""Rows of the compiled kernel: samples that write side by side, and their order of start.

A row whose sample has ended begins the next one at once. Each thread has rows of its own and asks
for the numbers of the samples it begins; what it finishes waits until all before it are given out.
Letters: R rows, D layers of the state, V vocabulary, H' and V' padded sizes (packed.py).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator

import numpy as np

from charrnn.sampling.decode import WINDOW
from charrnn.sampling.pace import Pace
from charrnn.sampling.packed import KernelState, Packed, address_of, padded
from charrnn.sampling.steps import MAX_SCORES, MAX_WAITING, Finished, Place, Plan, State

PAUSE_S = 0.03  # how long a call may keep the interpreter waiting
MAX_ROWS = 60  # samples side by side, for one thread: measured, from 24 on the same speed
LEAST_SHARE = 16  # samples for a thread: fewer are not worth one
ROOM_OF_ONE, ROOM_OF_MANY = 4096, 128  # characters of a row at first; it grows
MAX_PARCEL = 256  # numbers of samples that a thread gets at a time
DONE, STARVED, PAUSED, WRITTEN_FULL, OUT_FULL = range(5)  # why charrnn_write returned

_int = ctypes.c_int64
_float = ctypes.c_double
_pointer = ctypes.c_void_p


class _Job(ctypes.Structure):
    """What charrnn_write does: Job of kernel/sampling.h, field by field."""

    _fields_ = [
        # How a character is drawn
        ("temperature", _float),
        ("top_p", _float),
        ("min_p", _float),
        ("penalty", _float),
        ("top_k", _int),
        ("seed", _int),
        # When a sample ends
        ("length", _int),
        ("until", _pointer),
        ("overlap", _pointer),
        ("until_length", _int),
        ("newline", ctypes.c_int32),
        ("want_nats", ctypes.c_int32),
        # Which samples begin, and from where
        ("next", _int),
        ("stop", _int),
        ("last", _int),
        ("first_h", _pointer),
        ("first_c", _pointer),
        ("first_logits", _pointer),
        ("first_node", _int),
        ("first_spelled", _int),
        # The rows
        ("rows", _int),
        ("active", _int),
        ("index", _pointer),
        ("position", _pointer),
        ("chars", _pointer),
        ("matched", _pointer),
        ("nats", _pointer),
        ("h", _pointer),
        ("h_next", _pointer),
        ("c", _pointer),
        ("logits", _pointer),
        ("node", _pointer),
        ("spelled", _pointer),
        ("recent", _pointer),
        ("written", _pointer),
        ("capacity", _int),
        ("base", _int),
        # What has ended
        ("record", _pointer),
        ("record_nats", _pointer),
        ("out", _pointer),
        ("records", _int),
        ("max_records", _int),
        ("out_used", _int),
        ("out_capacity", _int),
        # One call
        ("seconds", _float),
        ("threads", _int),
    ]


def write_many(
    network: Packed,
    plan: Plan,
    begin: tuple[np.ndarray, State],
    first: int,
    stop: int,
    threads: int,
) -> Iterator[Finished]:
    """Return samples first ... stop - 1, in order, as they are ready.

    begin: logits (1, V) and state after the prompt. Memory for the rows is taken at once.
    """
    count = stop - first
    most = max(1, min(MAX_ROWS, MAX_SCORES // network.vocabulary_size))
    # Many rows are dealt to the threads; a row alone is split over them.
    shares = max(1, min(threads, count // LEAST_SHARE))
    rows_each = max(1, min(most, count // shares))
    jobs = [Rows(network, plan, rows_each, *begin) for _ in range(shares)]
    return written(jobs, Supply(first, stop, shares, rows_each), threads)


def written(jobs: list[Rows], supply: Supply, threads: int) -> Iterator[Finished]:
    """Yield the samples of a supply, in order, as they are ready."""
    if len(jobs) > 1:
        return _written_side_by_side(jobs, supply)
    if jobs[0].job.rows > 1:
        threads = 1
    return _written_alone(jobs[0], supply, threads)


def _written_alone(rows: Rows, supply: Supply, threads: int) -> Iterator[Finished]:
    pace = Pace(threads)
    while not supply.is_over:
        supply.give(rows)
        rows.job.threads = pace.next()
        began = time.perf_counter()
        before = int(rows.position[0])
        rows.run()
        chars = int(rows.position[0]) - before
        pace.took(rows.job.threads, chars, time.perf_counter() - began)
        if ready := supply.waiting.collect(rows):
            yield ready


def _written_side_by_side(jobs: list[Rows], supply: Supply) -> Iterator[Finished]:
    """One thread for each job."""
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait  # 10 ms

    with ThreadPoolExecutor(len(jobs)) as pool:
        running: dict[Future[int], Rows] = {}
        idle = jobs
        while not supply.is_over:
            for rows in idle:
                supply.give(rows)
                if rows.job.active or rows.job.next < rows.job.stop:
                    running[pool.submit(rows.run)] = rows
            idle = [rows for rows in jobs if rows not in running.values()]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rows = running.pop(future)
                future.result()
                idle.append(rows)
                if ready := supply.waiting.collect(rows):
                    yield ready


class Supply:
    """The numbers of the samples that rows begin next, and the samples that wait for their turn."""

    def __init__(self, first: int, stop: int, shares: int, rows_each: int) -> None:
        self._begun = first  # the next to begin
        self._stop = stop
        self._parcel = max(rows_each, min(MAX_PARCEL, (stop - first) // (4 * shares)))
        self._ahead = MAX_WAITING if shares == 1 else max(MAX_WAITING, 2 * shares * rows_each)
        self.waiting = Waiting(first)

    @property
    def is_over(self) -> bool:
        """Are all samples given out?"""
        return self.waiting.due >= self._stop

    def give(self, rows: Rows) -> None:
        """Let the rows begin more samples, not too far ahead of those that are due."""
        job = rows.job
        if job.next == job.stop:
            room = self.waiting.due + self._ahead - self._begun
            left = min(self._stop - self._begun, self.most_at_once(self._begun))
            new = max(0, min(self._parcel, left, room))
            if new:
                self.prepare(rows, self._begun)
            job.next = self._begun
            job.stop = self._begun + new
            self._begun += new
        job.last = self._begun == self._stop or job.next == job.stop

    def most_at_once(self, number: int) -> int:
        """Return how many samples from this number on may begin in the same call."""
        return self._stop - number

    def prepare(self, rows: Rows, number: int) -> None:
        """Make rows ready for the samples from this number on."""


class Waiting:
    """Samples that have ended, until all before them have.

    They are kept as arrays, since a thousand numbers cost little more than one.
    """

    def __init__(self, first: int) -> None:
        self.due = first  # the next to give out
        self._records = np.zeros((0, 3), np.int64)  # index, length, place in ids
        self._nats = np.zeros(0)
        self._ids = np.zeros(0, np.int32)

    def collect(self, rows: Rows) -> Finished | None:
        """Take what the rows have finished; return what is ready, in order."""
        job = rows.job
        if not job.records:
            return None
        new = rows.record[: job.records] + np.array([0, 0, len(self._ids)])
        records = np.concatenate([self._records, new])
        nats = np.append(self._nats, rows.record_nats[: job.records])
        ids = np.append(self._ids, rows.out[: job.out_used])
        job.records = 0
        job.out_used = 0

        # In order of their numbers; the first of them that are due without a gap are ready.
        order = np.argsort(records[:, 0])
        is_due = records[order, 0] == self.due + np.arange(len(order))
        ready = int(is_due.sum())
        now = order[:ready]
        later = order[ready:]
        finished = Finished(
            self.due,
            _gathered(ids, records[now]),
            records[now, 1].tolist(),
            nats[now].tolist(),
        )
        self.due += ready

        self._ids = _gathered(ids, records[later])
        self._records = records[later]
        self._records[:, 2] = np.cumsum(self._records[:, 1]) - self._records[:, 1]
        self._nats = nats[later]
        return finished if ready else None


class Rows:
    """The arrays of one job: rows that write side by side, on one thread at a time."""

    def __init__(
        self,
        network: Packed,
        plan: Plan,
        rows: int,
        first_logits: np.ndarray,
        first_state: State,
    ) -> None:
        """first_logits (1, V), first_state: what every sample begins with."""
        self._network = network
        self._streams = False  # the caller takes what is written as it comes, and moves `base`
        decoding = plan.decoding
        scores = padded(network.vocabulary_size)
        shape = (network.depth, rows, padded(network.hidden_size))  # (D, R, H')
        room = ROOM_OF_ONE if rows == 1 else ROOM_OF_MANY
        capacity = min(plan.length, room)
        c = np.zeros(0, np.float32)
        if network.cell == "lstm":
            c = np.zeros(shape, np.float32)

        self.position = np.zeros(rows, np.int64)  # ids of each row so far
        self.chars = np.zeros(rows, np.int64)  # its whole characters
        self.spelled = np.zeros(rows, np.int32)  # its state of the spelling
        self.written = np.empty((rows, capacity), np.int32)  # their ids
        self.record = np.empty((rows + 4096, 3), np.int64)  # of ended samples: see Waiting
        self.record_nats = np.empty(rows + 4096)
        self.out = np.empty(max(1 << 15, 2 * rows * capacity), np.int32)  # ids of ended samples
        self.arrays: dict[str, np.ndarray] = {
            "until": plan.until.astype(np.int32),
            "overlap": overlaps(plan.until),
            "index": np.zeros(rows, np.int64),  # which sample a row writes
            "position": self.position,
            "chars": self.chars,
            "matched": np.zeros(rows, np.int64),  # of `until`
            "nats": np.zeros(rows),
            "h": np.zeros(shape, np.float32),
            "h_next": np.zeros(shape, np.float32),
            "c": c,
            "logits": np.zeros((rows, scores), np.float32),
            "node": np.zeros(rows, np.int32),
            "spelled": self.spelled,
            "recent": np.zeros((rows, WINDOW), np.int32),
        }
        self.job = _Job(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            min_p=decoding.min_p,
            penalty=decoding.repetition_penalty,
            top_k=min(decoding.top_k, network.vocabulary_size),
            seed=plan.seed,
            length=plan.length,
            until_length=len(plan.until),
            newline=plan.newline,
            want_nats=1,
            rows=rows,
            max_records=len(self.record),
            capacity=capacity,
            out_capacity=len(self.out),
            seconds=PAUSE_S,
            threads=1,
        )
        for name, array in self.arrays.items():
            setattr(self.job, name, address_of(array))
        self._point()
        self.begin_with(first_logits, first_state)

    def begin_with(self, logits: np.ndarray, state: State) -> None:
        """Let the samples that begin from now on begin with logits (1, V) and this state."""
        network = self._network
        wide = np.full((1, padded(network.vocabulary_size)), -np.inf, np.float32)  # (1, V')
        wide[:, : network.vocabulary_size] = logits
        first = network.packed_state(state)
        for name, array in (("first_h", first.h), ("first_c", first.c), ("first_logits", wide)):
            self.arrays[name] = array
            setattr(self.job, name, address_of(array))
        self.job.first_node = int(first.nodes.sum())  # of one row, or of none
        self.job.first_spelled = int(first.spelled.sum())

    def _point(self) -> None:
        """Tell the job where the arrays lie that may grow."""
        self.job.written = address_of(self.written)
        self.job.record = address_of(self.record)
        self.job.record_nats = address_of(self.record_nats)
        self.job.out = address_of(self.out)

    def run(self) -> int:
        """Write for a moment and return why it stopped. Makes room where room was missing."""
        network = self._network
        job = ctypes.addressof(self.job)
        result = network.checked(network.library.charrnn_write(network.address, job))
        if result == WRITTEN_FULL and not self._streams:
            self.written = np.concatenate([self.written, np.empty_like(self.written)], 1)
            self.job.capacity = self.written.shape[1]
            self._point()
        elif result == OUT_FULL and not self.job.records:
            self.out = np.empty(2 * len(self.out), np.int32)
            self.job.out_capacity = len(self.out)
            self._point()
        return result

    def begin_at(self, place: Place) -> None:
        """Let row 0 go on from there."""
        self._streams = True
        self.job.active = 1
        self.job.last = 1
        self.job.length += place.chars
        self.position[0] = place.position
        self.chars[0] = place.chars
        self.arrays["index"][0] = place.number
        self.arrays["recent"][0] = place.recent[0]
        for name in ("h", "c"):
            self.arrays[name].reshape(-1)[:] = self.arrays[f"first_{name}"].reshape(-1)
        self.arrays["logits"][:] = self.arrays["first_logits"]
        self.arrays["node"][:] = self.job.first_node
        self.spelled[:] = self.job.first_spelled

    @property
    def is_inside(self) -> bool:
        """Is row 0 inside a character?"""
        return bool(self.spelled[0])

    def leave_at(self, place: Place) -> None:
        """Let `place` take over where row 0 stands, wherever the caller was stopped."""
        network = self._network
        parts = (self.arrays[name] for name in ("h", "c", "node", "spelled"))
        place.state = network.plain_state(KernelState(*parts))
        place.logits = self.arrays["logits"][:, : network.vocabulary_size].copy()
        place.recent[0] = self.arrays["recent"][0]
        place.position = int(self.position[0])
        place.chars = int(self.chars[0])
        if self.job.records:  # the last character was drawn, but not read
            place.pending = int(self.out[self.job.out_used - 1])


def _gathered(ids: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Return the pieces of ids that records (N, 3) name, one after the other."""
    lengths = records[:, 1]
    places = records[:, 2]
    shifts = places - (np.cumsum(lengths) - lengths)
    pieces: np.ndarray = ids[np.arange(lengths.sum()) + np.repeat(shifts, lengths)]
    return pieces


def overlaps(pattern: np.ndarray) -> np.ndarray:
    """Return the prefix function of Knuth, Morris & Pratt.

    Element i: of pattern[: i + 1], the length of the longest end that is also a beginning.
    """
    lengths = np.zeros(max(1, len(pattern)), np.int32)
    matched = 0
    for i in range(1, len(pattern)):
        while matched and pattern[i] != pattern[matched]:
            matched = int(lengths[matched - 1])
        matched += int(pattern[i] == pattern[matched])
        lengths[i] = matched
    return lengths

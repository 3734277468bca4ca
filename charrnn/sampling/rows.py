"""Rows of the compiled kernel: samples that write side by side, and their order of start.

A row whose sample has ended begins the next one at once. Each thread has rows of its own and asks for the numbers of
the samples it begins; what it finishes waits until all before it have been given out.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.sampling.compiled import PAUSE_S, Compiled, Pace, padded
from charrnn.sampling.decode import WINDOW
from charrnn.sampling.steps import MAX_SCORES, MAX_WAITING, Finished, Place, Plan, State

MAX_ROWS = 60  # samples side by side, for one thread: measured, from 24 on the same speed
DONE, STARVED, PAUSED, WRITTEN_FULL, OUT_FULL = range(5)  # why charrnn_write returned

_int, _float, _pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, _float) for name in ("temperature", "top_p", "min_p", "penalty")),
        *((name, _int) for name in ("top_k", "seed", "length")),
        *((name, _pointer) for name in ("until", "overlap")),
        ("until_length", _int),
        *((name, ctypes.c_int32) for name in ("newline", "want_nats")),
        *((name, _int) for name in ("next", "stop", "last")),
        *((name, _pointer) for name in ("first_h", "first_c", "first_logits")),
        *((name, _int) for name in ("rows", "active")),
        *(
            (name, _pointer)
            for name in ("index", "position", "matched", "nats", "h", "h_next", "c", "logits")
        ),
        *((name, _pointer) for name in ("recent", "written")),
        *((name, _int) for name in ("capacity", "base")),
        *((name, _pointer) for name in ("record", "record_nats", "out")),
        *((name, _int) for name in ("records", "max_records", "out_used", "out_capacity")),
        ("seconds", _float),
        ("threads", _int),
    ]


def write_many(
    network: Compiled,
    plan: Plan,
    begin: tuple[np.ndarray, State],
    first: int,
    stop: int,
    threads: int,
) -> Iterator[Finished]:
    """Samples first ... stop - 1, in order, as they are ready; begin: logits (1, V) and state after the prompt."""
    most = max(1, min(MAX_ROWS, MAX_SCORES // network.vocabulary_size))
    shares = max(
        1, min(threads, (stop - first) // 16)
    )  # a row alone is split over the threads instead
    rows_each = max(1, min(most, (stop - first) // shares))
    jobs = [Rows(network, plan, rows_each, *begin) for _ in range(shares)]
    begun = first  # the next to begin
    parcel = max(
        rows_each, min(256, (stop - first) // (4 * shares))
    )  # numbers a thread gets at a time
    ahead = MAX_WAITING if shares == 1 else max(MAX_WAITING, 2 * shares * rows_each)
    waiting = Waiting(first)

    def supply(rows: Rows) -> None:
        nonlocal begun
        if rows.job.next == rows.job.stop:
            new = max(0, min(parcel, stop - begun, waiting.due + ahead - begun))
            rows.job.next, rows.job.stop = begun, begun + new
            begun += new
        rows.job.last = begun == stop or rows.job.next == rows.job.stop

    if shares == 1:
        [rows], pace = jobs, Pace(threads if rows_each == 1 else 1)
        while waiting.due < stop:
            supply(rows)
            rows.job.threads, began, before = (
                pace.next(),
                time.perf_counter(),
                int(rows.position[0]),
            )
            rows.run()
            pace.took(rows.job.threads, int(rows.position[0]) - before, time.perf_counter() - began)
            if ready := waiting.collect(rows):
                yield ready
        return
    from concurrent.futures import (
        FIRST_COMPLETED,
        Future,
        ThreadPoolExecutor,
        wait,
    )  # 10 ms: only when needed

    with ThreadPoolExecutor(shares) as pool:
        running: dict[Future[int], Rows] = {}
        idle = jobs
        while waiting.due < stop:
            for rows in idle:
                supply(rows)
                if rows.job.active or rows.job.next < rows.job.stop:
                    running[pool.submit(rows.run)] = rows
            idle = [rows for rows in jobs if rows not in running.values()]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rows = running.pop(future)
                future.result()
                idle.append(rows)
                if ready := waiting.collect(rows):
                    yield ready


class Waiting:
    """Samples that have ended, until all before them have: as arrays, since a thousand numbers cost little more than one."""

    def __init__(self, first: int) -> None:
        self.due = first  # the next to give out
        self._records = np.zeros((0, 3), np.int64)  # index, length, place in ids
        self._nats = np.zeros(0)
        self._ids = np.zeros(0, np.int32)

    def collect(self, rows: Rows) -> Finished | None:
        """Take what the rows have finished; give out what is ready, in order."""
        job = rows.job
        if not job.records:
            return None
        new = rows.record[: job.records] + np.array([0, 0, len(self._ids)])
        records, nats = (
            np.concatenate([self._records, new]),
            np.append(self._nats, rows.record_nats[: job.records]),
        )
        ids = np.append(self._ids, rows.out[: job.out_used])
        job.records = job.out_used = 0
        order = np.argsort(records[:, 0])
        ready = int(
            (records[order, 0] == self.due + np.arange(len(order))).sum()
        )  # they differ from some place on
        self._records, self._nats = records[order[ready:]], nats[order[ready:]]
        now, nats_now = records[order[:ready]], nats[order[:ready]]
        given, self._ids = _gathered(ids, now), _gathered(ids, self._records)
        self._records[:, 2] = np.cumsum(self._records[:, 1]) - self._records[:, 1]
        self.due += ready
        return (
            Finished(self.due - ready, given, now[:, 1].tolist(), nats_now.tolist())
            if ready
            else None
        )


class Rows:
    """The arrays of one job: rows that write side by side, on one thread at a time."""

    def __init__(
        self,
        network: Compiled,
        plan: Plan,
        rows: int,
        first_logits: np.ndarray,
        first_state: State,
    ) -> None:
        self._network, decoding = network, plan.decoding
        self._streams = False  # the caller takes what is written as it comes, and moves `base`
        size, scores = padded(network.hidden_size), padded(network.vocabulary_size)
        first_h, first_c = network.packed_state(first_state)
        wide = np.full((1, scores), -np.inf, np.float32)
        wide[:, : network.vocabulary_size] = first_logits
        shape = (network.num_layers, rows, size)
        capacity = min(plan.length, 4096 if rows == 1 else 128)
        self.position = np.zeros(rows, np.int64)
        self.written = np.empty((rows, capacity), np.int32)
        self.out = np.empty(max(1 << 15, 2 * rows * capacity), np.int32)
        self.record, self.record_nats = np.empty((rows + 4096, 3), np.int64), np.empty(rows + 4096)
        self.arrays: dict[str, Any] = {
            "until": plan.until.astype(np.int32),
            "overlap": overlaps(plan.until),
            "first_h": first_h,
            "first_c": first_c,
            "first_logits": wide,
            "index": np.zeros(rows, np.int64),
            "position": self.position,
            "matched": np.zeros(rows, np.int64),
            "nats": np.zeros(rows),
            "h": np.zeros(shape, np.float32),
            "h_next": np.zeros(shape, np.float32),
            "c": np.zeros(shape if network.cell == "lstm" else 0, np.float32),
            "logits": np.zeros((rows, scores), np.float32),
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
            setattr(self.job, name, array.ctypes.data)
        self._point()

    def _point(self) -> None:
        for name in ("written", "record", "record_nats", "out"):
            setattr(self.job, name, getattr(self, name).ctypes.data)

    def run(self) -> int:
        """Write for a moment; returns why it stopped. Makes room where room was missing."""
        result = self._network.done(
            self._network.library.charrnn_write(self._network.at, ctypes.addressof(self.job))
        )
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
        """Row 0 goes on from there."""
        self._streams = True
        self.job.active, self.job.last = 1, 1
        self.job.length += place.position
        self.arrays["index"][0], self.position[0] = place.number, place.position
        self.arrays["recent"][0] = place.recent[0]
        for to in ("h", "c"):
            self.arrays[to].reshape(-1)[:] = self.arrays[f"first_{to}"].reshape(-1)
        self.arrays["logits"][:] = self.arrays["first_logits"]

    def leave_at(self, place: Place) -> None:
        """`place` takes over where row 0 stands, wherever the caller was stopped."""
        network = self._network
        place.state = network.plain_state(self.arrays["h"], self.arrays["c"])
        place.logits = self.arrays["logits"][:, : network.vocabulary_size].copy()
        place.recent[0] = self.arrays["recent"][0]
        place.position = int(self.position[0])
        if self.job.records:  # the last character was drawn, but not read
            place.pending = int(self.out[self.job.out_used - 1])


def _gathered(ids: np.ndarray, records: np.ndarray) -> np.ndarray:
    """The pieces of ids that records (N, 3) name, one after the other."""
    lengths, places = records[:, 1], records[:, 2]
    shifts = places - (np.cumsum(lengths) - lengths)
    return ids[np.arange(lengths.sum()) + np.repeat(shifts, lengths)]


def overlaps(pattern: np.ndarray) -> np.ndarray:
    """The prefix function of Knuth, Morris & Pratt: of pattern[: i + 1], the longest end that is also a beginning."""
    found = np.zeros(max(1, len(pattern)), np.int32)
    matched = 0
    for i in range(1, len(pattern)):
        while matched and pattern[i] != pattern[matched]:
            matched = int(found[matched - 1])
        matched += int(pattern[i] == pattern[matched])
        found[i] = matched
    return found

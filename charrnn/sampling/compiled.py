"""A model packed for the compiled kernel (kernel/sampling.c), and one row of it. Same answers as network.Network, faster."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.kernel.library import CELLS, library
from charrnn.sampling.decode import surprise
from charrnn.sampling.network import Network
from charrnn.sampling.steps import Finished, Place, Plan, State

UNITS = 16  # every width is padded to a multiple of this
PANEL = 64  # outputs side by side in memory; three gates: 96. One row: as many sums as hide the latency of one
HUGE_PAGE = 2 << 20
PAUSE_S = 0.03  # how long a call may keep the interpreter waiting
SKIPS = ("none", "residual", "dense")

_int, _float, _pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class _Matrix(ctypes.Structure):
    _fields_ = [
        ("weights", _pointer),
        ("bias", _pointer),
        ("inputs", _int),
        ("columns", _int),
        ("panel", _int),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [("input", _Matrix), ("recurrent", _Matrix), ("candidate", _Matrix)]


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "skip", "half", "level")),
        *(
            (name, _int)
            for name in ("vocabulary", "embedding_size", "hidden_size", "layers", "width")
        ),
        *((name, _pointer) for name in ("embedding", "table")),
        ("head", _Matrix),
        ("layer", ctypes.POINTER(_Layer)),
    ]


class Pace:
    """How many threads the next call gets: all or one, whichever was faster when last tried.

    On an idle machine two threads write with a model of 10 MB 1.7 times as fast as one. Beside a busy program they wait
    for each other, and can be ten times slower. What is written depends on neither.
    """

    def __init__(self, threads: int) -> None:
        self._rates = {threads: math.inf, 1: math.inf}  # what has not been tried comes first
        self._calls = 0

    def next(self) -> int:
        self._calls += 1
        pick = (
            min if self._calls % 32 == 0 else max
        )  # now and then the other, in case times have changed
        return pick(self._rates, key=self._rates.__getitem__)

    def took(self, threads: int, chars: int, seconds: float) -> None:
        self._rates[threads] = chars / max(seconds, 1e-9)


def padded(count: int) -> int:
    return -(-count // UNITS) * UNITS


class Compiled:
    """A model packed for the kernel; same methods as Network. It never changes: threads may share it."""

    engine = "compiled"

    def __init__(self, network: Network, level: int | None = None) -> None:
        """level: an instruction set up to the best one of this processor. Raises OSError if there is no library."""
        loaded = library()
        if loaded is None:
            raise OSError("the compiled kernel is not built")
        self.library = loaded
        self._kept: list[np.ndarray] = []  # what the structures point to
        self._memory = _Memory()
        self.name, self.cell, self.half = network.name, network.cell, network.half
        self.hidden_size, self.num_layers = network.hidden_size, network.num_layers
        self.vocabulary_size = network.vocabulary_size
        gates = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}[self.cell]
        panel = 96 if gates == 3 else PANEL
        layers = (_Layer * self.num_layers)()
        for k, layer in enumerate(network.layers):
            if k:
                layers[k].input = self._matrix(layer.weight_ih, layer.bias, gates, panel)
            if self.cell == "gru-before":
                inner = 2 * self.hidden_size
                layers[k].recurrent = self._matrix(layer.weight_hh[:, :inner], None, 2, PANEL)
                layers[k].candidate = self._matrix(layer.weight_hh[:, inner:], None, 1, PANEL)
            else:
                bias = None
                if layer.bias_hn is not None:
                    bias = np.concatenate(
                        [np.zeros(2 * self.hidden_size, np.float32), layer.bias_hn]
                    )
                layers[k].recurrent = self._matrix(layer.weight_hh, bias, gates, panel)
        self._layers = layers
        width = len(network.head)
        arranged = _columns(network.table, gates)
        table = self._memory.take(arranged.size, np.float32).reshape(arranged.shape)
        table[...] = arranged
        head_bias = np.full(padded(self.vocabulary_size), -np.inf, np.float32)
        head_bias[: self.vocabulary_size] = network.head_bias
        head = self._matrix(network.head, None, 1, PANEL)
        head.bias = self._keep(head_bias)
        embedding = np.ascontiguousarray(network.embedding)
        best = int(loaded.charrnn_level())
        self._model = _Model(
            CELLS.index(self.cell),
            SKIPS.index(network.skip),
            self.half,
            best if level is None else min(level, best),
            self.vocabulary_size,
            embedding.shape[1],
            self.hidden_size,
            self.num_layers,
            width,
            self._keep(embedding),
            self._keep(table),
            head,
            layers,
        )
        self.size_bytes = sum(array.nbytes for array in self._kept)

    def zero_state(self, batch: int) -> State:
        shape = (self.num_layers, batch, self.hidden_size)
        return tuple(np.zeros(shape, np.float32) for _ in range(1 + (self.cell == "lstm")))

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> logits (B, V) of the character after them, and a new state."""
        ids = self._checked(ids, state, len(ids))
        h, c = self.packed_state(state)
        logits = np.empty((len(ids), padded(self.vocabulary_size)), np.float32)
        self.done(self.library.charrnn_step(self.at, len(ids), *map(_address, (ids, h, c, logits))))
        return logits[:, : self.vocabulary_size], self.plain_state(h, c)

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """As step."""
        return self.step(ids, state)

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        """ids (N,), N >= 1, in one row -> logits (1, V), a new state, and the nats of all ids but the first."""
        ids = self._checked(ids, state, 1)
        h, c = self.packed_state(state)
        logits, nats = np.empty((1, padded(self.vocabulary_size)), np.float32), ctypes.c_double()
        at, pace = 0, Pace(threads)
        while at < len(ids):
            if at:  # what came before the pause predicts the first id after it
                nats.value += self._surprise(logits, int(ids[at]))
            now, began = pace.next(), time.perf_counter()
            place = (
                ids.ctypes.data + 4 * at,
                len(ids) - at,
                *map(_address, (h, c, logits)),
                ctypes.addressof(nats),
            )
            count = self.done(self.library.charrnn_read(self.at, *place, PAUSE_S, now))
            pace.took(now, count, time.perf_counter() - began)
            at += count
        return logits[:, : self.vocabulary_size], self.plain_state(h, c), nats.value

    def write(self, plan: Plan, place: Place, *, threads: int = 1) -> Iterator[np.ndarray]:
        """Ids of one text from `place` on, in pieces of about 30 ms; `place` follows with each piece."""
        from charrnn.sampling.rows import DONE, Rows

        if plan.length == 0:
            return
        if place.pending >= 0:
            place.logits, place.state = self.step(np.array([place.pending]), place.state)
            place.pending = -1
        rows, pace = Rows(self, plan, 1, place.logits, place.state), Pace(threads)
        rows.job.want_nats = 0
        rows.begin_at(place)
        capacity = rows.job.capacity
        rows.job.capacity = min(32, capacity)  # the first ones at once
        result = None
        while result != DONE:
            rows.job.base = begin = int(rows.position[0])
            rows.job.threads, began = pace.next(), time.perf_counter()
            result = rows.run()
            count = int(rows.position[0]) - begin
            if rows.job.capacity == capacity:  # the first call is too short to judge by
                pace.took(rows.job.threads, count, time.perf_counter() - began)
            rows.job.capacity = capacity
            written = rows.out[: rows.job.out_used] if result == DONE else rows.written[0, :count]
            rows.leave_at(place)  # before the caller has the piece, who may stop here
            if len(written):
                yield written.copy()

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
        from charrnn.sampling.rows import write_many

        return write_many(self, plan, begin, first, stop, threads)

    # What the kernel sees

    @property
    def at(self) -> int:
        return ctypes.addressof(self._model)

    def _checked(self, ids: np.ndarray, state: State, rows: int) -> np.ndarray:
        """ids as the kernel reads them, which trusts them and the state. Raises IndexError, ValueError."""
        ids = np.asarray(ids)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise IndexError(f"an id is not in 0 ... {self.vocabulary_size - 1}")
        shapes, expected = (
            [part.shape for part in state],
            [part.shape for part in self.zero_state(rows)],
        )
        if shapes != expected:
            raise ValueError(f"a state of shapes {shapes} does not fit this model: {expected}")
        return np.ascontiguousarray(ids, np.int32)

    def _surprise(self, logits: np.ndarray, target: int) -> float:
        return float(surprise(logits[:, : self.vocabulary_size], np.array([target]))[0])

    @staticmethod
    def done(result: int) -> int:
        if result < 0:
            raise MemoryError("the sampler found no memory")
        return result

    def _keep(self, array: np.ndarray) -> int:
        self._kept.append(array)
        return array.ctypes.data

    def _matrix(
        self, weights: np.ndarray, bias: np.ndarray | None, gates: int, panel: int
    ) -> _Matrix:
        """Pack weights (K, gates x N). Columns: blocks of 16 units, all gates of a block together; then panels."""
        arranged = _columns(weights, gates)
        inputs, columns = arranged.shape
        packed = self._memory.take(inputs * columns, np.float16 if self.half else np.float32)
        whole = columns // panel * panel
        body = packed[: inputs * whole].reshape(whole // panel, inputs, panel)
        body[...] = arranged[:, :whole].reshape(inputs, whole // panel, panel).swapaxes(0, 1)
        packed[inputs * whole :].reshape(inputs, columns - whole)[...] = arranged[:, whole:]
        full_bias = np.zeros((1, weights.shape[1]), np.float32) if bias is None else bias[None]
        return _Matrix(
            self._keep(packed), self._keep(_columns(full_bias, gates)), inputs, columns, panel
        )

    def packed_state(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """(L, B, H) -> (L, B, H') for h and c; without c, an empty one."""
        parts = []
        for part in state:
            wide = np.zeros((*part.shape[:2], padded(self.hidden_size)), np.float32)
            wide[..., : self.hidden_size] = part
            parts.append(wide)
        return parts[0], parts[1] if len(parts) > 1 else np.zeros(0, np.float32)

    def plain_state(self, h: np.ndarray, c: np.ndarray) -> State:
        return tuple(
            part[..., : self.hidden_size].copy() for part in (h, c)[: 1 + (self.cell == "lstm")]
        )


def _columns(weights: np.ndarray, gates: int) -> np.ndarray:
    """(K, gates x N) -> (K, gates x N'): blocks of 16 units, in each block gate after gate; N' = N padded with zeros."""
    inputs, units = len(weights), weights.shape[1] // gates
    wide = np.zeros((inputs, gates, padded(units)), np.float32)
    wide[:, :, :units] = weights.reshape(inputs, gates, units)
    blocks = wide.reshape(inputs, gates, -1, UNITS).swapaxes(1, 2)
    return np.ascontiguousarray(blocks).reshape(inputs, -1)


class _Memory:
    """Room for what every character reads: whole cache lines, on huge pages where the system has them.

    Pages of 4 KiB land in each other's way in the second-level cache: measured, up to a quarter of the speed, at random.
    """

    def __init__(self) -> None:
        self._room = np.zeros(0, np.uint8)

    def take(self, count: int, dtype: Any) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if size > len(self._room):
            whole = -(-size // HUGE_PAGE) * HUGE_PAGE
            if hasattr(mmap, "MADV_HUGEPAGE"):
                pages = mmap.mmap(
                    -1, whole + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
                )
                with contextlib.suppress(OSError):
                    pages.madvise(mmap.MADV_HUGEPAGE)
                mapped = np.frombuffer(pages, np.uint8)
            else:
                mapped = np.empty(whole + HUGE_PAGE, np.uint8)
            offset = -mapped.ctypes.data % HUGE_PAGE
            self._room = mapped[offset : offset + whole]
        taken, self._room = self._room[:size], self._room[-(-size // 64) * 64 :]
        return taken.view(dtype)


def _address(array: np.ndarray) -> int:
    return array.ctypes.data

"""A model packed in memory as the compiled kernel reads it (kernel/sampling.c).

No verbs: see compiled.py and rows.py.

Letters: B rows, V vocabulary, H hidden size, L layers, K inputs of a matrix. H', N' and V' are
H, N and V padded to a multiple of UNITS.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import mmap
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from charrnn.kernel.library import CELLS, library
from charrnn.layout import GATES
from charrnn.sampling.allied import PackedAlly
from charrnn.sampling.network import Layer, Network, without_past, zero_state
from charrnn.sampling.steps import State

if TYPE_CHECKING:
    from numpy.typing import DTypeLike  # slow to load

    from charrnn.text.gate import Ally
    from charrnn.text.spelling import Spelling

UNITS = 16  # every width is padded to a multiple of this
PANEL = 64  # outputs side by side in memory: as many sums as hide the latency of one
PANEL_OF_THREE_GATES = 96
HUGE_PAGE = 2 << 20
CACHE_LINE = 64
SKIPS = ("none", "residual", "dense")

_int = ctypes.c_int64
_pointer = ctypes.c_void_p


# The structures of kernel/sampling.h, field by field.


class _Matrix(ctypes.Structure):
    _fields_ = [
        ("weights", _pointer),
        ("bias", _pointer),
        ("inputs", _int),
        ("columns", _int),
        ("panel", _int),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        ("input", _Matrix),
        ("recurrent", _Matrix),
        ("candidate", _Matrix),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("cell", ctypes.c_int32),
        ("skip", ctypes.c_int32),
        ("half", ctypes.c_int32),
        ("level", ctypes.c_int32),
        *((name, _int) for name in ("vocabulary", "inputs", "embedding_size", "hidden_size")),
        *((name, _int) for name in ("layers", "depth", "past", "width")),
        ("embedding", _pointer),
        ("table", _pointer),
        ("past_tables", _pointer),
        ("head", _Matrix),
        ("layer", ctypes.POINTER(_Layer)),
        ("ally", _pointer),
        ("spelling", _pointer),
    ]


class _Spelling(ctypes.Structure):
    _fields_ = [
        ("after", _pointer),
        ("table", _pointer),
        ("first", _int),
    ]


class KernelState(NamedTuple):
    """A state as the kernel has it: h, c (D, B, H'); nodes, states of the spelling (B,) int32."""

    h: np.ndarray
    c: np.ndarray
    nodes: np.ndarray
    spelled: np.ndarray


class Packed:
    """A network packed for the kernel, and its states. It never changes: threads may share it."""

    def __init__(
        self,
        network: Network,
        level: int | None = None,
        ally: Ally | None = None,
        spelling: Spelling | None = None,
    ) -> None:
        """Pack the weights of a network.

        level: an instruction set up to the best one of this processor; None: the best one.
        ally: the n-grams beside it. spelling: where rare characters are bytes.
        Raises OSError if there is no library.
        """
        loaded = library()
        if loaded is None:
            raise OSError("the compiled kernel is not built")
        self.library = loaded
        self.name = network.name
        self.cell = network.cell
        self.half = network.half
        self.hidden_size = network.hidden_size
        self.num_layers = network.num_layers
        self.past_size = network.past_size
        # The kernel keeps what a convolution sees of the past as one more layer of h.
        self.depth = self.num_layers + (self.past_size > 0)
        self.vocabulary_size = network.vocabulary_size
        self.input_size = len(network.embedding)  # of ids that may be read: with labels
        self._kept: list[np.ndarray] = []  # what the structures point to
        self._memory = _Memory()

        self._layers = (_Layer * self.num_layers)()
        for k, layer in enumerate(network.layers):
            self._pack_layer(self._layers[k], k, layer)

        # Layer 0 looks its input products up: one row a character.
        table = self._table(network.table)
        past_tables = 0
        if self.past_size:
            rows = network.past_tables.reshape(-1, network.table.shape[1])  # ((K-1) rows, G)
            past_tables = self._keep(self._table(rows))

        # Padding of the head can never be drawn: its logits are -inf.
        head_bias = np.full(padded(self.vocabulary_size), -np.inf, np.float32)  # (V',)
        head_bias[: self.vocabulary_size] = network.head_bias
        head = self._matrix(network.head, None, 1, PANEL)
        head.bias = self._keep(head_bias)

        embedding = np.ascontiguousarray(network.embedding)
        best = int(loaded.charrnn_level())
        self._model = _Model(
            cell=CELLS.index(self.cell),
            skip=SKIPS.index(network.skip),
            half=self.half,
            level=best if level is None else min(level, best),
            vocabulary=self.vocabulary_size,
            inputs=self.input_size,
            embedding_size=embedding.shape[1],
            hidden_size=self.hidden_size,
            layers=self.num_layers,
            depth=self.depth,
            past=self.past_size,
            width=len(network.head),
            embedding=self._keep(embedding),
            table=self._keep(table),
            past_tables=past_tables,
            head=head,
            layer=self._layers,
        )
        self.size_bytes = sum(array.nbytes for array in self._kept)
        self._ally: PackedAlly | None = None
        self._counted = ally
        self._of_labels: dict[int, PackedAlly] = {}
        if ally is not None:
            self.name += f" and {ally.contexts.order}-gram"
            self._first_node = ally.contexts.start
            self._ally = PackedAlly(ally)
            self._model.ally = self._ally.address
        self._spelling: _Spelling | None = None
        if spelling is not None:
            labels = self.input_size - self.vocabulary_size
            self._spelling = _Spelling(
                after=self._keep(np.pad(spelling.after, (0, labels))),
                table=self._keep(np.ascontiguousarray(spelling.table)),
                first=spelling.first,
            )
            self._model.spelling = ctypes.addressof(self._spelling)

    def for_label(self, number: int) -> Self:
        """Return this model for lines with a label, numbered from 1 on; 0: none."""
        if self._counted is None or self._counted.by_label is None:
            return self
        if number not in self._counted.by_label.owned:
            number = 0  # counted as all are
        if number not in self._of_labels:
            self._of_labels[number] = PackedAlly(self._counted.of(number))
        twin = copy.copy(self)
        twin._ally = self._of_labels[number]
        twin._model = _Model.from_buffer_copy(self._model)
        twin._model.ally = twin._ally.address
        return twin

    @property
    def address(self) -> int:
        """Return where the kernel finds the model."""
        return ctypes.addressof(self._model)

    @staticmethod
    def checked(result: int) -> int:
        """Return what a call of the kernel returned.

        Raises MemoryError where it found no memory.
        """
        if result < 0:
            raise MemoryError("the sampler found no memory")
        return result

    # States: (L, B, H) here, (D, B, H') in the kernel. D is L, or L + 1 with a convolution: the
    # last "layer" of h then holds the ids that it sees, each plus 1. Floats hold them exactly.
    # Where rare characters are bytes the states of the spelling follow, and then the nodes of an
    # ally: (1, B) here and (B,) in the kernel.

    def zero_state(self, batch: int) -> State:
        """Return the state before any character: see network.zero_state.

        The states of the spelling (1, B) and the nodes (1, B) of an ally follow.
        """
        state = zero_state(self, batch)
        if self._spelling is not None:
            state = (*state, np.zeros((1, batch), np.int32))
        if self._ally is not None:
            state = (*state, np.full((1, batch), self._first_node, np.int64))
        return state

    def packed_state(self, state: State) -> KernelState:
        """Return a state as the kernel reads it; what it has not is empty."""
        nodes = np.zeros(0, np.int32)
        spelled = np.zeros(0, np.int32)
        if self._ally is not None:
            nodes = state[-1][0].astype(np.int32)
            state = state[:-1]
        if self._spelling is not None:
            spelled = state[-1][0].astype(np.int32)
            state = state[:-1]
        state, past = without_past(self, state)
        parts: list[np.ndarray] = []
        for part in state:
            wide = np.zeros((self.depth, part.shape[1], padded(self.hidden_size)), np.float32)
            wide[: self.num_layers, :, : self.hidden_size] = part
            parts.append(wide)
        if self.past_size:
            parts[0][-1, :, : self.past_size] = past.T
        if len(parts) == 1:
            parts.append(np.zeros(0, np.float32))
        return KernelState(parts[0], parts[1], nodes, spelled)

    def plain_state(self, packed: KernelState) -> State:
        """Return the state (L, B, H) of the kernel's."""
        h = packed.h
        parts = (h, packed.c) if self.cell == "lstm" else (h,)
        state: State = tuple(
            part[: self.num_layers, :, : self.hidden_size].copy() for part in parts
        )
        if self.past_size:
            state = (*state, h[-1, :, : self.past_size].T.astype(np.int64))
        if self._spelling is not None:
            state = (*state, packed.spelled[None].copy())
        if self._ally is not None:
            state = (*state, packed.nodes[None].astype(np.int64))
        return state

    # Packing

    def _pack_layer(self, into: _Layer, k: int, layer: Layer) -> None:
        gates = GATES[self.cell]
        panel = PANEL_OF_THREE_GATES if gates == 3 else PANEL
        if k:
            into.input = self._matrix(layer.weight_ih, layer.bias, gates, panel)
        if self.cell == "gru-before":
            # Two products one after the other: the gates, then the candidate of the reset state.
            inner = 2 * self.hidden_size
            into.recurrent = self._matrix(layer.weight_hh[:, :inner], None, 2, PANEL)
            into.candidate = self._matrix(layer.weight_hh[:, inner:], None, 1, PANEL)
            return
        bias = None
        if layer.bias_hn is not None:
            bias = np.concatenate([np.zeros(2 * self.hidden_size, np.float32), layer.bias_hn])
        into.recurrent = self._matrix(layer.weight_hh, bias, gates, panel)

    def _matrix(
        self, weights: np.ndarray, bias: np.ndarray | None, gates: int, panel: int
    ) -> _Matrix:
        """Pack weights (K, gates x N): panels of blocks of UNITS units, gates together."""
        arranged = _columns(weights, gates)
        inputs, columns = arranged.shape
        packed = self._memory.take(inputs * columns, np.float16 if self.half else np.float32)
        whole = columns // panel * panel
        body = packed[: inputs * whole].reshape(whole // panel, inputs, panel)
        body[...] = arranged[:, :whole].reshape(inputs, whole // panel, panel).swapaxes(0, 1)
        rest = packed[inputs * whole :].reshape(inputs, columns - whole)
        rest[...] = arranged[:, whole:]

        full_bias = np.zeros((1, weights.shape[1]), np.float32)
        if bias is not None:
            full_bias = bias[None]
        return _Matrix(
            weights=self._keep(packed),
            bias=self._keep(_columns(full_bias, gates)),
            inputs=inputs,
            columns=columns,
            panel=panel,
        )

    def _table(self, rows: np.ndarray) -> np.ndarray:
        """Return input products (any, G) as the kernel looks them up."""
        arranged = _columns(rows, GATES[self.cell])
        table = self._memory.take(arranged.size, np.float32).reshape(arranged.shape)
        table[...] = arranged
        return table

    def _keep(self, array: np.ndarray) -> int:
        self._kept.append(array)
        return address_of(array)


def padded(count: int) -> int:
    """Return count, rounded up to a multiple of UNITS."""
    return -(-count // UNITS) * UNITS


def address_of(array: np.ndarray) -> int:
    """Return where an array's numbers begin. The caller keeps the array."""
    return array.ctypes.data


def _columns(weights: np.ndarray, gates: int) -> np.ndarray:
    """Arrange (K, gates x N) as (K, gates x N'): blocks of UNITS units, in each gate after gate."""
    inputs = len(weights)
    units = weights.shape[1] // gates
    wide = np.zeros((inputs, gates, padded(units)), np.float32)
    wide[:, :, :units] = weights.reshape(inputs, gates, units)
    blocks = wide.reshape(inputs, gates, -1, UNITS).swapaxes(1, 2)
    return np.ascontiguousarray(blocks).reshape(inputs, -1)


class _Memory:
    """Room for what every character reads: whole cache lines, on huge pages where there are any.

    Pages of 4 KiB land in each other's way in the second-level cache: measured, up to a quarter of
    the speed, at random.
    """

    def __init__(self) -> None:
        self._room = np.zeros(0, np.uint8)

    def take(self, count: int, dtype: DTypeLike) -> np.ndarray:
        """Return an array (count,) that begins at a cache line."""
        size = count * np.dtype(dtype).itemsize
        if size > len(self._room):
            self._room = _mapped(-(-size // HUGE_PAGE) * HUGE_PAGE)
        taken = self._room[:size]
        self._room = self._room[-(-size // CACHE_LINE) * CACHE_LINE :]
        return taken.view(dtype)


def _mapped(size: int) -> np.ndarray:
    """Return `size` bytes that begin at a huge page."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        try:
            pages = mmap.mmap(-1, size + HUGE_PAGE, flags=flags)
        except OSError:  # ENOMEM: there is no file that it could be about
            raise MemoryError("the sampler found no memory") from None
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
        mapped = np.frombuffer(pages, np.uint8)
    else:
        mapped = np.empty(size + HUGE_PAGE, np.uint8)
    offset = -address_of(mapped) % HUGE_PAGE
    return mapped[offset : offset + size]

"""The n-grams beside a network, packed in memory as the compiled kernel reads them."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from charrnn.text.gate import Ally

# The structures of kernel/sampling.h, field by field.


class _Ally(ctypes.Structure):
    _fields_ = [
        ("node", ctypes.c_void_p),
        ("character", ctypes.c_void_p),
        ("gain", ctypes.c_void_p),
        ("full", ctypes.c_int64),
        ("boundary", ctypes.c_int64),
        ("theta", ctypes.c_double * 4),
    ]


NODE = np.dtype(
    [
        ("first", np.int32),
        ("suffix", np.int32),
        ("best", np.int32),
        ("back", np.float32),
        ("lean", np.float32),
    ]
)


class PackedAlly:
    """An ally as the kernel has it. It never changes: threads may share it."""

    def __init__(self, ally: Ally) -> None:
        graph = ally.contexts
        nodes = np.zeros(len(graph.first), NODE)  # (C + 1,)
        nodes["first"] = graph.first
        nodes["suffix"][:-1] = graph.suffix
        nodes["best"][:-1] = graph.best
        nodes["back"][:-1] = graph.back
        nodes["lean"][:-1] = ally.theta[0] + ally.signs @ ally.theta[5:]
        # What the structure points to
        self._kept = (nodes, graph.characters.astype(np.int32), graph.gain.astype(np.float32))
        self._packed = _Ally(
            *(array.ctypes.data for array in self._kept),
            full=int(np.searchsorted(graph.lengths, graph.order - 1)),
            boundary=graph.ngram.boundary or 0,
            theta=(ctypes.c_double * 4)(*ally.theta[1:5]),
        )

    @property
    def address(self) -> int:
        """Return where the kernel finds it."""
        return ctypes.addressof(self._packed)

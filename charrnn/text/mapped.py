"""Files that are mapped into memory, and what happens when one is cut short meanwhile.

Reading a mapped page that the file no longer has ends a process with SIGBUS, without a word.
`is_shorter` tells it before; a handler tells it where it happens between two looks.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import weakref
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from charrnn.errors import CheckpointError
from charrnn.terminal import one_line

MOST_FAULTS = 100  # in a row without a file to blame, before another handler has its turn
_maps: weakref.WeakKeyDictionary[mmap.mmap, Path] = weakref.WeakKeyDictionary()
_kept: list[object] = []  # what the system calls must live


def mapped(path: Path) -> mmap.mmap:
    """Map a file, to read. Raises OSError, and ValueError for an empty one."""
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps[pages] = path
    _watch()
    return pages


def is_shorter(pages: mmap.mmap) -> bool:
    """Say whether the file is shorter than what was mapped of it. It takes 0.4 us."""
    return pages.size() < len(pages)


def cut_short(path: Path) -> CheckpointError:
    """Return the error about a file that is not whole."""
    return CheckpointError(
        f"{one_line(str(path))} was cut short while it was in use; start a new run with its text"
    )


@lru_cache(1)
def _watch() -> None:
    """Let SIGBUS end the process with the error's line and code, where a file was cut short.

    Python's own handlers would never run: the instruction that faults is tried again first.
    """
    if not hasattr(signal, "SIGBUS"):
        return
    with contextlib.suppress(OSError, AttributeError):
        set_handler = ctypes.CDLL(None).signal
        set_handler.restype = ctypes.c_void_p
        set_handler.argtypes = [ctypes.c_int, ctypes.c_void_p]
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
        handler = kind(_leaver(lambda: set_handler(signal.SIGBUS, before)))
        _kept.append(handler)
        before = set_handler(signal.SIGBUS, ctypes.cast(handler, ctypes.c_void_p))


def _leaver(give_up: Callable[[], object]) -> Callable[[int], None]:
    """Return the handler of SIGBUS. give_up: lets the handler before have its turn."""
    faults = 0

    def leave(number: int) -> None:
        nonlocal faults
        for pages, path in list(_maps.items()):
            if is_shorter(pages):
                error = cut_short(path)
                with contextlib.suppress(OSError):
                    os.write(2, f"charrnn: {error}\n".encode("utf-8", "replace"))
                os._exit(error.exit_code)
        faults += 1  # a file may have been written again meanwhile: then all is well
        if faults >= MOST_FAULTS:
            give_up()

    return leave

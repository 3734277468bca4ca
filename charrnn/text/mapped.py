"""Files that are mapped into memory, and what happens when one can no longer be read.

Reading a mapped page that the file no longer has, or that the disk cannot read, ends a process with
SIGBUS, without a word. `is_shorter` tells the first before; a handler tells both where they happen.
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
from typing import NoReturn

from charrnn.errors import CheckpointError
from charrnn.terminal import one_line

PIECE_BYTES = 1 << 20  # read at a time
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


def _read_error(path: Path) -> CheckpointError | None:
    """Return the error about a file that the disk cannot read to its end; None: it can."""
    try:
        with open(path, "rb", buffering=0) as file:
            while file.read(PIECE_BYTES):
                pass
    except OSError as error:
        return CheckpointError(f"cannot read {one_line(str(path))}: {error.strerror or error}")
    return None


@lru_cache(1)
def _watch() -> None:
    """Let SIGBUS end the process with the error's line and code, where a file cannot be read.

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


def _exit_with(error: CheckpointError) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"charrnn: {error}\n".encode("utf-8", "replace"))
    os._exit(error.exit_code)


def _leaver(give_up: Callable[[], object]) -> Callable[[int], None]:
    """Return the handler of SIGBUS. give_up: lets the handler before have its turn."""
    faults = 0

    def leave(number: int) -> None:
        nonlocal faults
        for pages, path in list(_maps.items()):
            if is_shorter(pages):
                _exit_with(cut_short(path))
        faults += 1  # a file may have been written again meanwhile: then all is well
        if faults < MOST_FAULTS:
            return
        for path in list(_maps.values()):
            error = _read_error(path)
            if error is not None:
                _exit_with(error)
        give_up()

    return leave

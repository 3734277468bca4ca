"""The lock of a run directory: one process trains in it, and a killed one's lock is free."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import StorageError
from charrnn.storage import disk
from charrnn.temporary import no_wait, try_lock
from charrnn.terminal import one_line


def check_free(path: Path) -> None:
    """Raise StorageError, naming the holder, if a process trains in this directory. Writes nothing.

    So that a person is told at once, before torch is loaded. Where the lock cannot be read there is
    no run, or taking the lock will tell.
    """
    with suppress(OSError), open(path / ".lock", "rb", opener=no_wait) as file:
        _flock(file, path, is_exclusive=False)


def take_lock(file: BinaryIO, path: Path) -> bool:
    """Take the lock and write into it who holds it. Raises StorageError if another process does.

    Returns False where the system has no such locks.
    """
    if not _flock(file, path, is_exclusive=True):
        return False
    file.truncate(0)
    disk.write(file, f"{os.getpid()} on {os.uname().nodename}".encode())
    file.flush()
    return True


def _flock(file: BinaryIO, path: Path, *, is_exclusive: bool) -> bool:
    """Lock a run until this file is closed.

    Returns False where the system has no such locks. Raises StorageError if another process holds
    it.
    """
    is_locked = try_lock(file, is_exclusive=is_exclusive)
    if is_locked is False:
        file.seek(0)
        holder = one_line(file.read(200).decode("utf-8", "replace").strip())
        raise StorageError(
            f"{one_line(str(path))} is in use by process {holder}; "
            "wait for it, or choose another --run"
        )
    return bool(is_locked)

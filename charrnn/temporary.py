"""Files beside the file that they will replace: their names, who holds them, which are left over.

How files are opened and locked stands here too. It writes nothing: see storage.py.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

# A temporary file is .NAME.RANDOM.tmp beside the file NAME that it will replace.
MOST_NAME_CHARS = 50  # of NAME in it, so that a long name has room for the rest
RANDOM_BYTES = 8
LEFT_OVER_S = 3600.0  # older than this, a temporary file that nobody holds is left over


def temporary_for(path: Path) -> Path:
    """Return a name beside path that nobody else uses or can guess."""
    random = os.urandom(RANDOM_BYTES).hex()
    return path.with_name(f".{path.name[:MOST_NAME_CHARS]}.{random}.tmp")


def left_over(folder: Path, names: Iterable[str], *, is_owner: bool = False) -> Iterator[Path]:
    """Yield the temporary files that killed writes to files of these names left behind.

    names: may be patterns, of at most MOST_NAME_CHARS. is_owner: nobody else can be writing these
    files now. Else those are left out that are young, or that a living process holds.
    """
    digits = "[0-9a-f]" * (2 * RANDOM_BYTES)
    for name in names:
        for pattern in (f".{name}.{digits}.tmp", f".{name}.tmp"):  # the second: charrnn 0.4.0
            for file in folder.glob(pattern):
                if is_owner or _is_abandoned(file):
                    yield file


def _is_abandoned(temporary: Path) -> bool:
    """Return whether a temporary file is old and its writer has died."""
    try:
        status = temporary.lstat()
        if not stat.S_ISREG(status.st_mode) or time.time() - status.st_mtime < LEFT_OVER_S:
            return False
        with open(temporary, "rb", opener=no_link) as file:
            return try_lock(file, is_exclusive=False) is not False
    except OSError:
        return False


def try_lock(file: BinaryIO, *, is_exclusive: bool = True) -> bool | None:
    """Lock a file until it is closed; the kernel frees it when the holder dies, however it dies.

    Returns False if another process holds it, None where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    kind = fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None  # a file system without locks
    return True


def no_wait(path: str, flags: int) -> int:
    """Open a file without waiting: a FIFO that nobody writes must not hang us."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def no_link(path: str, flags: int) -> int:
    """Open a file. Raises OSError: ELOOP for a symbolic link, ENXIO for a FIFO without a reader."""
    no_follow = getattr(os, "O_NOFOLLOW", 0)
    no_block = getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags | no_follow | no_block, 0o666)

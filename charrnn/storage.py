"""Bytes to disk and back: the one seam through which charrnn writes files.

A file is either the old one or the new one, never half of each: write a temporary file beside it,
fsync, rename, fsync the directory. Tensor files are safetensors with JSON metadata and a SHA-256
over every byte of the file. There is no pickle here or anywhere else.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from charrnn.errors import CheckpointError, DamagedError, MissingError, StorageError
from charrnn.strictjson import check_format, parsed
from charrnn.temporary import (
    MOST_NAME_CHARS,
    left_over,
    no_link,
    no_wait,
    temporary_for,
    try_lock,
)
from charrnn.terminal import one_line

MAX_TENSOR_FILE_BYTES = 16 << 30
MAX_HEADER_BYTES = 16 << 20  # a vocabulary of every code point and a thousand tensors fit twice
MAX_LINE_BYTES = 256 << 10  # of text files, read at a time
LARGE_BYTES = 64 << 20  # larger files are read only where there is memory for them
# The header begins with it.
_DIGEST = re.compile(rb'"__metadata__":\{"meta":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')
_NO_DIGEST = "0" * 64
Bytes = bytes | bytearray | memoryview
# What to do, by the number of a fault; {}: the option that chooses another place.
ADVICE = {
    errno.ENOENT: "choose another {}, where directories can be made",
    errno.ENOTDIR: "a file stands where a directory is needed: choose another {}",
    errno.ENAMETOOLONG: "choose a shorter {}",
    errno.EACCES: "choose another {}, where you may write",
    errno.EPERM: "choose another {}, where you may write",
    errno.EROFS: "choose another {}, where you may write",
}


def storage_error(
    error: OSError, path: Path, doing: str = "write", option: str = "--run"
) -> StorageError:
    """Return an OSError as the line a person reads. option: the one that chooses another place."""
    reason = error.strerror or error
    advice = ADVICE.get(error.errno or 0, "make room or choose another {}").format(option)
    return StorageError(f"cannot {doing} {one_line(str(path))}: {reason}; {advice}")


class Disk:
    """Every call that changes a disk, one method each: tests make the n-th fail, or record all.

    Files are not written through symbolic links: a run that a stranger packed could name any file
    with one.
    """

    def open(self, path: Path, mode: str) -> BinaryIO:
        return cast(BinaryIO, open(path, mode, opener=no_link))

    def write(self, file: BinaryIO, data: Bytes) -> None:
        file.write(data)

    def sync(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def truncate(self, path: Path, size: int) -> None:
        with open(path, "r+b", opener=no_link) as file:
            file.truncate(size)

    def make_directory(self, path: Path) -> None:
        path.mkdir(exist_ok=True)

    def make_new_directory(self, path: Path) -> None:
        path.mkdir()

    def sync_directory(self, path: Path) -> None:
        """Make durable what was created, renamed or removed inside. Windows has no such call."""
        if os.name == "nt":
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


disk = Disk()  # the only one


class Output:
    """A file being written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Bytes) -> None:
        disk.write(self._file, data)


@contextlib.contextmanager
def replacing(path: Path, option: str = "--run") -> Iterator[Output]:
    """Replace path by what is written in the block: a crash leaves the old file or the new one.

    So does an exception in the block: it leaves the old one. Raises StorageError, whose message
    names `option`, the one that chose the place.
    """
    if not path.name:  # . and /
        error = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise storage_error(error, path, option=option)
    temporary = temporary_for(path)
    # "x": a file or link that somebody else has put there is neither written nor removed.
    try:
        file = disk.open(temporary, "xb")
    except OSError as error:
        raise storage_error(error, path, option=option) from error
    try:
        with file:
            try_lock(file)  # who sweeps asks for it
            yield Output(file)
            disk.sync(file)
        disk.replace(temporary, path)
        disk.sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            disk.remove(temporary)
        if isinstance(error, OSError):
            raise storage_error(error, path, option=option) from error
        raise
    with contextlib.suppress(OSError):  # the file is written, whatever else lies there
        sweep(path.parent, [glob.escape(path.name[:MOST_NAME_CHARS])])


def sweep(folder: Path, names: Iterable[str], *, is_owner: bool = False) -> None:
    """Remove what killed writes to files of these names left behind: see left_over.

    Raises OSError.
    """
    for file in left_over(folder, names, is_owner=is_owner):
        disk.remove(file)


def write_atomically(path: Path, data: Bytes, option: str = "--run") -> None:
    """Replace path by data, wholly or not at all. Raises StorageError."""
    with replacing(path, option) as output:
        output.write(data)


def append(path: Path) -> BinaryIO:
    """Open a file for appending. A new one is created durably. Raises OSError."""
    is_new = not path.exists()
    file = disk.open(path, "ab")
    if is_new:
        disk.sync_directory(path.parent)
    return file


def make_directories(path: Path) -> None:
    """Create a directory and the parents it lacks, durably. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing or [path]):
        disk.make_directory(folder)
        disk.sync_directory(folder.parent)


def claim_directory(path: Path) -> bool:
    """Create a directory durably, unless something has that name: then return False.

    Of several processes that ask at the same moment one gets it. Raises OSError.
    """
    make_directories(path.parent)
    try:
        disk.make_new_directory(path)
    except FileExistsError:
        return False
    disk.sync_directory(path.parent)
    return True


def read_bounded(path: Path, limit: int, what: str) -> bytearray:
    """Return the bytes of a regular file of at most limit bytes. Raises CheckpointError otherwise.

    A fault of this one file, such as a bad sector, is a DamagedError: another file may do.
    """
    with _opened(path, limit, what) as file:
        size = os.fstat(file.fileno()).st_size
        free = free_memory_bytes() if size > LARGE_BYTES else None
        if free is not None and 2 * size > free:
            raise CheckpointError(
                f"{one_line(str(path))} takes {2 * size / 1e9:,.1f} GB to read "
                f"and {free / 1e9:,.1f} GB are free"
            )
        data = bytearray(min(size, limit))
        bytes_read = file.readinto(data)
        del data[bytes_read:]
        return data


def read_pieces(path: Path, limit: int, what: str) -> Iterator[bytes]:
    """Yield a file of at most limit bytes, line by line: memory does not grow with the file.

    A line longer than MAX_LINE_BYTES comes in pieces, of which only the last may end in a newline.
    Raises CheckpointError, as read_bounded does.
    """
    with _opened(path, limit, what) as file:
        while piece := file.readline(MAX_LINE_BYTES):
            yield piece


@contextlib.contextmanager
def _opened(path: Path, limit: int, what: str) -> Iterator[BufferedReader]:
    """Open a regular file of at most limit bytes. Raises CheckpointError, for what it reads too."""
    shown = one_line(str(path))
    try:
        with open(path, "rb", opener=no_wait) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DamagedError(f"{shown} is not a regular file; give {what}")
            if status.st_size > limit:
                raise CheckpointError(f"{shown} has {status.st_size:,} bytes, too many for {what}")
            yield file
    except OSError as error:
        message = f"cannot read {shown}: {error.strerror or error}"
        if error.errno == errno.ENOENT:
            raise MissingError(message) from None
        if error.errno in (errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise DamagedError(message) from None
        raise CheckpointError(message) from None


def free_memory_bytes() -> int | None:
    """Return what memory this process could still take, or None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def read_json(path: Path, kind: str, newest: int) -> dict[str, Any]:
    """Return a JSON object that charrnn wrote, with "format" in it.

    Raises CheckpointError: missing, not such an object, or of a format above newest.
    """
    shown = one_line(str(path))
    data = read_bounded(path, MAX_HEADER_BYTES, kind)
    try:
        about = parsed(data)
        if type(about["format"]) is not int or about["format"] < 1:
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DamagedError(f"{shown} is damaged: it is not {kind}; use another copy") from None
    check_format(shown, about, newest)
    return cast(dict[str, Any], about)


def json_line(values: dict[str, Any]) -> str:
    """Return strict JSON on one line. A float that is not finite becomes null."""
    line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return line.encode("utf-8", "replace").decode()  # names of files need not be UTF-8


def _finite(value: Any) -> Any:
    """Return a JSON value with None for every float that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_tensors(path: Path, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write tensors and meta (any JSON) as one safetensors file that carries its own SHA-256."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # One key only: safetensors writes several in a random order. Equal trainings leave equal files.
    about = json.dumps({"sha256": _NO_DIGEST} | meta, allow_nan=False, separators=(",", ":"))
    data = bytearray(save(contiguous, metadata={"meta": about}))
    start = _digest_position(data)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    write_atomically(path, data)


def read_tensors(
    path: Path, kinds: dict[str, int], limit: int = MAX_TENSOR_FILE_BYTES
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return tensors and meta of a file made by write_tensors, checked to the last bit before use.

    kinds: the values of meta["kind"] that will do, each with the newest format this program reads.
    limit: of its bytes.
    Raises CheckpointError: missing, not ours, damaged, or written by a newer charrnn.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    # 1. The bytes are those that were written.
    shown = one_line(str(path))
    foreign = DamagedError(
        f"{shown} is not a charrnn checkpoint; give a run directory or a file charrnn wrote"
    )
    _check_size(path, limit, foreign)
    data = read_bounded(path, limit, "a charrnn checkpoint")
    header_bytes = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header_bytes > min(len(data) - 8, MAX_HEADER_BYTES):
        raise foreign
    start = _digest_position(data)
    if start < 0:
        raise foreign
    digest = bytes(data[start : start + 64])
    data[start : start + 64] = _NO_DIGEST.encode()
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise DamagedError(
            f"{shown} is damaged: its SHA-256 does not match its bytes; use another copy"
        )

    # 2. They are of a kind and a format that this program reads.
    try:
        header = parsed(data[8 : 8 + header_bytes])
        meta = parsed(header["__metadata__"]["meta"].encode())
        if meta["kind"] not in kinds or type(meta["format"]) is not int or meta["format"] < 1:
            raise foreign
        check_format(shown, meta, kinds[meta["kind"]])
        whole = bytes(data)
        del data, header  # at most two copies of the numbers at once
        return load(whole), meta
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        SafetensorError,
    ):
        raise foreign from None


def _check_size(path: Path, limit: int, foreign: DamagedError) -> None:
    """Compare the size of a large tensor file with its header, before all of it is read.

    Raises `foreign` for a file without our header, CheckpointError as read_tensors does.
    """
    with _opened(path, limit, "a charrnn checkpoint") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= LARGE_BYTES:
            return
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise foreign
        header = file.read(header_bytes)
    if _DIGEST.search(header) is None:
        raise foreign
    try:
        tensors = parsed(header)
        del tensors["__metadata__"]
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        fits = size == 8 + header_bytes + end
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        fits = False
    if not fits:
        raise DamagedError(
            f"{one_line(str(path))} is damaged: its {size:,} bytes do not fit its header; "
            "use another copy"
        )


def _digest_position(data: bytearray) -> int:
    """Return where the digest's 64 hexadecimal digits stand in the header; -1 if there is none.

    They stand at the very start of the metadata, so that no vocabulary or setting can imitate them.
    """
    match = _DIGEST.search(data, 8, 8 + int.from_bytes(data[:8], "little"))
    return match.start(1) if match else -1

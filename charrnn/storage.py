"""Bytes to disk and back: the one seam through which charrnn writes files.

A file is either the old one or the new one, never half of each: write a temporary file beside it, fsync, rename,
fsync the directory. Tensor files are safetensors with JSON metadata and a SHA-256 over every byte of the file.
There is no pickle here or anywhere else.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from charrnn import __version__
from charrnn.errors import CheckpointError, DamagedError, StorageError
from charrnn.terminal import one_line

MAX_TENSOR_FILE_BYTES = 16 << 30
MAX_HEADER_BYTES = 16 << 20  # a vocabulary of every code point and a thousand tensors fit twice
# JSON takes up to a hundred times its bytes when read. A vocabulary is long, so that commas are many; nothing else is.
MAX_MARKS = {b",": 1_200_000, b"[": 20_000, b"{": 20_000, b":": 40_000}
LARGE_BYTES = 64 << 20  # files above are read only where there is memory for them
_DIGEST = re.compile(
    rb'"__metadata__":\{"meta":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"'
)  # the first thing in the header
_NO_DIGEST = "0" * 64
Bytes = bytes | bytearray | memoryview


def storage_error(
    error: OSError, path: Path, doing: str = "write", option: str = "--run"
) -> StorageError:
    """An OSError as the line a person reads. option: with which another place can be chosen."""
    return StorageError(
        f"cannot {doing} {one_line(str(path))}: {error.strerror or error}; make room or choose another {option}"
    )


class Disk:
    """Every call that changes a disk, one by one: tests make the n-th of them fail, or record them all.

    Files are not written through symbolic links: a run that a stranger packed could name any file with one.
    """

    def open(self, path: Path, mode: str) -> BinaryIO:
        return cast(BinaryIO, open(path, mode, opener=_no_link))

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
        with open(path, "r+b", opener=_no_link) as file:
            file.truncate(size)

    def make_directory(self, path: Path) -> None:
        path.mkdir(exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Make what was created, renamed or removed inside durable. Windows has no such call and is skipped."""
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
    """Replace path by what is written inside, so that a crash at any moment leaves the old or the new file.

    Raises StorageError. Whatever is raised inside leaves the old one. option: that named the place, for the message.
    """
    if not path.name:  # . and /
        raise storage_error(
            IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), path, option=option
        )
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with disk.open(temporary, "wb") as file:
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


def write_atomically(path: Path, data: Bytes, option: str = "--run") -> None:
    """Replace path by data, wholly or not at all. Raises StorageError."""
    with replacing(path, option) as output:
        output.write(data)


def append(path: Path) -> BinaryIO:
    """A file open for appending, made durably if it is new. Raises OSError."""
    is_new = not path.exists()
    file = disk.open(path, "ab")
    if is_new:
        disk.sync_directory(path.parent)
    return file


def make_directories(path: Path) -> None:
    """A directory and what is missing above it, durably. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing or [path]):
        disk.make_directory(each)
        disk.sync_directory(each.parent)


def read_bounded(path: Path, limit: int, what: str) -> bytearray:
    """The bytes of a regular file of at most limit bytes. Raises CheckpointError otherwise.

    What no permission mends, such as a bad sector, is a DamagedError: another file may do.
    """
    try:
        with open(path, "rb", opener=no_wait) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DamagedError(f"{one_line(str(path))} is not a regular file; give {what}")
            if status.st_size > limit:
                raise CheckpointError(
                    f"{one_line(str(path))} has {status.st_size:,} bytes, too many for {what}"
                )
            free = free_memory_bytes() if status.st_size > LARGE_BYTES else None
            if free is not None and 2 * status.st_size > free:
                raise CheckpointError(
                    f"{one_line(str(path))} takes {2 * status.st_size / 1e9:,.1f} GB to read and {free / 1e9:,.1f} GB are free"
                )
            data = bytearray(status.st_size)
            del data[file.readinto(data) :]
            return data
    except OSError as error:
        kind = (
            DamagedError
            if error.errno in (errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO)
            else CheckpointError
        )
        raise kind(f"cannot read {one_line(str(path))}: {error.strerror or error}") from None


def free_memory_bytes() -> int | None:
    """Memory that this process could still take, or None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def read_json(path: Path, kind: str, newest: int) -> dict[str, Any]:
    """A JSON object that charrnn wrote, with "format". Raises CheckpointError: missing, no such thing, or newer."""
    shown = one_line(str(path))
    data = read_bounded(path, MAX_HEADER_BYTES, kind)
    try:
        found = _parsed(data)
        if type(found["format"]) is not int or found["format"] < 1:
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DamagedError(f"{shown} is damaged: it is not {kind}; use another copy") from None
    _check_format(shown, found, newest)
    return cast(dict[str, Any], found)


def _parsed(data: Bytes) -> Any:
    """JSON of a stranger. Raises ValueError, RecursionError; before much memory is taken."""
    if any(bytes(data).count(mark) > most for mark, most in MAX_MARKS.items()):
        raise ValueError("too large for JSON of charrnn")
    return json.loads(bytes(data), parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and infinities, which Python reads and JSON has not


def _check_format(shown: str, about: dict[str, Any], newest: int) -> None:
    """Raises CheckpointError, naming both versions, for a format that only a later charrnn knows."""
    if about["format"] > newest:
        author = about.get("charrnn")
        version = one_line(author[:40]) if isinstance(author, str) else "a later version"
        raise CheckpointError(
            f"{shown} has format {about['format']}, written by charrnn {version}; "
            f"this is charrnn {__version__}, which reads up to format {newest}: upgrade it"
        )


def no_wait(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a FIFO must not hang us


def _no_link(path: str, flags: int) -> int:
    """Raises OSError (ELOOP) for a symbolic link, and ENXIO for a FIFO that nobody reads."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def json_line(values: dict[str, Any]) -> str:
    """Strict JSON on one line: a float that is not finite becomes null."""
    line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return line.encode("utf-8", "replace").decode()  # names of files need not be UTF-8


def _finite(value: Any) -> Any:
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
    # One key only: safetensors writes several in a random order, and equal trainings should leave equal files.
    about = json.dumps({"sha256": _NO_DIGEST} | meta, allow_nan=False, separators=(",", ":"))
    data = bytearray(save(contiguous, metadata={"meta": about}))
    start = _digest_position(data)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    write_atomically(path, data)


def read_tensors(path: Path, kinds: dict[str, int]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and meta of a file made by write_tensors, checked to the last bit before anything is used.

    kinds: the values of meta["kind"] that will do, each with the newest format version this program reads.
    Raises CheckpointError: missing, not ours, damaged, or written by a newer charrnn.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    shown = one_line(str(path))
    data = read_bounded(path, MAX_TENSOR_FILE_BYTES, "a charrnn checkpoint")
    foreign = DamagedError(
        f"{shown} is not a charrnn checkpoint; give a run directory or a file charrnn wrote"
    )
    if len(data) < 8 or int.from_bytes(data[:8], "little") > min(len(data) - 8, MAX_HEADER_BYTES):
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
    try:
        header = _parsed(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = _parsed(header["__metadata__"]["meta"].encode())
        if meta["kind"] not in kinds or type(meta["format"]) is not int or meta["format"] < 1:
            raise foreign
        _check_format(shown, meta, kinds[meta["kind"]])
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


def _digest_position(data: bytearray) -> int:
    """Where the 64 hexadecimal digits of the digest stand in the header; -1 if there is none.

    It stands at the very start of the metadata, so no vocabulary or setting can imitate it.
    """
    match = _DIGEST.search(data, 8, 8 + int.from_bytes(data[:8], "little"))
    return match.start(1) if match else -1

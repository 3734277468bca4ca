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

from charrnn.errors import CheckpointError, DamagedError, StorageError
from charrnn.terminal import one_line

MAX_TENSOR_FILE_BYTES = 16 << 30
MAX_HEADER_BYTES = 64 << 20  # a vocabulary of every code point and a thousand tensors fit many times over
_DIGEST = re.compile(rb'"__metadata__":\{"meta":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')  # the first thing in the header
_NO_DIGEST = "0" * 64
Bytes = bytes | bytearray | memoryview


def storage_error(error: OSError, path: Path, doing: str = "write", option: str = "--run") -> StorageError:
    """An OSError as the line a person reads. option: with which another place can be chosen."""
    return StorageError(
        f"cannot {doing} {one_line(str(path))}: {error.strerror or error}; make room or choose another {option}"
    )


class Disk:
    """Every call that changes a disk, one by one: tests make the n-th of them fail, or record them all."""

    def open(self, path: Path, mode: str) -> BinaryIO:
        return cast(BinaryIO, open(path, mode))

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
        os.truncate(path, size)

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
        raise storage_error(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), path, option=option)
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


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """The bytes of a regular file of at most limit bytes. Raises CheckpointError otherwise.

    What no permission mends, such as a bad sector, is a DamagedError: another file may do.
    """
    try:
        with open(path, "rb", opener=no_wait) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DamagedError(f"{one_line(str(path))} is not a regular file; give {what}")
            if status.st_size > limit:
                raise CheckpointError(f"{one_line(str(path))} has {status.st_size:,} bytes, too many for {what}")
            return file.read()
    except OSError as error:
        kind = DamagedError if error.errno in (errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO) else CheckpointError
        raise kind(f"cannot read {one_line(str(path))}: {error.strerror or error}") from None


def no_wait(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a FIFO must not hang us


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
    data = bytearray(read_bounded(path, MAX_TENSOR_FILE_BYTES, "a charrnn checkpoint"))
    foreign = DamagedError(f"{shown} is not a charrnn checkpoint; give a run directory or a file charrnn wrote")
    if len(data) < 8 or int.from_bytes(data[:8], "little") > min(len(data) - 8, MAX_HEADER_BYTES):
        raise foreign
    start = _digest_position(data)
    if start < 0:
        raise foreign
    digest = bytes(data[start : start + 64])
    data[start : start + 64] = _NO_DIGEST.encode()
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise DamagedError(f"{shown} is damaged: its SHA-256 does not match its bytes; use another copy")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = json.loads(header["__metadata__"]["meta"])
        kind, version = meta["kind"], int(meta["format"])
        if kind not in kinds:
            raise foreign
        if version > kinds[kind]:
            raise CheckpointError(
                f"{shown} has format {version}, written by charrnn {one_line(str(meta.get('charrnn')))}; "
                f"this charrnn reads up to format {kinds[kind]}: upgrade it"
            )
        return load(bytes(data)), meta
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, SafetensorError):
        raise foreign from None


def _digest_position(data: bytearray) -> int:
    """Where the 64 hexadecimal digits of the digest stand in the header; -1 if there is none.

    It stands at the very start of the metadata, so no vocabulary or setting can imitate it.
    """
    match = _DIGEST.search(data, 8, 8 + int.from_bytes(data[:8], "little"))
    return match.start(1) if match else -1

"""The run directory, and one atomic, verified file from which training continues exactly.

runs/names/
    model.safetensors              the best weights, for sampling and sharing
    checkpoints/step-00001200.safetensors   everything to go on; the newest few are kept
    corpus/                        the text as ids
    metrics.jsonl                  one line a step, one an evaluation
    samples.txt   run.json         what it wrote while learning; settings and where each came from
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from charrnn.errors import CheckpointError, DamagedError, SettingsError, StorageError
from charrnn.modelfile import (
    KINDS,
    MODEL_FILE,
    ModelFile,
    checkpoint_files,
    newest_run,
    parse_model,
    step_of,
)
from charrnn.storage import (
    append,
    disk,
    json_line,
    make_directories,
    no_wait,
    read_tensors,
    storage_error,
    write_atomically,
    write_tensors,
)
from charrnn.terminal import one_line
from charrnn.texts import STEM
from charrnn.training.outcome import place_from_dict
from charrnn.training.plan import plan_from_dict

CORPUS = tuple(STEM + ending for ending in (".ids", ".json", ".novel"))
OURS = (MODEL_FILE, "metrics.jsonl", "samples.txt", "run.json", "report.html")


class Checkpoint:
    """A checkpoint file as read: the model in it and everything beside the model."""

    def __init__(self, path: Path, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Raises CheckpointError if the parts do not fit together."""
        self.path, self.meta = path, meta
        self.model: ModelFile = parse_model(path, tensors, meta)
        self.optimizer = _prefixed(tensors, "optimizer.")
        self.average = _prefixed(tensors, "average.")
        self.state = tuple(tensors[name] for name in sorted(tensors) if name.startswith("state."))
        try:
            self.plan, self.place = plan_from_dict(meta["plan"]), place_from_dict(meta["place"])
            self.step, self.fingerprint = self.place.step, str(meta["fingerprint"])
            self.origins: dict[str, str] = dict(meta.get("origins", {}))
            self.surroundings: dict[str, Any] = dict(meta.get("surroundings", {}))
            self.sizes = {name: meta.get(f"{name}_bytes", 0) for name in ("metrics", "samples")}
            self.lift = [(int(index), float(nats)) for index, nats in meta.get("lift", [])]
            fine = meta["step"] == self.step < 10**12 and all(
                isinstance(value, str) for pair in self.origins.items() for value in pair
            )
            fine &= all(type(size) is int and 0 <= size < 1 << 62 for size in self.sizes.values())
            fine &= all(
                0 <= index < len(self.model.vocabulary) and abs(nats) < 100
                for index, nats in self.lift
            )
            fine &= all(
                np.isfinite(value).all() for value in tensors.values() if value.dtype.kind == "f"
            )
            if not fine:
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DamagedError(
                f"{one_line(str(path))}: its record of the training makes no sense; use another"
            ) from None


class RunDirectory:
    """One training's directory, locked while a process trains in it. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._lock: BinaryIO | None = None
        self._metrics: BinaryIO | None = None
        self._created = not path.exists()

    def __enter__(self) -> RunDirectory:
        """Make the directory and take its lock. Raises StorageError: not writable, in use, or with parts elsewhere."""
        for part in (self.checkpoints, self.path / "corpus"):
            if (
                part.is_symlink()
            ):  # a stranger's run could have us remove the checkpoints of another
                raise StorageError(
                    f"{one_line(str(part))} is a symbolic link: a run keeps its parts inside; link its whole directory"
                )
        try:
            make_directories(self.checkpoints)
            self._lock = disk.open(self.path / ".lock", "a+b")
            _lock(self._lock, self.path)
            for folder, names in (
                (self.path, OURS),
                (self.checkpoints, ("step-*.safetensors",)),
                (self.path / "corpus", CORPUS),
            ):
                for name in names:
                    for leftover in folder.glob(f".{name}.tmp"):  # of a write that was killed
                        disk.remove(leftover)
        except OSError as error:
            self._release()
            raise storage_error(error, self.path) from error
        except StorageError:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock. A directory that we made and that holds no checkpoint after a fault is removed."""
        if self._metrics:
            with suppress(OSError):
                self._metrics.close()
        if kind is not None and self._created and not checkpoint_files(self.checkpoints):
            shutil.rmtree(self.path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        if self._lock:
            with suppress(OSError):
                self._lock.close()

    def clear(self, keep_corpora: Collection[str]) -> None:
        """Remove an earlier training: its files only, nothing that is not ours, and not the corpora of these names."""
        try:
            for name in OURS:
                disk.remove(self.path / name)
            texts = [file for name in CORPUS for file in (self.path / "corpus").glob(name)]
            for file in [*checkpoint_files(self.checkpoints), *texts]:
                if file.stem not in keep_corpora:
                    disk.remove(file)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def save(
        self, step: int, tensors: dict[str, np.ndarray], meta: dict[str, Any], keep: int
    ) -> Path:
        """Write the checkpoint of a step and forget the oldest beyond keep. Raises StorageError."""
        metrics_bytes = self._sync_metrics()
        path = self.checkpoints / f"step-{step:08d}.safetensors"
        write_tensors(
            path,
            tensors,
            meta | {"metrics_bytes": metrics_bytes, "samples_bytes": self._size("samples.txt")},
        )
        try:
            for old in checkpoint_files(self.checkpoints)[:-keep]:
                if step_of(old) != step:
                    disk.remove(old)
        except OSError as error:
            raise storage_error(error, self.checkpoints, "remove old files in") from error
        return path

    def save_best(self, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        write_tensors(self.path / MODEL_FILE, tensors, meta)

    def log(self, record: dict[str, Any]) -> None:
        """One line of metrics.jsonl. It reaches the disk with the next checkpoint at the latest."""
        try:
            if self._metrics is None:
                self._metrics = append(self.path / "metrics.jsonl")
            disk.write(self._metrics, json_line(record).encode() + b"\n")
        except OSError as error:
            raise storage_error(error, self.path / "metrics.jsonl") from error

    def add_samples(self, text: str) -> None:
        try:
            with append(self.path / "samples.txt") as file:
                disk.write(file, text.encode("utf-8", "replace"))
                disk.sync(file)
        except OSError as error:
            raise storage_error(error, self.path / "samples.txt") from error

    def describe(self, about: dict[str, Any]) -> None:
        """run.json: for people and scripts; nothing is read back from it."""
        write_atomically(self.path / "run.json", json.dumps(about, indent=2, default=str).encode())

    def rewind(self, checkpoint: Checkpoint) -> None:
        """Cut metrics and samples back to what they were at the checkpoint, so that each step stands there once.

        Later checkpoints, found damaged, are set aside under another name. Raises StorageError.
        """
        try:
            if self._metrics is not None:
                self._metrics.close()
                self._metrics = None
            for name, wanted in (
                ("metrics.jsonl", checkpoint.sizes["metrics"]),
                ("samples.txt", checkpoint.sizes["samples"]),
            ):
                if (self.path / name).exists() and self._size(name) > wanted:
                    disk.truncate(self.path / name, wanted)
            for later in checkpoint_files(self.checkpoints):
                if step_of(later) > checkpoint.step:
                    disk.replace(later, later.with_name(later.name + ".damaged"))
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _size(self, name: str) -> int:
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def _sync_metrics(self) -> int:
        if self._metrics is None:
            return self._size("metrics.jsonl")
        try:
            disk.sync(self._metrics)
            return self._metrics.tell()
        except OSError as error:
            raise storage_error(error, self.path / "metrics.jsonl") from error


def load_newest(run: Path) -> tuple[Checkpoint, list[str]]:
    """The newest good checkpoint of a run, and a message for each damaged one passed over. Raises CheckpointError."""
    messages: list[str] = []
    for path in reversed(checkpoint_files(run / "checkpoints")):
        try:
            return load_checkpoint(path), messages
        except DamagedError as error:
            messages.append(f"{error}; going back to the one before")
    detail = f" ({messages[0]})" if messages else ""
    raise CheckpointError(
        f"{one_line(str(run))} has no checkpoint to resume from{detail}; train it anew with --overwrite"
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises CheckpointError: missing, damaged, newer than this program, or not a checkpoint."""
    return Checkpoint(
        path, *read_tensors(path, {"charrnn-checkpoint": KINDS["charrnn-checkpoint"]})
    )


def runs_of(corpus_name: str, runs: Path) -> list[Path]:
    """Run directories of a corpus that have a checkpoint, by age: names, names-2, ..."""
    pattern = re.compile(re.escape(run_name(corpus_name)) + r"(-\d+)?")
    found = [
        path
        for path in runs.glob("*")
        if pattern.fullmatch(path.name) and checkpoint_files(path / "checkpoints")
    ]
    return sorted(
        found, key=lambda path: checkpoint_files(path / "checkpoints")[-1].stat().st_mtime_ns
    )


def run_to_resume(corpus: str | None, runs: Path) -> Path:
    """The newest run of a corpus, as it is named on the command line, or of all. Raises CheckpointError."""
    if corpus is None:
        return newest_run(runs)
    name = "stdin" if corpus == "-" else Path(corpus).resolve().name
    found = runs_of(name.removesuffix(Path(name).suffix) or name, runs) or runs_of(name, runs)
    if not found:
        raise CheckpointError(
            f"no run of {one_line(name)} under {runs}/ to resume; train it without --resume"
        )
    return found[-1]


def fresh_run(corpus_name: str, runs: Path) -> Path:
    """runs/NAME, or runs/NAME-2, -3 ... if that is taken."""
    name = run_name(corpus_name)
    path, number = runs / name, 1
    while path.exists():
        number += 1
        path = runs / f"{name}-{number}"
    return path


def run_name(corpus_name: str) -> str:
    """A corpus's name as a directory's: letters, digits, dot, dash, underscore; it cannot leave runs/."""
    return re.sub(r"[^\w.-]+", "-", corpus_name).strip(".-")[:80] or "corpus"


def check_new(path: Path, overwrite: bool) -> None:
    """A directory to train in must be new, empty, or a run's to overwrite. Raises SettingsError or StorageError."""
    shown = one_line(str(path))
    if path.exists() and not path.is_dir():
        raise StorageError(f"--run {shown} is a file; name a directory")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / "checkpoints").is_dir():
        raise SettingsError(f"--run {shown} holds other files and no run; name a new directory")
    if not overwrite and (checkpoint_files(path / "checkpoints") or (path / MODEL_FILE).exists()):
        raise SettingsError(
            f"{shown} already holds a run; pass --resume to go on with it or --overwrite to start anew"
        )


def _prefixed(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def check_free(path: Path) -> None:
    """Raises StorageError, naming the holder, if a process trains in this directory. Nothing is written.

    For those who would else have to load torch to be told.
    """
    with (
        suppress(OSError),
        open(path / ".lock", "rb", opener=no_wait) as file,
    ):  # else no run, or taking the lock tells
        _flock(file, path, is_exclusive=False)


def _lock(file: BinaryIO, path: Path) -> None:
    """Take the lock and write into it who holds it. Raises StorageError if somebody does."""
    if _flock(file, path, is_exclusive=True):
        file.truncate(0)
        disk.write(file, f"{os.getpid()} on {os.uname().nodename}".encode())
        file.flush()


def _flock(file: BinaryIO, path: Path, *, is_exclusive: bool) -> bool:
    """flock: the kernel frees it when the holder dies, however it dies. Systems without it are not locked: False."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = one_line(file.read(200).decode("utf-8", "replace").strip())
        raise StorageError(
            f"{one_line(str(path))} is in use by process {holder}; wait for it, or choose another --run"
        ) from None
    except OSError:
        return False  # a file system without locks
    return True

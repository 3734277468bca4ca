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
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from charrnn.config import Settings
from charrnn.errors import CheckpointError, DamagedError, MissingError, StorageError
from charrnn.modelfile import (
    KINDS,
    MODEL_FILE,
    MOST_STEPS,
    ModelFile,
    checkpoint_files,
    model_meta,
    parse_model,
    step_of,
)
from charrnn.storage import (
    append,
    disk,
    json_line,
    make_directories,
    read_tensors,
    storage_error,
    sweep,
    write_atomically,
    write_tensors,
)
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus
from charrnn.texts import STEM
from charrnn.training import best
from charrnn.training.lock import take_lock
from charrnn.training.outcome import place_from_dict
from charrnn.training.plan import plan_from_dict
from charrnn.values import (
    MAX_ORDER,
    MAX_WHOLE,
    Check,
    is_list_of,
    is_number,
    is_table_of,
    is_text,
    is_whole,
    wrong_field,
)

# The files of a run: what an overwritten training leaves, and what a killed write may leave half
# done.
OURS = (MODEL_FILE, "metrics.jsonl", "samples.txt", "run.json")
REPORT = "report.html"  # written by `charrnn report`, which takes no lock
CORPUS = tuple(STEM + ending for ending in (".ids", ".json", ".novel"))
CHECKPOINTS = ("step-*.safetensors", best.BEST_FILE)

MOST_BYTES = 1 << 62
MOST_LIFT = 100  # nats


def _is_lift(value: object) -> bool:
    """Whether it is an id and the nats that its bias rises by."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return is_whole(0, MAX_WHOLE)(value[0]) and is_number(MOST_LIFT)(value[1])


def _is_plain(value: object) -> bool:
    """Whether it is short and of one line: a name, a number, true, false or null."""
    if isinstance(value, str):
        return len(value) <= 1000
    return value is None or isinstance(value, bool) or is_number(MOST_BYTES)(value)


# What a checkpoint may say beside what every model file says (modelfile.FIELDS).
FIELDS: dict[str, Check] = {
    "metrics_bytes": is_whole(0, MOST_BYTES),
    "samples_bytes": is_whole(0, MOST_BYTES),
    "epoch": is_number(MOST_STEPS),
    "counting": is_whole(1, MAX_ORDER),
    "origins": is_table_of(is_text(), 1000),
    "surroundings": is_table_of(_is_plain, 100),
    "lift": is_list_of(_is_lift, MAX_WHOLE),
}
REQUIRED = ("step", "place", "plan", "fingerprint")


class Checkpoint:
    """A checkpoint file as read: the model in it and everything beside the model."""

    def __init__(self, path: Path, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Raises CheckpointError if the parts do not fit together."""
        self.path = path
        self.meta = meta
        self.model: ModelFile = parse_model(path, tensors, meta)
        self.optimizer = _prefixed(tensors, "optimizer.")
        self.average = _prefixed(tensors, "average.")
        self.state = tuple(tensors[name] for name in sorted(tensors) if name.startswith("state."))
        try:
            wrong = wrong_field(meta, FIELDS, REQUIRED)
            if wrong is not None:
                raise ValueError(wrong)
            self.plan = plan_from_dict(meta["plan"])
            self.place = place_from_dict(meta["place"])
            self.step = self.place.step
            self.fingerprint: str = meta["fingerprint"]
            self.mixed: str | None = meta.get("mixed")
            self.counting: int | None = meta.get("counting")
            self.origins: dict[str, str] = meta.get("origins", {})
            self.surroundings: dict[str, Any] = meta.get("surroundings", {})
            self.sizes = {name: meta.get(f"{name}_bytes", 0) for name in ("metrics", "samples")}
            self.lift = [(index, float(nats)) for index, nats in meta.get("lift", [])]
            self._check(tensors)
        except (TypeError, ValueError):
            raise DamagedError(
                f"{one_line(str(path))}: its record of the training is damaged; "
                "use an older checkpoint"
            ) from None

    def _check(self, tensors: dict[str, np.ndarray]) -> None:
        """Raise ValueError for values that no training writes."""
        symbols = len(self.model.vocabulary)
        checks = (
            self.meta["step"] == self.step,
            all(index < symbols for index, _ in self.lift),
            all(np.isfinite(value).all() for value in tensors.values() if value.dtype.kind == "f"),
        )
        if not all(checks):
            raise ValueError


class RunDirectory:
    """One training's directory, locked while a process trains in it. Use as a context manager."""

    def __init__(self, path: Path, *, is_new: bool | None = None) -> None:
        """is_new: the directory was made for this training. None: it is, if there is none yet."""
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.corpus = path / "corpus"
        self._lock: BinaryIO | None = None
        self._metrics: BinaryIO | None = None
        self._is_new = not path.exists() if is_new is None else is_new

    def __enter__(self) -> RunDirectory:
        """Make the directory and take its lock.

        Raises StorageError: not writable, in use, or with parts elsewhere.
        """
        # A stranger's run could have us remove the checkpoints of another.
        for part in (self.checkpoints, self.corpus):
            if part.is_symlink():
                raise StorageError(
                    f"{one_line(str(part))} is a symbolic link: "
                    "a run keeps its parts inside; link its whole directory"
                )
        try:
            make_directories(self.checkpoints)
            self._lock = disk.open(self.path / ".lock", "a+b")
            is_locked = take_lock(self._lock, self.path)
            self._remove_leftovers(is_locked)
        except OSError as error:
            self._release()
            raise storage_error(error, self.path) from error
        except StorageError:
            self._release()
            raise
        return self

    def _remove_leftovers(self, is_locked: bool) -> None:
        """Remove the parts of files whose write was killed.

        is_locked: no other training can be writing here. A report may be, with or without the lock.
        """
        for folder, names in (
            (self.path, OURS),
            (self.checkpoints, CHECKPOINTS),
            (self.corpus, CORPUS),
        ):
            sweep(folder, names, is_owner=is_locked)
        sweep(self.path, (REPORT,))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock.

        A directory that we made and that holds no checkpoint after a fault is removed.
        """
        if self._metrics:
            with suppress(OSError):
                self._metrics.close()
        if kind is not None and self._is_new and not checkpoint_files(self.checkpoints):
            shutil.rmtree(self.path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        if self._lock:
            with suppress(OSError):
                self._lock.close()

    def clear(self, keep_corpora: Collection[str]) -> None:
        """Remove an earlier training: only our files, and not the corpora of these names."""
        try:
            for name in (*OURS, REPORT):
                disk.remove(self.path / name)
            best.forget(self.path)
            texts = [file for name in CORPUS for file in self.corpus.glob(name)]
            for file in [*checkpoint_files(self.checkpoints), *texts]:
                if file.stem not in keep_corpora:
                    disk.remove(file)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def save(
        self, step: int, tensors: dict[str, np.ndarray], meta: dict[str, Any], keep: int
    ) -> Path:
        """Write the checkpoint of a step and remove the oldest beyond `keep`.

        Raises StorageError.
        """
        path = self.checkpoints / f"step-{step:08d}.safetensors"
        sizes = {
            "metrics_bytes": self._sync_metrics(),
            "samples_bytes": self._size("samples.txt"),
        }
        write_tensors(path, tensors, meta | sizes)
        try:
            for old in checkpoint_files(self.checkpoints)[:-keep]:
                if step_of(old) != step:
                    disk.remove(old)
        except OSError as error:
            raise storage_error(error, self.checkpoints, "remove old files in") from error
        return path

    def save_best(self, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Write the run's model. Raises StorageError."""
        write_tensors(self.path / MODEL_FILE, tensors, meta)
        best.forget(self.path)

    def save_stopped(
        self, tensors: dict[str, np.ndarray], meta: dict[str, Any], best_step: int | None
    ) -> None:
        """Write the run's model, and set the one of best_step aside. Raises StorageError."""
        if best_step is not None:
            best.set_aside(self.path, best_step)
        write_tensors(self.path / MODEL_FILE, tensors, meta)

    def log(self, record: dict[str, Any]) -> None:
        """Write a line of metrics.jsonl.

        It reaches the disk with the next checkpoint at the latest.
        """
        try:
            if self._metrics is None:
                self._metrics = append(self.path / "metrics.jsonl")
            disk.write(self._metrics, json_line(record).encode() + b"\n")
        except OSError as error:
            raise storage_error(error, self.path / "metrics.jsonl") from error

    def add_samples(self, text: str) -> None:
        """Append to samples.txt. Raises StorageError."""
        try:
            with append(self.path / "samples.txt") as file:
                disk.write(file, text.encode("utf-8", "replace"))
                disk.sync(file)
        except OSError as error:
            raise storage_error(error, self.path / "samples.txt") from error

    def describe(self, about: dict[str, Any]) -> None:
        """Write run.json: for people and scripts; nothing is read back from it."""
        write_atomically(self.path / "run.json", json.dumps(about, indent=2, default=str).encode())

    def rewind(self, checkpoint: Checkpoint) -> None:
        """Cut metrics and samples back to the checkpoint, so that each step stands there once.

        Later checkpoints are damaged: they are set aside under another name. Raises StorageError.
        """
        try:
            if self._metrics is not None:
                self._metrics.close()
                self._metrics = None
            for name, size in (
                ("metrics.jsonl", checkpoint.sizes["metrics"]),
                ("samples.txt", checkpoint.sizes["samples"]),
            ):
                if self._size(name) > size:
                    disk.truncate(self.path / name, size)
            for later in checkpoint_files(self.checkpoints):
                if step_of(later) > checkpoint.step:
                    disk.replace(later, later.with_name(later.name + ".damaged"))
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _size(self, name: str) -> int:
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def _sync_metrics(self) -> int:
        """Bring metrics.jsonl to the disk. Returns its size."""
        if self._metrics is None:
            return self._size("metrics.jsonl")
        try:
            disk.sync(self._metrics)
            return self._metrics.tell()
        except OSError as error:
            raise storage_error(error, self.path / "metrics.jsonl") from error


def run_meta(kind: str, settings: Settings, corpus: Corpus, **more: Any) -> dict[str, Any]:
    """Return the metadata of a run's model and checkpoint files."""
    vocabulary = corpus.vocabulary
    start = vocabulary.newline
    if start is None:
        start = int(corpus.split("train")[0])
    labels = corpus.labels_of("train")
    if labels is not None:
        counts = np.bincount(labels, minlength=len(vocabulary.labels) + 1)[1:]
        more["label_counts"] = counts.tolist()
    return model_meta(
        kind,
        settings,
        vocabulary,
        corpus.mode,
        start,
        fingerprint=corpus.fingerprint,
        corpus=corpus.name,
        **more,
    )


def load_newest(run: Path) -> tuple[Checkpoint, list[str]]:
    """Read the newest good checkpoint of a run.

    Returns it and a message for each damaged one passed over. Raises CheckpointError if there is
    none.
    """
    files = checkpoint_files(run / "checkpoints")
    while True:
        try:
            return _newest_good(run, files)
        except MissingError:  # a training that goes on has removed it, after it wrote another
            before = files
            files = checkpoint_files(run / "checkpoints")
            if files == before:
                raise


def _newest_good(run: Path, files: list[Path]) -> tuple[Checkpoint, list[str]]:
    messages: list[str] = []
    for path in reversed(files):
        try:
            return load_checkpoint(path), messages
        except DamagedError as error:
            messages.append(f"{error}; going back to the one before")
    detail = f" ({messages[0]})" if messages else ""
    raise CheckpointError(
        f"{one_line(str(run))} has no checkpoint to resume from{detail}; "
        "start a new run with --overwrite"
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises CheckpointError: missing, damaged, newer than this program, or not a checkpoint.
    """
    kinds = {"charrnn-checkpoint": KINDS["charrnn-checkpoint"]}
    tensors, meta = read_tensors(path, kinds)
    return Checkpoint(path, tensors, meta)


def _prefixed(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }

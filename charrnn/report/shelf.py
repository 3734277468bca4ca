"""What lies under runs/: a line for each run, read from the headers of its files alone.

A folder of fifty runs is listed at once, since no weights are read. So a run whose weights were
altered looks well here; whatever reads them notices. Nothing here raises for what a file holds.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from charrnn.config import ModelSettings, settings_from_dict
from charrnn.errors import CharrnnError, CheckpointError, StorageError
from charrnn.modelfile import FIELDS, KINDS, MODEL_FILE, checkpoint_files
from charrnn.newest import last_write_ns
from charrnn.storage import MAX_HEADER_BYTES
from charrnn.strictjson import check_format, parsed
from charrnn.temporary import no_wait
from charrnn.terminal import many
from charrnn.training.lock import check_free
from charrnn.training.outcome import MOST_ROLLBACKS, Place, place_from_dict
from charrnn.training.plan import plan_from_dict
from charrnn.training.removal import is_run
from charrnn.values import wrong_field

COMPARISON = "compare.json"
TAIL_BYTES = 1 << 20  # of metrics.jsonl: where a divergence that ended a training stands
MOST_FILES = 100_000  # of a run, whose sizes are added up
DAMAGED = "damaged"
# What reading a header that is not one of ours may raise.
UNREADABLE = (
    CharrnnError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True)
class Shelved:
    """A run, or a comparison of several. None: its files do not say.

    state: training, finished, stopped, diverged, damaged, empty or comparison; "model" where no
    checkpoint says how the training ended. step: of the newest checkpoint. problem: why it is
    damaged.
    """

    name: str
    path: Path
    state: str
    size_bytes: int
    last_used_ns: int
    text: str | None = None
    model: ModelSettings | None = None
    step: int | None = None
    val_nats_per_char: float | None = None
    problem: str | None = None
    members: int = 0  # of a comparison

    @property
    def val_bits_per_char(self) -> float | None:
        """The best score on validation."""
        nats = self.val_nats_per_char
        return None if nats is None else nats / math.log(2)

    @property
    def network(self) -> str:
        """The cell and its size in a word, such as gru 2x320."""
        if self.state == "comparison":
            return many(self.members, "run")
        if self.model is None:
            return "-"
        if self.model.hidden_size is None or self.model.num_layers is None:
            return self.model.cell  # counting has no sizes
        return f"{self.model.cell} {self.model.num_layers}x{self.model.hidden_size}"


def listed(runs: Path) -> list[Shelved]:
    """Return what lies under a folder, the last used first. Other folders are left out."""
    entries = []
    with contextlib.suppress(OSError):
        for path in sorted(runs.iterdir()):
            if (path / COMPARISON).is_file():
                entries.append(_comparison(path))
            elif is_run(path):
                entries.append(_run(path))
    return sorted(entries, key=lambda entry: -entry.last_used_ns)


def _comparison(path: Path) -> Shelved:
    members = sum(map(is_run, path.iterdir()))
    size_bytes, last_used_ns = _size_and_use(path)
    return Shelved(path.name, path, "comparison", size_bytes, last_used_ns, members=members)


def _run(path: Path) -> Shelved:
    # 1. What needs no reading.
    size_bytes, last_used_ns = _size_and_use(path)
    files = checkpoint_files(path / "checkpoints")[::-1]
    entry = partial(Shelved, path.name, path, size_bytes=size_bytes, last_used_ns=last_used_ns)
    best = path / MODEL_FILE
    if not best.exists() and not files:
        return entry(_unless_used(path, "empty"))

    # 2. The model: the best weights, or those of the newest checkpoint.
    file = best if best.exists() else files[0]
    try:
        meta = _header(file)
        settings = settings_from_dict(meta["settings"], "settings")
    except UNREADABLE as error:
        problem = f"{file.name} is cut short or altered; use another copy, or delete the run"
        if isinstance(error, CheckpointError):  # a later charrnn wrote it
            problem = str(error)
        return entry(_unless_used(path, DAMAGED), problem=problem)

    # 3. The newest checkpoint that can be read.
    state = "model"
    step = meta.get("step")
    best_nats = meta.get("val_nats_per_char")
    for file in files:
        with contextlib.suppress(*UNREADABLE):
            checkpoint = _header(file)
            place = place_from_dict(checkpoint["place"])
            state = _ended(path, checkpoint, place)
            step = place.step
            if math.isfinite(place.best_nats):
                best_nats = place.best_nats
            break
    return entry(
        _unless_used(path, state),
        text=meta.get("corpus"),
        model=settings.model,
        step=step,
        val_nats_per_char=best_nats,
    )


def _header(path: Path) -> dict[str, Any]:
    """Return the metadata of a tensor file whose size fits it. Raises one of UNREADABLE."""
    with open(path, "rb", opener=no_wait) as file:
        size = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > min(size - 8, MAX_HEADER_BYTES):
            raise ValueError("cut short, or not a model")
        header = parsed(file.read(header_bytes))
    meta: dict[str, Any] = parsed(header.pop("__metadata__")["meta"].encode())
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if size != 8 + header_bytes + end:
        raise ValueError("cut short")
    if meta["kind"] not in KINDS or wrong_field(meta, FIELDS) is not None:
        raise ValueError("not a model")
    check_format(path.name, meta, KINDS[meta["kind"]])
    return meta


def _ended(run: Path, checkpoint: dict[str, Any], place: Place) -> str:
    """Return how a training ended by its newest checkpoint. Raises one of UNREADABLE."""
    total = plan_from_dict(checkpoint["plan"]).total_steps
    patience = settings_from_dict(checkpoint["settings"], "settings").training.patience
    if patience and place.evaluations_since_best >= patience:
        return "finished"
    if total is not None and place.step >= total:
        return "finished"
    return "diverged" if _has_diverged(run, place.step) else "stopped"


def _has_diverged(run: Path, step: int) -> bool:
    """Whether the record's last return to a checkpoint was the last one allowed, and led nowhere.

    step: of the newest checkpoint. A training that went on saved a later one.
    """
    lines: list[bytes] = []
    with contextlib.suppress(OSError), open(run / "metrics.jsonl", "rb", opener=no_wait) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).splitlines()
    for line in reversed(lines):
        if b'"rollback"' not in line:
            continue
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
            record = parsed(line)
            return bool(record.get("rollbacks") >= MOST_ROLLBACKS and record.get("step") >= step)
    return False


def _unless_used(path: Path, state: str) -> str:
    """Return the state of a run, or "training" where a process trains in it."""
    try:
        check_free(path)
    except StorageError:
        return "training"
    return state


def _size_and_use(folder: Path) -> tuple[int, int]:
    """Return the bytes of a folder's files, and when one was written last. No link is followed."""
    size_bytes = 0
    times = [last_write_ns(lambda: [folder]) or 0]
    for number, file in enumerate(_files(folder)):
        if number == MOST_FILES:
            break
        with contextlib.suppress(OSError):
            status = file.lstat()
            size_bytes += status.st_size
            times.append(status.st_mtime_ns)
    return size_bytes, max(times[1:], default=times[0])


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield Path(place, name)

"""The best model of a run, which is set aside while that of a stopped training has its place.

A stopped training may have learnt more than its best evaluation shows. A resume goes on as if it
had never stopped: what was the best then comes back, unless something better came.
"""

from __future__ import annotations

from pathlib import Path

from charrnn.modelfile import MODEL_FILE, ModelFile, read_model
from charrnn.storage import disk, storage_error, write_atomically

BEST_FILE = "best.safetensors"  # beside the checkpoints


def set_aside(run: Path, best_step: int) -> None:
    """Copy the run's model, if it is that of this step, to where it waits. Raises StorageError."""
    best = best_model(run, best_step)
    if best is not None and best.path == run / MODEL_FILE:
        write_atomically(_waiting(run), best.path.read_bytes())


def put_back(run: Path, best_step: int) -> None:
    """Make the model of this step that waits the run's model again. Raises StorageError.

    One of another step is left from before, and is removed.
    """
    waiting = _waiting(run)
    if not waiting.exists():
        return
    best = best_model(run, best_step)
    if best is None or best.path != waiting:
        forget(run)
        return
    try:
        disk.replace(waiting, run / MODEL_FILE)
    except OSError as error:
        raise storage_error(error, run / MODEL_FILE) from error


def forget(run: Path) -> None:
    """Remove the model that waits: the run has a better one. Raises StorageError."""
    waiting = _waiting(run)
    try:
        if waiting.exists():
            disk.remove(waiting)
    except OSError as error:
        raise storage_error(error, waiting) from error


def best_model(run: Path, step: int) -> ModelFile | None:
    """Return the run's model of a step, wherever it lies. None: there is none."""
    for path in (_waiting(run), run / MODEL_FILE):
        if path.exists():
            model = read_model(path)
            if model.meta.get("step") == step:
                return model
    return None


def _waiting(run: Path) -> Path:
    return run / "checkpoints" / BEST_FILE

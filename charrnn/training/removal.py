"""Deleting a run: only what a training made, never through a link, never while it is in use."""

from __future__ import annotations

import shutil
from pathlib import Path

from charrnn.errors import SettingsError, StorageError
from charrnn.modelfile import MODEL_FILE
from charrnn.storage import disk
from charrnn.terminal import one_line
from charrnn.training.lock import check_free, take_lock

LOCK = ".lock"


def is_run(folder: Path) -> bool:
    """Return whether a training, or what is left of one, lies in a folder."""
    try:
        is_folder = folder.is_dir()
        has_parts = (folder / MODEL_FILE).is_file() or (folder / "checkpoints").is_dir()
        return is_folder and (has_parts or (folder / LOCK).is_file())
    except OSError:
        return False


def run_to_remove(name: str, runs: Path) -> Path:
    """Return the run of this name, which may be deleted.

    Raises SettingsError for what is no run right under `runs`, StorageError for one in use.
    """
    shown = one_line(name)
    path = Path(name)
    if path.parent == runs:
        path = Path(path.name)
    if path.name != str(path) or path.name in ("", ".", ".."):
        raise SettingsError(f"--delete {shown}: give the name of a run under {runs}/, not a path")
    path = runs / path
    if path.is_symlink():
        raise SettingsError(
            f"--delete {shown}: {one_line(str(path))} is a symbolic link; remove it yourself"
        )
    if not is_run(path):
        raise SettingsError(
            f"--delete {shown}: no run of this name under {runs}/; see charrnn runs"
        )
    check_free(path)
    return path


def remove_run(path: Path) -> None:
    """Delete a run. Raises StorageError: in use, or what is left of it cannot be deleted.

    The lock file goes last: what a kill leaves is still known as a run.
    """
    try:
        with disk.open(path / LOCK, "a+b") as lock:
            take_lock(lock, path)
            for entry in sorted(path.iterdir()):
                if entry.name == LOCK:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)  # which removes links, and never follows them
                else:
                    disk.remove(entry)
        shutil.rmtree(path)
        disk.sync_directory(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"cannot delete {one_line(str(path))}: {reason}; what is left of it stays"
        ) from error

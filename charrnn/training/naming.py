"""Which directory a training lives in: a new one, the one to resume, or one that a person named."""

from __future__ import annotations

import re
from pathlib import Path

from charrnn.errors import CheckpointError, SettingsError, StorageError
from charrnn.modelfile import MODEL_FILE, checkpoint_files, newest_run
from charrnn.terminal import one_line

MOST_NAME_CHARS = 80


def run_name(corpus_name: str) -> str:
    """Return a corpus's name as a directory's: letters, digits, dot, dash, underscore.

    It cannot leave runs/.
    """
    return re.sub(r"[^\w.-]+", "-", corpus_name).strip(".-")[:MOST_NAME_CHARS] or "corpus"


def fresh_run(corpus_name: str, runs: Path) -> Path:
    """Return runs/NAME, or runs/NAME-2, -3 ... if that is taken."""
    name = run_name(corpus_name)
    path = runs / name
    number = 1
    while path.exists():
        number += 1
        path = runs / f"{name}-{number}"
    return path


def runs_of(corpus_name: str, runs: Path) -> list[Path]:
    """Return a corpus's runs (names, names-2, ...) that have a checkpoint, oldest first."""
    pattern = re.compile(re.escape(run_name(corpus_name)) + r"(-\d+)?")
    newest_files = [
        files[-1]
        for path in runs.glob("*")
        if pattern.fullmatch(path.name) and (files := checkpoint_files(path / "checkpoints"))
    ]
    newest_files.sort(key=lambda file: file.stat().st_mtime_ns)
    return [file.parent.parent for file in newest_files]


def run_to_resume(corpus: str | None, runs: Path) -> Path:
    """Return the newest run of a corpus, as it is named on the command line, or of all.

    Raises CheckpointError if there is none.
    """
    if corpus is None:
        return newest_run(runs)
    name = "stdin" if corpus == "-" else Path(corpus).resolve().name
    stem = name.removesuffix(Path(name).suffix) or name
    candidates = runs_of(stem, runs) or runs_of(name, runs)
    if not candidates:
        raise CheckpointError(
            f"no run of {one_line(name)} under {runs}/ to resume; train it without --resume"
        )
    return candidates[-1]


def check_new(path: Path, overwrite: bool) -> None:
    """Raise SettingsError or StorageError unless a directory is new, empty, or to overwrite."""
    shown = one_line(str(path))
    if path.exists() and not path.is_dir():
        raise StorageError(f"--run {shown} is a file; name a directory")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / "checkpoints").is_dir():
        raise SettingsError(f"--run {shown} holds other files and no run; name a new directory")
    if not overwrite and (checkpoint_files(path / "checkpoints") or (path / MODEL_FILE).exists()):
        raise SettingsError(
            f"{shown} already holds a run; "
            "pass --resume to go on with it or --overwrite to start a new one"
        )

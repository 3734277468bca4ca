"""Which directory a training lives in: a new one, the one to resume, or one that a person named."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError, SettingsError, StorageError
from charrnn.modelfile import MODEL_FILE, checkpoint_files
from charrnn.newest import last_write_ns, newest_run
from charrnn.storage import claim_directory, storage_error
from charrnn.terminal import one_line
from charrnn.text.corpus import described
from charrnn.text.sources import Source, digest_of, find_source, is_run

MOST_NAME_CHARS = 80


def run_name(corpus_name: str) -> str:
    """Return a corpus's name as a directory's: letters, digits, dot, dash, underscore.

    It cannot leave runs/.
    """
    return re.sub(r"[^\w.-]+", "-", corpus_name).strip(".-")[:MOST_NAME_CHARS] or "corpus"


def fresh_run(corpus_name: str, runs: Path) -> Path:
    """Return runs/NAME, or runs/NAME-2, -3 ... if that is taken."""
    return next(path for path in numbered(runs / run_name(corpus_name)) if not path.exists())


def claimed_run(corpus_name: str, runs: Path) -> Path:
    """Make the directory runs/NAME, or runs/NAME-2, -3 ... if that is taken, and return it.

    Of processes that ask at the same moment each gets another. Raises StorageError.
    """
    first = runs / run_name(corpus_name)
    try:
        return next(filter(claim_directory, numbered(first)))
    except OSError as error:
        raise storage_error(error, first) from error


def numbered(path: Path) -> Iterator[Path]:
    """Yield NAME, NAME-2, NAME-3 ... without end."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def runs_of(corpus_name: str, runs: Path) -> list[Path]:
    """Return a corpus's runs (names, names-2, ...) that have a checkpoint, oldest first."""
    pattern = re.compile(re.escape(run_name(corpus_name)) + r"(-\d+)?")
    dated_runs = []
    for path in runs.glob("*"):
        if pattern.fullmatch(path.name):
            written_ns = last_write_ns(partial(_newest_checkpoint, path))
            if written_ns is not None:
                dated_runs.append((written_ns, path))
    return [path for _, path in sorted(dated_runs)]


def _newest_checkpoint(run: Path) -> list[Path]:
    return checkpoint_files(run / "checkpoints")[-1:]


def runs_of_text(text_sha256: str, runs: Path) -> list[Path]:
    """Return the runs that have a checkpoint and whose text has this digest, oldest first."""
    dated_runs = []
    for path in runs.glob("*"):
        if text_sha256 in _digests(path / "corpus"):
            written_ns = last_write_ns(partial(_newest_checkpoint, path))
            if written_ns is not None:
                dated_runs.append((written_ns, path))
    return [path for _, path in sorted(dated_runs)]


def _digests(folder: Path) -> list[Any]:
    """Return the SHA-256 of each training text that lies in a run; damaged descriptions tell none.

    A person's name for a file says nothing about what is in it.
    """
    digests = []
    for ids in folder.glob("*.ids"):
        with contextlib.suppress(CheckpointError):
            texts = described(ids).get("text_sha256")
            if isinstance(texts, dict):
                digests.append(texts.get("train"))
    return digests


def run_to_resume(corpus: str | Source | None, settings: TextSettings, runs: Path) -> Path:
    """Return the newest run of a text, as it is named on the command line; None: of all.

    Raises CheckpointError if there is none.
    """
    return runs_to_resume(corpus, settings, runs)[-1]


def runs_to_resume(corpus: str | Source | None, settings: TextSettings, runs: Path) -> list[Path]:
    """Return the runs of a text, the newest last; without a text the newest of all.

    A run belongs to a text that has the same bytes. Where there is none, one whose text had this
    name is taken: the text may have changed, which the resume will say. Raises CheckpointError if
    there is none.
    """
    if corpus is None:
        return [newest_run(runs)]
    if isinstance(corpus, Source):
        same = runs_of_text(digest_of(corpus), runs) or runs_of(corpus.name, runs)
        if same:
            return same
        raise CheckpointError(
            f"no run of this text ({corpus.shown}) under {runs}/ to resume; train it first"
        )
    path = Path(corpus)
    name = "stdin" if corpus == "-" else path.resolve().name
    if path.is_dir() and is_run(path):
        return [path]
    if runs.is_dir() and (path.is_file() or path.is_dir() or not path.exists()) and corpus != "-":
        with contextlib.suppress(CorpusError):
            source, _ = find_source(corpus, settings)
            if same := runs_of_text(digest_of(source), runs):
                return same
    stem = name.removesuffix(Path(name).suffix) or name
    candidates = runs_of(stem, runs) or runs_of(name, runs)
    if not candidates:
        raise CheckpointError(
            f"no run of {one_line(name)} under {runs}/ to resume; train it without --resume"
        )
    return candidates


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

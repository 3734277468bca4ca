"""charrnn.train: the same training as the command, called from Python."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charrnn import layers as sources
from charrnn.api.listening import Listening
from charrnn.api.run import Run
from charrnn.config import FIELDS
from charrnn.errors import CorpusError, SettingsError
from charrnn.machine.runtime import as_found
from charrnn.sampling.preview import preview
from charrnn.terminal import one_line
from charrnn.text.reading import Source, typed_source
from charrnn.training import session
from charrnn.training.listener import Progress, Silent
from charrnn.training.session import Request
from charrnn.values import nearest

# How a string or a list is named, and so its run.
TYPED = "text"
PROGRESS = ("auto", "on", "off")


def train(
    corpus: str | Path | Iterable[str] | None = None,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    allow_corpus_change: bool = False,
    callbacks: Iterable[object] = (),
    progress: str = "auto",
    config: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Train a network on a text and return its run. The work and the defaults of `charrnn train`.

    corpus: a path; the name of a text that comes with charrnn; a string with a line break, which is
    the text itself; or a list of strings, which are lines. None: the shipped names.
    run: the run's directory; None: runs/ and the corpus's name, with a number if that is taken.
    resume: go on with that run, or the newest of this text, exactly where it stopped.
    overwrite: start over in a directory that holds a run.
    callbacks: objects with any of the methods in charrnn.api.events. One that raises
    charrnn.StopTraining ends the training after its step, saved.
    progress: "on" shows what the command shows, "off" nothing; "auto" is "on" where a person sits:
    in a notebook or at Python's prompt.
    config: a TOML file of settings, or the name of one that comes with charrnn.
    settings: any setting of the command, with underscores: budget="1m", hidden_size=128, seed=1.

    Ctrl-C saves and raises KeyboardInterrupt. Other signals are left alone, and torch's threads,
    flags and generators are left as they were found.
    Raises CharrnnError: SettingsError, CorpusError, CheckpointError, DivergedError, StorageError;
    CallbackError for a callback that failed, after saving.
    """
    began = time.perf_counter()
    for name in settings:
        if name not in FIELDS:
            raise SettingsError(f"train() has no setting {one_line(name)!r}{nearest(name, FIELDS)}")
    listening = Listening(_view(progress), callbacks)
    request = Request(
        source_of(corpus),
        _layers(config, settings),
        Path(run) if run is not None else None,
        resume,
        overwrite,
        allow_corpus_change,
        began=began,
        is_guest=True,
    )
    try:
        with as_found():
            path, outcome = session.train(request, listening, preview)
    finally:
        listening.close()
    listening.ended(path, outcome)
    if outcome.reason == "SIGINT":
        raise KeyboardInterrupt(f"saved: charrnn.train(run={str(path)!r}, resume=True) goes on")
    return Run(path, notes=listening.notes)


def source_of(corpus: str | Path | Iterable[str] | None) -> str | Source | None:
    """Return a corpus as a training takes it. Raises CorpusError, TypeError."""
    if corpus is None:
        return None
    if isinstance(corpus, Path):
        return str(corpus)
    if isinstance(corpus, str):
        return typed_source(corpus, TYPED) if "\n" in corpus else corpus
    lines = list(corpus)
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str):
            raise TypeError(f"corpus: item {number} is {type(line).__name__}, not a string")
        if "\n" in line:
            raise CorpusError(
                f"corpus: item {number} has a line break, and items are lines; "
                "join them into one string for a stream"
            )
    return typed_source("".join(f"{line}\n" for line in lines), TYPED)


def _layers(
    config: str | Path | None, settings: Mapping[str, Any]
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return settings in order of precedence: file < environment < arguments."""
    files = [] if config is None else [sources.toml_layer(str(config))]
    return (
        *files,
        ("environment", sources.environment_layer(os.environ)),
        ("train()", settings),
    )


def _view(progress: str) -> Progress:
    """Return who shows the progress. Raises SettingsError."""
    if progress not in PROGRESS:
        raise SettingsError(f"progress {progress!r}: choose {', '.join(PROGRESS)}")
    has_person = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    if progress == "off" or (progress == "auto" and not has_person):
        return Silent()
    from charrnn.progress import TrainingProgress

    return TrainingProgress()

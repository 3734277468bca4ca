"""A call from Python -> one training, as a guest in somebody's process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charrnn import layers as sources
from charrnn.api.listening import Listening
from charrnn.api.together import train_here
from charrnn.config import FIELDS, resolve
from charrnn.errors import CorpusError, SettingsError
from charrnn.machine.runtime import as_found
from charrnn.terminal import one_line
from charrnn.text.sources import Source, find_several, typed_source
from charrnn.training.listener import Progress, Silent
from charrnn.training.session import Request
from charrnn.values import finite, nearest

Asked = (
    str | Path | Iterable[str] | Iterable[Path] | Mapping[str, float] | Mapping[Path, float] | None
)
Layers = tuple[tuple[str, Mapping[str, Any]], ...]

# How a string or a list is named, and so its run.
TYPED = "text"
PROGRESS = ("auto", "on", "off")


def run_training(
    corpus: Asked,
    run: str | Path | None,
    *,
    resume: bool,
    overwrite: bool,
    allow_corpus_change: bool,
    callbacks: Iterable[object],
    progress: str,
    config: str | Path | None,
    settings: Mapping[str, Any],
) -> tuple[Path, list[str]]:
    """Train as charrnn.train says. Returns the run, and what the training said."""
    began = time.perf_counter()
    for name in settings:
        if name not in FIELDS:
            raise SettingsError(f"train() has no setting {one_line(name)!r}{nearest(name, FIELDS)}")
    listening = Listening(_view(progress), callbacks)
    file = None if config is None else str(config)
    layers = sources.in_order(file, os.environ, ("train()", settings))
    request = Request(
        source_of(corpus, layers),
        layers,
        Path(run) if run is not None else None,
        resume,
        overwrite,
        allow_corpus_change,
        began=began,
        is_guest=True,
    )
    try:
        with as_found():
            path, outcome = train_here(request, listening, settings)
    finally:
        listening.close()
    listening.raise_error()
    if outcome is not None and outcome.reason == "SIGINT":
        raise KeyboardInterrupt(f"saved: charrnn.train(run={str(path)!r}, resume=True) goes on")
    return path, listening.notes


def source_of(corpus: Asked, layers: Layers = ()) -> str | Source | None:
    """Return a corpus as a training takes it. layers: of settings, for several texts.

    Raises CorpusError, SettingsError, TypeError.
    """
    if corpus is None:
        return None
    if isinstance(corpus, Path):
        return str(corpus)
    if isinstance(corpus, str):
        return typed_source(corpus, TYPED) if "\n" in corpus else corpus
    if isinstance(corpus, Mapping) and corpus:
        shares = [finite(share, "corpus: share", above=0) for share in corpus.values()]
        texts = list(zip(map(str, corpus), shares, strict=True))
        return find_several(texts, resolve(layers)[0].text)
    lines = list(corpus)
    if lines and all(isinstance(path, Path) for path in lines):
        return find_several([(str(path), None) for path in lines], resolve(layers)[0].text)
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str):
            raise TypeError(f"corpus: item {number} is {type(line).__name__}, not a string")
        if "\n" in line:
            raise CorpusError(
                f"corpus: item {number} has a line break, and items are lines; "
                "join them into one string for a stream"
            )
    return typed_source("".join(f"{line}\n" for line in lines), TYPED)


def _view(progress: str) -> Progress:
    """Return who shows the progress. Raises SettingsError."""
    if progress not in PROGRESS:
        raise SettingsError(f"progress {progress!r}: choose {', '.join(PROGRESS)}")
    from charrnn.notebook import NotebookBar, in_notebook

    has_person = hasattr(sys, "ps1") or in_notebook()
    if progress == "off" or (progress == "auto" and not has_person):
        return Silent()
    from charrnn.progress import TrainingProgress

    return TrainingProgress(screen=NotebookBar() if in_notebook() else None)

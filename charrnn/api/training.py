"""charrnn.train: the same training as the command, called from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charrnn.api.calls import run_training
from charrnn.api.run import Run


def train(
    corpus: str
    | Path
    | Iterable[str]
    | Iterable[Path]
    | Mapping[str, float]
    | Mapping[Path, float]
    | None = None,
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
    the text itself; or a list of strings, which are lines. None: the shipped names. Several texts
    are a list of Path, or a dict of paths, each with its share: {"a.txt": 0.7, "b.txt": 0.3}.
    run: the run's directory; None: runs/ and the corpus's name, with a number if that is taken.
    resume: go on with that run, or the newest of this text, exactly where it stopped.
    overwrite: start over in a directory that holds a run.
    callbacks: objects with any of the methods in charrnn.events. One that raises
    charrnn.StopTraining ends the training after its step, saved.
    progress: "on" shows what the command shows, "off" nothing; "auto" is "on" where a person sits:
    in a notebook or at Python's prompt.
    config: a TOML file of settings, or the name of one that comes with charrnn.
    settings: any setting of the command, with underscores: budget="1m", hidden_size=128, seed=1.

    In the processes of torchrun, or of a torch.distributed group, all make the same call, and train
    together. The first one writes, and its callbacks are told.
    Ctrl-C saves and raises KeyboardInterrupt. Other signals are left alone, and torch's threads,
    flags and generators are left as they were found.
    Raises CharrnnError: SettingsError, CorpusError, CheckpointError, DivergedError, StorageError;
    CallbackError for a callback that failed, after saving.
    """
    path, notes = run_training(
        corpus,
        run,
        resume=resume,
        overwrite=overwrite,
        allow_corpus_change=allow_corpus_change,
        callbacks=callbacks,
        progress=progress,
        config=config,
        settings=settings,
    )
    return Run(path, notes=notes)

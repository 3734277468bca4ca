"""charrnn train and eval, in this process or in those of torchrun: one leads them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import config
from charrnn.cli.logs import log_callbacks
from charrnn.launch import launch_of
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.scoring.readers import Helped
    from charrnn.text.sources import Source

Layers = tuple[tuple[str, Any], ...]
Logs = list[tuple[str, str]]
Trained = tuple[Path, Any, Any, Any]


def train_in_processes(
    words: dict[str, Any], layers: Layers, logs: Logs, *, quiet: bool, page: bool
) -> Trained | int:
    """Train as the words say. Returns the run, its outcome, who showed it and who listened.

    In the processes that another one leads: the exit code.
    """
    launch = launch_of(os.environ)
    if launch is None:
        return _trained(words, layers, logs, None, quiet=quiet, page=page)
    from charrnn.parallel.group import join
    from charrnn.training.together import train_together

    group = join(launch)
    trained = train_together(
        group,
        sys.argv[1:],
        lambda: _trained(words, layers, logs, group, quiet=quiet, page=page),
        is_guest=False,
    )
    return trained if isinstance(trained, tuple) else trained.code


def score_in_processes(score: Callable[[Helped | None], None]) -> int | None:
    """Score, in this process or in the first of a launch. Returns the exit code of a launch.

    score: is given what reads batches with the other processes.
    """
    launch = launch_of(os.environ)
    if launch is None:
        score(None)
        return None
    from charrnn.parallel.group import join
    from charrnn.training.helping import helped_by
    from charrnn.training.together import score_together

    group = join(launch)
    helped = partial(helped_by, group) if group.world > 1 else None
    return score_together(group, sys.argv[1:], lambda: score(helped)).code


def _trained(
    words: dict[str, Any],
    layers: Layers,
    logs: Logs,
    group: Any,
    *,
    quiet: bool,
    page: bool,
) -> Trained:
    """Train as the words say, leading a group of processes if there is one.

    Returns the run, its outcome, who showed it and who listened.
    """
    # 1. A wrong option, or another process at work on this run, is told before torch is loaded.
    settings, origins = config.resolve(layers)
    from charrnn.text.sources import find_source, is_read_once
    from charrnn.training.lock import check_free
    from charrnn.training.naming import runs_to_resume

    corpus = words["corpus"]
    run = words["run"]
    others: list[Path] = []
    text: str | Source | None = corpus
    if words["resume"] and not words["overwrite"] and run is None:
        if isinstance(corpus, str) and is_read_once(corpus):
            text, _ = find_source(corpus, settings.text)
        *others, run = runs_to_resume(text, settings.text, Path("runs"))
        if isinstance(corpus, str) and Path(corpus) == run:
            text = None
    if run is not None:
        check_free(run)

    # 2. The training.
    from charrnn.api.listening import Listening
    from charrnn.progress import TrainingProgress
    from charrnn.sampling.preview import preview
    from charrnn.training import session
    from charrnn.training.session import Request

    has_own_points = not origins.keys().isdisjoint({"eval_every", "sample_every"})
    is_verbose = words["verbose"] or has_own_points
    progress = TrainingProgress(quiet=quiet, every=is_verbose, began=words["began"])
    callbacks = log_callbacks(logs)
    if page:
        from charrnn.api.live import LivePage

        callbacks.append(LivePage())
    listening = Listening(progress, callbacks)
    request = Request(**words | {"corpus": text, "layers": layers, "run": run})
    try:
        path, outcome = session.train(request, listening, preview, group)
    finally:
        listening.close()
    if others and outcome.reason == "already done":
        from charrnn.report.shelf import listed

        stopped = {entry.path for entry in listed(Path("runs")) if entry.state == "stopped"}
        for other in [path for path in others if path in stopped][-1:]:
            earlier = f"charrnn train --resume --run {shlex.quote(one_line(str(other)))}"
            progress.say(f"an earlier run of this text goes on with {earlier}")
    return path, outcome, progress, listening

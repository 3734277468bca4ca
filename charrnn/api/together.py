"""charrnn.train in several processes: those of torchrun, or of a group that the host has begun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from charrnn.launch import Launch, launch_of
from charrnn.sampling.preview import preview
from charrnn.training import session
from charrnn.training.listener import Progress
from charrnn.training.outcome import Outcome
from charrnn.training.session import Request

if TYPE_CHECKING:
    from charrnn.parallel.group import Group


def train_here(
    request: Request, progress: Progress, settings: Mapping[str, Any]
) -> tuple[Path, Outcome | None]:
    """Train, with the other processes if there are some. Returns the run and its outcome.

    settings: what this process was called with; all must be alike.
    In all processes but the first there is no outcome. Raises what the first one raised, there as
    ToldError, and KeyboardInterrupt where somebody has pressed Ctrl-C.
    """
    group = _group()
    if group is None:
        return session.train(request, progress, preview)
    from charrnn.parallel.group import ToldError
    from charrnn.training.together import train_together

    words = [f"{key}={value!r}" for key, value in sorted(settings.items())]
    ended = train_together(
        group, words, lambda: session.train(request, progress, preview, group), is_guest=True
    )
    if isinstance(ended, tuple):
        return ended
    if ended.fault:
        raise ToldError(ended.fault, ended.code)
    if ended.code == session.SIGNALS["SIGINT"]:
        raise KeyboardInterrupt
    return Path(ended.run), None


def _group() -> Group | None:
    """Return the processes beside this one, if there are some. A host's own group stays its own."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        from charrnn.parallel.group import Group

        world = distributed.get_world_size()
        launch = Launch(
            rank=distributed.get_rank(),
            world=world,
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            local_world=int(os.environ.get("LOCAL_WORLD_SIZE", str(world))),
            name="",
        )
        return Group(launch, is_ours=False) if world > 1 else None
    launched = launch_of(os.environ)
    if launched is None:
        return None
    from charrnn.parallel.group import join

    return join(launched)

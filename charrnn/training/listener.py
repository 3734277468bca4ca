"""Who is told about a training while it runs, and who writes samples for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from charrnn.config import Settings
from charrnn.scoring.score import Score
from charrnn.training.outcome import Place, Recent

Tensors = dict[str, np.ndarray]

# A model's weights and metadata -> text for a person.
MakeSamples = Callable[[Tensors, dict[str, Any]], str]


class Step(NamedTuple):
    """An update was made. total_steps: of the plan, None until a budget is a number of steps."""

    step: int
    total_steps: int | None
    chars: int
    train_nats_per_char: float
    seconds_left: float | None


class Progress(Protocol):
    """Who is told. charrnn/progress.py has one for people; tests have their own."""

    def say(self, text: str) -> None:
        """Show a message: a note, a warning, or what is trained on what."""
        ...

    def started(self, path: Path, settings: Settings, step: int) -> None:
        """Tell of a training that begins in this run, or goes on after a step.

        settings: every size is decided.
        """
        ...

    def step(self, update: Step) -> None:
        """Show that an update was made."""
        ...

    def evaluated(
        self, step: int, total: int | None, recent: Recent, val: Score, best: bool
    ) -> None:
        """Show a score on validation. recent: the updates since the score before."""
        ...

    def sampled(self, step: int, text: str) -> None:
        """Show what the model writes by now."""
        ...

    def saved(self, step: int, path: Path) -> None:
        """Tell of a checkpoint, from which a resume would go on."""
        ...

    def stop_reason(self) -> str:
        """Return why the training should save and end after this step; "" while it should not."""
        ...

    def ended(self, path: Path, reason: str, place: Place) -> None:
        """Tell of the end of a training that was told to have started, whatever ended it.

        reason: of Outcome; "diverged", or "failed" for any other exception, which is raised then.
        """
        ...

    def close(self) -> None:
        """Leave the screen: no more is shown."""
        ...


class Silent:
    """A Progress that shows nothing and asks for no end; others change a part of it."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def started(self, path: Path, settings: Settings, step: int) -> None:
        """Show nothing."""

    def step(self, update: Step) -> None:
        """Show nothing."""

    def evaluated(
        self, step: int, total: int | None, recent: Recent, val: Score, best: bool
    ) -> None:
        """Show nothing."""

    def sampled(self, step: int, text: str) -> None:
        """Show nothing."""

    def saved(self, step: int, path: Path) -> None:
        """Show nothing."""

    def stop_reason(self) -> str:
        """Ask for no end."""
        return ""

    def ended(self, path: Path, reason: str, place: Place) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Leave nothing behind."""

"""Who is told about a training while it runs, and who writes samples for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from charrnn.config import Settings
from charrnn.scoring.score import Score
from charrnn.training.outcome import Recent

Tensors = dict[str, np.ndarray]

# A model's weights and metadata -> text for a person.
MakeSamples = Callable[[Tensors, dict[str, Any]], str]


class Progress(Protocol):
    """Who is told. charrnn/progress.py has one for people; tests have their own."""

    def say(self, text: str) -> None:
        """Show a message: a note, a warning, or what is trained on what."""
        ...

    def started(self, path: Path, settings: Settings) -> None:
        """Tell of a training that begins or goes on in this run, with every size decided."""
        ...

    def step(
        self,
        step: int,
        total: int | None,
        chars: int,
        bits_per_char: float,
        seconds_left: float | None,
    ) -> None:
        """Show that a step is done. total: steps of the plan, None until it is decided."""
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


class Silent:
    """A Progress that shows nothing and asks for no end; others change a part of it."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def started(self, path: Path, settings: Settings) -> None:
        """Show nothing."""

    def step(
        self,
        step: int,
        total: int | None,
        chars: int,
        bits_per_char: float,
        seconds_left: float | None,
    ) -> None:
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

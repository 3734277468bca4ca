"""A training's progress -> callbacks: each is told in turn, and a broken one ends the training.

What happens in a callback never leaves a step half done: an exception is kept, the training saves
after its step and ends, and then the exception is raised.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charrnn import events
from charrnn.config import Settings
from charrnn.errors import CallbackError, StopTraining
from charrnn.scoring.score import Score
from charrnn.terminal import one_line
from charrnn.training.listener import Progress
from charrnn.training.outcome import STOPPED, Place, Recent

NAMES = (
    "on_start",
    "on_step",
    "on_evaluation",
    "on_samples",
    "on_checkpoint",
    "on_end",
)


def flat(settings: Settings) -> dict[str, Any]:
    """Return all settings by name."""
    return {key: value for part in settings.to_dict().values() for key, value in part.items()}


class Listening:
    """A training.listener.Progress that passes on to a view and to callbacks.

    notes: what a person was told in words.
    """

    def __init__(self, view: Progress, callbacks: Iterable[object]) -> None:
        """Raises TypeError for an object that would never be called."""
        self.notes: list[str] = []
        self._view = view
        self._callbacks = list(callbacks)
        self._error: CallbackError | None = None
        self._is_stopped = False
        for callback in self._callbacks:
            if not any(callable(getattr(callback, name, None)) for name in NAMES):
                kind = type(callback).__name__
                raise TypeError(f"callback {kind} has none of {', '.join(NAMES)}")

    def say(self, text: str) -> None:
        """Show and keep a message."""
        self.notes.append(text)
        self._view.say(text)

    def started(self, path: Path, settings: Settings, step: int) -> None:
        """Call on_start."""
        self._view.started(path, settings, step)
        self._call("on_start", events.Start(path, flat(settings), step))

    def step(self, update: events.Step) -> None:
        """Call on_step."""
        self._view.step(update)
        self._call("on_step", update)

    def evaluated(
        self, step: int, total: int | None, recent: Recent, val: Score, best: bool
    ) -> None:
        """Call on_evaluation."""
        self._view.evaluated(step, total, recent, val, best)
        learnt = recent.score.nats_per_char if recent.steps else None
        event = events.Evaluation(step, total, learnt, val.nats_per_char, best)
        self._call("on_evaluation", event)

    def sampled(self, step: int, text: str) -> None:
        """Call on_samples."""
        self._view.sampled(step, text)
        self._call("on_samples", events.Samples(step, text))

    def saved(self, step: int, path: Path) -> None:
        """Call on_checkpoint."""
        self._view.saved(step, path)
        self._call("on_checkpoint", events.Checkpoint(step, path))

    def stop_reason(self) -> str:
        """Return STOPPED after a callback asked for the end, or failed."""
        return STOPPED if self._is_stopped else self._view.stop_reason()

    def ended(self, path: Path, reason: str, place: Place) -> None:
        """Call on_end."""
        self._view.ended(path, reason, place)
        event = events.End(path, reason, place.step, place.best_step, place.best_nats)
        self._call("on_end", event)

    def close(self) -> None:
        """Remove a bar, if there is one."""
        self._view.close()

    def raise_error(self) -> None:
        """Raise what a callback raised, if one did: CallbackError."""
        if self._error is not None:
            raise self._error

    def _call(self, name: str, event: object) -> None:
        for callback in self._callbacks:
            method = getattr(callback, name, None)
            if method is None:
                continue
            try:
                method(event)
            except StopTraining:
                self._is_stopped = True
            except Exception as error:
                self._is_stopped = True
                if self._error is None:
                    self._error = _named(callback, name, error)


def _named(callback: object, name: str, error: Exception) -> CallbackError:
    """Return an error that names the callback and keeps what it raised as its cause."""
    kind = type(callback).__name__
    reason = f"{type(error).__name__}: {error}"
    named = CallbackError(f"callback {kind}.{name} failed ({one_line(reason)}); the run is saved")
    named.__cause__ = error
    return named

"""Where a training stands, how it ended, and one line that says what that means."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.config import Settings
from charrnn.scoring.counting import Baseline
from charrnn.scoring.score import Score


@dataclass(frozen=True)
class Recent:
    """The updates since the last evaluation: their score, the sum of their gradient norms, how many were clipped."""

    nats: float = 0.0
    chars: int = 0
    steps: int = 0
    norms: float = 0.0  # before clipping
    clipped_steps: int = 0

    def with_step(self, score: Score, norm: float, is_clipped: bool) -> Recent:
        return Recent(
            self.nats + score.nats,
            self.chars + score.chars,
            self.steps + 1,
            self.norms + norm,
            self.clipped_steps + is_clipped,
        )

    @property
    def score(self) -> Score:
        return Score(self.nats, self.chars)

    @property
    def grad_norm(self) -> float:
        """Mean norm of the gradient; NaN before the first step."""
        return self.norms / self.steps if self.steps else math.nan

    @property
    def clip_rate(self) -> float:
        """Share of the updates whose gradient was clipped."""
        return self.clipped_steps / self.steps if self.steps else math.nan


@dataclass
class Place:
    """Where a training stands: all that changes from step to step beside tensors."""

    step: int = 0
    chars: int = 0
    elapsed_s: float = 0.0
    best_nats: float = math.inf
    best_step: int = 0
    evaluations_since_best: int = 0
    bad_steps: int = 0  # in a row
    skipped_steps: int = 0
    rollbacks: int = (
        0  # how often the training went back to a checkpoint, each time with half the learning rate
    )
    clipped_steps: int = 0
    val_nats: float = math.nan
    train_nats: float = math.nan  # over the steps since the evaluation before the last
    recent: Recent = field(default_factory=Recent)

    def count_update(self, score: Score, norm: float, is_clipped: bool) -> None:
        """Count a step that updated the weights."""
        self.bad_steps = 0
        self.clipped_steps += is_clipped
        self.recent = self.recent.with_step(score, norm, is_clipped)

    def count_bad_step(self) -> None:
        """Count a step that updated nothing: its loss or gradient was not finite."""
        self.bad_steps += 1
        self.skipped_steps += 1

    def count_evaluation(self, val: Score) -> bool:
        """Take in a score on validation. Returns whether it is the best so far."""
        self.val_nats = val.nats_per_char
        if self.recent.steps:
            self.train_nats = self.recent.score.nats_per_char
        is_best = math.isfinite(self.val_nats) and self.val_nats < self.best_nats
        if is_best:
            self.best_nats = self.val_nats
            self.best_step = self.step
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1
        return is_best


@dataclass(frozen=True)
class Outcome:
    """How a training ended. reason: "done", "stopped improving", "already done" or the name of a signal."""

    reason: str
    place: Place
    epochs: float
    parameters: int
    train_chars_per_s: float
    weights_sha256: str
    device: str
    precision: str | None  # of matrix products; counting has none
    ngram: Baseline | None
    verdict: str


def place_to_dict(place: Place) -> dict[str, Any]:
    """JSON has no infinities: they become null."""
    values = dataclasses.asdict(place)
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def place_from_dict(values: Any) -> Place:
    """What place_to_dict wrote. Raises ValueError for anything else: a file may hold it."""
    fresh = Place()
    if not isinstance(values, dict) or not isinstance(values.get("recent"), dict):
        raise ValueError("no place of a training")
    own = {key: value for key, value in values.items() if key != "recent"}
    recent = dataclasses.replace(fresh.recent, **_numbers(values["recent"], fresh.recent))
    return dataclasses.replace(fresh, **_numbers(own, fresh), recent=recent)


def _numbers(values: dict[str, Any], fresh: Place | Recent) -> dict[str, Any]:
    """values, where they are of the types that fresh has: counts, and finite numbers, of which null is the fresh one."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        default: Any = getattr(fresh, key, None)
        if isinstance(default, int):
            fine = type(value) is int and 0 <= value < 1 << 53
        else:
            value = default if value is None else value
            fine = (
                isinstance(default, float)
                and type(value) in (int, float)
                and (value is default or abs(value) < 1e300)
            )
        if not fine:
            raise ValueError(f"no {key} of a training")
        found[key] = value
    return found


def verdict(place: Place, reason: str, settings: Settings, ngram: Baseline | None) -> str:
    """One line that interprets the end: what the figures mean and what to try next."""
    dropout = settings.model.dropout or 0.0
    gap = place.best_nats - place.train_nats
    behind = ngram is not None and place.best_nats > ngram.score.nats_per_char
    if reason.startswith("SIG"):
        return "stopped before its end"
    if not math.isfinite(place.train_nats):
        return "too short to judge: train for longer"
    if place.best_step == 0:
        return "nothing was learnt: validation never got better than at the start; try another --lr, or more text"
    if place.val_nats > place.best_nats + 0.02 or (reason == "stopped improving" and gap > 0.1):
        more = (
            f"--dropout {min(0.7, dropout + 0.2):.1f}"
            if dropout < 0.6
            else "a smaller --hidden-size"
        )
        return (
            f"overfitting: validation was best at step {place.best_step:,} and those weights are kept; "
            f"to do better try {more}, or more text"
        )
    if reason == "stopped improving":
        return "validation has stopped improving: a larger --hidden-size may do better"
    if behind:
        return "underfitting: counting still does better; train for longer or raise --lr"
    if gap < 0.05 and dropout > 0:
        return "underfitting: training text is no easier than validation; train for longer, or try a larger --hidden-size"
    if gap > 0.3:
        return "a good fit, close to overfitting: more --dropout or more text will do more than more time"
    if place.best_step < 0.9 * place.step:
        return "a good fit that has levelled off: more text, or a larger network with more --dropout, may do better"
    return "a good fit: training for longer should still help"


def weights_sha256(tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 of a model's tensors in name order, so that two trainings can be compared."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()

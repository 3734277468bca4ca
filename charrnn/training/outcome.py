"""Where a training stands, how it ended, and one line that says what that means."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.config import Settings
from charrnn.scoring.by_text import TextScore
from charrnn.scoring.counting import Baseline
from charrnn.scoring.score import Score
from charrnn.values import MAX_WHOLE

MOST_NUMBER = 1e300
MOST_ROLLBACKS = 3  # returns of a diverged training to a checkpoint
STOPPED = "stopped by a callback"
# What a place knows of its text, beside the steps at which something happened.
SCORES = (
    "best_nats",
    "best_network_nats",
    "evaluations_since_best",
    "bad_steps",
    "rollbacks",
    "val_nats",
    "network_nats",
    "train_nats",
    "learnt_nats",
    "recent",
)


@dataclass(frozen=True)
class Recent:
    """The updates since the last evaluation: their score, gradient norms, how many were clipped."""

    nats: float = 0.0
    chars: int = 0
    steps: int = 0
    norms: float = 0.0  # before clipping
    clipped_steps: int = 0

    def with_step(self, score: Score, norm: float, is_clipped: bool) -> Recent:
        """Return the updates with one more."""
        return Recent(
            self.nats + score.nats,
            self.chars + score.chars,
            self.steps + 1,
            self.norms + norm,
            self.clipped_steps + is_clipped,
        )

    @property
    def score(self) -> Score:
        """What the updates scored on the batches they learnt from."""
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
    began_step: int = 0  # of the text: 0, or where another one took its place
    # Progress is a better score of the mixture with counting, or of the network alone.
    evaluations_since_best: int = 0  # since the last progress
    progress_step: int = 0  # of the last progress
    best_network_nats: float = math.inf
    bad_steps: int = 0  # in a row
    skipped_steps: int = 0
    rollbacks: int = 0  # returns to a checkpoint, each with half the learning rate
    clipped_steps: int = 0
    val_nats: float = math.nan
    network_nats: float = math.nan  # of the network alone, where counting stands beside it
    train_nats: float = math.nan  # over the steps since the evaluation before the last
    learnt_nats: float = math.nan  # at the end: on some of the training text, without dropout
    recent: Recent = field(default_factory=Recent)

    @property
    def has_learnt(self) -> bool:
        """Whether weights that learnt from this text were the best; at its start none have."""
        return self.best_step > self.began_step

    @property
    def kept(self) -> Place:
        """This place with the score and step of the model that is kept.

        Where nothing that was learnt scored better than the start, the last weights are.
        """
        if self.has_learnt or self.step == self.began_step or self.bad_steps:
            return self
        return dataclasses.replace(self, best_nats=self.val_nats, best_step=self.step)

    @property
    def counting_gain(self) -> float:
        """What counting beside the network gained at the newest evaluation, in nats."""
        gain = self.network_nats - self.val_nats
        return gain if math.isfinite(gain) else 0.0

    def count_update(self, score: Score, norm: float, is_clipped: bool) -> None:
        """Count a step that updated the weights."""
        self.bad_steps = 0
        self.clipped_steps += is_clipped
        self.recent = self.recent.with_step(score, norm, is_clipped)

    def count_bad_step(self) -> None:
        """Count a step that updated nothing: its loss or gradient was not finite."""
        self.bad_steps += 1
        self.skipped_steps += 1

    def begin_text(self) -> None:
        """Forget what was scored: another text takes the place of the one before."""
        fresh = Place()
        for name in SCORES:
            setattr(self, name, getattr(fresh, name))
        self.began_step = self.best_step = self.progress_step = self.step

    def be_patient_again(self) -> None:
        """Count evaluations without a better one from here on."""
        self.evaluations_since_best = 0

    @property
    def is_unscored(self) -> bool:
        """Whether the weights are kept because the best ones are those of the untrained network."""
        return self.step > self.began_step and not (self.has_learnt or self.bad_steps)

    def count_evaluation(self, val: Score, network: Score, *, keeps_last: bool = False) -> bool:
        """Take in a score on validation, and the network's own. Returns whether val is the best.

        A network that gets better still learns, even while counting hides it: no patience is lost.
        keeps_last: the newest weights always count as the best.
        """
        self.val_nats = val.nats_per_char
        self.network_nats = network.nats_per_char
        if self.recent.steps:
            self.train_nats = self.recent.score.nats_per_char
        is_best = math.isfinite(self.val_nats) and (keeps_last or self.val_nats < self.best_nats)
        is_progress = is_best or self.network_nats < self.best_network_nats
        self.best_network_nats = min(self.network_nats, self.best_network_nats)
        self.evaluations_since_best += 1
        if is_progress:
            self.progress_step = self.step
            self.evaluations_since_best = 0
        if is_best:
            self.best_nats = self.val_nats
            self.best_step = self.step
        return is_best


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    reason: "done", "stopped improving", "already done", STOPPED or the name of a signal.
    """

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
    keeps_last: bool = False  # the model is the last one, whatever validation said
    unit: str = "char"  # what figures are per
    symbols_per_char: float | None = 1.0  # bytes of a character of the validation text
    texts: tuple[TextScore, ...] = ()  # of several texts: the score of each on validation
    label: str | None = None  # one of those that the model knows


def place_to_dict(place: Place) -> dict[str, Any]:
    """Return a place for JSON, which has no infinities: they become null."""
    values = dataclasses.asdict(place)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[key] = None
    return values


def place_from_dict(values: Any) -> Place:
    """Return the place that place_to_dict wrote.

    Raises ValueError for anything else: a file may hold it.
    """
    fresh = Place()
    if not isinstance(values, dict) or not isinstance(values.get("recent"), dict):
        raise ValueError("no place of a training")
    own = {key: value for key, value in values.items() if key != "recent"}
    own.setdefault("network_nats", own.get("val_nats"))  # older files have only these
    own.setdefault("best_network_nats", own.get("best_nats"))
    recent = dataclasses.replace(fresh.recent, **_numbers(values["recent"], fresh.recent))
    return dataclasses.replace(fresh, **_numbers(own, fresh), recent=recent)


def _numbers(values: dict[str, Any], fresh: Place | Recent) -> dict[str, Any]:
    """Return the values: counts and finite numbers, as in fresh, whose value null stands for.

    Raises ValueError for others.
    """
    numbers: dict[str, Any] = {}
    for key, value in values.items():
        default: Any = getattr(fresh, key, None)
        if isinstance(default, int):
            is_valid = type(value) is int and 0 <= value < MAX_WHOLE
        elif value is None:
            is_valid = isinstance(default, float)
            value = default
        else:
            is_valid = isinstance(default, float) and type(value) in (int, float)
            is_valid = is_valid and abs(value) < MOST_NUMBER
        if not is_valid:
            raise ValueError(f"no {key} of a training")
        numbers[key] = value
    return numbers


# What a verdict looks at, in nats per character.
WORSE = 0.02  # above the best: it has been passed
WIDE_GAP = 0.3  # between the training text and validation
NO_GAP = 0.05
BY_HEART = 1.0  # of the training text: below, much of what is written is a copy
REPEATED = 0.05  # of validation: it says nothing new
MUCH_DROPOUT = 0.3  # less of it helped where the training text scored no better than validation
NOTHING = 0.001  # from counting: a network that gains less adds nothing to it
STILL_BETTER = 0.9  # of the steps: a best evaluation after them says that more would help


def verdict(
    place: Place,
    reason: str,
    settings: Settings,
    ngram: Baseline | None,
    *,
    is_noise: bool = False,
) -> str:
    """Return one line that interprets the end: what the figures mean and what to try next.

    Training text and validation are compared as the same weights score them, without dropout.
    is_noise: the validation text is too short to mean anything.
    """
    # 1. Where the figures mean nothing
    if reason.startswith(("SIG", STOPPED)):
        return "stopped before its end"
    if not math.isfinite(place.train_nats):
        return "too short to judge: train for longer"
    if is_noise and place.learnt_nats > BY_HEART:
        return "too little text to judge by: the last weights are kept; train for longer"
    if is_noise:
        return (
            "too little text to judge by: the last weights are kept, and copy much of it; "
            "sample --novel leaves copies out, train --cell ngram counts instead"
        )
    is_learning = place.progress_step >= place.step  # the network's newest score is its best
    if not place.has_learnt and is_learning:
        return (
            "validation is not better than at the start yet: the last weights are kept; "
            "train for longer"
        )
    if not place.has_learnt:
        return (
            "validation never got better than at the start: the last weights are kept; "
            "try another --lr, or more text"
        )

    if place.best_nats < REPEATED:
        return "validation is known by heart: the text repeats itself, and has no more to teach"

    # 2. Overfitting: it went on after its best, or knows the training text far better.
    learnt_nats = place.learnt_nats
    if not math.isfinite(learnt_nats):  # a run of an earlier version
        learnt_nats = place.train_nats
    gap = place.val_nats + place.counting_gain - learnt_nats
    dropout = settings.model.dropout or 0.0
    if place.val_nats > place.best_nats + WORSE:
        advice = f"--dropout {dropout + 0.2:.1f}, or more text" if dropout < 0.5 else "more text"
        return f"overfitting: best at step {place.best_step:,}, which is kept; try {advice}"

    # 3. Counting beside the network, and nothing gained by the network
    ngram_nats = math.inf if ngram is None else ngram.score.nats_per_char
    if place.counting_gain and abs(place.best_nats - ngram_nats) < NOTHING:
        advice = "train for longer" if is_learning else "--cell ngram counts"
        return f"the network adds nothing to counting: {advice}"

    # 4. Underfitting: the training text scores no better than validation.
    steps = place.step - place.began_step
    is_still_better = place.best_step - place.began_step >= STILL_BETTER * steps
    has_levelled_off = reason == "stopped improving" or not is_still_better
    if gap < NO_GAP:
        if dropout >= MUCH_DROPOUT:
            advice = f"--dropout {dropout / 2:.2g}"
        else:
            advice = "a larger --hidden-size" if has_levelled_off else "training for longer"
        return f"underfitting: the training text scores alike; {advice} should help"
    if place.best_nats > ngram_nats:
        advice = "--cell ngram counts" if has_levelled_off else "training for longer should help"
        return f"counting still does better: {advice}"

    # 5. A good fit
    if gap > WIDE_GAP:
        return "a good fit, close to overfitting: more text helps more than time"
    if has_levelled_off:
        return "a good fit, levelled off: more text, or a larger --hidden-size, may help"
    return "a good fit: training for longer should still help"


def weights_sha256(tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of a model's tensors in name order, to compare two trainings."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()

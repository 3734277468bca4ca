"""When a training diverges: back to its last good checkpoint with half the learning rate.

A step whose loss or gradient is not finite is skipped (step.py); what is here begins where skipping
does not help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.config import TrainingSettings
from charrnn.errors import CheckpointError, DivergedError
from charrnn.scoring.score import Score
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.training.assembly import Parts
from charrnn.training.checkpoint import Checkpoint, RunDirectory, load_newest
from charrnn.training.outcome import MOST_ROLLBACKS, Place

BAD_STEPS = 5  # not finite, in a row, before going back
JUMP = 2.0  # times the loss before: no learning, but a divergence
LEAST_NATS = 0.5  # losses below are too small for a jump to mean anything


class Diverging(Exception):
    """The weights are ruined, or about to be; the last checkpoint is not.

    Says how it was noticed.
    """


@dataclass(frozen=True)
class WayBack:
    """Where a diverged training goes on. rollbacks: how often it has gone back by now."""

    checkpoint: Checkpoint
    rollbacks: int
    warnings: list[str]
    record: dict[str, Any]  # a line of metrics.jsonl


def has_jumped(nats: float, before: float) -> bool:
    """Return whether a loss per character is far above what it was, or not finite.

    before: NaN if it was never measured.
    """
    return not math.isfinite(nats) or nats > JUMP * max(before, LEAST_NATS)


def judge(place: Place, corpus: Corpus, val: Score | None, parts: Parts) -> None:
    """Raise Diverging if the weights are much worse on what they just learnt and on validation.

    Only both together are a divergence: a network that learns a text by heart is worse on
    validation alone, and a batch may be unlike the rest.
    val: the validation score of these weights, without counting, if it was measured. What was not
    is measured only where the answer depends on it.
    """
    if val is not None and not has_jumped(val.nats_per_char, place.network_nats):
        return
    if val is None or math.isfinite(val.nats_per_char):
        before = place.train_nats
        if not math.isfinite(before):
            before = math.log(len(corpus.vocabulary))
        if not has_jumped(parts.score_learnt(place.step).nats_per_char, before):
            return
    if val is None:
        val = parts.score_validation(corpus)
    if has_jumped(val.nats_per_char, place.network_nats):
        raise Diverging(
            f"validation went from {place.network_nats:.3g} to {val.nats_per_char:.3g} nats/char"
        )


def check_finite(tensors: Mapping[str, np.ndarray]) -> None:
    """Raise Diverging if any number is not finite: such numbers are never written."""
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise Diverging(f"{name.removeprefix('model.')} is no longer finite")


def check_texts(*corpora: Corpus | None) -> None:
    """Raise CheckpointError if the run's copy of a text was damaged since it was opened.

    Then that is to blame, not the training.
    """
    for corpus in corpora:
        if corpus is not None:
            open_corpus(corpus.path.parent, corpus.fingerprint)


def lr_factor(rollbacks: int) -> float:
    """Return what is left of the learning rate. A power of two: the rates stay exact."""
    return 0.5**rollbacks


def go_back(run: RunDirectory, place: Place, settings: TrainingSettings, why: str) -> WayBack:
    """Find the last good checkpoint and cut the run's records back to it.

    Raises DivergedError, naming the checkpoint, when all tries are spent.
    """
    peak = settings.lr or 0.0
    tries = place.rollbacks
    event = (
        f"training diverged: {why} at step {place.step:,} "
        f"(lr {peak * lr_factor(tries):.2g}, clip {settings.clip:g})"
    )
    advice = "try a smaller --lr or --clip" if settings.clip else "try a smaller --lr, or --clip 1"
    try:
        checkpoint, warnings = load_newest(run.path)
    except CheckpointError:
        raise DivergedError(f"{event} before there was a checkpoint; {advice}") from None
    if tries >= MOST_ROLLBACKS:
        raise DivergedError(
            f"{event}, after going back {tries} times; "
            f"its last good checkpoint is {one_line(str(checkpoint.path))}: {advice}"
        )
    run.rewind(checkpoint)
    factor = lr_factor(tries + 1)
    return_note = f"{event}; going back to step {checkpoint.step:,} with lr {peak * factor:.2g}"
    record = {
        "event": "rollback",
        "step": checkpoint.step,
        "from_step": place.step,
        "reason": why,
        "rollbacks": tries + 1,
        "lr_factor": factor,
    }
    return WayBack(checkpoint, tries + 1, [*warnings, return_note], record)

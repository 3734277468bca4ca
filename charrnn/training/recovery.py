"""When a training diverges: back to its last good checkpoint with half the learning rate, a few times, then the end.

A step whose loss or gradient is not finite is skipped (step.py); what is here begins where skipping does not help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charrnn.errors import CheckpointError, DivergedError
from charrnn.scoring.score import Score
from charrnn.scoring.validation import score_batches, validation
from charrnn.terminal import one_line
from charrnn.text.corpus import open_corpus
from charrnn.training.checkpoint import load_newest
from charrnn.training.outcome import Place

if TYPE_CHECKING:
    from charrnn.training.loop import Trainer

BAD_STEPS = 5  # not finite, in a row, before going back
JUMP = 2.0  # times the loss before: no learning, but a divergence
LEAST_NATS = 0.5  # losses below are too small for a jump to mean anything
MOST_ROLLBACKS = 3


class Diverging(Exception):
    """The weights are ruined, or about to be; the last checkpoint is not. Says how it was noticed."""


def has_jumped(nats: float, before: float) -> bool:
    """Whether a loss per character is far above what it was, or not finite. before: NaN if never measured."""
    return not math.isfinite(nats) or nats > JUMP * max(before, LEAST_NATS)


def judge(trainer: Trainer, val: Score | None = None) -> None:
    """Raise Diverging if the weights have become much worse on what they have just learnt, and on validation too.

    Only both together are a divergence: a network that learns a text by heart is worse on validation alone, and a batch
    may be unlike the rest. val: of these weights, if it was measured.
    """
    place, corpus = trainer.place, trainer.corpus
    if val is not None and not has_jumped(val.nats_per_char, place.val_nats):
        return
    if val is None or math.isfinite(val.nats_per_char):
        learnt = trainer.batches.batch(max(0, place.step - 1))
        score = score_batches(trainer.model, iter([learnt._replace(fresh=True)]), trainer.device)
        known = (
            place.train_nats
            if math.isfinite(place.train_nats)
            else math.log(len(corpus.vocabulary))
        )
        if not has_jumped(score.nats_per_char, known):
            return
    val = validation(trainer.model, corpus, "val", trainer.device) if val is None else val
    if has_jumped(val.nats_per_char, place.val_nats):
        raise Diverging(
            f"validation went from {place.val_nats:.3g} to {val.nats_per_char:.3g} nats/char"
        )


def check_finite(tensors: Mapping[str, np.ndarray]) -> None:
    """Raises Diverging if any number is not: such weights, moments or states are never written."""
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise Diverging(f"{name.removeprefix('model.')} is no longer finite")


def check_texts(trainer: Trainer) -> None:
    """Raises CheckpointError if the run's copy of a text was damaged since it was opened: then that is to blame."""
    for corpus in (trainer.corpus, trainer.mixed):
        if corpus is not None:
            open_corpus(corpus.path.parent, corpus.fingerprint)


def lr_factor(place: Place) -> float:
    """What is left of the learning rate. A power of two: the rates stay exact."""
    return 0.5**place.rollbacks


def go_back(trainer: Trainer, why: str) -> None:
    """Put the trainer where its last good checkpoint stood, with half the learning rate, and record that.

    The checkpoint is written anew with the count, so that neither a kill nor a resume gives another try. Raises
    DivergedError, naming the checkpoint, when all tries are spent; CheckpointError if a damaged text is why.
    """
    check_texts(trainer)
    run, step, tries = trainer.run, trainer.place.step, trainer.place.rollbacks
    peak, clip = trainer.settings.training.lr or 0.0, trainer.settings.training.clip
    what = f"training diverged: {why} at step {step:,} (lr {peak * lr_factor(trainer.place):.2g}, clip {clip:g})"
    advice = "try a smaller --lr, or --clip 1"
    try:
        checkpoint, messages = load_newest(run.path)
    except CheckpointError:
        raise DivergedError(f"{what} before there was a checkpoint; {advice}") from None
    if tries >= MOST_ROLLBACKS:
        raise DivergedError(
            f"{what}, after going back {tries} times; its last good checkpoint is {one_line(str(checkpoint.path))}: {advice}"
        )
    run.rewind(checkpoint)
    trainer.restore(checkpoint)
    trainer.place.rollbacks = tries + 1
    factor = lr_factor(trainer.place)
    for message in messages:
        trainer.progress.say(f"warning: {message}")
    trainer.progress.say(
        f"warning: {what}; going back to step {checkpoint.step:,} with lr {peak * factor:.2g}"
    )
    run.log(
        {
            "event": "rollback",
            "step": checkpoint.step,
            "from_step": step,
            "reason": why,
            "rollbacks": tries + 1,
            "lr_factor": factor,
        }
    )
    trainer.save()

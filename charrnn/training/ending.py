"""How a training ends: what is kept of one that is stopped, and the outcome.

Nothing here enters the checkpoint, which is written before: the resumed training is as exact as if
it had never been stopped. The best model is set aside until the resumed training has a better one.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import NamedTuple

from charrnn.config import Settings
from charrnn.errors import StorageError
from charrnn.scoring.figures import symbols_per_char
from charrnn.scoring.validation import validation_chars
from charrnn.training.outcome import Outcome, Place, verdict, weights_sha256
from charrnn.training.pacing import Pacing
from charrnn.training.records import Records

LONGEST_S = 2.0  # of the validation text is read, about: whoever stops wants to go


class Kept(NamedTuple):
    """What a stopped training has left. place: with the score of its last weights.

    note: what a person should know of that, if anything.
    """

    place: Place
    note: str


def keep_learnt(
    place: Place, records: Records, chars_per_s: float, *, keeps_last: bool = False
) -> Kept:
    """Validate the weights as they are, and keep them as the run's model if they are the best.

    They also are where nothing but the untrained network was scored before. On a part of the
    validation text a score is no measure against the whole: then the best model stays.
    keeps_last: so do they where validation is noise.
    chars_per_s: of training; a batch of validation takes a fraction of a second.
    """
    parts = records.parts
    if not place.recent.steps or place.bad_steps:
        return Kept(place, "")
    deadline = time.perf_counter() + LONGEST_S
    most = max(1, int(chars_per_s))
    with parts.average.in_place():
        reading = records.counting.evaluate(parts.model, parts.device, deadline, most)
    val = reading.val
    nats = val.nats_per_char
    if not math.isfinite(nats):
        return Kept(place, "")

    whole_chars = validation_chars(records.corpus, "val")
    is_whole = val.chars >= whole_chars
    is_better = is_whole and nats < place.best_nats
    is_kept = keeps_last or is_better or not place.has_learnt
    record = {
        "event": "stop",
        "step": place.step,
        "val_nats_per_char": nats,
        "val_chars": val.chars,
        "network_nats_per_char": reading.network.nats_per_char,
        "kept": is_kept,
    }
    if not is_kept:
        records.log(record)
        return Kept(place, "")
    kept = dataclasses.replace(
        place,
        val_nats=nats,
        network_nats=reading.network.nats_per_char,
        best_nats=nats,
        best_step=place.step,
    )
    try:
        records.log(record)
        records.save_stopped(kept, place.best_step if place.has_learnt else None)
    except StorageError as error:
        return Kept(place, f"the checkpoint is good, but not the model: {error}")
    note = ""
    if not is_whole:
        note = f"validated on {val.chars:,} of {whole_chars:,} characters"
    return Kept(kept, note)


def outcome_of(
    reason: str,
    kept: Kept,
    settings: Settings,
    records: Records,
    pace: Pacing,
    *,
    keeps_last: bool,
) -> Outcome:
    """Say where a training stands, and what that means."""
    place = kept.place
    parts = records.parts
    ngram = records.counting.baseline()
    corpus = records.corpus
    return Outcome(
        reason=reason,
        place=place.kept,
        epochs=place.chars / parts.batches.chars_per_epoch,
        parameters=parts.model.parameter_count(),
        train_chars_per_s=pace.chars_per_s / records.corpus.ids_per_char,
        weights_sha256=weights_sha256(parts.weights()),
        device=str(parts.device),
        precision=parts.precision,
        ngram=ngram,
        verdict=kept.note or verdict(place, reason, settings, ngram, is_noise=keeps_last),
        keeps_last=keeps_last or not place.has_learnt,
        unit=corpus.vocabulary.unit,
        symbols_per_char=symbols_per_char(corpus.split("val"), corpus.vocabulary, corpus.mode),
        label=next(iter(corpus.vocabulary.labels), None),
    )

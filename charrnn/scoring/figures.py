"""Figures that can be quoted: with their interval, and with what says exactly which text they are of."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import Settings
from charrnn.errors import CheckpointError
from charrnn.scoring import bootstrap
from charrnn.scoring.score import BLOCK, Tally
from charrnn.text.corpus import Corpus, described
from charrnn.text.splits import shares_of
from charrnn.text.vocabulary import Vocabulary

PIECE = 1 << 18  # characters at a time


def figures(tally: Tally, size_bytes: int, mode: str) -> dict[str, Any]:
    """All the figures of one scoring. size_bytes: of the predicted characters, as UTF-8."""
    score = tally.score()
    found = {
        name: getattr(score, name)
        for name in ("nats_per_char", "bits_per_char", "perplexity", "chars")
    }
    found["bits_per_byte"] = score.nats / math.log(2) / size_bytes if size_bytes else math.nan
    bounds = bootstrap.interval(tally.nats, tally.chars)
    found["interval"] = bounds and {
        "level": bootstrap.LEVEL,
        "method": f"percentile bootstrap, {bootstrap.RESAMPLES:,} resamples",
        "unit": "line" if mode == "lines" else f"{BLOCK:,} characters",
        "units": int((tally.chars > 0).sum()),
        "nats_per_char": list(bounds),
        "bits_per_char": [bound / math.log(2) for bound in bounds],
    }
    return found


def gain(tally: Tally, other: Tally) -> dict[str, Any]:
    """By how much a model predicts a text better than another, by the same blocks or lines: the texts' own
    difficulty, which both share, is no part of the interval.
    """
    nats = (other.score().nats - tally.score().nats) / max(1, tally.score().chars)
    bounds = bootstrap.interval(other.nats - tally.nats, tally.chars)
    return {
        "nats_per_char": nats,
        "bits_per_char": nats / math.log(2),
        "interval": bounds
        and {
            "nats_per_char": list(bounds),
            "bits_per_char": [bound / math.log(2) for bound in bounds],
        },
    }


def measured(ids: np.ndarray, vocabulary: Vocabulary, mode: str) -> tuple[int, str]:
    """Bytes of the predicted characters (of a stream, all but the first), and the SHA-256 of the whole text's UTF-8."""
    digest, size = hashlib.sha256(), 0
    for start in range(0, len(ids), PIECE):
        data = vocabulary.to_bytes(ids[start : start + PIECE])
        digest.update(data)
        size += len(data)
    return size - (len(vocabulary.to_bytes(ids[:1])) if mode == "stream" else 0), digest.hexdigest()


def split_rule(settings: Settings, mode: str, split: str) -> str:
    """How this part was taken from the text, so that somebody else can take the same."""
    text = settings.text
    own = {name: getattr(text, name) for name in ("val", "test") if getattr(text, name)}
    if split in own:
        return f"a file of its own: {Path(own[split]).name}"
    parts = [(name, share) for name, share in shares_of(own, text).items() if share]
    divided = ", ".join(f"{name} {share:.6g}" for name, share in parts)
    if mode == "lines":
        kind = "distinct lines" if text.deduplicate else "lines"
        return f"{kind} shuffled with seed {settings.training.seed} (numpy default_rng), in turn: {divided}"
    return f"{'bytes' if text.unit == 'byte' else 'characters'} in their order, cuts rounded down: {divided}"


def text_sha256(corpus: Corpus) -> dict[str, str]:
    """SHA-256 of each source's bytes, as recorded beside the run's text; empty if that record is gone."""
    try:
        return {
            str(name): str(digest) for name, digest in described(corpus.path)["text_sha256"].items()
        }
    except (CheckpointError, KeyError, AttributeError):
        return {}

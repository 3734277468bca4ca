"""Figures that can be quoted: with their interval, and with the identity of the text."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.config import Settings
from charrnn.errors import CheckpointError
from charrnn.scoring import bootstrap
from charrnn.scoring.score import BLOCK, Tally
from charrnn.text.corpus import Corpus, described
from charrnn.text.splits import shares_of
from charrnn.text.vocabulary import Vocabulary

PIECE = 1 << 18  # characters at a time
Range = tuple[float, float]  # low, high


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with a probability of `level`.

    unit: what was resampled. units: how many of them the text has.
    """

    level: float
    method: str
    unit: str
    units: int
    nats_per_char: Range
    bits_per_char: Range

    @property
    def resampled(self) -> str:
        """`200 lines`, or `30 blocks of 1,000 characters`."""
        kind = "lines" if self.unit == "line" else f"blocks of {self.unit}"
        return f"{self.units:,} {kind}"


@dataclass(frozen=True)
class Figures:
    """All the figures of one scoring. interval: None for a text that is too short to have one."""

    nats_per_char: float
    bits_per_char: float
    perplexity: float
    chars: int
    bits_per_byte: float
    interval: Interval | None


@dataclass(frozen=True)
class Bounds:
    """The 95 % interval of a gain."""

    nats_per_char: Range
    bits_per_char: Range


@dataclass(frozen=True)
class Gain:
    """By how much a model predicts a text better than another; negative: worse."""

    nats_per_char: float
    bits_per_char: float
    interval: Bounds | None

    @property
    def may_be_chance(self) -> bool:
        """Whether the interval holds zero."""
        if self.interval is None:
            return False
        low, high = self.interval.bits_per_char
        return low <= 0 <= high


def figures(tally: Tally, size_bytes: int, mode: str) -> Figures:
    """The figures of a scoring. size_bytes: of the predicted characters, as UTF-8."""
    score = tally.score()
    bits_per_byte = math.nan
    if size_bytes:
        bits_per_byte = score.nats / math.log(2) / size_bytes
    interval = None
    bounds = bootstrap.interval(tally.nats, tally.chars)
    if bounds is not None:
        unit = "line" if mode == "lines" else f"{BLOCK:,} characters"
        interval = Interval(
            level=bootstrap.LEVEL,
            method=f"percentile bootstrap, {bootstrap.RESAMPLES:,} resamples",
            unit=unit,
            units=int((tally.chars > 0).sum()),
            nats_per_char=bounds,
            bits_per_char=_in_bits(bounds),
        )
    return Figures(
        nats_per_char=score.nats_per_char,
        bits_per_char=score.bits_per_char,
        perplexity=score.perplexity,
        chars=score.chars,
        bits_per_byte=bits_per_byte,
        interval=interval,
    )


def gain(tally: Tally, other: Tally) -> Gain:
    """How much better the first model predicts a text than the other.

    They are compared block by block or line by line: how hard the text is, which both share, is no
    part of the interval.
    """
    score = tally.score()
    nats = (other.score().nats - score.nats) / max(1, score.chars)
    interval = None
    # Paired: two intervals, one of each model, would both be as wide as the text is uneven.
    bounds = bootstrap.interval(other.nats - tally.nats, tally.chars)
    if bounds is not None:
        interval = Bounds(bounds, _in_bits(bounds))
    return Gain(nats, nats / math.log(2), interval)


def _in_bits(nats: Range) -> Range:
    low, high = nats
    return low / math.log(2), high / math.log(2)


def measured(ids: np.ndarray, vocabulary: Vocabulary, mode: str) -> tuple[int, str]:
    """The bytes of the predicted characters, and the SHA-256 of the whole text as UTF-8.

    All characters but the first of a stream are predicted.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    for start in range(0, len(ids), PIECE):
        data = vocabulary.to_bytes(ids[start : start + PIECE])
        digest.update(data)
        size_bytes += len(data)
    if mode == "stream":
        size_bytes -= len(vocabulary.to_bytes(ids[:1]))
    return size_bytes, digest.hexdigest()


def split_rule(settings: Settings, mode: str, split: str) -> str:
    """How this part was taken from the text, so that somebody else can take the same part."""
    text = settings.text
    own_files = {name: getattr(text, name) for name in ("val", "test") if getattr(text, name)}
    if split in own_files:
        return f"a file of its own: {Path(own_files[split]).name}"
    shares = [(name, share) for name, share in shares_of(own_files, text).items() if share]
    parts = ", ".join(f"{name} {share:.6g}" for name, share in shares)
    if mode == "lines":
        kind = "distinct lines" if text.deduplicate else "lines"
        seed = settings.training.seed
        return f"{kind} shuffled with seed {seed} (numpy default_rng), in turn: {parts}"
    unit = "bytes" if text.unit == "byte" else "characters"
    return f"{unit} in their order, cuts rounded down: {parts}"


def text_sha256(corpus: Corpus) -> dict[str, str]:
    """The SHA-256 of each source's bytes, from the record beside the run's text.

    Empty without that record.
    """
    try:
        digests = described(corpus.path)["text_sha256"]
        return {str(name): str(digest) for name, digest in digests.items()}
    except (CheckpointError, KeyError, AttributeError):
        return {}

"""Figures that can be quoted: with their interval, and with the identity of the text."""

from __future__ import annotations

import codecs
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
_CONTINUATION = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that begin no character


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
    """All the figures of one scoring. interval: None for a text that is too short to have one.

    unit: what the model predicts, "char" or "byte"; of bytes, `chars` counts bytes, and figures
    per char are per byte. bits_per_utf8_char: per character all the same; None where the bytes are
    no UTF-8.
    """

    nats_per_char: float
    bits_per_char: float
    perplexity: float
    chars: int
    bits_per_byte: float
    interval: Interval | None
    unit: str = "char"
    bits_per_utf8_char: float | None = None

    @property
    def noun(self) -> str:
        """What the model predicts, in a word."""
        return "byte" if self.unit == "byte" else "character"


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


class Measured(NamedTuple):
    """A text as UTF-8: the bytes and characters that are predicted, the SHA-256 of all of it.

    utf8_chars: None where bytes are no UTF-8.
    """

    size_bytes: int
    sha256: str
    utf8_chars: int | None


def figures(tally: Tally, size: Measured, mode: str, unit: str) -> Figures:
    """The figures of a scoring. size: of the text. unit: "char" or "byte"."""
    score = tally.score()
    bits = score.nats / math.log(2)
    bits_per_byte = math.nan
    if size.size_bytes:
        bits_per_byte = bits / size.size_bytes
    interval = None
    bounds = bootstrap.interval(tally.nats, tally.chars)
    if bounds is not None:
        interval = Interval(
            level=bootstrap.LEVEL,
            method=f"percentile bootstrap, {bootstrap.RESAMPLES:,} resamples",
            unit="line" if mode == "lines" else f"{BLOCK:,} characters",
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
        unit=unit,
        bits_per_utf8_char=bits / size.utf8_chars if size.utf8_chars else None,
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


def measured(ids: np.ndarray, vocabulary: Vocabulary, mode: str) -> Measured:
    """The size and the digest of a text as UTF-8.

    All characters but the first of a stream are predicted.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    utf8_chars = 0
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(ids), PIECE):
        data = vocabulary.to_bytes(ids[start : start + PIECE])
        digest.update(data)
        size_bytes += len(data)
        codes = np.frombuffer(data, np.uint8)
        utf8_chars += int(np.count_nonzero(codes & 0xC0 != 0x80))
        if decoder is not None:
            # A part of a text may begin and end within a character.
            within = len(data[:3]) - len(data[:3].lstrip(_CONTINUATION))
            try:
                decoder.decode(data if start else data[within:])
            except UnicodeDecodeError:
                decoder = None
    if mode == "stream":
        first = vocabulary.to_bytes(ids[:1])
        size_bytes -= len(first)
        utf8_chars -= first[:1] not in _CONTINUATION
    return Measured(size_bytes, digest.hexdigest(), utf8_chars if decoder is not None else None)


def symbols_per_char(ids: np.ndarray, vocabulary: Vocabulary, mode: str) -> float | None:
    """How many bytes a model of bytes predicts for a character; 1 of a model of characters.

    None where bytes are no UTF-8. Times bits per byte it is bits per character.
    """
    if vocabulary.unit == "char":
        return 1.0
    size = measured(ids, vocabulary, mode)
    return size.size_bytes / size.utf8_chars if size.utf8_chars else None


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
        seed = settings.split_seed
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

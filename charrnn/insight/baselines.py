"""What a network must beat: uniform, single characters, n-grams, and the compressors of the standard library.

All in bits per predicted character. A compressor's is what the text adds to the training text: C(train + text) - C(train).
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from charrnn.insight.score import Predictions, Score
from charrnn.text.corpus import Corpus
from charrnn.text.ngram import NGram
from charrnn.text.vocabulary import Vocabulary

NGRAM_ORDER = 5
MAX_VALIDATION_CHARS = 1 << 18  # of a stream are looked at during training
MAX_COUNTED_CHARS = 3_000_000  # training counts no more for its baseline: memory stays flat, and it costs seconds
MAX_BASELINE_CHARS = 20_000_000  # eval counts more, and says what it leaves out
PIECE = 1 << 18  # characters at a time: memory stays flat in the length of the text
# How far each looks back: what lies before is as if it had never been read.
REACH = {"zlib": (32 << 10, "32 KiB"), "bz2": (900_000, "900 kB"), "xz": (8 << 20, "8 MiB")}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


COMPRESSORS: dict[str, Callable[[], _Compressor]] = {
    "zlib": lambda: zlib.compressobj(9),
    "bz2": lambda: bz2.BZ2Compressor(9),
    "xz": lambda: lzma.LZMACompressor(preset=6),
}


class CountingScorer:
    """An n-gram model behind the seam of score.py. No ranks, no guesses, and no windows: it sees the whole stream."""

    def __init__(self, ngram: NGram) -> None:
        self.ngram = ngram

    def predictions(
        self, ids: np.ndarray, protocol: str, *, window: int = 256, detailed: bool = False
    ) -> Iterator[Predictions]:
        for start, stop in _line_pieces(ids, self.ngram.boundary) if protocol == "lines" else _pieces(1, len(ids)):
            # In a stream each piece is read with the context that its first character needs.
            context = 0 if protocol == "lines" else min(start, self.ngram.order - 1)
            found = self.ngram.probabilities(ids[start - context : stop])[context:]
            yield Predictions(np.arange(start, stop), -np.log(found))


def counted(train: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary, mode: str, order: int = NGRAM_ORDER) -> Score:
    """The score on ids of an n-gram model of the training text.

    Predicts the same characters as the network: in a stream all but the first, of which it too sees only the text.
    """
    boundary = vocabulary.newline if mode == "lines" else None
    scorer = CountingScorer(NGram(train, len(vocabulary), order, boundary))
    protocol = "lines" if mode == "lines" else "stateful"
    return sum(
        (Score(float(part.nats.sum()), len(part.nats)) for part in scorer.predictions(ids, protocol)), Score(0.0, 0)
    )


def counted_for_training(corpus: Corpus) -> Score | None:
    """The 5-gram's score on what `validation` looks at; None if the training text is too large to count in passing."""
    train, val = corpus.split("train"), corpus.split("val")
    if len(train) > MAX_COUNTED_CHARS or not len(val):
        return None
    limit = None if corpus.mode == "lines" else MAX_VALIDATION_CHARS + 1
    return counted(train, val[:limit], corpus.vocabulary, corpus.mode)


def baselines(train: np.ndarray | None, ids: np.ndarray, vocabulary: Vocabulary, mode: str) -> dict[str, float]:
    """Bits per predicted character of ids, of what a network must beat. train: the training text's ids; None: not here."""
    found = {"uniform": math.log2(len(vocabulary))}
    if train is None:
        return found
    for name, order in (("unigram", 1), ("ngram", NGRAM_ORDER)):
        found[name] = counted(train, ids, vocabulary, mode, order).bits_per_char
    chars = len(ids) - (mode == "stream")
    return found | {name: 8 * added_bytes(name, train, ids, vocabulary) / chars for name in COMPRESSORS}


def reach_note(train_bytes: int) -> str:
    """Which compressors saw only the end of a training text of this size, in words; nothing if none."""
    short = [f"{name} {shown}" for name, (size, shown) in REACH.items() if size < train_bytes]
    return f"of the training text's {train_bytes:,} bytes, {' and '.join(short)} at most are in view" if short else ""


def added_bytes(name: str, train: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary) -> int:
    """By how much a text lengthens the compressed training text."""
    sizes = []
    for texts in ((train,), (train, ids)):
        compressor, size = COMPRESSORS[name](), 0
        for text in texts:
            for start, stop in _pieces(0, len(text)):
                size += len(compressor.compress(vocabulary.to_bytes(text[start:stop])))
        sizes.append(size + len(compressor.flush()))
    return sizes[1] - sizes[0]


def _pieces(first: int, last: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + PIECE, last)) for start in range(first, last, PIECE))


def _line_pieces(ids: np.ndarray, newline: int | None) -> Iterator[tuple[int, int]]:
    """Whole lines, about PIECE characters of them."""
    ends = np.flatnonzero(ids == newline) + 1
    start = 0
    while start < len(ids):
        fitting, done = np.searchsorted(ends, (start + PIECE, start), side="right")
        stop = int(ends[max(fitting - 1, done)])
        yield start, stop
        start = stop

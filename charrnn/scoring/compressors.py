"""What a network must beat besides counting: the compressors of the standard library.

In bits per predicted character. A compressor's is what the text adds to the training text: C(train + text) - C(train).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from charrnn.text.vocabulary import Vocabulary

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


def compressed(
    train: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> dict[str, float]:
    """Bits per predicted character of ids, of each compressor. train: the training text's ids."""
    chars = len(ids) - (mode == "stream")
    return {name: 8 * added_bytes(name, train, ids, vocabulary) / chars for name in COMPRESSORS}


def reach_note(train_bytes: int) -> str:
    """Which compressors saw only the end of a training text of this size, in words; nothing if none."""
    short = [f"{name} {shown}" for name, (size, shown) in REACH.items() if size < train_bytes]
    return (
        f"of the training text's {train_bytes:,} bytes, {' and '.join(short)} at most are in view"
        if short
        else ""
    )


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

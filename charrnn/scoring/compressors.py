"""What a network must beat besides counting: the compressors of the standard library.

Their figures are bits per predicted character. A compressor's figure is what the text adds to the
training text: C(train + text) - C(train).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from charrnn.text.vocabulary import Vocabulary

MAX_BASELINE_CHARS = 20_000_000  # of more, eval compares nothing, and says so
LEAST_CHARS = 1000  # a shorter text can make what is compressed shorter, by how blocks are cut
PIECE = 1 << 18  # characters at a time: memory stays flat in the length of the text
# How far each looks back. It no longer sees the text before.
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
    """Bits per predicted character of ids for each compressor. train: ids of the training text."""
    chars = len(ids) - (mode == "stream")
    return {name: 8 * added_bytes(name, train, ids, vocabulary) / chars for name in COMPRESSORS}


def reach_note(train_bytes: int) -> str:
    """Which compressors see only the end of a training text of this size; empty if none."""
    short = [f"{name} {size}" for name, (reach, size) in REACH.items() if reach < train_bytes]
    if not short:
        return ""
    return (
        f"of the training text's {train_bytes:,} bytes, {' and '.join(short)} at most are in view"
    )


def added_bytes(name: str, train: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary) -> int:
    """By how many bytes a text lengthens the compressed training text."""
    alone = _compressed_bytes(name, [train], vocabulary)
    return _compressed_bytes(name, [train, ids], vocabulary) - alone


def _compressed_bytes(name: str, texts: list[np.ndarray], vocabulary: Vocabulary) -> int:
    compressor = COMPRESSORS[name]()
    size = 0
    for text in texts:
        for start in range(0, len(text), PIECE):
            data = vocabulary.to_bytes(text[start : start + PIECE])
            size += len(compressor.compress(data))
    return size + len(compressor.flush())

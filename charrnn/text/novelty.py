"""Is a text surely not in the training text? A Bloom filter of it (Bloom 1970), in a file beside the ids.

Every entry sets HASHES bits of one 64-bit word. A text whose bits are not all set is surely no entry; one whose bits
are set may be one, and only the exact search (Corpus.contains) can tell. Entries are hashed by code point or byte
value, never by id, so that the filter of a text does not depend on an alphabet.

    lines    every whole line of the training split
    stream   every window of WINDOW characters: a text is in it only if all its windows are
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.vocabulary import Vocabulary

KIND, FORMAT = "charrnn-novel", 1
# Longer windows tell more texts apart, shorter ones leave fewer texts to the exact search. Of the windows of 8 of new
# English beside 420,000 characters of the same kind (Python's help) 56 % occurred there; all those of a text of 20
# characters did in 19 % of the cases, of 40 in 8 %, of 80 in 2 %.
WINDOW = 8
BITS_PER_ENTRY, HASHES = (
    12,
    5,
)  # about 1.0 % of other entries look like one, held by tests/text/test_novelty.py
MAX_WORDS = (
    4 << 20
)  # 32 MiB: reached at 22 million entries; of more that all differ, more look like one
MAX_CHARS = 64_000_000  # above, no filter is made: 2 to 3 s and 100 MB at the start of a training
CHUNK = (
    1 << 14
)  # characters hashed at a time; the arrays stay in the processor's cache. No line is longer than 4096
SURE = 80  # characters of a stream of which a filter is rarely wrong
DOUBT = 0.05  # of lines that a filter holds by mistake there are fewer
MAX_ASKED, MAX_ASKED_LINES = 1 << 20, 20_000
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_MIX = 0xD6E8FEB86659FD93
_ALL = (1 << 64) - 1


@dataclass(frozen=True)
class NoveltyFilter:
    """What a text may hold. words (N,) uint64."""

    words: np.ndarray
    mode: str
    fingerprint: str  # of the corpus it was made from

    def may_hold(self, text: str | bytes) -> bool:
        """False: this is surely no line (or, in a stream, no piece) of the training text. str of a byte model: never."""
        if self.mode == "lines":
            return self._may_hold_line(text)
        codes = np.frombuffer(
            text.encode("utf-32-le") if isinstance(text, str) else text, _type(text)
        )
        for start in range(0, len(codes) - WINDOW + 1, CHUNK):
            index, bits = self._places(
                _hashes(*_windows(codes[start : start + CHUNK + WINDOW - 1]))
            )
            if (self.words[index] & bits != bits).any():
                return False
        return True

    def _may_hold_line(self, text: str | bytes) -> bool:
        """_hashes and _places of one line in plain numbers: a tenth of the time of arrays of one."""
        total = 0
        for code in map(ord, reversed(text)) if isinstance(text, str) else reversed(text):
            total = (total * _BASE + code + 1) & _ALL
        total ^= total >> 32
        total = total * _MIX & _ALL
        total ^= total >> 32
        total = total * _MIX & _ALL
        total ^= total >> 32
        word = self._view[(total >> 32) * len(self.words) >> 32]
        return all(word >> (total >> 6 * i & 63) & 1 for i in range(HASHES))

    @cached_property
    def _view(self) -> memoryview:
        return np.ascontiguousarray(self.words).data

    def _places(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The word of each hash (by its high half) and the bits in it (by its low half)."""
        index = (((hashes >> 32) * len(self.words)) >> 32).astype(np.intp)
        bits = np.zeros_like(hashes)
        for i in range(HASHES):
            bits |= np.uint64(1) << ((hashes >> 6 * i) & 63)
        return index, bits

    def _add(self, hashes: np.ndarray) -> None:
        index, bits = self._places(hashes)
        np.bitwise_or.at(self.words, index, bits)


def make_filter(
    ids: np.ndarray, vocabulary: Vocabulary, mode: str, fingerprint: str
) -> NoveltyFilter:
    """The filter of a training split. In lines mode every line ends in a newline. Memory: the filter's own."""
    entries = len(ids) - WINDOW + 1
    newline = int(vocabulary.newline or 0)
    if mode == "lines":
        entries = sum(
            int((ids[at : at + CHUNK] == newline).sum()) for at in range(0, len(ids), CHUNK)
        )
    size = min(max(1, -(-entries * BITS_PER_ENTRY // 64)), MAX_WORDS)
    made = NoveltyFilter(np.zeros(size, np.uint64), mode, fingerprint)
    symbols = np.array(vocabulary.symbols, np.uint64)
    for piece in _line_pieces(ids, newline) if mode == "lines" else _stream_pieces(ids):
        codes = symbols[piece]
        made._add(
            _hashes(*(_lines(codes, piece == newline) if mode == "lines" else _windows(codes)))
        )
    return made


def write_filter(
    path: Path, ids: np.ndarray, vocabulary: Vocabulary, mode: str, fingerprint: str
) -> bool:
    """Write the filter of a training split, unless the text is too long for one. Raises StorageError."""
    if len(ids) > MAX_CHARS:
        return False
    made = make_filter(ids, vocabulary, mode, fingerprint)
    write_tensors(
        path, {"words": made.words}, _about(mode, vocabulary.unit) | {"fingerprint": fingerprint}
    )
    return True


def read_filter(path: Path, mode: str, unit: str) -> NoveltyFilter | None:
    """The filter in a file; None if it is missing, damaged, or one of another kind of text."""
    try:
        tensors, meta = read_tensors(path, {KIND: FORMAT})
    except CheckpointError:
        return None
    words, fingerprint = tensors.get("words"), meta.get("fingerprint")
    fine = words is not None and words.dtype == np.uint64 and words.ndim == 1 and len(words) > 0
    if (
        words is None
        or not fine
        or not isinstance(fingerprint, str)
        or fingerprint[:16] != path.stem
    ):
        return None
    if any(meta.get(key) != value for key, value in _about(mode, unit).items()):
        return None
    return NoveltyFilter(words, mode, fingerprint)


def lines_held(
    filters: list[NoveltyFilter], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> tuple[int, int]:
    """Of how many lines of ids (N,) a filter says that its text may hold them, and of how many it was asked.

    Of lines that no text has it says so of 1 %, of a stream's of SURE characters or more of some 2 %. Bounded work.
    """
    text = vocabulary.to_bytes(ids[:MAX_ASKED])
    lines: list[str] | list[bytes] = (
        text.split(b"\n") if vocabulary.unit == "byte" else text.decode().split("\n")
    )
    asked = [
        line for line in lines[:MAX_ASKED_LINES] if len(line) >= (1 if mode == "lines" else SURE)
    ]
    return sum(any(each.may_hold(line) for each in filters) for line in asked), len(asked)


def _about(mode: str, unit: str) -> dict[str, Any]:
    """What must be the same where a filter is made and where it is asked."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "mode": mode,
        "unit": unit,
        "window": WINDOW,
        "hashes": HASHES,
    }


def _type(text: str | bytes) -> str:
    return "<u4" if isinstance(text, str) else "u1"


Pieces = tuple[np.ndarray, Any, Any]  # codes, and where in them each piece starts and stops


def _windows(codes: np.ndarray) -> Pieces:
    return codes, slice(0, max(0, len(codes) - WINDOW + 1)), slice(WINDOW, len(codes) + 1)


def _lines(codes: np.ndarray, is_end: np.ndarray) -> Pieces:
    stops = np.flatnonzero(is_end)
    return codes, np.concatenate([np.zeros(1, np.intp), stops[:-1] + 1])[: len(stops)], stops


def _stream_pieces(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Each window lies whole in one piece."""
    return (
        ids[at : at + CHUNK + WINDOW - 1] for at in range(0, max(0, len(ids) - WINDOW + 1), CHUNK)
    )


def _line_pieces(ids: np.ndarray, newline: int) -> Iterator[np.ndarray]:
    """Each line lies whole in one piece."""
    start = 0
    while start < len(ids):
        piece = ids[start : start + CHUNK]
        piece = piece[: int(np.flatnonzero(piece == newline)[-1]) + 1]
        yield piece
        start += len(piece)


def _hashes(codes: np.ndarray, starts: Any, stops: Any) -> np.ndarray:
    """(N,) uint64: the sum of (code + 1) BASE^j over each piece, j = 0 at its start, modulo 2^64, then mixed.

    By differences of one running sum: BASE^start is divided out again by its inverse. So pieces of any length cost the same.
    """
    powers, inverses = _powers(CHUNK + WINDOW)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum((codes.astype(np.uint64) + 1) * powers[: len(codes)], out=sums[1:])
    hashes = sums[stops] - sums[starts]
    hashes *= inverses[: len(sums)][starts]
    for _ in range(2):
        hashes ^= hashes >> 32
        hashes *= _MIX
    return hashes ^ (hashes >> 32)


@lru_cache(1)
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """BASE^j and BASE^-j modulo 2^64 for j < size."""
    bases = np.array([_BASE, pow(_BASE, -1, 1 << 64)], np.uint64)
    table = np.repeat(bases[:, None], size, 1)
    table[:, 0] = 1
    powers, inverses = np.multiply.accumulate(table, axis=1)
    return powers, inverses

"""Is a text surely not in the training text? A Bloom filter of it (Bloom 1970), beside the ids.

Every entry sets HASHES bits of one 64-bit word. A text whose bits are not all set is surely no
entry. A text whose bits are set may be one, and only the exact search (Corpus.contains) can tell.
Entries are hashed by code point or byte value, never by id, so that the filter of a text does not
depend on an alphabet.

    lines    every whole line of the training split
    stream   every window of WINDOW characters: a text is in it only if all its windows are
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.vocabulary import Vocabulary

KIND = "charrnn-novel"
FORMAT = 1
# Longer windows tell more texts apart, shorter ones leave fewer texts to the exact search.
# Measured on new English beside 420,000 characters of the same kind (Python's help): 56 % of its
# windows of 8 occurred there. All windows of a text occurred in 19 % of texts of 20 characters,
# 8 % of 40 and 2 % of 80.
WINDOW = 8
BITS_PER_ENTRY = 12
HASHES = 5  # with 12 bits an entry about 1.0 % of other texts look like one (tested)
MAX_WORDS = 4 << 20  # 32 MiB: reached at 22 million entries; with more, more texts look like one
MAX_FILE_BYTES = 8 * MAX_WORDS + (1 << 16)
MAX_CHARS = 64_000_000  # above, no filter is made: at the start of a training it takes seconds
# Characters hashed at a time: the arrays stay in the processor's cache, and no line is
# longer than 4096.
CHUNK = 1 << 14
SURE = 80  # characters of a stream for which a filter is rarely wrong
DOUBT = 0.05  # a filter holds a smaller share of lines by mistake
MAX_ASKED = 1 << 20  # characters that lines_held looks at
MAX_ASKED_LINES = 20_000
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_MIX = 0xD6E8FEB86659FD93
_ALL = (1 << 64) - 1

Places = np.ndarray | slice


@dataclass(frozen=True)
class NoveltyFilter:
    """A filter of a training text, in mode "lines" or "stream"."""

    words: np.ndarray  # (N,) uint64
    mode: str
    fingerprint: str  # of the corpus it was made from

    def may_hold(self, text: str | bytes) -> bool:
        """Return False if this is surely no line (in a stream: no piece) of the training text.

        text: str for a model of characters, bytes for a model of bytes.
        """
        if self.mode == "lines":
            return self._may_hold_line(text)
        if isinstance(text, str):
            codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        else:
            codes = np.frombuffer(text, np.uint8)
        for start in range(0, len(codes) - WINDOW + 1, CHUNK):
            hashes = _window_hashes(codes[start : start + CHUNK + WINDOW - 1])
            index, bits = self._places(hashes)
            if (self.words[index] & bits != bits).any():
                return False
        return True

    def _may_hold_line(self, text: str | bytes) -> bool:
        """Compute _hashes and _places of one line in plain numbers: 10x faster than arrays."""
        codes: Iterable[int] = map(ord, reversed(text)) if isinstance(text, str) else reversed(text)
        total = 0
        for code in codes:
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

    #   hash    [ 32 bits: which word | 2 unused | 5 x 6 bits: which bits of the word ]

    def _places(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the word of each hash (by its high half) and the bits in it (by its low half)."""
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
    """Make the filter of a training split; in lines mode every line ends in a newline.

    Memory: the filter's own.
    """
    newline = int(vocabulary.newline or 0)
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    if mode == "lines":
        entries = sum(int((chunk == newline).sum()) for chunk in chunks)
    else:
        entries = sum(map(vocabulary.chars, chunks)) - WINDOW + 1
    size = min(max(1, -(-entries * BITS_PER_ENTRY // 64)), MAX_WORDS)
    novelty_filter = NoveltyFilter(np.zeros(size, np.uint64), mode, fingerprint)
    if mode == "lines":
        for piece in _line_pieces(ids, newline):
            codes = vocabulary.codes_of(piece)
            novelty_filter._add(_line_hashes(codes, codes == vocabulary.symbols[newline]))
    else:
        before = np.zeros(0, np.uint32)  # the codes of the piece before that begin a window
        for codes in vocabulary.code_pieces(ids, CHUNK):
            piece = np.concatenate([before, codes])
            novelty_filter._add(_window_hashes(piece))
            before = piece[-(WINDOW - 1) :]
    return novelty_filter


def write_filter(
    path: Path, ids: np.ndarray, vocabulary: Vocabulary, mode: str, fingerprint: str
) -> bool:
    """Write the filter of a training split, unless the text is too long for one.

    Returns whether it was written. Raises StorageError.
    """
    if len(ids) > MAX_CHARS:
        return False
    novelty_filter = make_filter(ids, vocabulary, mode, fingerprint)
    about = _about(mode, vocabulary.unit) | {"fingerprint": fingerprint}
    write_tensors(path, {"words": novelty_filter.words}, about)
    return True


def read_filter(path: Path, mode: str, unit: str) -> NoveltyFilter | None:
    """Read a filter; None if it is missing, damaged, or one of another kind of text."""
    try:
        tensors, meta = read_tensors(path, {KIND: FORMAT}, MAX_FILE_BYTES)
    except CheckpointError:
        return None
    words = tensors.get("words")
    if words is None or words.dtype != np.uint64 or words.ndim != 1 or not len(words):
        return None
    fingerprint = meta.get("fingerprint")
    if not isinstance(fingerprint, str) or fingerprint[:16] != path.stem:
        return None
    if any(meta.get(key) != value for key, value in _about(mode, unit).items()):
        return None
    return NoveltyFilter(words, mode, fingerprint)


def lines_held(
    filters: list[NoveltyFilter], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> tuple[int, int]:
    """Count the lines of ids (N,) that a filter may hold, and the lines it was asked about.

    Of lines that no text has, a filter may hold 1 %; of a stream's, which have SURE characters or
    more, some 2 %. The work is bounded.
    """
    text = vocabulary.to_bytes(ids[:MAX_ASKED])
    lines: list[str] | list[bytes]
    if vocabulary.unit == "byte":
        lines = text.split(b"\n")
    else:
        lines = text.decode().split("\n")
    least = 1 if mode == "lines" else SURE
    asked = [line for line in lines[:MAX_ASKED_LINES] if len(line) >= least]
    held = sum(any(one.may_hold(line) for one in filters) for line in asked)
    return held, len(asked)


def _about(mode: str, unit: str) -> dict[str, Any]:
    """Return what must be equal where a filter is made and where it is asked."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "mode": mode,
        "unit": unit,
        "window": WINDOW,
        "hashes": HASHES,
    }


def _line_pieces(ids: np.ndarray, newline: int) -> Iterator[np.ndarray]:
    """Yield pieces of a corpus of lines; each line lies whole in one piece."""
    start = 0
    while start < len(ids):
        size = CHUNK
        ends = np.flatnonzero(ids[start : start + size] == newline)
        while not len(ends):  # a long record
            size *= 2
            ends = np.flatnonzero(ids[start : start + size] == newline)
        piece = ids[start : start + int(ends[-1]) + 1]
        yield piece
        start += len(piece)


def _window_hashes(codes: np.ndarray) -> np.ndarray:
    """Return the hash of every window of WINDOW codes."""
    size = len(codes)
    return _hashes(codes, slice(0, max(0, size - WINDOW + 1)), slice(WINDOW, size + 1))


def _line_hashes(codes: np.ndarray, is_end: np.ndarray) -> np.ndarray:
    """Return the hash of every line. is_end (N,) bool: where newlines stand."""
    stops = np.flatnonzero(is_end)
    starts = np.concatenate([np.zeros(1, np.intp), stops[:-1] + 1])[: len(stops)]
    return _hashes(codes, starts, stops)


def _hashes(codes: np.ndarray, starts: Places, stops: Places) -> np.ndarray:
    """Return (M,) uint64: a hash of codes[start:stop] for each of M places.

    The sum of (code + 1) BASE^j, j = 0 at the start, modulo 2^64, then mixed. It is the difference
    of two running sums, with BASE^start divided out by its inverse. So pieces of any length cost
    the same.
    """
    size = CHUNK + WINDOW
    if len(codes) >= size:  # a long record
        size = 1 << len(codes).bit_length()
    powers, inverses = _powers(size)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum((codes.astype(np.uint64) + 1) * powers[: len(codes)], out=sums[1:])
    hashes: np.ndarray = sums[stops] - sums[starts]
    hashes *= inverses[: len(sums)][starts]
    for _ in range(2):
        hashes ^= hashes >> 32
        hashes *= _MIX
    hashes ^= hashes >> 32
    return hashes


@lru_cache(4)
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return BASE^j and BASE^-j modulo 2^64 for j < size."""
    bases = np.array([_BASE, pow(_BASE, -1, 1 << 64)], np.uint64)
    table = np.repeat(bases[:, None], size, 1)
    table[:, 0] = 1
    powers, inverses = np.multiply.accumulate(table, axis=1)
    return powers, inverses

"""What pieces of text share with a long text, exactly: the longest common run, and which n-grams occur.

No hashes stand for texts. Every window of 1, 2, 4, 8 ... ids of the pieces gets a number, equal windows the same one,
and a window of the text gets the number of the equal window of the pieces, or none. A window of 2 w ids is the pair of
the numbers of its halves; one of any length L, w <= L <= 2 w, is the pair of the numbers of its first and its last w
ids. Source: Karp, Miller & Rosenberg 1972. So periodic texts cost as much as others, and no text is misjudged.

    abcde, w = 2, L = 3    ab bc cd de = 0 1 2 3    abc = (0, 1)    bcd = (1, 2)    cde = (2, 3)

Time: text * log(longest run); memory: 12 bytes * pieces * log(longest run), and some 100 MB, whatever the text's length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 19  # windows of the text at a time
DENSE = 1 << 22  # keys below this are looked up in a plain table
PROBES = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd


@dataclass(frozen=True)
class Run:
    """text[place : place + length] == pieces[piece][start : start + length]."""

    length: int
    piece: int
    start: int
    place: int


def longest_run(pieces: Sequence[np.ndarray], text: np.ndarray) -> Run | None:
    """The longest run of ids of a piece that occurs in the text; the first in the text of several, None if no id does.

    pieces (N_i,) and text (N,) of unsigned ids. Exact.
    """
    windows = _Windows(pieces)
    best = Run(0, 0, 0, 0)
    for begin, part in _parts(text, windows.longest):
        if best.length == windows.longest:
            break
        found = _longest_in(windows, part, best.length)
        if found:
            length, at, place = found
            best = Run(length, *windows.place(at), begin + place)
    return best if best.length else None


def shares_found(
    pieces: Sequence[np.ndarray], text: np.ndarray | Sequence[np.ndarray], lengths: Iterable[int]
) -> dict[int, tuple[int, int]]:
    """For each n of lengths: how many n-grams of the pieces, repeats included, occur in the text, and of how many.

    Exact. Of several texts: in any of them; no n-gram crosses from one to the next.
    """
    windows = _Windows(pieces)
    sought = {n: _Sought(windows, n) for n in lengths}
    texts = [text] if isinstance(text, np.ndarray) else text
    for part in (part for each in texts for _, part in _parts(each, max(sought, default=1))):
        missing = [one for one in sought.values() if not one.seen.all()]
        names, level = windows.level(0).table.find(part), 0
        for one in sorted(missing, key=lambda one: one.n):
            while level < one.level:
                names, level = windows.doubled(names, level), level + 1
            one.mark(names)
    return {
        n: (int(one.counts[one.seen].sum()), int(one.counts.sum())) for n, one in sought.items()
    }


def distinct(pieces: Sequence[np.ndarray], lengths: Iterable[int]) -> dict[int, tuple[int, int]]:
    """For each n of lengths: how many different n-grams the pieces have, and how many n-grams. Exact."""
    windows = _Windows(pieces)
    sought = {n: _Sought(windows, n) for n in lengths}
    return {n: (len(one.counts), int(one.counts.sum())) for n, one in sought.items()}


def _parts(text: np.ndarray, longest: int) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of the text, and where they begin: each window of up to `longest` ids lies whole in one."""
    step = max(CHUNK, longest)
    for begin in range(0, len(text), step):
        yield begin, text[begin : begin + step + longest - 1].astype(np.int64)


def _longest_in(windows: _Windows, part: np.ndarray, least: int) -> tuple[int, int, int] | None:
    """The longest common run of more than `least` ids: length, where in the pieces, where in part. None: none is."""
    names, level = windows.level(0).table.find(part), 0
    while 2 << level <= windows.longest:
        doubled = windows.doubled(names, level)
        if not (doubled >= 0).any():
            break
        names, level = doubled, level + 1
    low, high = (
        1 << level,
        min(windows.longest + 1, 2 << level),
    )  # a run of low ids is known, one of high is not there
    at = np.flatnonzero(names >= 0)
    if high <= least + 1 or not len(at):
        return None
    found = int(names[at[0]]) if low > least else -1
    probe = max(low, least) + 1
    while low + 1 < high:
        table, _ = windows.table(probe)
        inside = at[: np.searchsorted(at, len(part) - probe, "right")]
        numbers = table.find(_pairs(names, inside, probe - (1 << level), windows.level(level).size))
        if (numbers >= 0).any():
            at, low, found = inside[numbers >= 0], probe, int(numbers[np.argmax(numbers >= 0)])
        else:
            high = probe
            if high <= least + 1:
                return None
        probe = (low + high) // 2
    return low, windows.first(low, found), int(at[0])


class _Windows:
    """The numbers of all windows of 1, 2, 4 ... ids of the pieces, made when they are first asked for."""

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        self._ids = np.concatenate([np.zeros(0, np.int64), *pieces]).astype(np.int64)
        self._ends = np.cumsum(lengths)
        self.longest = int(lengths.max(initial=0))
        self._left = np.repeat(self._ends, lengths) - np.arange(
            len(self._ids)
        )  # ids from here to the piece's end
        self._levels: list[_Level] = []

    def level(self, k: int) -> _Level:
        """Of the windows of 2^k ids."""
        while len(self._levels) <= k:
            length = 1 << len(self._levels)
            table, numbers = self.table(length)
            names = np.full(len(self._ids), -1, np.int32)
            names[self._left >= length] = numbers
            self._levels.append(_Level(table, names))
        return self._levels[k]

    def table(self, length: int) -> tuple[_Table, np.ndarray]:
        """The different windows of a length, and the number of each window in the order of the pieces."""
        at = np.flatnonzero(self._left >= length)
        if length == 1:
            keys = self._ids[at]
        else:
            level = self.level((length - 1).bit_length() - 1)
            keys = _pairs(
                level.names, at, length - (1 << (length - 1).bit_length() - 1), level.size
            )
        return _numbered(keys)

    def first(self, length: int, number: int) -> int:
        """Where in the pieces the window of this length and number stands first."""
        return int(np.flatnonzero(self._left >= length)[np.argmax(self.table(length)[1] == number)])

    def place(self, at: int) -> tuple[int, int]:
        """The piece, and where in it."""
        piece = int(np.searchsorted(self._ends, at, "right"))
        return piece, at - (int(self._ends[piece - 1]) if piece else 0)

    def doubled(self, names: np.ndarray, k: int) -> np.ndarray:
        """Numbers of the windows of 2^(k+1) ids of a text, from those of its windows of 2^k."""
        width = 1 << k
        longer = np.full(max(0, len(names) - width), -1, np.int32)
        at = np.flatnonzero((names[: len(longer)] >= 0) & (names[width:] >= 0))
        if len(at):
            longer[at] = self.level(k + 1).table.find(_pairs(names, at, width, self.level(k).size))
        return longer


def _pairs(names: np.ndarray, at: np.ndarray, shift: int, size: int) -> np.ndarray:
    """One key for two numbers below size; -1 where the second is none. Exact: size < 2^31."""
    second = names[at + shift]
    return np.where(second >= 0, names[at].astype(np.int64) * size + second, -1)


class _Table:
    """Different keys -> their numbers 0, 1, 2 ... A plain table where keys are small (int64), else buckets (uint64)."""

    def __init__(self, keys: np.ndarray) -> None:
        """keys: ascending; of buckets the mixed ones, see _numbered."""
        self.keys = keys
        self.is_dense = keys.dtype == np.int64
        if self.is_dense:
            self._ranks = np.full(int(keys.max(initial=-1)) + 2, -1, np.int32)
            self._ranks[keys] = np.arange(len(keys), dtype=np.int32)
        else:
            bits = max(1, len(keys).bit_length() + 1)
            self._shift = np.uint64(64 - bits)
            edges = np.arange(1 << bits, dtype=np.uint64) << self._shift
            self._starts = np.append(np.searchsorted(keys, edges), len(keys)).astype(np.int32)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(N,) int32: the number of each key, -1 of those that are not there (and of -1)."""
        if self.is_dense:
            return self._ranks[
                np.minimum(keys, len(self._ranks) - 1)
            ]  # the last entry, where -1 points too: no key
        ranks = np.full(len(keys), -1, np.int32)
        mixed = _mixed(keys)
        slots = (mixed >> self._shift).astype(np.intp)
        place, end = self._starts[slots], self._starts[slots + 1]
        open_ = np.flatnonzero(place < end)
        mixed, place, end = mixed[open_], place[open_], end[open_]
        for _ in range(PROBES):  # a bucket has half a key on average
            hit = self.keys[place] == mixed
            ranks[open_[hit]] = place[hit]
            place = place + 1
            left = np.flatnonzero(~hit & (place < end))
            if not len(left):
                return ranks
            open_, mixed, place, end = open_[left], mixed[left], place[left], end[left]
        place = np.minimum(np.searchsorted(self.keys, mixed), len(self.keys) - 1)
        ranks[open_] = np.where(self.keys[place] == mixed, place, -1)
        return ranks


def _numbered(keys: np.ndarray) -> tuple[_Table, np.ndarray]:
    """The table of the different keys, and the number of each. keys (N,) int64, none negative."""
    if keys.max(initial=0) >= DENSE:
        keys = _mixed(keys)
    distinct, numbers = np.unique(keys, return_inverse=True)
    return _Table(distinct), numbers.astype(np.int32)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Times an odd number modulo 2^64: different keys stay different, and spread over the buckets."""
    return keys.astype(np.uint64) * _MIX


@dataclass(frozen=True)
class _Level:
    table: _Table
    names: np.ndarray  # (ids of the pieces,) int32; -1 where a window would leave its piece

    @property
    def size(self) -> int:
        return len(self.table.keys)


class _Sought:
    """The different n-grams of the pieces, how often each occurs there, and which a text has been seen to hold."""

    def __init__(self, windows: _Windows, n: int) -> None:
        self.n = n
        self.table, numbers = windows.table(n)
        self.counts = np.bincount(numbers, minlength=len(self.table.keys))
        self.seen = np.zeros(len(self.counts), bool)
        self.level = (n - 1).bit_length() - 1 if n > 1 else 0
        self._size = windows.level(self.level).size

    def mark(self, names: np.ndarray) -> None:
        """names: of a text's windows of 2^level ids."""
        if self.n == 1:
            ranks = names
        else:
            shift = self.n - (1 << self.level)
            at = np.flatnonzero(names[: max(0, len(names) - shift)] >= 0)
            ranks = self.table.find(_pairs(names, at, shift, self._size))
        self.seen[ranks[ranks >= 0]] = True

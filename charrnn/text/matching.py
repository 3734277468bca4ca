"""What pieces of text share with a long text, exactly: the longest common run, and common n-grams.

No hashes stand for texts. Every window of 1, 2, 4, 8 ... ids of the pieces gets a number, equal
windows the same one, and a window of the text gets the number of the equal window of the pieces, or
none. A window of 2 w ids is the pair of the numbers of its halves. One of any length L,
w <= L <= 2 w, is the pair of the numbers of its first and its last w ids. So periodic texts cost as
much as others, and no text is misjudged. Source: Karp, Miller & Rosenberg 1972.

    abcde, w = 2, L = 3    ab bc cd de = 0 1 2 3    abc = (0, 1)    bcd = (1, 2)    cde = (2, 3)

Time: text * log(longest run). Memory: 12 bytes * pieces * log(longest run), and some 100 MB,
whatever the text's length.

Words: a *name* is the number of a window, or -1 where it has none; `names` (N,) holds one for each
place where a window of 2^level ids begins.
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
    """A common run: text[place : place + length] == pieces[piece][start : start + length]."""

    length: int
    piece: int
    start: int
    place: int


def longest_run(pieces: Sequence[np.ndarray], text: np.ndarray) -> Run | None:
    """Return the longest run of ids of a piece that occurs in the text.

    The first in the text of several; None if no id of a piece occurs. Exact.
    pieces (N_i,) and text (N,): unsigned ids.
    """
    windows = _Windows(pieces)
    best = Run(0, 0, 0, 0)
    for begin, part in _parts(text, windows.longest):
        if best.length == windows.longest:
            break
        longer = _longest_in(windows, part, best.length)
        if longer:
            length, at, place = longer
            best = Run(length, *windows.place(at), begin + place)
    return best if best.length else None


def shares_found(
    pieces: Sequence[np.ndarray], text: np.ndarray | Sequence[np.ndarray], lengths: Iterable[int]
) -> dict[int, tuple[int, int]]:
    """Count, for each n of lengths, the n-grams of the pieces that occur in the text, and all.

    Repeats count. Exact. Of several texts: in any of them; no n-gram crosses from one to the next.
    """
    windows = _Windows(pieces)
    sought = {n: _Sought(windows, n) for n in lengths}
    texts = [text] if isinstance(text, np.ndarray) else text
    longest = max(sought, default=1)
    for part in (part for one in texts for _, part in _parts(one, longest)):
        missing = [grams for grams in sought.values() if not grams.seen.all()]
        names = windows.level(0).table.find(part)
        level = 0
        for grams in sorted(missing, key=lambda grams: grams.n):
            while level < grams.level:
                names = windows.doubled(names, level)
                level += 1
            grams.mark(names)
    return {
        n: (int(grams.counts[grams.seen].sum()), int(grams.counts.sum()))
        for n, grams in sought.items()
    }


def distinct(pieces: Sequence[np.ndarray], lengths: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Count, for each n of lengths, the different n-grams of the pieces, and all.

    Exact.
    """
    windows = _Windows(pieces)
    sought = {n: _Sought(windows, n) for n in lengths}
    return {n: (len(grams.counts), int(grams.counts.sum())) for n, grams in sought.items()}


def _parts(text: np.ndarray, longest: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield parts of the text and where they begin; windows of up to `longest` lie whole in one."""
    step = max(CHUNK, longest)
    for begin in range(0, len(text), step):
        yield begin, text[begin : begin + step + longest - 1].astype(np.int64)


def _longest_in(windows: _Windows, part: np.ndarray, least: int) -> tuple[int, int, int] | None:
    """Return the longest common run of more than `least` ids; None if there is none.

    As its length, its place in the joined pieces and its place in part.
    """
    # 1. Double the windows while any of them occurs: a run of low ids is known, one of high is not.
    names = windows.level(0).table.find(part)
    level = 0
    while 2 << level <= windows.longest:
        doubled = windows.doubled(names, level)
        if not (doubled >= 0).any():
            break
        names = doubled
        level += 1
    low = 1 << level
    high = min(windows.longest + 1, 2 << level)
    at = np.flatnonzero(names >= 0)  # where runs of low ids begin
    if high <= least + 1 or not len(at):
        return None

    # 2. Halve the interval of lengths.
    number = int(names[at[0]]) if low > least else -1  # of the first run of low ids
    probe = max(low, least) + 1
    while low + 1 < high:
        table, _ = windows.table(probe)
        inside = at[: np.searchsorted(at, len(part) - probe, "right")]
        pairs = _pairs(names, inside, probe - (1 << level), windows.level(level).size)
        numbers = table.find(pairs)
        if (numbers >= 0).any():
            at = inside[numbers >= 0]
            low = probe
            number = int(numbers[np.argmax(numbers >= 0)])
        else:
            high = probe
            if high <= least + 1:
                return None
        probe = (low + high) // 2
    return low, windows.first(low, number), int(at[0])


class _Windows:
    """The numbers of all windows of 1, 2, 4 ... ids of the pieces, made when first needed."""

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        self._ids = np.concatenate([np.zeros(0, np.int64), *pieces]).astype(np.int64)
        self._ends = np.cumsum(lengths)
        self.longest = int(lengths.max(initial=0))
        # (ids,): how many ids there are from here to the piece's end.
        self._left = np.repeat(self._ends, lengths) - np.arange(len(self._ids))
        self._levels: list[_Level] = []

    def level(self, k: int) -> _Level:
        """Return the windows of 2^k ids."""
        while len(self._levels) <= k:
            length = 1 << len(self._levels)
            table, numbers = self.table(length)
            names = np.full(len(self._ids), -1, np.int32)
            names[self._left >= length] = numbers
            self._levels.append(_Level(table, names))
        return self._levels[k]

    def table(self, length: int) -> tuple[_Table, np.ndarray]:
        """Return the different windows of a length, and each window's number in text order."""
        at = np.flatnonzero(self._left >= length)
        if length == 1:
            return _numbered(self._ids[at])
        k = (length - 1).bit_length() - 1  # two windows of 2^k ids cover the length
        level = self.level(k)
        return _numbered(_pairs(level.names, at, length - (1 << k), level.size))

    def first(self, length: int, number: int) -> int:
        """Return where in the joined pieces the window of this length and number stands first."""
        _, numbers = self.table(length)
        return int(np.flatnonzero(self._left >= length)[np.argmax(numbers == number)])

    def place(self, at: int) -> tuple[int, int]:
        """Return the piece, and where in it a place of the joined pieces is."""
        piece = int(np.searchsorted(self._ends, at, "right"))
        begin = int(self._ends[piece - 1]) if piece else 0
        return piece, at - begin

    def doubled(self, names: np.ndarray, k: int) -> np.ndarray:
        """Return the names of a text's windows of 2^(k+1) ids, from those of its windows of 2^k."""
        width = 1 << k
        longer = np.full(max(0, len(names) - width), -1, np.int32)
        at = np.flatnonzero((names[: len(longer)] >= 0) & (names[width:] >= 0))
        if len(at):
            longer[at] = self.level(k + 1).table.find(_pairs(names, at, width, self.level(k).size))
        return longer


def _pairs(names: np.ndarray, at: np.ndarray, shift: int, size: int) -> np.ndarray:
    """Return one key for the names at `at` and at `at + shift`; -1 where the second is none.

    Exact: names are below size, and size < 2^31.
    """
    second = names[at + shift]
    return np.where(second >= 0, names[at].astype(np.int64) * size + second, -1)


class _Table:
    """Different keys -> their numbers 0, 1, 2 ...

    A plain table where keys are small (int64), otherwise buckets (uint64).
    """

    def __init__(self, keys: np.ndarray) -> None:
        """keys: ascending; for buckets the mixed ones, see _numbered."""
        self.keys = keys
        self.is_dense = keys.dtype == np.int64
        if self.is_dense:
            # The last entry stays -1: keys that are too large look there, and the key -1 does.
            self._ranks = np.full(int(keys.max(initial=-1)) + 2, -1, np.int32)
            self._ranks[keys] = np.arange(len(keys), dtype=np.int32)
        else:
            bits = max(1, len(keys).bit_length() + 1)  # a bucket has half a key on average
            self._shift = np.uint64(64 - bits)
            edges = np.arange(1 << bits, dtype=np.uint64) << self._shift
            self._starts = np.append(np.searchsorted(keys, edges), len(keys)).astype(np.int32)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the number of each key: (N,) int32, -1 for -1 and for keys not there."""
        if self.is_dense:
            ranks: np.ndarray = self._ranks[np.minimum(keys, len(self._ranks) - 1)]
            return ranks
        ranks = np.full(len(keys), -1, np.int32)
        mixed = _mixed(keys)
        slots = (mixed >> self._shift).astype(np.intp)
        place = self._starts[slots]
        end = self._starts[slots + 1]
        pending = np.flatnonzero(place < end)  # keys whose bucket is not empty
        mixed = mixed[pending]
        place = place[pending]
        end = end[pending]

        # 1. Step through the buckets; most are left after one or two steps.
        for _ in range(PROBES):
            hit = self.keys[place] == mixed
            ranks[pending[hit]] = place[hit]
            place = place + 1
            left = np.flatnonzero(~hit & (place < end))
            if not len(left):
                return ranks
            pending = pending[left]
            mixed = mixed[left]
            place = place[left]
            end = end[left]

        # 2. Search for what is in an overfull bucket.
        place = np.minimum(np.searchsorted(self.keys, mixed), len(self.keys) - 1)
        ranks[pending] = np.where(self.keys[place] == mixed, place, -1)
        return ranks


def _numbered(keys: np.ndarray) -> tuple[_Table, np.ndarray]:
    """Return the table of the different keys, and the number of each key.

    keys (N,) int64: none negative.
    """
    if keys.max(initial=0) >= DENSE:
        keys = _mixed(keys)
    distinct_keys, numbers = np.unique(keys, return_inverse=True)
    return _Table(distinct_keys), numbers.astype(np.int32)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Multiply by an odd number modulo 2^64: different keys stay different, and spread out."""
    return np.multiply(keys.astype(np.uint64), _MIX)


@dataclass(frozen=True)
class _Level:
    """The windows of one length that is a power of two."""

    table: _Table
    names: np.ndarray  # (ids of the pieces,) int32; -1 where a window would leave its piece

    @property
    def size(self) -> int:
        return len(self.table.keys)


class _Sought:
    """The different n-grams of the pieces, how often each occurs there, and which a text holds."""

    def __init__(self, windows: _Windows, n: int) -> None:
        self.n = n
        self.table, numbers = windows.table(n)
        self.counts = np.bincount(numbers, minlength=len(self.table.keys))
        self.seen = np.zeros(len(self.counts), bool)
        self.level = (n - 1).bit_length() - 1 if n > 1 else 0
        self._size = windows.level(self.level).size

    def mark(self, names: np.ndarray) -> None:
        """Mark the n-grams of a text as seen. names: of its windows of 2^level ids."""
        if self.n == 1:
            ranks = names
        else:
            shift = self.n - (1 << self.level)
            at = np.flatnonzero(names[: max(0, len(names) - shift)] >= 0)
            ranks = self.table.find(_pairs(names, at, shift, self._size))
        self.seen[ranks[ranks >= 0]] = True

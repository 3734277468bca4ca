"""Lines of a text as 64-bit hashes, eight bytes a line whatever its length: which repeat, and which are in another text.

Equal lines have equal hashes. Of n different lines two look alike with a chance of about n^2 / 2^64: one in two million
for three million lines. Blank lines are counted and left out; a carriage return before the newline is no part of a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.text.vocabulary import NEWLINE

SENTENCE = 20  # characters from which a line of running text is hardly the same by chance; the lowest bit of a hash
SHOWN = 60  # characters kept of a line that is shown
CHUNK = 1 << 15  # codes hashed at a time; the arrays stay in the processor's cache
_BASE, _MIX, _ALL = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, (1 << 64) - 1
_RETURN = 13


@dataclass
class Lines:
    """What one pass found. hashes (N,) uint64: of every line that is not blank, in order until somebody sorts them."""

    hashes: np.ndarray
    before: int  # of them began before the edge
    trailing: int  # end in a space or a tab
    longest: int  # characters


class _Lines(NamedTuple):
    """The lines that end in one chunk of codes; the first may have begun earlier."""

    hashes: np.ndarray
    lengths: np.ndarray
    begins: np.ndarray  # in the whole text
    last: np.ndarray  # code of each one's last character
    heads: _Heads


class _Heads(NamedTuple):
    first: np.ndarray  # beginning of the first line
    codes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def text(self, index: int) -> str:
        """The beginning of a line, for a person."""
        start, stop = int(self.starts[index]), int(self.stops[index])
        codes = self.codes[start:stop] if index else np.concatenate([self.first, self.codes[:stop]])
        return "".join(map(chr, codes[:SHOWN].tolist())) + ("…" if len(codes) > SHOWN else "")


def hash_lines(pieces: Iterable[np.ndarray], most: int, edge: int = 0) -> Lines:
    """Hash every line of a text in pieces, of at most so many lines. edge: a place in it, for Lines.before."""
    hashes, size, before, trailing, longest = np.empty(most, np.uint64), 0, 0, 0, 0
    for lines in _scan(pieces):
        full = lines.lengths > 0
        new = lines.hashes[full]
        hashes[size : size + len(new)] = new
        size += len(new)
        before += int((full & (lines.begins < edge)).sum())
        trailing += int((full & ((lines.last == ord(" ")) | (lines.last == ord("\t")))).sum())
        longest = max(longest, int(lines.lengths.max(initial=0)))
    return Lines(hashes[:size], before, trailing, longest)


def every_line(pieces: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Hash (uint64) and length of each line of a text in pieces, blank ones too, and a last one without a newline."""
    found = [(lines.hashes, lines.lengths) for lines in _scan(pieces)]
    hashes, lengths = zip(*found, strict=True) if found else ((), ())
    return np.concatenate([np.zeros(0, np.uint64), *hashes]), np.concatenate(
        [np.zeros(0, np.int64), *lengths]
    )


def show_lines(pieces: Iterable[np.ndarray], wanted: list[int]) -> list[str]:
    """The beginnings of the lines with these hashes: a second pass, as far as it must go."""
    shown: dict[int, str] = {}
    targets = np.array(wanted, np.uint64)
    if wanted:
        for lines in _scan(pieces):
            for index in np.flatnonzero(np.isin(lines.hashes, targets) & (lines.lengths > 0)):
                shown.setdefault(int(lines.hashes[index]), lines.heads.text(int(index)))
            if len(shown) == len(set(wanted)):
                break
    return [shown.get(each, "") for each in wanted]


def repeats(hashes: np.ndarray, most: int) -> tuple[int, list[tuple[int, int]]]:
    """Of sorted hashes: how many repeat an earlier one; and the most frequent of those, with their counts."""
    same = np.concatenate([[False], hashes[1:] == hashes[:-1], [False]])
    starts, stops = np.flatnonzero(~same[:-1] & same[1:]), np.flatnonzero(same[:-1] & ~same[1:])
    counts = stops - starts + 1
    top = np.argsort(-counts, kind="stable")[:most]
    return int(same.sum()), [(int(hashes[starts[i]]), int(counts[i])) for i in top]


def common(lines: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """(len(lines),) bool: which are among the sorted hashes."""
    if not len(hashes):
        return np.zeros(len(lines), bool)
    return hashes[np.minimum(np.searchsorted(hashes, lines), len(hashes) - 1)] == lines


def sentences(hashes: np.ndarray) -> np.ndarray:
    """Those of lines of at least SENTENCE characters."""
    return hashes[(hashes & np.uint64(1)) == 1]


def _scan(pieces: Iterable[np.ndarray]) -> Iterator[_Lines]:
    """A line's sum is that of code BASE^(CHUNK + j), j = 0 at its start, modulo 2^64, by differences of a running sum.

    What a chunk leaves open is carried as that sum, its length, its beginning and its last two codes: memory does not
    grow with a line.
    """
    powers = np.full(CHUNK + 1, _BASE, np.uint64)
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    carried, length, position = 0, 0, 0
    head, tail = np.zeros(0, np.uint32), [0, 0]
    for codes in (piece[at : at + CHUNK] for piece in pieces for at in range(0, len(piece), CHUNK)):
        sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes * powers[: len(codes)], out=sums[1:])
        ends = np.flatnonzero(codes == NEWLINE)
        if len(ends):
            starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
            stops = ends - ((codes[ends - 1] == _RETURN) & (ends > starts))
            totals = (sums[stops] - sums[starts]) * powers[CHUNK - starts]
            lengths, begins, last = (
                stops - starts,
                starts + position,
                codes[np.maximum(stops - 1, 0)].astype(np.int64),
            )
            begins[0] -= length
            if ends[0] == 0 and length and tail[1] == _RETURN:
                length -= 1
                carried -= _RETURN * pow(_BASE, CHUNK + length, 1 << 64)
                tail, head = [0, tail[0]], head[:length]
            if stops[0] == 0:
                last[0] = tail[1]
            totals[0] = (carried + int(sums[stops[0]]) * pow(_BASE, CHUNK + length, 1 << 64)) & _ALL
            lengths[0] += length
            yield _Lines(
                _mixed(totals, lengths), lengths, begins, last, _Heads(head, codes, starts, stops)
            )
            carried, length, head, tail = 0, 0, head[:0], [0, 0]
        start = int(ends[-1]) + 1 if len(ends) else 0
        part = (int(sums[-1]) - int(sums[start])) * pow(_BASE, CHUNK - start + length, 1 << 64)
        carried, length = (carried + part) & _ALL, length + len(codes) - start
        head = np.concatenate([head, codes[start : start + SHOWN + 1]])[: SHOWN + 1]
        tail = [*tail, *codes[max(start, len(codes) - 2) :].tolist()][-2:]
        position += len(codes)
    if length:
        nothing, lengths = np.zeros(1, np.int64), np.array([length])
        yield _Lines(
            _mixed(np.array([carried], np.uint64), lengths),
            lengths,
            np.array([position - length]),
            np.array(tail[1:]),
            _Heads(head, head[:0], nothing, nothing),
        )


def _mixed(totals: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    hashes = totals + lengths.astype(np.uint64) * np.uint64(_BASE)
    for _ in range(2):
        hashes ^= hashes >> np.uint64(32)
        hashes *= np.uint64(_MIX)
    hashes ^= hashes >> np.uint64(32)
    return (hashes & np.uint64(_ALL - 1)) | (lengths >= SENTENCE)

"""Lines of a text as 64-bit hashes: which lines repeat, and which are in another text.

A line costs eight bytes whatever its length. Equal lines have equal hashes. Of n different lines
two look alike with a chance of about n^2 / 2^64: one in two million for three million lines.

Two lines are the same where all their characters between newlines are (keeps_returns): this is what
a split of lines goes by (building.py). Where two texts are compared, a carriage return before the
newline is no part of a line. A line without a character left is blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.text.records import shown_breaks
from charrnn.text.vocabulary import NEWLINE, RETURN

# Lines of running text of so many characters are hardly equal by chance. The lowest bit of a hash
# says whether the line is that long.
SENTENCE = 20
# A stream is a list where so many lines are shorter, and so many are different. Words in a column,
# one a line, repeat more.
SHORT_SHARE = 0.9
DISTINCT_SHARE = 0.4
SHOWN = 60  # characters kept of a line that is shown
CHUNK = 1 << 15  # codes hashed at a time; the arrays stay in the processor's cache
_BASE = 0x9E3779B97F4A7C15
_MIX = 0xD6E8FEB86659FD93
_ALL = (1 << 64) - 1
_LONGEST = (1 << 32) - 1


@dataclass
class Lines:
    """The result of one pass over a text."""

    hashes: np.ndarray  # (N,) uint64, of every line that is not blank; in order until sorted
    before: int  # of them began before the edge
    trailing: int  # of them end in a space or a tab
    longest: int  # characters
    longest_number: int  # of that line, the first being 1


class _Lines(NamedTuple):
    """The M lines that end in one chunk of codes; the first may have begun earlier."""

    hashes: np.ndarray  # (M,) uint64
    lengths: np.ndarray  # (M,)
    begins: np.ndarray  # (M,) in the whole text
    last: np.ndarray  # (M,) code of each line's last character, a carriage return aside
    heads: _Heads


class _Heads(NamedTuple):
    """What is needed to show the beginnings of the lines of a chunk."""

    first: np.ndarray  # codes of the first line that stand before the chunk
    codes: np.ndarray  # of the chunk
    starts: np.ndarray  # (M,) of the lines in the chunk
    stops: np.ndarray  # (M,)

    def text(self, index: int) -> str:
        """Return the beginning of a line, for a person."""
        stop = int(self.stops[index])
        if index:
            codes = self.codes[int(self.starts[index]) : stop]
        else:
            codes = np.concatenate([self.first, self.codes[:stop]])
        ellipsis = "…" if len(codes) > SHOWN else ""
        return shown_breaks("".join(map(chr, codes[:SHOWN].tolist()))) + ellipsis


def hash_lines(
    pieces: Iterable[np.ndarray], most: int, edge: int = 0, *, keeps_returns: bool = False
) -> Lines:
    """Hash every line of a text in pieces that is not blank.

    most: the lines it has at most. edge: a place in the text, for Lines.before.
    """
    hashes = np.empty(most, np.uint64)
    size = 0
    before = 0
    trailing = 0
    longest = 0
    longest_number = 0
    count = 0
    for lines in _scan(pieces, keeps_returns):
        is_full = lines.lengths > 0
        full_hashes = lines.hashes[is_full]
        hashes[size : size + len(full_hashes)] = full_hashes
        size += len(full_hashes)
        before += int((is_full & (lines.begins < edge)).sum())
        ends_blank = (lines.last == ord(" ")) | (lines.last == ord("\t"))
        trailing += int((is_full & ends_blank).sum())
        if int(lines.lengths.max(initial=0)) > longest:
            longest = int(lines.lengths.max())
            longest_number = count + int(lines.lengths.argmax()) + 1
        count += len(lines.lengths)
    return Lines(hashes[:size], before, trailing, longest, longest_number)


def every_line(
    pieces: Iterable[np.ndarray], *, keeps_returns: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash (uint64) and the length (uint32) of each line of a text, blank ones too.

    A last line without a newline counts. Longer lines than fit a length have the largest one.
    """
    hashes = [np.zeros(0, np.uint64)]
    lengths = [np.zeros(0, np.uint32)]
    for lines in _scan(pieces, keeps_returns):
        hashes.append(lines.hashes)
        lengths.append(np.minimum(lines.lengths, _LONGEST).astype(np.uint32))
    return np.concatenate(hashes), np.concatenate(lengths)


def show_lines(
    pieces: Iterable[np.ndarray], wanted: list[int], *, keeps_returns: bool = False
) -> list[str]:
    """Return the beginnings of the lines with these hashes.

    A second pass over the text, as far as it must go.
    """
    if not wanted:
        return []
    texts: dict[int, str] = {}
    targets = np.array(wanted, np.uint64)
    for lines in _scan(pieces, keeps_returns):
        for index in np.flatnonzero(np.isin(lines.hashes, targets) & (lines.lengths > 0)):
            texts.setdefault(int(lines.hashes[index]), lines.heads.text(int(index)))
        if len(texts) == len(set(wanted)):
            break
    return [texts.get(line, "") for line in wanted]


def repeats(hashes: np.ndarray, most: int) -> tuple[int, list[tuple[int, int]]]:
    """Return how many sorted hashes repeat an earlier one, and the most frequent with counts."""
    is_repeat = np.concatenate([[False], hashes[1:] == hashes[:-1], [False]])
    starts = np.flatnonzero(~is_repeat[:-1] & is_repeat[1:])
    stops = np.flatnonzero(is_repeat[:-1] & ~is_repeat[1:])
    counts = stops - starts + 1
    top = np.argsort(-counts, kind="stable")[:most]
    return int(is_repeat.sum()), [(int(hashes[starts[i]]), int(counts[i])) for i in top]


def common(lines: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return which lines are among the sorted hashes: (len(lines),) bool."""
    if not len(hashes):
        return np.zeros(len(lines), bool)
    places = np.minimum(np.searchsorted(hashes, lines), len(hashes) - 1)
    is_common: np.ndarray = hashes[places] == lines
    return is_common


def least_line(hashes: np.ndarray, mode: str) -> int:
    """Return the characters of a line that says something when it is found again.

    The short lines of a stream ("}", "END") say nothing, but a list has only such lines: it is read
    as a stream where it is indented, or has blank lines. hashes: of the training text's lines that
    are not blank, sorted.
    """
    if mode == "lines":
        return 1
    count = len(hashes)
    repeated, _ = repeats(hashes, 0)
    is_short = count - len(sentences(hashes)) >= SHORT_SHARE * count
    is_list = is_short and count - repeated >= DISTINCT_SHARE * count
    return 1 if is_list and count else SENTENCE


def sentences(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes of lines of at least SENTENCE characters."""
    long_lines: np.ndarray = hashes[(hashes & np.uint64(1)) == 1]
    return long_lines


def _scan(pieces: Iterable[np.ndarray], keeps_returns: bool) -> Iterator[_Lines]:
    """Yield the lines of a text, chunk by chunk.

    The sum of a line is that of code BASE^(CHUNK + j), j = 0 at its start, modulo 2^64. It is the
    difference of two running sums of the chunk, times a power that moves the start to j = 0.
    An open line is carried as its sum, its length, its beginning and its last two codes: memory
    does not grow with a line.
    """
    powers = np.full(CHUNK + 1, _BASE, np.uint64)  # BASE^j
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    position = 0  # of the chunk in the text
    open_sum = 0
    open_length = 0
    head = np.zeros(0, np.uint32)  # the first codes of the open line, one more than are shown
    tail = [0, 0]  # its last two codes
    for codes in _chunks(pieces):
        sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes * powers[: len(codes)], out=sums[1:])
        ends = np.flatnonzero(codes == NEWLINE)
        if len(ends):
            # 1. Lines that end in this chunk, as if all began in it.
            starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
            bare_stops = ends - ((codes[ends - 1] == RETURN) & (ends > starts))
            stops = ends if keeps_returns else bare_stops
            totals = (sums[stops] - sums[starts]) * powers[CHUNK - starts]
            lengths = stops - starts
            begins = starts + position
            last = codes[np.maximum(bare_stops - 1, 0)].astype(np.int64)

            # 2. The first of them goes on from the open line, whose carriage return may go.
            begins[0] -= open_length
            if ends[0] == 0 and open_length and tail[1] == RETURN:
                tail = [0, tail[0]]
                if not keeps_returns:
                    open_length -= 1
                    open_sum -= RETURN * pow(_BASE, CHUNK + open_length, 1 << 64)
                    head = head[:open_length]
            if bare_stops[0] == 0:
                last[0] = tail[1]
            first_sum = int(sums[stops[0]]) * pow(_BASE, CHUNK + open_length, 1 << 64)
            totals[0] = (open_sum + first_sum) & _ALL
            lengths[0] += open_length
            heads = _Heads(head, codes, starts, stops)
            yield _Lines(_mixed(totals, lengths), lengths, begins, last, heads)
            open_sum = 0
            open_length = 0
            head = head[:0]
            tail = [0, 0]

        # 3. What the chunk leaves open.
        start = int(ends[-1]) + 1 if len(ends) else 0
        rest = int(sums[-1]) - int(sums[start])
        open_sum += rest * pow(_BASE, CHUNK - start + open_length, 1 << 64)
        open_sum &= _ALL
        open_length += len(codes) - start
        head = np.concatenate([head, codes[start : start + SHOWN + 1]])[: SHOWN + 1]
        tail = [*tail, *codes[max(start, len(codes) - 2) :].tolist()][-2:]
        position += len(codes)

    # 4. A last line without a newline.
    if open_length:
        zero = np.zeros(1, np.int64)
        lengths = np.array([open_length])
        yield _Lines(
            _mixed(np.array([open_sum], np.uint64), lengths),
            lengths,
            begins=np.array([position - open_length]),
            last=np.array(tail[1:]),
            heads=_Heads(head, head[:0], zero, zero),
        )


def _chunks(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for piece in pieces:
        for start in range(0, len(piece), CHUNK):
            yield piece[start : start + CHUNK]


def _mixed(totals: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Mix the bits of sums and lengths; the lowest bit says whether the line is a sentence."""
    hashes: np.ndarray = totals + lengths.astype(np.uint64) * np.uint64(_BASE)
    for _ in range(2):
        hashes ^= hashes >> np.uint64(32)
        hashes *= np.uint64(_MIX)
    hashes ^= hashes >> np.uint64(32)
    hashes &= np.uint64(_ALL - 1)
    hashes |= lengths >= SENTENCE
    return hashes

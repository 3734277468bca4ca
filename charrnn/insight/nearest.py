"""The line of a text that differs least from a given one: exact edit distance (Levenshtein 1966).

Lines are tried in the order of a lower bound, the bag distance: what one line has too many of, or lacks, must be
replaced or put in at least. As soon as the bound reaches the best distance found, no other line can be nearer.
Source: Bartolini, Ciaccia & Patella 2002.
"""

from __future__ import annotations

import numpy as np

BAGS = 32  # ids fall into so many classes; fewer than there are ids loosens the bound and never makes it wrong
MOST = 64  # ids of a line whose nearest is sought: the bits of a word
MAX_LENGTH = 200  # longer lines of the text are left out
FEW = 64  # lines tried at first
_LINES = 1 << 16  # lines whose bags are counted at a time


class Lines:
    """The lines of ids (N,), each ended by a newline, of 1 to MAX_LENGTH ids. Memory: some 50 bytes a line."""

    def __init__(self, ids: np.ndarray, newline: int) -> None:
        ends = np.flatnonzero(ids == newline)
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])
        lengths = np.append(ends, len(ids)) - starts
        fits = (lengths > 0) & (lengths <= MAX_LENGTH)
        self._ids, self._starts, self._lengths = ids, starts[fits], lengths[fits]
        self._bags = np.zeros((len(self._starts), BAGS), np.uint8)  # no count is above MAX_LENGTH
        for at in range(0, len(self._starts), _LINES):
            starts, lengths = self._starts[at : at + _LINES], self._lengths[at : at + _LINES]
            owner = np.repeat(np.arange(len(starts)), lengths)
            within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            classes = ids[starts[owner] + within] % BAGS
            counts = np.bincount(owner * BAGS + classes, minlength=len(starts) * BAGS)
            self._bags[at : at + _LINES] = counts.reshape(len(starts), BAGS)

    def __len__(self) -> int:
        return len(self._starts)

    def nearest(self, line: np.ndarray) -> tuple[int, np.ndarray] | None:
        """Distance and ids of a nearest line to one of 1 to MOST ids; None if there are no lines."""
        if not len(self):
            return None
        bag = np.bincount(line % BAGS, minlength=BAGS).astype(np.uint8)
        either = np.maximum(self._bags, bag).sum(1, dtype=np.int64)
        bound = either - np.minimum(self._lengths, len(line))
        order = np.argsort(bound, kind="stable")
        best, found, at, size = len(line) + MAX_LENGTH + 1, 0, 0, FEW
        while at < len(order) and bound[order[at]] < best:
            some = order[at : at + size]
            some = some[bound[some] < best]
            distances = edit_distances(line, *self._padded(some))
            if distances.min() < best:
                best, found = int(distances.min()), int(some[np.argmin(distances)])
            at, size = at + size, min(2 * size, 4096)
        start = self._starts[found]
        return best, self._ids[start : start + self._lengths[found]]

    def _padded(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ids (K, longest) of some lines, what follows them in the text behind the shorter ones; lengths (K,)."""
        lengths = self._lengths[which]
        places = self._starts[which][:, None] + np.arange(lengths.max())
        return self._ids[np.minimum(places, len(self._ids) - 1)], lengths


def edit_distances(line: np.ndarray, others: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(K,): the fewest insertions, deletions and replacements between a line (N,) and others[k, : lengths[k]].

    1 <= N <= MOST. Bit i of a word says whether the table of distances rises (plus) or falls (minus) from row i to row
    i + 1, so that a column of the table is one step, of all K lines at once. Source: Myers 1999, as in Hyyro 2003.
    """
    is_at = np.zeros(int(max(line.max(), others.max(initial=0))) + 1, np.uint64)
    np.bitwise_or.at(is_at, line, np.uint64(1) << np.arange(len(line), dtype=np.uint64))
    one, last = np.uint64(1), np.uint64(len(line) - 1)
    plus, minus = np.full(len(others), ~np.uint64(0)), np.zeros(len(others), np.uint64)
    distance = np.full(len(others), len(line), np.int64)
    found = distance.copy()  # of an empty line
    for column, ids in enumerate(np.ascontiguousarray(others.T), 1):
        equal = is_at[ids]
        level = ((equal & plus) + plus ^ plus) | equal
        rises, falls = minus | ~(level | plus), plus & level
        distance += (rises >> last & one).astype(np.int64) - (falls >> last & one).astype(np.int64)
        np.copyto(found, distance, where=lengths == column)
        rises = rises << one | one
        kept = equal | minus
        plus, minus = falls << one | ~(kept | rises), rises & kept
    return found

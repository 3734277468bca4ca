"""The line of a text that differs least from a given one: exact edit distance (Levenshtein 1966).

Lines are tried in the order of a lower bound, the bag distance: what one line has too many of, or
lacks, must be replaced or put in at least. As soon as the bound reaches the best distance so far,
no other line can be nearer. Source: Bartolini, Ciaccia & Patella 2002.

Shapes: N ids of a line, M lines of the text, K lines that are tried at a time.
"""

from __future__ import annotations

import numpy as np

BAGS = 32  # classes of ids; fewer than there are ids loosens the bound and never makes it wrong
MOST = 64  # ids of a line whose nearest is sought: the bits of a word
MAX_LENGTH = 200  # longer lines of the text are left out
FEW = 64  # lines tried at first
MANY = 4096  # lines tried at a time later
_LINES = 1 << 16  # lines whose bags are counted at a time


class Lines:
    """The lines of a text, each ended by a newline, of 1 to MAX_LENGTH ids.

    Memory: some 50 bytes a line.
    """

    def __init__(self, ids: np.ndarray, newline: int) -> None:
        ends = np.flatnonzero(ids == newline)
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])
        lengths = np.append(ends, len(ids)) - starts
        fits = (lengths > 0) & (lengths <= MAX_LENGTH)
        self._ids = ids
        self._starts = starts[fits]  # (M,)
        self._lengths = lengths[fits]  # (M,)
        # (M, BAGS). A byte is enough: no count is above MAX_LENGTH.
        self._bags = np.zeros((len(self._starts), BAGS), np.uint8)
        for at in range(0, len(self._starts), _LINES):
            self._count_bags(slice(at, at + _LINES))

    def _count_bags(self, here: slice) -> None:
        starts = self._starts[here]
        lengths = self._lengths[here]
        owner = np.repeat(np.arange(len(starts)), lengths)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        classes = self._ids[starts[owner] + within] % BAGS
        counts = np.bincount(owner * BAGS + classes, minlength=len(starts) * BAGS)
        self._bags[here] = counts.reshape(len(starts), BAGS)

    def __len__(self) -> int:
        return len(self._starts)

    def nearest(self, line: np.ndarray) -> tuple[int, np.ndarray] | None:
        """The distance and the ids of a line nearest to one of 1 to MOST ids.

        None if there are no lines.
        """
        if not len(self):
            return None
        bag = np.bincount(line % BAGS, minlength=BAGS).astype(np.uint8)
        either = np.maximum(self._bags, bag).sum(1, dtype=np.int64)
        bound = either - np.minimum(self._lengths, len(line))
        order = np.argsort(bound, kind="stable")
        best = len(line) + MAX_LENGTH + 1
        best_line = 0
        at = 0
        size = FEW
        while at < len(order) and bound[order[at]] < best:
            some = order[at : at + size]
            some = some[bound[some] < best]
            distances = edit_distances(line, *self._padded(some))
            if distances.min() < best:
                best = int(distances.min())
                best_line = int(some[np.argmin(distances)])
            at += size
            size = min(2 * size, MANY)
        start = self._starts[best_line]
        return best, self._ids[start : start + self._lengths[best_line]]

    def _padded(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids (K, longest) of some lines, and their lengths (K,).

        Behind a shorter line stands what follows it in the text.
        """
        lengths = self._lengths[which]
        places = self._starts[which][:, None] + np.arange(lengths.max())
        return self._ids[np.minimum(places, len(self._ids) - 1)], lengths


def edit_distances(line: np.ndarray, others: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The fewest insertions, deletions and replacements between a line and each of K others.

    line (N,), 1 <= N <= MOST; the others are others[k, : lengths[k]]. Returns (K,).

    Bit i of a word says whether the table of distances rises (plus) or falls (minus) from row i to
    row i + 1. So a column of the table is one step, of all K lines at once. Source: Myers 1999, as
    in Hyyro 2003.
    """
    is_at = np.zeros(int(max(line.max(), others.max(initial=0))) + 1, np.uint64)
    np.bitwise_or.at(is_at, line, np.uint64(1) << np.arange(len(line), dtype=np.uint64))
    one = np.uint64(1)
    last = np.uint64(len(line) - 1)
    plus = np.full(len(others), ~np.uint64(0))
    minus = np.zeros(len(others), np.uint64)
    distance = np.full(len(others), len(line), np.int64)
    result = distance.copy()  # that to an empty line
    for column, ids in enumerate(np.ascontiguousarray(others.T), 1):
        equal = is_at[ids]
        level = ((equal & plus) + plus ^ plus) | equal
        rises = minus | ~(level | plus)
        falls = plus & level
        distance += (rises >> last & one).astype(np.int64) - (falls >> last & one).astype(np.int64)
        np.copyto(result, distance, where=lengths == column)
        rises = rises << one | one
        kept = equal | minus
        plus = falls << one | ~(kept | rises)
        minus = rises & kept
    return result

"""Counting n-grams in numpy, with the memory of the different ones, and the models made of them.

An n-gram is one int64: its ids as digits to the base V, the size of the alphabet. So sorting counts
them, and V^n must stay below 2^63. Shapes: N ids, M different n-grams.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.text.mass import Mass
from charrnn.text.ngram import UNSEEN, Level, NGram, padded, pieces_of, weigh
from charrnn.text.spelling import LONGEST, Spelling
from charrnn.values import MAX_ORDER

LARGE = 8_000_000


def most_orders(vocabulary_size: int) -> int:
    """Return the longest n-grams that can be counted: 10 for V = 65, 7 for 256, 4 for 20,000."""
    n = 1
    while n < MAX_ORDER and max(2, vocabulary_size) ** (n + 1) < 1 << 63:
        n += 1
    return n


class GramCounter:
    """Counts the n-grams of one length, piece by piece.

    codes (M,) int64: the n-grams, ascending. counts (M,) int64.
    """

    def __init__(self, vocabulary_size: int, order: int, boundary: int | None = None) -> None:
        """boundary: the newline's id in lines mode.

        Every line is counted as if `order` - 1 newlines stood before it.
        """
        longest = most_orders(vocabulary_size)
        if not 1 <= order <= longest:
            raise ValueError(f"order {order}: {vocabulary_size} characters allow 1 to {longest}")
        self.vocabulary_size = vocabulary_size
        self.order = order
        self.boundary = boundary
        self.codes = np.zeros(0, np.int64)
        self.counts = np.zeros(0, np.int64)

    def spans(self, ids: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield where pieces of ids (N,) for `add` start and stop.

        Pieces are whole lines, or overlap in a stream.
        """
        return pieces_of(ids, self.order, self.boundary)

    def add(self, piece: np.ndarray) -> None:
        """Count one piece, as `spans` cuts it."""
        # 1. Sort the n-grams of the piece: equal ones stand side by side.
        ids, counted = padded(piece, self.order, self.boundary)
        codes = _packed(ids, self.order, self.vocabulary_size)
        if self.boundary is not None:
            codes = codes[counted[self.order - 1 :]]
        codes.sort()
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        counts = np.diff(starts, append=len(codes))
        codes = codes[starts]

        # 2. Add them to the n-grams counted so far.
        place = np.searchsorted(self.codes, codes)
        known = np.append(self.codes, -1)[place] == codes
        self.counts[place[known]] += counts[known]
        if not known.all():
            self.codes = np.insert(self.codes, place[~known], codes[~known])
            self.counts = np.insert(self.counts, place[~known], counts[~known])

    def count(self, ids: np.ndarray) -> GramCounter:
        """Count all of ids (N,) and return the counter."""
        for start, stop in self.spans(ids):
            self.add(ids[start:stop])
        return self


class Orders:
    """The models of all orders up to that of a counter."""

    def __init__(self, counter: GramCounter, head: np.ndarray, most: int | None = None) -> None:
        """head: the first counter.order characters of the counted text, or all of them.

        most: leave out the orders that would have more n-grams than these, of all their lengths;
        order 1 stays.
        """
        self.vocabulary_size = counter.vocabulary_size
        self.boundary = counter.boundary
        self.longest = counter.order
        if self.boundary is None:
            self.longest = max(1, min(counter.order, len(head)))
        base = self.vocabulary_size
        tables = self._tables(counter, head, most)
        if most is not None:
            sizes = np.cumsum([len(codes) for codes, _ in tables])
            self.longest = min(self.longest, max(1, int((sizes <= most).sum())))
        self._grams: list[np.ndarray] = []  # by length: as Level.grams
        self._counts: list[np.ndarray] = []  # of each n-gram
        self._before: list[np.ndarray] = []  # how many different characters stand before it
        contexts = np.zeros(1, np.int64)  # the n-grams one shorter
        for n, (codes, counts) in enumerate(tables[: self.longest], 1):
            if n < self.longest:
                before = _continuations(codes, tables[n][0] % base**n)
                if self.boundary is None:
                    # The beginning of a stream stands before its first n-gram, like a character.
                    before[np.searchsorted(codes, _packed(head[:n], n, base))] += 1
                else:
                    codes, counts, before = self._line_beginning(n, codes, counts, before)
                self._before.append(before)
            # (M,) the context of each n-gram; the codes of single characters have none: 0.
            place = np.searchsorted(contexts, codes // base)
            self._grams.append(place * base + codes % base)
            self._counts.append(counts)
            contexts = codes

    def _tables(
        self, counter: GramCounter, head: np.ndarray, most: int | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the codes and counts of the n-grams of every length, single characters first.

        Those longer than a length with more than `most` are left out, for memory.
        """
        base = self.vocabulary_size
        tables = [(counter.codes, counter.counts)]
        for n in range(counter.order - 1, 0, -1):
            # An n-gram is the end of a longer one, or stands at the very beginning of a stream.
            longer, counts = tables[0]
            ends = longer % base**n
            if self.boundary is None and len(head) >= n:
                ends = np.append(ends, _packed(head[:n], n, base))
                counts = np.append(counts, 1)
            tables.insert(0, _grouped(ends, counts))
            if most is not None and len(tables[0][0]) > most:
                del tables[1:]
        return tables

    def _line_beginning(
        self, n: int, codes: np.ndarray, counts: np.ndarray, before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mend the n-grams of lines that begin with the newlines before a line; all arrays (M,).

        Only more newlines stand before them, so their `before` is their count. A newline by itself
        is the end of a line, with characters before it. The newlines alone are a context, though
        seldom counted: they are added with a count of 0.
        """
        assert self.boundary is not None
        base = self.vocabulary_size
        if n > 1:
            before = np.where(codes // base ** (n - 1) == self.boundary, counts, before)
        beginning = int(_packed(np.full(n, self.boundary), n, base)[0])
        at = int(np.searchsorted(codes, beginning))
        if at < len(codes) and codes[at] == beginning:
            return codes, counts, before
        return np.insert(codes, at, beginning), np.insert(counts, at, 0), np.insert(before, at, 0)

    def levels(self, order: int, smoothing: str) -> list[Level]:
        """Return the levels of the model of one order."""
        lower = self._before if smoothing == "kneser-ney" else self._counts
        counts = [*lower[: order - 1], self._counts[order - 1]]
        return [
            Level(grams, level_counts.astype(np.uint32))
            for grams, level_counts in zip(self._grams, counts, strict=False)
        ]

    def model(self, order: int, smoothing: str) -> NGram:
        """Return the model of one order."""
        return NGram(self.levels(order, smoothing), self.vocabulary_size, self.boundary, smoothing)

    def nats(
        self, ids: np.ndarray, smoothing: str, spelling: Spelling | None = None
    ) -> list[float]:
        """Return -sum of ln P of ids (N,) for each order 1, 2, ..., longest, in one pass.

        In a stream the first character is left out: no context tells of it.
        spelling: where rare characters are bytes.
        """
        # Below its highest level a model is the longest one: only the tops differ.
        longest = self.model(self.longest, smoothing)
        tops = [
            weigh([*longest.levels[:k], Level(grams, counts)], k, self.vocabulary_size, smoothing)
            for k, (grams, counts) in enumerate(zip(self._grams, self._counts, strict=True))
        ]
        nats = [0.0] * self.longest
        width = self.longest if spelling is None else max(self.longest, LONGEST)
        for start, stop in pieces_of(ids, width, self.boundary):
            piece, counted = padded(ids[start:stop], self.longest, self.boundary)
            if self.boundary is None:
                first = 1 if spelling is None else spelling.first_length(ids)
                overlap = width - 1 if start else first
                counted[:overlap] = False
            probability = np.full(len(piece), 1 / self.vocabulary_size)
            mass = Mass.uniform(spelling, piece) if spelling is not None else None
            for k, (contexts, place) in enumerate(longest.walk(piece)):
                known = contexts != UNSEEN
                scored = tops[k].raised(probability, contexts, place, known)[counted]
                if mass is not None:
                    top = mass.raised(self._grams[k], tops[k].gain, tops[k].back, contexts, known)
                    scored /= top.allowed()[counted]
                    lower = longest.weights[k]
                    mass = mass.raised(self._grams[k], lower.gain, lower.back, contexts, known)
                nats[k] -= float(np.log(scored).sum())
                probability = longest.weights[k].raised(probability, contexts, place, known)
        return nats


def count(
    ids: np.ndarray,
    vocabulary_size: int,
    order: int = 5,
    boundary: int | None = None,
    smoothing: str = "kneser-ney",
) -> NGram:
    """Return the n-gram model of ids (N,).

    order 5: four characters of context. boundary: as in NGram.
    """
    orders = Orders(GramCounter(vocabulary_size, order, boundary).count(ids), ids[:order])
    return orders.model(orders.longest, smoothing)


def pick_order(
    ids: np.ndarray,
    held_out: np.ndarray,
    vocabulary_size: int,
    boundary: int | None,
    smoothing: str = "kneser-ney",
    spelling: Spelling | None = None,
) -> NGram:
    """Return the model whose order predicts held_out (N,) best.

    Longer n-grams are counted until they no longer help. spelling: where rare characters are bytes.
    """
    orders, nats = best_orders(ids, held_out, vocabulary_size, boundary, smoothing, spelling)
    ngram = orders.model(int(np.argmin(nats)) + 1, smoothing)
    ngram.spelling = spelling
    return ngram


def best_orders(
    ids: np.ndarray,
    held_out: np.ndarray,
    vocabulary_size: int,
    boundary: int | None,
    smoothing: str = "kneser-ney",
    spelling: Spelling | None = None,
    most: int | None = None,
) -> tuple[Orders, list[float]]:
    """Return the models of all orders, up to where longer ones no longer help, and their nats.

    The nats are of held_out (N,). most: as in Orders.
    """
    top = 0
    while True:
        top = next_top(top, vocabulary_size, len(ids))
        orders = Orders(GramCounter(vocabulary_size, top, boundary).count(ids), ids[:top], most)
        nats = orders.nats(held_out, smoothing, spelling)
        if not may_grow(int(np.argmin(nats)) + 1, top, vocabulary_size):
            return orders, nats


def next_top(top: int, vocabulary_size: int, chars: int) -> int:
    """Return how long n-grams to count next, to find the best order.

    8 at first (6 in large texts, for memory), then two more each time.
    """
    longer = 8 if chars < LARGE else 6
    if top:
        longer = top + 2
    return min(most_orders(vocabulary_size), longer)


def may_grow(best: int, top: int, vocabulary_size: int) -> bool:
    """Return whether an order above `top` could be better, if `best` was the best so far."""
    return best == top < most_orders(vocabulary_size)


def _grouped(codes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ascending codes, each once, with the sums of their counts."""
    if not len(codes):
        return codes, counts
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(counts[order], starts)


def _continuations(codes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return how many different characters stand before each n-gram.

    codes (M,): the n-grams. ends: the ends of the different n-grams one longer.
    """
    continuations = np.zeros(len(codes), np.int64)
    distinct, times = _grouped(ends, np.ones(len(ends), np.int64))
    continuations[np.searchsorted(codes, distinct)] = times
    return continuations


def _packed(ids: np.ndarray, order: int, base: int) -> np.ndarray:
    """Return every n-gram of ids (N,) as one number: (N - order + 1,) int64."""
    number = max(0, len(ids) - order + 1)
    codes = np.zeros(number, np.int64)
    for k in range(order):
        codes *= base
        codes += ids[k : k + number]
    return codes

"""Counting n-grams in numpy, with the memory of the different ones, and the models made of them.

An n-gram is one int64: its ids as digits to the base V. So sorting counts them, and V^n must stay below 2^63.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.config import MAX_ORDER
from charrnn.text.ngram import UNSEEN, Level, NGram, padded, pieces_of, weigh

LARGE = 8_000_000


def most_orders(vocabulary_size: int) -> int:
    """The longest n-grams that can be counted with so many characters: 10 for 65, 7 for 256, 4 for 20,000."""
    n = 1
    while n < MAX_ORDER and max(2, vocabulary_size) ** (n + 1) < 1 << 63:
        n += 1
    return n


class GramCounter:
    """Counts the n-grams of one length, piece by piece. codes (M,) int64 ascending, counts (M,) int64."""

    def __init__(self, vocabulary_size: int, order: int, boundary: int | None = None) -> None:
        """boundary: the newline's id in lines mode; every line is as if `order` - 1 newlines stood before it."""
        if not 1 <= order <= most_orders(vocabulary_size):
            raise ValueError(
                f"order {order}: {vocabulary_size} characters allow 1 to {most_orders(vocabulary_size)}"
            )
        self.vocabulary_size, self.order, self.boundary = vocabulary_size, order, boundary
        self.codes, self.counts = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def spans(self, ids: np.ndarray) -> Iterator[tuple[int, int]]:
        """Where pieces of ids (N,) for `add` start and stop: whole lines, or, in a stream, overlapping."""
        return pieces_of(ids, self.order, self.boundary)

    def add(self, piece: np.ndarray) -> None:
        """Count one piece, as `spans` cut it."""
        ids, counted = padded(piece, self.order, self.boundary)
        codes = _packed(ids, self.order, self.vocabulary_size)
        if self.boundary is not None:
            codes = codes[counted[self.order - 1 :]]
        codes.sort()
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        codes, counts = codes[starts], np.diff(starts, append=len(codes))
        place = np.searchsorted(self.codes, codes)
        known = np.append(self.codes, -1)[place] == codes
        self.counts[place[known]] += counts[known]
        if not known.all():
            self.codes = np.insert(self.codes, place[~known], codes[~known])
            self.counts = np.insert(self.counts, place[~known], counts[~known])

    def count(self, ids: np.ndarray) -> GramCounter:
        """All of ids (N,)."""
        for start, stop in self.spans(ids):
            self.add(ids[start:stop])
        return self


class Orders:
    """The models of all orders up to that of a counter."""

    def __init__(self, counter: GramCounter, head: np.ndarray) -> None:
        """head: the first characters of the counted text, counter.order of them or all."""
        self.vocabulary_size, self.boundary = counter.vocabulary_size, counter.boundary
        self.longest = (
            counter.order if self.boundary is not None else max(1, min(counter.order, len(head)))
        )
        base, boundary = self.vocabulary_size, self.boundary
        tables = [
            (counter.codes, counter.counts)
        ]  # of n-grams: shorter ones are put before longer ones
        for n in range(
            counter.order - 1, 0, -1
        ):  # an n-gram is the end of a longer one, or a stream's very first
            ends, counts = tables[0][0] % base**n, tables[0][1]
            if boundary is None and len(head) >= n:
                ends, counts = np.append(ends, _packed(head[:n], n, base)), np.append(counts, 1)
            tables.insert(0, _grouped(ends, counts))
        self._grams: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []  # of each n-gram
        self._before: list[np.ndarray] = []  # how many different characters stand before it
        above = np.zeros(1, np.int64)
        for n, (codes, counts) in enumerate(tables[: self.longest], 1):
            if n < self.longest:
                before = _continuations(codes, tables[n][0] % base**n)
                if (
                    boundary is None
                ):  # a stream's beginning stands before its first n-gram, like a character
                    before[np.searchsorted(codes, _packed(head[:n], n, base))] += 1
                else:  # nothing but more newlines stands before a line's beginning
                    before = np.where(codes // base ** (n - 1) == boundary, counts, before)
                    beginning = int(
                        _packed(np.full(n, boundary), n, base)[0]
                    )  # a context, though seldom counted
                    at = int(np.searchsorted(codes, beginning))
                    if at == len(codes) or codes[at] != beginning:
                        codes, counts, before = (
                            np.insert(array, at, value)
                            for array, value in ((codes, beginning), (counts, 0), (before, 0))
                        )
                self._before.append(before)
            self._grams.append(
                (np.searchsorted(above, codes // base) if n > 1 else 0) * base + codes % base
            )
            self._counts.append(counts)
            above = codes

    def levels(self, order: int, smoothing: str) -> list[Level]:
        """Those of the model of one order."""
        lower = self._before if smoothing == "kneser-ney" else self._counts
        counts = [*lower[: order - 1], self._counts[order - 1]]
        return [
            Level(grams, each.astype(np.uint32))
            for grams, each in zip(self._grams, counts, strict=False)
        ]

    def model(self, order: int, smoothing: str) -> NGram:
        return NGram(self.levels(order, smoothing), self.vocabulary_size, self.boundary, smoothing)

    def nats(self, ids: np.ndarray, smoothing: str) -> list[float]:
        """-sum of ln P under the models of order 1, 2, ..., longest, all in one pass: of ids (N,), in a stream without
        the first, of which nothing tells."""
        longest = self.model(self.longest, smoothing)
        tops = [
            weigh([*longest.levels[:k], Level(grams, counts)], k, self.vocabulary_size, smoothing)
            for k, (grams, counts) in enumerate(zip(self._grams, self._counts, strict=True))
        ]
        found = [0.0] * self.longest
        for start, stop in pieces_of(ids, self.longest, self.boundary):
            piece, counted = padded(ids[start:stop], self.longest, self.boundary)
            if self.boundary is None:
                counted[: self.longest - 1 if start else 1] = False
            probability = np.full(len(piece), 1 / self.vocabulary_size)
            for k, (contexts, place) in enumerate(longest.walk(piece)):
                known = contexts != UNSEEN
                found[k] -= float(
                    np.log(tops[k].raised(probability, contexts, place, known)[counted]).sum()
                )
                probability = longest.weights[k].raised(probability, contexts, place, known)
        return found


def count(
    ids: np.ndarray,
    vocabulary_size: int,
    order: int = 5,
    boundary: int | None = None,
    smoothing: str = "kneser-ney",
) -> NGram:
    """The n-gram model of ids (N,). order 5: four characters of context. boundary: as in NGram."""
    counted = Orders(GramCounter(vocabulary_size, order, boundary).count(ids), ids[:order])
    return counted.model(counted.longest, smoothing)


def pick_order(
    ids: np.ndarray,
    held_out: np.ndarray,
    vocabulary_size: int,
    boundary: int | None,
    smoothing: str = "kneser-ney",
) -> NGram:
    """The model of the order, of any, that predicts held_out (N,) best.

    Longer n-grams are counted until they no longer help.
    """
    top = 0
    while True:
        top = next_top(top, vocabulary_size, len(ids))
        counted = Orders(GramCounter(vocabulary_size, top, boundary).count(ids), ids[:top])
        best = int(np.argmin(counted.nats(held_out, smoothing))) + 1
        if not may_grow(best, top, vocabulary_size):
            return counted.model(best, smoothing)


def next_top(top: int, vocabulary_size: int, chars: int) -> int:
    """How long n-grams to count next, to find the best order: 8 (6 in large texts, for memory), then two more each time."""
    return min(most_orders(vocabulary_size), top + 2 if top else 8 if chars < LARGE else 6)


def may_grow(best: int, top: int, vocabulary_size: int) -> bool:
    """Could an order above `top` be better, if `best` was the best so far?"""
    return best == top < most_orders(vocabulary_size)


def _grouped(codes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending codes, each once, with the sums of their counts."""
    if not len(codes):
        return codes, counts
    order = np.argsort(codes, kind="stable")
    codes, counts = codes[order], counts[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(counts, starts)


def _continuations(codes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How many different characters stand before each n-gram. ends: of the different n-grams one longer."""
    found = np.zeros(len(codes), np.int64)
    distinct, times = _grouped(ends, np.ones(len(ends), np.int64))
    found[np.searchsorted(codes, distinct)] = times
    return found


def _packed(ids: np.ndarray, order: int, base: int) -> np.ndarray:
    """(N - order + 1,) int64: every n-gram of ids (N,) as one number."""
    number = max(0, len(ids) - order + 1)
    codes = np.zeros(number, np.int64)
    for k in range(order):
        codes *= base
        codes += ids[k : k + number]
    return codes

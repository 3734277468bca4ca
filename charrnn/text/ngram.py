"""n-gram models in numpy: what a network must beat, and a model of its own. counting.py makes them.

P_k(c | context) = gain(context, c) + back(context) P_{k-1}(c | shorter context); P_0 is uniform.

    Witten-Bell      a / (T + N) and N / (T + N): a counts of c after the context, T of anything, N different characters
                     (Witten & Bell 1991, their method C, interpolated)
    Kneser-Ney       (a - D(a)) / T and (D1 N1 + D2 N2 + D3 N3) / T: N1, N2, N3 characters counted once, twice, more
                     often; below the highest order a is the number of different characters seen before context and c
                     (the modified, interpolated form of Chen & Goodman 1998, discounts from counts of counts)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.config import MAX_ORDER

UNSEEN = -1
SMOOTHINGS = ("kneser-ney", "witten-bell")
PIECE = 1 << 22  # characters counted or scored at a time
# Where counts of counts do not give discounts between 0 and their count (tiny texts, low orders): those that KenLM
# falls back to (Heafield 2011).
FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Level:
    """All n-grams of one length, in ascending order.

    grams (M,) int64: place of the context among the n-grams one shorter, times V, plus the character; counts (M,):
    as the smoothing counts them; 0 for a context that nothing but a line's beginning makes.
    """

    grams: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Weights:
    """gain (M,) of each n-gram, back (number of contexts,): 1 where nothing follows a context."""

    gain: np.ndarray
    back: np.ndarray

    def raised(
        self, probability: np.ndarray, contexts: np.ndarray, place: np.ndarray, known: np.ndarray
    ) -> np.ndarray:
        """P with a context one longer, where that is known. All (N,); place: of the n-grams, or UNSEEN."""
        raised, place = probability.copy(), place[known]
        gain = np.where(place == UNSEEN, 0.0, self.gain[place])
        raised[known] = gain + self.back[contexts[known]] * probability[known]
        return raised


class NGram:
    """An n-gram model. order 5: four characters of context."""

    def __init__(
        self, levels: list[Level], vocabulary_size: int, boundary: int | None, smoothing: str
    ) -> None:
        """levels: single characters first. boundary: the newline's id in lines mode, which no context crosses."""
        self.vocabulary_size, self.boundary, self.smoothing = vocabulary_size, boundary, smoothing
        self.levels, self.order = levels, len(levels)
        self.weights = [weigh(levels, k, vocabulary_size, smoothing) for k in range(self.order)]

    def probabilities(self, ids: np.ndarray, reach: np.ndarray | None = None) -> np.ndarray:
        """P of each of ids (N,) given those before it, float64; the first ones have shorter contexts.

        reach (N,): how many characters before it each may look at, of a text that is no single stream.
        """
        return np.concatenate([np.zeros(0), *(found for _, found in self.in_pieces(ids, reach))])

    def in_pieces(
        self, ids: np.ndarray, reach: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """`probabilities` in pieces, each with where it begins."""
        for start, stop in pieces_of(ids, self.order, self.boundary):
            known = (
                self.order - 1 if self.boundary is None and start else 0
            )  # pieces of a stream overlap
            found = self._probabilities(
                ids[start:stop], reach if reach is None else reach[start:stop]
            )
            yield start + known, found[known:]

    def tensors(self) -> dict[str, np.ndarray]:
        """What a file holds of it."""
        return {
            f"ngram.{n}.{name}": getattr(level, name)
            for n, level in enumerate(self.levels, 1)
            for name in ("grams", "counts")
        }

    def _find(self, k: int, place: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Places among level k's n-grams of the contexts at `place` followed by ids; UNSEEN where there are none."""
        grams = self.levels[k].grams
        codes = place * self.vocabulary_size + ids
        found = np.minimum(np.searchsorted(grams, codes), len(grams) - 1)
        return np.where((place != UNSEEN) & (grams[found] == codes), found, UNSEEN)

    def _probabilities(self, ids: np.ndarray, reach: np.ndarray | None) -> np.ndarray:
        ids, counted = padded(ids, self.order, self.boundary)
        probability = np.full(len(ids), 1 / self.vocabulary_size)
        for k, (contexts, place) in enumerate(self.walk(ids)):
            known = contexts != UNSEEN if reach is None else (contexts != UNSEEN) & (reach >= k)
            probability = self.weights[k].raised(probability, contexts, place, known)
        return probability[counted]

    def walk(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each level, of every character of ids (N,): the places of its context and of the n-gram that it ends."""
        contexts = np.zeros(len(ids), np.int64)
        for k in range(self.order):
            place = self._find(k, contexts, ids)
            yield contexts, place
            contexts = np.concatenate([[UNSEEN], place[:-1]])


def levels_of(tensors: dict[str, np.ndarray], vocabulary_size: int) -> list[Level]:
    """The levels in a file's tensors, as NGram.tensors named them. Raises ValueError where they are no such thing."""
    levels: list[Level] = []
    contexts = 1
    while f"ngram.{len(levels) + 1}.grams" in tensors:
        grams, counts = (
            tensors.get(f"ngram.{len(levels) + 1}.{name}") for name in ("grams", "counts")
        )
        if grams is None or counts is None or grams.dtype != np.int64 or counts.dtype != np.uint32:
            raise ValueError("not an n-gram model")
        fine = (
            grams.ndim == 1
            and grams.shape == counts.shape
            and len(grams)
            and len(levels) < MAX_ORDER
        )
        if (
            not fine
            or grams[0] < 0
            or grams[-1] >= contexts * vocabulary_size
            or (np.diff(grams) <= 0).any()
        ):
            raise ValueError("n-grams out of order")
        levels.append(Level(grams, counts))
        contexts = len(grams)
    if not levels or len(tensors) != 2 * len(levels):
        raise ValueError("not an n-gram model")
    return levels


def weigh(levels: list[Level], k: int, base: int, smoothing: str) -> Weights:
    """The weights of levels[k]."""
    level, contexts = levels[k], len(levels[k - 1].grams) if k else 1
    counts = level.counts.astype(np.float64)
    owner = level.grams // base
    totals = np.bincount(owner, weights=counts, minlength=contexts)
    if smoothing == "witten-bell":
        gain, rest = counts, np.bincount(owner, weights=counts > 0, minlength=contexts)
        whole = totals + rest
    else:
        discounts = np.array([0.0, *discounts_of(level.counts)])[np.minimum(level.counts, 3)]
        gain, whole = counts - discounts, totals
        rest = np.bincount(owner, weights=discounts, minlength=contexts)
    follows = whole > 0
    back = np.divide(rest, whole, out=np.ones(contexts), where=follows)
    return Weights(
        np.divide(gain, whole[owner], out=np.zeros(len(counts)), where=follows[owner]), back
    )


def discounts_of(counts: np.ndarray) -> tuple[float, float, float]:
    """What is taken from counts of 1, 2 and more (Chen & Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return found if all(0 < value <= k for k, value in enumerate(found, 1)) else FALLBACK


def pieces_of(ids: np.ndarray, order: int, boundary: int | None) -> Iterator[tuple[int, int]]:
    """Where pieces of a text start and stop: at lines' ends, or overlapping by order - 1 characters."""
    start, step = 0, max(PIECE, order)
    while start < len(ids):
        stop = min(len(ids), start + step)
        if boundary is None:
            yield max(0, start - order + 1), stop
        else:
            while stop < len(ids) and ids[stop - 1] != boundary:
                ends = np.flatnonzero(ids[stop : stop + step] == boundary)
                stop = stop + int(ends[0]) + 1 if len(ends) else min(len(ids), stop + step)
            yield start, stop
        start = stop


def padded(ids: np.ndarray, order: int, boundary: int | None) -> tuple[np.ndarray, np.ndarray]:
    """ids, and which of them count. Lines get order - 1 boundaries before them, so that contexts start fresh."""
    if boundary is None or order == 1:
        return ids, np.ones(len(ids), bool)
    starts = np.concatenate([[0], np.flatnonzero(ids == boundary) + 1])
    padding = np.repeat(starts[starts < len(ids)], order - 1)
    return np.insert(ids, padding, boundary), np.insert(np.ones(len(ids), bool), padding, False)

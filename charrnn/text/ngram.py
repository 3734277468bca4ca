"""n-gram models in numpy: what a network must beat, and a model of its own. counting.py makes them.

P_k(c | context) = gain(context, c) + back(context) P_{k-1}(c | shorter context); P_0 is uniform.

    Witten-Bell    gain = a / (T + N), back = N / (T + N)
                   a counts c after the context, T any character, N different characters
                   (Witten & Bell 1991, their method C, interpolated)
    Kneser-Ney     gain = (a - D(a)) / T, back = (D1 N1 + D2 N2 + D3 N3) / T
                   N1, N2, N3: characters counted once, twice, more often. Below the highest order
                   a is the number of different characters seen before context and c
                   (the modified, interpolated form of Chen & Goodman 1998; discounts D from counts
                   of counts)

Shapes: N characters, M n-grams of one length, V the size of the alphabet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.text.mass import Mass
from charrnn.text.spelling import LONGEST, Spelling
from charrnn.values import MAX_ORDER

UNSEEN = -1
SMOOTHING_NAMES = {"kneser-ney": "modified Kneser-Ney", "witten-bell": "Witten-Bell"}
SMOOTHINGS = tuple(SMOOTHING_NAMES)
PIECE = 1 << 22  # characters counted or scored at a time
# The discounts that KenLM falls back to (Heafield 2011), where counts of counts do not give
# discounts between 0 and their count: tiny texts, low orders.
FALLBACK = (0.5, 1.0, 1.5)


# "abab" with a = 0, b = 1, V = 2 and plain counts:
#
#   level 0    grams 0 1 (a, b)      counts 2 2
#   level 1    grams 1 2 (ab, ba)    counts 2 1    ab: context a is in place 0, so 0 * 2 + 1


@dataclass(frozen=True)
class Level:
    """All n-grams of one length, in ascending order.

    grams (M,) int64: the place of the context among the n-grams one shorter, times V, plus the
    character. counts (M,): as the smoothing counts them; 0 for a context that only the beginning
    of a line makes.
    """

    grams: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Weights:
    """The weights of a level, as in the formula above."""

    gain: np.ndarray  # (M,) of each n-gram
    back: np.ndarray  # (contexts,); 1 where nothing follows a context

    def raised(
        self, probability: np.ndarray, contexts: np.ndarray, place: np.ndarray, known: np.ndarray
    ) -> np.ndarray:
        """Return P with a context that is one longer, where that is known. All arrays are (N,).

        probability: with the shorter context. place: of the n-grams, or UNSEEN.
        """
        raised = probability.copy()
        place = place[known]
        gain = np.where(place == UNSEEN, 0.0, self.gain[place])
        raised[known] = gain + self.back[contexts[known]] * probability[known]
        return raised


class NGram:
    """An n-gram model. order 5: four characters of context."""

    def __init__(
        self, levels: list[Level], vocabulary_size: int, boundary: int | None, smoothing: str
    ) -> None:
        """levels: single characters first.

        boundary: the newline's id in lines mode, which no context crosses.
        """
        self.vocabulary_size = vocabulary_size
        self.boundary = boundary
        self.smoothing = smoothing
        self.levels = levels
        self.order = len(levels)
        self.weights = [weigh(levels, k, vocabulary_size, smoothing) for k in range(self.order)]
        # Where rare characters are bytes, P is of what may follow alone.
        self.spelling: Spelling | None = None

    def probabilities(self, ids: np.ndarray, reach: np.ndarray | None = None) -> np.ndarray:
        """Return P of each of ids (N,) given those before it, float64.

        The first ids have shorter contexts. reach (N,): how many characters before it each may
        look at, in a text that is no single stream.
        """
        pieces = [probability for _, probability in self.in_pieces(ids, reach)]
        return np.concatenate([np.zeros(0), *pieces])

    def in_pieces(
        self, ids: np.ndarray, reach: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `probabilities` in pieces, each with the place where it begins."""
        for start, probability, _ in self.with_contexts(ids, reach):
            yield start, probability

    def with_contexts(
        self, ids: np.ndarray, reach: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield `in_pieces`, and with each piece the longest known contexts (N,).

        A context is a number: 0 is the empty one, then come the n-grams of one character, and so
        on.
        """
        width = self.order if self.spelling is None else max(self.order, LONGEST)
        for start, stop in pieces_of(ids, width, self.boundary):
            overlap = 0
            if self.boundary is None and start:
                overlap = width - 1
            piece_reach = None if reach is None else reach[start:stop]
            probability, contexts = self._read(ids[start:stop], piece_reach)
            yield start + overlap, probability[overlap:], contexts[overlap:]

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the model as a file holds it."""
        return {
            f"ngram.{n}.{name}": getattr(level, name)
            for n, level in enumerate(self.levels, 1)
            for name in ("grams", "counts")
        }

    def _find(self, k: int, place: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the places, in level k, of the n-grams of contexts at `place` and then ids.

        UNSEEN where there is none.
        """
        grams = self.levels[k].grams
        codes = place * self.vocabulary_size + ids
        nearest = np.minimum(np.searchsorted(grams, codes), len(grams) - 1)
        return np.where((place != UNSEEN) & (grams[nearest] == codes), nearest, UNSEEN)

    def _read(self, ids: np.ndarray, reach: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        ids, counted = padded(ids, self.order, self.boundary)
        probability = np.full(len(ids), 1 / self.vocabulary_size)
        mass = Mass.uniform(self.spelling, ids) if self.spelling is not None else None
        longest = np.zeros(len(ids), np.int64)
        below = 0  # the number of the first context of this length
        for k, (contexts, place) in enumerate(self.walk(ids)):
            known = contexts != UNSEEN
            if reach is not None:
                known &= reach >= k
            probability = self.weights[k].raised(probability, contexts, place, known)
            longest[known] = contexts[known] + below
            below += len(self.levels[k - 1].grams) if k else 1
            if mass is not None:
                weights = self.weights[k]
                grams = self.levels[k].grams
                mass = mass.raised(grams, weights.gain, weights.back, contexts, known)
        if mass is not None:
            probability /= mass.allowed()
        return probability[counted], longest[counted]

    def walk(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield for each level the places (N,) of each character's context and of its n-gram.

        The n-gram is the one that the character of ids (N,) ends.
        """
        contexts = np.zeros(len(ids), np.int64)
        for k in range(self.order):
            place = self._find(k, contexts, ids)
            yield contexts, place
            contexts = np.concatenate([[UNSEEN], place[:-1]])


def levels_of(tensors: dict[str, np.ndarray], vocabulary_size: int) -> list[Level]:
    """Return the levels in a file's tensors, as NGram.tensors names them.

    Raises ValueError where they are no such thing.
    """
    levels: list[Level] = []
    contexts = 1
    while f"ngram.{len(levels) + 1}.grams" in tensors:
        grams = tensors[f"ngram.{len(levels) + 1}.grams"]
        counts = tensors.get(f"ngram.{len(levels) + 1}.counts")
        if counts is None or grams.dtype != np.int64 or counts.dtype != np.uint32:
            raise ValueError("not an n-gram model")
        if grams.ndim != 1 or grams.shape != counts.shape or not len(grams):
            raise ValueError("n-grams out of order")
        if len(levels) >= MAX_ORDER:
            raise ValueError("n-grams out of order")
        is_in_range = grams[0] >= 0 and grams[-1] < contexts * vocabulary_size
        if not is_in_range or (np.diff(grams) <= 0).any():
            raise ValueError("n-grams out of order")
        levels.append(Level(grams, counts))
        contexts = len(grams)
    if not levels or len(tensors) != 2 * len(levels):
        raise ValueError("not an n-gram model")
    return levels


def are_line_ends_miscounted(levels: list[Level], vocabulary_size: int, boundary: int) -> bool:
    """Return whether the lowest counts of a Kneser-Ney model of lines have the error of old ones.

    Up to version 0.4.0 the newline had the number of lines there. Right is the number of different
    characters before it: of the pairs that end in a newline.
    """
    if len(levels) < 2:
        return False
    lowest, pairs = levels[:2]
    stored = int(lowest.counts[lowest.grams == boundary].sum())
    is_line_end = (pairs.grams % vocabulary_size == boundary) & (pairs.counts > 0)
    return stored != int(is_line_end.sum())


def weigh(levels: list[Level], k: int, base: int, smoothing: str) -> Weights:
    """Return the weights of levels[k]. base: V."""
    level = levels[k]
    contexts = len(levels[k - 1].grams) if k else 1
    counts = level.counts.astype(np.float64)
    owner = level.grams // base  # (M,) the context of each n-gram
    totals = np.bincount(owner, weights=counts, minlength=contexts)
    if smoothing == "witten-bell":
        gain = counts
        rest = np.bincount(owner, weights=counts > 0, minlength=contexts)
        whole = totals + rest
    else:
        discounts = np.array([0.0, *discounts_of(level.counts)])[np.minimum(level.counts, 3)]
        gain = counts - discounts
        rest = np.bincount(owner, weights=discounts, minlength=contexts)
        whole = totals
    follows = whole > 0  # (contexts,) something follows
    return Weights(
        gain=np.divide(gain, whole[owner], out=np.zeros(len(counts)), where=follows[owner]),
        back=np.divide(rest, whole, out=np.ones(contexts), where=follows),
    )


def discounts_of(counts: np.ndarray) -> tuple[float, float, float]:
    """Return what is taken from counts of 1, 2 and more (Chen & Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if all(0 < value <= k for k, value in enumerate(discounts, 1)):
        return discounts
    return FALLBACK


def pieces_of(ids: np.ndarray, order: int, boundary: int | None) -> Iterator[tuple[int, int]]:
    """Yield where pieces of a text start and stop.

    Pieces of lines end at lines' ends; those of a stream overlap by order - 1 characters.
    """
    start = 0
    step = max(PIECE, order)
    while start < len(ids):
        stop = min(len(ids), start + step)
        if boundary is None:
            yield max(0, start - order + 1), stop
        else:
            while stop < len(ids) and ids[stop - 1] != boundary:
                ends = np.flatnonzero(ids[stop : stop + step] == boundary)
                if len(ends):
                    stop += int(ends[0]) + 1
                else:
                    stop = min(len(ids), stop + step)
            yield start, stop
        start = stop


def padded(ids: np.ndarray, order: int, boundary: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, and which of them count (bool).

    Lines get order - 1 boundaries before them, which do not count, so that contexts start fresh.
    """
    counted = np.ones(len(ids), bool)
    if boundary is None or order == 1:
        return ids, counted
    starts = np.concatenate([[0], np.flatnonzero(ids == boundary) + 1])
    padding = np.repeat(starts[starts < len(ids)], order - 1)
    return np.insert(ids, padding, boundary), np.insert(counted, padding, False)

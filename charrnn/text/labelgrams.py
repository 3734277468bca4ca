"""Counting that knows labels: the n-grams of single labels, over those of all lines.

At every context, however short, the label's counts and those of all lines share what is left:

    P(c | label, context) = gain(context, c) + back(context) P(c | label, shorter context)
    gain = w gain_label + (1 - w) gain_all,   back = w back_label + (1 - w) back_all
    w = n / (n + share)  t / (t + d / 2)

n: characters counted with the label. After the context t were, of d kinds; 0 / 0 is 0. So a label,
and a context of it, that was hardly ever seen is predicted as all are. `share` is what predicts the
validation text best. A label's model has the n-grams of all, with other weights: what walks their
graph (contexts.py) need not know of labels.

Shapes: M n-grams of one length, P of them with the label, C contexts, K labels, V the size of the
alphabet. Labels are numbered from 1 on; 0 is none.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np

from charrnn.text.compact import LARGE, smallest_type
from charrnn.text.counting import GramCounter, Orders
from charrnn.text.ngram import Level, NGram, Weights, weigh

SHARES = (300.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0, 300_000.0)
MOST_CELLS = 1 << 22  # labels times n-grams: the most frequent labels, and two at least
FEWEST_CHARS = 8  # of a label
PARTS = ("sharers", "labels", "counts", "large")


@dataclass(frozen=True)
class Own:
    """The n-grams of one length that a label has.

    places (P,) int64: among those of all, ascending. counts (P,) uint32: as Level.counts.
    """

    places: np.ndarray
    counts: np.ndarray


class LabelGrams:
    """The n-grams of labels. It never changes: threads may share it."""

    def __init__(self, ngram: NGram, owned: dict[int, list[Own]], share: float) -> None:
        """ngram: of all lines. owned: by label, what it has of each length of them.

        Raises ValueError for more labels than are held.
        """
        if len(owned) > most_labels(ngram):
            raise ValueError("too many labels with n-grams")
        self.ngram = ngram
        self.owned = owned
        self.share = share
        self._models: dict[int, NGram] = {}

    def of(self, number: int) -> NGram:
        """Return the model of a label; that of all lines where it has no n-grams of its own."""
        if number not in self.owned:
            return self.ngram
        if number not in self._models:
            self._models[number] = self._blended(number, self._sides(number), self.share)
        return self._models[number]

    def _sides(self, number: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return for each length gain (P,) and back (C,) of the label, and t / (t + d / 2)."""
        ngram = self.ngram
        sides = []
        for k, own in enumerate(self.owned[number]):
            grams = ngram.levels[k].grams[own.places]
            alone = [*ngram.levels[:k], Level(grams, own.counts)]
            weights = weigh(alone, k, ngram.vocabulary_size, ngram.smoothing)
            owner = grams // ngram.vocabulary_size
            size = len(weights.back)
            t = np.bincount(owner, own.counts, size)
            d = np.bincount(owner, own.counts > 0, size)
            trust = np.divide(t, t + d / 2, out=np.zeros(size), where=t > 0)
            sides.append((weights.gain, weights.back, trust))
        return sides

    def _blended(
        self, number: int, sides: list[tuple[np.ndarray, np.ndarray, np.ndarray]], share: float
    ) -> NGram:
        """Return the label's model. sides: as _sides returns them."""
        n = float(self.owned[number][-1].counts.sum())
        levels = zip(self.owned[number], sides, self.ngram.levels, self.ngram.weights, strict=True)
        weights = []
        for own, (gain, back, trust), level, everyone in levels:
            w = n / (n + share) * trust  # (C,)
            owner = level.grams // self.ngram.vocabulary_size  # (M,)
            blended = (1 - w)[owner] * everyone.gain
            blended[own.places] += w[owner[own.places]] * gain
            weights.append(Weights(blended, w * back + (1 - w) * everyone.back))
        model = copy.copy(self.ngram)
        model.weights = weights
        return model

    def fitted(self, ids: np.ndarray, labels: np.ndarray) -> LabelGrams:
        """Return these n-grams with the share that predicts ids (N,) of lines best.

        labels (lines,): of each line.
        """
        texts = {
            number: ids[here]
            for number, here in chars_by_label(ids, labels, self.ngram.boundary)
            if number in self.owned
        }
        nats = dict.fromkeys(SHARES, 0.0)
        for number, text in texts.items():
            sides = self._sides(number)
            for share in SHARES:
                p = self._blended(number, sides, share).probabilities(text)
                nats[share] -= float(np.log(p).sum())
        best = min(SHARES, key=lambda share: nats[share])
        return LabelGrams(self.ngram, self.owned, best)

    def tensors(self, labels: int) -> dict[str, np.ndarray]:
        """Return the labels' n-grams as a file holds them, n-gram after n-gram. labels: K.

        bylabel.share is (1,) float64. Of each length N, bylabel.N.sharers (M,) is how many labels
        have each n-gram; .labels, which; .counts, how often, in a byte, where 255 stands for the
        next one of .large. The smallest unsigned type that holds K is used for sharers and labels.
        """
        dtype = smallest_type(labels)
        tensors = {"bylabel.share": np.array([self.share])}
        for k, level in enumerate(self.ngram.levels):
            of_level = {number: owned[k] for number, owned in sorted(self.owned.items())}
            places = np.concatenate([own.places for own in of_level.values()])
            counts = np.concatenate([own.counts for own in of_level.values()])
            numbers = np.repeat(list(of_level), [len(own.places) for own in of_level.values()])
            order = np.argsort(places, kind="stable")
            counts = counts[order]
            parts = (
                np.bincount(places, minlength=len(level.grams)).astype(dtype),
                numbers[order].astype(dtype),
                np.minimum(counts, LARGE).astype(np.uint8),
                counts[counts >= LARGE].astype(np.uint32),
            )
            for name, part in zip(PARTS, parts, strict=True):
                tensors[f"bylabel.{k + 1}.{name}"] = part
        return tensors


def most_labels(ngram: NGram) -> int:
    """Return how many labels may have n-grams of their own."""
    return max(2, MOST_CELLS // sum(len(level.grams) for level in ngram.levels))


def label_grams(tensors: dict[str, np.ndarray], ngram: NGram, labels: int) -> LabelGrams:
    """Return what LabelGrams.tensors made. Raises ValueError where they are no such thing.

    tensors: nothing else. labels: K.
    """
    share = tensors.get("bylabel.share")
    if share is None or share.shape != (1,) or share.dtype != np.float64:
        raise ValueError("no share of labels")
    if not 0 <= float(share[0]) < math.inf:
        raise ValueError("a share out of range")
    if len(tensors) != 1 + len(PARTS) * ngram.order:
        raise ValueError("labels of other n-grams")
    of_levels = []
    for k, level in enumerate(ngram.levels, 1):
        parts = [tensors.get(f"bylabel.{k}.{name}") for name in PARTS]
        of_levels.append(_unpacked(parts, len(level.grams), labels))
    distinct = np.unique(of_levels[-1][0]).tolist()
    if not distinct or len(distinct) > most_labels(ngram):
        raise ValueError("no labels, or too many")
    owned: dict[int, list[Own]] = {number: [] for number in distinct}
    for numbers, places, counts in of_levels:
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], [*distinct, labels + 1])
        for number, start, stop in zip(distinct, bounds, bounds[1:], strict=False):
            here = order[start:stop]
            owned[number].append(Own(places[here], counts[here]))
    return LabelGrams(ngram, owned, float(share[0]))


def _unpacked(
    parts: list[np.ndarray | None], grams: int, labels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the labels, places and counts (P,) of one length, n-gram after n-gram."""
    sharers, numbers, counts, large = parts
    if sharers is None or numbers is None or counts is None or large is None:
        raise ValueError("labels with a part missing")
    dtype = smallest_type(labels)
    dtypes = [part.dtype for part in (sharers, numbers, counts, large)]
    if dtypes != [dtype, dtype, np.uint8, np.uint32]:
        raise ValueError("labels of another type")
    number = int(sharers.sum(dtype=np.int64))
    is_large = counts == LARGE
    shapes = [sharers.shape, numbers.shape, counts.shape, large.shape]
    if shapes != [(grams,), (number,), (number,), (int(is_large.sum()),)] or not number:
        raise ValueError("labels that do not fit each other")
    if not 1 <= int(numbers.min()) <= int(numbers.max()) <= labels or (large < LARGE).any():
        raise ValueError("labels out of range")
    places = np.repeat(np.arange(grams), sharers)
    if (np.diff(places * (labels + 1) + numbers.astype(np.int64)) <= 0).any():
        raise ValueError("labels out of order")
    all_counts = counts.astype(np.uint32)
    all_counts[is_large] = large
    return numbers.astype(np.int64), places, all_counts


def count_labels(ngram: NGram, ids: np.ndarray, labels: np.ndarray) -> LabelGrams | None:
    """Count the lines of each label. None where no label has enough of them.

    ids (N,): lines that `ngram` was counted of. labels (lines,): of each line.
    """
    texts = dict(chars_by_label(ids, labels, ngram.boundary))
    texts.pop(0, None)
    sizes = {number: len(here) for number, here in texts.items() if len(here) >= FEWEST_CHARS}
    chosen = sorted(sizes, key=lambda number: -sizes[number])[: most_labels(ngram)]
    if not chosen:
        return None
    owned = {number: _own(ngram, ids[texts[number]]) for number in sorted(chosen)}
    return LabelGrams(ngram, owned, SHARES[1])


def _own(ngram: NGram, ids: np.ndarray) -> list[Own]:
    """Return what the lines ids (N,) of a label have of the n-grams of all."""
    base = ngram.vocabulary_size
    orders = Orders(GramCounter(base, ngram.order, ngram.boundary).count(ids), ids[: ngram.order])
    owned = []
    places = np.zeros(1, np.int64)  # of the n-grams one shorter
    own_levels = orders.levels(ngram.order, ngram.smoothing)
    for level, own in zip(ngram.levels, own_levels, strict=True):
        contexts, characters = np.divmod(own.grams, base)
        places = np.searchsorted(level.grams, places[contexts] * base + characters)
        owned.append(Own(places, own.counts))
    return owned


def chars_by_label(
    ids: np.ndarray, labels: np.ndarray, newline: int | None
) -> list[tuple[int, np.ndarray]]:
    """Return each label that lines have, ascending, with the places of its lines' characters.

    ids (N,): whole lines. labels (lines,).
    """
    ends = np.flatnonzero(ids == newline)
    of_char = np.repeat(labels, np.diff(ends, prepend=-1))
    order = np.argsort(of_char, kind="stable")
    numbers, starts = np.unique(of_char[order], return_index=True)
    return list(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))

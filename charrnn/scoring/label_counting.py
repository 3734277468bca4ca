"""Counting with labels: an n-gram model for each label, mixed with that of all lines.

    P(c | context, label) = w P_label(c | context) + (1 - w) P_all(c | context),   w = n / (n + c)

n is the number of training characters with the label, so that a label that is hardly ever seen is
predicted as all are. The order of the labels' n-grams, and c, are what predicts the validation text
best. It is the baseline of networks that know labels.
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.scoring.counting import placed_contexts
from charrnn.text.corpus import Corpus
from charrnn.text.counting import GramCounter, Orders, most_orders
from charrnn.text.ngram import NGram

FEWEST_LINES = 5  # with a label: fewer have no n-grams of their own
SHARES = (0.0, 100.0, 1000.0, 10_000.0, 100_000.0, math.inf)  # c, from the label alone to all alone


class LabelCounting:
    """The n-grams of a corpus by label. order: of those of one label."""

    def __init__(self, corpus: Corpus, ngram: NGram) -> None:
        """ngram: of all lines, its order picked by the validation text."""
        labels = corpus.labels_of("train")
        assert labels is not None
        self._ngram = ngram
        self._newline = int(corpus.vocabulary.newline or 0)
        self._models: dict[int, NGram] = {}
        self._chars: dict[int, int] = {}
        self._lines_of = np.bincount(labels, minlength=len(corpus.vocabulary.labels) + 1)
        self._share = math.inf
        self.order = ngram.order
        self._fit(corpus, labels)

    def nats(self, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the nats (lines,) of the lines of ids (N,), each with its label (lines,)."""
        ends = np.flatnonzero(ids == self._newline)
        of_char = np.repeat(labels, np.diff(ends, prepend=-1))  # (N,)
        everyone = self._probabilities(self._ngram, ids)
        mixed = everyone.copy()
        for number in np.unique(labels):
            if int(number) in self._models:
                here = np.flatnonzero(of_char == number)  # whole lines
                w = self._weight(int(number))
                own = self._probabilities(self._models[int(number)], ids[here])
                mixed[here] = w * own + (1 - w) * everyone[here]
        return _by_line(-np.log(mixed), ends)

    def nats_of_all(self, ids: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the nats (lines, labels) of the lines of ids with each of these labels."""
        ends = np.flatnonzero(ids == self._newline)
        everyone = self._probabilities(self._ngram, ids)
        alone = _by_line(-np.log(everyone), ends)
        columns = np.repeat(alone[:, None], len(numbers), 1)
        for place, number in enumerate(numbers.tolist()):
            if number in self._models:
                w = self._weight(number)
                own = self._probabilities(self._models[number], ids)
                columns[:, place] = _by_line(-np.log(w * own + (1 - w) * everyone), ends)
        return columns

    def _weight(self, number: int) -> float:
        if self._share == math.inf:
            return 0.0
        return self._chars[number] / (self._chars[number] + self._share)

    def _fit(self, corpus: Corpus, labels: np.ndarray) -> None:
        """Count each label's lines, and choose order and share by the validation text."""
        # 1. The n-grams of each label
        train = np.asarray(corpus.split("train"))
        of_char = np.repeat(labels, np.diff(np.flatnonzero(train == self._newline), prepend=-1))
        size = len(corpus.vocabulary)
        longest = min(self._ngram.order, most_orders(size))
        orders: dict[int, Orders] = {}
        for number in np.flatnonzero(self._lines_of >= FEWEST_LINES).tolist():
            if number:
                own = train[of_char == number]
                grams = GramCounter(size, longest, self._newline).count(own)
                orders[number] = Orders(grams, own[:longest])
                self._chars[number] = len(own)

        # 2. The best order and share
        val = np.asarray(corpus.split("val"))
        val_labels = corpus.labels_of("val")
        assert val_labels is not None
        best = math.inf
        chosen: tuple[int, float, dict[int, NGram]] = (longest, math.inf, {})
        for order in range(1, longest + 1):
            self._models = {
                number: one.model(order, "kneser-ney") for number, one in orders.items()
            }
            for model in self._models.values():
                model.spelling = corpus.vocabulary.spelling
            for share in SHARES:
                self._share = share
                nats = float(self.nats(val, val_labels).sum())
                if nats < best:
                    best = nats
                    chosen = (order, share, self._models)
        self.order, self._share, self._models = chosen

    def _probabilities(self, ngram: NGram, ids: np.ndarray) -> np.ndarray:
        """Return P (N,) of each character of ids."""
        found = np.ones(len(ids))
        for places, probabilities, _ in placed_contexts(ngram, ids, "lines", 0):
            found[places] = probabilities
        return found


def _by_line(nats: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the sums (lines,) of nats (N,) of lines that end at these places."""
    sums: np.ndarray = np.diff(np.append(0.0, nats.cumsum()[ends]))
    return sums

"""Counting characters: the interpolated n-gram model that a network must beat. Witten-Bell smoothing, numpy.

P_k(c | context) = (count(context c) + D P_{k-1}(c | shorter context)) / (count(context) + D), where D is the number of
distinct characters seen after the context; P_0 is uniform. Source: Witten & Bell 1991 (their method C), interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNSEEN = -1


@dataclass(frozen=True)
class _Order:
    """Counts of all n-grams of one length."""

    grams: np.ndarray  # sorted codes: (id of the context) * V + character
    counts: np.ndarray  # how often each occurs
    totals: np.ndarray  # of each context, how many characters followed
    distinct: np.ndarray  # of each context, how many different ones


class NGram:
    """Interpolated n-gram model of a text. order 5: four characters of context."""

    def __init__(self, ids: np.ndarray, vocabulary_size: int, order: int = 5, boundary: int | None = None) -> None:
        """Count ids (N,). boundary: the newline's id in lines mode, where no context reaches across it."""
        self.vocabulary_size, self.order, self.boundary = vocabulary_size, order, boundary
        self._orders: list[_Order] = []
        ids, counted = self._padded(ids)
        contexts: np.ndarray = np.zeros(len(ids), np.int64)  # the empty context, everywhere
        number_of_contexts = 1
        while len(self._orders) < order and len(ids):  # a text shorter than the order has no longer n-grams
            codes = contexts * vocabulary_size + ids
            grams, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
            # Padding is context but is never counted as something that follows.
            counts = np.bincount(inverse, weights=counted, minlength=len(grams)).astype(np.int64)
            owner = grams // vocabulary_size
            totals = np.bincount(owner, weights=counts, minlength=number_of_contexts)
            distinct = np.bincount(owner, weights=counts > 0, minlength=number_of_contexts)
            self._orders.append(_Order(grams, counts, totals, distinct))
            # The next order's contexts are this order's n-grams, seen from one position on.
            contexts, number_of_contexts = inverse[:-1], len(grams)
            ids, counted = ids[1:], counted[1:]

    def probabilities(self, ids: np.ndarray) -> np.ndarray:
        """P of each of ids (N,) given those before it, float64; the first ones have shorter contexts."""
        ids, counted = self._padded(ids)
        probability = np.full(len(ids), 1 / self.vocabulary_size)
        contexts = np.zeros(len(ids), np.int64)
        for order in self._orders:
            known = contexts != UNSEEN
            codes = contexts[known] * self.vocabulary_size + ids[known]
            place = np.minimum(np.searchsorted(order.grams, codes), len(order.grams) - 1)
            found = order.grams[place] == codes
            counts = np.where(found, order.counts[place], 0)
            totals, distinct = order.totals[contexts[known]], order.distinct[contexts[known]]
            seen = totals > 0
            shorter = probability[known]
            probability[known] = np.where(
                seen, (counts + distinct * shorter) / np.maximum(totals + distinct, 1), shorter
            )
            grams = np.full(len(ids), UNSEEN, np.int64)
            grams[known] = np.where(found, place, UNSEEN)
            contexts = np.concatenate([[UNSEEN], grams[:-1]])
        return probability[counted.astype(bool)]

    def nats(self, ids: np.ndarray) -> float:
        """-sum of ln P over ids."""
        return float(-np.log(self.probabilities(ids)).sum())

    def _padded(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ids, and which of them count. Lines get order - 1 boundaries before them, so that contexts start fresh."""
        ids = ids.astype(np.int64)
        if self.boundary is None or self.order == 1:
            return ids, np.ones(len(ids))
        starts = np.concatenate([[0], np.flatnonzero(ids == self.boundary)[:-1] + 1])
        padding = np.repeat(starts, self.order - 1)
        return np.insert(ids, padding, self.boundary), np.insert(np.ones(len(ids)), padding, 0.0)

"""An n-gram model as a graph of its contexts: where a character leads, and what is likely there.

Every n-gram that can be a context is a node. Node 0 is the empty context; the n-grams of one
character follow, then those of two, each in ascending order. A text stands at the node of its
longest known end. One node says all that the model knows of the past: where a context is known,
all its ends are.

    children   the n-grams one longer, in a row: numbers first[node] ... first[node + 1] - 1;
               n-gram number g is node g + 1, unless it is one of the longest
    suffix     the node without the first character: where to look for what no child has

Shapes: C nodes, M n-grams of all lengths, M_k those of one length, B rows, V vocabulary.
"""

from __future__ import annotations

import copy

import numpy as np

from charrnn.text.ngram import NGram


class Contexts:
    """The graph of an n-gram model."""

    def __init__(self, ngram: NGram) -> None:
        """Link the contexts. Raises ValueError where the end of an n-gram is missing."""
        # 1. The n-grams of all lengths in one row
        base = ngram.vocabulary_size
        sizes = [len(level.grams) for level in ngram.levels]
        below = np.cumsum([0, 1, *sizes])  # the first node of each length
        nodes = int(below[-2])
        self.ngram = ngram
        self.vocabulary_size = base
        self.order = ngram.order
        levels = zip(ngram.levels, below, strict=False)
        self._codes = np.concatenate([level.grams + at * base for level, at in levels])  # (M,)
        self.characters = self._codes % base  # (M,)
        self.first = np.searchsorted(self._codes, np.arange(nodes + 1) * base)  # (C + 1,)
        self.lengths = np.repeat(np.arange(self.order), [1, *sizes[:-1]])  # (C,)
        counts = np.concatenate([level.counts for level in ngram.levels])  # (M,)
        sums = np.append(0, counts.cumsum(dtype=np.int64))
        self.totals = sums[self.first[1:]] - sums[self.first[:-1]]  # (C,) counts of the children

        # 2. Links
        self.suffix = np.zeros(nodes, np.int64)  # (C,)
        self._below = below
        self._ends: list[np.ndarray] = []  # of each n-gram (M_k,): the place of its own end
        ends = np.zeros(1, np.int64)
        for k, level in enumerate(ngram.levels):
            owner, character = np.divmod(level.grams, base)  # (M_k,)
            end = np.zeros(len(owner), np.int64)
            if k:
                end = _places(ngram.levels[k - 1].grams, ends[owner] * base + character)
            ends = end
            self._ends.append(end)
            if k + 1 < self.order:
                self.suffix[below[k + 1] : below[k + 2]] = ends + below[k]
        self._weigh()
        self.start = self._start(ngram.boundary)

    def weighted(self, ngram: NGram) -> Contexts:
        """Return the graph of another model with the same n-grams, and other weights."""
        twin = copy.copy(self)
        twin.ngram = ngram
        twin._weigh()
        return twin

    def _weigh(self) -> None:
        """Take the weights of the model, and find the likeliest character of each node."""
        ngram = self.ngram
        base = self.vocabulary_size
        nodes = len(self.suffix)
        self.gain = np.concatenate([weights.gain for weights in ngram.weights])  # (M,)
        self.back = np.concatenate([weights.back for weights in ngram.weights])  # (C,)
        self.top = np.full(nodes, 1 / base)  # (C,) P of the likeliest character
        self.best = np.zeros(nodes, np.int64)  # (C,) that character
        probability = np.full(1, 1 / base)  # of each n-gram one shorter
        levels = zip(ngram.levels, ngram.weights, self._ends, strict=True)
        for k, (level, weights, end) in enumerate(levels):
            owner, character = np.divmod(level.grams, base)  # (M_k,)
            probability = weights.gain + weights.back[owner] * probability[end]
            here = slice(self._below[k], self._below[k + 1])
            self._find_tops(here, owner, character, probability)

    def _find_tops(
        self, here: slice, owner: np.ndarray, character: np.ndarray, probability: np.ndarray
    ) -> None:
        """Fill in `top` and `best` of the nodes `here`, whose children these n-grams are.

        The likeliest character is the likeliest child, or, where that is less likely, that of the
        suffix: a child is at least as likely as without the context.
        """
        top = self.top[here]
        best = self.best[here]
        if here.start:
            shorter = self.suffix[here]
            top[:] = self.back[here] * self.top[shorter]
            best[:] = self.best[shorter]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        parents = owner[starts]
        likeliest = np.maximum.reduceat(probability, starts)
        is_likelier = likeliest >= top[parents]
        parents = parents[is_likelier]
        top[parents] = likeliest[is_likelier]
        sought = np.full(len(top), np.inf)
        sought[parents] = likeliest[is_likelier]
        # Of equals the first: later writes win.
        winners = np.flatnonzero(probability == sought[owner])[::-1]
        best[owner[winners]] = character[winners]

    def _start(self, boundary: int | None) -> int:
        """Return the node before any character; in lines mode, that of newlines alone."""
        node = np.zeros(1, np.int64)
        if boundary is not None:
            for _ in range(self.order - 1):
                node = self.advance(node, np.array([boundary]))
        return int(node[0])

    def advance(self, nodes: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the nodes (B,) that ids (B,) lead to from nodes (B,)."""
        after = np.zeros(len(nodes), np.int64)
        if self.order == 1:
            return after
        # A context of full length forgets its first character before it takes one more.
        is_full = self.lengths[nodes] == self.order - 1
        nodes = np.where(is_full, self.suffix[nodes], nodes)
        row = np.arange(len(nodes))
        while len(row):
            codes = nodes * self.vocabulary_size + ids[row]
            places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
            is_known = self._codes[places] == codes
            after[row[is_known]] = places[is_known] + 1
            goes_on = ~is_known & (nodes > 0)
            nodes = self.suffix[nodes[goes_on]]
            row = row[goes_on]
        return after

    def distributions(self, nodes: np.ndarray) -> np.ndarray:
        """Return P (B, V) of every character at nodes (B,)."""
        rows = np.zeros((len(nodes), self.vocabulary_size))
        row = np.arange(len(nodes))
        scale = np.ones(len(nodes))
        while len(row):
            # All children of the rows' nodes, row after row.
            first = self.first[nodes]
            counts = self.first[nodes + 1] - first
            skipped = first - (counts.cumsum() - counts)
            children = np.arange(counts.sum()) + np.repeat(skipped, counts)
            gains = self.gain[children] * np.repeat(scale, counts)
            rows[np.repeat(row, counts), self.characters[children]] += gains
            scale = scale * self.back[nodes]
            # What is left after the empty context goes to all characters alike.
            is_empty = nodes == 0
            rows[row[is_empty]] += scale[is_empty, None] / self.vocabulary_size
            row = row[~is_empty]
            scale = scale[~is_empty]
            nodes = self.suffix[nodes[~is_empty]]
        return rows


def _places(grams: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return where codes stand among ascending grams. Raises ValueError for one that does not."""
    places: np.ndarray = np.minimum(np.searchsorted(grams, codes), len(grams) - 1)
    if not np.array_equal(grams[places], codes):
        raise ValueError("the end of an n-gram is missing")
    return places

"""A tree of the beginnings of texts: what may follow each, and what all of that is worth.

A node is a beginning that the model has read. Its children have a mass: the probability of the
character, times the worth of what follows. The worth of a node is the sum of its children's
masses; that of a child that was not read yet is a bound (1) or a guess (lookahead.py). So a node
that is added tells its ancestors more exactly what they are worth.

Letters: N nodes, K nodes that are added, V symbols, T ids of a row.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charrnn.sampling.decode import WINDOW, distribution, log_probabilities
from charrnn.sampling.guide import Guide
from charrnn.sampling.steps import State

MOST_BYTES = 128 << 20  # of a tree
MOST_DEPTH = 20  # ids of a node that is kept: few texts share longer beginnings
TAIL = 3  # ids that a character which goes on may have begun with
ROOT = 0
# Of the worth of a node's children that go on, shared out as if all of them were worth the same: a
# guess that is far too low would else hide what follows it.
DOUBT = 0.05


class Reader(Protocol):
    """A model that takes steps: steps.Steps or compiled.Compiled."""

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return logits (B, V) after ids (B,) that were written, and the state after them."""


class Worth(Protocol):
    """What children are worth before they are read."""

    def __call__(self, newest: np.ndarray, after: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Return (K, V). newest (K,): ids that led to the nodes; after (K, V): states of the
        guide; left (K,): characters that may still be written.
        """


class Rows(Protocol):
    """Texts under way, as far as a new node must know its text."""

    written: np.ndarray  # (B, T)
    position: np.ndarray  # (B,) ids so far, the newest included
    recent: np.ndarray  # (B, WINDOW)


class Prefixes:
    """The tree. Nodes past its capacity are one for each row, written over as the row goes on."""

    def __init__(
        self,
        network: Reader,
        guide: Guide,
        begin: tuple[np.ndarray, State],
        rows: int,
        worth: Worth | None = None,
        most_depth: int = MOST_DEPTH,
    ) -> None:
        """begin: logits (1, V) and state after the prompt. worth: None: the bound 1."""
        logits, state = begin
        size = logits.shape[1]
        self._network = network
        self._guide = guide
        self._worth = worth
        self._most_depth = most_depth
        of_state = sum(part.nbytes for part in state)
        of_node = size * (8 + 8 + 4 + 4 + 4 + 1) + of_state + 64
        self.capacity = max(1, MOST_BYTES // of_node)
        self.size = 0
        count = self.capacity + rows
        self.chance = np.empty((count, size))  # of each child
        self.mass = np.empty((count, size))
        self.total = np.empty(count)  # worth of the node
        self.nats = np.empty((count, size), np.float32)  # of each child, the model's own
        self.child = np.empty((count, size), np.int32)  # its number, or -1
        self.ends = np.empty((count, size), bool)  # the text ends with the child
        self._after = np.empty((count, size), np.int32)  # states of the guide
        self._chars = np.zeros(count, np.int64)
        self._spelled = np.zeros(count, np.int32)
        self._depth = np.zeros(count, np.int64)
        self._parent = np.full(count, -1, np.int64)
        self._symbol = np.zeros(count, np.int64)
        self._states = [
            np.empty((part.shape[0], count, *part.shape[2:]), part.dtype) for part in state
        ]
        none = np.zeros((1, TAIL), np.int64)
        root = np.array([ROOT])
        self.size = 1
        self._symbol[root] = size  # nothing
        if guide.start < 0:
            self.total[ROOT] = 0.0
            return
        self._set(root, logits, state, np.array([guide.start]), none, np.zeros((1, WINDOW)) - 1)

    def add(
        self, parents: np.ndarray, symbols: np.ndarray, rows: np.ndarray, texts: Rows
    ) -> np.ndarray:
        """Read symbols (K,) after nodes (K,), and return the numbers (K,) of the new nodes.

        rows (K,): those that are there; their newest ids are the symbols.
        """
        # 1. Rows that want the same child share it, where it is kept.
        depth = self._depth[parents] + 1
        keys = parents * self.chance.shape[1] + symbols
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        is_kept = np.zeros(len(rows), bool)
        is_kept[first] = (parents[first] < self.capacity) & (depth[first] <= self._most_depth)
        is_kept &= is_kept.cumsum() <= self.capacity - self.size
        numbers = np.where(is_kept, self.size + is_kept.cumsum() - 1, -1)[first[which]]
        is_own = numbers < 0
        reached = np.where(is_own, self.capacity + rows, numbers)
        chosen = np.flatnonzero(is_kept | is_own)
        is_kept = is_kept[chosen]
        numbers, parents, symbols = reached[chosen], parents[chosen], symbols[chosen]
        rows = rows[chosen]

        # 2. Read them.
        before = tuple(part[:, parents] for part in self._states)
        logits, state = self._network.write_step(symbols, before)
        at = self._after[parents, symbols]
        spelled = self._guide.plan.spelled(self._spelled[parents], symbols)
        self._spelled[numbers] = spelled
        self._chars[numbers] = self._chars[parents] + (spelled == 0)
        self._depth[numbers] = depth[chosen]
        self._parent[numbers] = parents
        self._symbol[numbers] = symbols
        back = texts.position[rows, None] + np.arange(-TAIL, 0)
        tails = texts.written[rows[:, None], np.maximum(back, 0)]
        self._set(numbers, logits, state, at, tails, texts.recent[rows], rows, texts)

        # 3. Tell the ancestors of those that are kept.
        self.child[parents[is_kept], symbols[is_kept]] = numbers[is_kept]
        self.size += int(is_kept.sum())
        self._tell(numbers[is_kept])
        return reached

    def ids(self, node: int) -> np.ndarray:
        """Return the ids (T,) of a node that is kept."""
        ids = []
        while node != ROOT:
            ids.append(int(self._symbol[node]))
            node = int(self._parent[node])
        return np.array(ids[::-1], np.int32)

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the last two ids of each node, (N,) and (N,), and its children's chances (N, V).

        V stands for no id.
        """
        newest = self._symbol[: self.size]
        parents = self._parent[: self.size]
        before = np.where(parents < 0, self.chance.shape[1], self._symbol[parents])
        return before, newest, self.chance[: self.size]

    def _set(
        self,
        numbers: np.ndarray,
        logits: np.ndarray,
        state: State,
        at: np.ndarray,
        tails: np.ndarray,
        recent: np.ndarray,
        rows: np.ndarray | None = None,
        texts: Rows | None = None,
    ) -> None:
        """Fill nodes (K,) in. at (K,): their states of the guide."""
        guide = self._guide
        for part, new in zip(self._states, state, strict=True):
            part[:, numbers] = new
        chars = self._chars[numbers]
        after, is_whole = guide.after(at, self._spelled[numbers], tails)
        ends, may = guide.outcomes(at, after, is_whole, chars)
        until = guide.plan.until
        if len(until):
            is_until = np.full(len(numbers), len(until) == 1)
            if rows is not None and texts is not None and len(until) > 1:
                is_until = _end_with(texts, rows, until[:-1])
            last = int(until[-1])
            fit = guide.ended_by(last, after, chars)
            may[:, last] = np.where(is_until & ~ends[:, last], fit, may[:, last])
            ends[:, last] |= is_until
        chance = distribution(logits, guide.plan.decoding, recent.astype(np.int32))
        worth: np.ndarray | float = 1.0
        if self._worth is not None:
            guesses = self._worth(self._symbol[numbers], after, guide.left(chars + 1))
            worth = np.where(ends, 1.0, _doubted(guesses, np.where(may & ~ends, chance, 0.0)))
        self.chance[numbers] = chance
        self.mass[numbers] = np.where(may, chance * worth, 0.0)
        self.total[numbers] = self.mass[numbers].sum(axis=1)
        self.nats[numbers] = -log_probabilities(logits)
        self.child[numbers] = -1
        self.ends[numbers] = ends
        self._after[numbers] = after

    def _tell(self, numbers: np.ndarray) -> None:
        """Let the ancestors of nodes know what these are worth."""
        while len(numbers):
            parents = self._parent[numbers]
            numbers, parents = numbers[parents >= 0], parents[parents >= 0]
            symbols = self._symbol[numbers]
            self.mass[parents, symbols] = self.chance[parents, symbols] * self.total[numbers]
            numbers = np.unique(parents)
            self.total[numbers] = self.mass[numbers].sum(axis=1)


def _doubted(guesses: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return the worths (K, V), drawn towards the mean of their row.

    chance (K, V): the weights of the mean; 0 for what ends or may not follow.
    """
    sums = chance.sum(axis=1, keepdims=True)
    means = (chance * guesses).sum(axis=1, keepdims=True) / np.where(sums > 0, sums, 1.0)
    doubted: np.ndarray = (1 - DOUBT) * guesses + DOUBT * means
    return doubted


def _end_with(texts: Rows, rows: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Return (K,) bool: do the ids of rows (K,) end with the pattern?"""
    count = len(pattern)
    position = texts.position[rows]
    places = np.maximum(position[:, None] + np.arange(-count, 0), 0)
    same = (texts.written[rows[:, None], places] == pattern).all(axis=1)
    is_end: np.ndarray = same & (position >= count)
    return is_end

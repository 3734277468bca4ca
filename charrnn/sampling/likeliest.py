"""The most probable texts of a model, exactly: a search that reads the likeliest beginning next.

No text is more probable than its beginning. So when a whole text is likelier than every beginning
that was not read yet, it is the next one. Probabilities are the model's own.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

import numpy as np

from charrnn.sampling.decode import WINDOW
from charrnn.sampling.guide import Guide
from charrnn.sampling.prefixes import ROOT, Prefixes, Reader
from charrnn.sampling.steps import Finished, State

AT_ONCE = 64  # beginnings that are read side by side
MOST_OPEN = 1_000_000  # beginnings that wait: 200 MB

Waiting = tuple[float, int, int]  # nats of a beginning, its node, and the symbol after that


class Search:
    """A search. limit: nats from which on texts may have been missed; inf: none was."""

    def __init__(
        self, network: Reader, guide: Guide, begin: tuple[np.ndarray, State], wanted: int | None
    ) -> None:
        """begin: logits (1, V) and state after the prompt. guide: of a plan that filters nothing.

        wanted: how many texts will be taken at most; None: that is not known.
        """
        self._guide = guide
        self._wanted = wanted
        self._tree = Prefixes(network, guide, begin, AT_ONCE, most_depth=guide.plan.length)
        self._waiting: list[Waiting] = []
        self._nats = {ROOT: 0.0}
        self._best: list[float] = []  # of whole texts, the most nats first, negative
        self.limit = math.inf

    @property
    def read(self) -> int:
        """How many beginnings were read."""
        return self._tree.size

    def texts(self) -> Iterator[Finished]:
        """Yield whole texts, the likeliest first, until nothing is left or `limit` is reached."""
        tree = self._tree
        if tree.total[ROOT] > 0:
            self._open(ROOT)
        number = 0
        while self._waiting:
            nats, node, symbol = self._waiting[0]
            if nats >= self.limit:
                return
            if tree.ends[node, symbol]:
                heapq.heappop(self._waiting)
                ids = np.append(tree.ids(node), symbol).astype(np.int32)
                yield Finished(number, ids, [len(ids)], [nats])
                number += 1
                continue
            self._read()

    def _read(self) -> None:
        """Read the likeliest beginnings, up to the first whole text."""
        tree = self._tree
        chosen: list[Waiting] = []
        room = min(AT_ONCE, tree.capacity - tree.size)
        while self._waiting and len(chosen) < room:
            _, node, symbol = self._waiting[0]
            if tree.ends[node, symbol]:
                break
            chosen.append(heapq.heappop(self._waiting))
        if not chosen:  # no room
            self.limit = min(self.limit, self._waiting[0][0])
            return
        parents = np.array([node for _, node, _ in chosen])
        symbols = np.array([symbol for _, _, symbol in chosen])
        texts = _Texts([np.append(tree.ids(node), symbol) for _, node, symbol in chosen])
        numbers = tree.add(parents, symbols, np.arange(len(chosen)), texts)
        for number, (nats, _, _) in zip(numbers.tolist(), chosen, strict=True):
            self._nats[number] = nats
            self._open(number)

    def _open(self, node: int) -> None:
        """Let what may follow a node wait, but for what is surely not wanted."""
        tree = self._tree
        symbols = np.flatnonzero(tree.mass[node] > 0)
        nats = self._nats[node] + tree.nats[node, symbols].astype(np.float64)
        for each, symbol in zip(nats.tolist(), symbols.tolist(), strict=True):
            if self._wanted is not None and len(self._best) == self._wanted:
                if each >= -self._best[0]:
                    continue
                if tree.ends[node, symbol]:
                    heapq.heapreplace(self._best, -each)
            elif self._wanted is not None and tree.ends[node, symbol]:
                heapq.heappush(self._best, -each)
            heapq.heappush(self._waiting, (each, node, symbol))
        if len(self._waiting) > MOST_OPEN:
            kept = heapq.nsmallest(MOST_OPEN // 2 + 1, self._waiting)
            self.limit = min(self.limit, kept.pop()[0])
            self._waiting = kept


class _Texts:
    """Beginnings as rows: see prefixes.Rows."""

    def __init__(self, texts: list[np.ndarray]) -> None:
        self.position = np.array([len(text) for text in texts])
        self.written = np.zeros((len(texts), self.position.max()), np.int32)
        for row, text in enumerate(texts):
            self.written[row, : len(text)] = text
        self.recent = np.full((len(texts), WINDOW), -1, np.int32)

"""Which batches a text is learnt in; and those of records, windows of whole items.

Shapes: B batch, T time, N ids.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from array import array
from collections.abc import Iterator

import numpy as np
import torch

from charrnn.errors import SettingsError
from charrnn.text.batches import (
    IGNORED,
    Batch,
    Batches,
    LineBatches,
    MixedStreamBatches,
    SharedStreamBatches,
    StreamBatches,
)
from charrnn.text.corpus import Corpus
from charrnn.text.labels import is_dropped


class RecordBatches:
    """Whole items in windows: long ones are learnt to their end, but not at once.

        abcdefg. and hi. and jk., B=2, T=3   ->   .ab|.hi    cde|.jk    fg|lm   ...

    An item begins in the row that is free first, at a window, and its state is carried from window
    to window. Items come in an endless order, shuffled once for each pass.
    """

    def __init__(self, items: LineBatches, window: int, seed: int) -> None:
        """items: where the items lie."""
        self._items = items
        self._seed = seed
        self._window = window
        self._windows = -(-(items.lengths + 1) // window)  # of each item
        self.rows = min(items.batch_size, len(self._windows))
        self.steps_per_epoch = -(-items.of_epoch(self._windows) // self.rows)
        self.chars_per_epoch = items.chars_per_epoch
        self.longest = min(window, items.longest)
        # Of each row: the step at which each of its items begins, and which item that is.
        self._begun = [array("q") for _ in range(self.rows)]
        self._chosen = [array("q") for _ in range(self.rows)]
        self._free = [(0, row) for row in range(self.rows)]  # a heap: when each row ends its last
        self._order = self._endless()

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; `begins` says in which rows an item begins."""
        # 1. The item of each row, and how many of its windows came before
        while self._free[0][0] <= step:
            begin, row = self._free[0]
            item = next(self._order)
            self._begun[row].append(begin)
            self._chosen[row].append(item)
            heapq.heapreplace(self._free, (begin + int(self._windows[item]), row))
        places = [bisect.bisect_right(begun, step) - 1 for begun in self._begun]
        rows = range(self.rows)
        items = np.array([self._chosen[row][places[row]] for row in rows])
        before = step - np.array([self._begun[row][places[row]] for row in rows])

        # 2. Its text in this window: as LineBatches.collate
        done = before * self._window
        left = self._items.lengths[items] + 1 - done  # targets from here on
        width = min(self._window, int(left.max()))
        starts = self._items.starts[items] + done
        text = self._items.taken(starts[:, None] + np.arange(-1, width))  # (B, T + 1)
        text[:, 1:][np.arange(width) >= left[:, None]] = IGNORED
        newline = self._items.newline
        inputs = torch.from_numpy(np.where(text[:, :-1] == IGNORED, newline, text[:, :-1]))
        begins = torch.from_numpy(before == 0)
        if self._items.first is not None:
            drops = torch.from_numpy(is_dropped(self.rows, self._seed, step))
            inputs[begins, 0] = self._items.first[torch.from_numpy(items)][begins]
            inputs[begins & drops, 0] = newline
        return Batch(inputs, torch.from_numpy(text[:, 1:]), step == 0, begins)

    def _endless(self) -> Iterator[int]:
        for epoch in itertools.count():
            yield from self._items.order(np.random.default_rng([self._seed, epoch])).tolist()


def make_batches(
    corpus: Corpus,
    batch_size: int,
    seq_length: int,
    seed: int,
    mixed: Corpus | None = None,
    share: float = 0.0,
) -> Batches:
    """Return the training batches of a corpus, in its mode.

    mixed: an older text of the same vocabulary, for a share of them.
    Raises CorpusError if the text is too short, SettingsError if a batch is too small for two
    texts.
    """
    parts = corpus.parts
    if parts.shares and mixed is not None:
        raise SettingsError("--mix is for one text, not for several with shares; leave it out")
    if corpus.mode == "lines":
        old = mixed.split("train") if mixed is not None else None
        newline = int(corpus.vocabulary.newline or 0)
        first = corpus.first_ids("train")
        if first is not None and mixed is not None:
            of_old = mixed.first_ids("train")
            assert of_old is not None  # of the same vocabulary
            first = np.concatenate([first, of_old])
        ids = corpus.split("train")
        lines: list[tuple[int, float]] = []
        for (start, size), each in zip(parts.spans("train"), parts.shares, strict=False):
            lines.append((int((ids[start : start + size] == newline).sum()), each))
        if corpus.vocabulary.has_breaks:
            if old is not None:
                raise SettingsError("--mix is for lines and streams, not for records; leave it out")
            items = LineBatches(ids, newline, batch_size, seed, first=first, parts=lines)
            return RecordBatches(items, seq_length, seed)
        return LineBatches(
            ids, newline, batch_size, seed, old=old, share=share, first=first, parts=lines
        )
    if mixed is not None:
        return MixedStreamBatches(corpus, mixed, share, batch_size, seq_length)
    if parts.shares:
        return SharedStreamBatches(corpus, batch_size, seq_length)
    return StreamBatches(corpus, batch_size, seq_length)

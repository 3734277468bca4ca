"""Batches: lanes for truncated BPTT (stream mode), length buckets (lines). batching.py chooses.

What step s trains on follows from (corpus, settings, s) alone: there is no iterator whose place
could be lost. Shapes: B batch, T time, N ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CorpusError, SettingsError
from charrnn.terminal import many
from charrnn.text.corpus import Corpus, line_bounds
from charrnn.text.labels import is_dropped
from charrnn.text.shares import SharedLanes, chosen, quotas

IGNORED = -100  # a target that counts for nothing: padding after a line's end
POOL_BATCHES = 32  # lines are sorted by length within pools of so many batches
BLOCK_CHARS = 4096  # that a lane reads of one of several texts before it turns to another
RELEASE_STEPS = 1024  # steps after which the pages of a mapped file are given back


class Batch(NamedTuple):
    """What one step trains on."""

    inputs: Tensor  # (B, T) int64
    targets: Tensor  # (B, T) int64
    fresh: bool  # start from the zero state, not from the batch before
    begins: Tensor | None = None  # (B,) bool: the rows that start from it, where not all do


class Batches(Protocol):
    """The batches of a training, by step."""

    steps_per_epoch: int
    chars_per_epoch: int
    longest: int  # characters of the longest batch

    def batch(self, step: int) -> Batch: ...


class StreamBatches:
    """Lanes, not shuffled windows: row b of batch k+1 continues row b of batch k.

        abcdefghijkl, B=2, T=3   ->   abc|ghi    def|jkl

    The targets are the same text one character later. An epoch's last batch may be shorter.
    """

    def __init__(
        self, corpus: Corpus, batch_size: int, seq_length: int, split: str = "train"
    ) -> None:
        """Raises CorpusError if a lane would be shorter than seq_length."""
        chars = len(corpus.split(split))
        self.lane = (chars - 1) // batch_size
        if self.lane < seq_length:
            raise CorpusError(_too_short(split, chars, batch_size, seq_length))
        self._corpus = corpus
        self._split = split
        self.seq_length = seq_length
        self.batch_size = batch_size
        self.longest = seq_length
        self.steps_per_epoch = -(-self.lane // seq_length)
        self.chars_per_epoch = self.lane * batch_size

    def batch(self, step: int) -> Batch:
        """Return the batch of a step: row b is a piece of lane b."""
        k = step % self.steps_per_epoch
        start = k * self.seq_length
        stop = min(start + self.seq_length, self.lane)
        ids = self._corpus.split(self._split)
        size = ids.itemsize
        # (B, T + 1): a view of the file, one row for each lane.
        shape = (self.batch_size, stop - start + 1)
        lanes = np.ndarray(shape, ids.dtype, ids, start * size, (self.lane * size, size))
        text = torch.from_numpy(lanes.astype(np.int64))
        if step % RELEASE_STEPS == RELEASE_STEPS - 1:
            self._corpus.release()  # a mapped file's pages count as ours until given back
        return Batch(text[:, :-1], text[:, 1:], fresh=k == 0)


def _too_short(split: str, chars: int, batch_size: int, seq_length: int) -> str:
    """Say what a split of so many characters is too short for, and what would fit."""
    if chars > seq_length:
        return (
            f"the {split} text has {many(chars, 'character')}; --batch-size {batch_size} lanes of "
            f"--seq-length {seq_length} need {batch_size * seq_length + 1:,}: the largest batch "
            f"at this length is {max(1, (chars - 1) // seq_length)}"
        )
    return (
        f"the {split} text has {many(chars, 'character')}; --seq-length {seq_length} needs "
        f"{seq_length + 1:,}: the longest here is {max(1, chars - 1)}"
    )


class MixedStreamBatches:
    """Lanes of a text and, below them, some of an older one, which are read round and round.

        abcdefghijklm, OPQRS, B=3, T=3, a third old   ->   abc|ghi|OPQ    def|jkl|RSO

    An epoch is a pass over the newer text.
    """

    def __init__(
        self, corpus: Corpus, old: Corpus, share: float, batch_size: int, seq_length: int
    ) -> None:
        """share: of the lanes that read old, rounded to whole lanes, at least one of each.

        Raises SettingsError if there are no two lanes, CorpusError if the text is too short.
        """
        if batch_size < 2:
            raise SettingsError(
                f"--batch-size {batch_size}: --mix needs a lane for each text, so at least 2"
            )
        self._lanes = min(max(1, round(share * batch_size)), batch_size - 1)
        self._new = StreamBatches(corpus, batch_size - self._lanes, seq_length)
        self._old = old
        self.longest = self._new.longest
        self.steps_per_epoch = self._new.steps_per_epoch
        self.chars_per_epoch = self._new.lane * batch_size

    def batch(self, step: int) -> Batch:
        """Return the batch of a step: rows of the newer text, then rows of the older one."""
        new = self._new.batch(step)
        epoch, k = divmod(step, self.steps_per_epoch)
        # Characters that each lane has read before this step.
        position = epoch * self._new.lane + k * self._new.seq_length
        ids = self._old.split("train")
        starts = position + np.arange(self._lanes) * (len(ids) // self._lanes)
        places = starts[:, None] + np.arange(new.inputs.shape[1] + 1)
        old = torch.from_numpy(ids.take(places, mode="wrap").astype(np.int64))
        if step % RELEASE_STEPS == RELEASE_STEPS - 1:
            self._old.release()
        return Batch(
            torch.cat([new.inputs, old[:, :-1]]), torch.cat([new.targets, old[:, 1:]]), new.fresh
        )


class SharedStreamBatches:
    """Lanes of several texts: each text gets its share of the lanes, whatever its length.

        abcdef, UVWXYZ, B=3, T=2, shares 2/3 and 1/3   ->   ab|de|UV    cd|fa|WX    ef|bc|YZ

    Each text is read round and round. An epoch has as many characters as all texts.
    """

    def __init__(self, corpus: Corpus, batch_size: int, seq_length: int) -> None:
        self._corpus = corpus
        chars = len(corpus.split("train"))
        spans = corpus.parts.spans("train")
        block = min(BLOCK_CHARS, chars // (4 * batch_size))
        self._lanes = SharedLanes(spans, corpus.parts.shares, batch_size, seq_length, block)
        self.longest = seq_length
        self.steps_per_epoch = -(-chars // (batch_size * seq_length))
        self.chars_per_epoch = self.steps_per_epoch * batch_size * seq_length

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; `begins` says which lanes turn to another text."""
        places, turned = self._lanes.places(step)
        text = torch.from_numpy(self._corpus.split("train")[places].astype(np.int64))
        if step % RELEASE_STEPS == RELEASE_STEPS - 1:
            self._corpus.release()
        begins = None if turned is None else torch.from_numpy(turned)
        return Batch(text[:, :-1], text[:, 1:], step == 0, begins)


class LineBatches:
    """Whole lines, each from the zero state: newline + line -> line + newline, padded.

    A batch is as wide as its longest line. Each epoch lines are shuffled, sorted by length within
    pools and cut into batches, and the batches are shuffled: little padding, and no order to learn.
    """

    def __init__(
        self,
        ids: np.ndarray,
        newline: int,
        batch_size: int,
        seed: int = 0,
        *,
        old: np.ndarray | None = None,
        share: float = 0.0,
        first: np.ndarray | None = None,
        parts: Sequence[tuple[int, float]] = (),
    ) -> None:
        """ids (N,): lines that each end in newline; blank ones are left out.

        old (M,): lines of an older text. Each epoch adds a fresh choice of them, `share` of all its
        lines. first: the id that stands before each line of ids, then of old; None: the newline.
        parts: of several texts with shares, one after the other: the lines and the share of each.
        Each epoch is a fresh choice of their lines, as many as they have together.
        """
        self._ids = ids if old is None else np.concatenate([ids, old])
        self.newline = newline
        self._seed = seed
        self.batch_size = batch_size
        starts, lengths = line_bounds(self._ids, newline)
        self.starts = starts[lengths > 0]
        self.lengths = lengths[lengths > 0]
        # (lines,) what stands before each, where that is not the newline
        self.first = None if first is None else torch.from_numpy(first[lengths > 0])
        self.longest = int(self.lengths.max(initial=0)) + 1
        self._own = int((self.starts < len(ids)).sum())  # lines of the newer text, which are first
        sizes = [lines for lines, _ in parts]
        self._edges = np.cumsum([0, *sizes]).tolist()
        self._quotas = quotas(self._own, [share for _, share in parts]) if parts else []
        self._added = 0  # older lines in an epoch
        if old is not None:
            self._added = max(1, round(self._own * share / (1 - share)))
        self.steps_per_epoch = -(-(self._own + self._added) // batch_size)
        chars = self.lengths + 1
        self.chars_per_epoch = self.of_epoch(chars[: self._own])
        if self._added:  # on average
            self.chars_per_epoch += round(self._added * float(chars[self._own :].mean()))
        self._plan: tuple[int, list[np.ndarray]] = (-1, [])  # an epoch, and its batches

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        epoch, k = divmod(step, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._shuffled(epoch))
        batch = self.collate(self._plan[1][k])
        if self.first is not None:
            drops = is_dropped(len(batch.inputs), self._seed, step)
            batch.inputs[torch.from_numpy(drops), 0] = self.newline
        return batch

    def in_order(self, most: int, *, by_length: bool = True) -> Iterator[np.ndarray]:
        """Yield every line once, at most `most` characters in a batch: for evaluation.

        by_length: shortest lines first; otherwise as the text has them.
        """
        order = np.arange(len(self.lengths))
        if by_length:
            order = np.argsort(self.lengths, kind="stable")
        while len(order):
            longest = np.maximum.accumulate(self.lengths[order[: self.batch_size]]) + 1
            widths = longest * np.arange(1, len(longest) + 1)
            count = max(1, int(np.searchsorted(widths, most, side="right")))
            yield order[:count]
            order = order[count:]

    def collate(self, lines: np.ndarray) -> Batch:
        """Return the batch (B, T) of the B lines with these numbers."""
        lengths = self.lengths[lines]
        width = int(lengths.max()) + 1  # T
        # The newline of the line before precedes a line; the last one, at place -1, the first line.
        place = self.starts[lines][:, None] + np.arange(-1, width)
        text = self.taken(place)  # (B, T + 1)
        text[:, 1:][np.arange(width) > lengths[:, None]] = IGNORED
        inputs = torch.from_numpy(np.where(text[:, :-1] == IGNORED, self.newline, text[:, :-1]))
        if self.first is not None:
            inputs[:, 0] = self.first[lines]
        return Batch(inputs, torch.from_numpy(text[:, 1:]), fresh=True)

    def taken(self, places: np.ndarray) -> np.ndarray:
        """Return the ids at places of any shape, int64; before the first stands the last."""
        ids: np.ndarray = self._ids.take(places, mode="wrap").astype(np.int64)
        return ids

    def of_epoch(self, values: np.ndarray) -> int:
        """Return the sum of a value (N,) of each line over an epoch; of a choice, on average."""
        if not self._quotas:
            return int(values.sum())
        spans = zip(self._edges, self._edges[1:], self._quotas, strict=False)
        return round(sum(quota * float(values[start:stop].mean()) for start, stop, quota in spans))

    def order(self, random: np.random.Generator) -> np.ndarray:
        """Return the numbers of an epoch's lines, shuffled; of several texts, by their shares."""
        order = np.arange(self._own)
        if self._quotas:
            spans = zip(self._edges, self._edges[1:], self._quotas, strict=False)
            choices = [start + chosen(stop - start, quota, random) for start, stop, quota in spans]
            order = np.concatenate(choices)
        return random.permutation(order)

    def _shuffled(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of an epoch, each as the numbers of its lines."""
        random = np.random.default_rng([self._seed, epoch])
        order = self.order(random)
        if self._added:
            older = self._own + chosen(len(self.starts) - self._own, self._added, random)
            order = random.permutation(np.concatenate([order, older]))
        batches: list[np.ndarray] = []
        pool_size = self.batch_size * POOL_BATCHES
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            batches += self._cut(pool[np.argsort(self.lengths[pool], kind="stable")])
        return [batches[i] for i in random.permutation(len(batches))]

    def _cut(self, lines: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(lines), self.batch_size)
        return [lines[start : start + self.batch_size] for start in starts]

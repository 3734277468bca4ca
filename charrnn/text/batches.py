"""Batches: lanes for truncated BPTT (stream mode), length buckets (lines mode). A function of the step alone.

What step s trains on follows from (corpus, settings, s): there is no iterator whose place could be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CorpusError, SettingsError
from charrnn.text.corpus import Corpus, line_bounds

IGNORED = -100  # a target that counts for nothing: padding after a line's end
POOL_BATCHES = 32  # lines are sorted by length within pools of so many batches


class Batch(NamedTuple):
    """inputs, targets (B, T) int64; fresh: start from the zero state, not from the batch before."""

    inputs: Tensor
    targets: Tensor
    fresh: bool


class Batches(Protocol):
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
        ids = corpus.split(split)
        self.lane = (len(ids) - 1) // batch_size
        if self.lane < seq_length:
            fits = max(1, (len(ids) - 1) // seq_length)
            raise CorpusError(
                f"the {split} text has {len(ids):,} characters; --batch-size {batch_size} lanes of --seq-length "
                f"{seq_length} need {batch_size * seq_length + 1:,}: the largest batch at this length is {fits}"
                if len(ids) > seq_length
                else f"the {split} text has {len(ids):,} characters; --seq-length {seq_length} needs {seq_length + 1:,}: "
                f"the longest here is {max(1, len(ids) - 1)}"
            )
        self._corpus, self._split, self.seq_length, self.batch_size = (
            corpus,
            split,
            seq_length,
            batch_size,
        )
        self.longest = seq_length
        self.steps_per_epoch = -(-self.lane // seq_length)
        self.chars_per_epoch = self.lane * batch_size

    def batch(self, step: int) -> Batch:
        k = step % self.steps_per_epoch
        start, stop = k * self.seq_length, min((k + 1) * self.seq_length, self.lane)
        ids = self._corpus.split(self._split)
        size, width = ids.itemsize, stop - start + 1
        lanes = np.ndarray(
            (self.batch_size, width), ids.dtype, ids, start * size, (self.lane * size, size)
        )
        text = torch.from_numpy(lanes.astype(np.int64))
        if step % 1024 == 1023:
            self._corpus.release()  # a mapped file's pages count as ours until given back
        return Batch(text[:, :-1], text[:, 1:], fresh=k == 0)


class MixedStreamBatches:
    """Lanes of a text and, below them, some of an older one, which are read round and round.

        abcdefghijklm, OPQRS, B=3, T=3, a third old   ->   abc|ghi|OPQ    def|jkl|RSO

    An epoch is a pass over the newer text.
    """

    def __init__(
        self, corpus: Corpus, old: Corpus, share: float, batch_size: int, seq_length: int
    ) -> None:
        """share: of the lanes that read old, rounded to whole lanes, at least one of each. Raises SettingsError."""
        if batch_size < 2:
            raise SettingsError(
                f"--batch-size {batch_size}: --mix needs a lane for each text, so at least 2"
            )
        self._lanes = min(max(1, round(share * batch_size)), batch_size - 1)
        self._new, self._old = StreamBatches(corpus, batch_size - self._lanes, seq_length), old
        self.longest, self.steps_per_epoch = self._new.longest, self._new.steps_per_epoch
        self.chars_per_epoch = self._new.lane * batch_size

    def batch(self, step: int) -> Batch:
        new = self._new.batch(step)
        epoch, k = divmod(step, self.steps_per_epoch)
        read = (
            epoch * self._new.lane + k * self._new.seq_length
        )  # characters of each lane before this step
        ids = self._old.split("train")
        starts = read + np.arange(self._lanes) * (len(ids) // self._lanes)
        places = starts[:, None] + np.arange(new.inputs.shape[1] + 1)
        text = torch.from_numpy(ids.take(places, mode="wrap").astype(np.int64))
        if step % 1024 == 1023:
            self._old.release()
        return Batch(
            torch.cat([new.inputs, text[:, :-1]]), torch.cat([new.targets, text[:, 1:]]), new.fresh
        )


class LineBatches:
    """Whole lines, each from the zero state: newline + line -> line + newline, padded to the batch's longest.

    Lines are shuffled anew each epoch, sorted by length within pools and cut into batches, and the batches are
    shuffled: little padding, and no order to be learnt.
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
    ) -> None:
        """ids (N,): lines that each end in newline; blank ones are left out.

        old (M,): lines of an older text. Each epoch adds a fresh choice of them, `share` of all its lines.
        """
        self._ids, self._newline = ids if old is None else np.concatenate([ids, old]), newline
        starts, lengths = line_bounds(self._ids, newline)
        self.starts, self.lengths = starts[lengths > 0], lengths[lengths > 0]
        self.longest = int(self.lengths.max(initial=0)) + 1
        self.batch_size, self._seed = batch_size, seed
        self._own = int((starts[lengths > 0] < len(ids)).sum())
        self._added = max(1, round(self._own * share / (1 - share))) if old is not None else 0
        self.steps_per_epoch = -(-(self._own + self._added) // batch_size)
        chars = self.lengths + 1
        self.chars_per_epoch = int(chars[: self._own].sum())
        if self._added:  # on average
            self.chars_per_epoch += round(self._added * float(chars[self._own :].mean()))
        self._plan: tuple[int, list[np.ndarray]] = (-1, [])

    def batch(self, step: int) -> Batch:
        epoch, k = divmod(step, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._shuffled(epoch))
        return self.collate(self._plan[1][k])

    def in_order(self, most: int, *, by_length: bool = True) -> Iterator[np.ndarray]:
        """Every line once, at most `most` characters in a batch: for evaluation. Not by_length: as the text has them."""
        order = (
            np.argsort(self.lengths, kind="stable") if by_length else np.arange(len(self.lengths))
        )
        while len(order):
            longest = np.maximum.accumulate(self.lengths[order[: self.batch_size]]) + 1
            widths = longest * np.arange(1, len(longest) + 1)
            count = max(1, int(np.searchsorted(widths, most, side="right")))
            yield order[:count]
            order = order[count:]

    def collate(self, lines: np.ndarray) -> Batch:
        """Batch of the lines with these numbers."""
        lengths = self.lengths[lines]
        width = int(lengths.max()) + 1
        # What precedes a line is the newline of the one before; before the first stands the last, at place -1.
        place = self.starts[lines][:, None] + np.arange(-1, width)
        text = self._ids.take(place, mode="wrap").astype(np.int64)
        text[:, 1:][np.arange(width) > lengths[:, None]] = IGNORED
        inputs = np.where(text[:, :-1] == IGNORED, self._newline, text[:, :-1])
        return Batch(torch.from_numpy(inputs), torch.from_numpy(text[:, 1:]), fresh=True)

    def _shuffled(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(self._own)
        if self._added:
            order = random.permutation(np.concatenate([order, self._choice(random)]))
        pool = self.batch_size * POOL_BATCHES
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        batches = [
            batch
            for pool in pools
            for batch in self._cut(pool[np.argsort(self.lengths[pool], kind="stable")])
        ]
        return [batches[i] for i in random.permutation(len(batches))]

    def _choice(self, random: np.random.Generator) -> np.ndarray:
        """As many old lines as an epoch adds: none twice, or all as often, give or take one."""
        count = len(self.starts) - self._own
        often, rest = divmod(self._added, count)
        return self._own + np.concatenate(
            [np.tile(np.arange(count), often), random.permutation(count)[:rest]]
        )

    def _cut(self, lines: np.ndarray) -> list[np.ndarray]:
        return [
            lines[start : start + self.batch_size]
            for start in range(0, len(lines), self.batch_size)
        ]


def make_batches(
    corpus: Corpus,
    batch_size: int,
    seq_length: int,
    seed: int,
    mixed: Corpus | None = None,
    share: float = 0.0,
) -> Batches:
    """The training batches of a corpus, in its mode; with mixed, an older text of the same vocabulary, for a share of them.

    Raises CorpusError if the text is too short for them, SettingsError if a batch is too small for two texts.
    """
    if corpus.mode == "lines":
        old = mixed.split("train") if mixed is not None else None
        newline = int(corpus.vocabulary.newline or 0)
        return LineBatches(corpus.split("train"), newline, batch_size, seed, old=old, share=share)
    if mixed is not None:
        return MixedStreamBatches(corpus, mixed, share, batch_size, seq_length)
    return StreamBatches(corpus, batch_size, seq_length)

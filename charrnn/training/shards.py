"""A training step in shards: parts of a batch, whose gradients are added in a fixed order.

    batch (B, T), S = 4     lanes 0..B/4 | ..B/2 | ..3B/4 | ..B
    gradients               (g0 + g1) + (g2 + g3)

What a shard computes follows from (weights, its lanes, step, shard). So the weights are the same
whether one process computes all shards, one after the other, or several share them.

Shapes: B rows of a batch, T characters, L layers, H hidden units, S shards, N gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.model.recurrent import State
from charrnn.parallel.tree import Part, added, share_of, tiles
from charrnn.text.batches import IGNORED, Batch
from charrnn.training.step import Stepped, TrainStep

if TYPE_CHECKING:
    from charrnn.parallel.group import Group

WITH_TORCHRUN = 4  # shards, where nobody chose


class ShardedStep:
    """Makes one update from the shards of a batch, alone or with the others of a group."""

    def __init__(
        self, one_by_one: TrainStep, shards: int, mode: str, group: Group | None = None
    ) -> None:
        """one_by_one: computes a shard and updates. mode: of the corpus, "stream" or "lines"."""
        self._step = one_by_one
        self._shards = shards
        self._carries_state = mode == "stream"
        self._group = group
        self.check: Callable[[], None] | None = None  # of the texts, before each step
        rank, world = (group.rank, group.world) if group is not None else (0, 1)
        self._own = share_of(rank, world, shards)  # the shards of this process
        self._most_own = -(-shards // world)

    def __call__(self, batch: Batch, state: State, lr: float, step: int) -> Stepped:
        """Make the update of one batch; of a group, all processes do.

        state (L, B, H) each; of a group, only this process's lanes are read and written.
        Of a group, all raise in the same step where one of them cannot compute its shards.
        """
        # 1. The shards of this process: the sums of the tree's largest parts
        chars = int((batch.targets != IGNORED).sum())
        if batch.begins is not None:  # records in windows
            self._carries_state = True
        if batch.fresh:
            rows = len(batch.inputs) if self._carries_state else 1
            state = self._step.model.zero_state(rows)
        after = tuple(part.clone() for part in state)
        nats: list[float] = []
        failure: Exception | None = None
        sums: dict[Part, Tensor] = {}

        def gradient(part: Part) -> Tensor | None:
            shard, last = part
            if last - shard > 1:
                return None
            self._step.optimizer.zero_grad()
            nats.append(self._add_gradients(batch, state, after, chars, step, shard))
            return self._step.optimizer.take_gradients()

        try:
            if self.check is not None:
                self.check()
            for tile in tiles(*self._own, (0, self._shards)):
                sums[tile] = added(tile, gradient)
        except Exception as error:
            if self._group is None:
                raise
            failure = error

        # 2. What all should know, and the sum of all gradients
        if self._group is not None:
            nats = self._news(self._group, nats, failure)
            total = self._group.added(sums, self._shards)
        else:
            total = sums[0, self._shards]
        self._step.optimizer.put_gradients(total)
        return self._step.update(math.fsum(nats), after, chars, lr)

    def _add_gradients(
        self, batch: Batch, state: State, after: State, chars: int, step: int, shard: int
    ) -> float:
        """Compute the gradients of a shard, and write its lanes of the state after it.

        Returns its share of the mean nats per character. A shard without lines has none.
        """
        first, last = self._lanes(shard, len(batch.inputs))
        targets = batch.targets[first:last]
        if not len(targets):
            return 0.0
        # Lines are padded to the longest of the whole batch.
        longest = int((targets != IGNORED).any(0).nonzero().max()) + 1
        part = Batch(batch.inputs[first:last, :longest], targets[:, :longest], batch.fresh)
        before = tuple(tensor[:, first:last].contiguous() for tensor in state)
        nats_per_char, last_state = self._step.add_gradients(part, before, chars, step, shard)
        if self._carries_state:
            for tensor, lanes in zip(after, last_state, strict=True):
                tensor[:, first:last] = lanes
        return nats_per_char

    def _news(self, group: Group, nats: list[float], failure: Exception | None) -> list[float]:
        """Tell the others of this step, and return the nats of all shards, in their order.

        Where one failed, all raise: its own fault, or ToldError of another's.
        """
        # 1. To all: failed or not, a signal or not, nats
        unused = [0.0] * (self._most_own - len(nats))
        has_stopped = bool(group.stop_reason)
        told = group.all_numbers([failure is not None, has_stopped, *nats, *unused])
        if any(news[0] for news in told):
            group.raise_fault(failure)

        # 2. Which signal: said only where there is one
        if any(news[1] for news in told):
            reasons = group.hear_all(group.stop_reason)
            group.stop(next(reason for reason in reasons if reason))

        # 3. Nats by shard
        all_nats = []
        for rank, news in enumerate(told):
            first, last = share_of(rank, group.world, self._shards)
            all_nats += news[2 : 2 + last - first]
        return all_nats

    def _lanes(self, shard: int, rows: int) -> Part:
        """Return the bounds of a shard's rows, of so many."""
        return share_of(shard, self._shards, rows)

    def gathered(self, state: State) -> State:
        """Return the state (L, B, H) with the lanes of all processes. All take part."""
        if self._group is None or not self._carries_state:
            return state
        whole = tuple(part.clone() for part in state)
        for rank in range(self._group.world):
            shards = share_of(rank, self._group.world, self._shards)
            first, _ = self._lanes(shards[0], whole[0].shape[1])
            _, last = self._lanes(shards[1] - 1, whole[0].shape[1])
            for part in whole:
                lanes = part[:, first:last].contiguous()
                self._group.share(lanes, rank)
                part[:, first:last] = lanes
        return whole


def with_shards(settings: Settings, origins: Mapping[str, str], group: Group | None) -> Settings:
    """Return the settings of a new training with its number of shards, which then stays.

    A batch that nobody chose is cut to whole shards. Raises SettingsError where one that somebody
    chose does not divide.
    """
    training = settings.training
    processes = 1 if group is None else group.world
    usual = 1 if group is None else max(WITH_TORCHRUN, processes)
    shards = training.shards or usual
    batch_size = training.batch_size or shards
    if "batch_size" not in origins:
        batch_size = max(1, batch_size // shards) * shards
    check_shards(shards, batch_size, processes)
    return settings.with_values("training", shards=shards, batch_size=batch_size)


def check_shards(shards: int, batch_size: int, processes: int) -> None:
    """Raise SettingsError unless the lanes divide into shards, and each process has one."""
    if batch_size % shards:
        lower = batch_size // shards * shards
        fitting = f"{lower} or {lower + shards}" if lower else str(shards)
        raise SettingsError(
            f"--batch-size {batch_size} does not divide into {shards} shards; "
            f"choose {fitting}, or another --shards"
        )
    if processes > shards:
        raise SettingsError(
            f"{processes} processes and --shards {shards}: each process needs a shard; "
            "start fewer, or a new run with more shards"
        )

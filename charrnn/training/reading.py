"""Batches that the processes of a group read together, each some rows, without learning from them.

    batch (B, T), W = 2     rows 0..B/2 | ..B

Nothing is added here: process 0 gets the numbers of all rows as if it had read them alone.

Shapes: B rows of a batch, T characters, W processes, K numbers of a character, n characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from charrnn.errors import SettingsError
from charrnn.model.charmodel import CharModel
from charrnn.parallel.group import Group
from charrnn.parallel.tree import share_of
from charrnn.scoring.readers import Placed, Read, Reader, read_batches
from charrnn.text.batches import IGNORED, Batch


def read_together(
    group: Group, model: CharModel, asked: Callable[[], tuple[Reader, Placed]]
) -> Iterator[Read]:
    """Return the batches with the numbers of all rows. All processes take part.

    asked: returns who reads, and what.
    All raise where one of them cannot read its rows: its own fault, or ToldError of another's.
    """
    # 1. The rows of this process
    batches: list[tuple[Batch, np.ndarray]] = []
    own = [np.empty(0)]
    width = 0
    failure: Exception | None = None
    try:
        reader, placed = asked()
        width = reader.width
        batches = list(placed)
        rows = (_cut(batch, places, group.rank, group.world) for batch, places in batches)
        own += [read.numbers.reshape(-1) for read in read_batches(model, reader, rows)]
    except Exception as error:
        failure = error
    mine = np.concatenate(own)

    # 2. From all to all
    told = group.all_numbers([failure is not None, len(mine)])
    if any(news[0] for news in told):
        group.raise_fault(failure)
    sent = torch.zeros(int(max(news[1] for news in told)), dtype=torch.float64)
    sent[: len(mine)] = torch.from_numpy(mine)
    return _whole(batches, group.gathered(sent).numpy(), width)


def check_alike(first: dict[str, Any], here: dict[str, Any]) -> None:
    """Raise SettingsError where this process would compute other bits than process 0.

    first, here: their surroundings (runtime.surroundings).
    """
    different = [
        f"{key} {here[key]}, and not {value}"
        for key, value in first.items()
        if key != "threads" and here.get(key) != value
    ]
    if different:
        raise SettingsError(f"{'; '.join(different)} as in process 0: all must be alike")


def _cut(batch: Batch, places: np.ndarray, rank: int, world: int) -> tuple[Batch, np.ndarray]:
    """Return the rows that are a process's to read, which may be none, and their places."""
    first, last = share_of(rank, world, len(batch.inputs))
    begins = None if batch.begins is None else batch.begins[first:last]
    rows = Batch(batch.inputs[first:last], batch.targets[first:last], batch.fresh, begins)
    return rows, places[first:last]


def _whole(
    batches: list[tuple[Batch, np.ndarray]], numbers: np.ndarray, width: int
) -> Iterator[Read]:
    """Yield whole batches. numbers (W, ...): of each process, of its rows of all batches."""
    world = len(numbers)
    stops = [0] * world
    for batch, places in batches:
        parts = []
        for rank in range(world):
            rows, _ = _cut(batch, places, rank, world)
            start = stops[rank]
            stops[rank] += width * int((rows.targets != IGNORED).sum())
            parts.append(numbers[rank, start : stops[rank]].reshape(width, -1))
        yield Read(batch, places, np.concatenate(parts, 1))

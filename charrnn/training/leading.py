"""Process 0 of a group: it shows, decides and writes, and tells the others what to compute.

The others know nothing but their shards (following.py). Orders are three numbers, what and two
more, some followed by words or tensors:

    BEGIN   words: the training           GATHER              the lanes of the carried state
    LOAD    weights, moments, state       STEP  number, lr    one update
    READ    words: what; weights          END     words: the exit code
    HELP    words: a network; weights, batches (helping.py)

So signals, divergence, patience, budgets and faults end a training for all in the same step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State
from charrnn.parallel.group import Group
from charrnn.scoring.readers import GateReader, Placed, Read, Reader, is_separable
from charrnn.storage import disk
from charrnn.text.batches import Batch
from charrnn.training.optim import Optimizer
from charrnn.training.reading import read_together
from charrnn.training.shards import ShardedStep
from charrnn.training.step import Stepped

PIECE_BYTES = 16 << 20  # of a file, in memory at once
BEGIN, LOAD, STEP, GATHER, READ, HELP, END = range(7)


class Leader:
    """Makes updates together with the others, whom it keeps at the same weights.

    is_stale: the weights were changed by something else than a step; the others do not know yet.
    """

    def __init__(
        self, group: Group, step: ShardedStep, model: CharModel, optimizer: Optimizer
    ) -> None:
        self.group = group
        self.is_stale = True
        self._step = step
        self._model = model
        self._optimizer = optimizer
        self._has_lanes = False  # of the carried state, some are with the others alone

    def begin(self, training: dict[str, Any], texts: list[Path]) -> None:
        """Let the others make ready for a training. Raises ToldError where one cannot.

        texts: the files of its texts, to give them where the others do not see them.
        """
        order(self.group, BEGIN)
        self.group.tell(training | {"shares_text": bool(texts)})
        if texts:
            send_texts(self.group, texts)
        self.group.raise_fault(None)

    def __call__(self, batch: Batch, state: State, lr: float, step: int) -> Stepped:
        """Make the update of one batch: a training.step.Step."""
        if self.is_stale:
            order(self.group, LOAD)
            share_weights(self.group, self._model, self._optimizer)
            self.group.tell([list(part.shape) for part in state])
            for part in state:
                self.group.share(part.contiguous())
            self.is_stale = False
        order(self.group, STEP, step, lr)
        self._has_lanes = True
        return self._step(batch, state, lr, step)

    @property
    def can_read(self) -> bool:
        """Return whether there are others that can read rows without changing a bit."""
        return self.group.world > 1 and is_separable(self._model)

    def read(self, what: str, reader: Reader, placed: Placed) -> Iterator[Read]:
        """Yield batches as a reader reads them, of which each process has read some rows.

        All raise where one of them cannot.
        """
        order(self.group, READ)
        best = reader.best if isinstance(reader, GateReader) else None
        self.group.tell({"what": what, "best": None if best is None else len(best)})
        for weight in self._model.tensors().values():
            self.group.share(weight)
        if best is not None:
            self.group.share(torch.from_numpy(best))
        return read_together(self.group, self._model, lambda: (reader, placed))

    def gathered(self, state: State) -> State:
        """Return the carried state with the lanes of all."""
        if self._has_lanes:
            order(self.group, GATHER)
            state = self._step.gathered(state)
            self._has_lanes = False
        return state


def order(group: Group, what: int = END, step: int = 0, lr: float = 0.0) -> tuple[int, int, float]:
    """Give an order, or, in the others, return the one that is given."""
    numbers = group.numbers([what, step, lr])
    return int(numbers[0]), int(numbers[1]), numbers[2]


def share_weights(group: Group, model: CharModel, optimizer: Optimizer) -> None:
    """Copy the leader's weights and moments into the others'."""
    for weight in model.tensors().values():
        group.share(weight)
    moments = optimizer.tensors()
    shapes = group.tell({name: list(value.shape) for name, value in moments.items()})
    if not group.is_leader:
        device = model.head.bias.device
        moments = {name: model.head.bias.new_zeros(shape) for name, shape in shapes.items()}
        moments = {name: value.to(device) for name, value in moments.items()}
    for value in moments.values():
        group.share(value)
    if not group.is_leader:
        optimizer.load_tensors(moments)


def send_texts(group: Group, files: list[Path]) -> None:
    """Copy files into the others' folders, a piece at a time."""
    group.tell([[file.name, file.stat().st_size] for file in files])
    for file in files:
        with file.open("rb") as source:
            while piece := source.read(PIECE_BYTES):
                group.share(torch.frombuffer(bytearray(piece), dtype=torch.uint8))


def receive_texts(group: Group, folder: Path) -> None:
    """Write the files that process 0 sends into a folder."""
    for name, size in group.tell():
        with disk.open(folder / Path(name).name, "wb") as target:
            for start in range(0, size, PIECE_BYTES):
                piece = torch.zeros(min(PIECE_BYTES, size - start), dtype=torch.uint8)
                group.share(piece)
                disk.write(target, piece.numpy().tobytes())


@dataclass(frozen=True)
class Ending:
    """How a training has ended, as the others hear it.

    code: what each process leaves with. fault: one line; "" without. run: its directory.
    """

    code: int
    fault: str = ""
    run: str = ""


def dismiss(group: Group, ending: Ending) -> None:
    """Tell the others that the training is over, and how they leave."""
    order(group, END)
    group.tell(asdict(ending))
    group.leave(is_whole=True)

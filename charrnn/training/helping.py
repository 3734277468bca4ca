"""Reading with the other processes of a launch, which know neither run nor text: `charrnn eval`.

They are given the network, and the batches of a piece of the text after the other.

Shapes: B rows of a batch, T characters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from charrnn.config import ModelSettings
from charrnn.machine import runtime
from charrnn.model.charmodel import CharModel
from charrnn.parallel.group import Group
from charrnn.scoring.readers import GateReader, LossReader, Placed, Read, Reader
from charrnn.text.batches import Batch
from charrnn.training.leading import HELP, order
from charrnn.training.reading import check_alike, read_together

PIECE = 1 << 18  # characters, about, that are read before their numbers are joined
CPU = torch.device("cpu")
Piece = list[tuple[Batch, np.ndarray]]


def helped_by(group: Group, model: CharModel, reader: Reader, placed: Placed) -> Iterator[Read]:
    """Yield batches as a reader reads them, of which each process has read some rows.

    reader: a GateReader without a text, or a LossReader. Raises, in all, what one of them met.
    """
    for piece in _pieces(placed):
        _hand_out(group, model, reader, piece)
        yield from read_together(group, model, partial(_asked, reader, piece))


def _asked(reader: Reader, piece: Piece) -> tuple[Reader, Placed]:
    return reader, iter(piece)


def _hand_out(group: Group, model: CharModel, reader: Reader, piece: Piece) -> None:
    """Give the others what help_read takes."""
    # 1. What they get
    gate = reader if isinstance(reader, GateReader) else None
    tensors = list(model.tensors().values())
    for batch, places in piece:
        tensors += [batch.inputs.contiguous(), batch.targets.contiguous()]
        if gate is not None:  # padding has places beyond the text
            tensors.append(torch.from_numpy(gate.best.take(places, mode="clip")))
    network = {
        "settings": dataclasses.asdict(model.settings),
        "size": model.head.out_features,
        "labels": 0 if model.labels is None else model.labels.num_embeddings,
        "newline": model.newline,
    }
    asked = {
        "network": network,
        "batches": [[*batch.inputs.shape, batch.fresh] for batch, _ in piece],
        "has_gate": gate is not None,
        "surroundings": runtime.surroundings(CPU, model.backend, "float32"),
    }

    # 2. To all
    order(group, HELP)
    group.tell(asked)
    for tensor in tensors:
        group.share(tensor)


def help_read(group: Group) -> None:
    """Read rows of what process 0 is about to read."""
    asked = group.tell()
    about = asked["network"]
    settings = ModelSettings(**about["settings"])
    model = CharModel(
        settings, about["size"], "kernel", labels=about["labels"], newline=about["newline"]
    )
    for weight in model.tensors().values():
        group.share(weight)
    batches = []
    choices = [np.zeros(0, np.int64)]
    start = 0
    for rows, columns, is_fresh in asked["batches"]:
        inputs = torch.zeros(rows, columns, dtype=torch.int64)
        targets = torch.zeros_like(inputs)
        group.share(inputs)
        group.share(targets)
        if asked["has_gate"]:
            best = torch.zeros_like(inputs)
            group.share(best)
            choices.append(best.numpy().reshape(-1))
        places = np.arange(start, start + inputs.numel()).reshape(rows, columns)
        start += inputs.numel()
        batches.append((Batch(inputs, targets, is_fresh), places))

    def reads() -> tuple[Reader, Placed]:
        check_alike(asked["surroundings"], runtime.surroundings(CPU, "kernel", "float32"))
        if asked["has_gate"]:
            return GateReader(model, CPU, np.concatenate(choices), None), iter(batches)
        return LossReader(model, CPU), iter(batches)

    read_together(group, model, reads)


def _pieces(placed: Placed) -> Iterator[Piece]:
    """Yield batches together that are PIECE characters or more and begin with a fresh one."""
    piece: Piece = []
    chars = 0
    for batch, places in placed:
        if batch.fresh and chars >= PIECE:
            yield piece
            piece = []
            chars = 0
        piece.append((batch, places))
        chars += batch.inputs.numel()
    if piece:
        yield piece

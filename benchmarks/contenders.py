"""The contenders of benchmarks/training.py: each makes a step from a cell, a size and weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from networks import TORCH, CellLoop, CharRNN, Makemore, Packed, Plain, Size, Weights
from products import Step, kernel_products, torch_products
from torch import Tensor, nn

from charrnn.config import Settings
from charrnn.model import kernel
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.training.optim import Optimizer, make_optimizer
from charrnn.training.step import TrainStep

LR = 1e-3
CLIP = 1.0
PLAIN = "**plain nn.X, Adam**"
FLOOR = "its products: torch.mm"

# Makes a contender's model and optimiser for (cell, size, first weights), and returns its step.
Make = Callable[[str, Size, Weights], Step]


def trained(
    network: Callable[..., Any],
    cell: str,
    size: Size,
    weights: Weights,
    *,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    clip: float | None = CLIP,
) -> Step:
    """Return the step of a network as tutorials write it."""
    model = network(cell, size, weights)
    optimizer = make_optimizer(model.parameters(), lr=LR)

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = model.nats(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss.detach()

    return step


plain = partial(trained, Plain)
packed = partial(trained, Packed)
cell_loop = partial(trained, CellLoop)
char_rnn_pytorch = partial(trained, CharRNN, clip=None)
with_its_data = partial(trained, partial(CharRNN, builds_data=True), clip=None)
adamw = partial(torch.optim.AdamW, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8)
makemore = partial(trained, Makemore, clip=None, make_optimizer=adamw)


class Charrnn:
    """charrnn's own step. around: something to put around its optimiser."""

    def __init__(
        self,
        backend: str,
        cell: str,
        size: Size,
        weights: Weights,
        around: Callable[[Optimizer], Optimizer] | None = None,
        precision: str = "float32",
    ) -> None:
        settings = settings_for(cell, size)
        model = CharModel(settings.model, size.vocabulary, backend, precision)
        model.load_tensors(weights)
        optimizer = make_optimizer(model, settings.training)
        if around:
            optimizer = around(optimizer)
        self.step = TrainStep(model, optimizer, settings)
        self.state = model.zero_state(1)
        self.number = 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> float:
        self.number += 1
        batch = Batch(inputs, targets, fresh=True)
        return self.step(batch, self.state, LR, self.number).nats_per_char


def settings_for(cell: str, size: Size) -> Settings:
    settings = Settings().with_values(
        "model",
        cell=cell,
        hidden_size=size.hidden,
        num_layers=size.layers,
        embedding_size=size.hidden,
        dropout=0.0,
    )
    return settings.with_values("training", lr=LR, clip=CLIP, weight_decay=0.0)


def contenders(cell: str, *, slow: bool, floors: bool) -> dict[str, Make]:
    """Return the contenders of a cell by name, those that loop over time in Python if slow.

    torch.nn has no gru-before, so there is less to compare it with.
    """
    makers: dict[str, Make] = {}
    if slow and cell in TORCH:
        makers["char-rnn.pytorch's loop"] = char_rnn_pytorch
        makers["the same with its data builder"] = with_its_data
    if slow:
        makers["makemore's cell loop"] = makemore
    if slow and cell in TORCH:
        makers["nn.XCell loop"] = cell_loop
    makers[PLAIN] = plain
    for backend in backends(cell):
        makers[f"charrnn {backend}"] = partial(Charrnn, backend)
    if kernel.has_bfloat16():
        for backend in backends(cell):
            if backend != "func":
                makers[f"charrnn {backend}, bfloat16"] = partial(
                    Charrnn, backend, precision="bfloat16"
                )
    if floors:
        makers[FLOOR] = torch_products
        if kernel.is_usable():
            makers["its products: kernel.product"] = kernel_products
    return makers


def backends(cell: str) -> list[str]:
    """Return the backends that work here, the fastest last."""
    names = ["func"]
    if cell in TORCH:
        names.insert(0, "torch")
    if kernel.is_usable():
        names.append("kernel")
    return names


def first_weights(cell: str, size: Size) -> Weights:
    """Return the weights that all contenders start from."""
    torch.manual_seed(1)
    model = CharModel(settings_for(cell, size).model, size.vocabulary, backends(cell)[-1])
    return {name: value.clone() for name, value in model.tensors().items()}

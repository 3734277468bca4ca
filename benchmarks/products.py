"""The matrix products that a training step cannot do without, alone.

They run by torch.mm into memory that is already there, by charrnn's kernel, and as so many
multiply-adds on registers (needs cc). torch.mm is no lower bound: on an AMD processor MKL leaves
AVX-512 alone, and oneDNN (in nn.LSTM) and the kernel do not.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from networks import Size, Weights
from probe import compile_probe
from race import Run
from torch import Tensor

from charrnn.layout import GATES
from charrnn.model import kernel_scores

# Inputs (B, T), targets (B, T) -> nats per character; the weights are updated.
Step = Callable[[Tensor, Tensor], Any]


def needed_products(cell: str, size: Size, *, at_once: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Return the matrix products (a, b) of one step.

    Layer 0 looks rows up: V of them are multiplied, whatever T and B. at_once: the products of all
    time steps together, as if none had to wait for the one before.
    """
    hidden = size.hidden
    places = size.time * size.batch
    products: list[tuple[Tensor, Tensor]] = []

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape) / 10

    def linear(rows: int, inputs: int, outputs: int, pieces: int = 1) -> None:
        """Add x W^T and the gradient of x, in pieces of the rows, and the gradient of W."""
        x = numbers(rows, inputs)
        weight = numbers(outputs, inputs)
        d_out = numbers(rows, outputs)
        products.extend((piece, weight.t()) for piece in x.chunk(pieces))
        products.extend((piece, weight) for piece in d_out.chunk(pieces))
        products.append((d_out.t(), x))

    pieces = 1 if at_once else size.time
    # The candidate of gru-before needs the reset gate before it can multiply.
    waves = (2, 1) if cell == "gru-before" else (GATES[cell],)
    for k in range(size.layers):
        rows = places if k else size.vocabulary
        linear(rows, hidden, GATES[cell] * hidden)
        for gates in waves:
            linear(places, hidden, gates * hidden, pieces)
    linear(places, hidden, size.vocabulary)
    return products


def torch_products(cell: str, size: Size, weights: Weights) -> Step:
    """Return a step that does its products alone, by torch.mm."""
    jobs = [(a, b, torch.empty(len(a), b.shape[1])) for a, b in needed_products(cell, size)]

    def step(inputs: Tensor, targets: Tensor) -> float:
        for a, b, out in jobs:
            torch.mm(a, b, out=out)
        return math.nan

    return step


def kernel_products(cell: str, size: Size, weights: Weights) -> Step:
    """Return a step that does its products alone, by charrnn's kernel.

    That product packs b at each call. So the time steps are one product, as the kernel's layers
    pack once for all of them.
    """
    jobs = needed_products(cell, size, at_once=True)

    def step(inputs: Tensor, targets: Tensor) -> float:
        for a, b in jobs:
            kernel_scores.product(a, b)
        return math.nan

    return step


def peak(cell: str, size: Size, threads: int) -> Run:
    """Return a run of the same arithmetic on registers alone: what no program can beat.

    Raises OSError or CalledProcessError without a C compiler.
    """
    products = needed_products(cell, size, at_once=True)
    operations = sum(2 * a.numel() * b.shape[1] for a, b in products)
    turns = 4_000_000
    with tempfile.TemporaryDirectory() as folder:
        multiply_add = compile_probe(Path(folder)).multiply_add

    def run() -> tuple[float, float]:
        multiply_add(turns)
        steps = 512 * turns * threads / operations
        return steps, steps * size.batch * size.time

    return run

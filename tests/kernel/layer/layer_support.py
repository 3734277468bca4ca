"""A layer to run, its reference, and what comes of it."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from kernel_support import LEVELS
from torch import Tensor, nn
from torch.func import functional_call

from charrnn.kernel.library import library
from charrnn.model import equations, kernel, kernel_layer, kernel_scores

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}


TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


VOCABULARY = 9


cells = pytest.mark.parametrize("cell", GATES)


def at_level(level):
    """The library as on a processor that has no more."""
    real = library()
    names = [f"charrnn_{name}" for name in ("layer_forward", "layer_backward", "product", "scores")]
    parts = {name: getattr(real, name) for name in names}
    return SimpleNamespace(
        charrnn_level=lambda: level, charrnn_bfloat16=lambda: level == kernel.BFLOAT16, **parts
    )


def all_levels():
    """Those that the library and this processor have, the one with products of bfloat16 too."""
    return (*LEVELS, kernel.BFLOAT16) if kernel.has_bfloat16() else tuple(LEVELS)


# A layer to run, and what comes of it


@dataclass(frozen=True)
class Layer:
    cell: str
    ids: Tensor | None
    x: Tensor
    state: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]

    @property
    def tensors(self):
        return (self.x, *self.state, *self.weights)

    def leaves(self, dtype=torch.float32):
        """The same numbers in tensors that want gradients."""
        x, *rest = (part.detach().to(dtype).requires_grad_() for part in self.tensors)
        split = len(self.state)
        return replace(self, x=x, state=tuple(rest[:split]), weights=tuple(rest[split:]))


def some_layer(
    cell, hidden=17, batch=3, time=4, inputs=5, *, ids=False, vocabulary=VOCABULARY, seed=0
):
    """Sums of inputs and sums of states are of size 1: gates neither idle nor stuck.

    No first state is zero.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=generator) * scale

    rows = GATES[cell] * hidden
    return Layer(
        cell,
        torch.randint(0, vocabulary, (time, batch), generator=generator) if ids else None,
        normal(*((vocabulary,) if ids else (time, batch)), inputs),
        tuple(normal(batch, hidden, scale=0.7) for _ in range(1 + (cell == "lstm"))),
        (
            normal(rows, inputs, scale=inputs**-0.5),
            normal(rows, hidden, scale=hidden**-0.5),
            normal(rows, scale=0.5),
            normal(rows, scale=0.5),
        ),
    ).leaves()


def compiled(layer):
    return kernel_layer.run_layer(layer.cell, layer.ids, layer.x, layer.state, layer.weights)


def looked_up(layer):
    return layer.x if layer.ids is None else layer.x[layer.ids]


def independent(layer):
    """torch.nn's module; for the cell that it lacks, the equations."""
    weights = dict(zip(NAMES, layer.weights, strict=True))
    if layer.cell == "gru-before":
        return equations.run_layer(layer.cell, looked_up(layer), layer.state, weights)
    module = TORCH[layer.cell](layer.x.shape[-1], layer.state[0].shape[-1], dtype=layer.x.dtype)
    first = tuple(part.unsqueeze(0) for part in layer.state)
    named = {f"{name}_l0": value for name, value in weights.items()}
    outputs, last = functional_call(
        module, named, (looked_up(layer), first if layer.cell == "lstm" else first[0])
    )
    return outputs, tuple(part[0] for part in (last if layer.cell == "lstm" else (last,)))


def readings(outputs, last):
    """One number that depends on every output and on every part of the last state, each with its
    own weight.
    """
    generator = torch.Generator().manual_seed(99)
    return sum(
        (part * torch.randn(part.shape, generator=generator)).sum() for part in (outputs, *last)
    )


def everything(runner, layer):
    """Outputs, last state, and the gradients of their readings in x, first state and weights."""
    outputs, last = runner(layer)
    gradients = torch.autograd.grad(readings(outputs, last), layer.tensors)
    return (outputs, *last, *gradients)


def assert_equal(found, expected, message=""):
    assert len(found) == len(expected)
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert torch.equal(one, other), f"tensor {index} {message}"


def assert_close(found, expected, message="", tolerance=1e-5):
    """float32 against float64: to 1e-5 of the size of a tensor's values, some 100 roundings of
    2^-24; sums have up to 850 terms, steps build on each other. 5.6e-6 was the largest in the sizes
    below (rnn), 2.2e-6 in the other cells.
    """
    assert len(found) == len(expected)
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == other.shape
        difference = (one - other).abs().max().item() if one.numel() else 0.0
        assert difference <= tolerance * max(1.0, other.abs().max().item()), (
            f"tensor {index} {message}: {difference}"
        )


def use_own_threads(patch=setattr):
    library().charrnn_use_openmp(None, None, None)
    patch(kernel, "lend_openmp", lambda: False)


# However it lies in memory


def strided(part):
    """The same numbers, none next to another."""
    room = torch.full((*part.shape[:-1], part.shape[-1] * 2), float("nan"))
    room[..., ::2] = part.detach()
    return room[..., ::2].requires_grad_(part.requires_grad)


def turned(part):
    """The same numbers, the first two directions exchanged in memory."""
    return (
        part.detach()
        .transpose(0, 1)
        .contiguous()
        .transpose(0, 1)
        .requires_grad_(part.requires_grad)
    )


@contextmanager
def new_memory_full_of_nan():
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def linear_and_gradients(x, weight, bias, d_out):
    outputs = kernel_scores.linear(x, weight, bias)
    return outputs, *torch.autograd.grad(outputs, (x, weight, bias), d_out)


def nats_and_gradients(x, weight, bias, targets):
    total = kernel_scores.summed_nats(x, weight, bias, targets)
    return total, *torch.autograd.grad(
        total, (x, weight, bias), torch.tensor(0.7, dtype=torch.float64)
    )


def some_head(*shape, outputs, scale=1.0, seed=2):
    """x (shape), weight, bias, all leaves; and gradients that come in."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (shape, (outputs, shape[-1]), (outputs,), (*shape[:-1], outputs))
    x, weight, bias, d_out = (torch.randn(size, generator=generator) for size in sizes)
    return [
        part.requires_grad_() for part in (x, weight * (scale * shape[-1] ** -0.5), bias * scale)
    ], d_out


def some_targets(x, outputs):
    """About one in eight is not counted."""
    targets = torch.randint(0, outputs, x.shape[:-1], generator=torch.Generator().manual_seed(4))
    return torch.where(
        torch.randint(0, 8, targets.shape, generator=torch.Generator().manual_seed(5)) == 0,
        -100,
        targets,
    )

"""A network unrolled over time by the textbook's equations, in float64, with every state at hand: slow and exact.

It is what CharModel computes (dropout off), whatever backend trained it; autograd sees each h and c by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.config import ModelSettings
from charrnn.layout import PARAMETERS, sizes
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State

Tensors = Mapping[str, Tensor]  # float64, named as in CharModel.tensors()
Step = Callable[[str, Tensor, State, equations.Weights], State]


class Unrolled(NamedTuple):
    """hidden: what the head sees after each character, T of (B, W). states[layer][time]: (h,) or (h, c), each (B, H)."""

    hidden: list[Tensor]
    states: list[list[State]]


def tensors_of(model: CharModel) -> dict[str, Tensor]:
    """A copy of a model's weights in float64, outside its graph."""
    return {
        name: value.detach().to("cpu", torch.float64, copy=True)
        for name, value in model.tensors().items()
    }


def linear_step(cell: str, x: Tensor, state: State, w: equations.Weights) -> State:
    """The rnn with the identity for tanh: h' = W_hh h + W_ih x + b, so that dh_t/dh_{t-k} is the k-th power of W_hh."""
    return (x @ w["weight_ih"].T + w["bias_ih"] + state[0] @ w["weight_hh"].T + w["bias_hh"],)


def unroll(
    settings: ModelSettings,
    tensors: Tensors,
    ids: Tensor,
    *,
    starts: Tensor | None = None,
    removed: Collection[int] = (),
    step: Step = equations.step,
) -> Unrolled:
    """Read ids (B, T), each row from the zero state.

    starts (B,): a row's text begins there, from the zero state; what stands before is padding. removed: layers
    left out. What they would have been given takes the place of what they would have made; with dense skips, where
    all above see it anyway, zeros do.
    """
    hidden_size, layers, _ = sizes(settings)
    dense, residual = settings.skip == "dense", settings.skip == "residual"
    embedded = tensors["embedding.weight"][ids.T]
    carried = (
        None
        if starts is None
        else (torch.arange(ids.shape[1])[:, None] > starts).to(embedded)[:, :, None]
    )
    seen = [list(embedded)]
    below = seen[0]
    states: list[list[State]] = []
    for k in range(layers):
        inputs = [torch.cat(parts, 1) for parts in zip(*seen, strict=True)] if dense else below
        if k in removed:
            outputs = [x.new_zeros(len(x), hidden_size) for x in inputs] if dense else inputs
            states.append([])
        else:
            states.append(_run_layer(settings.cell, k, inputs, hidden_size, tensors, carried, step))
            outputs = [state[0] for state in states[k]]
            if residual and below[0].shape == outputs[0].shape:
                outputs = [after + before for after, before in zip(outputs, below, strict=True)]
        below = outputs
        seen.append(below)
    return Unrolled(
        [torch.cat(parts, 1) for parts in zip(*seen, strict=True)] if dense else below, states
    )


def nats(tensors: Tensors, hidden: Tensor, targets: Tensor) -> Tensor:
    """-ln P(target) of what the head makes of hidden (..., W). targets (...) -> (...)."""
    logits = (
        hidden @ tensors.get("head.weight", tensors["embedding.weight"]).T + tensors["head.bias"]
    )
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(
        targets.shape
    )


def _run_layer(
    cell: str,
    k: int,
    inputs: list[Tensor],
    hidden_size: int,
    tensors: Tensors,
    carried: Tensor | None,
    step: Step,
) -> list[State]:
    weights = {name: tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS}
    # What needs a gradient is the state, not the weights: half the work.
    zeros = torch.zeros(
        len(inputs[0]), hidden_size, dtype=inputs[0].dtype, requires_grad=torch.is_grad_enabled()
    )
    state: State = (zeros, zeros) if cell == "lstm" else (zeros,)
    states = []
    for time, x in enumerate(inputs):
        if (
            carried is not None
        ):  # before the step: what it makes is then itself a node, and c lies on the way to h
            state = tuple(part * carried[time] for part in state)
        state = step(cell, x, state, weights)
        states.append(state)
    return states

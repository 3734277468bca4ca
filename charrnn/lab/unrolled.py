"""A network unrolled over time by the textbook's equations, in float64: slow and exact.

It computes what CharModel computes (dropout off), whatever backend trained the model. autograd sees
every h and every c as a node of its own.

Shapes: B rows, T characters, H hidden units, W the width of what the head sees.
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
    """What a text makes of a network, character by character."""

    hidden: list[Tensor]  # what the head sees after each character: T of (B, W)
    states: list[list[State]]  # [layer][time]: (h,) or (h, c), each (B, H)


def tensors_of(model: CharModel) -> dict[str, Tensor]:
    """Copy a model's weights in float64, outside its graph."""
    return {
        name: value.detach().to("cpu", torch.float64, copy=True)
        for name, value in model.tensors().items()
    }


def linear_step(cell: str, x: Tensor, state: State, w: equations.Weights) -> State:
    """Advance the rnn with the identity for tanh: h' = W_hh h + W_ih x + b.

    Its dh_t/dh_{t-k} is the k-th power of W_hh.
    """
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

    starts (B,): the text of a row begins there, from the zero state; what stands before is padding.
    removed: layers left out. The input of such a layer takes the place of its output; with dense
    skips, where all layers above see that input anyway, zeros do.
    """
    hidden_size, layers, _ = sizes(settings)
    is_dense = settings.skip == "dense"
    embedded = tensors["embedding.weight"][ids.T]
    carried = None  # (T, B, 1): 0 where a row's state is emptied, else 1
    if starts is not None:
        is_inside = torch.arange(ids.shape[1], device=ids.device)[:, None] > starts
        carried = is_inside.to(embedded)[:, :, None]
    below = list(embedded)
    seen = [below]  # what every layer so far gave, [layer][time]
    first = below
    if settings.conv:
        if starts is not None:
            is_text = torch.arange(ids.shape[1], device=ids.device)[:, None] >= starts
            embedded = embedded * is_text.to(embedded)[:, :, None]
        past = embedded.new_zeros(settings.conv - 1, *embedded.shape[1:])
        first = list(equations.causal_convolution(embedded, past, tensors["conv.weight"]))
    states: list[list[State]] = []
    for k in range(layers):
        inputs = _side_by_side(seen) if is_dense else below
        if k == 0:
            inputs = first
        if k in removed:
            states.append([])
            outputs = inputs
            if is_dense:
                outputs = [x.new_zeros(len(x), hidden_size) for x in inputs]
        else:
            states.append(_run_layer(settings.cell, k, inputs, hidden_size, tensors, carried, step))
            outputs = [state[0] for state in states[k]]
            if settings.skip == "residual" and below[0].shape == outputs[0].shape:
                outputs = [after + before for after, before in zip(outputs, below, strict=True)]
        below = outputs
        seen.append(below)
    hidden = _side_by_side(seen) if is_dense else below
    return Unrolled(hidden, states)


def _side_by_side(seen: list[list[Tensor]]) -> list[Tensor]:
    """Join what the layers gave, at each time."""
    return [torch.cat(parts, 1) for parts in zip(*seen, strict=True)]


def nats(tensors: Tensors, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return -ln P(target), (...), of what the head makes of hidden (..., W). targets (...)."""
    weight = tensors.get("head.weight", tensors["embedding.weight"])
    logits = hidden @ weight.T + tensors["head.bias"]
    losses = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return losses.view(targets.shape)


def _run_layer(
    cell: str,
    k: int,
    inputs: list[Tensor],
    hidden_size: int,
    tensors: Tensors,
    carried: Tensor | None,
    step: Step,
) -> list[State]:
    """Run layer k over its inputs, T of (B, W). Returns the state after each."""
    weights = {name: tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS}
    # The state needs a gradient, the weights do not: half the work.
    zeros = inputs[0].new_zeros(len(inputs[0]), hidden_size, requires_grad=torch.is_grad_enabled())
    state: State = (zeros, zeros) if cell == "lstm" else (zeros,)
    states = []
    for time, x in enumerate(inputs):
        if carried is not None:
            # Before the step: what the step gives is then a node, and c lies on the way to h.
            state = tuple(part * carried[time] for part in state)
        state = step(cell, x, state, weights)
        states.append(state)
    return states

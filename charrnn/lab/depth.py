"""What depth does to a gradient, and what a layer is worth: stacks of 1 to 8 layers, plain, residual and dense.

Each layer's gradient is that of all its weights by the mean nats of held-out text, before and after a brief training.
Then each layer is left out in turn and the text is scored again: a stack with skips is many paths of all lengths, of
which half stay whole; a plain stack is one path. Source: Veit et al. 2016, "Residual Networks Behave Like Ensembles of
Relatively Shallow Networks"; dense: Huang et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from charrnn.config import ModelSettings
from charrnn.lab.models import fresh, names_stream, train_briefly
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.lab.unrolled import nats, tensors_of, unroll
from charrnn.layout import PARAMETERS
from charrnn.model.charmodel import CharModel

DEEPEST, SIZE, STEPS = 8, 32, 150  # layers, hidden units of each, updates
WINDOW = 32  # characters of held-out text read at a time, from the zero state
SKIPS = ("none", "residual", "dense")
COLUMNS = (
    "skip",
    "layers",
    "bits/char",
    "first/last, untrained",
    "trained",
    "cost of one, mean",
    "worst",
)


class Stack(NamedTuple):
    """norms: of each layer's gradient, untrained and trained. bits per character; removed: without each layer."""

    skip: str
    untrained: list[float]
    trained: list[float]
    bits: float
    removed: list[float]

    @property
    def costs(self) -> list[float]:
        return [bits - self.bits for bits in self.removed]


def layer_norms(model: CharModel, text: Tensor) -> list[float]:
    """The norm of each layer's gradient by the mean nats of text (B, T + 1), rows from the zero state."""
    inputs, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    total, _ = model.nats(inputs, targets, model.zero_state(len(inputs)))
    names = [
        [getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS]
        for k in range(model.num_layers)
    ]
    gradients = torch.autograd.grad(
        total / targets.numel(), [weight for layer in names for weight in layer]
    )
    squares = torch.stack([gradient.double().square().sum() for gradient in gradients])
    return squares.view(model.num_layers, -1).sum(1).sqrt().tolist()


def bits_without(model: CharModel, text: Tensor, removed: tuple[int, ...] = ()) -> float:
    """Bits per character of text (B, T + 1), rows from the zero state, without these layers."""
    tensors = tensors_of(model)
    with torch.no_grad():
        hidden = unroll(model.settings, tensors, text[:, :-1], removed=removed).hidden
        return float(nats(tensors, torch.stack(hidden, 1), text[:, 1:]).mean()) / math.log(2)


def examine(
    settings: ModelSettings, train: np.ndarray, text: Tensor, vocabulary_size: int, seed: int
) -> Stack:
    """A fresh stack of these settings, trained briefly and looked at before and after."""
    model = fresh(settings, vocabulary_size, seed)
    untrained = layer_norms(model, text)
    train_briefly(model, train, STEPS)
    removed = [bits_without(model, text, (k,)) for k in range(model.num_layers)]
    return Stack(
        settings.skip, untrained, layer_norms(model, text), bits_without(model, text), removed
    )


def depth(cell: str, seed: int, say: Callable[[str], None]) -> Result:
    """The lab, on the shipped names as one stream."""
    train, held_out, vocabulary_size = names_stream(seed)
    places = np.arange(0, len(held_out) - WINDOW, WINDOW)[:, None] + np.arange(WINDOW + 1)
    text = torch.from_numpy(held_out[places].astype(np.int64))
    stacks = []
    for layers in range(1, DEEPEST + 1):
        say(f"{layers} of {DEEPEST} layers, {STEPS} updates for each way to skip")
        for skip in SKIPS:
            # The embedding is as wide as a layer, so that the first has a skip too, and can be left out of a plain stack.
            settings = ModelSettings(
                cell=cell,
                hidden_size=SIZE,
                num_layers=layers,
                embedding_size=SIZE,
                skip=skip,
                dropout=0.0,
            )
            stacks.append(examine(settings, train, text, vocabulary_size, seed))
    settled = {
        "cell": cell,
        "text": "names, shuffled, as one stream",
        "hidden size": SIZE,
        "updates": STEPS,
        "seed": seed,
    }
    rows = tuple(_row(stack) for skip in SKIPS for stack in stacks if stack.skip == skip)
    return Result(
        f"Depth: stacks of {cell} layers",
        COLUMNS,
        rows,
        _panels(stacks),
        _sentence(stacks),
        settled,
    )


def _row(stack: Stack) -> tuple[Cell, ...]:
    ratios = (norms[0] / norms[-1] for norms in (stack.untrained, stack.trained))
    return (
        stack.skip,
        len(stack.removed),
        stack.bits,
        *ratios,
        float(np.mean(stack.costs)),
        max(stack.costs),
    )


def _sentence(stacks: list[Stack]) -> str:
    plain, residual, dense = (stack for stack in stacks if len(stack.removed) == DEEPEST)
    ratio = {
        stack.skip: stack.untrained[0] / stack.untrained[-1] for stack in (plain, residual, dense)
    }
    cost = {stack.skip: float(np.mean(stack.costs)) for stack in (plain, residual, dense)}
    return (
        f"In an untrained plain stack of {DEEPEST} the first layer's gradient is {ratio['none']:.2g} of the last one's; with "
        f"residual skips {ratio['residual']:.2g}, with dense ones {ratio['dense']:.2g}. Trained for {STEPS} updates they score "
        f"{plain.bits:.2f}, {residual.bits:.2f} and {dense.bits:.2f} bits/char; leaving out one layer costs "
        f"{cost['none']:.2f}, {cost['residual']:.2f} and {cost['dense']:.2f} on average. With skips little is lost, as in an "
        "ensemble of shallower stacks; a plain one is a chain, in which every layer counts, so far as it has learnt."
    )


def _panels(stacks: list[Stack]) -> tuple[Panel, ...]:
    panels = []
    for when in ("untrained", "trained"):
        for skip in SKIPS:
            chosen = [getattr(stack, when) for stack in stacks if stack.skip == skip]
            curves = tuple(
                _by_layer(f"{len(norms)} layers" if norms[1:] else "1 layer", norms)
                for norms in chosen
            )
            panels.append(
                Panel(
                    f"{when}, skip {skip}",
                    "layer, from the input",
                    "norm of its gradient, nats",
                    curves,
                    log_y=True,
                )
            )
    deepest = [stack for stack in stacks if len(stack.removed) == DEEPEST]
    removed = tuple(_by_layer(f"skip {stack.skip}", stack.removed) for stack in deepest)
    panels.append(
        Panel(
            f"{DEEPEST} layers, trained", "layer left out", "bits per character without it", removed
        )
    )
    scores = []
    for skip in SKIPS:
        bits = [stack.bits for stack in stacks if stack.skip == skip]
        scores.append(_by_layer(f"skip {skip}", bits))
    panels.append(Panel("trained, whole", "layers", "bits per character", tuple(scores)))
    return tuple(panels)


def _by_layer(name: str, values: list[float]) -> Series:
    return Series(name, tuple(range(1, len(values) + 1)), tuple(values))

"""What depth does to a gradient, and what a layer is worth: stacks of 1 to 8 layers.

The stacks are plain, residual or dense. The gradient of a layer is that of all its weights by the
mean nats of held-out text, before and after a brief training. Then each layer is left out in turn
and the text is scored again. A stack with skips is many paths of all lengths, and half of them stay
whole; a plain stack is one path.

Source: Veit et al. 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks";
dense: Huang et al. 2017. Shapes: B rows of held-out text, T characters each.
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

DEEPEST = 8  # layers
SIZE = 32  # hidden units of each
STEPS = 150  # updates
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
    """A stack of layers, looked at before and after its training."""

    skip: str
    untrained: list[float]  # the norm of each layer's gradient
    trained: list[float]
    bits: float  # per character of the held-out text
    removed: list[float]  # bits without each layer

    @property
    def costs(self) -> list[float]:
        """How many bits per character more it needs without each layer."""
        return [bits - self.bits for bits in self.removed]


def layer_norms(model: CharModel, text: Tensor) -> list[float]:
    """Return the norm of each layer's gradient by the mean nats of text (B, T + 1)."""
    inputs = text[:, :-1].contiguous()
    targets = text[:, 1:].contiguous()
    total, _ = model.nats(inputs, targets, model.zero_state(len(inputs)))
    weights = [
        getattr(model.recurrent, f"{name}_l{k}")
        for k in range(model.num_layers)
        for name in PARAMETERS
    ]
    gradients = torch.autograd.grad(total / targets.numel(), weights)
    squares = torch.stack([gradient.double().square().sum() for gradient in gradients])
    return squares.view(model.num_layers, -1).sum(1).sqrt().tolist()


def bits_without(model: CharModel, text: Tensor, removed: tuple[int, ...] = ()) -> float:
    """Return the bits per character of text (B, T + 1) without these layers."""
    tensors = tensors_of(model)
    with torch.no_grad():
        hidden = unroll(model.settings, tensors, text[:, :-1], removed=removed).hidden
        return float(nats(tensors, torch.stack(hidden, 1), text[:, 1:]).mean()) / math.log(2)


def examine(
    settings: ModelSettings, train: np.ndarray, text: Tensor, vocabulary_size: int, seed: int
) -> Stack:
    """Make a stack, train it briefly, and look at it before and after."""
    model = fresh(settings, vocabulary_size, seed)
    untrained = layer_norms(model, text)
    train_briefly(model, train, STEPS)
    removed = [bits_without(model, text, (k,)) for k in range(model.num_layers)]
    trained = layer_norms(model, text)
    return Stack(settings.skip, untrained, trained, bits_without(model, text), removed)


def depth(cell: str, seed: int, say: Callable[[str], None]) -> Result:
    """Examine stacks of 1 to DEEPEST layers, on the shipped names as one stream."""
    train, held_out, vocabulary_size = names_stream(seed)
    places = np.arange(0, len(held_out) - WINDOW, WINDOW)[:, None] + np.arange(WINDOW + 1)
    text = torch.from_numpy(held_out[places].astype(np.int64))
    stacks = []
    for layers in range(1, DEEPEST + 1):
        say(f"{layers} of {DEEPEST} layers, {STEPS} updates for each way to skip")
        for skip in SKIPS:
            # The embedding is as wide as a layer: the first layer then has a skip too, and can
            # be left out of a plain stack.
            settings = ModelSettings(
                cell=cell,
                hidden_size=SIZE,
                num_layers=layers,
                embedding_size=SIZE,
                skip=skip,
                dropout=0.0,
            )
            stacks.append(examine(settings, train, text, vocabulary_size, seed))
    rows = tuple(_row(stack) for skip in SKIPS for stack in stacks if stack.skip == skip)
    return Result(
        f"Depth: stacks of {cell} layers",
        COLUMNS,
        rows,
        _panels(stacks),
        _sentence(stacks),
        {
            "cell": cell,
            "text": "names, shuffled, as one stream",
            "hidden size": SIZE,
            "updates": STEPS,
            "seed": seed,
        },
    )


def _row(stack: Stack) -> tuple[Cell, ...]:
    ratios = (norms[0] / norms[-1] for norms in (stack.untrained, stack.trained))
    costs = (float(np.mean(stack.costs)), max(stack.costs))
    return (stack.skip, len(stack.removed), stack.bits, *ratios, *costs)


def _sentence(stacks: list[Stack]) -> str:
    """Say what there is to see in the deepest stacks."""
    deepest = {stack.skip: stack for stack in stacks if len(stack.removed) == DEEPEST}
    ratio = {skip: stack.untrained[0] / stack.untrained[-1] for skip, stack in deepest.items()}
    bits = {skip: stack.bits for skip, stack in deepest.items()}
    cost = {skip: float(np.mean(stack.costs)) for skip, stack in deepest.items()}
    return (
        f"In an untrained plain stack of {DEEPEST} the first layer's gradient is "
        f"{ratio['none']:.2g} of the last one's; with residual skips {ratio['residual']:.2g}, with "
        f"dense ones {ratio['dense']:.2g}. Trained for {STEPS} updates they score "
        f"{bits['none']:.2f}, {bits['residual']:.2f} and {bits['dense']:.2f} bits/char; leaving "
        f"out one layer costs {cost['none']:.2f}, {cost['residual']:.2f} and {cost['dense']:.2f} "
        "on average. With skips little is lost, as in an ensemble of shallower stacks; a plain one "
        "is a chain, in which every layer counts, so far as it has learnt."
    )


def _panels(stacks: list[Stack]) -> tuple[Panel, ...]:
    # 1. The gradient of each layer, by depth of the stack
    panels = []
    for when in ("untrained", "trained"):
        for skip in SKIPS:
            norms = [getattr(stack, when) for stack in stacks if stack.skip == skip]
            curves = tuple(_by_layer(_depth_name(len(values)), values) for values in norms)
            panels.append(
                Panel(
                    f"{when}, skip {skip}",
                    "layer, from the input",
                    "norm of its gradient, nats",
                    curves,
                    log_y=True,
                )
            )

    # 2. What a layer is worth in the deepest stacks
    deepest = [stack for stack in stacks if len(stack.removed) == DEEPEST]
    removed = tuple(_by_layer(f"skip {stack.skip}", stack.removed) for stack in deepest)
    title = f"{DEEPEST} layers, trained"
    panels.append(Panel(title, "layer left out", "bits per character without it", removed))

    # 3. The score by depth
    scores = []
    for skip in SKIPS:
        bits = [stack.bits for stack in stacks if stack.skip == skip]
        scores.append(_by_layer(f"skip {skip}", bits))
    panels.append(Panel("trained, whole", "layers", "bits per character", tuple(scores)))
    return tuple(panels)


def _depth_name(layers: int) -> str:
    return f"{layers} layers" if layers > 1 else "1 layer"


def _by_layer(name: str, values: list[float]) -> Series:
    return Series(name, tuple(range(1, len(values) + 1)), tuple(values))

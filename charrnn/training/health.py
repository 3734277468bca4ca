"""How healthy a training is, measured at every EVERY-th step where somebody asked (--watch): gradients, updates, gates.

Measuring changes nothing: no weight, no state, no random number. What it costs is a copy of the weights, a few norms and
a small part of the batch read once more: `python benchmarks/watch.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State
from charrnn.text.batches import IGNORED, Batch

EVERY = 100
ROWS, CHARS = 8, 32  # of the batch, at most, whose gates and units are looked at
CLOSED, OPEN = (
    0.1,
    0.9,
)  # a gate beyond is saturated (Karpathy et al. 2015, "Visualizing and Understanding Recurrent Networks")
CONSTANT = 0.01  # a unit whose output stays within so narrow a range, out of 2, tells nothing
GATES = {
    "rnn": "",
    "lstm": "if.o",
    "gru": "rz.",
    "gru-before": "rz.",
}  # in the order of their rows; the dots are no gates


@dataclass(frozen=True)
class Health:
    """What was measured at a step. Groups: embedding, layer0.input, layer0.recurrent, ..., head.

    grad_norm: before clipping. update_ratio: norm of the update over norm of the weights; around 0.001 is usual.
    saturated: share of the values of each gate of each layer that lie below CLOSED or above OPEN (layer0.f); for an RNN,
    of the outputs beyond OPEN in size (layer0.h). constant_units: of each layer, of `units`.
    """

    step: int
    grad_norm: dict[str, float]
    update_ratio: dict[str, float]
    saturated: dict[str, float]
    constant_units: dict[str, int]
    units: int  # of a layer

    def record(self) -> dict[str, Any]:
        """A line of metrics.jsonl."""
        names = ("step", "grad_norm", "update_ratio", "saturated", "constant_units")
        return {"event": "health"} | {name: getattr(self, name) for name in names}

    def line(self) -> str:
        """For a person."""
        norms: dict[str, float] = {}
        for name, norm in self.grad_norm.items():
            part = name.split(".")[0]
            norms[part] = (norms.get(part, 0.0) ** 2 + norm**2) ** 0.5
        shares: dict[str, list[float]] = {}
        for name, share in self.saturated.items():
            shares.setdefault(name.split(".")[0], []).append(share)
        ratios = self.update_ratio.values()
        return (
            f"health at step {self.step:,}: gradient {', '.join(f'{part} {norm:.2g}' for part, norm in norms.items())}; "
            f"update/weight {min(ratios):.1g} to {max(ratios):.1g}; saturated "
            f"{', '.join(f'{part} {sum(each) / len(each):.0%}' for part, each in shares.items())}; constant units "
            f"{sum(self.constant_units.values())} of {self.units * len(self.constant_units)}"
        )


class Watch:
    """Looks at a training step from before and from after it."""

    def __init__(self, model: CharModel) -> None:
        self._model = model
        self._named = [
            (name, each) for name, each in model.named_parameters() if each.requires_grad
        ]
        self._untold: Health | None = None

    def before(self, batch: Batch, state: State, step: int) -> Before | None:
        """What is needed of the moment before a step, if that step is to be measured. step: of the steps done."""
        if step % EVERY:
            return None
        rows = min(ROWS, len(batch.inputs))
        state = (
            self._model.zero_state(rows)
            if batch.fresh
            else tuple(part[:, :rows].clone() for part in state)
        )
        return Before([each.detach().clone() for _, each in self._named], state)

    def after(self, before: Before, batch: Batch, norm: float, step: int) -> Health:
        """After the update. norm: of the whole gradient before clipping. step: its number, from 1."""
        with torch.no_grad():
            now = [each.detach() for _, each in self._named]
            gradients = [
                torch.zeros_like(each) if each.grad is None else each.grad
                for _, each in self._named
            ]
            sizes = [
                _norms(each)
                for each in (gradients, torch._foreach_sub(now, before.weights), before.weights)
            ]
            of_gradient, of_update, of_weight = (
                self._by_group(each) for each in torch.stack(sizes).tolist()
            )
            saturated, constant = self._gates(batch, before.state)
        clipped = sum(each**2 for each in of_gradient.values()) ** 0.5
        self._untold = found = Health(
            step,
            {
                group: each * norm / clipped if clipped else 0.0
                for group, each in of_gradient.items()
            },
            {
                group: of_update[group] / weight if weight else float("nan")
                for group, weight in of_weight.items()
            },
            saturated,
            constant,
            self._model.hidden_size,
        )
        return found

    def news(self) -> str | None:
        """The line of the latest measurement, once."""
        health, self._untold = self._untold, None
        return health.line() if health is not None else None

    def _by_group(self, norms: list[float]) -> dict[str, float]:
        squares: dict[str, float] = {}
        for (name, _), norm in zip(self._named, norms, strict=True):
            squares[_group(name)] = squares.get(_group(name), 0.0) + norm**2
        return {group: square**0.5 for group, square in squares.items()}

    def _gates(self, batch: Batch, state: State) -> tuple[dict[str, float], dict[str, int]]:
        """A part of the batch read once more, without dropout."""
        rows = state[0].shape[1]
        ids, targets = batch.inputs[:rows, :CHARS], batch.targets[:rows, :CHARS]
        device, was_training = self._model.head.bias.device, self._model.training
        real = (targets != IGNORED).t().to(device)  # not the padding of lines
        self._model.eval()
        layers = self._model.trace(ids.to(device), state)
        self._model.train(was_training)
        shares, constant = [], []
        for k, (inputs, outputs) in enumerate(layers):
            shares += self._shares(k, inputs.float(), outputs.float(), state[0][k], real)
            seen = outputs.float()[real]
            constant.append((seen.amax(0) - seen.amin(0) < CONSTANT).sum().float())
        found = torch.stack([*(share for _, share in shares), *constant]).tolist()
        names = [name for name, _ in shares]
        return (
            dict(zip(names, found, strict=False)),
            {f"layer{k}": int(count) for k, count in enumerate(found[len(names) :])},
        )

    def _shares(
        self, k: int, inputs: Tensor, outputs: Tensor, h0: Tensor, real: Tensor
    ) -> list[tuple[str, Tensor]]:
        """What is saturated of a layer: inputs (T, B, K), outputs (T, B, H), h0 (B, H), real (T, B)."""
        gates = GATES[self._model.settings.cell]
        if not gates:
            return [(f"layer{k}.h", (outputs[real].abs() > OPEN).float().mean())]
        weight_ih, weight_hh, bias_ih, bias_hh = (
            self._model.recurrent.get_parameter(f"{name}_l{k}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        earlier = torch.cat([h0[None], outputs[:-1]])
        found = []
        rows = [part.chunk(len(gates)) for part in (weight_ih, bias_ih, weight_hh, bias_hh)]
        for gate, w, b, u, c in zip(gates, *rows, strict=True):
            if gate != ".":
                value = torch.sigmoid(F.linear(inputs[real], w, b) + F.linear(earlier[real], u, c))
                found.append(
                    (f"layer{k}.{gate}", ((value < CLOSED) | (value > OPEN)).float().mean())
                )
        return found


@dataclass(frozen=True)
class Before:
    """The weights, and the state of the rows looked at (L, ROWS, H), before a step."""

    weights: list[Tensor]
    state: State


def _group(name: str) -> str:
    """recurrent.weight_hh_l0 -> layer0.recurrent; embedding.weight -> embedding."""
    owner, _, rest = name.partition(".")
    if owner != "recurrent":
        return owner
    kind, _, layer = rest.rpartition("_l")
    return f"layer{layer}.{'input' if kind.endswith('_ih') else 'recurrent'}"


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(tensors))).double()

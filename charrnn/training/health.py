"""How healthy a training is: gradients, updates and gates at every EVERY-th step (--watch).

Measuring changes nothing: no weight, no state, no random number. What it costs is a copy of the
weights, a few norms
and a small part of the batch read once more: `python benchmarks/watch.py`.

Shapes: T characters, B lanes, K inputs of a layer, H hidden units.
"""

from __future__ import annotations

import math
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
# Of the batch, at most so many rows and characters are looked at.
ROWS = 8
CHARS = 32
# A gate beyond is saturated (Karpathy et al. 2015, "Visualizing and
# Understanding Recurrent Networks").
CLOSED = 0.1
OPEN = 0.9
CONSTANT = 0.01  # a unit whose output stays within so narrow a range, out of 2, tells nothing
# In the order of their rows; the dots are no gates.
GATES = {"rnn": "", "lstm": "if.o", "gru": "rz.", "gru-before": "rz."}


@dataclass(frozen=True)
class Health:
    """What was measured at a step. Groups: embedding, layer0.input, layer0.recurrent, ..., head.

    grad_norm: of each group, before clipping.
    update_ratio: of each group, norm of the update over norm of the weights; around 0.001 is usual.
    saturated: share of the values of each gate of each layer that lie below CLOSED or above OPEN
        (layer0.f); for an RNN, of the outputs beyond OPEN in size (layer0.h).
    constant_units: of each layer, out of `units`.
    """

    step: int
    grad_norm: dict[str, float]
    update_ratio: dict[str, float]
    saturated: dict[str, float]
    constant_units: dict[str, int]
    units: int

    def record(self) -> dict[str, Any]:
        """Return a line of metrics.jsonl."""
        names = ("step", "grad_norm", "update_ratio", "saturated", "constant_units")
        return {"event": "health"} | {name: getattr(self, name) for name in names}

    def line(self) -> str:
        """Return a line for a person: each part's gradient and gates, extremes of the rest."""
        norms: dict[str, float] = {}
        for name, norm in self.grad_norm.items():
            part = name.split(".")[0]
            norms[part] = (norms.get(part, 0.0) ** 2 + norm**2) ** 0.5
        shares: dict[str, list[float]] = {}
        for name, share in self.saturated.items():
            shares.setdefault(name.split(".")[0], []).append(share)
        ratios = self.update_ratio.values()
        gradient = ", ".join(f"{part} {norm:.2g}" for part, norm in norms.items())
        saturated = ", ".join(
            f"{part} {sum(gates) / len(gates):.0%}" for part, gates in shares.items()
        )
        constant = sum(self.constant_units.values())
        units = self.units * len(self.constant_units)
        return (
            f"health at step {self.step:,}: gradient {gradient}; "
            f"update/weight {min(ratios):.1g} to {max(ratios):.1g}; "
            f"saturated {saturated}; constant units {constant} of {units}"
        )


@dataclass(frozen=True)
class Before:
    """The weights, and the state of the rows looked at (L, ROWS, H), before a step."""

    weights: list[Tensor]
    state: State


class Watch:
    """Looks at a training step from before and from after it."""

    def __init__(self, model: CharModel) -> None:
        self._model = model
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._groups = [_group(name) for name, _ in trained]
        self._parameters = [parameter for _, parameter in trained]
        self._latest: Health | None = None  # measured and not yet shown

    def before(self, batch: Batch, state: State, step: int) -> Before | None:
        """Return what is needed of the moment before a step, if that step is to be measured.

        step: how many steps are done.
        """
        if step % EVERY:
            return None
        rows = min(ROWS, len(batch.inputs))
        if batch.fresh:
            state = self._model.zero_state(rows)
        else:
            state = tuple(part[:, :rows].clone() for part in state)
        return Before([parameter.detach().clone() for parameter in self._parameters], state)

    def after(self, before: Before, batch: Batch, norm: float, step: int) -> Health:
        """Measure after the update.

        norm: of the whole gradient before clipping. step: its number, from 1.
        """
        # 1. Norms of gradient (clipped by now), update and weights, in one transfer
        with torch.no_grad():
            weights = [parameter.detach() for parameter in self._parameters]
            gradients = [
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                for parameter in self._parameters
            ]
            updates = torch._foreach_sub(weights, before.weights)
            norms = torch.stack([_norms(gradients), _norms(updates), _norms(before.weights)])
            of_gradient, of_update, of_weight = map(self._by_group, norms.tolist())
            saturated, constant = self._gates(batch, before.state)

        # 2. Their ratios
        clipped = sum(value**2 for value in of_gradient.values()) ** 0.5
        grad_norm = dict.fromkeys(of_gradient, 0.0)
        if clipped:
            grad_norm = {group: value * norm / clipped for group, value in of_gradient.items()}
        update_ratio = {}
        for group, weight in of_weight.items():
            update_ratio[group] = of_update[group] / weight if weight else math.nan
        self._latest = Health(
            step, grad_norm, update_ratio, saturated, constant, self._model.hidden_size
        )
        return self._latest

    def news(self) -> str | None:
        """Return the line of the latest measurement, once."""
        health = self._latest
        self._latest = None
        return health.line() if health is not None else None

    def _by_group(self, norms: list[float]) -> dict[str, float]:
        squares: dict[str, float] = {}
        for group, norm in zip(self._groups, norms, strict=True):
            squares[group] = squares.get(group, 0.0) + norm**2
        return {group: square**0.5 for group, square in squares.items()}

    def _gates(self, batch: Batch, state: State) -> tuple[dict[str, float], dict[str, int]]:
        """Read a part of the batch once more, without dropout.

        Returns saturated shares and constant units.
        """
        # 1. Read
        rows = state[0].shape[1]
        device = self._model.head.bias.device
        ids = batch.inputs[:rows, :CHARS]
        targets = batch.targets[:rows, :CHARS]
        is_real = (targets != IGNORED).t().to(device)  # (T, B): not the padding of lines
        was_training = self._model.training
        self._model.eval()
        layers = self._model.trace(ids.to(device), state)
        self._model.train(was_training)

        # 2. Measure, and fetch all figures in one transfer
        names: list[str] = []
        shares: list[Tensor] = []
        constant: list[Tensor] = []
        for k, (inputs, outputs) in enumerate(layers):
            layer = self._shares(k, inputs.float(), outputs.float(), state[0][k], is_real)
            names += layer.keys()
            shares += layer.values()
            values = outputs.float()[is_real]
            constant.append((values.amax(0) - values.amin(0) < CONSTANT).sum().float())
        figures = torch.stack([*shares, *constant]).tolist()
        counts = figures[len(names) :]
        return (
            dict(zip(names, figures[: len(names)], strict=True)),
            {f"layer{k}": int(count) for k, count in enumerate(counts)},
        )

    def _shares(
        self, k: int, inputs: Tensor, outputs: Tensor, h0: Tensor, is_real: Tensor
    ) -> dict[str, Tensor]:
        """Return what is saturated of layer k, by gate.

        inputs (T, B, K), outputs (T, B, H), h0 (B, H) before them, is_real (T, B).
        """
        gates = GATES[self._model.settings.cell]
        if not gates:
            return {f"layer{k}.h": (outputs[is_real].abs() > OPEN).float().mean()}
        earlier = torch.cat([h0[None], outputs[:-1]])  # (T, B, H): what each step read
        weight_ih, weight_hh, bias_ih, bias_hh = (
            self._model.recurrent.get_parameter(f"{name}_l{k}").chunk(len(gates))
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        shares = {}
        for index, gate in enumerate(gates):
            if gate == ".":
                continue
            from_input = F.linear(inputs[is_real], weight_ih[index], bias_ih[index])
            from_state = F.linear(earlier[is_real], weight_hh[index], bias_hh[index])
            value = torch.sigmoid(from_input + from_state)
            is_saturated = (value < CLOSED) | (value > OPEN)
            shares[f"layer{k}.{gate}"] = is_saturated.float().mean()
        return shares


def _group(name: str) -> str:
    """recurrent.weight_hh_l0 -> layer0.recurrent; embedding.weight -> embedding."""
    owner, _, rest = name.partition(".")
    if owner != "recurrent":
        return owner
    kind, _, layer = rest.rpartition("_l")
    part = "input" if kind.endswith("_ih") else "recurrent"
    return f"layer{layer}.{part}"


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(tensors))).double()

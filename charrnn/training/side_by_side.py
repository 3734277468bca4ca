"""One update of many networks at once: each with its own loss, norm and clipping.

Shapes: M networks, B lanes, T characters, L layers, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.config import TrainingSettings
from charrnn.machine.runtime import step_seed
from charrnn.model.stacked import StackedModel
from charrnn.training.graph import Graph
from charrnn.training.optim import TorchOptimizer

MATRIX_DIMS = 3  # a matrix of each network


class MembersStepped(NamedTuple):
    """What a step did: mean nats a character and gradient norms before clipping, (M,) each.

    A network whose norm is not finite learnt nothing from this step.
    """

    nats_per_char: list[float]
    norms: list[float]


class StackedStep:
    """Makes updates of M networks on batches of one shape (M, B, T).

    graph: records the step at its first batch and replays it; None: every step runs as it is. The
    state is carried inside, and begins empty.
    """

    def __init__(
        self,
        model: StackedModel,
        settings: TrainingSettings,
        seeds: Sequence[int],
        shape: tuple[int, int],
        graph: Graph | None = None,
    ) -> None:
        self.optimizer = TorchOptimizer(model, settings, MATRIX_DIMS)
        self._model = model
        self._clip = settings.clip
        self._seeds = tuple(seeds)
        self._graph = graph
        self._is_recorded = False
        self._draws = bool(model.settings.dropout or model.settings.weight_drop)

        # What a replay reads and writes. figures (2, M): mean nats per character; norms.
        device = next(model.parameters()).device
        self._inputs = torch.zeros((model.members, *shape), dtype=torch.int64, device=device)
        self._targets = torch.zeros_like(self._inputs)
        self._state = model.zero_state(shape[0])
        self._lr = torch.zeros((), device=device)
        self._no_skip = torch.zeros((), device=device)
        self._figures = torch.zeros((2, model.members), device=device)

    def __call__(
        self, inputs: Tensor, targets: Tensor, lr: float, step: int, *, fresh: bool = False
    ) -> MembersStepped:
        """Make the update of one batch. inputs, targets (M, B, T).

        step: the number that dropout is seeded with. fresh: begin from the empty state.
        """
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        if fresh:
            self._state.zero_()
        self._seed(step)
        if self._graph is not None and not self._is_recorded:
            self._record(self._graph, step)
        self._lr.fill_(lr)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._work()
        nats_per_char, norms = self._figures.tolist()
        return MembersStepped(nats_per_char, norms)

    def _seed(self, step: int) -> None:
        if self._draws:
            self._model.seed_masks([step_seed(seed, step) for seed in self._seeds])

    def _record(self, graph: Graph, step: int) -> None:
        """Record the step, changing nothing: with a rate of 0, moments and state put back."""
        self._lr.zero_()
        state = self._state.clone()
        moments = {name: value.clone() for name, value in self.optimizer.tensors().items()}
        graph.capture(self._work)
        for name, value in self.optimizer.tensors().items():
            value.copy_(moments.get(name, torch.zeros_like(value)))
        self._state.copy_(state)
        self._is_recorded = True
        self._seed(step)

    def _work(self) -> None:
        """Make the step, from static memory to static memory, without a look at any value."""
        self.optimizer.zero_grad()
        nats, after = self._model.nats(self._inputs, self._targets, self._state)
        means = nats / self._targets[0].numel()
        torch.autograd.backward(means.sum())
        norms = self._clip_members()
        self.optimizer.step_on_device(self._lr, self._no_skip)
        self._figures.copy_(torch.stack([means.detach(), norms]))
        is_finite = torch.isfinite(norms).view(1, -1, 1, 1)
        self._state.copy_(torch.where(is_finite, after.detach(), 0.0))

    def _clip_members(self) -> Tensor:
        """Clip the gradient of each network by its own norm. Returns the norms before, (M,)."""
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
        norms = torch.stack(squares).sum(0).sqrt()
        scales = torch.ones_like(norms)
        if self._clip > 0:
            scales = (self._clip / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            by_member = (-1, *(1 for _ in gradient.shape[1:]))
            clipped = gradient * scales.view(by_member)
            is_finite = torch.isfinite(norms).view(by_member)
            gradient.copy_(torch.where(is_finite, clipped, 0.0))
        return norms

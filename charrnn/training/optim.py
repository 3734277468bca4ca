"""Optimiser, learning-rate schedule, clipping, and the plan that turns a budget into steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import TrainingSettings


@dataclass(frozen=True)
class Plan:
    """How many steps, and how often to look, save and sample. Recorded in every checkpoint.

    None: not decided yet, because a budget or a duration waits for the first timed steps. From the moment that
    everything is decided the weights depend on no clock. The schedule's progress runs from start_progress at
    start_step to 1 at total_steps, so that a plan made anew goes on without a jump.
    """

    total_steps: int | None = None
    eval_steps: int | None = None
    save_steps: int | None = None
    sample_steps: int | None = None
    start_step: int = 0
    start_progress: float = 0.0

    @property
    def is_decided(self) -> bool:
        return None not in (self.total_steps, self.eval_steps, self.save_steps, self.sample_steps)

    def progress(self, step: int) -> float:
        """Share of the schedule that lies behind, 0 to 1; 0 while the length is not decided."""
        if self.total_steps is None:
            return 0.0
        span = max(1, self.total_steps - self.start_step)
        return min(1.0, self.start_progress + (1 - self.start_progress) * (step - self.start_step) / span)

    def with_length(self, step: int, total_steps: int, *, keep_rate: bool) -> Plan:
        """The plan from this step on, for another length.

        keep_rate: the learning rate goes on from where it is (the machine's speed has changed). Otherwise it becomes
        what it would be had this length been asked for from the start (a person asked for more).
        """
        progress = self.progress(step) if keep_rate else step / max(1, total_steps)
        return dataclasses.replace(self, total_steps=max(step, total_steps), start_step=step, start_progress=progress)


def learning_rate(step: int, plan: Plan, settings: TrainingSettings, peak: float) -> float:
    """The learning rate of this step (0-based): linear warm-up, then cosine or linear to zero, or constant."""
    warmup = settings.warmup if plan.total_steps is None else min(settings.warmup, plan.total_steps // 5)
    rising = min(1.0, (step + 1) / (warmup + 1))
    progress = plan.progress(step)
    falling = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
    return peak * rising * falling[settings.schedule]


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), fused, or plain SGD. Matrices decay; biases do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay or 0.0},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.0)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), fused=True)


def clip_by_norm(gradients: Iterable[Tensor], threshold: float) -> float:
    """Algorithm 1 of Pascanu et al. 2013, in place: if |g| >= threshold then g <- threshold / |g| * g. Returns |g|.

    Equal to torch.nn.utils.clip_grad_norm_ up to the 1e-6 that it adds to the norm; training uses that one.
    """
    gradients = list(gradients)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    if norm >= threshold:
        for gradient in gradients:
            gradient.mul_(threshold / norm)
    return norm


def clip_gradients(model: nn.Module, threshold: float) -> float:
    """Clip by the total norm (0: do not) and return that norm, before clipping. Not finite means: do not step."""
    if threshold > 0:
        return float(nn.utils.clip_grad_norm_(model.parameters(), threshold))
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as {parameter.key: tensor}."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """What optimizer_tensors returned, into a fresh optimiser."""
    states: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        owner, _, key = name.rpartition(".")
        states.setdefault(owner, {})[key] = value
    for name, parameter in model.named_parameters():
        if name in states:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in states[name].items()}

"""Optimiser, learning-rate schedule, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import TrainingSettings
from charrnn.training.plan import Plan


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

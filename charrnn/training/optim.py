"""Optimiser, learning-rate schedule, clipping.

On the CPU everything an optimiser touches lies in one piece of memory: zeroing, the norm, clipping and the update are
one call each. Elsewhere torch.optim does it. Both write the same checkpoint, so that a run moves between devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from charrnn.config import TrainingSettings
from charrnn.errors import CheckpointError
from charrnn.training.plan import Plan

BETAS, EPS = (0.9, 0.99), 1e-8  # of AdamW
ALIGNMENT = 16  # numbers: each parameter begins on a cache line, as one that torch allocates


def learning_rate(step: int, plan: Plan, settings: TrainingSettings, peak: float) -> float:
    """The learning rate of this step (0-based): linear warm-up, then cosine or linear to zero, or constant."""
    warmup = (
        settings.warmup if plan.total_steps is None else min(settings.warmup, plan.total_steps // 5)
    )
    rising = min(1.0, (step + 1) / (warmup + 1))
    progress = plan.progress(step)
    falling = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }
    return peak * rising * falling[settings.schedule]


class Optimizer(Protocol):
    """What one training step asks of an optimiser."""

    def zero_grad(self) -> None: ...

    def clip(self, threshold: float) -> float:
        """Clip by the total norm (0: do not) and return that norm, before clipping. Not finite means: do not step."""
        ...

    def step(self, lr: float) -> None: ...

    def tensors(self) -> dict[str, Tensor]:
        """Its state as {parameter.key: tensor}; empty before the first step."""
        ...

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` returned, here or on another device, in place of what there is. Raises CheckpointError."""
        ...


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or plain SGD, for a model that is already on its device.

    Matrices decay; biases do not.
    """
    if next(model.parameters()).device.type == "cpu":
        return FlatOptimizer(model, settings)
    return TorchOptimizer(model, settings)


class Piece(NamedTuple):
    """One parameter's part of the buffers, each view in the parameter's shape."""

    name: str
    parameter: nn.Parameter
    grad: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class FlatOptimizer:
    """AdamW or SGD on the CPU: parameters, gradients and moments are views of one buffer each.

        | weight_ih_l0 | weight_hh_l0 | ... | head.weight |  biases ...  |
        '------------- weight decay ----------------------'--- none -----'

    From here on the model's parameters must be written in place (copy_), never replaced. Without torch.optim, whose
    construction imports torch._dynamo: seconds of every start.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        named.sort(key=lambda pair: pair[1].dim() < 2)
        starts, end, decaying = [], 0, 0
        for _, parameter in named:
            starts.append(end)
            end += (
                -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
            )  # the gap stays 0: it changes no norm and no weight
            decaying = end if parameter.dim() >= 2 else decaying
        buffers = [torch.zeros(end) for _ in range(4 if settings.optimizer == "adamw" else 2)]
        self._values, self._grads = buffers[:2]
        self._pieces = [
            _piece(
                name, parameter, [buffer[start : start + parameter.numel()] for buffer in buffers]
            )
            for start, (name, parameter) in zip(starts, named, strict=True)
        ]
        ranges = ((slice(0, decaying), settings.weight_decay or 0.0), (slice(decaying, end), 0.0))
        self._groups = [
            ([buffer[part] for buffer in buffers], decay)
            for part, decay in ranges
            if part.start < part.stop
        ]
        self._is_adam = settings.optimizer == "adamw"
        self._steps = torch.tensor(0.0)

    def zero_grad(self) -> None:
        self._grads.zero_()
        for piece in self._pieces:
            piece.parameter.grad = piece.grad

    def clip(self, threshold: float) -> float:
        """As nn.utils.clip_grad_norm_, which costs as much again for what it looks up."""
        self._collect()
        norm = float(torch.linalg.vector_norm(self._grads))
        if 0 < threshold <= norm:
            self._grads.mul_(threshold / (norm + 1e-6))
        return norm

    def step(self, lr: float) -> None:
        untouched = [
            (tensor, tensor.clone())
            for piece in self._collect()
            for tensor in (piece.parameter.detach(), piece.exp_avg, piece.exp_avg_sq)
        ]
        self._steps += 1
        for buffers, decay in self._groups:
            if self._is_adam:
                _adamw(buffers, self._steps, lr, decay)
            else:
                _sgd(buffers, lr, decay)
        for tensor, before in untouched:
            tensor.copy_(before)

    def tensors(self) -> dict[str, Tensor]:
        if not self._is_adam or not self._steps:
            return {}
        found: dict[str, Tensor] = {}
        for piece in self._pieces:
            state = {"exp_avg": piece.exp_avg, "exp_avg_sq": piece.exp_avg_sq, "step": self._steps}
            found |= {f"{piece.name}.{key}": value for key, value in state.items()}
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        for piece in self._pieces if self._is_adam else []:
            for key, target in (
                ("exp_avg", piece.exp_avg),
                ("exp_avg_sq", piece.exp_avg_sq),
                ("step", self._steps),
            ):
                value = tensors.get(f"{piece.name}.{key}")
                if value is None:
                    target.zero_()
                    continue
                value = (
                    value.reshape(()) if key == "step" and value.numel() == 1 else value
                )  # a file keeps it as (1,)
                if value.shape != target.shape:
                    raise CheckpointError(
                        f"the optimiser's {piece.name}.{key} has shape {tuple(value.shape)}, not {tuple(target.shape)}; "
                        "use another checkpoint"
                    )
                target.copy_(value)

    def _collect(self) -> list[Piece]:
        """Gradients that somebody put elsewhere, into the buffer. Returns what has none: that must not move."""
        absent = []
        for piece in self._pieces:
            elsewhere = piece.parameter.grad
            if elsewhere is None:
                piece.grad.zero_()
                absent.append(piece)
            elif elsewhere is not piece.grad:
                piece.grad.copy_(elsewhere)
                piece.parameter.grad = piece.grad
        return absent


class TorchOptimizer:
    """torch.optim's AdamW or SGD, fused, for a device where kernels want each parameter in its own layout.

    clip_on_device and step_on_device read nothing on the host, so that a CUDA graph can hold them.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self._model = model
        parameters = list(model.parameters())
        groups = [
            {
                "params": [p for p in parameters if p.dim() >= 2],
                "weight_decay": settings.weight_decay or 0.0,
            },
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(groups, lr=0.0, fused=True)
            if settings.optimizer == "sgd"
            else torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPS, fused=True)
        )

    def zero_grad(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def clip(self, threshold: float) -> float:
        return float(self.clip_on_device(threshold))

    def clip_on_device(self, threshold: float) -> Tensor:
        """As clip; the norm as a tensor ()."""
        parameters = list(self._model.parameters())
        if threshold > 0:
            return nn.utils.clip_grad_norm_(parameters, threshold)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def step(self, lr: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()

    def step_on_device(self, lr: Tensor, skip: Tensor) -> None:
        """As step, with the rate in a tensor () of the device. skip (): 1.0 leaves everything as it was, 0.0 does not."""
        is_captured = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
        for group in self._optimizer.param_groups:
            group["lr"], group["capturable"] = (
                lr,
                is_captured,
            )  # AdamW refuses a capture without it, and warns of it outside
        vars(self._optimizer)["found_inf"] = skip  # as torch.amp.GradScaler tells a fused optimiser
        try:
            self._optimizer.step()
        finally:
            del vars(self._optimizer)["found_inf"]
            for group in self._optimizer.param_groups:
                group["capturable"] = False

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name, parameter in self._model.named_parameters()
            for key, value in self._optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        states: dict[str, dict[str, Any]] = {}
        for name, value in tensors.items():
            owner, _, key = name.rpartition(".")
            states.setdefault(owner, {})[key] = value
        for name, parameter in self._model.named_parameters():
            mine = self._optimizer.state.get(parameter, {})
            for value in mine.values():  # in place: a CUDA graph knows where they lie
                if isinstance(value, Tensor):
                    value.zero_()
            for key, value in states.get(name, {}).items():
                value = value.reshape(()) if key == "step" else value  # a file keeps it as (1,)
                if key in mine:
                    mine[key].copy_(value)
                else:
                    self._optimizer.state[parameter][key] = value.to(parameter.device)


def clip_by_norm(gradients: Iterable[Tensor], threshold: float) -> float:
    """Algorithm 1 of Pascanu et al. 2013, in place: if |g| >= threshold then g <- threshold / |g| * g. Returns |g|.

    Equal to torch.nn.utils.clip_grad_norm_ up to the 1e-6 that it adds to the norm; training clips as that does.
    """
    gradients = list(gradients)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    if norm >= threshold:
        for gradient in gradients:
            gradient.mul_(threshold / norm)
    return norm


def _piece(name: str, parameter: nn.Parameter, flat: list[Tensor]) -> Piece:
    """Move a parameter into its part of the buffers (values, gradients, moments); its values stay what they are."""
    value, grad, *moments = (part.view(parameter.shape) for part in flat)
    value.copy_(parameter.detach())
    parameter.data, parameter.grad = value, grad
    return Piece(name, parameter, grad, *(moments or (grad.new_zeros(0), grad.new_zeros(0))))


def _adamw(buffers: list[Tensor], steps: Tensor, lr: float, decay: float) -> None:
    """One update in place; what torch.optim.AdamW(fused=True) calls. buffers: values, gradients and both moments."""
    values, grads, exp_avg, exp_avg_sq = ([buffer] for buffer in buffers)
    named: dict[str, Any] = {
        "beta1": BETAS[0],
        "beta2": BETAS[1],
        "eps": EPS,
        "amsgrad": False,
        "maximize": False,
    }
    torch._fused_adamw_(
        values, grads, exp_avg, exp_avg_sq, [], [steps], lr=lr, weight_decay=decay, **named
    )


def _sgd(buffers: list[Tensor], lr: float, decay: float) -> None:
    """p <- p - lr (g + decay p), as torch.optim.SGD: decay is coupled. buffers: values and gradients."""
    values, grads = buffers
    values.add_(grads.add(values, alpha=decay) if decay else grads, alpha=-lr)

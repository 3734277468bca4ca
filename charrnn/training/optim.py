"""Optimiser, learning-rate schedule, clipping.

On the CPU everything an optimiser touches lies in one piece of memory: zeroing, the norm, clipping
and the update are one call each. Elsewhere torch.optim does it. Both write the same checkpoint, so
that a run moves between devices.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from charrnn.config import TrainingSettings
from charrnn.errors import CheckpointError
from charrnn.training.plan import Plan

BETAS = (0.9, 0.99)  # of AdamW
EPS = 1e-8
ALIGNMENT = 16  # numbers: each parameter begins on a cache line, as one that torch allocates


def learning_rate(step: int, plan: Plan, settings: TrainingSettings, peak: float) -> float:
    """Return the learning rate of this step (0-based).

    It warms up linearly, then falls to zero (cosine or linear) or stays constant. Annealing, it
    falls to zero along a line.
    """
    warmup = settings.warmup
    if plan.total_steps is not None:
        warmup = min(warmup, plan.total_steps // 5)
    rising = min(1.0, (step + 1) / (warmup + 1))
    return peak * rising * schedule_share(step, plan, settings)


def schedule_share(step: int, plan: Plan, settings: TrainingSettings) -> float:
    """Return what the schedule leaves of the peak learning rate at this step (0-based)."""
    if plan.annealed_from is not None and plan.total_steps is not None:
        span = max(1, plan.total_steps - plan.annealed_from)
        return plan.annealed_share * max(0.0, (plan.total_steps - step) / span)
    progress = plan.progress(step)
    falling = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }
    return falling[settings.schedule]


class Optimizer(Protocol):
    """What one training step asks of an optimiser."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def clip(self, threshold: float) -> float:
        """Clip by the total norm (0: do not).

        Returns that norm, before clipping; if not finite, do not step.
        """
        ...

    def take_gradients(self) -> Tensor:
        """Return the gradients as they are (N,), in memory of their own."""
        ...

    def put_gradients(self, flat: Tensor) -> None:
        """Put these gradients (N,) where `take_gradients` took them."""
        ...

    def step(self, lr: float) -> None:
        """Update the parameters."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return its state as {parameter.key: tensor}; empty before the first step."""
        ...

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take in what `tensors` returned, here or on another device. Raises CheckpointError."""
        ...


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) or plain SGD, for a model on its device.

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

    From here on the model's parameters must be written in place (copy_), never replaced. Without
    torch.optim, whose construction imports torch._dynamo: seconds of every start.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        # 1. Where each parameter lies: matrices first. A gap stays 0: it changes no norm
        # and no weight.
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        trained.sort(key=lambda pair: pair[1].dim() < 2)
        starts = []
        end = 0
        decay_end = 0
        for _, parameter in trained:
            starts.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
            if parameter.dim() >= 2:
                decay_end = end

        # 2. The buffers (end,): values, gradients and, for AdamW, both moments
        self._is_adam = settings.optimizer == "adamw"
        self._steps = torch.tensor(0.0)
        buffers = [torch.zeros(end) for _ in range(4 if self._is_adam else 2)]
        self._grads = buffers[1]
        self._pieces = []
        for start, (name, parameter) in zip(starts, trained, strict=True):
            stop = start + parameter.numel()
            self._pieces.append(_piece(name, parameter, [part[start:stop] for part in buffers]))

        # 3. What decays, and what does not
        decay = settings.weight_decay or 0.0
        self._groups = []
        for start, stop, weight_decay in ((0, decay_end, decay), (decay_end, end, 0.0)):
            if start < stop:
                self._groups.append(([part[start:stop] for part in buffers], weight_decay))

    def zero_grad(self) -> None:
        """Set the buffer of gradients to zero."""
        self._grads.zero_()
        for piece in self._pieces:
            piece.parameter.grad = piece.grad

    def clip(self, threshold: float) -> float:
        """Clip like nn.utils.clip_grad_norm_, which costs as much again for what it looks up."""
        self._collect()
        norm = float(torch.linalg.vector_norm(self._grads))
        if 0 < threshold <= norm:
            self._grads.mul_(threshold / (norm + 1e-6))
        return norm

    def take_gradients(self) -> Tensor:
        """Return a copy of the buffer."""
        self._collect()
        return self._grads.clone()

    def put_gradients(self, flat: Tensor) -> None:
        """Copy these into the buffer."""
        self._grads.copy_(flat)

    def step(self, lr: float) -> None:
        """Update everything at once; what has no gradient is put back."""
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
        """Return the moments and the number of steps, as torch.optim names them."""
        if not self._is_adam or not self._steps:
            return {}
        return {
            f"{piece.name}.{key}": value
            for piece in self._pieces
            for key, value in self._state_of(piece).items()
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take in what `tensors` returned; what is absent becomes zero. Raises CheckpointError."""
        if not self._is_adam:
            return
        for piece in self._pieces:
            for key, target in self._state_of(piece).items():
                value = tensors.get(f"{piece.name}.{key}")
                if value is None:
                    target.zero_()
                    continue
                if key == "step" and value.numel() == 1:
                    value = value.reshape(())  # a file keeps it as (1,)
                if value.shape != target.shape:
                    raise CheckpointError(
                        f"the optimiser's {piece.name}.{key} has shape {tuple(value.shape)}, "
                        f"not {tuple(target.shape)}; use another checkpoint"
                    )
                target.copy_(value)

    def _state_of(self, piece: Piece) -> dict[str, Tensor]:
        return {"exp_avg": piece.exp_avg, "exp_avg_sq": piece.exp_avg_sq, "step": self._steps}

    def _collect(self) -> list[Piece]:
        """Bring gradients that somebody put elsewhere into the buffer.

        Returns the parameters that have none: they must not move.
        """
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
    """torch.optim's AdamW or SGD, fused, for a device that wants each parameter by itself.

    clip_on_device and step_on_device read nothing on the host, so that a CUDA graph can hold them.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, matrix_dims: int = 2) -> None:
        """matrix_dims: dimensions from which on a parameter is a matrix, whose weights decay."""
        self._model = model
        matrices = [p for p in model.parameters() if p.dim() >= matrix_dims]
        biases = [p for p in model.parameters() if p.dim() < matrix_dims]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay or 0.0},
            {"params": biases, "weight_decay": 0.0},
        ]
        self._optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(groups, lr=0.0, fused=True)
        else:
            self._optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPS, fused=True)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def clip(self, threshold: float) -> float:
        """Clip, and fetch the norm to the host."""
        return float(self.clip_on_device(threshold))

    def clip_on_device(self, threshold: float) -> Tensor:
        """Clip by the total norm (0: do not). Returns that norm as a tensor (), before clipping."""
        parameters = list(self._model.parameters())
        if threshold > 0:
            return nn.utils.clip_grad_norm_(parameters, threshold)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def take_gradients(self) -> Tensor:
        """Return the gradients of all that learns, one after the other."""
        return torch.cat([_gradient(p).reshape(-1) for p in self._learning()])

    def put_gradients(self, flat: Tensor) -> None:
        """Cut them into the parameters' gradients."""
        parameters = self._learning()
        parts = torch.split(flat, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view(parameter.shape)

    def _learning(self) -> list[nn.Parameter]:
        return [p for p in self._model.parameters() if p.requires_grad]

    def step(self, lr: float) -> None:
        """Update with a rate of the host."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()

    def step_on_device(self, lr: Tensor, skip: Tensor) -> None:
        """Update with the rate in a tensor () of the device.

        skip (): 1.0 leaves everything as it was, 0.0 does not.
        """
        is_captured = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
        for group in self._optimizer.param_groups:
            group["lr"] = lr
            group["capturable"] = is_captured  # AdamW needs it in a capture, and warns outside
        vars(self._optimizer)["found_inf"] = skip  # as torch.amp.GradScaler tells a fused optimiser
        try:
            self._optimizer.step()
        finally:
            del vars(self._optimizer)["found_inf"]
            for group in self._optimizer.param_groups:
                group["capturable"] = False

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of torch.optim."""
        return {
            f"{name}.{key}": value
            for name, parameter in self._model.named_parameters()
            for key, value in self._optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take in what `tensors` returned, in place: a CUDA graph knows where the tensors lie."""
        states: dict[str, dict[str, Any]] = {}
        for name, value in tensors.items():
            owner, _, key = name.rpartition(".")
            states.setdefault(owner, {})[key] = value
        for name, parameter in self._model.named_parameters():
            state = self._optimizer.state.get(parameter, {})
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()
            for key, value in states.get(name, {}).items():
                if key == "step":
                    value = value.reshape(())  # a file keeps it as (1,)
                if key in state:
                    state[key].copy_(value)
                else:
                    self._optimizer.state[parameter][key] = value.to(parameter.device)


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Return a parameter's gradient; zeros where it has none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _piece(name: str, parameter: nn.Parameter, flat: list[Tensor]) -> Piece:
    """Move a parameter, with its values, into its part of the buffers."""
    value, grad, *moments = (part.view(parameter.shape) for part in flat)
    value.copy_(parameter.detach())
    parameter.data = value
    parameter.grad = grad
    exp_avg, exp_avg_sq = moments or (grad.new_zeros(0), grad.new_zeros(0))  # SGD has none
    return Piece(name, parameter, grad, exp_avg, exp_avg_sq)


def _adamw(buffers: list[Tensor], steps: Tensor, lr: float, decay: float) -> None:
    """Update in place by what torch.optim.AdamW(fused=True) calls.

    buffers: values, gradients, both moments.
    """
    values, grads, exp_avg, exp_avg_sq = ([buffer] for buffer in buffers)
    torch._fused_adamw_(
        values,
        grads,
        exp_avg,
        exp_avg_sq,
        [],
        [steps],
        lr=lr,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=decay,
        eps=EPS,
        amsgrad=False,
        maximize=False,
    )


def _sgd(buffers: list[Tensor], lr: float, decay: float) -> None:
    """Update p <- p - lr (g + decay p), as torch.optim.SGD: decay is coupled.

    buffers: values and gradients.
    """
    values, grads = buffers
    if decay:
        grads = grads.add(values, alpha=decay)
    values.add_(grads, alpha=-lr)

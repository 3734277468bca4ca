"""One training step: forward, loss, backward, clip, check, update. It knows nothing of the loop around it."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from charrnn.config import Settings
from charrnn.machine import runtime
from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State
from charrnn.text.batches import IGNORED, Batch
from charrnn.training.optim import Optimizer


class Stepped(NamedTuple):
    """What a step did. norm: of the gradient, before clipping. state: after the batch, zeros if the step was bad."""

    nats_per_char: float
    norm: float
    state: State
    chars: int

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient were: if not, nothing was updated."""
        return math.isfinite(self.norm) and math.isfinite(self.nats_per_char)


class Step(Protocol):
    """A batch, the state carried into it, a learning rate and the step's number -> one update."""

    def __call__(self, batch: Batch, state: State, lr: float, step: int) -> Stepped: ...


class TrainStep:
    """A batch, the state carried into it and a learning rate -> one update of model and optimiser."""

    def __init__(self, model: CharModel, optimizer: Optimizer, settings: Settings) -> None:
        self.model, self.optimizer = model, optimizer
        self._clip, self._seed = settings.training.clip, settings.training.seed
        self._piece_chars = settings.training.checkpoint_every_chars

    def __call__(self, batch: Batch, state: State, lr: float, step: int) -> Stepped:
        """step: the number that dropout is seeded with. state (L, B, H) each; not read where the batch is fresh."""
        device = self.model.head.bias.device
        before = self.model.zero_state(len(batch.inputs)) if batch.fresh else state
        chars = int((batch.targets != IGNORED).sum())
        inputs, targets = (
            pinned(ids, device).to(device, non_blocking=True)
            for ids in (batch.inputs, batch.targets)
        )
        self.optimizer.zero_grad()
        nats_per_char, after = self._backward(inputs, targets, before, chars, step)
        done = Stepped(nats_per_char, self.optimizer.clip(self._clip), after, chars)
        if not done.is_finite:
            return done._replace(state=tuple(torch.zeros_like(part) for part in after))
        self.optimizer.step(lr)
        return done

    def _backward(
        self, inputs: Tensor, targets: Tensor, state: State, chars: int, step: int
    ) -> tuple[float, State]:
        """Gradients of the mean nats per character. Returns that mean and the state after the last character.

        With pieces, a forward pass keeps only the states between them; then each piece, from the last, is computed
        again and its backward pass hands the gradient of its state to the one before (Chen et al. 2016, "Training Deep
        Nets with Sublinear Memory Cost"). By hand: torch.utils.checkpoint imports torch._dynamo, a second of every start.
        """
        size = self._piece_chars or inputs.shape[1]
        pieces = list(zip(inputs.split(size, 1), targets.split(size, 1), strict=True))
        states = [state]
        with torch.no_grad():
            for k, (piece, _) in enumerate(pieces[:-1]):
                self._seed_dropout(step, k)
                states.append(self.model.advance(piece, states[-1]))
        losses, last, d_state = [], state, None
        for k, (piece, wanted) in reversed(list(enumerate(pieces))):
            before = tuple(part.detach().requires_grad_(k > 0) for part in states[k])
            loss, after = self._backward_of_piece(piece, wanted, before, chars, d_state, step, k)
            losses.append(loss)
            last = after if d_state is None else last
            d_state = tuple(part.grad for part in before if part.grad is not None)
        return float(sum(losses)), last

    def _backward_of_piece(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State,
        chars: int,
        d_after: State | None,
        step: int,
        piece: int,
    ) -> tuple[Tensor, State]:
        """Add a piece's gradients to what is there. d_after: of its last state, from the piece behind it.

        Returns its share of the loss and its last state, both without their graph: that is freed here.
        """
        nats, after = self._nats(ids, targets, state, step, piece)
        loss = nats / chars
        if (
            d_after is None or not after[0].requires_grad
        ):  # the latter: all below the head is frozen
            loss.backward()
        else:
            torch.autograd.backward((loss, *after), (None, *d_after))
        return loss.detach(), tuple(part.detach() for part in after)

    def _nats(
        self, ids: Tensor, targets: Tensor, state: State, step: int, piece: int
    ) -> tuple[Tensor, State]:
        """Sum of nats and last state, with the dropout of this piece of this step: drawn again, it is the same."""
        self._seed_dropout(step, piece)
        return self.model.nats(ids, targets, state)

    def _seed_dropout(self, step: int, piece: int) -> None:
        if self.model.is_random:
            runtime.seed_step(self._seed, step, piece)


def some_emptied(state: State, lanes: int, share: float, seed: int, step: int) -> State:
    """The state (L, B, H) each with this share of its lanes emptied, drawn from (seed, step): a resume draws the same."""
    if not share:
        return state
    is_kept = torch.from_numpy(np.random.default_rng([seed, step]).random(lanes) >= share)
    return tuple(part * is_kept.to(part.device)[:, None] for part in state)


def pinned(ids: Tensor, device: torch.device) -> Tensor:
    """The same on the host, in memory from which a GPU copies while the host goes on."""
    return ids.contiguous().pin_memory() if device.type == "cuda" else ids

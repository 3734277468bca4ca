"""One training step: forward, loss, backward, clip, check, update.

It knows nothing of the loop around it.
Shapes: B rows of a batch, T characters, L layers, H hidden units.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from charrnn.config import Settings, TrainingSettings
from charrnn.machine.runtime import step_seed
from charrnn.model.charmodel import CharModel
from charrnn.model.dropout import seeded
from charrnn.model.recurrent import State, emptied
from charrnn.text.batches import IGNORED, Batch
from charrnn.training.optim import Optimizer


class Stepped(NamedTuple):
    """What a step did.

    norm: of the gradient, before clipping. state: after the batch, zeros if the step was bad.
    """

    nats_per_char: float
    norm: float
    state: State
    chars: int

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are finite: if not, nothing was updated."""
        return math.isfinite(self.norm) and math.isfinite(self.nats_per_char)


class Step(Protocol):
    """Makes one update: from a batch, the carried state, a learning rate, the step's number."""

    def __call__(self, batch: Batch, state: State, lr: float, step: int, /) -> Stepped: ...


def of_characters(step: Step, ids_per_char: float) -> Step:
    """Return the step with nats of characters, of which some have several ids."""
    if ids_per_char == 1.0:
        return step

    def step_of_characters(batch: Batch, state: State, lr: float, number: int) -> Stepped:
        result = step(batch, state, lr, number)
        return result._replace(nats_per_char=result.nats_per_char * ids_per_char)

    return step_of_characters


class TrainStep:
    """Makes one update of model and optimiser."""

    def __init__(self, model: CharModel, optimizer: Optimizer, settings: Settings) -> None:
        self.model = model
        self.optimizer = optimizer
        self._clip = settings.training.clip
        self._seed = settings.training.seed
        self._piece_chars = settings.training.checkpoint_every_chars

    def __call__(self, batch: Batch, state: State, lr: float, step: int) -> Stepped:
        """Make the update of one batch.

        state (L, B, H) each; not read where the batch is fresh. step: the number that dropout is
        seeded with.
        """
        chars = int((batch.targets != IGNORED).sum())
        self.optimizer.zero_grad()
        nats_per_char, after = self.add_gradients(batch, state, chars, step)
        return self.update(nats_per_char, after, chars, lr)

    def update(self, nats_per_char: float, after: State, chars: int, lr: float) -> Stepped:
        """Clip the gradients that there are, and update, if they and the loss are finite."""
        result = Stepped(nats_per_char, self.optimizer.clip(self._clip), after, chars)
        if not result.is_finite:
            return result._replace(state=tuple(torch.zeros_like(part) for part in after))
        self.optimizer.step(lr)
        return result

    def add_gradients(
        self, batch: Batch, state: State, chars: int, step: int, shard: int = 0
    ) -> tuple[float, State]:
        """Add the gradients of a batch to those there are.

        chars: that the sum of nats is divided by; more than the batch's where it is a shard.
        Returns its share of the mean nats per character, and its last state.
        """
        device = self.model.head.bias.device
        before = self.model.zero_state(len(batch.inputs)) if batch.fresh else state
        inputs = pinned(batch.inputs, device).to(device, non_blocking=True)
        targets = pinned(batch.targets, device).to(device, non_blocking=True)
        return self._backward(inputs, targets, before, chars, step, shard)

    def _backward(
        self, inputs: Tensor, targets: Tensor, state: State, chars: int, step: int, shard: int
    ) -> tuple[float, State]:
        """Compute the gradients of the mean nats per character.

        Returns that mean and the last state.
        inputs, targets (B, T); state (L, B, H) each.

        With pieces, a forward pass keeps only the states between them; then each piece, from the
        last, is computed again and its backward pass hands the gradient of its state to the one
        before.
        Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". By hand, since
        torch.utils.checkpoint imports torch._dynamo, a second of every start.
        """
        # 1. Forward: the states (L, B, H) before each piece
        size = self._piece_chars or inputs.shape[1]
        pieces = list(zip(torch.split(inputs, size, 1), torch.split(targets, size, 1), strict=True))
        states = [state]
        with torch.no_grad():
            for k, (piece, _) in enumerate(pieces[:-1]):
                with drawing(self.model, self._seed, step, k, shard):
                    states.append(self.model.advance(piece, states[-1]))

        # 2. Backward, from the last piece to the first. d_state: gradient of the state
        # behind a piece.
        losses = []
        last = state
        d_state: State | None = None
        for k, (piece, piece_targets) in reversed(list(enumerate(pieces))):
            before = tuple(part.detach().requires_grad_(k > 0) for part in states[k])
            loss, after = self._backward_of_piece(
                piece, piece_targets, before, chars, d_state, step, k, shard
            )
            losses.append(loss)
            if d_state is None:
                last = after
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
        shard: int,
    ) -> tuple[Tensor, State]:
        """Add a piece's gradients to those there are.

        d_after: of its last state, from the piece behind it.
        Returns its share of the loss and its last state, both without their graph: that is freed
        here.
        """
        nats, after = self._nats(ids, targets, state, step, piece, shard)
        loss = nats / chars
        has_recurrent_gradient = after[0].requires_grad  # else all below the head is frozen
        if d_after is not None and has_recurrent_gradient:
            # What a convolution sees of the past has none where the embedding is frozen.
            pairs = zip(after, d_after, strict=True)
            learnt = [(part, d_part) for part, d_part in pairs if part.requires_grad]
            parts, d_parts = zip(*learnt, strict=True)
            torch.autograd.backward((loss, *parts), (None, *d_parts))
        else:
            torch.autograd.backward(loss)
        return loss.detach(), tuple(part.detach() for part in after)

    def _nats(
        self, ids: Tensor, targets: Tensor, state: State, step: int, piece: int, shard: int
    ) -> tuple[Tensor, State]:
        """Return the sum of nats and the last state, with the dropout of this piece of this step.

        Drawn again, the dropout is the same.
        """
        with drawing(self.model, self._seed, step, piece, shard):
            return self.model.nats(ids, targets, state)


def drawing(
    model: CharModel, seed: int, step: int, piece: int = 0, shard: int = 0
) -> AbstractContextManager[None]:
    """Return the block in which a piece of a step draws what to leave out."""
    if not model.is_random:
        return nullcontext()
    return seeded(step_seed(seed, step, piece, shard))


def carried_into(batch: Batch, state: State, training: TrainingSettings, step: int) -> State:
    """Return the state that a batch goes on with; not read where the batch is fresh."""
    if batch.begins is not None:
        return state if batch.fresh else emptied(state, ~batch.begins)
    share = 0.0 if batch.fresh else training.state_reset or 0.0
    return some_emptied(state, len(batch.inputs), share, training.seed, step)


def some_emptied(state: State, lanes: int, share: float, seed: int, step: int) -> State:
    """Return the state (L, B, H) each with this share of its lanes emptied.

    Drawn from (seed, step): a resume draws the same.
    """
    if not share:
        return state
    is_kept = torch.from_numpy(np.random.default_rng([seed, step]).random(lanes) >= share)
    return emptied(state, is_kept)


def pinned(ids: Tensor, device: torch.device) -> Tensor:
    """Return ids in memory from which a GPU copies while the host goes on, if the device is one."""
    if device.type == "cuda":
        return ids.contiguous().pin_memory()
    return ids

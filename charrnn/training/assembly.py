"""The parts of a training: settings and corpus -> device, batches, network, optimiser, step."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from charrnn.config import Settings
from charrnn.errors import CheckpointError, SettingsError
from charrnn.machine import backends, runtime
from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State
from charrnn.scoring.readers import SAMPLE, NatsReader, Placed, Share, summed
from charrnn.scoring.score import Score
from charrnn.scoring.validation import (
    most_chars,
    score_batches,
    validation,
    validation_chars,
)
from charrnn.terminal import one_line
from charrnn.text.batches import Batch, Batches
from charrnn.text.batching import make_batches
from charrnn.text.corpus import Corpus
from charrnn.training import memory, optim
from charrnn.training.average import WeightAverage
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.finetune import frozen_tensors
from charrnn.training.graph import Say, make_step
from charrnn.training.health import Watch
from charrnn.training.listener import Tensors
from charrnn.training.memory import Expected
from charrnn.training.optim import Optimizer
from charrnn.training.shards import ShardedStep
from charrnn.training.step import Step, of_characters

if TYPE_CHECKING:
    from charrnn.parallel.group import Group as Group
    from charrnn.training.leading import Leader

# Weights are drawn from torch's generator, which all threads share and find as it was.
_initializing = threading.Lock()

SAMPLE_CHARS = 1 << 15  # of the training text that are scored at the end
FORWARD_SHARE = 1 / 3  # of a step's work: what scoring a character costs beside learning from one


@dataclass(frozen=True)
class Parts:
    """What a training works with from its first step to its last.

    evaluation_steps: the work of one evaluation, in training steps.
    """

    device: torch.device
    backend: str
    why_backend: str
    precision: str
    expected_memory: Expected
    batches: Batches
    evaluation_steps: float
    model: CharModel
    optimizer: Optimizer
    average: WeightAverage
    update: Step
    watch: Watch | None
    sharded: ShardedStep | None = None  # what `update` does, where batches are cut into shards
    leader: Leader | None = None  # of a group: what this process tells the others

    def weights(self) -> Tensors:
        """Return the model's tensors on the CPU, float32."""
        return to_numpy(self.model.tensors())

    @property
    def stop_reason(self) -> str:
        """Return the signal that a process of the group got; "" without."""
        return self.leader.group.stop_reason if self.leader is not None else ""

    def gathered(self, state: State) -> State:
        """Return the carried state with the lanes that other processes of a group have."""
        return state if self.leader is None else self.leader.gathered(state)

    def load_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put these weights where the present ones are."""
        self.model.load_tensors(tensors)
        self._tell_weights()

    def _tell_weights(self) -> None:
        """Note that weights were changed by something else than a step."""
        if self.leader is not None:
            self.leader.is_stale = True

    def lift(self, lift: Sequence[tuple[int, float]]) -> None:
        """Raise the biases of characters: (id, nats) each."""
        self._tell_weights()
        with torch.no_grad():
            for index, nats in lift:
                self.model.head.bias[index] += nats

    @property
    def share(self) -> Share | None:
        """Return what reads batches with the other processes of a group, if there are some.

        None too where that would change bits.
        """
        return self.leader.read if self.leader is not None and self.leader.can_read else None

    def score_validation(self, corpus: Corpus) -> Score:
        """Return the score of the weights as they are on the validation text."""
        return validation(self.model, corpus, "val", self.device, share=self.share)

    def score_learnt(self, step: int) -> Score:
        """Return the score of the weights as they are on the batch of the step before this one."""
        batch = self.batches.batch(max(0, step - 1))
        return score_batches(self.model, iter([batch._replace(fresh=True)]), self.device)

    def score_sample(self) -> Score:
        """Return the score of the mean of the weights on some of the training text, dropout off.

        The first batches are lines of all parts of the text, or the beginnings of all lanes.
        """
        with self.average.in_place():
            if self.share is not None:
                return summed(self.share(SAMPLE, NatsReader(self.model), self.sample()))
            return score_batches(self.model, (batch for batch, _ in self.sample()), self.device)

    def sample(self) -> Placed:
        """Yield the batches of score_sample. Their places are not those of one text."""
        chars_per_step = self.batches.chars_per_epoch / self.batches.steps_per_epoch
        steps = min(self.batches.steps_per_epoch, math.ceil(SAMPLE_CHARS / chars_per_step))
        for step in range(steps):
            batch = self._cut(self.batches.batch(step))
            yield batch, np.zeros((len(batch.inputs), 0), np.int64)

    def _cut(self, batch: Batch) -> Batch:
        """Return a batch, or its beginning where its logits would take much memory at once."""
        most = max(1, most_chars(self.model) // len(batch.inputs))
        if batch.inputs.shape[1] <= most:
            return batch
        return Batch(batch.inputs[:, :most], batch.targets[:, :most], fresh=True)

    def load(self, checkpoint: Checkpoint) -> State:
        """Put weights, moments and mean where the checkpoint has them. Returns its carried state.

        Raises CheckpointError.
        """
        self.load_weights(to_torch(checkpoint.model.tensors))
        moments = {name: value.copy() for name, value in checkpoint.optimizer.items()}
        self.optimizer.load_tensors(to_torch(moments))
        self.average.load_tensors(to_torch(checkpoint.average))
        state = tuple(torch.tensor(part, device=self.device) for part in checkpoint.state)

        # Before a fresh batch the state is not read: any number of lanes will do.
        batch = self.batches.batch(checkpoint.step)
        lanes = len(batch.inputs)
        if batch.fresh and state and state[0].dim() == 3:
            lanes = state[0].shape[1]
        if _kinds(state) != _kinds(self.model.zero_state(lanes)):
            shown = one_line(str(checkpoint.path))
            raise CheckpointError(
                f"{shown}: its carried state does not fit its network; use another"
            )
        return state


def assemble(
    settings: Settings,
    corpus: Corpus,
    mixed: Corpus | None,
    say: Say,
    weights: Tensors | None,
    recorded_backend: str | None,
    group: Group | None = None,
) -> Parts:
    """Make the parts of a training; settings must be filled (recipe.fill).

    mixed: an older text for a share of each batch. weights: begin with these instead of random
    ones.
    recorded_backend: the one that an earlier part of this training used.
    group: the processes that compute the shards together.
    Raises SettingsError: nothing to validate on, or too large for the memory.
    """
    # 1. Batches
    training = settings.training
    assert training.batch_size is not None
    assert training.seq_length is not None
    check_validation(settings, corpus)
    device = runtime.prepare(settings.runtime)
    batches: Batches = make_batches(
        corpus, training.batch_size, training.seq_length, training.seed, mixed, training.mix
    )
    if training.checkpoint_every_chars and corpus.mode == "lines":
        raise SettingsError(
            "--checkpoint-every-chars is for long windows of a stream; "
            "lines are short: leave it out"
        )

    # 2. Memory and backend: refused before anything is allocated, measured only if it may fit.
    size = len(corpus.vocabulary)
    shape = (training.batch_size // (training.shards or 1), batches.longest)
    val_chars = validation_chars(corpus, "val")
    backend = backends.expected_backend(settings, device)
    expected = memory.expected_memory(settings, size, shape, backend, val_chars)
    memory.check_memory(expected, settings, shape, device)
    backend, why_backend = backends.pick(settings, size, shape, device, recorded_backend)
    expected = memory.expected_memory(settings, size, shape, backend, val_chars)
    memory.check_memory(expected, settings, shape, device)

    # 3. Network
    precision = backends.precision_of(settings.runtime, backend)
    with _initializing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        labels = len(corpus.vocabulary.labels)
        newline = corpus.vocabulary.newline or 0
        model = CharModel(settings.model, size, backend, precision, labels, newline)
    if weights is not None:
        model.load_tensors(to_torch(weights))
    frozen = frozen_tensors(settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    model.to(device)

    # 4. What updates it
    optimizer = optim.make_optimizer(model, training)
    update = make_step(model, optimizer, settings, corpus.mode, device, say, group)
    sharded = update if isinstance(update, ShardedStep) else None
    leader = None
    if group is not None and group.is_leader and sharded is not None:
        from charrnn.training.leading import Leader

        leader = Leader(group, sharded, model, optimizer)
        update = leader
    return Parts(
        device=device,
        backend=backend,
        why_backend=why_backend,
        precision=precision,
        expected_memory=expected,
        batches=batches,
        evaluation_steps=(
            FORWARD_SHARE * val_chars * batches.steps_per_epoch / batches.chars_per_epoch
        ),
        model=model,
        optimizer=optimizer,
        average=WeightAverage(model, training.ema or 0.0),
        update=of_characters(update, corpus.ids_per_char),
        watch=Watch(model) if settings.runtime.watch else None,
        sharded=sharded,
        leader=leader,
    )


def check_validation(settings: Settings, corpus: Corpus) -> None:
    """Raise SettingsError if the corpus leaves nothing to validate on."""
    if not len(corpus.split("val")):
        raise SettingsError(
            f"--split {settings.text.split} leaves nothing to validate on: "
            "give it a share, or --val FILE"
        )


def to_numpy(tensors: dict[str, torch.Tensor]) -> Tensors:
    """Return tensors on the CPU; those that are there already share their memory."""
    return {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}


def to_torch(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return tensors that share the arrays' memory."""
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _kinds(state: State) -> list[tuple[torch.dtype, torch.Size]]:
    return [(part.dtype, part.shape) for part in state]

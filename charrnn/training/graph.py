"""A training step as one CUDA graph, for batches of one shape: recorded once, launched whole.

An RNN's step is thousands of short kernels, and a host that launches them one by one takes longer
than the GPU needs to run them. What differs from step to step lies in tensors that stay where they
are: ids, state, learning rate.

Shapes: B lanes, T characters, L layers, H hidden units.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State
from charrnn.terminal import one_line
from charrnn.text.batches import Batch
from charrnn.training.optim import Optimizer, TorchOptimizer
from charrnn.training.shards import ShardedStep
from charrnn.training.step import Step, Stepped, TrainStep, drawing, pinned

if TYPE_CHECKING:
    from charrnn.parallel.group import Group

WARM_UP = 3  # runs before the recording, in which libraries choose their algorithms and allocate

Say = Callable[[str], None]


def make_step(
    model: CharModel,
    optimizer: Optimizer,
    settings: Settings,
    mode: str,
    device: torch.device,
    say: Say,
    group: Group | None = None,
) -> Step:
    """Return the step for a training: a graph on CUDA where shapes are static.

    Shapes are static where a stream is computed at once, neither in pieces nor in shards.
    mode: of the corpus, "stream" or "lines". say: told if recording fails; training then goes on
    without. group: the processes that share the shards.
    """
    one_by_one = TrainStep(model, optimizer, settings)
    shards = settings.training.shards or 1
    if shards > 1:
        return ShardedStep(one_by_one, shards, mode, group)
    is_static = mode == "stream" and not settings.training.checkpoint_every_chars
    if device.type != "cuda" or not is_static or not isinstance(optimizer, TorchOptimizer):
        return one_by_one
    return GraphedStep(model, optimizer, settings, one_by_one, CudaGraph(), say)


class Graph(Protocol):
    """What GraphedStep asks of a graph."""

    def capture(self, work: Callable[[], object]) -> None:
        """Record work. It may be run some times before."""
        ...

    def replay(self) -> None:
        """Do what was recorded, on the same memory."""
        ...


class GraphedStep:
    """TrainStep for batches of one shape (B, T), recorded at the first of them.

    Others, such as an epoch's shorter last one, are left to TrainStep, with the same optimiser.
    The state it returns is the graph's own memory: the next call changes it.
    """

    def __init__(
        self,
        model: CharModel,
        optimizer: TorchOptimizer,
        settings: Settings,
        one_by_one: Step,
        graph: Graph,
        say: Say,
    ) -> None:
        training = settings.training
        assert training.batch_size is not None
        assert training.seq_length is not None
        self._model = model
        self._optimizer = optimizer
        self._one_by_one = one_by_one
        self._graph = graph
        self._say = say
        self._clip = training.clip
        self._seed = training.seed
        self._is_recorded: bool | None = None  # None: not tried

        # What a replay reads
        device = model.head.bias.device
        shape = (training.batch_size, training.seq_length)
        self._inputs = torch.zeros(shape, dtype=torch.int64, device=device)  # (B, T)
        self._targets = torch.zeros_like(self._inputs)  # (B, T)
        self._state = model.zero_state(shape[0])  # (L, B, H) each, written too
        self._lr = torch.zeros((), device=device)

        # What a replay writes. figures (2,): mean nats per character; gradient
        # norm before clipping.
        self._gradients: list[tuple[torch.nn.Parameter, torch.Tensor | None]] = []
        self._figures = torch.zeros(2, device=device)

    def __call__(self, batch: Batch, state: State, lr: float, step: int) -> Stepped:
        """Make the update of one batch.

        state (L, B, H) each; not read where the batch is fresh. step: the number that dropout is
        seeded with.
        """
        if batch.inputs.shape != self._inputs.shape or not self._record():
            return self._one_by_one(batch, state, lr, step)
        self._fill(batch, state, lr)
        # A replay reads the seed that its generator has by then.
        with drawing(self._model, self._seed, step):
            self._graph.replay()
        for parameter, gradient in self._gradients:  # a step one by one may have put others there
            parameter.grad = gradient
        nats_per_char, norm = self._figures.tolist()
        return Stepped(nats_per_char, norm, self._state, batch.targets.numel())

    def _fill(self, batch: Batch, state: State, lr: float) -> None:
        device = self._inputs.device
        self._inputs.copy_(pinned(batch.inputs, device), non_blocking=True)
        self._targets.copy_(pinned(batch.targets, device), non_blocking=True)
        self._lr.fill_(lr)
        if batch.fresh:
            for part in self._state:
                part.zero_()
            return
        for part, before in zip(self._state, state, strict=True):
            if part is not before:
                part.copy_(before)

    def _record(self) -> bool:
        """Record the work if that was not tried yet, changing nothing.

        Returns whether there is a graph.
        """
        if self._is_recorded is not None:
            return self._is_recorded
        self._lr.zero_()  # so that the runs of the warm-up change moments only
        moments = {name: value.clone() for name, value in self._optimizer.tensors().items()}
        try:
            self._graph.capture(self._work)
            self._is_recorded = True
        except Exception as error:
            self._is_recorded = False
            self._say(
                f"note: no CUDA graph of the training step ({_reason(error)}): "
                "its kernels are launched one by one"
            )
        for name, value in self._optimizer.tensors().items():
            value.copy_(moments.get(name, torch.zeros_like(value)))
        return self._is_recorded

    def _work(self) -> None:
        """Make the step, from static memory to static memory, without a look at any value."""
        self._optimizer.zero_grad()
        nats, after = self._model.nats(self._inputs, self._targets, self._state)
        loss = nats / self._targets.numel()
        torch.autograd.backward(loss)
        norm = self._optimizer.clip_on_device(self._clip)
        is_finite = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        self._optimizer.step_on_device(self._lr, 1.0 - is_finite.float())
        self._figures.copy_(torch.stack([loss.detach(), norm]))
        self._gradients = [(parameter, parameter.grad) for parameter in self._model.parameters()]
        for part, new in zip(self._state, after, strict=True):
            part.copy_(torch.where(is_finite, new.detach(), 0.0))


def _reason(error: BaseException) -> str:
    """Return an exception's message on one line.

    In a function of its own: a frame that keeps an exception keeps, through its traceback, all that
    a step allocated.
    """
    cause = error.__context__ or error  # a capture that cannot be ended hides what spoilt it
    return one_line(str(cause).split("\n")[0]) or type(cause).__name__


class CudaGraph:
    """torch.cuda.CUDAGraph, warmed up and recorded as its documentation asks."""

    def capture(self, work: Callable[[], object]) -> None:
        """Warm up on another stream, then record."""
        here = torch.cuda.current_stream()
        side = torch.cuda.Stream()
        pool = torch.cuda.graph_pool_handle()
        try:
            side.wait_stream(here)
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    work()
            here.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                work()
        except BaseException:
            _recover(here, pool)
            raise

    def replay(self) -> None:
        """Launch what was recorded."""
        self._graph.replay()


def _recover(stream: torch.cuda.Stream, pool: Any) -> None:
    """End what a failed recording leaves.

    torch.cuda.graph leaves its own stream current, and generator and allocator in capture.
    """
    torch.cuda.set_stream(stream)
    index = torch.cuda.current_device()
    with contextlib.suppress(Exception):
        torch.cuda.synchronize()  # with what the warm-up began
    with contextlib.suppress(Exception):  # its name is not public
        torch._C._cuda_endAllocateToPool(index, pool)
    with contextlib.suppress(Exception):
        generator = torch.Generator(torch.device("cuda", index))
        torch.cuda.default_generators[index].graphsafe_set_state(generator)

"""Training on a GPU: charrnn's step beside a plain loop over nn.LSTM or nn.GRU.

    python benchmarks/gpu.py [--quick]

It looks for the batch size at which each saturates: a contender's batches double from 32 lanes of
50 characters until that gains less than 10 %. "in kernels" is the share of the wall clock in which
the GPU ran kernels (torch.profiler). Not cuda.py: torch would import that for NVIDIA's package.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from charrnn.config import RuntimeSettings, Settings
from charrnn.errors import SettingsError
from charrnn.machine import runtime
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.training.graph import make_step
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep

T = 50  # characters of a window
V = 65  # vocabulary
LR = 1e-3
CLIP = 1.0
GAIN = 1.1  # of a doubled batch, below which it has saturated
BATCHES = [32 << k for k in range(8)]  # 32 ... 4096
DEVICE = torch.device("cuda:0")

Step = Callable[[], None]


class Plain(nn.Module):
    """The tutorial's network."""

    def __init__(self, cell: str, layers: int, hidden: int) -> None:
        super().__init__()
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.embedding = nn.Embedding(V, hidden)
        self.recurrent = recurrent(hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, V)

    def forward(self, ids: Tensor, state):
        outputs, state = self.recurrent(self.embedding(ids), state)
        return self.head(outputs), state


def plain(cell: str, layers: int, hidden: int, lanes: int) -> Step:
    """Return the step of a plain loop with Adam."""
    runtime.prepare(RuntimeSettings(device="cuda:0"))
    model = Plain(cell, layers, hidden).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    ids = torch.randint(V, (lanes, T + 1))
    state = None

    def step() -> None:
        nonlocal state
        logits, after = model(ids[:, :-1].to(DEVICE), state)
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].to(DEVICE).flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        loss.item()
        if cell == "lstm":
            state = tuple(part.detach() for part in after)
        else:
            state = after.detach()

    return step


def ours(cell: str, layers: int, hidden: int, lanes: int, precision: str, by_graph: bool) -> Step:
    """Return charrnn's step."""
    runtime.prepare(RuntimeSettings(device="cuda:0", precision=precision))
    settings = Settings().with_values(
        "model",
        cell=cell,
        hidden_size=hidden,
        num_layers=layers,
        embedding_size=hidden,
        dropout=0.0,
    )
    settings = settings.with_values("training", batch_size=lanes, seq_length=T, clip=CLIP)
    model = CharModel(settings.model, V, "torch", precision).to(DEVICE)
    optimizer = make_optimizer(model, settings.training)
    ids = torch.randint(V, (lanes, T + 1))
    state = model.zero_state(lanes)
    batch = Batch(ids[:, :-1], ids[:, 1:], fresh=False)
    numbers = itertools.count()
    update = TrainStep(model, optimizer, settings)
    if by_graph:
        update = make_step(model, optimizer, settings, "stream", DEVICE, print)

    def step() -> None:
        nonlocal state
        state = update(batch, state, LR, next(numbers)).state

    return step


CONTENDERS: dict[str, Callable[..., Step]] = {
    "plain nn loop, Adam": plain,
    "charrnn, step by step": lambda *size: ours(*size, "float32", False),
    "charrnn, graph": lambda *size: ours(*size, "float32", True),
    "charrnn, graph, tf32": lambda *size: ours(*size, "tf32", True),
    "charrnn, graph, bfloat16": lambda *size: ours(*size, "bfloat16", True),
}


def step_s(step: Step, least_s: float) -> float:
    """Return the seconds of a step, over at least so many seconds.

    Every step ends with a look at its loss, so the GPU has finished it.
    """
    for _ in range(5):
        step()
    began = time.perf_counter()
    steps = 0
    while steps < 10 or time.perf_counter() - began <= least_s:
        step()
        steps += 1
    return (time.perf_counter() - began) / steps


def kernel_share(step: Step, steps: int = 20) -> float:
    """Return the share of the wall clock in which the GPU ran kernels."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        taken_s = time.perf_counter() - began
    kernels_us = sum(
        event.time_range.elapsed_us()
        for event in profiled.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith("Mem")
    )
    return kernels_us / 1e6 / taken_s


def measure(name: str, size: tuple[str, int, int], least_s: float) -> str:
    """Return the characters a second at the first batch size and at the one that saturates."""
    first = 0.0
    best = 0.0
    lanes_at_best = 0
    share = 0.0
    try:
        for lanes in BATCHES:
            step = CONTENDERS[name](*size, lanes)
            speed = lanes * T / step_s(step, least_s)
            if speed < GAIN * best:
                break
            first = first or speed
            best = speed
            lanes_at_best = lanes
            share = kernel_share(step)
    except (SettingsError, torch.OutOfMemoryError) as error:
        print(f"  {name}: {str(error).splitlines()[0]}")
    return (
        f"{first:>12,.0f} at {BATCHES[0]}; {best:>13,.0f} at {lanes_at_best:>4}, "
        f"{share:4.0%} in kernels"
    )


def main() -> None:
    least_s = 0.3 if "--quick" in sys.argv else 2.0  # of each measurement
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing to measure")
        return
    name = torch.cuda.get_device_name(DEVICE)
    print(f"{name}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; chars/s")
    for cell, (layers, hidden) in itertools.product(("lstm", "gru"), ((2, 128), (3, 512))):
        print(f"{cell} {layers} x {hidden}, T={T}, V={V}")
        for name in CONTENDERS:
            result = measure(name, (cell, layers, hidden), least_s)
            print(f"  {name:26} {result}", flush=True)


if __name__ == "__main__":
    main()

"""The parts of gpu.py that train in their own process: one network, many, beside a plain loop.

Shapes: M networks, L layers, H hidden units, B lanes, T characters, V vocabulary.
"""

from __future__ import annotations

import itertools
from functools import partial

import torch
import torch.nn.functional as F
from gpu import Bench
from gpu_steps import CLIP, T, V, Work, new_graph, nominal_flops, prepare, settings_of, timed_s
from torch import Tensor, nn

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.model.stacked import StackedModel
from charrnn.text.batches import Batch
from charrnn.training.graph import GraphedStep
from charrnn.training.optim import TorchOptimizer
from charrnn.training.side_by_side import StackedStep
from charrnn.training.step import Step, TrainStep

LR = 1e-3


def charrnn_step(
    bench: Bench, settings: Settings, precision: str, *, by_graph: bool = True
) -> tuple[Work, CharModel]:
    """Return charrnn's training step, and its network."""
    device = prepare(bench, precision)
    model = CharModel(settings.model, V, "torch", "float32" if bench.is_dry else precision)
    model.to(device).train()
    optimizer = TorchOptimizer(model, settings.training)
    update: Step = TrainStep(model, optimizer, settings)
    training = settings.training
    lanes = training.batch_size or 1
    ids = torch.randint(V, (lanes, (training.seq_length or 1) + 1))
    batch = Batch(ids[:, :-1], ids[:, 1:], fresh=False)
    state = model.zero_state(lanes)
    numbers = itertools.count()
    if by_graph:
        update = GraphedStep(model, optimizer, settings, update, new_graph(bench), print)

    def work() -> None:
        nonlocal state
        state = update(batch, state, LR, next(numbers)).state

    return work, model


def training(bench: Bench) -> None:
    """Time whole trainings: characters a second, and the share of the peak."""
    for cell, layers, hidden, lanes, target in (
        ("gru", 1, 384, 32, "1.2 M characters/s in bfloat16"),
        ("gru", 2, 384, 32, ""),
        ("lstm", 1, 2048, 256, "20 % of the stated peak in bfloat16"),
    ):
        for precision, by_graph in (("bfloat16", True), ("tf32", True), ("tf32", False)):
            size = (cell, layers, 8, 3, 4) if bench.is_dry else (cell, layers, hidden, lanes, T)
            work, model = charrnn_step(bench, settings_of(*size), precision, by_graph=by_graph)
            chars_per_s = size[3] * size[4] / timed_s(bench, work)
            weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)
            weights -= model.embedding.weight.numel()
            stated = nominal_flops(precision)
            flops = 6 * weights * chars_per_s
            bench.report(
                network=f"{cell} {layers}x{hidden}",
                batch=f"{lanes}x{T}",
                precision=precision,
                graph=by_graph,
                chars_per_s=chars_per_s,
                share_of_stated=None if stated is None else flops / stated,
                target=target,
            )


def many(bench: Bench) -> None:
    """Time M networks of 1x384, 32 x 64, side by side; and how far they are from one alone."""
    hidden, lanes, length = (8, 3, 4) if bench.is_dry else (384, 32, T)
    settings = settings_of("gru", 1, hidden, lanes, length)
    alone: dict[str, float] = {}
    for precision, members in itertools.product(("bfloat16", "tf32"), (1, 4, 16, 64, 128)):
        if bench.left_s() < 4 or (bench.is_dry and members > 4):
            continue
        device = prepare(bench, precision)
        if precision not in alone:
            work, _ = charrnn_step(bench, settings, precision)
            alone[precision] = lanes * length / timed_s(bench, work)
        dtype = torch.float32
        if precision == "bfloat16" and not bench.is_dry:
            dtype = torch.bfloat16
        networks = [CharModel(settings.model, V, "func") for _ in range(members)]
        model = StackedModel(networks, dtype).to(device).train()
        shape = (lanes, length)
        step = StackedStep(model, settings.training, range(members), shape, new_graph(bench))
        ids = torch.randint(V, (members, lanes, length + 1), device=device)
        seconds = timed_s(bench, partial(step, ids[..., :-1], ids[..., 1:], LR, 0))
        chars_per_s = members * lanes * length / seconds
        bench.report(
            networks=members,
            precision=precision,
            chars_per_s=chars_per_s,
            times_one_alone=chars_per_s / alone[precision],
            target="10 M characters/s in sum; 16 in 3 times the time of one",
        )
    _equality(bench)


def _equality(bench: Bench) -> None:
    """Say whether a network beside others learns to the bit what it learns as the only one."""
    settings = settings_of("gru", 1, 8 if bench.is_dry else 384, 3, 5)
    device = prepare(bench, "tf32")
    torch.manual_seed(1)
    networks = [CharModel(settings.model, V, "func") for _ in range(4)]
    ids = torch.randint(V, (4, 3, 6), device=device)
    learnt = []
    for members in (networks[:1], networks):
        model = StackedModel(members).to(device).train()
        step = StackedStep(model, settings.training, range(len(members)), (3, 5))
        for number in range(5):
            text = ids[: len(members)]
            step(text[..., :-1], text[..., 1:], LR, number)
        learnt.append(model.network(0))
    difference = max(float((learnt[0][name] - learnt[1][name]).abs().max()) for name in learnt[0])
    bench.report(networks="1 beside 3, after 5 updates", largest_difference=difference)


# Saturation: charrnn beside a plain loop over nn.LSTM or nn.GRU


class Plain(nn.Module):
    """The tutorial's network."""

    def __init__(self, cell: str, layers: int, hidden: int) -> None:
        super().__init__()
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.embedding = nn.Embedding(V, hidden)
        self.recurrent = recurrent(hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, V)

    def forward(self, ids: Tensor, state):  # type: ignore[no-untyped-def]
        outputs, state = self.recurrent(self.embedding(ids), state)
        return self.head(outputs), state


def plain_step(bench: Bench, cell: str, layers: int, hidden: int, lanes: int, length: int) -> Work:
    """Return the step of a plain loop with Adam."""
    device = prepare(bench, "float32")
    model = Plain(cell, layers, hidden).to(device)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    ids = torch.randint(V, (lanes, length + 1))
    state = None

    def step() -> None:
        nonlocal state
        logits, after = model(ids[:, :-1].to(device), state)
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].to(device).flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        loss.item()
        parts = after if cell == "lstm" else (after,)
        detached = tuple(part.detach() for part in parts)
        state = detached if cell == "lstm" else detached[0]

    return step


def saturation(bench: Bench) -> None:
    """Double the lanes of charrnn and of a plain loop until that gains less than a tenth."""
    gain = 1.1
    for cell, (layers, hidden) in itertools.product(("lstm", "gru"), ((2, 128), (3, 512))):
        for name in ("plain nn loop, Adam", "tf32", "bfloat16"):
            best = 0.0
            for lanes in [32 << k for k in range(8)]:
                if bench.left_s() < 5:
                    bench.report(failed="no time was left for all sizes")
                    return
                size = (cell, layers, 8, 3, 4) if bench.is_dry else (cell, layers, hidden, lanes, T)
                if name.startswith("plain"):
                    work = plain_step(bench, *size)
                else:
                    work, _ = charrnn_step(bench, settings_of(*size), name)
                speed = size[3] * size[4] / timed_s(bench, work)
                bench.report(
                    network=f"{cell} {layers}x{hidden}", lanes=lanes, way=name, chars_per_s=speed
                )
                if speed < gain * best or bench.is_dry:
                    break
                best = speed

"""The cost of `train --watch`: a measurement beside the steps between two of them.

    python benchmarks/watch.py [--rounds 9] [--cells lstm,gru,rnn,gru-before]
                               [--backends kernel,torch]

One thread, one process; steps and measurements take turns. The share is the median over rounds of
measurement / (EVERY x step), each taken in the same round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import NamedTuple

import torch

from charrnn.config import Settings
from charrnn.machine.malloc import tune_malloc
from charrnn.model import kernel
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.training.health import EVERY, Watch
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep


class Size(NamedTuple):
    """L layers of H units; B rows of T characters out of V."""

    layers: int
    hidden: int
    rows: int
    chars: int
    vocabulary: int


SIZES = {
    "1 x 64, T=32, B=16, V=53": Size(1, 64, 16, 32, 53),
    "1 x 128, T=16, B=32, V=53": Size(1, 128, 32, 16, 53),
    "2 x 128, T=50, B=50, V=65": Size(2, 128, 50, 50, 65),
    "3 x 512, T=32, B=64, V=65": Size(3, 512, 64, 32, 65),
}
LR = 1e-3


def measured(cell: str, backend: str, size: Size, rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of a step and of a measurement, and the median share."""
    # 1. The training that is measured.
    settings = Settings().with_values(
        "model",
        cell=cell,
        hidden_size=size.hidden,
        num_layers=size.layers,
        embedding_size=size.hidden,
        dropout=0.0,
    )
    torch.manual_seed(0)
    model = CharModel(settings.model, size.vocabulary, backend)
    step = TrainStep(model, make_optimizer(model, settings.training), settings)
    watch = Watch(model)
    text = torch.randint(size.vocabulary, (size.rows, size.chars + 1))
    batch = Batch(text[:, :-1], text[:, 1:], fresh=False)
    state = model.zero_state(size.rows)

    # 2. Rounds: some steps, then a measurement around one more step that is not counted.
    step_s: list[float] = []
    look_s: list[float] = []
    for number in range(rounds + 2):
        repeats = 1
        if step_s:
            repeats = max(1, min(20, math.ceil(0.1 / step_s[-1])))
        began = time.perf_counter()
        for _ in range(repeats):
            step(batch, state, LR, number)
        step_s.append((time.perf_counter() - began) / repeats)

        began = time.perf_counter()
        before = watch.before(batch, state, 0)
        before_s = time.perf_counter() - began
        outcome = step(batch, state, LR, number)
        began = time.perf_counter()
        assert before is not None
        watch.after(before, batch, outcome.norm, number)
        look_s.append(time.perf_counter() - began + before_s)
        state = outcome.state

    # 3. Medians, without the first two rounds.
    steps = step_s[2:]
    looks = look_s[2:]
    shares = [look / (EVERY * one) for one, look in zip(steps, looks, strict=True)]
    return statistics.median(steps), statistics.median(looks), statistics.median(shares)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cells", default="lstm,gru,rnn,gru-before")
    default = "kernel,torch" if kernel.is_usable() else "func,torch"
    parser.add_argument("--backends", default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tune_malloc()
    columns = "| size | cell | backend | step, ms | measurement, ms | share |"
    print(f"{columns}\n|---|---|---|---|---|---|")
    for title, size in SIZES.items():
        for cell in options.cells.split(","):
            for backend in options.backends.split(","):
                if (cell, backend) == ("gru-before", "torch"):
                    continue
                one, look, share = measured(cell, backend, size, options.rounds)
                times = f"{one * 1e3:.2f} | {look * 1e3:.2f} | {share:.2%}"
                print(f"| {title} | {cell} | {backend} | {times} |", flush=True)


if __name__ == "__main__":
    main()

"""What `train --watch` costs: the time of a measurement beside that of the steps between two of them.

    python benchmarks/watch.py [--rounds 9] [--cells lstm,gru,rnn,gru-before] [--backends kernel,torch]

One thread, one process; steps and measurements take turns. The share is the median over rounds of
measurement / (EVERY x step), each taken in the same round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch

from charrnn.config import Settings
from charrnn.machine.malloc import tune_malloc
from charrnn.model import kernel
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.training.health import EVERY, Watch
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep

SIZES = {"1 x 64, T=32, B=16, V=53": (1, 64, 16, 32, 53), "1 x 128, T=16, B=32, V=53": (1, 128, 32, 16, 53),
         "2 x 128, T=50, B=50, V=65": (2, 128, 50, 50, 65), "3 x 512, T=32, B=64, V=65": (3, 512, 64, 32, 65)}  # fmt: skip


def measured(
    cell: str, backend: str, size: tuple[int, int, int, int, int], rounds: int
) -> tuple[float, float, float]:
    """Median seconds of a step and of a measurement, and the median share."""
    layers, hidden, rows, chars, vocabulary = size
    sized = {
        "cell": cell,
        "hidden_size": hidden,
        "num_layers": layers,
        "embedding_size": hidden,
        "dropout": 0.0,
    }
    settings = Settings().with_values("model", **sized)
    torch.manual_seed(0)
    model = CharModel(settings.model, vocabulary, backend)
    step, watch = TrainStep(model, make_optimizer(model, settings.training), settings), Watch(model)
    text = torch.randint(vocabulary, (rows, chars + 1))
    batch, state = Batch(text[:, :-1], text[:, 1:], fresh=False), model.zero_state(rows)
    steps, looks = [], []
    for number in range(rounds + 2):
        repeats = max(1, min(20, math.ceil(0.1 / steps[-1]))) if steps else 1
        began = time.perf_counter()
        for _ in range(repeats):
            done = step(batch, state, 1e-3, number)
        steps.append((time.perf_counter() - began) / repeats)
        began = time.perf_counter()
        before = watch.before(batch, state, 0)
        between = time.perf_counter()
        done = step(batch, state, 1e-3, number)
        again = time.perf_counter()
        assert before is not None
        watch.after(before, batch, done.norm, number)
        looks.append(time.perf_counter() - again + between - began)
        state = done.state
    kept = list(zip(steps[2:], looks[2:], strict=True))
    shares = [look / (EVERY * one) for one, look in kept]
    return (
        statistics.median(one for one, _ in kept),
        statistics.median(look for _, look in kept),
        statistics.median(shares),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cells", default="lstm,gru,rnn,gru-before")
    parser.add_argument(
        "--backends", default="kernel,torch" if kernel.is_usable() else "func,torch"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tune_malloc()
    print(
        "| size | cell | backend | step, ms | measurement, ms | share |\n|---|---|---|---|---|---|"
    )
    for title, size in SIZES.items():
        for cell in asked.cells.split(","):
            for backend in asked.backends.split(","):
                if (cell, backend) != ("gru-before", "torch"):
                    one, look, share = measured(cell, backend, size, asked.rounds)
                    print(
                        f"| {title} | {cell} | {backend} | {one * 1e3:.2f} | {look * 1e3:.2f} | {share:.2%} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

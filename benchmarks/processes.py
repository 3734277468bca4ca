"""What more processes give: the same training step on one and on several, taking turns.

    python benchmarks/processes.py [--processes 2] [--rounds 12] [--hidden 512] [--layers 2]

Starts itself under torchrun, with processes of one thread each. In every round each contender makes
one step: process 0 alone with one thread, alone with as many as there are processes, and all
together. So whatever else the machine does meets all of them. Prints medians, ratios of medians,
and what the exchange of the gradients costs, beside an all-reduce of as many numbers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

import torch

VOCABULARY = 65


def main() -> None:
    """Measure, as one of the processes; start them first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--cell", default="gru")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    arguments = parser.parse_args()
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        count = str(arguments.processes)
        command = [*torchrun, "--nproc-per-node", count, *sys.argv]
        environment = os.environ | {"OMP_NUM_THREADS": count, "GOMP_SPINCOUNT": "1000"}
        sys.exit(subprocess.run(command, env=environment).returncode)
    measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Take turns, and print what process 0 saw."""
    import torch.distributed as dist

    from charrnn.config import Settings
    from charrnn.launch import launch_of
    from charrnn.machine import backends
    from charrnn.model.charmodel import CharModel
    from charrnn.parallel.group import join
    from charrnn.text.batches import Batch
    from charrnn.training.optim import make_optimizer
    from charrnn.training.shards import ShardedStep
    from charrnn.training.step import TrainStep

    # 1. The same network in both
    launch = launch_of(os.environ)
    assert launch is not None
    group = join(launch)
    sizes = {"hidden_size": arguments.hidden, "num_layers": arguments.layers}
    settings = (
        Settings()
        .with_values("model", cell=arguments.cell, embedding_size=64, dropout=0.0, **sizes)
        .with_values("training", shards=launch.world)
    )
    backend = backends.expected_backend(settings, torch.device("cpu"))
    torch.manual_seed(0)
    model = CharModel(settings.model, VOCABULARY, backend)
    step = TrainStep(model, make_optimizer(model, settings.training), settings)
    text = torch.randint(VOCABULARY, (arguments.batch, arguments.length + 1))
    batch = Batch(text[:, :-1], text[:, 1:], fresh=True)
    alone = ShardedStep(step, launch.world, "stream")
    together = ShardedStep(step, launch.world, "stream", group)

    # 2. How long the exchange takes inside a step of all
    exchanged: list[float] = []
    added = group.added

    def timed(sums: Mapping[tuple[int, int], torch.Tensor], parts: int) -> torch.Tensor:
        group.all_numbers([0.0])  # all have computed: what follows is the exchange alone
        began = time.perf_counter()
        total = added(sums, parts)
        exchanged.append(time.perf_counter() - began)
        return total

    group.added = timed  # type: ignore[method-assign]

    # 3. Rounds
    world = launch.world
    contenders = (
        ("one process, one thread", alone, 1),
        (f"one process, {world} threads", step, world),
        (f"{world} processes, one thread each", together, 1),
    )
    times: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    numbers = sum(p.numel() for p in model.parameters())
    reduced: list[float] = []
    for number in range(arguments.rounds + 1):
        for name, work, threads in contenders:
            group.all_numbers([0.0])
            torch.set_num_threads(threads)
            if group.is_leader or work is together:
                began = time.perf_counter()
                work(batch, model.zero_state(arguments.batch), 1e-4, number)
                if number:
                    times[name].append(time.perf_counter() - began)
        group.all_numbers([0.0])
        whole = torch.zeros(numbers)
        began = time.perf_counter()
        dist.all_reduce(whole)
        reduced.append(time.perf_counter() - began)

    # 4. What came out
    if group.is_leader:
        medians = {name: statistics.median(each) for name, each in times.items()}
        print(
            f"{arguments.cell} {arguments.layers} x {arguments.hidden}, batches of "
            f"{arguments.batch} x {arguments.length}, {numbers:,} weights, {backend} cells, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.rounds} rounds"
        )
        last = medians[contenders[-1][0]]
        for name, median in medians.items():
            spread = f"{min(times[name]) * 1e3:.0f} to {max(times[name]) * 1e3:.0f}"
            print(f"  {name:32} {median * 1e3:8.1f} ms ({spread}), {median / last:.2f} of the last")
        exchange = statistics.median(exchanged[1:])
        print(
            f"  exchange {exchange * 1e3:.1f} ms, {exchange / last:.1%} of a step of all; "
            f"an all-reduce {statistics.median(reduced[1:]) * 1e3:.1f} ms"
        )
    group.leave(is_whole=True)


if __name__ == "__main__":
    main()

"""Training, side by side: what PyTorch users write by hand, what the peers do, charrnn's backends.

    python benchmarks/training.py [--rounds 7] [--threads 1] [--cells lstm,gru,rnn,gru-before]
                                  [--only small|names|large|end-to-end] [--all]
                                  [--no-floor] [--no-mallopt]
    python benchmarks/training.py --memory [--cells lstm]    peak memory, not time
    python benchmarks/training.py --check                    losses of each contender, not time

One process; all contenders begin with the same weights and take turns, in an order that rotates
from round to round. Times are medians over rounds; ratios are taken within a round, then their
median, so that a slow moment of the machine hits both sides. A step is forward, loss, backward,
clipping to norm 1 and Adam; the peers clip as they do: not at all. The reference is what a tutorial
has: nn.Embedding, nn.LSTM (...), nn.Linear, cross_entropy, clip_grad_norm_, Adam.

"Its products" are the matrix products that a step cannot do without, alone (products.py).

Before anything else malloc is told to keep what it has, as charrnn does at start-up; --no-mallopt
shows the difference.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contenders import FLOOR, PLAIN, Charrnn, backends, contenders, first_weights, plain
from epoch import EPOCH, end_to_end
from networks import Size
from products import Step, peak
from race import Run, print_head, print_row, race, show
from torch import Tensor

from charrnn.config import TextSettings
from charrnn.kernel.library import describe
from charrnn.machine.malloc import tune_malloc
from charrnn.text import building
from charrnn.text.batches import StreamBatches
from charrnn.training.optim import Optimizer

SIZES = {
    "small": Size("2 x 128, T=50, B=50, V=65", 2, 128, 50, 50, 65),
    "names": Size("1 x 128, T=16, B=32, V=53", 1, 128, 32, 16, 53),
    "large": Size("3 x 512, T=32, B=64, V=65", 3, 512, 64, 32, 65),
}
PEAK = "its products: FMA peak"
FLOORS = {"of torch.mm": FLOOR, "of FMA peak": PEAK}
# Contenders whose reset gate is another than charrnn's, by cell: their losses differ.
OTHER_RESET = {"gru": "makemore's cell loop", "gru-before": PLAIN}


def is_slow(size: Size, options: argparse.Namespace) -> bool:
    """Return whether the contenders that loop over time in Python take part too."""
    return size.hidden < 512 or options.all


def single_steps(cell: str, size: Size, options: argparse.Namespace) -> None:
    """Race all contenders on random ids, or print their losses."""
    weights = first_weights(cell, size)
    batches = random_batches(size)
    makers = contenders(cell, slow=is_slow(size, options), floors=options.floor)
    steps = {name: make(cell, size, weights) for name, make in makers.items()}
    losses = {name: [float(step(*batches[0])) for _ in range(3)] for name, step in steps.items()}
    check(cell, size, losses, options.check)
    if options.check:
        return

    def run(step: Step, count: int) -> tuple[int, int]:
        for k in range(count):
            step(*batches[k % len(batches)])
        return count, count * size.batch * size.time

    runs: dict[str, Run] = {}
    for name, step in steps.items():
        began = time.perf_counter()
        run(step, 2)
        two_steps_s = time.perf_counter() - began
        runs[name] = partial(run, step, max(2, math.ceil(2 * options.seconds / two_steps_s)))
    if options.floor:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no compiler
            runs[PEAK] = peak(cell, size, options.threads)
    show(f"{cell}, {size.title}", race(runs, options.rounds), PLAIN, FLOORS)


def random_batches(size: Size) -> list[tuple[Tensor, Tensor]]:
    """Return eight batches of inputs and targets (B, T)."""
    shape = (8, 2, size.batch, size.time)
    ids = torch.randint(size.vocabulary, shape, generator=torch.Generator().manual_seed(2))
    return [(inputs, targets) for inputs, targets in ids]


def check(cell: str, size: Size, losses: dict[str, list[float]], is_shown: bool) -> None:
    """Check the losses of the first steps.

    All begin near ln V. Those that compute the same function agree with charrnn, and after one
    update still do.
    """
    uniform = math.log(size.vocabulary)
    exact = [
        values
        for name, values in losses.items()
        if name.startswith("charrnn") and "bfloat16" not in name
    ]
    reference = exact[-1]
    if is_shown:
        print(f"\n{cell}, {size.title}, ln V = {uniform:.4f}: loss of three steps on one batch")
    for name, values in losses.items():
        if math.isnan(values[0]):
            continue  # products alone
        if is_shown:
            print(f"  {name:32}{'  '.join(f'{loss:.5f}' for loss in values)}")
        assert abs(values[0] - uniform) < 0.3, (cell, name, values)
        if name != OTHER_RESET.get(cell) and "data builder" not in name:
            rounding = 20 if "bfloat16" in name else 1
            case = (cell, name, values, reference)
            assert abs(values[0] - reference[0]) < rounding * 1e-4, case
            assert abs(values[1] - reference[1]) < rounding * 1e-3, case


class Clocked:
    """An optimiser that counts its seconds."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.seconds: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        self.seconds = dict.fromkeys(("zero_grad", "clip", "step"), 0.0)

    def __getattr__(self, name: str) -> Any:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = getattr(self.optimizer, name)(*arguments)
            self.seconds[name] += time.perf_counter() - began
            return result

        return timed


def parts_of_a_step(cell: str, size: Size, rounds: int) -> None:
    """Print the shares of optimiser and data in charrnn's fastest step, on a stream in a file."""
    step = Charrnn(backends(cell)[-1], cell, size, first_weights(cell, size), Clocked)
    clock: Any = step.step.optimizer
    symbols = (string.ascii_letters + string.digits + " .\n")[-size.vocabulary :]
    settings = TextSettings(mode="stream")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_text("".join(random.Random(3).choices(symbols, k=1_000_000)))
        survey = building.survey(str(path), settings, 0)
        corpus, _ = building.build(survey, settings, 0, Path(folder) / "corpus")
        batches = StreamBatches(corpus, size.batch, size.time)
        taken: list[list[float]] = []
        for k in range(5 + 30 * rounds):
            clock.reset()
            began = time.perf_counter()
            batch = batches.batch(k % (batches.steps_per_epoch - 1))
            loaded = time.perf_counter()
            step(batch.inputs, batch.targets)
            ended = time.perf_counter()
            taken.append([ended - loaded, *clock.seconds.values(), loaded - began])
        columns = zip(*taken[5:], strict=True)  # without the first five steps
        whole, *parts = (statistics.median(times) for times in columns)
    names = ("zero", "clip", "update", "batches.batch()")
    shares = zip(names, parts, strict=True)
    text = ", ".join(f"{name} {part / whole:.1%}" for name, part in shares)
    backend = step.step.model.backend
    print(f"\nOf a step of charrnn {backend} ({1000 * whole:.2f} ms): {text}", flush=True)


# Memory: a process for each contender


def memory(key: str, cells: list[str], options: argparse.Namespace) -> None:
    """Print the peak memory of each contender, measured in a process of its own."""
    size = SIZES[key]
    print_head(*cells, title=f"peak MB above imports, {size.title}")
    slow = is_slow(size, options)
    makers = {cell: contenders(cell, slow=slow, floors=False) for cell in cells}
    command = [sys.executable, __file__, "--threads", str(options.threads)]
    if not options.mallopt:
        command.append("--no-mallopt")
    for name in dict.fromkeys(name for own in makers.values() for name in own):
        peaks = []
        for cell in cells:
            words = [*command, "--probe", key, cell, name]
            text = subprocess.check_output(words, text=True).strip() if name in makers[cell] else ""
            peaks.append(text)
        print_row(name, *peaks)


def probe(key: str, cell: str, name: str) -> None:
    """Print the peak of this process over six steps, above what it held before its model."""
    size = SIZES[key]
    # The first optimiser and the first backward pass import half of torch.
    tiny = Size("", 1, 2, 1, 1, 3)
    plain("rnn", tiny, first_weights("rnn", tiny))(*random_batches(tiny)[0])
    batches = random_batches(size)
    weights = first_weights(cell, size)
    before = resident("VmRSS")
    with contextlib.suppress(OSError):
        # The peak so far is that of the imports: forget it.
        Path("/proc/self/clear_refs").write_text("5")
    step = contenders(cell, slow=True, floors=False)[name](cell, size, weights)
    for inputs, targets in batches[:6]:
        step(inputs, targets)
    print(f"{(resident('VmHWM') - before) / 1024:.0f}")


def resident(field: str) -> int:
    """Return VmRSS or VmHWM (the peak) of this process, kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def options_from_command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.4, help="of each contender in each round"
    )
    parser.add_argument("--cells", default="lstm,gru,rnn,gru-before")
    parser.add_argument("--only", choices=(*SIZES, "end-to-end"))
    parser.add_argument("--all", action="store_true", help="the slow ones at 3 x 512 too")
    parser.add_argument("--floor", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--mallopt", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--memory", action="store_true", help="peak memory of each contender, not time"
    )
    parser.add_argument(
        "--check", action="store_true", help="print the losses of three steps of each contender"
    )
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = options_from_command_line()
    malloc = tune_malloc() if options.mallopt else "as it is"
    torch.set_num_threads(options.threads)
    if options.probe:
        return probe(*options.probe)
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"kernel {describe()}, {threads}, malloc {malloc}"
    )
    cells = options.cells.split(",")
    keys = [key for key in SIZES if options.only in (None, key)]
    for key in keys:
        if options.memory:
            memory(key, cells, options)
            continue
        for cell in cells:
            single_steps(cell, SIZES[key], options)
            if key == "small" and not options.check:
                parts_of_a_step(cell, SIZES[key], options.rounds)
    if options.only in (None, "end-to-end") and not options.memory and not options.check:
        for cell in cells:
            taken = end_to_end(cell, options.rounds)
            show(f"{cell}, {EPOCH.title}", taken, PLAIN, FLOORS)


if __name__ == "__main__":
    main()

"""Sampling, side by side: what PyTorch users write by hand, what the peers do, numpy, the kernel.

    python benchmarks/sampling.py [--rounds 7] [--seconds 0.4] [--only streams|names|start]

One process, one thread, the same random weights for all, contenders in turn, each round on fresh
memory; medians. Needs a C compiler (cc): the read ceiling (the time to stream once, from the very
arrays the kernel reads, what one character needs) and the peak of multiply-adds are measured by a
few lines of C in the same run. Ratios are to the plain loop: nn.LSTM step by step under no_grad,
softmax, multinomial, as tutorials have it.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from probe import compile_probe
from race import median_ratio
from startup import race_processes
from writers import CACHE, TORCH, Contest

from charrnn.layout import GATES

# cell, layers, units, vocabulary
STREAMS = (
    ("lstm", 1, 128, 28),
    ("lstm", 2, 128, 65),
    ("gru", 2, 128, 65),
    ("rnn", 2, 128, 65),
    ("lstm", 3, 512, 65),
)
NAMES = (("lstm", 1, 128, 28), ("gru", 1, 128, 28), ("rnn", 1, 128, 28))
CHAR_RNN = "char-rnn.pytorch's way"
MAKEMORE = "makemore's way, ten at a time"
CEILING = "read ceiling"


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def count_for(run: Callable[[int], object], wanted_s: float, least: int, most: int) -> int:
    """Return a number of characters or names that takes about so long."""
    n = least
    taken_s = seconds(partial(run, n))
    while taken_s < wanted_s / 4 and n < most:
        n *= 2
        taken_s = seconds(partial(run, n))
    return max(least, min(most, int(n * wanted_s / taken_s)))


def streams(library: ctypes.CDLL, rounds: int, wanted_s: float) -> None:
    """Race all ways to write one stream."""
    for cell, layers, hidden, vocabulary in STREAMS:
        contest = Contest(cell, layers, hidden, vocabulary, "stream")
        plain = f"plain nn.{TORCH[cell].__name__} loop"
        runs: dict[str, Callable[[int], object]] = {
            plain: contest.plain,
            "the same, oneDNN off": contest.without_onednn,
            CHAR_RNN: contest.char_rnn_pytorch,
            **{name: partial(contest.write, name) for name in contest.samplers},
            f"C float16, cache of {CACHE:,}": contest.write_looking_back,
            CEILING: partial(contest.read, library),
        }
        counts = {name: count_for(run, wanted_s, 50, 4_000_000) for name, run in runs.items()}
        counts[CHAR_RNN] = min(2000, counts[CHAR_RNN])  # its graph grows
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            contest.refresh()
            for name, run in runs.items():
                taken[name].append(seconds(partial(run, counts[name])) / counts[name])
        title = f"one stream, {cell} {layers}x{hidden}, V {vocabulary}"
        print_head(title, "chars/s", "x plain loop", "of the ceiling")
        for name, times in taken.items():
            share = median_ratio(taken[CEILING], times)
            ratio = median_ratio(taken[plain], times)
            print_row(name, 1 / statistics.median(times), ratio, f"{share:.0%}")


def names(library: ctypes.CDLL, rounds: int, wanted_s: float) -> None:
    """Race all ways to write 10,000 names."""
    for cell, layers, hidden, vocabulary in NAMES:
        # 1. The contenders, and how many names each writes a round.
        contest = Contest(cell, layers, hidden, vocabulary, "lines")
        torch_name = TORCH[cell].__name__
        plain = f"plain nn.{torch_name} loop, one at a time"
        runs: dict[str, Callable[[int], int]] = {plain: contest.names_plain}
        if cell != "lstm":  # makemore has no LSTM
            runs[MAKEMORE] = contest.names_makemore
        for rows in (100, 1000, 10_000):
            runs[f"nn.{torch_name}, {rows:,} rows"] = partial(contest.names_batched, rows)
        for name in contest.samplers:
            runs[name] = partial(contest.names_written, name)
        counts = dict.fromkeys(runs, 10_000)
        for name in runs.keys() & {plain, MAKEMORE}:
            counts[name] = count_for(runs[name], wanted_s, 20, 10_000) // 10 * 10

        # 2. The race.
        taken: dict[str, list[float]] = {name: [] for name in runs}
        shares: dict[str, list[float]] = {name: [] for name in runs}
        lengths = []
        flops = 2 * (GATES[cell] * hidden * hidden + vocabulary * hidden)
        for _ in range(rounds):
            contest.refresh()
            peak = 512 * 4_000_000 / seconds(partial(library.multiply_add, 4_000_000))
            for name, run in runs.items():
                began = time.perf_counter()
                chars = run(counts[name])
                elapsed = time.perf_counter() - began
                taken[name].append(elapsed / counts[name])
                # The character that begins a line needs no product: its scores are the same for
                # all.
                shares[name].append(flops * (chars - counts[name]) / elapsed / peak)
                lengths.append(chars / counts[name])

        # 3. The table.
        title = f"10,000 names, {cell} {layers}x{hidden}, V {vocabulary}"
        print_head(title, "names/s", "x one at a time", "of the FMA peak")
        for name, times in taken.items():
            share = f"{statistics.median(shares[name]):.0%}" if name != MAKEMORE else ""
            print_row(name, 1 / statistics.median(times), median_ratio(taken[plain], times), share)
        print(f"\n{statistics.median(lengths):.1f} characters a name, newline included", flush=True)


def print_head(*titles: str) -> None:
    print(f"\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|")


def print_row(name: str, rate: float, ratio: float, share: str) -> None:
    decimals = 2
    if ratio >= 3:
        decimals = 1
    if ratio >= 20:
        decimals = 0
    print(f"| {name} | {rate:,.0f} | {ratio:.{decimals}f} | {share} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.4, help="of each contender in each round"
    )
    parser.add_argument("--only", choices=("streams", "names", "start"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, numpy {np.__version__}, {capability}, one thread")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_probe(Path(folder))
        if options.only in (None, "streams"):
            streams(library, options.rounds, options.seconds)
        if options.only in (None, "names"):
            names(library, options.rounds, options.seconds)
        if options.only in (None, "start"):
            print_head("from process start to 1,000 characters", "median s", "x script")
            race_processes(options.rounds, Path(folder))


if __name__ == "__main__":
    main()

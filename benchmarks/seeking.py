"""Texts that few draws would find: sought by `charrnn sample`, beside drawing and throwing away.

    python benchmarks/seeking.py RUN [--rounds 3] [--count 1000] [--matching REGEX ...]

One process, one thread, both ways in turn; medians of processor time, which a shared machine
stretches less than time. The rate of rejection follows from how many texts it draws a second, and
from the share of texts that fit. That share is estimated by the search: the mean weight of its
attempts (steered.py), or the bound at the root times the share of attempts that arrive.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path

import numpy as np

from charrnn.sampling.constraints import Constraints
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler, load
from charrnn.sampling.seeking import guided
from charrnn.sampling.steered import Steering
from charrnn.text.expression import filled

PATTERNS = ("^Xq", filled("Q_x__n"), "^Q.*x.*y$", "q.*z$", "^[A-M].*a$")
DRAWN = 20_000  # texts of rejection in a round


def seek(sampler: Sampler, pattern: str, count: int, seed: int) -> tuple[float, float, Steering]:
    """Return the seconds that so many texts took, the share of texts that fit, and how."""
    began = time.process_time()
    constraints = Constraints(matching=pattern)
    _, guide = guided(sampler, constraints, decoding=Decoding(), seed=seed)
    logits, state, _ = sampler.feed(np.array([sampler.start]))
    steering = Steering(sampler._network, guide, (logits, state), 0)
    found = (one for one in steering.texts() if not isinstance(one, int))
    for _ in itertools.islice(found, count):
        pass
    return time.process_time() - began, steering.share, steering


def draw(sampler: Sampler, seed: int) -> float:
    """Return the seconds that DRAWN texts take."""
    began = time.process_time()
    texts = sampler.generate(DRAWN, decoding=Decoding(), seed=seed, threads=1)
    for _ in itertools.islice(texts, DRAWN):
        pass
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--matching", nargs="*", default=PATTERNS)
    asked = parser.parse_args()
    sampler = load(asked.run)
    print(sampler)
    print("\n| pattern | share | sought/s | drawn/s | ratio | looks ahead | missing |")
    print("|---|---|---|---|---|---|---|")
    for pattern in asked.matching:
        sought_s = []
        drawn_s = []
        shares = []
        for seed in range(asked.rounds):
            seconds, share, steering = seek(sampler, pattern, asked.count, seed)
            sought_s.append(seconds / asked.count)
            shares.append(share)
            drawn_s.append(draw(sampler, seed) / DRAWN / share)
        ratios = [b / a for a, b in zip(sought_s, drawn_s, strict=True)]
        report = steering.report
        print(
            f"| `{pattern}` | {statistics.median(shares):.1e} "
            f"| {1 / statistics.median(sought_s):,.0f} | {1 / statistics.median(drawn_s):,.2g} "
            f"| {statistics.median(ratios):,.3g} | {'yes' if report.looks_ahead else 'no'} "
            f"| {report.deviation:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""How far a figure could be off: the percentile bootstrap over blocks of a stream or over lines.

Neighbouring characters of a text are alike, so whole blocks are drawn, not characters. The
interval says how the figure varies with the text, not with the seed of the training.
Source: Efron & Tibshirani 1993, chapter 13; for blocks, Künsch 1989.
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0
LEAST_UNITS = 10  # of fewer, the spread cannot be seen
# Of more units, neighbours are summed: the work is bounded, and the interval stays the same.
MOST_UNITS = 10_000


def interval(nats: np.ndarray, chars: np.ndarray) -> tuple[float, float] | None:
    """Where nats per character lies with a probability of LEVEL; None if there are too few units.

    nats, chars (U,): sums of each block or line. A resample's figure is the ratio of its sums.
    Equal sums always have an equal interval.
    """
    counted = np.flatnonzero(chars)
    nats = nats[counted]
    chars = chars[counted]
    if len(nats) < LEAST_UNITS:
        return None
    if len(nats) > MOST_UNITS:
        starts = np.arange(MOST_UNITS) * len(nats) // MOST_UNITS
        nats = np.add.reduceat(nats, starts)
        chars = np.add.reduceat(chars, starts)
    random = np.random.default_rng(SEED)
    ratios = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = random.integers(0, len(nats), len(nats))
        ratios[i] = nats[drawn].sum() / chars[drawn].sum()
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

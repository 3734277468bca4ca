"""Means over seeds, their intervals, and what a difference between two settings is worth.

Neither torch nor numpy is loaded here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95
POWER = 0.8  # chance of telling a difference that is there
MOST_SEEDS = 1000  # that an estimate names
SLICES = 400  # of an integral over the scatter that a comparison may happen to see


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the 95 % interval around it, by Student's t.

    low and high are NaN for one value.
    """

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval."""
        return self.low <= 0 <= self.high


def interval(values: Sequence[float]) -> Interval:
    """Return mean ± t s / sqrt(n), with t of n - 1 degrees of freedom.

    Values that are not finite make it NaN.
    """
    mean = fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    half = t_quantile(CONFIDENCE, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def difference(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """Return the interval of the difference between runs that are paired by seed.

    What a seed does to both cancels: the order of the text, and in comparisons of old versions the
    split of lines.
    """
    pairs = zip(values, reference, strict=True)
    return interval([value - other for value, other in pairs])


def within(t: float, freedom: int) -> float:
    """Return P(|T| <= t) of Student's t, exactly.

    It is a sum of powers of cos(atan(t / sqrt(freedom))).
    Source: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine = math.sin(angle)
    cosine = math.cos(angle)
    is_odd = freedom % 2 == 1
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(2 + freedom % 2, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    if is_odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total


def t_quantile(share: float, freedom: int) -> float:
    """Return the t with P(|T| <= t) = share: 12.706 for 0.95 and one degree of freedom.

    It is found by bisection, to the last bit.
    """
    low = 0.0
    high = 1.0
    while within(high, freedom) < share:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        if within(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return high


def power(effect: float, seeds: int) -> float:
    """Return the chance that a comparison with so many seeds tells a difference of this size.

    effect: the mean of the paired differences over their standard deviation; normal differences are
    assumed. It is the chance that a two-sided paired t-test rejects at 5 %, that is P(|T| > t) of
    the noncentral t with seeds - 1 degrees of freedom and noncentrality effect x sqrt(seeds).
    Source: Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", chapter 2; for
    seeds of trainings Colas, Sigaud & Oudeyer 2018, arXiv:1806.08295.
    """
    freedom = seeds - 1
    t = t_quantile(CONFIDENCE, freedom)
    shift = abs(effect) * math.sqrt(seeds)
    normal = NormalDist().cdf

    # T = (Z + shift) / U, with U the standard deviation that is seen over the true one: it is
    # sqrt(chi2 / freedom), and the integral over its density is Simpson's.
    reach = 8 / math.sqrt(2 * freedom)
    low = max(0.0, 1 - reach)
    width = (1 + reach - low) / SLICES
    constant = math.log(2) + freedom / 2 * math.log(freedom / 2) - math.lgamma(freedom / 2)
    total = 0.0
    for place in range(SLICES + 1):
        u = low + place * width
        weight = 1 if place in (0, SLICES) else 2 + 2 * (place % 2)
        if u == 0.0:
            density = math.exp(constant) if freedom == 1 else 0.0
        else:
            density = math.exp(constant + (freedom - 1) * math.log(u) - freedom * u * u / 2)
        total += weight * density * (normal(shift - t * u) + normal(-shift - t * u))
    return total * width / 3


def seeds_to_tell(values: Sequence[float], reference: Sequence[float]) -> int | None:
    """Return the least seeds that tell a difference as large as the one seen, at 80 % power.

    Mean and scatter of the paired differences are taken for the true ones, so it is an estimate,
    and a rough one from two or three seeds. None: no estimate, for more than MOST_SEEDS, one pair,
    or pairs without a difference. Source: that of power.
    """
    pairs = zip(values, reference, strict=True)
    gaps = [value - other for value, other in pairs]
    mean = fmean(gaps)
    if len(gaps) < 2 or not math.isfinite(mean) or mean == 0:
        return None
    scatter = stdev(gaps)
    if scatter == 0:
        return 2
    effect = mean / scatter
    if power(effect, MOST_SEEDS) < POWER:
        return None
    low = 1  # too few
    high = MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        if power(effect, middle) < POWER:
            low = middle
        else:
            high = middle
    return high


def verdict(name: str, reference: str, values: Sequence[float], others: Sequence[float]) -> str:
    """Say in one clause what a difference in bits per character is worth. Fewer are better."""
    gap = difference(values, others)
    pair = f"{name} against {reference}"
    if not math.isfinite(gap.mean):
        return f"{pair}: no figure, a training diverged"
    if len(values) < 2:
        return f"{pair}: {gap.mean:+.3f} bits/char with one seed, which gives no interval"
    if gap.holds_zero:
        span = f"{gap.mean:+.3f} bits/char, 95 % {gap.low:+.3f} to {gap.high:+.3f}"
        return f"{pair}: no conclusive evidence ({span}; {_wanted(values, others)})"
    small, large = sorted((abs(gap.low), abs(gap.high)))
    which = "better" if gap.mean < 0 else "worse"
    return (
        f"{name} is {which} than {reference} by {abs(gap.mean):.3f} bits/char "
        f"(95 % {small:.3f} to {large:.3f})"
    )


def _wanted(values: Sequence[float], others: Sequence[float]) -> str:
    """Say how many seeds would tell a difference that these did not."""
    if list(values) == list(others):
        return "no seed shows a difference"
    seeds = seeds_to_tell(values, others)
    if seeds is None:
        return f"it would take more than {MOST_SEEDS:,} seeds to tell"
    return f"about {seeds:,} seeds would tell"

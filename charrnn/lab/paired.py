"""Means over seeds, their intervals, and what a difference between two settings is worth.

Neither torch nor numpy is loaded here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


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

    What a seed does to both cancels: in lines mode it draws the split.
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
        return f"{pair}: no conclusive evidence ({span})"
    small, large = sorted((abs(gap.low), abs(gap.high)))
    which = "better" if gap.mean < 0 else "worse"
    return (
        f"{name} is {which} than {reference} by {abs(gap.mean):.3f} bits/char "
        f"(95 % {small:.3f} to {large:.3f})"
    )

"""Means over seeds, their intervals, and what a difference between two settings is worth. No torch, no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the 95 % interval around it by Student's t; low and high are NaN for one value."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0 <= self.high


def interval(values: Sequence[float]) -> Interval:
    """mean ± t s / sqrt(n), with t of n - 1 degrees of freedom. Values that are not finite make it NaN."""
    mean = fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    half = t_quantile(CONFIDENCE, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def difference(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """Of runs paired by seed: what a seed does to both (in lines mode it draws the split) cancels."""
    return interval([value - other for value, other in zip(values, reference, strict=True)])


def within(t: float, freedom: int) -> float:
    """P(|T| <= t) of Student's t, exactly, as a sum of powers of cos(atan(t / sqrt(freedom))).

    Source: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine if freedom % 2 else 1.0), 0.0
    for k in range(2 + freedom % 2, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total


def t_quantile(share: float, freedom: int) -> float:
    """The t for which P(|T| <= t) = share, by bisection: 12.706 for 0.95 and one degree of freedom."""
    low, high = 0.0, 1.0
    while within(high, freedom) < share:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if within(middle, freedom) < share else (low, middle)
    return high


def verdict(name: str, reference: str, values: Sequence[float], others: Sequence[float]) -> str:
    """One clause in bits per character, of which fewer are better."""
    found = difference(values, others)
    if not math.isfinite(found.mean):
        return f"{name} against {reference}: no figure, a training diverged"
    if len(values) < 2:
        return f"{name} against {reference}: {found.mean:+.3f} bits/char with one seed, which gives no interval"
    if found.holds_zero:
        span = f"{found.mean:+.3f} bits/char, 95 % {found.low:+.3f} to {found.high:+.3f}"
        return f"{name} against {reference}: no conclusive evidence ({span})"
    small, large = sorted((abs(found.low), abs(found.high)))
    which = "better" if found.mean < 0 else "worse"
    return f"{name} is {which} than {reference} by {abs(found.mean):.3f} bits/char (95 % {small:.3f} to {large:.3f})"

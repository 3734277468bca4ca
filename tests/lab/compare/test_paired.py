"""Paired statistics of a comparison, against tables and hand-worked numbers."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from charrnn.lab.paired import (
    difference,
    interval,
    power,
    seeds_to_tell,
    t_quantile,
    verdict,
    within,
)

# Intervals


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 4, 2.776),
        (0.95, 5, 2.571),
        (0.95, 9, 2.262),
        (0.95, 10, 2.228),
        (0.95, 30, 2.042),
        (0.95, 120, 1.980),
        (0.99, 2, 9.925),
        (0.99, 5, 4.032),
        (0.5, 1, 1.0),
    ],
)
def test_quantiles_are_those_of_the_printed_table(share, freedom, value):
    assert t_quantile(share, freedom) == pytest.approx(value, abs=5e-4)


def test_the_quantile_of_two_degrees_in_closed_form_and_of_many_the_normal():
    assert t_quantile(0.95, 2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)
    z = NormalDist().inv_cdf(0.975)
    freedom = 2001
    assert t_quantile(0.95, freedom) == pytest.approx(z + (z**3 + z) / 4 / freedom, abs=1e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8])
def test_probabilities_are_the_integral_of_the_density(freedom):
    t = np.linspace(0, 1.7, 20_001)
    scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    density = scale * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
    assert within(1.7, freedom) == pytest.approx(
        (density[:-1] + density[1:]).sum() * t[1], abs=1e-8
    )


def test_an_interval_by_hand():
    """1, 2, 3: s = 1, and 4.3027 / sqrt(3) = 2.4841."""
    mean = interval([1.0, 2.0, 3.0])
    assert (mean.mean, mean.low, mean.high) == pytest.approx(
        (2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-4
    )
    assert math.isnan(interval([1.0]).low) and interval([1.0]).mean == 1.0


def test_pairs_cancel_what_a_seed_does_to_both():
    """Differences 0.1, 0.1, 0.2: s = 0.05774, so 0.13333 ± 4.3027 x 0.05774 / sqrt(3) = 0.1434."""
    gap = difference([1.1, 5.1, 9.2], [1.0, 5.0, 9.0])
    assert (gap.mean, gap.half) == pytest.approx((0.13333, 0.14342), abs=1e-4)


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (
            (-0.1, 0.1, -0.1),
            "gru against lstm: no conclusive evidence (-0.033 bits/char, 95 % -0.320 to +0.254; "
            "about 97 seeds would tell)",
        ),
        ((-0.2, -0.2, -0.3), "gru is better than lstm by 0.233 bits/char (95 % 0.090 to 0.377)"),
        ((0.2, 0.2, 0.3), "gru is worse than lstm by 0.233 bits/char (95 % 0.090 to 0.377)"),
        ((0.2, math.nan, 0.3), "gru against lstm: no figure, a training diverged"),
    ],
)
def test_verdicts(apart, words):
    """By hand: s = 0.11547 and 0.05774; 4.3027 / sqrt(3) = 2.4841 times that: 0.2868, 0.1434."""
    others = (2.1, 3.0, 4.1)
    assert (
        verdict("gru", "lstm", [a + b for a, b in zip(apart, others, strict=True)], others) == words
    )


def test_one_seed_gives_no_interval_and_says_so():
    assert (
        verdict("a", "b", [2.0], [2.5])
        == "a against b: -0.500 bits/char with one seed, which gives no interval"
    )


# How many seeds would tell


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_as_many_pairs_as_the_textbook_says_have_a_power_of_80_percent(effect, pairs):
    """Cohen 1988, table 2.4.1 by the exact test: the usual answers for a paired t-test."""
    assert power(effect, pairs - 1) < 0.8 <= power(effect, pairs)


@pytest.mark.parametrize(("effect", "seeds"), [(1.0, 2), (1.0, 5), (0.5, 12)])
def test_the_power_is_the_share_of_simulated_comparisons_that_tell(effect, seeds):
    gaps = np.random.default_rng(1).normal(effect, 1, (200_000, seeds))
    t = gaps.mean(1) / (gaps.std(1, ddof=1) / math.sqrt(seeds))
    share = (abs(t) > t_quantile(0.95, seeds - 1)).mean()
    assert power(effect, seeds) == pytest.approx(share, abs=0.005)  # 4 standard errors


def test_without_an_effect_5_percent_tell_by_chance():
    assert [power(0, seeds) for seeds in (2, 3, 30)] == pytest.approx([0.05] * 3, abs=1e-6)


def test_the_least_seeds_that_tell_by_hand():
    """Differences 0, 1, 2: mean 1, s 1, and 10 pairs tell an effect of 1."""
    assert seeds_to_tell([1.0, 3.0, 5.0], [1.0, 2.0, 3.0]) == 10


@pytest.mark.parametrize(
    "apart", [(0.1,), (0.0, 0.0), (1.0, -1.0), (1.0, -1.0, 0.001), (0.1, math.nan)]
)
def test_where_no_number_makes_sense_there_is_none(apart):
    """One pair; no difference; a mean of 0; one of 0.0003 s; a training that diverged."""
    assert seeds_to_tell(apart, [0.0] * len(apart)) is None


def test_more_seeds_than_anybody_trains_are_not_counted():
    words = verdict("a", "b", (1.0, -1.0, 0.001), (0.0, 0.0, 0.0))
    assert words.endswith("; it would take more than 1,000 seeds to tell)")


def test_equal_scores_of_every_seed_are_no_difference():
    assert verdict("a", "b", (2.0, 3.0), (2.0, 3.0)).endswith("; no seed shows a difference)")

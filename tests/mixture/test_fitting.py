"""The gate's fit: it finds what made the text, and no half is scored with its own gate."""

import numpy as np
import pytest

from charrnn.scoring.fitting import cross_fitted, fitted, halves
from charrnn.scoring.mixed import nats_of
from charrnn.text.gate import FEATURES, checked_theta, shares


def made(n, theta, seed=0):
    """Places at which one of two coins is flipped, chosen by a gate: features and both ln P."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, FEATURES))
    x[:, 0] = 1
    heads = generator.uniform(0.02, 0.98, (2, n))
    is_second = generator.random(n) < shares(theta, x)
    came = generator.random(n) < np.where(is_second, heads[1], heads[0])
    p = np.where(came, heads, 1 - heads)
    return x, np.log(p[0]), np.log(p[1])


def test_a_fit_finds_the_gate_that_made_the_text():
    theta = np.array([-0.5, 2, -1, 0, 0, 0, 0, 0])
    assert fitted(*made(30_000, theta)) == pytest.approx(theta, abs=0.25)


def test_a_fit_is_the_minimum():
    x, a, b = made(500, np.ones(FEATURES))
    theta = fitted(x, a, b)

    def cost(theta):
        prior = (theta[1:] * x[:, 1:].std(0)) @ (theta[1:] * x[:, 1:].std(0)) / 2
        return nats_of(shares(theta, x), a, b).sum() + prior

    for k in range(FEATURES):
        for step in (-0.01, 0.01):
            other = theta.copy()
            other[k] += step
            assert cost(other) > cost(theta)


def test_a_half_knows_nothing_of_itself():
    x, a, b = made(400, np.zeros(FEATURES))
    second = np.arange(400) % 2 == 1
    fit = cross_fitted(x, a, b, second)
    changed = b.copy()
    changed[second] = np.log(0.5)
    other = cross_fitted(x, a, changed, second)
    assert other.w[second] == pytest.approx(fit.w[second])
    assert other.w[~second] != pytest.approx(fit.w[~second])


def test_few_places_and_features_that_never_change_have_a_gate_too():
    x = np.ones((3, FEATURES))
    theta = fitted(x, np.log([0.5, 0.5, 0.5]), np.log([0.9, 0.9, 0.9]))
    assert np.isfinite(theta).all()
    assert shares(theta, x) == pytest.approx(1, abs=0.01)
    assert shares(fitted(x[:0], np.zeros(0), np.zeros(0)), x) == pytest.approx(0.5)


def test_halves_are_lines_or_blocks_by_turns():
    assert halves(np.array([1, 1000, 1001, 2000, 2001]), None).tolist() == [0, 0, 1, 1, 0]
    assert halves(np.array([0, 3, 4, 9, 10]), np.array([3, 9, 12])).tolist() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("theta", [None, np.ones(3), np.full(8, np.nan), np.full(8, 1e9)])
def test_a_gate_that_no_fit_makes_is_refused(theta):
    with pytest.raises(ValueError, match="gate"):
        checked_theta(theta)

"""Fitting the gate of text/gate.py on held-out places, and the score of what was not fitted.

What a gate was fitted on flatters it. So a text is cut into halves, blocks or lines by turns: each
half is scored with the gate of the other one. The gate that is kept is fitted on both.

The gate's theta is the minimum over all places of

    - sum ln ((1 - w) a + w b) + |s theta|^2 / 2,    w = 1 / (1 + exp(-theta . x))

with a = P_network, b = P_ngram of the character that came, and s the standard deviation of each
feature (0 for the constant one): where there are few places the weights stay small. Newton's
method, in float64.

Shapes: n places, F features of the gate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from charrnn.scoring.mixed import nats_of
from charrnn.scoring.score import BLOCK
from charrnn.text.gate import FEATURES, MOST_WEIGHT, STEEPEST, shares

MOST_PLACES = 1 << 15  # that a gate is fitted on: more cost time and change little
MOST_STEPS = 30
UNFITTED_SHARE = 0.05  # of counting, in texts too short to fit a gate (docs/decisions.md)
CLOSE = 1e-7  # nats a place: a smaller gain ends the fit


class Fitted(NamedTuple):
    """A gate fitted on all places, and the nats (n,) and w (n,) of gates that were not."""

    theta: np.ndarray
    nats: np.ndarray
    w: np.ndarray


def cross_fitted(
    features: np.ndarray, ln_network: np.ndarray, ln_counted: np.ndarray, is_second: np.ndarray
) -> Fitted:
    """Fit the gate on all places and on each half, and score each half with the gate of the other.

    features (n, F); ln_network, ln_counted (n,): of the character that came; is_second (n,) bool:
    the half that a place belongs to.
    """
    w = np.zeros(len(features))
    for half in (is_second, ~is_second):
        theta = fitted(features[~half], ln_network[~half], ln_counted[~half])
        w[half] = shares(theta, features[half])
    theta = fitted(features, ln_network, ln_counted)
    return Fitted(theta, nats_of(w, ln_network, ln_counted), w)


def unfitted(ln_network: np.ndarray, ln_counted: np.ndarray) -> Fitted:
    """Return the gate that gives counting UNFITTED_SHARE whatever it sees."""
    theta = np.zeros(FEATURES)
    theta[0] = math.log(UNFITTED_SHARE / (1 - UNFITTED_SHARE))
    w = np.full(len(ln_network), UNFITTED_SHARE)
    return Fitted(theta, nats_of(w, ln_network, ln_counted), w)


def halves(places: np.ndarray, line_ends: np.ndarray | None) -> np.ndarray:
    """Return which half (n,) each place belongs to. line_ends: where lines end; None: a stream."""
    if line_ends is None:
        units = (places - 1) // BLOCK
    else:
        units = np.searchsorted(line_ends, places)
    is_second: np.ndarray = units % 2 == 1
    return is_second


def fitted(features: np.ndarray, ln_network: np.ndarray, ln_counted: np.ndarray) -> np.ndarray:
    """Return theta (F,) fitted on these places, or on MOST_PLACES spread over them."""
    if not len(features):
        return np.zeros(FEATURES)

    # 1. Places, and features of mean 0 and deviation 1
    chosen = np.arange(len(features))
    if len(chosen) > MOST_PLACES:
        chosen = chosen[np.arange(MOST_PLACES) * len(chosen) // MOST_PLACES]
    a = np.exp(ln_network[chosen])
    b = np.exp(ln_counted[chosen])
    x = features[chosen]
    mean = x.mean(0)
    deviation = x.std(0)
    varies = deviation > 1e-9
    mean[~varies] = 0.0
    deviation[~varies] = 1.0
    x = (x - mean) / deviation
    x[:, ~varies] = 0.0
    x[:, 0] = 1.0

    # 2. The fit, and theta for features as they are
    theta = _newton(x, a, b) / deviation
    theta[~varies & (np.arange(FEATURES) > 0)] = 0.0
    theta[0] -= float(theta[1:] @ mean[1:])
    clipped: np.ndarray = np.clip(theta, -MOST_WEIGHT, MOST_WEIGHT)
    return clipped


def _newton(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the minimum over theta of the sum above, for features of deviation 1."""
    prior = np.ones(FEATURES)
    prior[0] = 0.0
    theta = np.zeros(FEATURES)
    w, p, cost = _cost(x, a, b, theta, prior)
    for _ in range(MOST_STEPS):
        responsibility = w * b / p  # (n,) the share of counting in what came
        slope = x.T @ (w - responsibility) + prior * theta
        step = _step(x, w, responsibility, slope, prior)
        size = 1.0
        while size > 1e-3:
            candidate = theta - size * step
            w, p, lower = _cost(x, a, b, candidate, prior)
            if lower < cost:
                break
            size /= 2
        else:
            break
        theta = candidate
        gain = cost - lower
        cost = lower
        if gain < CLOSE * len(x):
            break
    return theta


def _cost(
    x: np.ndarray, a: np.ndarray, b: np.ndarray, theta: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return w (n,), P of what came (n,), and what is minimised."""
    w = 1.0 / (1.0 + np.exp(-np.clip(x @ theta, -STEEPEST, STEEPEST)))
    p = (1.0 - w) * a + w * b
    return w, p, float(0.5 * (prior * theta) @ theta - np.log(p).sum())


def _step(
    x: np.ndarray,
    w: np.ndarray,
    responsibility: np.ndarray,
    slope: np.ndarray,
    prior: np.ndarray,
) -> np.ndarray:
    """Return Newton's step; where the sum is not convex, that of the bound that EM minimises."""
    complete = w * (1.0 - w)
    for curvature in (complete - responsibility * (1.0 - responsibility), complete):
        hessian = (x * curvature[:, None]).T @ x + np.diag(prior + 1e-9)
        try:
            np.linalg.cholesky(hessian)
        except np.linalg.LinAlgError:
            continue
        return np.linalg.solve(hessian, slope)
    return slope / len(x)

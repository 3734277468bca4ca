"""The cliff in the loss of the smallest recurrent network: one unit, two parameters.

    x_{k+1} = w sigmoid(x_k) + b,    x_0 = 0.5,    loss = (sigmoid(x_50) - 0.7)^2

Source: Pascanu et al. 2013, figure 6. N: values of w looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from charrnn.lab.result import Panel, Series
from charrnn.training.norms import clip_by_norm

STEPS = 50
FIRST = 0.5  # x_0
TARGET = 0.7
BIAS = -2.5
LR = 0.3  # of the descents
SPAN = (4.0, 6.5)  # w in the pictures
PLAIN = "no clipping"
CLIPPED = "clipped"


class Place(NamedTuple):
    """Where a descent stands before a step."""

    w: float
    b: float
    loss: float
    norm: float  # of the gradient, before clipping


def cliff(
    w: np.ndarray, b: np.ndarray | float, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loss, dloss/dw and dloss/db of w (N,), each (N,) in float64.

    The derivatives of x are carried along with x.
    """
    w = np.asarray(w, float)
    x = np.full_like(w, FIRST)
    by_w = np.zeros_like(w)
    by_b = np.zeros_like(w)
    for _ in range(steps):
        out = _sigmoid(x)
        slope = w * out * (1 - out)
        by_w = out + slope * by_w
        by_b = 1 + slope * by_b
        x = w * out + b
    out = _sigmoid(x)
    error = out - TARGET
    outer = 2 * error * out * (1 - out)
    return error**2, outer * by_w, outer * by_b


def edge(b: float = BIAS) -> float:
    """Return the w of the cliff.

    There x_0 is a fixed point that repels: the slightest change of w grows with every step.
    """
    return (FIRST - b) / float(_sigmoid(np.array(FIRST)))


def growth(b: float = BIAS) -> float:
    """Return the factor of the gradient for each step at the cliff: w sigmoid'(x_0)."""
    out = float(_sigmoid(np.array(FIRST)))
    return edge(b) * out * (1 - out)


def descent(threshold: float, steps: int = 400, w: float = 6.0, b: float = BIAS) -> list[Place]:
    """Descend from (w, b) with rate LR, clipped by Algorithm 1. threshold 0: not clipped."""
    path = []
    for _ in range(steps):
        loss, by_w, by_b = cliff(np.array([w]), b)
        gradient = torch.tensor([float(by_w[0]), float(by_b[0])], dtype=torch.float64)
        path.append(Place(w, b, float(loss[0]), float(gradient.norm())))
        if threshold:
            clip_by_norm([gradient], threshold)
        w -= LR * float(gradient[0])
        b -= LR * float(gradient[1])
    return path


def longest_step(path: list[Place]) -> float:
    """Return the greatest distance in (w, b) between two places that follow each other."""
    places = np.array([place[:2] for place in path])
    return float(np.hypot(*np.diff(places, axis=0).T).max())


def panels(plain: list[Place], clipped: list[Place]) -> tuple[Panel, ...]:
    """Draw the loss and the norm of its gradient along a line of w, and two descents."""
    near = np.geomspace(1e-7, 0.3, 60)
    even = np.linspace(*SPAN, 251)
    w = np.sort(np.concatenate([even, edge() + near, edge() - near, [edge()]]))
    loss, by_w, by_b = cliff(w, BIAS)
    x = tuple(w.tolist())
    of_loss = Series(f"loss at b = {BIAS:g}", x, tuple(loss.tolist()))
    of_gradient = Series("gradient norm", x, tuple(np.hypot(by_w, by_b).tolist()))
    steps = tuple(range(len(plain)))
    descents = (
        Series(PLAIN, steps, tuple(place.w for place in plain)),
        Series(CLIPPED, steps, tuple(place.w for place in clipped)),
    )
    gradient_title = "The cliff of one unit: the gradient"
    gradient_label = "norm of (dloss/dw, dloss/db)"
    descent_title = f"Descent on the cliff, from w = {plain[0].w:g} with rate {LR:g}"
    return (
        Panel("The cliff of one unit: its loss", "w", "loss", (of_loss,)),
        Panel(gradient_title, "w", gradient_label, (of_gradient,), log_y=True),
        Panel(descent_title, "step", "w", descents),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    sigmoid: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    return sigmoid

"""The cliff in the loss of the smallest recurrent network there is: one unit, two parameters. Pascanu et al. 2013, figure 6.

x_{k+1} = w sigmoid(x_k) + b,    x_0 = 0.5,    loss = (sigmoid(x_50) - 0.7)^2
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from charrnn.lab.result import Panel, Series
from charrnn.training.optim import clip_by_norm

STEPS, FIRST, TARGET, BIAS = 50, 0.5, 0.7, -2.5
LR = 0.3  # of the descents
SHOWN = (4.0, 6.5)  # w in the pictures
PLAIN, CLIPPED = "no clipping", "clipped"


class Place(NamedTuple):
    """Where a descent stands before a step. norm: of the gradient, before clipping."""

    w: float
    b: float
    loss: float
    norm: float


def cliff(
    w: np.ndarray, b: np.ndarray | float, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss, dloss/dw and dloss/db, each (N,) float64, of w (N,). The derivatives are carried along with the state."""
    w = np.asarray(w, float)
    x, by_w, by_b = np.full_like(w, FIRST), np.zeros_like(w), np.zeros_like(w)
    for _ in range(steps):
        out = _sigmoid(x)
        slope = w * out * (1 - out)
        by_w, by_b, x = out + slope * by_w, 1 + slope * by_b, w * out + b
    out = _sigmoid(x)
    error = out - TARGET
    outer = 2 * error * out * (1 - out)
    return error**2, outer * by_w, outer * by_b


def edge(b: float = BIAS) -> float:
    """The w of the cliff: there x_0 is a fixed point, and it repels, so that the slightest change of w is thrown away."""
    return (FIRST - b) / float(_sigmoid(np.array(FIRST)))


def growth(b: float = BIAS) -> float:
    """What each step multiplies the gradient by at the cliff: w sigmoid'(x_0)."""
    out = float(_sigmoid(np.array(FIRST)))
    return edge(b) * out * (1 - out)


def descent(threshold: float, steps: int = 400, w: float = 6.0, b: float = BIAS) -> list[Place]:
    """Gradient descent with rate LR from (w, b), clipped by Algorithm 1 or, with threshold 0, not at all."""
    path = []
    for _ in range(steps):
        loss, by_w, by_b = (float(each[0]) for each in cliff(np.array([w]), b))
        gradient = torch.tensor([by_w, by_b], dtype=torch.float64)
        path.append(Place(w, b, loss, float(gradient.norm())))
        if threshold:
            clip_by_norm([gradient], threshold)
        w, b = w - LR * float(gradient[0]), b - LR * float(gradient[1])
    return path


def longest_step(path: list[Place]) -> float:
    """The greatest distance in (w, b) between two places that follow each other."""
    places = np.array([place[:2] for place in path])
    return float(np.hypot(*np.diff(places, axis=0).T).max())


def panels(plain: list[Place], clipped: list[Place]) -> tuple[Panel, ...]:
    """The loss and the norm of its gradient along a line of w, and two descents."""
    near = np.geomspace(1e-7, 0.3, 60)
    w = np.sort(np.concatenate([np.linspace(*SHOWN, 251), edge() + near, edge() - near, [edge()]]))
    loss, by_w, by_b = cliff(w, BIAS)
    steps = tuple(range(len(plain)))
    along, of_loss = tuple(w.tolist()), f"loss at b = {BIAS:g}"
    return (
        Panel(
            "The cliff of one unit: its loss",
            "w",
            "loss",
            (Series(of_loss, along, tuple(loss.tolist())),),
        ),
        Panel(
            "The cliff of one unit: the gradient",
            "w",
            "norm of (dloss/dw, dloss/db)",
            (Series("gradient norm", along, tuple(np.hypot(by_w, by_b).tolist())),),
            log_y=True,
        ),
        Panel(
            f"Descent on the cliff, from w = {plain[0].w:g} with rate {LR:g}",
            "step",
            "w",
            tuple(
                Series(name, steps, tuple(place.w for place in path))
                for name, path in ((PLAIN, plain), (CLIPPED, clipped))
            ),
        ),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))

"""Norms of gradients: clipping as in the paper, and a norm that no number of threads changes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

CHUNK = 4096  # numbers, whose norm one thread computes


def steady_norm(gradient: Tensor) -> Tensor:
    """Return the norm () of a gradient (N,), the same bits on any number of threads.

    torch cuts a sum with one result among the threads; here the cut is fixed.
    """
    whole = len(gradient) // CHUNK * CHUNK
    norms = torch.linalg.vector_norm(gradient[:whole].view(-1, CHUNK), dim=1)
    rest = torch.linalg.vector_norm(gradient[whole:])
    total: Tensor = torch.linalg.vector_norm(torch.cat([norms, rest[None]]))
    return total


def clip_by_norm(gradients: Iterable[Tensor], threshold: float) -> float:
    """Clip in place: if |g| >= threshold then g <- threshold / |g| * g. Returns |g|.

    Source: Algorithm 1 of Pascanu et al. 2013, "On the difficulty of training recurrent neural
    networks". Equal to torch.nn.utils.clip_grad_norm_ up to the 1e-6 that it adds to the norm;
    training clips as that does.
    """
    gradients = list(gradients)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    if norm >= threshold:
        for gradient in gradients:
            gradient.mul_(threshold / norm)
    return norm

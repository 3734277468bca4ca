"""Clipping as in the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor


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

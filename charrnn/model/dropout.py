"""What a training step leaves out, drawn from torch's generator: every backend gets equal masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mask(shape: tuple[int, ...], dropped: float, device: torch.device) -> Tensor:
    """Return float32 numbers: 0 with probability `dropped`, else 1 / (1 - dropped); the mean is 1.

    A number takes 16 random bits, and one draw makes four numbers. torch's own dropout draws twice
    for each number and takes six times as long.
    """
    count = math.prod(shape)
    draws = -(-count // 4)
    bits = torch.empty(draws, dtype=torch.int64, device=device).random_(-(1 << 63), None)
    # The least int16 that is kept. It stays an int16 however close to 1 `dropped` is.
    dropped_values = min(round(dropped * (1 << 16)), (1 << 16) - 1)
    least = dropped_values - (1 << 15)
    keeps = bits.view(torch.int16)[:count].view(shape) >= least
    return keeps.float().mul_(1 / (1 - dropped))

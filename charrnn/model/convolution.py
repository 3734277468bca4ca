"""A causal convolution over the embedded characters: what the first layer then reads.

It is linear, so that its product with the first layer's input weights is a sum of one table row for
each character in view (sampling/network.py). equations.py has the reference.

Shapes: T time, B batch, E embedding, K characters in view.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Module):
    """The convolution's weight (E, E, K), as torch.nn.Conv1d's: its last tap reads the newest.

    It begins as the identity and a little of each character in view.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(size, size, width))

    def initialize(self) -> None:
        """Draw the weight: uniform as torch.nn.Conv1d, and 1 from each number to itself."""
        size = self.weight.shape[1]
        bound = 1 / math.sqrt(size * self.width)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            self.weight[:, :, -1].diagonal().add_(1.0)

    def forward(self, embedded: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs (T, B, E), and the past after them.

        embedded (T, B, E); past (K-1, B, E): what was embedded before, zeros before a text.
        """
        time = len(embedded)
        whole = torch.cat([past, embedded])  # (K-1+T, B, E)
        outputs = torch.zeros_like(embedded)
        for tap, weight in enumerate(self.weight.unbind(2)):
            outputs = outputs + F.linear(whole[tap : tap + time], weight)
        # A copy: a view would keep all of `whole`.
        return outputs, whole[time:].clone()

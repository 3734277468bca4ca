"""What a training step leaves out, drawn from one generator: every backend gets equal masks."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator

import torch
from torch import Tensor


class _Drawing(threading.local):
    """The generator that masks on the processor are drawn from in this thread."""

    generator: torch.Generator | None = None


_drawing = _Drawing()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the masks of the block from a generator with this seed.

    On the processor it is a generator of its own, so that torch's stays as it was, and trainings in
    other threads draw theirs. On a GPU it is the device's, which a CUDA graph reads.
    """
    before = _drawing.generator
    _drawing.generator = torch.Generator().manual_seed(seed)
    _seed_devices(seed)
    try:
        yield
    finally:
        _drawing.generator = before


def _seed_devices(seed: int) -> None:
    """Seed the generators of the GPUs that are in use."""
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def mask(
    shape: tuple[int, ...],
    dropped: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return float32 numbers: 0 with probability `dropped`, else 1 / (1 - dropped); the mean is 1.

    generator: None for that of the block (`seeded`). A number takes 16 random bits, and one draw
    makes four numbers. torch's own dropout draws twice for each number and takes six times as long.
    """
    count = math.prod(shape)
    draws = -(-count // 4)
    if generator is None and device.type == "cpu":
        generator = _drawing.generator
    bits = torch.empty(draws, dtype=torch.int64, device=device)
    bits.random_(-(1 << 63), None, generator=generator)
    # The least int16 that is kept. It stays an int16 however close to 1 `dropped` is.
    dropped_values = min(round(dropped * (1 << 16)), (1 << 16) - 1)
    least = dropped_values - (1 << 15)
    keeps = bits.view(torch.int16)[:count].view(shape) >= least
    return keeps.float().mul_(1 / (1 - dropped))

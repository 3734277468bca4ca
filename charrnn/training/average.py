"""A running mean of the weights, which is scored, sampled and kept as the best in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from charrnn.errors import CheckpointError
from charrnn.model.charmodel import CharModel


class WeightAverage:
    """a <- d a + (1 - d) w after each update, d = min(decay, (1 + n) / (10 + n)) after n of them; decay 0: w itself.

    The rising d forgets the first weights (as TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, model: CharModel, decay: float) -> None:
        self._decay = decay
        self._weights = list(model.tensors().values()) if decay else []
        self._names = list(model.tensors()) if decay else []
        self._means = [weight.clone() for weight in self._weights]

    def update(self, updates: int) -> None:
        """After an update; updates: how many there have been."""
        if self._means:
            torch._foreach_lerp_(
                self._means, self._weights, 1 - min(self._decay, (1 + updates) / (10 + updates))
            )

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The mean stands where the weights do, and afterwards the weights again, to the bit."""
        kept = [weight.clone() for weight in self._weights]
        _copy(self._means, self._weights)
        try:
            yield
        finally:
            _copy(kept, self._weights)

    def tensors(self) -> dict[str, Tensor]:
        """The mean by name; empty with decay 0."""
        return dict(zip(self._names, self._means, strict=True))

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` returned. Raises CheckpointError."""
        for name, mean in self.tensors().items():
            if name not in tensors or tensors[name].shape != mean.shape:
                raise CheckpointError(
                    f"the mean of {name} is not in the checkpoint as it should be; use another"
                )
            mean.copy_(tensors[name])


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for value, place in zip(source, target, strict=True):
        place.copy_(value)

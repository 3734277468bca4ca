"""A running mean of the weights, which is scored, sampled and kept as the best in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from charrnn.errors import CheckpointError
from charrnn.model.charmodel import CharModel


class WeightAverage:
    """The mean a of the weights w, taken after each update.

        a <- d a + (1 - d) w,    d = min(decay, (1 + n) / (10 + n))  after n updates

    The rising d forgets the first weights (as TensorFlow's ExponentialMovingAverage). decay 0: w
    itself.
    """

    def __init__(self, model: CharModel, decay: float) -> None:
        self._decay = decay
        self._weights = list(model.tensors().values()) if decay else []
        self._names = list(model.tensors()) if decay else []
        self._means = [weight.clone() for weight in self._weights]

    def update(self, updates: int) -> None:
        """Take in the weights after an update. updates: how many there have been."""
        if self._means:
            decay = min(self._decay, (1 + updates) / (10 + updates))
            torch._foreach_lerp_(self._means, self._weights, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean where the weights are, and afterwards the weights back, to the bit."""
        kept = [weight.clone() for weight in self._weights]
        _copy(self._means, self._weights)
        try:
            yield
        finally:
            _copy(kept, self._weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return the mean by name; nothing with decay 0."""
        return dict(zip(self._names, self._means, strict=True))

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take in what `tensors` returned. Raises CheckpointError."""
        for name, mean in self.tensors().items():
            if name not in tensors or tensors[name].shape != mean.shape:
                raise CheckpointError(
                    f"the checkpoint has no valid mean of {name}; use another one"
                )
            mean.copy_(tensors[name])


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for value, place in zip(source, target, strict=True):
        place.copy_(value)

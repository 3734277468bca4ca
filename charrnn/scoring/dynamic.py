"""Dynamic evaluation: the model goes on learning from the text that it is scored on, after each piece was scored.

Pieces of SEGMENT characters, in order. Each is scored by weights that have seen only what lies before it; then comes one
gradient step on it, and a small step back towards the stored weights. The state is carried, cut from the gradient.
No file is written: what is learnt is forgotten at the end.
Source: Krause et al. 2018, "Dynamic Evaluation of Neural Sequence Models".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.scoring.network import load_model, predictions_of
from charrnn.scoring.score import Predictions

SEGMENT = 64  # characters between two updates


@dataclass(frozen=True)
class Rule:
    """weights -= lr * gradient of the segment's mean nats; weights += decay * (stored weights - weights)."""

    lr: float = 0.2
    decay: float = 0.0003

    def to_dict(self) -> dict[str, Any]:
        return {"rule": "sgd", "segment": SEGMENT, **dataclasses.asdict(self)}


class DynamicScorer:
    """A network that learns as it reads, behind the seam of score.py. protocol "stateful" only."""

    def __init__(self, model: CharModel, device: torch.device, rule: Rule) -> None:
        """The model must have no dropout. Its weights are what they were whenever a scoring begins, and after it."""
        self.model, self.device, self.rule = model.train(), device, rule

    def predictions(
        self, ids: np.ndarray, protocol: str, *, window: int = 256, detailed: bool = False
    ) -> Iterator[Predictions]:
        assert protocol == "stateful"
        weights = list(self.model.parameters())
        stored = [weight.detach().clone() for weight in weights]
        state = self.model.zero_state(1)
        try:
            for start in range(0, len(ids) - 1, SEGMENT):
                text = torch.from_numpy(ids[start : start + SEGMENT + 1].astype(np.int64))[None].to(
                    self.device
                )
                logits, after = self.model(text[:, :-1], state)
                state = tuple(part.detach() for part in after)
                places = np.arange(start + 1, start + text.shape[1])
                yield predictions_of(logits.detach(), text[:, 1:], places, detailed)
                loss = torch.nn.functional.cross_entropy(logits[0], text[0, 1:])
                gradients = torch.autograd.grad(loss, weights)
                with torch.no_grad():
                    for weight, gradient, origin in zip(weights, gradients, stored, strict=True):
                        weight.sub_(gradient, alpha=self.rule.lr)
                        if self.rule.decay:
                            weight.lerp_(origin, self.rule.decay)
        finally:
            with torch.no_grad():
                for weight, origin in zip(weights, stored, strict=True):
                    weight.copy_(origin)


def load_scorer(model_file: ModelFile, device_name: str, lr: float | None) -> DynamicScorer:
    """The stored model, to be read with lr (None: the rule's). Raises SettingsError for a device or a rate that will not do."""
    rule = Rule() if lr is None else Rule(lr=lr)
    return DynamicScorer(*load_model(model_file, device_name), rule)

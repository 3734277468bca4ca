"""Dynamic evaluation: the model goes on learning from the text that it is scored on.

The text is read in segments of SEGMENT characters, in order. Each is first scored, by weights that
have seen only what stands before it. Then follow one gradient step on it and a small step back
towards the stored weights. The state is carried, cut from the gradient. No file is written: what
was learnt is forgotten at the end.
Source: Krause et al. 2018, "Dynamic Evaluation of Neural Sequence Models".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.scoring.mixed import predictor
from charrnn.scoring.network import load_model
from charrnn.scoring.score import Predictions
from charrnn.text.gate import Ally
from charrnn.text.spelling import Spelling

SEGMENT = 64  # characters between two updates


@dataclass(frozen=True)
class Rule:
    """The two steps after a segment.

    weights -= lr * gradient of the segment's mean nats
    weights += decay * (stored weights - weights)
    """

    lr: float = 0.2
    decay: float = 0.0003


class DynamicScorer:
    """A network that learns as it reads. It knows the protocol "stateful" only."""

    def __init__(
        self,
        model: CharModel,
        device: torch.device,
        rule: Rule,
        ally: Ally | None = None,
        spelling: Spelling | None = None,
    ) -> None:
        """The model must have no dropout. Every scoring begins and ends with its stored weights.

        ally: what counts beside the network. spelling: where rare characters are bytes.
        """
        self.ally = ally
        self.spelling = spelling
        self.model = model.train()
        self.device = device
        self.rule = rule

    def predictions(
        self,
        ids: np.ndarray,
        protocol: str,
        *,
        window: int = 256,
        detailed: bool = False,
        first: np.ndarray | None = None,
    ) -> Iterator[Predictions]:
        assert protocol == "stateful"
        predict = predictor(self.ally, ids, protocol, window, self.spelling)
        weights = list(self.model.parameters())
        stored = [weight.detach().clone() for weight in weights]
        state = self.model.zero_state(1)
        try:
            for start in range(0, len(ids) - 1, SEGMENT):
                # (1, N): the segment, and the character after it, which is predicted last.
                segment = ids[start : start + SEGMENT + 1].astype(np.int64)
                text = torch.from_numpy(segment)[None].to(self.device)
                logits, after = self.model(text[:, :-1], state)
                state = tuple(part.detach() for part in after)
                places = np.arange(start + 1, start + text.shape[1])
                yield predict(logits.detach(), text[:, 1:], places, detailed)
                loss = torch.nn.functional.cross_entropy(logits[0], text[0, 1:])
                gradients = torch.autograd.grad(loss, weights)
                with torch.no_grad():
                    for weight, gradient, origin in zip(weights, gradients, stored, strict=True):
                        weight.sub_(gradient, alpha=self.rule.lr)
                        if self.rule.decay:
                            weight.lerp_(origin, self.rule.decay)
        finally:
            # Whatever ends the reading, the model is left with its stored weights.
            with torch.no_grad():
                for weight, origin in zip(weights, stored, strict=True):
                    weight.copy_(origin)


def load_scorer(model_file: ModelFile, device_name: str, lr: float | None) -> DynamicScorer:
    """The stored model, learning with this rate. lr: None: the rule's own.

    Raises SettingsError for a device that is not there.
    """
    rule = Rule()
    if lr is not None:
        rule = Rule(lr=lr)
    model, device = load_model(model_file, device_name)
    return DynamicScorer(model, device, rule, model_file.ally, model_file.vocabulary.spelling)

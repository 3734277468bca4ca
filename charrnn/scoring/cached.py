"""A stored network with a cache (sampling/cache.py) as something that predicts one stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.sampling.cache import Pairs, keys_of
from charrnn.scoring.network import load_model, predictions_of
from charrnn.scoring.score import Predictions
from charrnn.scoring.validation import lane_batches, most_chars


class CachedScorer:
    """A network that looks back on `length` characters, behind the seam of score.py. protocol "stateful" only."""

    def __init__(self, model: CharModel, device: torch.device, length: int) -> None:
        """Dropout must be off (model.eval())."""
        self.model, self.device, self.length = model, device, length

    def predictions(
        self, ids: np.ndarray, protocol: str, *, window: int = 256, detailed: bool = False
    ) -> Iterator[Predictions]:
        assert protocol == "stateful"
        state, place = self.model.zero_state(1), 1
        width = self.model.num_layers * self.model.hidden_size
        length = min(self.length, len(ids))
        pairs = Pairs(
            np.zeros((length, width), np.float32), np.zeros(length, np.int32), np.zeros(1, np.int64)
        )
        key = np.zeros((1, width), np.float32)
        for batch in lane_batches(ids, 1, most_chars(self.model)):
            with torch.inference_mode():
                logits, outputs, state = self.model.forward_traced(
                    batch.inputs.to(self.device), state
                )
            keys = np.concatenate([key, keys_of(outputs[:, :, 0].cpu().numpy())])
            mixed = pairs.read(
                keys[:-1], batch.inputs[0].numpy(), keys[1:], logits[0].cpu().numpy()
            )
            key = keys[-1:]
            places = np.arange(place, place + len(mixed))
            place += len(mixed)
            yield predictions_of(torch.from_numpy(mixed)[None], batch.targets, places, detailed)


def load_scorer(model_file: ModelFile, device_name: str, length: int) -> CachedScorer:
    """The stored model with a cache. Raises SettingsError for a device that is not there."""
    return CachedScorer(*load_model(model_file, device_name), length)

"""A stored network with a cache (sampling/cache.py), as a scorer of one stream.

Shapes: N characters of a batch, V vocabulary, L layers, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.sampling.cache import Pairs, keys_of
from charrnn.scoring.mixed import predictor
from charrnn.scoring.network import load_model
from charrnn.scoring.score import Predictions
from charrnn.scoring.validation import lane_batches, most_chars
from charrnn.text.gate import Ally


class CachedScorer:
    """A network that looks back on `length` characters. It knows the protocol "stateful" only."""

    def __init__(
        self, model: CharModel, device: torch.device, length: int, ally: Ally | None = None
    ) -> None:
        """Dropout must be off (model.eval()). ally: what counts beside the network."""
        self.ally = ally
        self.model = model
        self.device = device
        self.length = length

    def predictions(
        self, ids: np.ndarray, protocol: str, *, window: int = 256, detailed: bool = False
    ) -> Iterator[Predictions]:
        assert protocol == "stateful"
        predict = predictor(self.ally, ids, protocol, window)
        width = self.model.num_layers * self.model.hidden_size
        length = min(self.length, len(ids))
        pairs = Pairs(
            np.zeros((length, width), np.float32), np.zeros(length, np.int32), np.zeros(1, np.int64)
        )
        state = self.model.zero_state(1)
        key = np.zeros((1, width), np.float32)  # of the last character that was read
        place = 1
        for batch in lane_batches(ids, 1, most_chars(self.model)):
            with torch.inference_mode():
                inputs = batch.inputs.to(self.device)
                logits, outputs, state = self.model.forward_traced(inputs, state)
            # (N + 1, L H): the keys before and after each character.
            keys = np.concatenate([key, keys_of(outputs[:, :, 0].cpu().numpy())])
            mixed = pairs.read(  # (N, V)
                keys[:-1], batch.inputs[0].numpy(), keys[1:], logits[0].cpu().numpy()
            )
            key = keys[-1:]
            places = np.arange(place, place + len(mixed))
            place += len(mixed)
            yield predict(torch.from_numpy(mixed)[None], batch.targets, places, detailed)


def load_scorer(model_file: ModelFile, device_name: str, length: int) -> CachedScorer:
    """The stored model with a cache. Raises SettingsError for a device that is not there."""
    return CachedScorer(*load_model(model_file, device_name), length, model_file.ally)

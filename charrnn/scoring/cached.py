"""A stored network with a cache (sampling/cache.py), as a scorer of one stream.

Shapes: N characters of a batch, C of a full one, V vocabulary, L layers, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.sampling.cache import keys_of, no_pairs, pairs_of
from charrnn.scoring.mixed import Whole
from charrnn.scoring.network import load_model
from charrnn.scoring.score import Predictions
from charrnn.scoring.validation import CHUNK, lane_batches, most_chars
from charrnn.text.gate import Ally
from charrnn.text.spelling import Spelling


class CachedScorer:
    """A model that looks back on `length` characters. It knows the protocol "stateful" only."""

    def __init__(
        self,
        model: CharModel,
        device: torch.device,
        length: int,
        ally: Ally | None = None,
        spelling: Spelling | None = None,
    ) -> None:
        """Dropout must be off (model.eval()). ally: what counts beside the network.

        spelling: where rare characters are bytes.
        """
        self.ally = ally
        self.spelling = spelling
        self.model = model
        self.device = device
        self.length = length

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
        whole = Whole(self.ally, ids, self.spelling)
        width = self.model.num_layers * self.model.hidden_size
        none = no_pairs(self.length, 1, width, self.model.head.out_features)
        pairs = pairs_of(none, 0)
        state = self.model.zero_state(1)
        key = np.zeros((1, width), np.float32)  # of the last character that was read
        most = most_chars(self.model)
        chunk = min(CHUNK, most)  # C
        place = 1
        for batch in lane_batches(ids, 1, most):
            # The last batch is filled up to C characters. Products of another shape round
            # otherwise, and so the end of a text would change what stands before it.
            size = batch.inputs.shape[1]
            inputs = F.pad(batch.inputs, (0, chunk - size))  # (1, C)
            with torch.inference_mode():
                logits, outputs, state = self.model.forward_traced(inputs.to(self.device), state)
            # (C + 1, L H): the keys before and after each character.
            keys = np.concatenate([key, keys_of(outputs[:, :, 0].cpu().numpy())])
            places = np.arange(place, place + size)
            place += size
            ln_p = np.zeros(logits.shape[1:])  # (C, V); what fills up is not looked at
            ln_p[:size] = whole.ln_p(logits[0, :size], places)
            mixed = pairs.read(keys[:-1], inputs[0].numpy(), keys[1:], ln_p)
            key = keys[-1:]
            yield whole.predictions_of(mixed[:size], batch.targets, places, detailed)


def load_scorer(model_file: ModelFile, device_name: str, length: int) -> CachedScorer:
    """The stored model with a cache. Raises SettingsError for a device that is not there."""
    model, device = load_model(model_file, device_name)
    return CachedScorer(model, device, length, model_file.ally, model_file.vocabulary.spelling)

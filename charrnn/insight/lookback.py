"""Where a network with a cache looked back before each character: attention's ancestor.

The cache of sampling/cache.py gives every place it remembers a weight, and the character that
followed there its share of the probability. Here the shares are kept, place by place. As in
attention, they say what the model looked at; unlike attention's, they are not learnt.

Shapes: N characters of a text, M places that are remembered, K numbers of a key.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from charrnn.modelfile import ModelFile
from charrnn.sampling.cache import NETWORK_COUNT, PIECE, THETA, check, keys_of
from charrnn.sampling.decode import log_probabilities
from charrnn.scoring.mixed import masked
from charrnn.scoring.network import load_model
from charrnn.scoring.spelled import spelled_text
from charrnn.scoring.validation import lane_batches
from charrnn.text.vocabulary import Vocabulary

MOST_PLACES = 3  # that are named for each character
SHOWN_BEFORE = 12  # characters before the one that followed


@dataclass(frozen=True)
class Glance:
    """How a character was predicted from what had been read.

    nats: its cost without the cache; cached_nats: with it. shares (M,): of the whole probability,
    given to what followed at the places first, first + 1, ...; the network has the rest.
    """

    place: int
    nats: float
    cached_nats: float
    first: int
    shares: np.ndarray

    @property
    def share(self) -> float:
        """The share of the probability that the cache has."""
        return float(self.shares.sum())


class PlaceSeen(NamedTuple):
    """A place looked back at. char: what followed there; before: the characters before that."""

    place: int
    before: str
    char: str
    share: float


class CharacterSeen(NamedTuple):
    """A glance in words. places: the few with the largest shares, the largest first."""

    place: int
    char: str
    code: int
    bits: float
    cached_bits: float
    gain_bits: float
    cache_share: float
    places: tuple[PlaceSeen, ...]


def glances(
    model_file: ModelFile, ids: np.ndarray, length: int, device_name: str = "auto"
) -> Iterator[Glance]:
    """Yield a glance for every predicted character of ids (N,), in order.

    length: how many characters the cache remembers. Raises SettingsError where this model has no
    cache.
    """
    check(length, model_file)
    model, device = load_model(model_file, device_name)
    state = model.zero_state(1)
    spelled = spelled_text(model_file.vocabulary.spelling, ids)
    # keys (M + 1, K): of the state before ids[base], before ids[base + 1], ...
    base = 0
    keys = np.zeros((1, model.num_layers * model.hidden_size), np.float32)
    place = 1  # of the next character to predict
    for batch in lane_batches(ids, 1, PIECE):
        with torch.inference_mode():
            inputs = batch.inputs.to(device)
            logits, outputs, state = model.forward_traced(inputs, state)
        if spelled is not None:
            following = np.arange(place, place + len(logits[0]))
            logits = masked(logits[0], spelled, following)[None]
        keys = np.concatenate([keys, keys_of(outputs[:, :, 0].cpu().numpy())])
        for ln_network in log_probabilities(logits[0].cpu().numpy()):
            first = max(0, place - length)
            now = keys[place - base]
            remembered = keys[first - base : place - base]
            yield _glance(ids, place, first, remembered @ now, ln_network)
            place += 1
        keys = keys[max(0, place - length) - base :]
        base = max(0, place - length)


def _glance(
    ids: np.ndarray, place: int, first: int, similarity: np.ndarray, ln_network: np.ndarray
) -> Glance:
    """The glance at ids[place]. similarity (M,): of now to the places first, first + 1, ..."""
    weights = np.exp(THETA * (similarity.astype(np.float64) - 1))
    total = NETWORK_COUNT + weights.sum()
    shares = weights / total
    char = ids[place]
    nats = -float(ln_network[char])
    followed = float(shares[ids[first:place] == char].sum())
    probability = NETWORK_COUNT / total * math.exp(-nats) + followed
    return Glance(place, nats, -math.log(probability), first, shares)


def in_words(glance: Glance, ids: np.ndarray, vocabulary: Vocabulary) -> CharacterSeen:
    """Return a glance with the characters that it is about."""
    largest = np.argsort(-glance.shares, kind="stable")[:MOST_PLACES]
    places = []
    for index in largest.tolist():
        place = glance.first + index
        before = vocabulary.decode(ids[max(0, place - SHOWN_BEFORE) : place])
        char = vocabulary.decode(ids[place : place + 1])
        places.append(PlaceSeen(place, before, char, float(glance.shares[index])))
    char_id = int(ids[glance.place])
    return CharacterSeen(
        glance.place,
        vocabulary.decode(ids[glance.place : glance.place + 1]),
        vocabulary.symbols[char_id],
        glance.nats / math.log(2),
        glance.cached_nats / math.log(2),
        (glance.nats - glance.cached_nats) / math.log(2),
        glance.share,
        tuple(places),
    )


def shares_between(
    seen: Sequence[Glance], rows: int, columns: int
) -> tuple[range, range, np.ndarray]:
    """Return the last places predicted, the last ones looked back at, and the shares between them.

    rows, columns: at most so many. The shares are (rows, columns); 0 where a place was out of view.
    """
    last = seen[-rows:]
    predicted = range(last[0].place, last[-1].place + 1)
    lookable = range(max(0, predicted.stop - 1 - columns), predicted.stop - 1)
    shares = np.zeros((len(predicted), len(lookable)))
    for row, glance in enumerate(last):
        first = max(glance.first, lookable.start)
        values = glance.shares[first - glance.first :]
        shares[row, first - lookable.start :][: len(values)] = values
    return predicted, lookable, shares

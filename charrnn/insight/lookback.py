"""Where a model with a cache looked back before each character: attention's ancestor.

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

from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.sampling.cache import (
    FIRST_BELIEFS,
    PIECE,
    THETA,
    check,
    keys_of,
    moved,
    opinions,
    shared,
)
from charrnn.scoring.mixed import Whole
from charrnn.scoring.network import load_model
from charrnn.scoring.validation import lane_batches
from charrnn.text.gate import EXCLUDED
from charrnn.text.vocabulary import Vocabulary

MOST_PLACES = 3  # that are named for each character
SHOWN_BEFORE = 12  # characters before the one that followed


@dataclass(frozen=True)
class Glance:
    """How a character was predicted from what had been read.

    nats: its cost without the cache; cached_nats: with it. shares (M,): of the whole probability,
    given to what followed at the places first, first + 1, ...; the model has the rest.
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

    length: how many characters the cache remembers; where rare characters are bytes, so many ids.
    Places are numbers of characters. Raises SettingsError where this model has no cache.
    """
    check(length, model_file)
    model, device = load_model(model_file, device_name)
    spelling = model_file.vocabulary.spelling
    whole = Whole(model_file.ally, ids, spelling)
    seen = _glances_at_ids(model, device, ids, length, whole)
    if spelling is None:
        return seen
    return _by_character(seen, _starts_of(model_file.vocabulary, ids))


def _glances_at_ids(
    model: CharModel, device: torch.device, ids: np.ndarray, length: int, whole: Whole
) -> Iterator[Glance]:
    """Yield a glance for every id but the first."""
    state = model.zero_state(1)
    # keys (M + 1, K): of the state before ids[base], before ids[base + 1], ...
    base = 0
    keys = np.zeros((1, model.num_layers * model.hidden_size), np.float32)
    place = 1  # of the next character to predict
    beliefs = FIRST_BELIEFS
    for batch in lane_batches(ids, 1, PIECE):
        with torch.inference_mode():
            inputs = batch.inputs.to(device)
            logits, outputs, state = model.forward_traced(inputs, state)
        keys = np.concatenate([keys, keys_of(outputs[:, :, 0].cpu().numpy())])
        places = np.arange(place, place + logits.shape[1])
        for ln_model in whole.ln_p(logits[0], places):
            first = max(0, place - length)
            now = keys[place - base]
            remembered = keys[first - base : place - base]
            glance, beliefs = _glance(ids, place, first, remembered @ now, ln_model, beliefs)
            yield glance
            place += 1
        keys = keys[max(0, place - length) - base :]
        base = max(0, place - length)


def _glance(
    ids: np.ndarray,
    place: int,
    first: int,
    similarity: np.ndarray,
    ln_model: np.ndarray,
    beliefs: np.ndarray,
) -> tuple[Glance, np.ndarray]:
    """The glance at ids[place], and the beliefs (E,) after it.

    similarity (M,): of now to the places first, first + 1, ...
    ln_model (V,): below EXCLUDED for what may not follow; no place has a share for it.
    """
    weights = np.exp(THETA * (similarity.astype(np.float64) - 1))
    followed = ids[first:place]
    weights[ln_model[followed] < EXCLUDED] = 0
    char = ids[place]
    count, total = weights[followed == char].sum(keepdims=True), weights.sum(keepdims=True)
    of_model, of_count = shared(beliefs[None], total)
    nats = -float(ln_model[char])
    p = float(of_model[0] * math.exp(-nats) + of_count[0] * count[0])
    # 0: the text begins inside a character, whose bytes are not counted.
    cached_nats = -math.log(p) if p else math.inf
    said = opinions(ln_model[char : char + 1], count, total)[0]
    return Glance(place, nats, cached_nats, first, weights * of_count[0]), moved(beliefs, said)


def _starts_of(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """Return where the characters of ids (N,) begin, and N.

    A text that begins inside a character begins with what is left of it.
    """
    edges = vocabulary.edges(ids)
    return edges if edges[0] == 0 else np.append(0, edges)


def _by_character(seen: Iterator[Glance], starts: np.ndarray) -> Iterator[Glance]:
    """Yield one glance for each character of several bytes: their costs, the first one's shares.

    The first character of a text is not predicted, nor are the rest of its bytes.
    """
    sizes = np.diff(starts)
    numbers = np.repeat(np.arange(len(sizes)), sizes)  # the character of each id
    pending: Glance | None = None
    for glance in seen:
        number = int(numbers[glance.place])
        if number == 0:
            continue
        if pending is not None and pending.place == number:
            nats = pending.nats + glance.nats
            cached_nats = pending.cached_nats + glance.cached_nats
            pending = Glance(number, nats, cached_nats, pending.first, pending.shares)
            continue
        if pending is not None:
            yield pending
        inside = numbers[glance.first : glance.place]
        first = int(inside[0])
        shares = np.bincount(inside - first, glance.shares)
        pending = Glance(number, glance.nats, glance.cached_nats, first, shares)
    if pending is not None:
        yield pending


class Characters:
    """The characters of a text by their numbers, whatever ids stand for each."""

    def __init__(self, vocabulary: Vocabulary, ids: np.ndarray) -> None:
        self._vocabulary = vocabulary
        self._ids = ids
        self._starts = _starts_of(vocabulary, ids)

    def text(self, first: int, stop: int) -> str:
        """Return the text of characters first, ..., stop - 1."""
        return self._vocabulary.decode(self._ids[self._starts[first] : self._starts[stop]])

    def each(self, places: range) -> list[str]:
        """Return each character."""
        return [self.text(place, place + 1) for place in places]

    def code(self, place: int) -> int:
        """Return the symbol of a character: its code point, or the value of a byte."""
        first, stop = self._starts[place], self._starts[place + 1]
        if stop - first == 1:
            symbol: int = self._vocabulary.symbols[int(self._ids[first])]
            return symbol
        return ord(self.text(place, place + 1)[0])

    def are_same(self, rows: range, columns: range) -> np.ndarray:
        """Return (rows, columns) bool: which characters are the same."""
        codes = [np.array([self.code(place) for place in places]) for places in (rows, columns)]
        same: np.ndarray = codes[0][:, None] == codes[1][None, :]
        return same


def in_words(glance: Glance, characters: Characters) -> CharacterSeen:
    """Return a glance with the characters that it is about."""
    largest = np.argsort(-glance.shares, kind="stable")[:MOST_PLACES]
    places = []
    for index in largest.tolist():
        place = glance.first + index
        before = characters.text(max(0, place - SHOWN_BEFORE), place)
        char = characters.text(place, place + 1)
        places.append(PlaceSeen(place, before, char, float(glance.shares[index])))
    return CharacterSeen(
        glance.place,
        characters.text(glance.place, glance.place + 1),
        characters.code(glance.place),
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

"""A continuous cache: what followed similar places of the text read lately may come next.

Each of the last `length` places is kept as a pair: the state of the network there, all layers' h in
one vector of length 1, and the character that followed. With q the state now and k_i the states of
the pairs,

    P(x) = (n P_model(x) + sum_i w_i [x_i = x]) / (n + sum_i w_i)
    w_i  = exp(theta (q . k_i - 1))

P_model is the network's, or its mixture with counting. A place that looks the same counts as one
character seen, a place that looks different as almost none, and what the model says as n
characters. Where nothing similar was read, the model decides alone. No weights are learnt.

Only what a model is given to read is kept, never what it writes: a text that feeds on itself soon
repeats one line for ever. After Grave, Joulin & Usunier 2017, "Improving Neural Language Models
with a Continuous Cache"; ours are the cosine, where they have the product, and counts, where they
give the cache a constant share.

Letters: B rows, T characters, M pairs, K numbers of a key, V vocabulary, L layers, H hidden size.
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.errors import SettingsError
from charrnn.layout import sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import log_probabilities
from charrnn.sampling.network import Network
from charrnn.sampling.steps import MAX_SCORES, State, Step, Steps
from charrnn.text.gate import EXCLUDED

# Both were chosen on Shakespeare, LaTeX and C together (docs/decisions.md).
THETA = 20.0
MODEL_COUNT = 0.15
MAX_NUMBERS = 1 << 26  # of the pairs' keys: 256 MB
MAX_WEIGHTS = 1 << 22  # of a piece
PIECE = 256  # characters of one text whose products are one


def check(length: int, model: ModelFile) -> None:
    """Raise SettingsError where this model has nothing to look back on, or too much."""
    if model.counts:
        raise SettingsError("--cache is for networks, whose states it compares; this model counts")
    if model.mode == "lines":
        raise SettingsError(
            "--cache looks back along one stream; this model knows lines, each by itself"
        )
    hidden, layers, _ = sizes(model.settings.model)
    most = MAX_NUMBERS // (layers * hidden)
    if not 1 <= length <= most:
        raise SettingsError(
            f"--cache {length}: characters to look back on, for this model between 1 and {most:,}"
        )


def keys_of(h: np.ndarray) -> np.ndarray:
    """Return keys (T, L * H) of length 1 of the states h (L, T, H).

    A state of zeros, or of what is no number, has a key of zeros.
    """
    keys = np.swapaxes(h, 0, 1).reshape(h.shape[1], -1)
    norms = np.sqrt(np.square(keys, dtype=np.float64).sum(1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit: np.ndarray = np.nan_to_num(keys / norms, posinf=0.0, neginf=0.0)
    return unit.astype(np.float32)


class Pairs:
    """The pairs of one text, in arrays of the caller that change in place.

    Pair number p stands at place p modulo length.
    """

    def __init__(self, keys: np.ndarray, followed: np.ndarray, count: np.ndarray) -> None:
        """Hold keys (length, K) float32, followed (length,) int32, count (1,) int64."""
        self.keys = keys
        self.followed = followed
        self.count = count

    def read(
        self, before: np.ndarray, ids: np.ndarray, after: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """Take in ids (T,) one after the other; return ln P (T, V), float64, of what follows each.

        before (T, K): keys of the states in which they are read. after (T, K): keys of the states
        they lead to. logits (T, V): what the model says there.
        """
        length = len(self.keys)
        pieces = []
        start = 0
        while start < len(ids):
            # The width decides how products round: nothing that follows in the text has a say.
            known = min(int(self.count[0]), length)
            most = min(MAX_WEIGHTS // max(1, known), MAX_SCORES // logits.shape[1])
            width = max(1, min(PIECE, length, most))
            piece = slice(start, start + width)
            pieces.append(self._read(before[piece], ids[piece], after[piece], logits[piece]))
            start += width
        return np.concatenate(pieces)

    def recall(self, now: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return ln P (T, V) in states of keys now (T, K); nothing is taken in.

        logits (T, V): what the model says there.
        """
        known = min(int(self.count[0]), len(self.keys))
        keys = self.keys[:known]
        # One row's product is small: threads of BLAS would wait for each other at every character.
        if len(now) == 1:
            similarity = np.vecdot(keys, now)
        else:
            similarity = now @ keys.T
        weights = _weights(similarity.reshape(len(now), known))
        return _mixed(logits, weights, self.followed[:known])

    def _read(
        self, before: np.ndarray, ids: np.ndarray, after: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """Take in at most `length` ids at once."""
        length = len(self.keys)
        new = len(ids)
        count = int(self.count[0])

        # 1. Weights of the pairs that were there, unless an id of this piece has replaced them.
        places = np.arange(min(count, length))
        numbers = count - 1 - (count - 1 - places) % length
        known = self.keys[: len(places)]
        times = np.arange(new)[:, None]
        is_there = numbers[None] > count + times - length
        old = np.where(is_there, _weights(_cosines(after, known)), 0)

        # 2. Weights of the pairs that this piece makes, up to each of its ids.
        is_made = np.arange(new)[None] <= times
        own = np.where(is_made, _weights(_cosines(after, before)), 0)

        # 3. Write the new pairs over the oldest ones.
        followed = np.concatenate([self.followed[: len(places)], ids])
        slots = (count + np.arange(new)) % length
        self.keys[slots] = before
        self.followed[slots] = ids
        self.count += new
        return _mixed(logits, np.concatenate([old, own], 1), followed)


def _cosines(now: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the products (T, M), float64, of keys now (T, K) and keys (M, K).

    A weight's error is THETA times that of its product. In float32 the probabilities of an alphabet
    were up to 1.2e-6 off 1: they came from products that round otherwise.
    """
    now = now.astype(np.float64)
    step = max(1, MAX_WEIGHTS // keys.shape[1])  # keys at once: their copies are small
    cosines = np.empty((len(now), len(keys)))
    for start in range(0, len(keys), step):
        piece = slice(start, start + step)
        cosines[:, piece] = now @ keys[piece].astype(np.float64).T
    return cosines


def _weights(similarity: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        weights: np.ndarray = np.exp(np.float32(THETA) * (similarity - 1).astype(np.float32))
    return weights


def _mixed(logits: np.ndarray, weights: np.ndarray, followed: np.ndarray) -> np.ndarray:
    """Return ln P (T, V) of the model's logits (T, V) and weights (T, M) of characters (M,)."""
    ln_model = log_probabilities(logits)
    counts = np.stack([np.bincount(followed, row, logits.shape[1]) for row in weights])
    counts[ln_model < EXCLUDED] = 0
    total = MODEL_COUNT + counts.sum(1, keepdims=True)
    with np.errstate(divide="ignore"):  # never counted: ln 0
        ln_counts = np.log(counts)
    mixed: np.ndarray = np.logaddexp(math.log(MODEL_COUNT) + ln_model, ln_counts) - np.log(total)
    return mixed


class Cached(Steps):
    """A model with a cache: its logits are ln P of both.

    Its state: the model's, then the pairs'.
    """

    def __init__(self, model: Steps | Compiled, network: Network, length: int) -> None:
        """model: the network and what stands beside it. Its state begins with the network's h."""
        self._model = model
        self._width = network.num_layers * network.hidden_size
        self.length = length
        self.engine = model.engine
        self.name = f"{model.name} with a cache of {length:,}"
        self.vocabulary_size = model.vocabulary_size

    def zero_state(self, batch: int) -> State:
        """Return the model's state, then keys (length, B, K), ids (length, B), counts (1, B)."""
        keys = np.zeros((self.length, batch, self._width), np.float32)
        followed = np.zeros((self.length, batch), np.int32)
        count = np.zeros((1, batch), np.int64)
        return (*self._model.zero_state(batch), keys, followed, count)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        ids = self._checked(ids, state)
        parts = tuple(part.copy() for part in state[-3:])
        logits, after = self._model.step(ids, state[:-3])
        before = keys_of(state[0])
        now = keys_of(after[0])
        mixed = np.empty(logits.shape)
        for b in range(len(ids)):
            row = slice(b, b + 1)
            mixed[row] = _pairs(parts, b).read(before[row], ids[row], now[row], logits[row])
        return mixed, (*after, *parts)

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Take a step with one row; the rows of write_many have their pairs in common."""
        pairs = _pairs(state[-3:], 0)
        logits, after = self._recalled(self._checked(ids, state), state[:-3], pairs)
        return logits, (*after, *state[-3:])

    def rows(self, state: State) -> tuple[Step, State]:
        pairs_of_prompt = _pairs(state[-3:], 0)

        def step(ids: np.ndarray, rows: State) -> tuple[np.ndarray, State]:
            return self._recalled(ids, rows, pairs_of_prompt)

        return step, state[:-3]

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        ids = self._checked(ids, state)
        of_model = state[:-3]
        parts = tuple(part.copy() for part in state[-3:])
        pairs = _pairs(parts, 0)
        nats = 0.0
        latest = None  # ln P (1, V) after the piece before
        width = max(1, min(PIECE, MAX_SCORES // self.vocabulary_size))
        for start in range(0, len(ids), width):
            piece = ids[start : start + width]
            keys = [keys_of(of_model[0])]
            rows = []
            for char in piece:
                logits, of_model = self._model.step(np.array([char]), of_model)
                keys.append(keys_of(of_model[0]))
                rows.append(logits)
            before = np.concatenate(keys[:-1])
            after = np.concatenate(keys[1:])
            mixed = pairs.read(before, piece, after, np.concatenate(rows))
            if latest is not None:
                nats -= float(latest[0, piece[0]])
            nats -= float(mixed[np.arange(len(piece) - 1), piece[1:]].sum())
            latest = mixed[-1:]
        assert latest is not None
        return latest, (*of_model, *parts), nats

    def _recalled(self, ids: np.ndarray, of_model: State, pairs: Pairs) -> tuple[np.ndarray, State]:
        """Return ln P with what these pairs recall, and the model's state after its step."""
        logits, after = self._model.step(ids, of_model)
        return pairs.recall(keys_of(after[0]), logits), after

    def _checked(self, ids: np.ndarray, state: State) -> np.ndarray:
        """Return ids as int64. Raises ValueError for the state of another model."""
        parts = len(self._model.zero_state(0)) + 3
        if len(state) != parts or state[-3].shape[::2] != (self.length, self._width):
            shapes = [part.shape for part in state]
            raise ValueError(f"a state of shapes {shapes} does not fit {self.name}")
        return np.asarray(ids, np.int64)


def _pairs(parts: State, b: int) -> Pairs:
    """Return the pairs of row b; parts: the last three of a state."""
    keys, followed, count = parts
    return Pairs(keys[:, b], followed[:, b], count[:, b])

"""A continuous cache: places of the text read lately that look like this one say what may come next. No weights are learnt.

Each of the last `length` places is kept as a pair: the state of the network there, all layers' h in one vector of
length 1, and the character that followed. With q the state now and k_i those of the pairs,

    P(x) = (n P_network(x) + sum_i w_i [x_i = x]) / (n + sum_i w_i),    w_i = exp(theta (q . k_i - 1)).

A place that looks the same counts as one character seen, a place that looks different as almost none, and what the
network says as n of them: where nothing like this was read, the network is alone.

Only what a model is given to read is kept, never what it writes: a text that feeds on itself soon says one line for ever.
After Grave, Joulin & Usunier 2017, "Improving Neural Language Models with a Continuous Cache"; ours are the cosine, where
they have the product, and counts, where they give the cache a constant share.
Letters: B rows, T characters, M pairs, K numbers of a state, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charrnn.errors import SettingsError
from charrnn.layout import sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import log_probabilities
from charrnn.sampling.steps import MAX_SCORES, Finished, Plan, State, Steps, write_rows

if TYPE_CHECKING:
    from charrnn.sampling.compiled import Compiled
    from charrnn.sampling.network import Network

THETA = 20.0  # both chosen on Shakespeare, LaTeX and C together (README, Decisions)
NETWORK_COUNT = 0.15
MAX_NUMBERS = 1 << 26  # of the pairs' keys: 256 MB
MAX_WEIGHTS = 1 << 22  # of a piece
PIECE = 256  # characters of one text whose products are one


def check(length: int, model: ModelFile) -> None:
    """Raises SettingsError where this model has nothing to look back on, or too much."""
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
    """h (L, T, H) -> (T, L * H) of length 1; zeros for a state of zeros, or of what is no number."""
    keys = np.swapaxes(h, 0, 1).reshape(h.shape[1], -1)
    norms = np.sqrt(np.square(keys, dtype=np.float64).sum(1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(keys / norms, posinf=0.0, neginf=0.0).astype(np.float32)


class Pairs:
    """The pairs of one text, in arrays that are the caller's and change in place: number p stands at p modulo length."""

    def __init__(self, keys: np.ndarray, followed: np.ndarray, count: np.ndarray) -> None:
        """keys (length, K) float32, followed (length,) int32, count (1,) int64: how many there ever were."""
        self.keys, self.followed, self.count = keys, followed, count

    def read(
        self, before: np.ndarray, ids: np.ndarray, after: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """Take in ids (T,), read in states of keys before (T, K), one after the other. Each leads to a state of key
        after (T, K), where the network says logits (T, V). Returns ln P (T, V), float64, of what comes after each.
        """
        length = len(self.keys)
        width = max(1, min(PIECE, length, MAX_WEIGHTS // length, MAX_SCORES // logits.shape[1]))
        pieces = [slice(start, start + width) for start in range(0, len(ids), width)]
        return np.concatenate([self._read(before[p], ids[p], after[p], logits[p]) for p in pieces])

    def recall(self, now: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """ln P (T, V) where the states have keys now (T, K) and the network says logits (T, V); nothing is taken in."""
        known = min(int(self.count[0]), len(self.keys))
        keys = self.keys[:known]
        # One row's product is small, and threads of BLAS would wait for each other at every character.
        similar = np.vecdot(keys, now) if len(now) == 1 else now @ keys.T
        return _mixed(logits, _weights(similar.reshape(len(now), known)), self.followed[:known])

    def _read(
        self, before: np.ndarray, ids: np.ndarray, after: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """At most `length` ids, all at once."""
        (length, _), new, count = self.keys.shape, len(ids), int(self.count[0])
        places = np.arange(min(count, length))
        numbers = count - 1 - (count - 1 - places) % length
        known, times = self.keys[: len(places)], np.arange(new)[:, None]
        old = np.where(numbers[None] > count + times - length, _weights(after @ known.T), 0)
        own = np.where(np.arange(new)[None] <= times, _weights(after @ before.T), 0)
        said = np.concatenate([self.followed[: len(places)], ids])
        slots = (count + np.arange(new)) % length
        self.keys[slots], self.followed[slots] = before, ids
        self.count += new
        return _mixed(logits, np.concatenate([old, own], 1), said)


def _weights(similar: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(np.float32(THETA) * (similar - 1))


def _mixed(logits: np.ndarray, weights: np.ndarray, said: np.ndarray) -> np.ndarray:
    """ln P (T, V): the network's logits (T, V), and weights (T, M) of the characters said (M,)."""
    counts = np.stack([np.bincount(said, each, logits.shape[1]) for each in weights])
    with np.errstate(divide="ignore"):  # never counted: ln 0
        both = np.logaddexp(math.log(NETWORK_COUNT) + log_probabilities(logits), np.log(counts))
    return both - np.log(NETWORK_COUNT + counts.sum(1, keepdims=True))


class Cached(Steps):
    """A network with a cache: what it says is already ln P of both. Its state: the network's, and the pairs'."""

    def __init__(self, network: Network | Compiled, length: int) -> None:
        self._network, self.length, self.engine = network, length, network.engine
        self.name, self.vocabulary_size = (
            f"{network.name} with a cache of {length:,}",
            network.vocabulary_size,
        )
        self._width = network.num_layers * network.hidden_size

    def zero_state(self, batch: int) -> State:
        """The network's, then keys (length, B, K), what followed (length, B), and how many pairs there were (1, B)."""
        keys = np.zeros((self.length, batch, self._width), np.float32)
        followed, count = np.zeros((self.length, batch), np.int32), np.zeros((1, batch), np.int64)
        return (*self._network.zero_state(batch), keys, followed, count)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        ids = self._checked(ids, state)
        parts = tuple(part.copy() for part in state[-3:])
        logits, after = self._network.step(ids, state[:-3])
        before, now, mixed = keys_of(state[0]), keys_of(after[0]), np.empty(logits.shape)
        for b in range(len(ids)):
            row = slice(b, b + 1)
            mixed[row] = _pairs(parts, b).read(before[row], ids[row], now[row], logits[row])
        return mixed, (*after, *parts)

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """One row; those of write_many have their pairs in common."""
        logits, after = self._recalled(self._checked(ids, state), state[:-3], _pairs(state[-3:], 0))
        return logits, (*after, *state[-3:])

    def write_many(
        self,
        plan: Plan,
        begin: tuple[np.ndarray, State],
        first: int,
        stop: int,
        *,
        threads: int = 1,
    ) -> Iterator[Finished]:
        logits, state = begin
        pairs = _pairs(state[-3:], 0)  # of the prompt
        return write_rows(
            lambda ids, rows: self._recalled(ids, rows, pairs),
            plan,
            (logits, state[:-3]),
            first,
            stop,
        )

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        ids = self._checked(ids, state)
        of_network, parts = state[:-3], tuple(part.copy() for part in state[-3:])
        pairs, nats, latest = _pairs(parts, 0), 0.0, None
        width = max(1, min(PIECE, MAX_SCORES // self.vocabulary_size))
        for start in range(0, len(ids), width):
            piece = ids[start : start + width]
            keys, logits = [keys_of(of_network[0])], []
            for char in piece:
                said, of_network = self._network.step(np.array([char]), of_network)
                keys.append(keys_of(of_network[0]))
                logits.append(said)
            mixed = pairs.read(
                np.concatenate(keys[:-1]), piece, np.concatenate(keys[1:]), np.concatenate(logits)
            )
            if latest is not None:
                nats -= float(latest[0, piece[0]])
            nats -= float(mixed[np.arange(len(piece) - 1), piece[1:]].sum())
            latest = mixed[-1:]
        assert latest is not None
        return latest, (*of_network, *parts), nats

    def _recalled(
        self, ids: np.ndarray, of_network: State, pairs: Pairs
    ) -> tuple[np.ndarray, State]:
        """The network's step, and ln P with what these pairs recall."""
        logits, after = self._network.step(ids, of_network)
        return pairs.recall(keys_of(after[0]), logits), after

    def _checked(self, ids: np.ndarray, state: State) -> np.ndarray:
        """Raises ValueError for the state of another model."""
        if len(state) != len(self._network.zero_state(0)) + 3 or state[-3].shape[::2] != (
            self.length,
            self._width,
        ):
            raise ValueError(
                f"a state of shapes {[part.shape for part in state]} does not fit {self.name}"
            )
        return np.asarray(ids, np.int64)


def _pairs(parts: State, b: int) -> Pairs:
    """Row b's; parts: the last three of a state."""
    return Pairs(*(part[:, b] for part in parts))

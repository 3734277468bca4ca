"""A continuous cache: what followed similar places of the text read lately may come next.

Each of the last `length` places is kept as a pair: the state of the network there, all layers' h in
one vector of length 1, and the character that followed. With q the state now and k_i the states of
the pairs,

    P_n(x) = (n P_model(x) + sum_i w_i [x_i = x]) / (n + sum_i w_i)
    w_i    = exp(theta (q . k_i - 1))

P_model is the network's, or its mixture with counting. A place that looks the same counts as one
character seen, a place that looks different as almost none, and what the model says as n
characters.

How large n should be differs from text to text and from place to place, and of a network that has
learnt little all states look the same. So there are three opinions, the model alone and two n, and
the beliefs b_e in them follow the text as it is read:

    P(x) = sum_e b_e P_e(x)
    b_e <- (1 - r) b_e P_e(x) / P(x) + r / 3     when x is read

This is the fixed-share forecaster of Herbster & Warmuth 1998, "Tracking the Best Expert": after T
characters a cache has cost at most ln 3 + T ln (1 / (1 - 2 r / 3)) nats more than none. Nothing is
stored, and nothing that comes later has a say.

Only what a model is given to read is kept, and moves the beliefs, never what it writes: a text that
feeds on itself soon repeats one line for ever. After Grave, Joulin & Usunier 2017, "Improving
Neural Language Models with a Continuous Cache"; ours are the cosine, where they have the product,
and counts, where they give the cache a constant share.

Letters: B rows, T characters, M pairs, K numbers of a key, V vocabulary, E opinions, L layers, H
hidden size.
"""

from __future__ import annotations

import numpy as np

from charrnn.errors import SettingsError
from charrnn.layout import sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import log_probabilities
from charrnn.sampling.network import Network
from charrnn.sampling.steps import MAX_SCORES, State, Step, Steps
from charrnn.text.gate import EXCLUDED

# All were chosen on Shakespeare, LaTeX and C together (docs/decisions.md).
THETA = 20.0
MODEL_COUNTS = np.array([np.inf, 0.05, 0.5])  # n of each opinion; inf: the model alone
FIRST_BELIEFS = np.full(len(MODEL_COUNTS), 1 / len(MODEL_COUNTS))
SWITCH = 0.02  # r
MAX_NUMBERS = 1 << 26  # of the pairs' keys: 256 MB
MAX_WEIGHTS = 1 << 22  # of a piece
PIECE = 256  # characters of one text whose products are one
PARTS = 5  # of a state: the arrays of Pairs


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
    if type(length) is not int or not 1 <= length <= most:
        raise SettingsError(
            f"--cache {length!r}: characters to look back on, for this model between 1 and {most:,}"
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
    """The pairs of one text and the beliefs it has led to, in arrays of the caller.

    They change in place. Pair number p stands at place p modulo length.
    """

    def __init__(
        self,
        keys: np.ndarray,
        followed: np.ndarray,
        count: np.ndarray,
        beliefs: np.ndarray,
        said: np.ndarray,
    ) -> None:
        """Hold keys (length, K) float32, followed (length,) int32, count (1,) int64.

        beliefs (E,) float64; said (E, V) float64: ln P of each opinion of the next character.
        """
        self.keys = keys
        self.followed = followed
        self.count = count
        self.beliefs = beliefs
        self.said = said

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

    def recall(self, now: np.ndarray, logits: np.ndarray, *, keep: bool = False) -> np.ndarray:
        """Return ln P (T, V) in states of keys now (T, K); nothing is taken in.

        logits (T, V): what the model says there. keep: what is said at the last of them, for the
        beliefs to follow what is read next.
        """
        known = min(int(self.count[0]), len(self.keys))
        keys = self.keys[:known]
        # One row's product is small: threads of BLAS would wait for each other at every character.
        if len(now) == 1:
            similarity = np.vecdot(keys, now)
        else:
            similarity = now @ keys.T
        weights = _weights(similarity.reshape(len(now), known))
        said = Said(logits, weights, self.followed[:known])
        if keep:
            self.said[:] = said.last()
        return said.mixed(self.beliefs[None])

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

        # 4. The beliefs follow each character, by what was said before it.
        said = Said(logits, np.concatenate([old, own], 1), followed)
        of_each = np.concatenate([self.said[:, ids[0]][None], said.of(ids[1:])])  # (T, E)
        beliefs = np.empty_like(of_each)
        for place, ln_p in enumerate(of_each):
            self.beliefs[:] = moved(self.beliefs, ln_p)
            beliefs[place] = self.beliefs
        self.said[:] = said.last()
        return said.mixed(beliefs)


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


class Said:
    """What the opinions say of T places."""

    def __init__(self, logits: np.ndarray, weights: np.ndarray, followed: np.ndarray) -> None:
        """logits (T, V) of the model; weights (T, M) of characters followed (M,)."""
        self._ln_model = log_probabilities(logits)
        counts = [np.bincount(followed, row, logits.shape[1]) for row in weights]
        self._counts = np.stack(counts)
        self._counts[self._ln_model < EXCLUDED] = 0

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return ln P (n, E) of ids (n,) at the first n places."""
        places = np.arange(len(ids))
        totals = self._counts[: len(ids)].sum(1)
        return opinions(self._ln_model[places, ids], self._counts[places, ids], totals)

    def last(self) -> np.ndarray:
        """Return ln P (E, V) at the last place."""
        return opinions(self._ln_model[-1], self._counts[-1], self._counts[-1:].sum(1)).T

    def mixed(self, beliefs: np.ndarray) -> np.ndarray:
        """Return ln P (T, V) of the opinions together. beliefs (T, E), or (1, E) for all places."""
        of_model, of_count = shared(beliefs, self._counts.sum(1))
        with np.errstate(divide="ignore"):  # never counted: ln 0
            ln_counts = np.log(self._counts) + np.log(of_count)[:, None]
        mixed: np.ndarray = np.logaddexp(self._ln_model + np.log(of_model)[:, None], ln_counts)
        return mixed


def opinions(ln_model: np.ndarray, counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return ln P (n, E) of characters whose ln P_model, counts and totals of counts are (n,)."""
    totals = totals[:, None]
    with np.errstate(divide="ignore"):
        ln_counts = np.log(counts)[:, None] - np.log(MODEL_COUNTS + totals)
    ln_p: np.ndarray = np.logaddexp(ln_model[:, None] - np.log1p(totals / MODEL_COUNTS), ln_counts)
    return ln_p


def shared(beliefs: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the model's P, and that of each count (n,).

    beliefs (n, E) or (1, E); totals of counts (n,).
    """
    totals = totals[:, None]
    of_model = (beliefs / (1 + totals / MODEL_COUNTS)).sum(1)
    of_count = (beliefs / (MODEL_COUNTS + totals)).sum(1)
    return of_model, of_count


def moved(beliefs: np.ndarray, ln_p: np.ndarray) -> np.ndarray:
    """Return the beliefs (E,) after a character of which the opinions said ln P (E,)."""
    largest = ln_p.max()
    if not np.isfinite(largest):  # nobody thought it possible
        return beliefs
    right = beliefs * np.exp(ln_p - largest)
    after: np.ndarray = (1 - SWITCH) * right / right.sum() + SWITCH / len(right)
    return after


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
        """Return the model's state, then what `no_pairs` returns."""
        arrays = no_pairs(self.length, batch, self._width, self.vocabulary_size)
        return (*self._model.zero_state(batch), *arrays)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        ids = self._checked(ids, state)
        parts = tuple(part.copy() for part in state[-PARTS:])
        logits, after = self._model.step(ids, state[:-PARTS])
        before = keys_of(state[0])
        now = keys_of(after[0])
        mixed = np.empty(logits.shape)
        for b in range(len(ids)):
            row = slice(b, b + 1)
            mixed[row] = pairs_of(parts, b).read(before[row], ids[row], now[row], logits[row])
        return mixed, (*after, *parts)

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Take a step with one row; the rows of write_many have their pairs in common."""
        said = state[-1].copy()
        pairs = pairs_of((*state[-PARTS:-1], said), 0)
        logits, after = self._model.step(self._checked(ids, state), state[:-PARTS])
        return pairs.recall(keys_of(after[0]), logits, keep=True), (*after, *state[-PARTS:-1], said)

    def rows(self, state: State) -> tuple[Step, State]:
        pairs_of_prompt = pairs_of(state[-PARTS:], 0)

        def step(ids: np.ndarray, rows: State) -> tuple[np.ndarray, State]:
            logits, after = self._model.step(ids, rows)
            return pairs_of_prompt.recall(keys_of(after[0]), logits), after

        return step, state[:-PARTS]

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        ids = self._checked(ids, state)
        of_model = state[:-PARTS]
        parts = tuple(part.copy() for part in state[-PARTS:])
        pairs = pairs_of(parts, 0)
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

    def _checked(self, ids: np.ndarray, state: State) -> np.ndarray:
        """Return ids as int64. Raises ValueError for the state of another model."""
        count = len(self._model.zero_state(0)) + PARTS
        if len(state) != count or state[-PARTS].shape[::2] != (self.length, self._width):
            shapes = [part.shape for part in state]
            raise ValueError(f"a state of shapes {shapes} does not fit {self.name}")
        return np.asarray(ids, np.int64)


def no_pairs(length: int, batch: int, width: int, vocabulary_size: int) -> State:
    """Return the arrays of Pairs before any character, with one column for each row. width: K.

    keys (length, B, K), ids (length, B), counts (1, B), beliefs (E, B), said (E, B, V).
    """
    return (
        np.zeros((length, batch, width), np.float32),
        np.zeros((length, batch), np.int32),
        np.zeros((1, batch), np.int64),
        np.repeat(FIRST_BELIEFS[:, None], batch, 1),
        np.zeros((len(MODEL_COUNTS), batch, vocabulary_size)),
    )


def pairs_of(parts: State, b: int) -> Pairs:
    """Return the pairs of row b; parts: the last of a state."""
    return Pairs(*(part[:, b] for part in parts))

"""Weights -> text, one character at a time, with numpy alone: one stream as it comes, or many lines side by side.

A Sampler never changes after it is made: every call brings its own arrays, so that threads can share one. Where a
draw falls is a matter of seed and sample number only (decode.uniforms). Products of one row and of many round
differently in float32, so that a sample can, about once in a million characters, continue differently when others are
drawn beside it.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from charrnn.config import Settings
from charrnn.errors import SettingsError, VocabularyError
from charrnn.layout import GATES, PARAMETERS, sizes
from charrnn.modelfile import ModelFile, read_model
from charrnn.sampling.decode import WINDOW, Decoding, checked_seed, distribution, draw, surprise, uniforms
from charrnn.terminal import one_line
from charrnn.text.reading import prepare
from charrnn.text.vocabulary import Vocabulary, describe

State = tuple[np.ndarray, ...]  # (h,) or (h, c), each (L, B, H)

STREAM_LENGTH = 500  # characters of a stream, unless the caller says otherwise
LINE_LENGTH = 1000  # a line that has not ended by then is cut
MAX_ROWS = 64  # samples side by side
MAX_SCORES = 1 << 22  # of all rows together: an alphabet of 100,000 gets fewer rows
MAX_WAITING = 4096  # samples begun after the oldest unfinished one
UNKNOWN = ("error", "skip", "replace")


@dataclass(frozen=True)
class Sample:
    """One generated text."""

    index: int
    text: str  # with the prompt, without the newline that ends a line; bytes that are not UTF-8 as U+FFFD
    data: bytes = field(repr=False)  # the same in UTF-8, or the very bytes of a byte model
    ids: np.ndarray = field(repr=False, compare=False)  # of what was generated, the newline included
    nats: float  # -ln p of `ids` under the model itself, at temperature 1 and unfiltered
    chars: int  # len(ids): the characters behind nats


@dataclass(frozen=True)
class _Layer:
    """weight_* are transposed views, (inputs, G), of contiguous (G, inputs): the fastest for one row and for 64."""

    weight_ih: np.ndarray
    bias: np.ndarray
    weight_hh: np.ndarray
    bias_hn: np.ndarray | None  # gru: stays inside the reset product


def load(path: str | Path) -> Sampler:
    """The sampler of a run directory, a model file or a checkpoint. Raises CheckpointError."""
    return Sampler(read_model(Path(path)))


class Sampler:
    """A trained model that writes and scores text. Letters: B rows, V vocabulary, H hidden size, L layers, G gates."""

    def __init__(self, model: ModelFile) -> None:
        self.settings, self.vocabulary = model.settings, model.vocabulary
        self.mode, self.start = model.mode, model.start
        self._cell, self._skip = model.settings.model.cell, model.settings.model.skip
        self._hidden_size, self._num_layers, _ = sizes(model.settings.model)
        tensors = {name: np.array(value, np.float32, order="C") for name, value in model.tensors.items()}
        self._embedding = tensors["embedding.weight"]
        self._head_bias = tensors["head.bias"]
        self._head = tensors.get("head.weight", self._embedding).T  # tied: the embedding
        self._layers = [self._layer(k, tensors) for k in range(self._num_layers)]
        # V different characters have V different input products: layer 0 looks them up.
        with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
            self._table = self._embedding @ self._layers[0].weight_ih + self._layers[0].bias
        self._newline = -1 if model.mode == "stream" else int(model.vocabulary.newline or 0)  # the end of a line

    @classmethod
    def from_tensors(
        cls, settings: Settings, vocabulary: Vocabulary, mode: str, start: int, tensors: dict[str, np.ndarray]
    ) -> Sampler:
        """A sampler of copies of these tensors (named as in CharModel.tensors()): for samples while training."""
        return cls(ModelFile(Path(), settings, vocabulary, mode, start, tensors, {}))

    def __repr__(self) -> str:
        size = f"{self._cell} {self._num_layers}x{self._hidden_size}"
        return f"Sampler({size}, {len(self.vocabulary)} characters, {self.mode})"

    # One step

    def zero_state(self, batch: int) -> State:
        """The state before any character: (h,) or (h, c), each (L, B, H) of zeros."""
        shape = (self._num_layers, batch, self._hidden_size)
        return tuple(np.zeros(shape, np.float32) for _ in range(1 + (self._cell == "lstm")))

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> logits (B, V) of the character after them, and a new state."""
        hidden, state = self._advance(ids, state)
        return self._logits(hidden), state

    def feed(self, ids: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State, float]:
        """Read ids (N,), N >= 1, in one row. Returns logits (1, V), state, and the nats of all ids but the first."""
        ids = np.asarray(ids)
        if not len(ids):
            raise ValueError("feed needs at least one id: without a prompt, that is Sampler.start")
        state = self.zero_state(1) if state is None else state
        nats = 0.0
        piece = max(1, min(256, MAX_SCORES // len(self.vocabulary)))  # one product with the head for so many
        for begin in range(0, len(ids), piece):
            hiddens = []
            for at in range(begin, min(begin + piece, len(ids))):
                hidden, state = self._advance(ids[at : at + 1], state)
                hiddens.append(hidden)
            logits = self._logits(np.concatenate(hiddens))
            targets = ids[begin + 1 : begin + 1 + len(logits)]
            nats += float(surprise(logits[: len(targets)], targets).sum()) if len(targets) else 0.0
        return logits[-1:], state, nats

    def score(self, text: str | bytes, *, unknown: str = "error") -> tuple[float, int]:
        """Nats and number of characters of a text under the model.

        Lines: every line with its closing newline. Stream: every character after the first. Raises VocabularyError.
        """
        ids = self.vocabulary.encode(self._prepared(text), unknown=unknown)
        if self.mode == "stream":
            return (self.feed(ids)[2], len(ids) - 1) if len(ids) else (0.0, 0)
        if len(ids) and ids[-1] != self._newline:
            ids = np.append(ids, self._newline)
        lines = np.split(ids, np.flatnonzero(ids == self._newline)[:-1] + 1) if len(ids) else []
        return sum(self.feed(np.concatenate([[self.start], line]))[2] for line in lines), len(ids)

    # Text

    def generate(
        self, count: int = 1, *, decoding: Decoding | None = None, length: int | None = None, prime: str = "",
        until: str = "", seed: int | None = None, unknown: str = "error", first: int = 0,
    ) -> Iterator[Sample]:  # fmt: skip
        """`count` samples, in order, many computed side by side; memory does not grow with count.

        Lines: each ends at its newline, or after `length` (1000) characters. Stream: each has exactly `length` (500)
        characters after the prompt. Either ends earlier after `until`. Sample i of a seed is the same however many are
        drawn; `first` is the number of the first. Raises SettingsError at once.
        """
        plan = self._plan(decoding, length, prime, until, seed, unknown)
        if count < 0:
            raise SettingsError(f"--count {count}: must be at least 0")
        return self._samples(plan, first, first + count)

    def stream(
        self, *, decoding: Decoding | None = None, length: int | None = None, prime: str = "", until: str = "",
        seed: int | None = None, unknown: str = "error", first: int = 0,
    ) -> Iterator[bytes]:  # fmt: skip
        """`generate(1, ...)`'s data as it comes: the prompt, then whole characters; constant memory."""
        plan = self._plan(decoding, length, prime, until, seed, unknown)
        if self.mode == "lines":
            return (sample.data for sample in self._samples(plan, first, first + 1))
        ids = self._stream_ids(plan, first)
        if self.vocabulary.unit == "byte":
            return _whole_characters(self.vocabulary.symbols[i] for i in ids)
        return (chr(self.vocabulary.symbols[i]).encode() for i in ids)

    def _plan(
        self, decoding: Decoding | None, length: int | None, prime: str, until: str, seed: int | None, unknown: str
    ) -> _Plan:
        if length is None:
            length = LINE_LENGTH if self.mode == "lines" else STREAM_LENGTH
        if length < 0:
            raise SettingsError(f"--length {length}: must be at least 0")
        if unknown not in UNKNOWN:
            raise SettingsError(f"--unknown {one_line(unknown)!r} is not one of {', '.join(UNKNOWN)}")
        try:
            ids = self.vocabulary.encode(self._prepared(prime), unknown=unknown, where="--prime")
        except VocabularyError as error:
            raise SettingsError(str(error)) from None
        if (ids == self._newline).any():
            raise SettingsError("--prime has a newline, but this model writes single lines: give the beginning of one")
        return _Plan(decoding or Decoding(), min(length, 1 << 62), ids, self._end(until), checked_seed(seed))

    def _end(self, until: str) -> np.ndarray:
        codes = self.vocabulary.codes(self._prepared(until))
        ids = self.vocabulary.lookup(codes)
        if (ids < 0).any():
            missing = describe(int(codes[np.argmax(ids < 0)]), self.vocabulary.unit)
            raise SettingsError(f"--until {one_line(until)!r}: this model never writes {missing}; retype it")
        return ids

    def _prepared(self, text: str | bytes) -> str | bytes:
        """Line ends and normalisation of the corpus; byte models take bytes as they are."""
        if self.vocabulary.unit == "byte":
            return text
        return prepare(text if isinstance(text, str) else text.decode("utf-8"), self.settings.text)

    def _samples(self, plan: _Plan, first: int, stop: int) -> Iterator[Sample]:
        """Samples first..stop-1 in order. Rows whose sample has ended make room for the next ones at once."""
        if plan.length == 0:
            yield from (self._sample(index, plan, plan.prime[:0], 0.0) for index in range(first, stop))
            return
        first_logits, first_state, _ = self.feed(np.concatenate([[self.start], plan.prime]))
        limit = max(1, min(MAX_ROWS, MAX_SCORES // len(self.vocabulary)))
        # Row r of every array belongs to sample index[r], which has position[r] characters so far.
        index, position, nats = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        written, recent = np.zeros((0, 32), np.int32), np.zeros((0, WINDOW), np.int32)
        logits, state = first_logits[:0], self.zero_state(0)
        finished: dict[int, Sample] = {}
        begun = due = first  # the next to begin, the next to yield
        while True:
            new = min(limit - len(index), stop - begun, due + MAX_WAITING - begun)
            if new > 0:
                index = np.append(index, np.arange(begun, begun + new))
                position, nats = np.append(position, np.zeros(new, np.int64)), np.append(nats, np.zeros(new))
                written = np.concatenate([written, np.zeros((new, written.shape[1]), np.int32)])
                recent = np.concatenate([recent, np.full((new, WINDOW), -1, np.int32)])
                logits = np.concatenate([logits, first_logits.repeat(new, 0)])
                pairs = zip(state, first_state, strict=True)
                state = tuple(np.concatenate([part, fresh.repeat(new, 1)], 1) for part, fresh in pairs)
                begun += new
            if not len(index):
                return
            ids = draw(distribution(logits, plan.decoding, recent), uniforms(plan.seed, index, position))
            nats += surprise(logits, ids)
            if position.max() == written.shape[1]:
                written = np.concatenate([written, np.zeros_like(written)], 1)
            rows = np.arange(len(index))
            written[rows, position] = ids
            recent[rows, position % WINDOW] = ids
            position += 1
            done = (position >= plan.length) | (ids == self._newline)
            for row in plan.reached(ids):
                done[row] |= np.array_equal(written[row, : position[row]][-len(plan.until) :], plan.until)
            if done.any():
                for row in np.flatnonzero(done):
                    ended = written[row, : position[row]].copy()
                    finished[int(index[row])] = self._sample(int(index[row]), plan, ended, float(nats[row]))
                keep = ~done
                ids, index, position, nats = ids[keep], index[keep], position[keep], nats[keep]
                written, recent, logits = written[keep], recent[keep], logits[keep]
                state = tuple(part[:, keep] for part in state)
                while due in finished:
                    yield finished.pop(due)
                    due += 1
            if len(ids):
                logits, state = self.step(ids, state)

    def _sample(self, index: int, plan: _Plan, ids: np.ndarray, nats: float) -> Sample:
        shown = ids[:-1] if len(ids) and ids[-1] == self._newline else ids
        data = self.vocabulary.to_bytes(np.concatenate([plan.prime, shown]))
        return Sample(index, data.decode("utf-8", "replace"), data, ids, nats, len(ids))

    def _stream_ids(self, plan: _Plan, number: int) -> Iterator[int]:
        """The prompt's ids, then those of sample `number`: what _samples does, for one row without an end."""
        yield from plan.prime.tolist()
        logits, state, _ = self.feed(np.concatenate([[self.start], plan.prime]))
        recent = np.full((1, WINDOW), -1, np.int32)
        tail: deque[int] = deque(maxlen=len(plan.until))
        until = plan.until.tolist()
        for begin in range(0, plan.length, 256):
            numbers = uniforms(plan.seed, np.array([number]), np.arange(begin, min(begin + 256, plan.length)))
            for at in range(len(numbers)):
                ids = draw(distribution(logits, plan.decoding, recent), numbers[at : at + 1])
                character = int(ids[0])
                yield character
                recent[0, (begin + at) % WINDOW] = character
                if until:
                    tail.append(character)
                    if character == until[-1] and list(tail) == until:
                        return
                logits, state = self.step(ids, state)

    # The network

    def _layer(self, k: int, tensors: dict[str, np.ndarray]) -> _Layer:
        weight_ih, weight_hh, bias_ih, bias_hh = (tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS)
        bias_hn = None
        if self._cell == "gru":  # the reset gate multiplies W_hn h + b_hn: only r and z parts of b_hh can be folded
            hidden = self._hidden_size
            bias_hn, bias_hh = bias_hh[2 * hidden :], np.append(bias_hh[: 2 * hidden], np.zeros(hidden, np.float32))
        weight_ih, weight_hh, bias = (_gates(self._cell, rows) for rows in (weight_ih, weight_hh, bias_ih + bias_hh))
        return _Layer(weight_ih.T, bias, weight_hh.T, bias_hn)

    def _advance(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> what the head sees (B, W), and a new state. As CharModel.forward in evaluation."""
        dense, residual = self._skip == "dense", self._skip == "residual"
        after = tuple(np.empty(part.shape, np.float32) for part in state)
        below = self._embedding.take(ids, axis=0)
        with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
            for k, layer in enumerate(self._layers):
                if k == 0:
                    gates = self._table.take(ids, axis=0)
                else:
                    gates = np.dot(below, layer.weight_ih)
                    gates += layer.bias
                _CELLS[self._cell](gates, layer, tuple(part[k] for part in state), tuple(part[k] for part in after))
                outputs = after[0][k]
                if dense:
                    below = np.concatenate([below, outputs], 1)
                else:
                    below = outputs + below if residual and below.shape == outputs.shape else outputs
        return below, after

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            logits = np.dot(hidden, self._head)
            logits += self._head_bias
        return logits


@dataclass(frozen=True)
class _Plan:
    """What one call of generate or stream asks for, checked."""

    decoding: Decoding
    length: int
    prime: np.ndarray
    until: np.ndarray
    seed: int

    def reached(self, ids: np.ndarray) -> np.ndarray:
        """Rows whose newest character is the last one of `until`."""
        return np.flatnonzero(ids == self.until[-1]) if len(self.until) else self.until


# The cells: gates (B, G) hold the input product with all folded biases and are overwritten; before and after are
# state parts of (B, H). Gates that pass through the logistic function come first and are halved (_gates), since
# 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2: one tanh for all, and no overflow.


def _rnn(gates: np.ndarray, layer: _Layer, before: State, after: State) -> None:
    gates += np.dot(before[0], layer.weight_hh)
    np.tanh(gates, out=after[0])


def _lstm(gates: np.ndarray, layer: _Layer, before: State, after: State) -> None:
    h, c = after
    hidden = h.shape[1]
    gates += np.dot(before[0], layer.weight_hh)
    np.tanh(gates, out=gates)
    logistic = gates[:, : 3 * hidden]
    logistic += 1
    logistic *= 0.5
    i, f, o, g = (gates[:, gate * hidden : (gate + 1) * hidden] for gate in range(4))
    np.multiply(f, before[1], out=c)
    g *= i
    c += g
    np.tanh(c, out=h)
    h *= o


def _gru(gates: np.ndarray, layer: _Layer, before: State, after: State) -> None:
    hidden = before[0].shape[1]
    products = np.dot(before[0], layer.weight_hh)
    r, z, n = gates[:, :hidden], gates[:, hidden : 2 * hidden], gates[:, 2 * hidden :]
    _logistic(gates[:, : 2 * hidden], products[:, : 2 * hidden])
    h_n = products[:, 2 * hidden :]
    h_n += layer.bias_hn
    h_n *= r
    _update(n, h_n, z, before[0], after[0])


def _gru_before(gates: np.ndarray, layer: _Layer, before: State, after: State) -> None:
    hidden = before[0].shape[1]
    r, z, n = gates[:, :hidden], gates[:, hidden : 2 * hidden], gates[:, 2 * hidden :]
    _logistic(gates[:, : 2 * hidden], np.dot(before[0], layer.weight_hh[:, : 2 * hidden]))
    _update(n, np.dot(r * before[0], layer.weight_hh[:, 2 * hidden :]), z, before[0], after[0])


def _logistic(gates: np.ndarray, products: np.ndarray) -> None:
    gates += products
    np.tanh(gates, out=gates)
    gates += 1
    gates *= 0.5


def _update(n: np.ndarray, product: np.ndarray, z: np.ndarray, h: np.ndarray, out: np.ndarray) -> None:
    """h' = n + z (h - n), n = tanh(n + product)."""
    n += product
    np.tanh(n, out=n)
    np.subtract(h, n, out=out)
    out *= z
    out += n


_CELLS = {"rnn": _rnn, "lstm": _lstm, "gru": _gru, "gru-before": _gru_before}


def _gates(cell: str, rows: np.ndarray) -> np.ndarray:
    """PyTorch's gate rows (G or G, N) with the logistic ones first and halved (exact in binary), the tanh one last."""
    parts = np.split(rows, GATES[cell])
    if cell == "lstm":  # i, f, g, o -> i, f, o, g
        parts = [parts[0], parts[1], parts[3], parts[2]]
    return np.concatenate([part * np.float32(0.5) for part in parts[:-1]] + parts[-1:])


def _whole_characters(values: Iterator[int]) -> Iterator[bytes]:
    """Bytes, those of one UTF-8 character together; bytes that are not UTF-8 pass as they are."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for value in values:
        if text := decoder.decode(bytes((value,))):
            yield text.encode("utf-8", "surrogateescape")
    if text := decoder.decode(b"", True):
        yield text.encode("utf-8", "surrogateescape")

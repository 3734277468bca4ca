"""What a network's cells did as it read a text: every gate and state at every character, its guesses and its surprise.

It reads layer by layer, from the stored tensors, in numpy. Equal characters after equal states give equal bits.
`model/equations.py` is the reference. Shapes: N characters, G gate rows, H hidden size, L layers, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.errors import SettingsError
from charrnn.layout import PARAMETERS, sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import Decoding, distribution, surprise
from charrnn.scoring.text import text_of_split
from charrnn.terminal import one_line
from charrnn.texts import OpenedRun

GUESSES = 5
PIECE = 4096  # characters whose activations are made at once where a text is read piece by piece
MAX_SCORES = 1 << 20  # logits held at once
# What a layer of each cell has, in the order shown. LSTM: input, forget and output gate, and the candidate that the input
# gate lets in. GRUs: "update" is the lecture's u, the share that is written anew: 1 - z for PyTorch's z.
ACTIVATIONS = {
    "rnn": ("hidden",),
    "lstm": ("hidden", "cell", "input", "forget", "output", "candidate"),
    "gru": ("hidden", "reset", "update", "candidate"),
    "gru-before": ("hidden", "reset", "update", "candidate"),
}
# Between 0 and 1; the others are between -1 and 1, but for "cell".
GATES = {"input", "forget", "output", "reset", "update"}
LayerState = tuple[np.ndarray, ...]  # (h,) or (h, c), each (H,)
State = tuple[LayerState, ...]  # of every layer
Recorded = dict[str, np.ndarray]


@dataclass(frozen=True)
class Trace:
    """A text as a network read it. What a cell does at place i it does having read character i, and not the next one.

    ids (N,): the characters. surprise (N,) float64: nats of each under the model, given all before it; guesses (N, K)
    and probabilities (N, K): what it took to be likeliest before it saw the character, the likeliest first, K = 5 or V.
    Before the first character of a stream there is no prediction, as in `charrnn eval`: surprise NaN, guesses -1,
    probabilities 0. In lines mode every line is read from the zero state after a newline, and all are predicted.
    activations: "layer0.hidden", "layer0.cell" ... -> (N, H) float32; ACTIVATIONS names them.
    """

    ids: np.ndarray
    surprise: np.ndarray
    guesses: np.ndarray
    probabilities: np.ndarray
    activations: Recorded


@dataclass(frozen=True)
class Piece:
    """Some characters of a text as they were read: activations by name (n, H), what the head sees (n, W), state after."""

    activations: Recorded
    seen: np.ndarray
    state: State


def held_out(run: OpenedRun, most: int) -> np.ndarray:
    """The first `most` ids of the run's test text (of its validation text, if it has no other); of lines, whole ones.

    Raises CheckpointError if the model lies in no run with its text, CorpusError if there is none, SettingsError if the
    model counts.
    """
    refuse_counting(run.model)
    text = text_of_split(run, None, advice="name a run that keeps some of its text for testing")
    return cut(run.model, text.ids, most)


def cut(model: ModelFile, ids: np.ndarray, most: int) -> np.ndarray:
    """The first `most` ids of a text; in lines mode whole lines, and one at least."""
    if len(ids) > most and model.mode == "lines":
        ends = np.flatnonzero(ids == model.vocabulary.newline) + 1
        most = max(int(ends[0]), int(ends[ends <= most].max(initial=0)))
    return ids[:most]


def trace(model: ModelFile, ids: np.ndarray) -> Trace:
    """Read ids (N,), N >= 1, from the zero state, and keep everything: 4 N L H bytes for each name of ACTIVATIONS.

    Raises SettingsError for a counting model, which has no cells.
    """
    refuse_counting(model)
    state, before = begin(model)
    piece = read(model, ids, state)
    # What predicts character i was seen at i - 1.
    seen = np.concatenate([before, piece.seen[:-1]])
    nats, guesses, probabilities = _predictions(model, seen, ids[len(ids) - len(seen) :])
    if len(seen) < len(ids):  # a stream's first character
        nats = np.concatenate([[np.nan], nats])
        guesses = np.concatenate([np.full((1, guesses.shape[1]), -1), guesses])
        probabilities = np.concatenate([np.zeros((1, guesses.shape[1])), probabilities])
    return Trace(np.array(ids), nats, guesses, probabilities, piece.activations)


def pieces(
    model: ModelFile, ids: np.ndarray, size: int = PIECE
) -> Iterator[tuple[slice, Recorded]]:
    """The activations of a text, `size` characters at a time, the state carried: where they stand, and what they were."""
    refuse_counting(model)
    state, _ = begin(model)
    for start in range(0, len(ids), size):
        place = slice(start, min(start + size, len(ids)))
        piece = read(model, ids[place], state)
        state = piece.state
        yield place, piece.activations


def begin(model: ModelFile) -> tuple[State, np.ndarray]:
    """The state before a text, and what the head sees there: (0, W) of a stream, (1, W) of lines, after a newline."""
    hidden, layers, _ = sizes(model.settings.model)
    zeros = tuple(
        np.zeros(hidden, np.float32) for _ in range(1 + (model.settings.model.cell == "lstm"))
    )
    state: State = (zeros,) * layers
    if model.mode == "lines":
        piece = read(model, np.array([model.vocabulary.newline]), state)
        return piece.state, piece.seen
    return state, np.zeros((0, _head(model).shape[1]), np.float32)


def read(model: ModelFile, ids: np.ndarray, state: State) -> Piece:
    """Read ids (n,) from a state on. In lines mode a newline is read from the zero state, as if it began the next line."""
    settings, tensors = model.settings.model, model.tensors
    fresh = ids == model.vocabulary.newline if model.mode == "lines" else np.zeros(len(ids), bool)
    seen = [tensors["embedding.weight"][ids]]
    recorded: Recorded = {}
    last = []
    with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
        for k in range(len(state)):
            inputs = np.concatenate(seen, 1) if settings.skip == "dense" else seen[-1]
            weights = tuple(tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS)
            found, after = _LAYERS[settings.cell](inputs, fresh, state[k], weights)
            last.append(after)
            outputs = found["hidden"]
            is_residual = settings.skip == "residual" and inputs.shape == outputs.shape
            seen.append(outputs + inputs if is_residual else outputs)
            recorded |= {f"layer{k}.{name}": found[name] for name in ACTIVATIONS[settings.cell]}
    return Piece(
        recorded, np.concatenate(seen, 1) if settings.skip == "dense" else seen[-1], tuple(last)
    )


def named(model: ModelFile, cell: str) -> tuple[str, int]:
    """The activation and the unit of "layer0.cell:17". Raises SettingsError, which says what the model has."""
    refuse_counting(model)
    hidden, layers, _ = sizes(model.settings.model)
    parts = ACTIVATIONS[model.settings.model.cell]
    name, _, unit = cell.partition(":")
    is_there = name in {f"layer{k}.{part}" for k in range(layers) for part in parts}
    if is_there and re.fullmatch("[0-9]{1,9}", unit) and int(unit) < hidden:
        return name, int(unit)
    numbers = "0" if layers == 1 else f"0 to {layers - 1}"
    raise SettingsError(
        f"--show {one_line(cell)}: this model has layer {numbers}, {', '.join(parts)}, units 0 to {hidden - 1}; write it as "
        f"in layer0.{parts[0]}:0"
    )


def extent(name: str, values: np.ndarray) -> tuple[float, float]:
    """Between what an activation can lie: a gate between 0 and 1, a state between -1 and 1, a cell as far as it goes here."""
    kind = name.split(".")[1]
    if kind == "cell":
        most = max(float(np.abs(values[np.isfinite(values)]).max(initial=0)), 1e-30)
        return -most, most
    return (0.0, 1.0) if kind in GATES else (-1.0, 1.0)


def shades(name: str, values: np.ndarray) -> np.ndarray:
    """Activations as -1 to 1 within their extent, for colours; what is no number is 0."""
    low, high = extent(name, values)
    return np.nan_to_num(2 * (values - low) / (high - low) - 1)


def refuse_counting(model: ModelFile) -> None:
    """Raises SettingsError for a model without cells."""
    if model.counts:
        raise SettingsError(
            "this model counts n-grams and has no cells to look at; name the run of a network"
        )


def _predictions(
    model: ModelFile, seen: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nats (n,), likeliest ids (n, K) and their probabilities (n, K), from what the head sees (n, W), of ids (n,)."""
    head, bias = _head(model), model.tensors["head.bias"]
    most = min(GUESSES, len(bias))
    nats, guesses, probabilities = (
        np.zeros(len(seen)),
        np.zeros((len(seen), most), np.int64),
        np.zeros((len(seen), most)),
    )
    size = max(1, MAX_SCORES // len(bias))
    for start in range(0, len(seen), size):
        here = slice(start, start + size)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = seen[here] @ head.T + bias
        nats[here] = surprise(logits, ids[here])
        shares = distribution(logits, Decoding())
        best = np.sort(np.argpartition(-shares, most - 1, axis=1)[:, :most], axis=1)
        order = np.argsort(
            -np.take_along_axis(shares, best, 1), axis=1, kind="stable"
        )  # of equals the lowest id first
        guesses[here] = np.take_along_axis(best, order, 1)
        probabilities[here] = np.take_along_axis(shares, guesses[here], 1)
    return nats, guesses, probabilities


def _head(model: ModelFile) -> np.ndarray:
    return model.tensors.get(
        "head.weight", model.tensors["embedding.weight"]
    )  # tied: the embedding


# The cells, over a whole text: inputs (n, E), fresh (n,) where the state is emptied first, state (h,) or (h, c) of (H,),
# and PyTorch's parameters. They return what happened, by name (n, H), and the last state.

Weights = tuple[np.ndarray, ...]  # weight_ih (G, E), weight_hh (G, H), bias_ih (G,), bias_hh (G,)
Read = tuple[Recorded, LayerState]


def _rnn(x: np.ndarray, fresh: np.ndarray, state: LayerState, weights: Weights) -> Read:
    w_ih, w_hh, b_ih, b_hh = weights
    hidden = _row_by_row(x, w_ih) + (b_ih + b_hh)
    (h,) = state
    for t, row in enumerate(hidden):
        h = np.zeros_like(h) if fresh[t] else h
        row += w_hh @ h
        h = np.tanh(row, out=row)
    return {"hidden": hidden}, (h.copy(),)


def _lstm(x: np.ndarray, fresh: np.ndarray, state: LayerState, weights: Weights) -> Read:
    w_ih, w_hh, b_ih, b_hh = weights
    gates = _row_by_row(x, w_ih) + (b_ih + b_hh)
    h, c = state
    size = len(h)
    hidden, cell = np.empty((2, len(x), size), np.float32)
    for t, row in enumerate(gates):
        if fresh[t]:
            h, c = np.zeros_like(h), np.zeros_like(c)
        row += w_hh @ h
        i, f, g, o = row.reshape(4, size)
        _logistic(row[: 2 * size])
        np.tanh(g, out=g)
        _logistic(o)
        c = np.add(f * c, i * g, out=cell[t])
        h = np.multiply(o, np.tanh(c), out=hidden[t])
    i, f, g, o = np.split(gates, 4, axis=1)
    found = {"hidden": hidden, "cell": cell, "input": i, "forget": f, "output": o, "candidate": g}
    return found, (h.copy(), c.copy())


def _gru(x: np.ndarray, fresh: np.ndarray, state: LayerState, weights: Weights) -> Read:
    w_ih, w_hh, b_ih, b_hh = weights

    def candidate(row: np.ndarray, products: np.ndarray, h: np.ndarray) -> np.ndarray:
        r, _, n = row.reshape(3, len(h))
        return n + r * products[2 * len(h) :]

    return _gated(_row_by_row(x, w_ih) + b_ih, fresh, state, w_hh, b_hh, candidate)


def _gru_before(x: np.ndarray, fresh: np.ndarray, state: LayerState, weights: Weights) -> Read:
    w_ih, w_hh, b_ih, b_hh = weights
    size = len(state[0])
    w_gates, b_gates, w_n, b_n = (
        w_hh[: 2 * size],
        b_hh[: 2 * size],
        w_hh[2 * size :],
        b_hh[2 * size :],
    )

    def candidate(row: np.ndarray, products: np.ndarray, h: np.ndarray) -> np.ndarray:
        r, _, n = row.reshape(3, size)
        return n + w_n @ (r * h) + b_n

    return _gated(_row_by_row(x, w_ih) + b_ih, fresh, state, w_gates, b_gates, candidate)


def _gated(
    gates: np.ndarray,
    fresh: np.ndarray,
    state: LayerState,
    w: np.ndarray,
    b: np.ndarray,
    candidate: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Read:
    """Both GRUs: they differ in what the candidate is made of, once both gates are known."""
    (h,) = state
    size = len(h)
    hidden = np.empty((len(gates), size), np.float32)
    for t, row in enumerate(gates):
        h = np.zeros_like(h) if fresh[t] else h
        products = w @ h + b
        row[: 2 * size] += products[: 2 * size]
        _logistic(row[: 2 * size])
        _, z, n = row.reshape(3, size)
        n[:] = np.tanh(candidate(row, products, h))
        h = np.add(z * h, (1 - z) * n, out=hidden[t])
    r, z, n = np.split(gates, 3, axis=1)
    return {"hidden": hidden, "reset": r, "update": 1 - z, "candidate": n}, (h.copy(),)


def _row_by_row(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return x W^T: (n, K), (G, K) -> (n, G). Equal rows give equal bits wherever they stand.

    One product of matrices would not. Every kernel of OpenBLAS sums a row in an order that depends
    on the row's place and on the number of rows.
    """
    products = np.empty((len(x), len(weight)), np.float32)
    for row, product in zip(x, products, strict=True):
        np.dot(weight, row, out=product)
    return products


def _logistic(row: np.ndarray) -> None:
    """In place, and without overflow: 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2."""
    row *= np.float32(0.5)
    np.tanh(row, out=row)
    row += 1
    row *= np.float32(0.5)


_LAYERS: dict[str, Callable[..., Read]] = {
    "rnn": _rnn,
    "lstm": _lstm,
    "gru": _gru,
    "gru-before": _gru_before,
}

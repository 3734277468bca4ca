"""What a network's cells did as it read a text: every gate and state at every character.

Also what the network guessed before each character, and how much the character surprised it. It
reads from the stored tensors, in numpy; the steps are those of `gates.py`.

Shapes: N or n characters, H hidden size, V vocabulary, W width of what the head sees, K guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.errors import SettingsError
from charrnn.insight import gates
from charrnn.layout import GATES as GATE_COUNTS
from charrnn.layout import PARAMETERS, sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import Decoding, distribution, surprise
from charrnn.scoring.text import cut, text_of_split
from charrnn.terminal import one_line
from charrnn.texts import OpenedRun

GUESSES = 5
PIECE = 4096  # characters whose activations are held at once where a text is read in pieces
MAX_SCORES = 1 << 20  # logits held at once
# What a layer of each cell has, in the order in which it is shown. "candidate" of an LSTM is what
# the input gate lets in. "update" is the lecture's u, the new share: 1 - z for PyTorch's z.
ACTIVATIONS = {
    "rnn": ("hidden",),
    "lstm": ("hidden", "cell", "input", "forget", "output", "candidate"),
    "gru": ("hidden", "reset", "update", "candidate"),
    "gru-before": ("hidden", "reset", "update", "candidate"),
}
# The rows of `gates.Step.gates` by name. The RNN's only gate is its new state.
_ROWS = {
    "rnn": {},
    "lstm": {"input": 0, "forget": 1, "candidate": 2, "output": 3},
    "gru": {"reset": 0, "update": 1, "candidate": 2},
    "gru-before": {"reset": 0, "update": 1, "candidate": 2},
}
# These are between 0 and 1. The others are between -1 and 1, except for "cell".
GATES = {"input", "forget", "output", "reset", "update"}
State = tuple[gates.State, ...]  # of every layer; then of a convolution: its past (K-1, E)
Activations = dict[str, np.ndarray]  # by name, (n, H)


@dataclass(frozen=True)
class Trace:
    """A text as a network read it.

    The cells at place i have read character i, and not the next one. In lines mode every line is
    read from the zero state after a newline, and every character is predicted. The first character
    of a stream is not predicted: its surprise is NaN, its guesses are -1, their probabilities 0.

    surprise: nats of each character, given all before it. guesses: the ids that were the likeliest
    before it was read, the likeliest first; K = 5 or V. activations: "layer0.hidden" and so on,
    float32. Where rare characters are bytes, a character is guessed by its first byte, and the
    cells have read all of it.
    """

    codes: np.ndarray  # (N,) uint32, the characters
    surprise: np.ndarray  # (N,) float64
    guesses: np.ndarray  # (N, K)
    probabilities: np.ndarray  # (N, K)
    activations: Activations


@dataclass(frozen=True)
class Piece:
    """Some characters of a text as they were read, and the state after them."""

    activations: Activations
    seen: np.ndarray  # (n, W), what the head sees
    state: State


@dataclass(frozen=True)
class Predictions:
    """What the head said of n characters before they were read, as in Trace."""

    surprise: np.ndarray  # (n,)
    guesses: np.ndarray  # (n, K)
    probabilities: np.ndarray  # (n, K)


def held_out(run: OpenedRun, most: int) -> np.ndarray:
    """The first `most` ids of the run's test text, or else of its validation text; whole lines.

    Raises CheckpointError if the model lies in no run with its text, CorpusError if there is none,
    SettingsError if the model counts.
    """
    refuse_counting(run.model)
    text = text_of_split(run, None, advice="name a run that keeps some of its text for testing")
    return cut(run.model, text.ids, most)


def trace(model: ModelFile, ids: np.ndarray) -> Trace:
    """Read ids (N,), N >= 1, from the zero state, and keep everything.

    That takes 4 N H bytes for each layer and each name of ACTIVATIONS. Raises SettingsError for a
    counting model, which has no cells.
    """
    refuse_counting(model)
    state, seen_before = begin(model)
    piece = read(model, ids, state)
    # What predicts character i was seen at i - 1.
    seen = np.concatenate([seen_before, piece.seen[:-1]])
    predicted = _predictions(model, seen, ids)
    nats = predicted.surprise
    guesses = predicted.guesses
    probabilities = predicted.probabilities
    if len(seen) < len(ids):  # the first character of a stream
        most = guesses.shape[1]
        nats = np.concatenate([[np.nan], nats])
        guesses = np.concatenate([np.full((1, most), -1), guesses])
        probabilities = np.concatenate([np.zeros((1, most)), probabilities])
    return joined(model, ids, Predictions(nats, guesses, probabilities), piece.activations)


def joined(
    model: ModelFile, ids: np.ndarray, predicted: Predictions, activations: Activations
) -> Trace:
    """A trace of characters: the bytes of a rare one together. All arguments are by ids (N,)."""
    edges = model.vocabulary.edges(ids)
    starts = edges[:-1]
    return Trace(
        codes=model.vocabulary.codes_of(ids),
        surprise=np.add.reduceat(predicted.surprise, starts),
        guesses=predicted.guesses[starts],
        probabilities=predicted.probabilities[starts],
        activations={name: values[edges[1:] - 1] for name, values in activations.items()},
    )


def pieces(
    model: ModelFile, ids: np.ndarray, size: int = PIECE
) -> Iterator[tuple[slice, Activations]]:
    """The places and the activations of characters, `size` at a time. The state is carried.

    Raises SettingsError for a counting model.
    """
    refuse_counting(model)
    state, _ = begin(model)
    edges = model.vocabulary.edges(ids)
    for start in range(0, len(edges) - 1, size):
        stop = min(start + size, len(edges) - 1)
        piece = read(model, ids[edges[start] : edges[stop]], state)
        state = piece.state
        ends = edges[start + 1 : stop + 1] - edges[start] - 1
        yield slice(start, stop), {name: values[ends] for name, values in piece.activations.items()}


def begin(model: ModelFile) -> tuple[State, np.ndarray]:
    """The state before a text, and what the head sees there.

    That is (0, W) for a stream, and (1, W) for lines, which begin after a newline.
    """
    settings = model.settings.model
    hidden, layers, _ = sizes(settings)
    parts = 2 if settings.cell == "lstm" else 1
    zeros = tuple(np.zeros(hidden, np.float32) for _ in range(parts))
    state: State = (zeros,) * layers
    if settings.conv:
        size = model.tensors["embedding.weight"].shape[1]
        state = (*state, (np.zeros((settings.conv - 1, size), np.float32),))
    if model.mode == "lines":
        piece = read(model, np.array([model.vocabulary.newline]), state)
        return piece.state, piece.seen
    return state, np.zeros((0, _head(model).shape[1]), np.float32)


def read(model: ModelFile, ids: np.ndarray, state: State) -> Piece:
    """Read ids (n,) from a state on.

    In lines mode a newline is read from the zero state, as if it began the next line.
    """
    settings = model.settings.model
    fresh = np.zeros(len(ids), bool)
    if model.mode == "lines":
        fresh = ids == model.vocabulary.newline
    embedded = model.tensors["embedding.weight"][ids]
    seen = [embedded]
    activations: Activations = {}
    last: list[gates.State] = []
    convolved = embedded
    past: State = ()
    if settings.conv:
        weight = model.tensors["conv.weight"]
        convolved, last_past = _convolved(weight, embedded, fresh, *state[-1])
        past = ((last_past,),)
        state = state[:-1]
    with np.errstate(over="ignore", invalid="ignore"):  # weights may be any finite numbers
        for k, layer_state in enumerate(state):
            below = np.concatenate(seen, 1) if settings.skip == "dense" else seen[-1]
            inputs = below if k else convolved
            parameters = [model.tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS]
            weights = gates.weights_of(settings.cell, parameters)
            layer, layer_state = _read_layer(settings.cell, weights, inputs, fresh, layer_state)
            last.append(layer_state)
            outputs = layer["hidden"]
            if settings.skip == "residual" and below.shape == outputs.shape:
                seen.append(outputs + below)
            else:
                seen.append(outputs)
            activations |= {f"layer{k}.{name}": layer[name] for name in ACTIVATIONS[settings.cell]}
    top = np.concatenate(seen, 1) if settings.skip == "dense" else seen[-1]
    return Piece(activations, top, (*last, *past))


def _convolved(
    weight: np.ndarray, embedded: np.ndarray, fresh: np.ndarray, past: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A convolution (E, E, K) over inputs (n, E) after the past (K-1, E), and the past after them.

    fresh (n,): where the past is emptied before the character is read.
    """
    outputs = np.empty_like(embedded)
    for t, x in enumerate(embedded):
        if fresh[t]:
            past = np.zeros_like(past)
        window = np.concatenate([past, x[None]])
        outputs[t] = gates.convolve(weight, window)
        past = window[1:]
    return outputs, past


def _read_layer(
    cell: str,
    weights: gates.Weights,
    inputs: np.ndarray,
    fresh: np.ndarray,
    state: gates.State,
) -> tuple[Activations, gates.State]:
    """One layer's activations over inputs (n, E), and its state after them.

    fresh (n,): where the state is emptied before the character is read.
    """
    count = len(inputs)
    hidden_size = len(state[0])
    zeros = tuple(np.zeros_like(part) for part in state)
    states = np.empty((len(state), count, hidden_size), np.float32)
    gate_values = np.empty((count, GATE_COUNTS[cell], hidden_size), np.float32)
    for t, x in enumerate(inputs):
        if fresh[t]:
            state = zeros
        step = gates.advance(cell, weights, x, state)
        state = step.state
        states[:, t] = state
        gate_values[t] = step.gates
    layer = {name: gate_values[:, row] for name, row in _ROWS[cell].items()}
    layer |= dict(zip(("hidden", "cell"), states, strict=False))
    return layer, state


def named(model: ModelFile, cell: str) -> tuple[str, int]:
    """The activation and the unit that "layer0.cell:17" names.

    Raises SettingsError, which says what the model has.
    """
    refuse_counting(model)
    name, _, unit = cell.partition(":")
    hidden, _, _ = sizes(model.settings.model)
    if _has(model, name) and re.fullmatch("[0-9]{1,9}", unit) and int(unit) < hidden:
        return name, int(unit)
    raise _unknown(model, cell)


def whole(model: ModelFile, cell: str) -> str:
    """The activation that "layer0.update" names, with all its units. Raises SettingsError."""
    if not _has(model, cell):
        raise _unknown(model, cell)
    return cell


def _has(model: ModelFile, name: str) -> bool:
    """Whether a network has this state or gate. Raises SettingsError for a model that counts."""
    refuse_counting(model)
    _, layers, _ = sizes(model.settings.model)
    parts = ACTIVATIONS[model.settings.model.cell]
    return name in {f"layer{k}.{part}" for k in range(layers) for part in parts}


def _unknown(model: ModelFile, cell: str) -> SettingsError:
    """What to say of a cell that a model does not have."""
    hidden, layers, _ = sizes(model.settings.model)
    parts = ACTIVATIONS[model.settings.model.cell]
    numbers = "0" if layers == 1 else f"0 to {layers - 1}"
    return SettingsError(
        f"--show {one_line(cell)}: this model has layer {numbers}, {', '.join(parts)}, "
        f"units 0 to {hidden - 1}; write it as in layer0.{parts[0]}:0, or layer0.{parts[0]}"
    )


def default_view(model: ModelFile) -> str:
    """The state or gate that says most of a cell at a glance."""
    refuse_counting(model)
    best = {"rnn": "hidden", "lstm": "forget", "gru": "update", "gru-before": "update"}
    return f"layer0.{best[model.settings.model.cell]}"


def extent(name: str, values: np.ndarray) -> tuple[float, float]:
    """Between what an activation lies: 0 and 1, or -1 and 1. A cell has no bound but its values."""
    kind = name.split(".")[1]
    if kind == "cell":
        finite = values[np.isfinite(values)]
        most = max(float(np.abs(finite).max(initial=0)), 1e-30)
        return -most, most
    if kind in GATES:
        return 0.0, 1.0
    return -1.0, 1.0


def shades(name: str, values: np.ndarray) -> np.ndarray:
    """Activations as -1 to 1 within their extent, for colours. What is not a number becomes 0."""
    low, high = extent(name, values)
    return np.nan_to_num(2 * (values - low) / (high - low) - 1)


def refuse_counting(model: ModelFile) -> None:
    """Raise SettingsError for a model without cells."""
    if model.counts:
        raise SettingsError(
            "this model counts n-grams and has no cells to look at; name the run of a network"
        )


def _predictions(model: ModelFile, seen: np.ndarray, ids: np.ndarray) -> Predictions:
    """Predict the last n of ids (N,) from what the head sees before them, (n, W)."""
    spelling = model.vocabulary.spelling
    first = len(ids) - len(seen)
    states = np.zeros(0, np.int32) if spelling is None else spelling.states(ids)[first:]
    ids = ids[first:]
    head = _head(model)
    bias = model.tensors["head.bias"]
    most = min(GUESSES, len(bias))
    nats = np.zeros(len(seen))
    guesses = np.zeros((len(seen), most), np.int64)
    probabilities = np.zeros((len(seen), most))
    size = max(1, MAX_SCORES // len(bias))
    for start in range(0, len(seen), size):
        here = slice(start, start + size)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = seen[here] @ head.T + bias
        if spelling is not None:
            logits = spelling.masked(logits, states[here])
        nats[here] = surprise(logits, ids[here])
        shares = distribution(logits, Decoding())
        best = np.sort(np.argpartition(-shares, most - 1, axis=1)[:, :most], axis=1)
        # The sort is stable: of equally likely characters, the lowest id comes first.
        order = np.argsort(-np.take_along_axis(shares, best, 1), axis=1, kind="stable")
        guesses[here] = np.take_along_axis(best, order, 1)
        probabilities[here] = np.take_along_axis(shares, guesses[here], 1)
    return Predictions(nats, guesses, probabilities)


def _head(model: ModelFile) -> np.ndarray:
    """The weights (V, W) of the head, which are the embedding's where they are tied."""
    return model.tensors.get("head.weight", model.tensors["embedding.weight"])

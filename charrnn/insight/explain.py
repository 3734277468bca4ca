"""A cell explained: a model's matrices under both names, their work, and one step in numbers.

The matrices have the lecture's names and PyTorch's. The step is that of `gates.py`, in float64.
No torch. How all this looks on a terminal is not known here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.insight import gates
from charrnn.insight.lecture import CANDIDATE, GATES, Gate, equations, latex
from charrnn.layout import PARAMETERS, expected_shapes, sizes
from charrnn.modelfile import ModelFile, read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.terminal import one_line
from charrnn.text.normalizing import prepare
from charrnn.text.words import in_known_form

SHOWN_UNITS = 2
GREEDY_CHARS = 5  # characters that the model writes for an example, if nobody gives one
SMALL_HIDDEN = 2  # units of the example without a model
SMALL_INPUTS = 2
RULE = (
    "2 for each multiply-add of a matrix product; backward is twice forward; "
    "single additions, σ and tanh are left out"
)


@dataclass(frozen=True)
class Matrix:
    """One parameter. shape: as a person writes it. numbers: how many of the model's it has."""

    name: str
    shape: str
    numbers: int
    torch: str


@dataclass(frozen=True)
class Line:
    """A gate of one unit: from_h + from_x + bias = total, which is squashed to value.

    The from_h of a GRU's candidate has the reset gate in it.
    """

    gate: str
    unit: int
    from_h: float
    from_x: float
    bias: float
    total: float
    value: float


@dataclass(frozen=True)
class WorkedStep:
    """One step of a layer in float64. lines: by gate in the lecture's order, then by unit.

    x (E,), h and c (H,) before the step, h_after and c_after (H,) after it. Only an LSTM has c.
    """

    x: np.ndarray
    h: np.ndarray
    c: np.ndarray | None
    lines: tuple[Line, ...]
    h_after: np.ndarray
    c_after: np.ndarray | None

    def gate(self, letter: str) -> np.ndarray:
        """(H,) values of a gate."""
        return np.array([line.value for line in self.lines if line.gate == letter])


# Matrices and work


def matrices(settings: ModelSettings, vocabulary_size: int) -> list[Matrix]:
    """Every parameter once, with both names. Their numbers add up to those of the model.

    settings must name every size.
    """
    hidden, layers, embedding = sizes(settings)
    shapes = expected_shapes(settings, vocabulary_size)
    table = [
        Matrix(
            "embedding",
            f"{vocabulary_size} × {embedding}",
            vocabulary_size * embedding,
            "embedding.weight",
        )
    ]
    if settings.conv:
        table.append(
            Matrix(
                "conv",
                f"{embedding} × {embedding} × {settings.conv}",
                embedding * embedding * settings.conv,
                "conv.weight",
            )
        )
    for k in range(layers):
        width = shapes[f"recurrent.weight_ih_l{k}"][1]
        for gate in GATES[settings.cell]:
            table += _matrices_of(gate, settings.cell, k, hidden, width)
    width = hidden
    if settings.skip == "dense":
        width += embedding + (layers - 1) * hidden
    if settings.tie_weights:
        numbers, name = 0, "embedding.weight (tied)"
    else:
        numbers, name = vocabulary_size * width, "head.weight"
    table.append(Matrix("W_out", f"{vocabulary_size} × {width}", numbers, name))
    table.append(Matrix("b_out", f"{vocabulary_size}", vocabulary_size, "head.bias"))
    return table


def _matrices_of(gate: Gate, cell: str, layer: int, hidden: int, width: int) -> list[Matrix]:
    """The matrices of one gate in a layer that has inputs of this width."""
    rows = f"_l{layer}[{gate.block * hidden}:{(gate.block + 1) * hidden}]"
    prefix = f"{gate.torch}: " if gate.torch else ""
    if cell == "gru" and gate is CANDIDATE:  # its two halves are not one matrix on [h, x]
        return [
            Matrix("W_h", f"{hidden} × {width}", hidden * width, f"{prefix}weight_ih{rows}"),
            Matrix("U_h", f"{hidden} × {hidden}", hidden * hidden, f"{prefix}weight_hh{rows}"),
            Matrix("b_h", f"{hidden}", hidden, f"{prefix}bias_ih{rows}"),
            Matrix("d_h", f"{hidden}", hidden, f"{prefix}bias_hh{rows}"),
        ]
    return [
        Matrix(
            gate.named("W"),
            f"{hidden} × ({hidden} + {width})",
            hidden * (hidden + width),
            f"{prefix}weight_{{hh,ih}}{rows}",
        ),
        Matrix(
            gate.named("b"),
            f"{hidden}, twice",
            2 * hidden,
            f"{prefix}bias_{{hh,ih}}{rows}",
        ),
    ]


def flops_per_char(settings: ModelSettings, vocabulary_size: int) -> int:
    """FLOPs of one character forward, by RULE. With the backward pass it is three times as many."""
    shapes = expected_shapes(settings, vocabulary_size)
    recurrent = [shape for name, shape in shapes.items() if ".weight_" in name]
    head = shapes.get("head.weight", shapes["embedding.weight"])
    taps = math.prod(shapes.get("conv.weight", (0,)))
    return 2 * (taps + sum(rows * width for rows, width in (*recurrent, head)))


# One step in numbers


def one_step(
    cell: str,
    w: Mapping[str, np.ndarray],
    x: np.ndarray,
    h: np.ndarray,
    c: np.ndarray | None = None,
) -> WorkedStep:
    """Work through a step of one layer. x (E,), h and, of an LSTM, c (H,).

    w: weight_ih (K H, E), weight_hh (K H, H), bias_ih and bias_hh (K H,), K gates.
    """
    weights = gates.weights_of(cell, [np.asarray(w[name], np.float64) for name in PARAMETERS])
    x = x.astype(np.float64)
    h = h.astype(np.float64)
    state: gates.State = (h,)
    if cell == "lstm":
        assert c is not None
        state = (h, c.astype(np.float64))
    step = gates.advance(cell, weights, x, state)
    lines = []
    for gate in GATES[cell]:
        row = gate.block
        columns = zip(
            gate.sign * step.from_h[row],
            gate.sign * step.from_x[row],
            gate.sign * weights.bias[row],
            gate.sign * step.sums[row],
            step.gates[row],
            strict=True,
        )
        for unit, numbers in enumerate(columns):
            lines.append(Line(gate.letter, unit, *map(float, numbers)))
    if cell == "lstm":
        return WorkedStep(x, h, state[1], tuple(lines), *step.state)
    return WorkedStep(x, h, None, tuple(lines), step.state[0], None)


def small_step(cell: str) -> tuple[dict[str, np.ndarray], WorkedStep]:
    """Weights of one decimal, for pencil and paper, and a step with them.

    The forget gate's bias is 1, the value with which a training begins.
    """
    rows = len(GATES[cell]) * SMALL_HIDDEN
    w = {
        "weight_ih": _decimals(0, rows, SMALL_INPUTS),
        "weight_hh": _decimals(1, rows, SMALL_HIDDEN),
        "bias_ih": _decimals(2, rows),
        "bias_hh": _decimals(3, rows),
    }
    if cell != "gru":
        w["bias_hh"] *= 0.0  # the lecture has one bias, and only in this cell are there two
    if cell == "lstm":
        w["bias_ih"][SMALL_HIDDEN : 2 * SMALL_HIDDEN] = 1.0
    x = np.array([0.8, -0.5])
    h = np.array([0.5, -0.3])
    c = np.array([0.9, -0.4])
    return w, one_step(cell, w, x, h, c)


def _decimals(first: int, *shape: int) -> np.ndarray:
    """Numbers of one decimal that look like chance, others for each `first`."""
    numbers = np.sin(first + 2.4 * np.arange(np.prod(shape)))
    decimals: np.ndarray = np.round(numbers, 1).reshape(shape)
    return decimals + 0.0  # which turns -0.0 into 0.0


def step_of_model(model: ModelFile, text: str | None) -> tuple[str, WorkedStep]:
    """A text as the model reads it, and the first layer's step on its last character.

    text None: what the model itself writes first, greedily. Raises SettingsError where the model
    does not know a character.
    """
    sampler = Sampler(model, weights="float32")
    vocabulary = model.vocabulary
    ids = _ids_written(model, sampler) if text is None else _ids_of(model, text)
    if model.mode == "lines" or text is None:
        ids = np.concatenate([[model.start], ids])
    state = sampler.zero_state(1)
    if len(ids) > 1:
        state = sampler.feed(ids[:-1])[1]
    w = {name: model.tensors[f"recurrent.{name}_l0"] for name in PARAMETERS}
    settings = model.settings.model
    embedding = model.tensors["embedding.weight"]
    x = embedding[ids[-1]]
    if settings.conv:
        view = embedding[ids[-settings.conv :]]
        missing = settings.conv - len(view)
        x = gates.convolve(model.tensors["conv.weight"], np.pad(view, ((missing, 0), (0, 0))))
    parts = 2 if settings.cell == "lstm" else 1
    step = one_step(settings.cell, w, x, *(part[0, 0] for part in state[:parts]))
    if vocabulary.unit == "byte":
        return "".join(chr(vocabulary.symbols[index]) for index in ids), step
    return vocabulary.decode(ids), step


def _ids_written(model: ModelFile, sampler: Sampler) -> np.ndarray:
    """What the model writes first, without a line's end."""
    samples = sampler.generate(decoding=Decoding(temperature=0.0), length=GREEDY_CHARS)
    ids: np.ndarray = next(samples).ids
    if model.mode == "lines":
        ids = ids[ids != model.vocabulary.newline]
    return ids


def _ids_of(model: ModelFile, text: str) -> np.ndarray:
    """The ids of a text that somebody typed. Raises SettingsError."""
    vocabulary = model.vocabulary
    prepared, _ = in_known_form(prepare(text, model.reading), vocabulary)
    codes = vocabulary.codes(prepared)
    ids = vocabulary.spelled(codes)
    if not len(ids):
        raise SettingsError("--text is empty; give at least one character")
    is_unknown = ids < 0
    if is_unknown.any():
        distinct, counts = np.unique(codes[is_unknown], return_counts=True)
        first = int(np.argmax(is_unknown))
        unknown = vocabulary.explain_unknown(distinct, counts, "--text", first)
        raise SettingsError(f"{unknown}; retype it")
    return ids


# For --json, and for the command


def as_dict(
    settings: ModelSettings, vocabulary_size: int, step: WorkedStep, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything as plain data, for --json. about: what the step is of."""
    hidden, layers, embedding = sizes(settings)
    table = matrices(settings, vocabulary_size)
    forward = flops_per_char(settings, vocabulary_size)
    arrays = {
        "x": step.x,
        "h": step.h,
        "c": step.c,
        "h_after": step.h_after,
        "c_after": step.c_after,
    }
    numbers = {name: _listed(array) for name, array in arrays.items()}
    return {
        "cell": settings.cell,
        "hidden_size": hidden,
        "num_layers": layers,
        "embedding_size": embedding,
        "vocabulary_size": vocabulary_size,
        "skip": settings.skip,
        "conv": settings.conv,
        "tie_weights": settings.tie_weights,
        "equations": [f"{left} = {right}" for left, right, _ in equations(settings.cell)],
        "latex": latex(settings.cell),
        "parameters": sum(matrix.numbers for matrix in table),
        "matrices": [dataclasses.asdict(matrix) for matrix in table],
        "flops_per_char": {"forward": forward, "forward_backward": 3 * forward, "rule": RULE},
        "step": {**about, **numbers, "lines": [dataclasses.asdict(line) for line in step.lines]},
    }


def _listed(array: np.ndarray | None) -> list[float] | None:
    return None if array is None else array.tolist()


def run_model(run: Path, cell: str | None) -> ModelFile:
    """The network of a run.

    Raises SettingsError where it counts or is of another cell, and CheckpointError.
    """
    model = read_model(run)
    name = one_line(str(run))
    cell_of_run = model.settings.model.cell
    if model.counts:
        raise SettingsError(
            f"{name} counts n-grams and has no cell to explain; name a run of rnn, lstm or gru"
        )
    if cell is not None and cell != cell_of_run:
        raise SettingsError(
            f"{name} has the cell {cell_of_run}, not {cell}; "
            f"ask: charrnn explain {cell_of_run} {name}"
        )
    return model

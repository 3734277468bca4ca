"""A cell explained: its equations, a model's matrices under the lecture's names and PyTorch's, its work, one step in numbers.

No torch: the step is computed here once more, in float64, line by line as a person would on paper; the tests hold it to
model/equations.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.layout import PARAMETERS, expected_shapes, sizes
from charrnn.modelfile import ModelFile, read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.terminal import one_line
from charrnn.text.reading import prepare

SHOWN_UNITS = 2
GREEDY_CHARS = 5  # that the model writes for an example, if nobody gives one
SMALL_HIDDEN, SMALL_INPUTS = 2, 2  # of the example without a model
RULE = "2 for each multiply-add of a matrix product; backward is twice forward; single additions, σ and tanh are left out"


@dataclass(frozen=True)
class Gate:
    """One gate of a cell. block: which H rows of PyTorch's matrices; sign -1: stored there with the opposite sign."""

    letter: str  # the lecture's; also of its matrix
    block: int
    torch: str  # PyTorch's letter
    role: str
    squash: str = "σ"
    sign: int = 1

    @property
    def value(self) -> str:
        """What the gate's output is called."""
        return {"C": "C̃", "h": "h̃", "": "h'"}.get(self.letter, self.letter)

    def named(self, matrix: str) -> str:
        return f"{matrix}_{self.letter}" if self.letter else matrix


_UPDATE = Gate("u", 1, "-z", "update: how much is new", sign=-1)  # z = 1 - u, and 1 - σ(a) = σ(-a)
_RESET = Gate("r", 0, "r", "reset: how much of h is seen")
_CANDIDATE = Gate("h", 2, "n", "candidate: what to write", "tanh")
GATES = {  # in the lecture's order
    "rnn": (Gate("", 0, "", "the new state", "tanh"),),
    "lstm": (
        Gate("f", 1, "f", "forget: how much of C is kept"),
        Gate("i", 0, "i", "input: how much is written"),
        Gate("C", 2, "g", "candidate: what to write", "tanh"),
        Gate("o", 3, "o", "output: how much of C is shown"),
    ),
    "gru": (_UPDATE, _RESET, _CANDIDATE),
    "gru-before": (_UPDATE, _RESET, _CANDIDATE),
}
_ENDS = {
    "rnn": (),
    "lstm": (("C'", "f ∘ C + i ∘ C̃", "the new cell"), ("h'", "o ∘ tanh(C')", "the new state")),
    "gru": (("h'", "(1 − u) ∘ h + u ∘ h̃", "the new state"),),
    "gru-before": (("h'", "(1 − u) ∘ h + u ∘ h̃", "the new state"),),
}
_LATEX = {
    "h'": "h_t",
    "h": "h_{t-1}",
    "C'": "C_t",
    "C": "C_{t-1}",
    "C̃": r"\tilde{C}_t",
    "h̃": r"\tilde{h}_t",
    "x": "x_t",
    "f": "f_t",
    "i": "i_t",
    "o": "o_t",
    "u": "u_t",
    "r": "r_t",
    "σ": r"\sigma",
    "tanh": r"\tanh",
    "∘": r"\circ",
    "−": "-",
    "W_out": r"W_{\mathrm{out}}",
    "b_out": r"b_{\mathrm{out}}",
    "softmax": r"\mathrm{softmax}",
    "P(next)": "P(x_{t+1})",
}


@dataclass(frozen=True)
class Matrix:
    """One parameter. shape as a person writes it; numbers: how many of the model's parameters it is."""

    name: str
    shape: str
    numbers: int
    torch: str


@dataclass(frozen=True)
class Line:
    """A gate of one unit: from_h + from_x + bias = total, squashed to value. The GRU's from_h is r times what it says."""

    gate: str
    unit: int
    from_h: float
    from_x: float
    bias: float
    total: float
    value: float


@dataclass(frozen=True)
class Step:
    """One step in float64. x (E), h and c (H) before it; lines by gate, then unit; h_after, c_after (H). c: LSTM alone."""

    x: np.ndarray
    h: np.ndarray
    c: np.ndarray | None
    lines: tuple[Line, ...]
    h_after: np.ndarray
    c_after: np.ndarray | None

    def gate(self, letter: str) -> np.ndarray:
        """(H,) values of a gate."""
        return np.array([line.value for line in self.lines if line.gate == letter])


def equations(cell: str) -> list[tuple[str, str, str]]:
    """Left side, right side, what it is for; in Unicode. Source: the cells of model/equations.py."""
    found = []
    for gate in GATES[cell]:
        inside = f"{gate.named('W')} [h, x] + {gate.named('b')}"
        if gate is _CANDIDATE:
            inside = {
                "gru": "W_h x + b_h + r ∘ (U_h h + d_h)",
                "gru-before": "W_h [r ∘ h, x] + b_h",
            }[cell]
        found.append((gate.value, f"{gate.squash}({inside})", gate.role))
    return [*found, *_ENDS[cell], ("P(next)", "softmax(W_out h' + b_out)", "of the next character")]


def latex(cell: str) -> str:
    """The same equations as an aligned environment of LaTeX, with a time index in place of the prime."""
    rows = [f"{_as_latex(left)} &= {_as_latex(right)}" for left, right, _ in equations(cell)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _as_latex(text: str) -> str:
    tokens = r"P\(next\)|[WUbd]_\w+|tanh|softmax|[hC]\u0303|[hC]'|[A-Za-z]|[σ∘−]"
    return re.sub(tokens, lambda match: _LATEX.get(match[0], match[0]), text)


def matrices(settings: ModelSettings, vocabulary_size: int) -> list[Matrix]:
    """Every parameter once, under both names; their numbers add up to the model's. settings must name every size."""
    hidden, layers, embedding = sizes(settings)
    shapes = expected_shapes(settings, vocabulary_size)
    found = [
        Matrix(
            "embedding",
            f"{vocabulary_size} × {embedding}",
            vocabulary_size * embedding,
            "embedding.weight",
        )
    ]
    for k in range(layers):
        width = shapes[f"recurrent.weight_ih_l{k}"][1]
        for gate in GATES[settings.cell]:
            rows = f"_l{k}[{gate.block * hidden}:{(gate.block + 1) * hidden}]"
            prefix = f"{gate.torch}: " if gate.torch else ""
            if (
                settings.cell == "gru" and gate is _CANDIDATE
            ):  # its two halves are not one matrix on [h, x]
                for name, shape, numbers, torch in (
                    ("W_h", f"{hidden} × {width}", hidden * width, "weight_ih"),
                    ("U_h", f"{hidden} × {hidden}", hidden * hidden, "weight_hh"),
                    ("b_h", f"{hidden}", hidden, "bias_ih"),
                    ("d_h", f"{hidden}", hidden, "bias_hh"),
                ):
                    found.append(Matrix(name, shape, numbers, f"{prefix}{torch}{rows}"))
                continue
            found += [
                Matrix(
                    gate.named("W"),
                    f"{hidden} × ({hidden} + {width})",
                    hidden * (hidden + width),
                    f"{prefix}weight_{{hh,ih}}{rows}",
                ),
                Matrix(
                    gate.named("b"), f"{hidden}, twice", 2 * hidden, f"{prefix}bias_{{hh,ih}}{rows}"
                ),
            ]
    width = hidden + (embedding + (layers - 1) * hidden if settings.skip == "dense" else 0)
    tied = settings.tie_weights
    return [
        *found,
        Matrix(
            "W_out",
            f"{vocabulary_size} × {width}",
            0 if tied else vocabulary_size * width,
            "embedding.weight (tied)" if tied else "head.weight",
        ),
        Matrix("b_out", f"{vocabulary_size}", vocabulary_size, "head.bias"),
    ]


def flops_per_char(settings: ModelSettings, vocabulary_size: int) -> int:
    """Of one character forward, by RULE; with the backward pass three times as many."""
    shapes = expected_shapes(settings, vocabulary_size)
    products = [
        rows * width
        for name, (rows, *rest) in shapes.items()
        if "weight_" in name
        for width in rest
    ]
    embedding = shapes["embedding.weight"]
    return 2 * sum(products) + 2 * int(np.prod(shapes.get("head.weight", embedding)))


def one_step(
    cell: str,
    w: Mapping[str, np.ndarray],
    x: np.ndarray,
    h: np.ndarray,
    c: np.ndarray | None = None,
) -> Step:
    """A step of one layer. w: weight_ih (G H, E), weight_hh (G H, H), bias_ih, bias_hh; x (E), h and, of an LSTM, c (H)."""
    hidden = len(h)
    weight_ih, weight_hh, bias_ih, bias_hh = (
        np.asarray(w[name], np.float64) for name in PARAMETERS
    )
    x, h = x.astype(np.float64), h.astype(np.float64)
    lines: list[Line] = []
    values: dict[str, np.ndarray] = {}
    for gate in GATES[cell]:
        rows = slice(gate.block * hidden, (gate.block + 1) * hidden)
        from_x, bias = (
            gate.sign * (weight_ih[rows] @ x),
            gate.sign * (bias_ih[rows] + bias_hh[rows]),
        )
        if gate is not _CANDIDATE:
            from_h = gate.sign * (weight_hh[rows] @ h)
        elif cell == "gru":
            from_h, bias = values["r"] * (weight_hh[rows] @ h + bias_hh[rows]), bias_ih[rows]
        else:
            from_h = weight_hh[rows] @ (values["r"] * h)
        total = from_h + from_x + bias
        value = np.tanh(total) if gate.squash == "tanh" else (1 + np.tanh(total / 2)) / 2
        values[gate.letter] = value
        parts = zip(from_h, from_x, bias, total, value, strict=True)
        lines += [Line(gate.letter, unit, *map(float, part)) for unit, part in enumerate(parts)]
    if cell == "rnn":
        return Step(x, h, None, tuple(lines), values[""], None)
    if cell == "lstm":
        assert c is not None
        after = values["f"] * c + values["i"] * values["C"]
        return Step(x, h, c.astype(np.float64), tuple(lines), values["o"] * np.tanh(after), after)
    return Step(x, h, None, tuple(lines), (1 - values["u"]) * h + values["u"] * values["h"], None)


def small_step(cell: str) -> tuple[dict[str, np.ndarray], Step]:
    """Weights of one decimal, for pencil and paper, and a step with them. Bias of the forget gate: 1, as it begins."""

    def decimals(first: int, *shape: int) -> np.ndarray:
        return (
            np.round(np.sin(first + 2.4 * np.arange(np.prod(shape))), 1).reshape(shape) + 0.0
        )  # no -0.0

    rows = max(gate.block for gate in GATES[cell]) * SMALL_HIDDEN + SMALL_HIDDEN
    shapes = ((rows, SMALL_INPUTS), (rows, SMALL_HIDDEN), (rows,), (rows,))
    w = {
        name: decimals(place, *shape)
        for place, (name, shape) in enumerate(zip(PARAMETERS, shapes, strict=True))
    }
    if cell != "gru":
        w["bias_hh"] *= 0.0  # the lecture has one bias, and only in this cell are there two
    if cell == "lstm":
        w["bias_ih"][SMALL_HIDDEN : 2 * SMALL_HIDDEN] = 1.0
    return w, one_step(cell, w, np.array([0.8, -0.5]), np.array([0.5, -0.3]), np.array([0.9, -0.4]))


def step_of_model(model: ModelFile, text: str | None) -> tuple[str, Step]:
    """The first layer's step on the last character of a text, after those before it; and that text, as the model reads it.

    Without a text: what the model itself writes first, greedily. Raises SettingsError: it knows no such character.
    """
    sampler, vocabulary = Sampler(model, weights="float32"), model.vocabulary
    if text is None:
        ids = next(sampler.generate(decoding=Decoding(temperature=0.0), length=GREEDY_CHARS)).ids
        ids = np.concatenate(
            [[model.start], ids[ids != vocabulary.newline] if model.mode == "lines" else ids]
        )
    else:
        prepared = text if vocabulary.unit == "byte" else prepare(text, model.settings.text)
        codes = vocabulary.codes(prepared)
        ids = vocabulary.lookup(codes)
        if not len(ids):
            raise SettingsError("--text is empty; give at least one character")
        if (ids < 0).any():
            distinct, counts = np.unique(codes[ids < 0], return_counts=True)
            unknown = vocabulary.explain_unknown(
                distinct, counts, "--text", int(np.argmax(ids < 0))
            )
            raise SettingsError(f"{unknown}; retype it")
        if model.mode == "lines":
            ids = np.concatenate([[model.start], ids])
    state = sampler.feed(ids[:-1])[1] if len(ids) > 1 else sampler.zero_state(1)
    h, *c = (part[0, 0] for part in state)
    w = {name: model.tensors[f"recurrent.{name}_l0"] for name in PARAMETERS}
    x = model.tensors["embedding.weight"][ids[-1]]
    read = "".join(chr(vocabulary.symbols[index]) for index in ids)
    return read, one_step(model.settings.model.cell, w, x, h, c[0] if c else None)


def as_dict(
    settings: ModelSettings, vocabulary_size: int, step: Step, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything as plain data, for --json."""
    hidden, layers, embedding = sizes(settings)
    found, forward = matrices(settings, vocabulary_size), flops_per_char(settings, vocabulary_size)
    arrays = {
        "x": step.x,
        "h": step.h,
        "c": step.c,
        "h_after": step.h_after,
        "c_after": step.c_after,
    }
    return {
        "cell": settings.cell,
        "hidden_size": hidden,
        "num_layers": layers,
        "embedding_size": embedding,
        "vocabulary_size": vocabulary_size,
        "skip": settings.skip,
        "tie_weights": settings.tie_weights,
        "equations": [f"{left} = {right}" for left, right, _ in equations(settings.cell)],
        "latex": latex(settings.cell),
        "parameters": sum(each.numbers for each in found),
        "matrices": [dataclasses.asdict(each) for each in found],
        "flops_per_char": {"forward": forward, "forward_backward": 3 * forward, "rule": RULE},
        "step": {
            **about,
            **{name: None if array is None else array.tolist() for name, array in arrays.items()},
            "lines": [dataclasses.asdict(line) for line in step.lines],
        },
    }


def run_model(run: Path, cell: str | None) -> ModelFile:
    """The network of a run. Raises SettingsError where it counts, or is of another cell; CheckpointError."""
    model, shown = read_model(run), one_line(str(run))
    is_of = model.settings.model.cell
    if model.counts:
        raise SettingsError(
            f"{shown} counts n-grams and has no cell to explain; name a run of rnn, lstm or gru"
        )
    if cell is not None and cell != is_of:
        raise SettingsError(
            f"{shown} has the cell {is_of}, not {cell}; ask: charrnn explain {is_of} {shown}"
        )
    return model

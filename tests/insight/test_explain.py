"""charrnn explain against the textbook's equations, the real network and torch's count of work."""

import contextlib
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from charrnn.cli.explain import _width, explain
from charrnn.config import ModelSettings
from charrnn.errors import CheckpointError, SettingsError
from charrnn.insight import explain as explained
from charrnn.insight import lecture
from charrnn.layout import PARAMETERS
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import read_model

CELLS = ("rnn", "lstm", "gru", "gru-before")
E, H, V = 3, 5, 7


def settings_of(cell, **more):
    sizes = {
        "hidden_size": H,
        "num_layers": 2,
        "embedding_size": E,
        "dropout": 0.0,
        "weight_drop": 0.0,
    }
    return ModelSettings(**({"cell": cell} | sizes | more))


def weights(cell):
    rng = np.random.default_rng(3)
    rows = {"rnn": 1, "lstm": 4}.get(cell, 3) * H
    shapes = dict(zip(PARAMETERS, ((rows, E), (rows, H), (rows,), (rows,)), strict=True))
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def step_by_equations(cell, w, x, h, c=None):
    """One step by model/equations.py: (h, c or None)."""
    tensors = {name: torch.from_numpy(np.asarray(value, np.float64)) for name, value in w.items()}
    x, h = (torch.from_numpy(np.asarray(value, np.float64))[None] for value in (x, h))
    if cell == "lstm":
        after = equations.lstm_step(
            x, h, torch.from_numpy(np.asarray(c, np.float64))[None], tensors
        )
        return [part[0].numpy() for part in after]
    step = {
        "rnn": equations.rnn_step,
        "gru": equations.gru_step,
        "gru-before": equations.gru_before_step,
    }[cell]
    return [step(x, h, tensors)[0].numpy(), None]


def with_rows(w, block, bias):
    """The weights with one gate fixed by its bias alone."""
    changed, rows = (
        {name: value.copy() for name, value in w.items()},
        slice(block * H, (block + 1) * H),
    )
    for name, value in changed.items():
        value[rows] = bias if name == "bias_ih" else 0.0
    return changed


RNG = np.random.default_rng(11)
X, STATE, MEMORY = RNG.normal(size=E), RNG.normal(size=H), RNG.normal(size=H)
OPEN, SHUT, NONE = 1e3, -1e3, 0.0  # biases: a gate of 1 or 0; a candidate of 1 (OPEN) or 0 (NONE)


@pytest.mark.parametrize("cell", CELLS)
def test_the_step_is_the_textbooks(cell):
    w = weights(cell)
    step = explained.one_step(cell, w, X, STATE, MEMORY)
    h, c = step_by_equations(cell, w, X, STATE, MEMORY)
    np.testing.assert_allclose(step.h_after, h, rtol=1e-12)
    if c is not None:
        np.testing.assert_allclose(step.c_after, c, rtol=1e-12)


def test_each_gate_of_the_lstm_is_the_textbooks():
    """With the other gates open or shut, the state of the equations shows one gate alone."""
    w = weights("lstm")
    step = explained.one_step("lstm", w, X, STATE, MEMORY)
    ones, zeros = np.ones(H), np.zeros(H)
    forget = step_by_equations("lstm", with_rows(w, 0, SHUT), X, STATE, ones)[1]
    write = step_by_equations("lstm", with_rows(with_rows(w, 1, SHUT), 2, OPEN), X, STATE, zeros)[1]
    candidate = step_by_equations(
        "lstm", with_rows(with_rows(w, 1, SHUT), 0, OPEN), X, STATE, zeros
    )[1]
    shown = step_by_equations("lstm", with_rows(w, 1, OPEN), X, STATE, 1e6 * ones)[0]
    for letter, value in (("f", forget), ("i", write), ("C", candidate), ("o", shown)):
        np.testing.assert_allclose(step.gate(letter), value, rtol=1e-12, err_msg=letter)


@pytest.mark.parametrize("cell", ["gru", "gru-before"])
def test_each_gate_of_the_grus_is_the_textbooks(cell):
    w = weights(cell)
    step = explained.one_step(cell, w, X, STATE)
    candidate = step_by_equations(cell, with_rows(w, 1, SHUT), X, STATE)[0]
    update = 1 - (step_by_equations(cell, with_rows(w, 2, NONE), X, STATE)[0]) / STATE
    np.testing.assert_allclose(step.gate("h"), candidate, rtol=1e-12)
    np.testing.assert_allclose(step.gate("u"), update, rtol=1e-9)
    # Only the candidate sees r: weights that make it tanh(r * STATE) show it.
    bare = with_rows(with_rows(w, 2, NONE), 1, SHUT)
    bare["weight_hh"][2 * H :] = np.eye(H)
    seen = np.arctanh(step_by_equations(cell, bare, X, STATE)[0]) / STATE
    np.testing.assert_allclose(step.gate("r"), seen, rtol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_every_line_adds_up(cell):
    step = explained.one_step(cell, weights(cell), X, STATE, MEMORY)
    assert [(line.gate, line.unit) for line in step.lines] == [
        (gate.letter, unit) for gate in lecture.GATES[cell] for unit in range(H)
    ]
    for line in step.lines:
        assert line.total == pytest.approx(line.from_h + line.from_x + line.bias, abs=1e-12)
        squashed = (
            np.tanh(line.total) if line.gate in ("", "C", "h") else 1 / (1 + np.exp(-line.total))
        )
        assert line.value == pytest.approx(squashed, abs=1e-12)


def test_the_small_lstm_by_hand():
    """f of unit 0 is sigma(0.52) = 0.6271.

    -0.9 x 0.5 + 0.4 x -0.3 + (-0.2 x 0.8 - 0.5 x -0.5) + 1 = 0.52.
    """
    w, step = explained.small_step("lstm")
    assert w["weight_hh"][2].tolist() == [-0.9, 0.4] and w["weight_ih"][2].tolist() == [-0.2, -0.5]
    line = step.lines[0]
    assert (line.gate, line.unit) == ("f", 0)
    parts = [
        round(part, 4) for part in (line.from_h, line.from_x, line.bias, line.total, line.value)
    ]
    assert parts == [-0.57, 0.09, 1.0, 0.52, 0.6271]


@pytest.mark.parametrize("cell", CELLS)
def test_the_small_network_is_the_textbooks_and_has_one_decimal(cell):
    w, step = explained.small_step(cell)
    np.testing.assert_allclose(
        step.h_after, step_by_equations(cell, w, step.x, step.h, step.c)[0], rtol=1e-12
    )
    assert all(np.array_equal(value, np.round(value, 1)) for value in w.values())


# Parameters, work, names


SHAPES = [
    {},
    {"num_layers": 1},
    {"skip": "dense", "num_layers": 3},
    {"skip": "residual"},
    {"tie_weights": True, "embedding_size": H},
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("more", SHAPES)
def test_the_matrices_add_up_to_the_networks_parameters(cell, more):
    settings = settings_of(cell, **more)
    table = explained.matrices(settings, V)
    assert sum(matrix.numbers for matrix in table) == CharModel(settings, V).parameter_count()


@pytest.mark.parametrize("cell", CELLS)
def test_the_slices_named_cover_each_tensor_of_pytorch_once(cell):
    covered = {}
    for matrix in explained.matrices(settings_of(cell), V):
        rows = re.search(r"(\w+_)(?:\{hh,ih\}|(hh|ih))(_l\d)\[(\d+):(\d+)\]", matrix.torch)
        if rows:
            for side in (rows[2],) if rows[2] else ("hh", "ih"):
                covered.setdefault(rows[1] + side + rows[3], []).extend(
                    range(int(rows[4]), int(rows[5]))
                )
    tensors = {
        name.removeprefix("recurrent."): value
        for name, value in CharModel(settings_of(cell), V).named_parameters()
        if name.startswith("recurrent.")
    }
    assert {name: sorted(rows) for name, rows in covered.items()} == {
        name: list(range(len(value))) for name, value in tensors.items()
    }


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru-before"])
def test_the_lectures_letters_name_the_rows_of_pytorch_that_they_are(cell):
    """Mark the lecture's matrix of one gate, turn all into PyTorch's form, and find the mark."""
    for gate in lecture.GATES[cell]:
        written = {}
        for other in lecture.GATES[cell]:
            mark = float(other is gate)
            written |= {
                other.named("W"): torch.full((H, H + E), mark),
                other.named("b"): torch.full((H,), mark),
            }
        marked = equations.lecture_to_torch(cell, written)["weight_hh"][:, 0]
        expected = torch.zeros(len(marked))
        expected[gate.block * H : (gate.block + 1) * H] = gate.sign
        assert torch.equal(marked, expected), gate


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("more", SHAPES)
def test_flops_are_those_that_torch_counts(cell, more):
    settings = settings_of(cell, **more)
    model = CharModel(settings, V).double()
    state = tuple(part.requires_grad_() for part in model.zero_state(1))
    layers = []
    seen = [model.embedding(torch.tensor([2]))]
    forward, both = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with both:
        with forward:
            for k in range(settings.num_layers):
                w = {name: getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS}
                x = torch.cat(seen, 1) if settings.skip == "dense" else seen[-1]
                outputs, _ = equations.run_layer(cell, x[None], tuple(part[k] for part in state), w)
                seen.append(outputs[0])
                layers.append(outputs)
            top = torch.cat(seen, 1) if settings.skip == "dense" else seen[-1]
            logits = top @ model.head.weight.T
        logits.sum().backward()
    assert forward.get_total_flops() == explained.flops_per_char(settings, V)
    assert both.get_total_flops() == 3 * explained.flops_per_char(settings, V)


@pytest.mark.parametrize("cell", CELLS)
def test_the_latex_is_mathematics(cell):
    mathtext = pytest.importorskip("matplotlib.mathtext")
    lines = lecture.latex(cell).split("\n")
    assert (lines[0], lines[-1]) == ("\\begin{aligned}", "\\end{aligned}")
    assert len(lines) == len(lecture.equations(cell)) + 2
    for line in lines[1:-1]:
        assert line.isascii()
        mathtext.MathTextParser("path").parse(
            f"${line.removesuffix(' ' + chr(92) * 2).replace('&', '')}$"
        )
    assert "h_t &=" in lecture.latex(cell) and "h_{t-1}" in lecture.latex(cell)


# The command


def printed(*words, **options):
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(out):
        explain(*words, **options)
        out.flush()
        return out.buffer.getvalue().decode()


@pytest.mark.parametrize("cell", CELLS)
def test_the_page_fits_a_terminal_of_eighty_columns(cell):
    page = printed(cell, num_layers="2", skip="dense", hidden_size="1024")
    assert max(map(_width, page.splitlines())) <= 80
    assert f"{cell}: 2 layers of 1024 units" in page and "FLOPs per character" in page


def test_the_page_of_a_run_has_its_parameters_and_its_step(trained):
    values = json.loads(printed(str(trained), json=True))
    model = read_model(trained)
    assert (
        values["parameters"] == sum(value.size for value in model.tensors.values())
        and values["schema"] == 1
    )
    assert f"{values['parameters']:,}" in printed(values["cell"], trained)
    assert values["step"]["text"].startswith("\n")


def test_the_step_of_a_run_goes_through_all_characters_before_it(trained):
    model = read_model(trained)
    read, step = explained.step_of_model(model, "Ann")
    assert read == "\nAnn"
    w = {name: model.tensors[f"recurrent.{name}_l0"] for name in PARAMETERS}
    state, cell = [np.zeros(len(step.h)), np.zeros(len(step.h))], model.settings.model.cell
    for place, char in enumerate(model.vocabulary.encode(read)):
        if place == 3:
            np.testing.assert_allclose(
                step.h, state[0], atol=1e-5
            )  # the sampler computes in float32
        state = step_by_equations(cell, w, model.tensors["embedding.weight"][char], *state)
    np.testing.assert_allclose(step.h_after, state[0], atol=1e-5)


def test_a_stream_begins_with_the_text_itself(trained):
    stream = dataclasses.replace(read_model(trained), mode="stream")
    assert explained.step_of_model(stream, "A")[1].h.tolist() == [0.0] * 8


def test_without_sizes_it_is_the_network_of_train_names():
    values = json.loads(printed("lstm", json=True))
    assert (values["hidden_size"], values["num_layers"], values["vocabulary_size"]) == (224, 1, 53)
    assert printed() == printed("gru")


@pytest.mark.parametrize(
    ("words", "options", "error", "message"),
    [
        (
            ("rnn", "RUN"),
            {},
            SettingsError,
            "has the cell lstm, not rnn; ask: charrnn explain lstm",
        ),
        (
            ("lstmm",),
            {},
            SettingsError,
            "neither one of rnn, lstm, gru, gru-before nor a run; did you mean lstm?",
        ),
        (("lstmm", "RUN"), {}, SettingsError, "is not one of rnn"),
        (("lstm", "none"), {}, CheckpointError, "no run or checkpoint"),
        (
            ("lstm", "RUN"),
            {"hidden_size": "3"},
            SettingsError,
            "--hidden-size: a run has its own sizes",
        ),
        (("lstm", "RUN"), {"text": "Ann\u20ac"}, SettingsError, "EURO SIGN x1; retype it"),
        (("lstm", "RUN"), {"text": ""}, SettingsError, "--text is empty"),
        (("lstm",), {"text": "a"}, SettingsError, "name a run"),
        (("lstm",), {"hidden_size": "-1"}, SettingsError, "--hidden-size: -1 is below 1"),
        (("lstm",), {"skip": "dense", "tie_weights": True}, SettingsError, "--tie-weights"),
        (("lstm",), {"latex": True, "json": True}, SettingsError, "give one"),
        ((".",), {}, CheckpointError, "holds no model yet"),
    ],
)
def test_bad_input_gets_one_line(trained, tmp_path, monkeypatch, words, options, error, message):
    monkeypatch.chdir(tmp_path)
    places = [
        trained if word == "RUN" else Path(word) if at else word for at, word in enumerate(words)
    ]
    with pytest.raises(error, match=re.escape(message)) as caught:
        printed(*places, **options)
    assert "\n" not in str(caught.value)


def test_a_counting_model_has_no_cell(monkeypatch):
    counting = type(
        "Counting", (), {"counts": True, "settings": type("S", (), {"model": settings_of("ngram")})}
    )()
    monkeypatch.setattr(explained, "read_model", lambda path: counting)
    with pytest.raises(SettingsError, match="counts n-grams"):
        explained.run_model(Path("x"), None)


def test_it_loads_no_torch(charrnn):
    done = charrnn("explain", "gru", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    assert re.search(r"\|\s+numpy$", done.stderr, re.M)
    assert not re.search(r"\|\s+torch$", done.stderr, re.M)


@pytest.mark.filterwarnings("error")
def test_a_saturated_gate_is_0_or_1_without_a_warning():
    w = {name: value * 1e30 for name, value in weights("lstm").items()}
    assert set(explained.one_step("lstm", w, X, STATE, MEMORY).gate("f")) <= {0.0, 1.0}

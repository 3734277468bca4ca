"""The gradient lab against plain autograd, products of Jacobians, powers of a matrix, and what theory says."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fuzz_inputs import FIXTURES
from support import needs_kernel
from torch import nn

from charrnn.config import ModelSettings
from charrnn.errors import CheckpointError, CorpusError
from charrnn.lab import gradients
from charrnn.lab.gradients import (
    Curve,
    Windows,
    about_slowest,
    fitted_rate,
    gradient_norms,
    half_life,
    line_windows,
    shares,
    stream_windows,
)
from charrnn.lab.models import fresh, names_stream
from charrnn.lab.unrolled import linear_step, nats, tensors_of, unroll
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import read_model

V, E, H, N, LAGS = 7, 3, 5, 3, 6
CELLS = ["rnn", "lstm", "gru", "gru-before"]
BACKENDS = [(cell, "func") for cell in CELLS] + [(cell, "torch") for cell in CELLS[:3]]


@pytest.fixture(autouse=True)
def _one_thread_and_seed(one_thread):
    torch.manual_seed(7)


def small(cell, layers=1, skip="none", **more):
    return ModelSettings(
        cell=cell,
        hidden_size=H,
        num_layers=layers,
        embedding_size=E,
        dropout=0.0,
        weight_drop=0.0,
        skip=skip,
        **more,
    )


def windows(read=LAGS + 3):
    return Windows(torch.randint(V, (N, read + 1)), torch.zeros(N, dtype=torch.int64), LAGS)


def by_plain_autograd(model, ids):
    """[h, c][lag - 1] of one text: states passed from character to character, each kept by autograd. From lag 1."""
    state, states = model.zero_state(1), []
    for char in ids[:-1]:
        logits, state = model(char.view(1, 1), state)
        for part in state:
            part.requires_grad_() if part.is_leaf else None
            part.retain_grad()
        states.append(state)
    F.cross_entropy(logits[0], ids[-1:]).backward()
    found = []
    for h, *c in states[-2 : -LAGS - 2 : -1]:
        total = [h.grad[0, 0]]
        for cell in c:  # a state's c is passed on by itself; h = o tanh(c) follows from it too
            tanh = cell[0, 0].tanh()
            total.append(cell.grad[0, 0] + h.grad[0, 0] * (h[0, 0] / tanh) * (1 - tanh**2))
        found.append([float(each.detach().norm()) for each in total])
    return np.array(found).T


@pytest.mark.parametrize(("cell", "backend"), BACKENDS)
def test_norms_are_those_of_plain_autograd(cell, backend):
    model = CharModel(small(cell), V, backend).double()
    texts = windows()
    (layer,) = gradient_norms(model.settings, tensors_of(model), texts)
    for row, ids in enumerate(texts.ids):
        expected = by_plain_autograd(model, ids)
        np.testing.assert_allclose([norms[row, 1:] for norms in layer], expected, rtol=1e-9)


@needs_kernel
@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_the_kernel_to_its_float32(cell):
    model = CharModel(small(cell), V, "kernel")
    texts = windows()
    (layer,) = gradient_norms(model.settings, tensors_of(model), texts)
    np.testing.assert_allclose(
        [norms[0, 1:] for norms in layer], by_plain_autograd(model, texts.ids[0]), rtol=2e-4
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_norms_of_two_layers_are_those_of_torch_cells_by_hand(cell):
    """h of a lower layer reaches the loss upwards too, at its own time and later."""
    model = CharModel(small(cell, layers=2), V, "func").double()
    kind = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell]
    cells = [kind(E, H).double(), kind(H, H).double()]
    for k, each in enumerate(cells):
        each.load_state_dict(
            {
                name: getattr(model.recurrent, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
        )
    texts = windows()
    norms = gradient_norms(model.settings, tensors_of(model), texts)
    states, kept = [None, None], [[], []]
    for ids in texts.ids[1, :-1]:
        below = model.embedding(ids[None])
        for k, each in enumerate(cells):
            after = each(below, states[k])
            states[k] = after
            below = after[0] if cell == "lstm" else after
            kept[k].append(after if cell == "lstm" else (after,))
            for part in kept[k][-1]:
                part.retain_grad()
    F.cross_entropy(model.head(below), texts.ids[1, -1:]).backward()
    for k in (0, 1):
        for part, found in enumerate(norms[k]):
            expected = [float(state[part].grad.norm()) for state in kept[k][: -LAGS - 2 : -1]]
            np.testing.assert_allclose(found[1], expected, rtol=1e-9)


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru-before"])
def test_norms_are_the_lectures_product_of_jacobians(cell):
    model = CharModel(small(cell), V, "func").double()
    tensors, texts = tensors_of(model), windows()
    weights = {
        name: tensors[f"recurrent.{name}_l0"]
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    (layer,) = gradient_norms(model.settings, tensors, texts)
    ids = texts.ids[2]
    h, jacobians = torch.zeros(H, dtype=torch.float64), []
    for char in ids[:-1]:
        x = tensors["embedding.weight"][char][None]
        jacobians.append(
            torch.autograd.functional.jacobian(
                lambda h, x=x: equations.step(cell, x, (h[None],), weights)[0][0], h
            )
        )
        h = equations.step(cell, x, (h[None],), weights)[0][0]
    probabilities = (tensors["head.weight"] @ h + tensors["head.bias"]).softmax(0)
    gradient = (probabilities - F.one_hot(ids[-1], V)) @ tensors["head.weight"]
    for lag in range(LAGS + 1):
        assert layer[0][2, lag] == pytest.approx(float(gradient.norm()), rel=1e-9)
        gradient = gradient @ jacobians[-1 - lag]


def test_a_linear_rnns_norms_are_powers_of_its_matrix():
    model = CharModel(small("rnn"), V, "func").double()
    tensors, texts = tensors_of(model), windows()
    (layer,) = gradient_norms(model.settings, tensors, texts, linear_step)
    at_zero = unroll(model.settings, tensors, texts.ids[:, :-1], step=linear_step).hidden[-1]
    logits = at_zero @ tensors["head.weight"].T + tensors["head.bias"]
    gradient = (
        (logits.softmax(1) - F.one_hot(texts.ids[:, -1], V)) @ tensors["head.weight"]
    ).detach()
    for lag in range(LAGS + 1):
        power = torch.linalg.matrix_power(tensors["recurrent.weight_hh_l0"], lag)
        np.testing.assert_allclose(layer[0][:, lag], (gradient @ power).norm(dim=1), rtol=1e-9)


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.1])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_linear_rnns_rate_is_its_spectral_radius(radius, seed):
    settings = dataclasses.replace(small("rnn"), hidden_size=64)
    tensors = tensors_of(fresh(settings, V, seed))
    matrix = tensors["recurrent.weight_hh_l0"]
    matrix *= radius / np.abs(np.linalg.eigvals(matrix.numpy())).max()
    ids = np.random.default_rng(seed).integers(V, size=500)
    (layer,) = gradient_norms(settings, tensors, stream_windows(ids, 128, seed), linear_step)
    assert fitted_rate(layer[0].mean(0)) == pytest.approx(radius, rel=0.02)


def test_untrained_the_rnn_falls_exponentially_and_the_lstm_with_forget_bias_slower():
    _, held_out, size = names_stream(1)
    texts = stream_windows(held_out, 64, 1)
    means = {}
    for name, cell, bias in (
        ("rnn", "rnn", 1.0),
        ("lstm", "lstm", 1.0),
        ("lstm without", "lstm", 0.0),
    ):
        settings = dataclasses.replace(small(cell, forget_bias=bias), hidden_size=64)
        tensors = tensors_of(fresh(settings, size, 1))
        means[name] = gradient_norms(settings, tensors, texts)[0][-1].mean(0)
        if cell == "rnn":
            radius = gradients.spectral_radius(tensors["recurrent.weight_hh_l0"])
    lags, logs = np.arange(65), np.log(means["rnn"])
    assert np.corrcoef(lags, logs)[0, 1] < -0.999
    rates = {name: fitted_rate(mean) for name, mean in means.items()}
    assert rates["rnn"] < radius < 1
    assert rates["rnn"] < rates["lstm without"] < rates["lstm"] - 0.2 and rates["lstm"] < 1


# The unrolled network


@pytest.mark.parametrize("skip", ["none", "residual", "dense"])
@pytest.mark.parametrize(("cell", "backend"), BACKENDS)
def test_the_unrolled_network_is_the_model(cell, backend, skip):
    model = CharModel(small(cell, layers=3, skip=skip), V, backend).double()
    ids = torch.randint(V, (N, 5))
    logits, _ = model(ids[:, :-1], model.zero_state(N))
    expected = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(
        N, 4
    )
    tensors = tensors_of(model)
    hidden = unroll(model.settings, tensors, ids[:, :-1]).hidden
    torch.testing.assert_close(
        nats(tensors, torch.stack(hidden, 1), ids[:, 1:]), expected, rtol=1e-12, atol=1e-12
    )


def test_tied_weights_are_the_embedding():
    settings = dataclasses.replace(small("rnn"), embedding_size=H, tie_weights=True)
    model = CharModel(settings, V, "func").double()
    ids = torch.randint(V, (N, 2))
    tensors = tensors_of(model)
    found = nats(tensors, unroll(settings, tensors, ids[:, :1]).hidden[0], ids[:, 1])
    logits, _ = model(ids[:, :1], model.zero_state(N))
    torch.testing.assert_close(found, F.cross_entropy(logits[:, 0], ids[:, 1], reduction="none"))


@pytest.mark.parametrize("cell", CELLS)
def test_what_stands_before_a_start_changes_nothing(cell):
    """Nor does the width: the same norms as from the text alone."""
    settings = small(cell)
    tensors = tensors_of(fresh(settings, V, 1))
    texts = windows()
    starts = torch.tensor([2, 0, 1])
    padded = gradient_norms(settings, tensors, texts._replace(starts=starts, lags=5))
    alone = Windows(texts.ids[:1, 2:], torch.zeros(1, dtype=torch.int64), 5)
    for found, expected in zip(padded[0], gradient_norms(settings, tensors, alone)[0], strict=True):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)


def test_a_graph_made_in_pieces_gives_the_same(monkeypatch):
    settings = small("lstm", layers=2)
    tensors, texts = tensors_of(fresh(settings, V, 1)), windows()
    whole = gradient_norms(settings, tensors, texts)
    monkeypatch.setattr(gradients, "MAX_BYTES", 1)
    for layer, expected in zip(gradient_norms(settings, tensors, texts), whole, strict=True):
        np.testing.assert_allclose(layer, expected, rtol=1e-12)


# Places


def test_places_of_a_line_do_not_look_beyond_its_start():
    lines = ["ab", "abcdefgh", "cdefghijkl", "b", "defghijk"]
    text = "".join(line + "\n" for line in lines)
    ids = np.frombuffer(text.encode(), np.uint8)
    found = line_windows(ids, 10, 64, 1)
    assert (
        found.lags == 3
    )  # of which there are fewer places than asked for, so that nothing deeper is chosen
    for row, start in zip(found.ids.numpy(), found.starts.numpy(), strict=True):
        read = bytes(row[start:].astype(np.uint8)).decode()
        assert (
            read[0] == "\n"
            and read.count("\n") == 1 + (read[-1] == "\n")
            and len(read) >= found.lags + 2
        )
        assert any((line + "\n").startswith(read[1:]) for line in lines)


def test_lines_get_as_many_lags_as_enough_places_have():
    ids = np.frombuffer(b"abcdefghijklmnop\n" * 40 + b"abc\n" * 40, np.uint8)
    assert (
        line_windows(ids, 10, 64, 1).lags == 10
    )  # 40 lines have 7 places so deep or deeper, and 6 the next: fewer than 256
    assert line_windows(ids, 10, 9, 1).lags == 9


def test_a_short_stream_gives_fewer_places_and_a_shorter_one_none():
    ids = np.arange(40) % V
    found = stream_windows(ids, 64, 1)
    assert (found.lags, len(found.ids)) == (3, 4)
    with pytest.raises(CorpusError, match="needs 37"):
        stream_windows(ids[:36], 64, 1)
    with pytest.raises(CorpusError, match="no line"):
        line_windows(np.frombuffer(b"ab\n" * 9, np.uint8), 10, 64, 1)


# Figures


def test_figures_worked_by_hand():
    fall = 3.0 * 0.5 ** np.arange(9)
    assert fitted_rate(fall) == pytest.approx(0.5, rel=1e-12)
    assert fitted_rate(np.array([9.0, 1, 8, 4, 2])) == pytest.approx(0.5)  # the farther half only
    assert math.isnan(fitted_rate(np.zeros(9)))
    assert (half_life(0.5), half_life(0.25), half_life(1.0)) == (1.0, 0.5, math.inf)
    assert shares(np.array([2.0, 1, 1])).tolist() == [0.5, 0.75, 1.0]


def test_vanish_gives_the_same_figures_for_a_seed(monkeypatch):
    monkeypatch.setattr(gradients, "STEPS", 3)
    result = gradients.vanish(None, 16, 1, lambda text: None)
    rate = result.columns.index("rate")
    found = {(row[0], row[1], row[2]): row[rate] for row in result.rows}
    assert found["rnn", "untrained", "h"] == pytest.approx(GOLDEN["rnn"], rel=1e-6)
    for cell in ("lstm", "lstm, bias 0"):
        assert found[cell, "untrained", "c"] == pytest.approx(GOLDEN[cell], rel=1e-6)
    assert found["gru", "trained", "h"] == pytest.approx(GOLDEN["gru, trained"], rel=1e-3)
    assert len(result.rows) == 13 and [len(panel.series) for panel in result.panels] == [8, 5, 8, 5]
    assert (
        len({panel.title for panel in result.panels}) == 4
    )  # in the CSV the title alone tells them apart


GOLDEN = {
    "rnn": 0.549579135,
    "lstm, bias 0": 0.622218836,
    "lstm": 0.835387428,
    "gru, trained": 0.64422141,
}


def test_vanish_reads_a_run(trained, charrnn):
    done = charrnn("lab", "vanish", trained, "--json", "--csv", "curves.csv")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[2] for row in lines[0]["rows"]] == ["h", "c"] and lines[0]["settings"]["lags"] >= 3
    assert len(lines) == 1 + 4


def test_vanish_of_a_run_is_that_of_its_model_and_text(trained):
    result = gradients.vanish(trained, 64, 1, lambda text: None)
    model_file = read_model(trained)
    model = CharModel(model_file.settings.model, len(model_file.vocabulary), "func")
    model.load_tensors(
        {name: torch.from_numpy(value) for name, value in model_file.tensors.items()}
    )
    _, ids = gradients.read_run(trained)
    texts = line_windows(ids, model_file.vocabulary.newline, 64, 1)
    start = int(texts.starts[0])
    expected = by_plain_autograd(model.eval().double(), texts.ids[0, start:])
    only = Windows(texts.ids[:1], texts.starts[:1], texts.lags)
    (layer,) = gradient_norms(model_file.settings.model, tensors_of(model), only)
    np.testing.assert_allclose(
        [norms[0, 1:] for norms in layer], expected[:, : texts.lags], rtol=1e-9
    )
    every = gradient_norms(model_file.settings.model, tensors_of(model), texts)[0][0]
    np.testing.assert_allclose(result.panels[0].series[0].y, every.mean(0), rtol=1e-9)


def test_a_model_alone_has_no_text(trained, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="held out"):
        gradients.vanish(tmp_path / "model.safetensors", 64, 1, lambda text: None)


def test_the_sentence_of_a_run_speaks_of_what_is_there():
    fall = np.tile(0.5 ** np.arange(9), (3, 1))
    one, other, none = (
        Curve("rnn", "trained", "h", norms) for norms in (fall, fall**2, np.zeros((3, 9)))
    )
    assert "others" not in about_slowest([one], 8)
    for curves in ([none, other, one], [one, none]):  # a curve without a rate is not the slowest
        assert "leaves 0.500" in about_slowest(curves, 8) and "less by all others" in about_slowest(
            curves, 8
        )
    assert about_slowest([none], 8) == "From 4 characters back on, nothing is left of the gradient."
    assert np.isnan(shares(np.zeros(9))).all()


def test_a_counting_model_and_a_damaged_text_are_called_what_they_are(trained, tmp_path, charrnn):
    shutil.copytree(trained, tmp_path / "run")
    for about in (tmp_path / "run" / "corpus").glob("*.json"):
        about.write_bytes(b"")
    done = charrnn("lab", "vanish", tmp_path / "run")
    assert done.returncode == 3 and "is damaged" in done.stderr
    done = charrnn("lab", "memory", FIXTURES / "0.2.0" / "ngram-lines")
    assert done.returncode == 2 and "counts n-grams" in done.stderr

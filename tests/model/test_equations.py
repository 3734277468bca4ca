"""The textbook's equations: against PyTorch's cells, the lecture's form, numbers worked by hand."""

import math

import pytest
import torch
from torch import nn

from charrnn.model import equations

B = 2
E = 3
H = 5
GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}
LETTERS = {"rnn": [""], "lstm": ["_f", "_i", "_C", "_o"], "gru-before": ["_u", "_r", "_h"]}


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(7)


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def split_weights(cell, inputs=E, hidden=H):
    rows = GATES[cell] * hidden
    return {
        "weight_ih": rand(rows, inputs),
        "weight_hh": rand(rows, hidden),
        "bias_ih": rand(rows),
        "bias_hh": rand(rows),
    }


def lecture_weights(cell):
    weights = {}
    for letter in LETTERS[cell]:
        weights |= {"W" + letter: rand(H, H + E), "b" + letter: rand(H)}
    return weights


def scalar(value):
    return torch.tensor([[value]], dtype=torch.float64)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


# The lecture's form and the split form


def test_lecture_rnn_equals_split_rnn():
    w = lecture_weights("rnn")
    x = rand(B, E)
    h = rand(B, H)
    torch.testing.assert_close(
        equations.rnn_lecture(x, h, w),
        equations.rnn_step(x, h, equations.lecture_to_torch("rnn", w)),
    )


def test_lecture_lstm_equals_split_lstm_in_h_and_c():
    w = lecture_weights("lstm")
    x = rand(B, E)
    h = rand(B, H)
    c = rand(B, H)
    split = equations.lstm_step(x, h, c, equations.lecture_to_torch("lstm", w))
    torch.testing.assert_close(equations.lstm_lecture(x, h, c, w), split)


def test_lecture_gru_equals_split_gru_before():
    w = lecture_weights("gru-before")
    x = rand(B, E)
    h = rand(B, H)
    split = equations.gru_before_step(x, h, equations.lecture_to_torch("gru-before", w))
    torch.testing.assert_close(equations.gru_lecture(x, h, w), split)


def test_lecture_gru_is_not_torch_gru():
    w = lecture_weights("gru-before")
    x = rand(B, E)
    h = rand(B, H)
    after = equations.gru_step(x, h, equations.lecture_to_torch("gru-before", w))
    assert (equations.gru_lecture(x, h, w) - after).abs().max() > 1e-3


def test_lecture_to_torch_puts_the_whole_bias_into_bias_ih():
    w = lecture_weights("lstm")
    split = equations.lecture_to_torch("lstm", w)
    assert split["bias_hh"].abs().max() == 0
    torch.testing.assert_close(
        split["bias_ih"], torch.cat([w["b_i"], w["b_f"], w["b_C"], w["b_o"]])
    )


# The split form and PyTorch's cells


@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNNCell), ("gru", nn.GRUCell)])
def test_split_form_equals_the_cell_of_torch(cell, kind):
    module = kind(E, H).double()
    x = rand(B, E)
    h = rand(B, H)
    step = {"rnn": equations.rnn_step, "gru": equations.gru_step}[cell]
    torch.testing.assert_close(step(x, h, dict(module.named_parameters())), module(x, h))


def test_split_lstm_equals_torch_lstm_cell():
    module = nn.LSTMCell(E, H).double()
    x = rand(B, E)
    h = rand(B, H)
    c = rand(B, H)
    torch.testing.assert_close(
        equations.lstm_step(x, h, c, dict(module.named_parameters())), module(x, (h, c))
    )


@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_run_layer_equals_the_layer_of_torch(cell, kind):
    module = kind(E, H).double()
    x = rand(4, B, E)
    state = tuple(rand(B, H) for _ in range(2 if cell == "lstm" else 1))
    weights = {name.removesuffix("_l0"): value for name, value in module.named_parameters()}
    outputs, last = equations.run_layer(cell, x, state, weights)
    hx = tuple(part.unsqueeze(0) for part in state)
    expected, after = module(x, hx if cell == "lstm" else hx[0])
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(
        last, tuple(part[0] for part in (after if cell == "lstm" else (after,)))
    )


# What the gates do


def test_lecture_gru_with_closed_update_gate_copies_h():
    w = lecture_weights("gru-before")
    x = rand(B, E)
    h = rand(B, H)
    w["b_u"] = torch.full((H,), -1e3, dtype=torch.float64)  # u = sigmoid(-1000) = 0 exactly
    assert torch.equal(equations.gru_lecture(x, h, w), h)


@pytest.mark.parametrize("step", [equations.gru_step, equations.gru_before_step])
def test_z_of_one_copies_h(step):
    w = split_weights("gru")
    x = rand(B, E)
    h = rand(B, H)
    w["bias_ih"][H : 2 * H] = 1e3
    assert torch.equal(step(x, h, w), h)


def test_gru_and_gru_before_differ_with_the_same_weights():
    w = split_weights("gru")
    x = rand(B, E)
    h = rand(B, H)
    assert (equations.gru_step(x, h, w) - equations.gru_before_step(x, h, w)).abs().max() > 1e-3


def test_gru_and_gru_before_agree_from_the_zero_state_without_biases_in_hh():
    w = split_weights("gru")
    x = rand(B, E)
    h = torch.zeros(B, H, dtype=torch.float64)
    w["bias_hh"].zero_()
    torch.testing.assert_close(equations.gru_step(x, h, w), equations.gru_before_step(x, h, w))


def test_lstm_with_open_forget_and_closed_input_gate_keeps_c():
    w = split_weights("lstm")
    x = rand(B, E)
    h = rand(B, H)
    c = rand(B, H)
    w["bias_ih"][:H] = -1e3
    w["bias_ih"][H : 2 * H] = 1e3
    assert torch.equal(equations.lstm_step(x, h, c, w)[1], c)


# One unit, by hand


def test_rnn_of_one_unit_by_hand():
    w = {
        "weight_ih": scalar(2.0),
        "weight_hh": scalar(-1.0),
        "bias_ih": scalar(0.25)[0],
        "bias_hh": scalar(0.5)[0],
    }
    assert equations.rnn_step(scalar(0.5), scalar(0.75), w).item() == pytest.approx(
        math.tanh(2 * 0.5 - 0.75 + 0.75)
    )


def column(*values):
    return torch.tensor([[value] for value in values], dtype=torch.float64)


def test_lstm_of_one_unit_by_hand():
    w = {
        "weight_ih": column(1, 2, 3, 4),
        "weight_hh": column(-1, 1, -2, 2),
        "bias_ih": column(0.5, 1, 0, 0)[:, 0],
        "bias_hh": column(0, 0, 0.25, -1)[:, 0],
    }
    x = 0.5
    h = 0.25
    c = -0.75
    i = sigmoid(1 * x - h + 0.5)
    f = sigmoid(2 * x + h + 1)
    g = math.tanh(3 * x - 2 * h + 0.25)
    o = sigmoid(4 * x + 2 * h - 1)
    c_next = f * c + i * g
    got = equations.lstm_step(scalar(x), scalar(h), scalar(c), w)
    assert [part.item() for part in got] == pytest.approx([o * math.tanh(c_next), c_next])


@pytest.mark.parametrize("before", [False, True])
def test_gru_of_one_unit_by_hand(before):
    w = {
        "weight_ih": column(1, 2, 3),
        "weight_hh": column(-1, 1, -2),
        "bias_ih": column(0.5, -1, 0.25)[:, 0],
        "bias_hh": column(0.125, 0.5, 2)[:, 0],
    }
    x = 0.5
    h = 0.25
    r = sigmoid(x - h + 0.5 + 0.125)
    z = sigmoid(2 * x + h - 1 + 0.5)
    inside = -2 * (r * h) + 2 if before else r * (-2 * h + 2)
    expected = z * h + (1 - z) * math.tanh(3 * x + 0.25 + inside)
    step = equations.gru_before_step if before else equations.gru_step
    assert step(scalar(x), scalar(h), w).item() == pytest.approx(expected)

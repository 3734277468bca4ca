"""The fast cells against equations.py and against numerical gradients."""

import pytest
import torch
from torch import nn

from charrnn.model import equations
from charrnn.model.recurrent import folded_bias, run_own, torch_layer

T = 3
B = 2
E = 4
H = 5
GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}
CELLS = tuple(GATES)
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

cells = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(3)


def case(cell, dtype=torch.float64, time=T, batch=B):
    """Return inputs, state and weights of one layer, leaves that want gradients, no state zero."""

    def leaf(*shape):
        return (torch.randn(*shape, dtype=dtype) * 0.7).requires_grad_()

    rows = GATES[cell] * H
    x = leaf(time, batch, E)
    state = tuple(leaf(batch, H) for _ in range(2 if cell == "lstm" else 1))
    return (
        x,
        state,
        dict(zip(NAMES, (leaf(rows, E), leaf(rows, H), leaf(rows), leaf(rows)), strict=True)),
    )


def run(cell, x, state, w):
    """The layer as CharModel runs it."""
    bias, bias_hn = folded_bias(cell, w["bias_ih"], w["bias_hh"])
    return run_own(
        cell, nn.functional.linear(x, w["weight_ih"], bias), state, w["weight_hh"], bias_hn
    )


def readings(outputs, last, weighing):
    """Return one number that weighs every output and every part of the last state differently."""
    return sum(
        (part * weight).sum() for part, weight in zip((outputs, *last), weighing, strict=True)
    )


def outputs_and_gradients(runner, cell, x, state, w, weighing):
    leaves = [x, *state, *w.values()]
    outputs, last = runner(cell, x, state, w)
    return (outputs, *last), torch.autograd.grad(readings(outputs, last, weighing), leaves)


def weights_for(cell, dtype, time=T):
    return [
        torch.randn(time, B, H, dtype=dtype),
        *(torch.randn(B, H, dtype=dtype) for _ in range(2 if cell == "lstm" else 1)),
    ]


# float64: the same formulas in another order, a few hundred roundings of 1e-16. float32: of 1e-7.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("time", [1, T, 17])
@cells
def test_own_equals_the_equations_in_outputs_state_and_every_gradient(cell, time, dtype, tolerance):
    made = case(cell, dtype, time)
    weighing = weights_for(cell, dtype, time)
    own, own_grads = outputs_and_gradients(run, cell, *made, weighing)
    reference, reference_grads = outputs_and_gradients(equations.run_layer, cell, *made, weighing)
    for got, expected in zip((*own, *own_grads), (*reference, *reference_grads), strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@cells
def test_gradients_equal_numerical_ones_through_outputs_and_last_state(cell):
    x, state, w = case(cell)
    bias, bias_hn = folded_bias(cell, w["bias_ih"], w["bias_hh"])
    gates = nn.functional.linear(x, w["weight_ih"], bias).detach().requires_grad_()
    leaves = [gates, *state, w["weight_hh"]] + (
        [bias_hn.detach().requires_grad_()] if cell == "gru" else []
    )

    def layer(gates, *rest):
        count = len(state)
        outputs, last = run_own(
            cell, gates, rest[:count], rest[count], rest[count + 1] if cell == "gru" else None
        )
        return outputs, *last

    assert torch.autograd.gradcheck(layer, leaves)


@cells
def test_gradient_of_the_last_state_alone_equals_the_equations(cell):
    made = case(cell)
    weighing = [torch.zeros(T, B, H, dtype=torch.float64), *weights_for(cell, torch.float64)[1:]]
    own = outputs_and_gradients(run, cell, *made, weighing)[1]
    reference = outputs_and_gradients(equations.run_layer, cell, *made, weighing)[1]
    for got, expected in zip(own, reference, strict=True):
        torch.testing.assert_close(got, expected)


def test_lstm_gradient_without_any_use_of_the_last_cell_state_equals_the_equations():
    x, state, w = case("lstm")
    own, reference = (
        torch.autograd.grad(runner("lstm", x, state, w)[0].square().sum(), [x, *state, *w.values()])
        for runner in (run, equations.run_layer)
    )
    for got, expected in zip(own, reference, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("cut", [1, 3, 4])
@cells
def test_a_sequence_in_two_pieces_equals_the_whole(cell, cut):
    x, state, w = case(cell, time=5)
    weighing = weights_for(cell, torch.float64, 5)
    leaves = [x, *state, *w.values()]

    def pieces(cell, x, state, w):
        first, middle = run(cell, x[:cut], state, w)
        second, last = run(cell, x[cut:], middle, w)
        return torch.cat([first, second]), last

    whole, whole_grads = outputs_and_gradients(run, cell, x, state, w, weighing)
    parts, part_grads = outputs_and_gradients(pieces, cell, x, state, w, weighing)
    assert len(part_grads) == len(leaves)
    for got, expected in zip((*parts, *part_grads), (*whole, *whole_grads), strict=True):
        torch.testing.assert_close(got, expected)


@cells
def test_gradient_of_a_gradient_raises_instead_of_giving_wrong_numbers(cell):
    x, state, w = case(cell)
    outputs, _ = run(cell, x, state, w)
    (first,) = torch.autograd.grad(outputs.square().sum(), w["weight_hh"], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        (first.square().sum() + w["weight_hh"].sum()).backward()


@cells
def test_backward_twice_over_a_kept_graph_gives_the_same_numbers(cell):
    """The loops over time work in place; what they saved must survive them."""
    x, state, w = case(cell)
    loss = readings(*run(cell, x, state, w), weights_for(cell, torch.float64))
    first = torch.autograd.grad(loss, [x, *state, *w.values()], retain_graph=True)
    for got, expected in zip(
        torch.autograd.grad(loss, [x, *state, *w.values()]), first, strict=True
    ):
        assert torch.equal(got, expected)


@cells
def test_gradients_that_come_in_are_left_as_they_were(cell):
    x, state, w = case(cell)
    outputs, last = run(cell, x, state, w)
    incoming = [torch.randn_like(part) for part in (outputs, *last)]
    kept = [part.clone() for part in incoming]
    torch.autograd.grad((outputs, *last), w["weight_hh"], incoming)
    assert all(torch.equal(part, before) for part, before in zip(incoming, kept, strict=True))


@cells
def test_inputs_and_state_are_left_as_they_were(cell):
    x, state, w = case(cell)
    gates = nn.functional.linear(x, w["weight_ih"]).detach()
    kept = gates.clone()
    kept_state = [part.clone() for part in state]
    run_own(
        cell, gates, state, w["weight_hh"], w["bias_hh"][2 * H : 3 * H] if cell == "gru" else None
    )
    assert torch.equal(gates, kept)
    assert all(torch.equal(part, before) for part, before in zip(state, kept_state, strict=True))


@cells
def test_lines_of_a_batch_do_not_touch_each_other(cell):
    x, state, w = case(cell)
    alone, last = run(cell, x[:, 1:], tuple(part[1:] for part in state), w)
    together, both = run(cell, x, state, w)
    torch.testing.assert_close(alone, together[:, 1:])
    torch.testing.assert_close(last, tuple(part[1:] for part in both))


@cells
def test_without_gradients_the_outputs_are_the_same(cell):
    x, state, w = case(cell)
    with torch.no_grad():
        quiet = run(cell, x, state, w)[0]
    assert torch.equal(quiet, run(cell, x, state, w)[0])


def test_folded_bias_leaves_b_hn_inside_the_reset_product():
    bias_ih = torch.arange(6.0)
    bias_hh = torch.tensor([10.0, 20, 30, 40, 50, 60])
    bias, bias_hn = folded_bias("gru", bias_ih, bias_hh)
    assert bias.tolist() == [10, 21, 32, 43, 4, 5]
    assert bias_hn.tolist() == [50, 60]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru-before"])
def test_folded_bias_of_the_others_is_the_sum(cell):
    bias, bias_hn = folded_bias(cell, torch.tensor([1.0]), torch.tensor([2.0]))
    assert bias.tolist() == [3.0]
    assert bias_hn is None


def test_torch_layer_draws_no_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch_layer("lstm", E, H)
    assert torch.equal(torch.rand(3), expected)


def test_torch_has_no_layer_for_gru_before():
    with pytest.raises(KeyError):
        torch_layer("gru-before", E, H)

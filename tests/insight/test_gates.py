"""One step in numpy against the textbook's equations, and what its sums are made of."""

import numpy as np
import pytest
import torch

from charrnn.insight import gates
from charrnn.layout import GATES, PARAMETERS
from charrnn.model import equations

CELLS = ("rnn", "lstm", "gru", "gru-before")
E, H = 3, 5
RNG = np.random.default_rng(7)
X = RNG.normal(size=E)
STATE = RNG.normal(size=H)
MEMORY = RNG.normal(size=H)


def parameters_of(cell):
    rows = GATES[cell] * H
    shapes = ((rows, E), (rows, H), (rows,), (rows,))
    return [np.random.default_rng(3).normal(size=shape) for shape in shapes]


def state_of(cell):
    return (STATE, MEMORY) if cell == "lstm" else (STATE,)


def step_of(cell, dtype=np.float64):
    weights = gates.weights_of(cell, [part.astype(dtype) for part in parameters_of(cell)])
    state = tuple(part.astype(dtype) for part in state_of(cell))
    return gates.advance(cell, weights, X.astype(dtype), state)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_is_that_of_the_equations(cell):
    w = dict(zip(PARAMETERS, map(torch.from_numpy, parameters_of(cell)), strict=True))
    state = tuple(torch.from_numpy(part)[None] for part in state_of(cell))
    expected = equations.step(cell, torch.from_numpy(X)[None], state, w)
    for part, reference in zip(step_of(cell).state, expected, strict=True):
        np.testing.assert_allclose(part, reference[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_parts_add_up_to_the_sums_and_the_gates_are_their_squashes(cell):
    step = step_of(cell)
    bias = gates.weights_of(cell, parameters_of(cell)).bias
    np.testing.assert_allclose(step.sums, step.from_h + step.from_x + bias, rtol=1e-12)
    candidate = {"rnn": 0}.get(cell, 2)
    for row, (total, gate) in enumerate(zip(step.sums, step.gates, strict=True)):
        is_update = row == 1 and cell.startswith("gru")
        sigma = 1 / (1 + np.exp(total if is_update else -total))
        expected = np.tanh(total) if row == candidate else sigma
        np.testing.assert_allclose(gate, expected, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_in_float32_stays_there_and_leaves_the_state_before_it_alone(cell):
    step = step_of(cell, np.float32)
    arrays = (step.from_h, step.from_x, step.sums, step.gates, *step.state)
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    exact = step_of(cell)
    for part, other in zip(step.state, exact.state, strict=True):
        np.testing.assert_allclose(part, other, rtol=0, atol=1e-5)  # float32 against float64
    weights = gates.weights_of(cell, parameters_of(cell))
    state = tuple(part.copy() for part in state_of(cell))
    gates.advance(cell, weights, X, state)
    for part, before in zip(state, state_of(cell), strict=True):
        np.testing.assert_array_equal(part, before)


def test_a_saturated_logistic_is_0_or_1_without_a_warning():
    with np.errstate(all="raise"):
        assert gates.logistic(np.array([-1e30, 0.0, 1e30])).tolist() == [0.0, 0.5, 1.0]

"""The compiled layer: equal to torch.nn and to the equations, to itself however the work is cut up,
and clean under the sanitizers. test_recurrent.py asks the same of the cells in PyTorch.
"""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_support import LEVELS
from layer_support import (
    GATES,
    assert_close,
    assert_equal,
    at_level,
    cells,
    compiled,
    everything,
    independent,
    looked_up,
    some_layer,
)
from support import needs_kernel

from charrnn.model import kernel
from charrnn.model.recurrent import folded_bias, run_own

pytestmark = needs_kernel


HIDDEN, BATCH, TIME, INPUTS = (1, 15, 16, 17, 48, 65), (1, 2, 7, 50), (1, 3, 17), (1, 5, 33)


def in_pytorch(layer):
    """As CharModel's backend "func" runs it."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.weights
    bias, bias_hn = folded_bias(layer.cell, bias_ih, bias_hh)
    return run_own(
        layer.cell, F.linear(looked_up(layer), weight_ih, bias), layer.state, weight_hh, bias_hn
    )


# Against others


def assert_layer_is_right(cell, hidden, batch, time, inputs, ids, reference=independent, **more):
    layer = some_layer(cell, hidden, batch, time, inputs, ids=ids, **more)
    found, expected = (
        everything(compiled, layer),
        everything(reference, layer.leaves(torch.float64)),
    )
    assert_close(found, expected, f"of {cell}, H={hidden} B={batch} T={time} K={inputs}, ids={ids}")


@cells
def test_outputs_states_and_gradients_are_those_of_torch_and_the_equations(cell, level):
    """Every hidden size with every batch; time, inputs and ids change from one to the next."""
    others = itertools.cycle(itertools.product(TIME, (False, True), INPUTS))
    for (hidden, batch), (time, ids, inputs) in zip(
        itertools.product(HIDDEN, BATCH), others, strict=False
    ):
        assert_layer_is_right(cell, hidden, batch, time, inputs, ids)


@pytest.mark.slow
@cells
def test_outputs_states_and_gradients_of_all_sizes_are_those_of_torch_and_the_equations(
    cell, level
):
    for hidden, batch, time, inputs, ids in itertools.product(
        HIDDEN, BATCH, TIME, INPUTS, (False, True)
    ):
        assert_layer_is_right(cell, hidden, batch, time, inputs, ids)


@cells
def test_more_rows_inputs_and_characters_than_a_block_are_right(cell, level):
    """Blocks are of 256: rows of a step, inputs, and places of a sum over time and batch."""
    assert_layer_is_right(cell, 3, 261, 2, 3, False)
    assert_layer_is_right(cell, 17, 3, 2, 300, True, vocabulary=300)
    assert_layer_is_right(cell, 16, 1, 300, 2, True)


@st.composite
def layers(draw):
    return some_layer(
        draw(st.sampled_from(list(GATES))),
        draw(st.integers(1, 70)),
        draw(st.integers(1, 13)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, 40)),
        ids=draw(st.booleans()),
        vocabulary=draw(st.integers(1, 20)),
        seed=draw(st.integers(0, 999)),
    )


def assert_kernel_is_func(layer, level, threads):
    """Weights may be such that small differences grow from step to step: 16 times what float32
    loses in PyTorch is let (seen: 6, where a state of one unit is multiplied by -1.77 eight times;
    kernel/level.h allows its tanh 3e-7).
    """
    expected = everything(in_pytorch, layer.leaves(torch.float64))
    lost = [
        (one - other).abs().max().item() / max(1.0, other.abs().max().item())
        for one, other in zip(
            everything(in_pytorch, layer.leaves(torch.float32)), expected, strict=True
        )
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "library", lambda: at_level(level))
        patch.setattr(kernel, "threads_for", lambda work, rows: min(threads, rows))
        assert_close(everything(compiled, layer), expected, tolerance=max(1e-5, 16 * max(lost)))


@settings(max_examples=60, deadline=None)
@given(layers(), st.sampled_from(LEVELS), st.integers(1, 4))
def test_layers_of_any_size_equal_those_in_pytorch(layer, level, threads):
    assert_kernel_is_func(layer, level, threads)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(layers(), st.sampled_from(LEVELS), st.integers(1, 4))
def test_layers_of_any_size_equal_those_in_pytorch_thousands_of_times(layer, level, threads):
    assert_kernel_is_func(layer, level, threads)


@pytest.mark.parametrize("ids", [False, True])
@cells
def test_any_number_of_threads_gives_the_same_bits(cell, ids, level, team):
    # Batches whose shares are tiles of every height, with rows left over.
    for hidden, batch in ((1, 2), (17, 5), (33, 7), (65, 13), (48, 50)):
        layer = some_layer(cell, hidden, batch, ids=ids)
        torch.set_num_threads(1)
        alone = everything(compiled, layer)
        for threads in (2, 3, 5):
            torch.set_num_threads(threads)
            assert_equal(
                everything(compiled, layer), alone, f"H={hidden} B={batch} on {threads} threads"
            )
            with torch.no_grad():
                assert torch.equal(compiled(layer)[0], alone[0])


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("kept", [True, False])
@cells
def test_more_threads_than_a_team_may_have_give_the_same_bits(cell, kept, ids, team, monkeypatch):
    """A team has 64 at most: each then has more rows than it would have had among 150, and needs
    room for them.
    """
    layer = some_layer(cell, 16, 600, time=3, ids=ids)
    with torch.set_grad_enabled(kept):
        alone = everything(compiled, layer) if kept else compiled(layer)[0]
        monkeypatch.setattr(kernel, "threads_for", lambda work, rows: 150)
        for _ in range(3):
            crowd = everything(compiled, layer) if kept else compiled(layer)[0]
            assert_equal(crowd if kept else [crowd], alone if kept else [alone])


@cells
def test_lines_of_a_batch_do_not_touch_each_other(cell, level):
    layer = some_layer(cell, batch=7)
    alone = replace(layer, x=layer.x[:, 5:], state=tuple(part[5:] for part in layer.state))
    outputs, last = compiled(layer)
    assert_equal(
        (outputs[:, 5:], *(part[5:] for part in last)), (compiled(alone)[0], *compiled(alone)[1])
    )


@pytest.mark.parametrize("cut", [1, 3, 4])
@cells
def test_a_sequence_in_two_pieces_equals_the_whole(cell, cut):
    layer = some_layer(cell, time=5)

    def pieces(layer):
        first, middle = compiled(replace(layer, x=layer.x[:cut]))
        second, last = compiled(replace(layer, x=layer.x[cut:], state=middle))
        return torch.cat([first, second]), last

    count = 1 + len(layer.state)
    whole, parts = everything(compiled, layer), everything(pieces, layer)
    assert_equal(parts[:count], whole[:count])
    assert_close(parts, whole)  # gradients are summed in another order

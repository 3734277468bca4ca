"""The compiled layer: with and without gradients, however its inputs lie in memory."""

from dataclasses import replace

import pytest
import torch
from layer_support import (
    NAMES,
    VOCABULARY,
    Layer,
    assert_close,
    assert_equal,
    at_level,
    cells,
    compiled,
    everything,
    independent,
    new_memory_full_of_nan,
    readings,
    some_layer,
    strided,
    turned,
)
from support import needs_kernel

from charrnn.model import kernel, kernel_scores

pytestmark = needs_kernel


# With and without gradients


@pytest.mark.parametrize("ids", [False, True])
@cells
def test_without_gradients_the_bits_are_the_same_and_nothing_is_kept(cell, ids, level, monkeypatch):
    for hidden, batch in ((17, 7), (48, 50), (3, 261)):
        layer = some_layer(cell, hidden, batch, ids=ids)
        outputs, last = compiled(layer)
        seen = []
        watched = at_level(level)
        forward = watched.charrnn_layer_forward
        watched.charrnn_layer_forward = lambda job, forward=forward, seen=seen: (
            seen.append(job._obj.saved) or forward(job)
        )
        monkeypatch.setattr(kernel, "library", lambda watched=watched: watched)
        with torch.no_grad():
            quiet = compiled(layer)
        x, state, weights = layer.x, layer.state, layer.weights
        plain = compiled(
            Layer(
                cell,
                layer.ids,
                x.detach(),
                *(tuple(p.detach() for p in ps) for ps in (state, weights)),
            )
        )
        for found in (quiet, plain):
            assert_equal((found[0], *found[1]), (outputs, *last))
            assert found[0].grad_fn is None
        assert seen == [None, None]


@pytest.mark.parametrize("ids", [False, True])
@cells
def test_what_no_gradient_is_wanted_for_changes_none_of_the_others(cell, ids):
    layer = some_layer(cell, ids=ids)
    expected = dict(enumerate(everything(compiled, layer)[1 + len(layer.state) :]))
    for wanted in (
        [0],
        [1],
        [len(layer.state) + 1],
        [len(layer.state) + 2],
        [len(layer.state) + 3, len(layer.state) + 4],
    ):
        for index, part in enumerate(layer.tensors):
            part.requires_grad_(index in wanted)
        leaves = [part for part in layer.tensors if part.requires_grad]
        assert_equal(
            torch.autograd.grad(readings(*compiled(layer)), leaves),
            [expected[index] for index in wanted],
        )


@cells
def test_gradient_of_the_last_state_alone_is_right(cell, level):
    layer = some_layer(cell)
    found, expected = (
        torch.autograd.grad(sum(part.square().sum() for part in runner(each)[1]), each.tensors)
        for runner, each in ((compiled, layer), (independent, layer.leaves(torch.float64)))
    )
    assert_close(found, expected)


def test_gradient_of_an_lstm_without_any_use_of_its_last_cell_state_is_right(level):
    layer = some_layer("lstm")
    found, expected = (
        torch.autograd.grad(runner(each)[0].square().sum(), each.tensors)
        for runner, each in ((compiled, layer), (independent, layer.leaves(torch.float64)))
    )
    assert_close(found, expected)


def test_gradient_of_an_lstm_of_its_last_cell_state_alone_is_right(level):
    layer = some_layer("lstm")
    found, expected = (
        torch.autograd.grad(runner(each)[1][1].square().sum(), each.tensors)
        for runner, each in ((compiled, layer), (independent, layer.leaves(torch.float64)))
    )
    assert_close(found, expected)


@cells
def test_backward_twice_over_a_kept_graph_gives_the_same_bits(cell):
    for hidden in (16, 17):  # 16: nothing is padded, so that nothing is copied
        layer = some_layer(cell, hidden)
        total = readings(*compiled(layer))
        first = torch.autograd.grad(total, layer.tensors, retain_graph=True)
        assert_equal(torch.autograd.grad(total, layer.tensors), first)


@pytest.mark.parametrize("hidden", [16, 17])
@pytest.mark.parametrize("ids", [False, True])
@cells
def test_whatever_comes_in_is_left_as_it_was(cell, ids, hidden):
    layer = some_layer(cell, hidden, ids=ids)
    outputs, last = compiled(layer)
    incoming = [torch.randn_like(part) for part in (outputs, *last)]
    given = [*layer.tensors, *incoming, outputs, *last] + ([layer.ids] if ids else [])
    kept = [part.detach().clone() for part in given]
    torch.autograd.grad((outputs, *last), layer.tensors, incoming, retain_graph=True)
    torch.autograd.grad(
        outputs, layer.tensors, incoming[0]
    )  # alone it is not added to that of the last state
    compiled(layer)
    assert_equal(given, kept)
    assert_equal(layer.leaves().tensors, some_layer(cell, hidden, ids=ids).tensors)


@cells
def test_gradient_of_a_gradient_raises_instead_of_giving_wrong_numbers(cell):
    layer = some_layer(cell)
    (first,) = torch.autograd.grad(
        compiled(layer)[0].square().sum(), layer.weights[1], create_graph=True
    )
    with pytest.raises(RuntimeError, match="differentiate twice"):
        (first.square().sum() + layer.weights[1].sum()).backward()


@pytest.mark.parametrize("hidden", [16, 17])
@pytest.mark.parametrize("ids", [False, True])
@cells
def test_how_inputs_state_and_weights_lie_in_memory_changes_no_bit(cell, ids, hidden):
    layer = some_layer(cell, hidden, ids=ids)
    expected = everything(compiled, layer)
    for change in (strided, turned):
        moved = replace(
            layer,
            ids=layer.ids.t().contiguous().t() if ids else None,
            x=change(layer.x),
            state=tuple(map(change, layer.state)),
            weights=tuple(map(strided, layer.weights)),
        )
        assert not moved.x.is_contiguous() and not moved.state[0].is_contiguous()
        assert_equal(everything(compiled, moved), expected, change.__name__)


@cells
def test_expanded_inputs_and_states_are_as_written_out(cell):
    layer = some_layer(cell)
    wide = replace(
        layer,
        x=layer.x.detach()[:1].expand(4, -1, -1),
        state=tuple(part.detach()[:1].expand(3, -1) for part in layer.state),
    )
    dense = replace(
        wide, x=wide.x.contiguous(), state=tuple(part.contiguous() for part in wide.state)
    )
    found, expected = (
        torch.autograd.grad(readings(*compiled(each)), each.weights) for each in (wide, dense)
    )
    assert_equal(found, expected)


@pytest.mark.parametrize("hidden", [16, 17])
@cells
def test_how_incoming_gradients_lie_in_memory_changes_no_bit(cell, hidden):
    layer = some_layer(cell, hidden)
    outputs, last = compiled(layer)
    incoming = [torch.randn_like(part) for part in (outputs, *last)]

    def gradients(*incoming):
        return torch.autograd.grad((outputs, *last), layer.tensors, incoming, retain_graph=True)

    for change in (strided, turned):
        assert_equal(gradients(*map(change, incoming)), gradients(*incoming))
    # what .sum() sends back: one number, expanded
    one = [torch.tensor(0.3).expand(part.shape) for part in incoming]
    assert_equal(gradients(*one), gradients(*(part.contiguous() for part in one)))


@pytest.mark.parametrize("hidden", [16, 17])
@pytest.mark.parametrize("ids", [False, True])
@cells
def test_what_new_memory_held_before_changes_no_bit(cell, ids, hidden, level):
    layer = some_layer(
        cell, hidden, ids=ids, vocabulary=12
    )  # 12 ids: some rows of x are never read
    expected = everything(compiled, layer)
    with new_memory_full_of_nan():
        assert_equal(everything(compiled, layer), expected)


# Numbers far out


@pytest.mark.parametrize("part", ["x", "h", "c", *NAMES])
@cells
def test_nan_reaches_the_outputs_it_reaches_in_torch(cell, part, level):
    """Else a training that has diverged would go on."""
    if part == "c" and cell != "lstm":
        pytest.skip("no c")
    layer = some_layer(cell)
    where = {"x": layer.x, "h": layer.state[0], "c": layer.state[-1]} | dict(
        zip(NAMES, layer.weights, strict=True)
    )
    for place in (0, -1):
        with torch.no_grad():
            kept = where[part].view(-1)[place].item()
            where[part].view(-1)[place] = float("nan")
        (outputs, last), (expected, after) = compiled(layer), independent(layer)
        assert outputs.isnan().any()
        assert_equal(
            [each.isnan() for each in (outputs, *last)],
            [each.isnan() for each in (expected, *after)],
        )
        with torch.no_grad():
            where[part].view(-1)[place] = kept


@pytest.mark.parametrize("size", [1e4, 1e30])
@cells
def test_gates_far_out_give_the_numbers_of_torch_and_no_nan(cell, size, level):
    """Gates are 0 or 1 there to 1e-8, so that nearly all gradients vanish, but none by way of
    infinity.
    """
    layer = some_layer(cell)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.weights[2].copy_(
            size * (torch.randint(0, 2, layer.weights[2].shape, generator=generator) * 2 - 1)
        )
    found, expected = (
        everything(compiled, layer),
        everything(independent, layer.leaves(torch.float64)),
    )
    assert all(part.isfinite().all() for part in found)
    assert_close(found, expected)
    assert (
        found[-2].abs().max() < 1e-5 or cell == "gru-before"
    )  # bias_ih: nothing there moves a gate


# What cannot be computed


@pytest.mark.parametrize("part", ["x", "h", "c", *NAMES])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_type_of_numbers_is_refused(part, dtype):
    layer = some_layer("lstm")
    changed = {
        "x": lambda: replace(layer, x=layer.x.to(dtype)),
        "h": lambda: replace(layer, state=(layer.state[0].to(dtype), layer.state[1])),
        "c": lambda: replace(layer, state=(layer.state[0], layer.state[1].to(dtype))),
    } | {
        name: lambda k=k: replace(
            layer,
            weights=tuple(
                each.to(dtype) if k == j else each for j, each in enumerate(layer.weights)
            ),
        )
        for k, name in enumerate(NAMES)
    }
    with pytest.raises(TypeError, match="float32"):
        compiled(changed[part]())


def test_ids_of_another_type_are_refused():
    layer = some_layer("rnn", ids=True)
    with pytest.raises(TypeError, match="int64"):
        compiled(replace(layer, ids=layer.ids.int()))


def test_another_device_is_refused():
    layer = some_layer("rnn")
    with pytest.raises(TypeError, match="meta"):
        compiled(replace(layer, x=layer.x.detach().to("meta")))


@pytest.mark.parametrize("bad", [-1, VOCABULARY, 2**32, -(2**63)])
def test_an_id_without_a_row_is_refused(bad):
    layer = some_layer("rnn", ids=True)
    layer.ids[1, 2] = bad
    with pytest.raises(IndexError, match="id"):
        compiled(layer)


@cells
def test_too_little_memory_is_a_memory_error(cell, monkeypatch):
    """Scratch for 2^40 threads is more than any address space; the arrays are not touched before it
    is there.
    """
    layer = some_layer(cell)
    outputs, _ = compiled(layer)
    monkeypatch.setattr(kernel, "threads_for", lambda work, rows: 1 << 40)
    with pytest.raises(MemoryError):
        compiled(layer)
    with pytest.raises(MemoryError):
        outputs.sum().backward()


def test_too_little_memory_for_a_product_is_a_memory_error():
    with pytest.raises(MemoryError):
        kernel_scores.product(torch.zeros(0, 1), torch.zeros(1, 1).expand(1, 1 << 44))

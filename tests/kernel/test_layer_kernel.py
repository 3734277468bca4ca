"""The compiled layer: equal to torch.nn and to the equations, to itself however the work is cut up, and clean under the
sanitizers. test_recurrent.py asks the same of the cells in PyTorch.
"""

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs_kernel
from test_kernel import ADDRESSES, LEVELS, changed, races, sanitized
from torch import Tensor, nn
from torch.func import functional_call

from charrnn.kernel.library import lend_openmp, library
from charrnn.model import equations, kernel, kernel_layer, kernel_scores
from charrnn.model.recurrent import folded_bias, run_own

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}
TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
HIDDEN, BATCH, TIME, INPUTS = (1, 15, 16, 17, 48, 65), (1, 2, 7, 50), (1, 3, 17), (1, 5, 33)
VOCABULARY = 9

cells = pytest.mark.parametrize("cell", GATES)
pytestmark = needs_kernel


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    monkeypatch.setattr(kernel, "library", lambda: at_level(request.param))
    return request.param


def at_level(level):
    """The library as on a processor that has no more."""
    real = library()
    names = [f"charrnn_{name}" for name in ("layer_forward", "layer_backward", "product", "scores")]
    parts = {name: getattr(real, name) for name in names}
    return SimpleNamespace(
        charrnn_level=lambda: level, charrnn_bfloat16=lambda: level == kernel.BFLOAT16, **parts
    )


def all_levels():
    """Those that the library and this processor have, the one with products of bfloat16 too."""
    return (*LEVELS, kernel.BFLOAT16) if kernel.has_bfloat16() else tuple(LEVELS)


# A layer to run, and what comes of it


@dataclass(frozen=True)
class Layer:
    cell: str
    ids: Tensor | None
    x: Tensor
    state: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]

    @property
    def tensors(self):
        return (self.x, *self.state, *self.weights)

    def leaves(self, dtype=torch.float32):
        """The same numbers in tensors that want gradients."""
        x, *rest = (part.detach().to(dtype).requires_grad_() for part in self.tensors)
        split = len(self.state)
        return replace(self, x=x, state=tuple(rest[:split]), weights=tuple(rest[split:]))


def some_layer(
    cell, hidden=17, batch=3, time=4, inputs=5, *, ids=False, vocabulary=VOCABULARY, seed=0
):
    """Sums of inputs and sums of states are of size 1: gates neither idle nor stuck. No first state is zero."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=generator) * scale

    rows = GATES[cell] * hidden
    return Layer(
        cell,
        torch.randint(0, vocabulary, (time, batch), generator=generator) if ids else None,
        normal(*((vocabulary,) if ids else (time, batch)), inputs),
        tuple(normal(batch, hidden, scale=0.7) for _ in range(1 + (cell == "lstm"))),
        (
            normal(rows, inputs, scale=inputs**-0.5),
            normal(rows, hidden, scale=hidden**-0.5),
            normal(rows, scale=0.5),
            normal(rows, scale=0.5),
        ),
    ).leaves()


def compiled(layer):
    return kernel_layer.run_layer(layer.cell, layer.ids, layer.x, layer.state, layer.weights)


def looked_up(layer):
    return layer.x if layer.ids is None else layer.x[layer.ids]


def independent(layer):
    """torch.nn's module; for the cell that it lacks, the equations."""
    weights = dict(zip(NAMES, layer.weights, strict=True))
    if layer.cell == "gru-before":
        return equations.run_layer(layer.cell, looked_up(layer), layer.state, weights)
    module = TORCH[layer.cell](layer.x.shape[-1], layer.state[0].shape[-1], dtype=layer.x.dtype)
    first = tuple(part.unsqueeze(0) for part in layer.state)
    named = {f"{name}_l0": value for name, value in weights.items()}
    outputs, last = functional_call(
        module, named, (looked_up(layer), first if layer.cell == "lstm" else first[0])
    )
    return outputs, tuple(part[0] for part in (last if layer.cell == "lstm" else (last,)))


def in_pytorch(layer):
    """As CharModel's backend "func" runs it."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.weights
    bias, bias_hn = folded_bias(layer.cell, bias_ih, bias_hh)
    return run_own(
        layer.cell, F.linear(looked_up(layer), weight_ih, bias), layer.state, weight_hh, bias_hn
    )


def readings(outputs, last):
    """One number that depends on every output and on every part of the last state, each with its own weight."""
    generator = torch.Generator().manual_seed(99)
    return sum(
        (part * torch.randn(part.shape, generator=generator)).sum() for part in (outputs, *last)
    )


def everything(runner, layer):
    """Outputs, last state, and the gradients of their readings in x, first state and weights."""
    outputs, last = runner(layer)
    gradients = torch.autograd.grad(readings(outputs, last), layer.tensors)
    return (outputs, *last, *gradients)


def assert_equal(found, expected, message=""):
    assert len(found) == len(expected)
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert torch.equal(one, other), f"tensor {index} {message}"


def assert_close(found, expected, message="", tolerance=1e-5):
    """float32 against float64: to 1e-5 of the size of a tensor's values, some 100 roundings of 2^-24; sums have up to 850
    terms, steps build on each other. 5.6e-6 was the largest in the sizes below (rnn), 2.2e-6 in the other cells."""
    assert len(found) == len(expected)
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == other.shape
        difference = (one - other).abs().max().item() if one.numel() else 0.0
        assert difference <= tolerance * max(1.0, other.abs().max().item()), (
            f"tensor {index} {message}: {difference}"
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
    """Weights may be such that small differences grow from step to step: 16 times what float32 loses in PyTorch is let
    (seen: 6, where a state of one unit is multiplied by -1.77 eight times; kernel/level.h allows its tanh 3e-7)."""
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


# However the work is cut up


@pytest.fixture(params=["own", "lent"])
def team(request, monkeypatch):
    """Every thread gets some work, however little there is: threads of the kernel's own, and those that PyTorch has."""
    monkeypatch.setattr(kernel, "WORK_PER_THREAD", 1)
    lend_openmp.cache_clear()
    if request.param == "own":
        use_own_threads(monkeypatch.setattr)
    elif not lend_openmp():
        pytest.skip("PyTorch's OpenMP is not GNU's")
    yield
    torch.set_num_threads(1)
    lend_openmp.cache_clear()


def use_own_threads(patch=setattr):
    library().charrnn_use_openmp(None, None, None)
    patch(kernel, "lend_openmp", lambda: False)


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
    """A team has 64 at most: each then has more rows than it would have had among 150, and needs room for them."""
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


# However it lies in memory


def strided(part):
    """The same numbers, none next to another."""
    room = torch.full((*part.shape[:-1], part.shape[-1] * 2), float("nan"))
    room[..., ::2] = part.detach()
    return room[..., ::2].requires_grad_(part.requires_grad)


def turned(part):
    """The same numbers, the first two directions exchanged in memory."""
    return (
        part.detach()
        .transpose(0, 1)
        .contiguous()
        .transpose(0, 1)
        .requires_grad_(part.requires_grad)
    )


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


@contextmanager
def new_memory_full_of_nan():
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


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
    """Gates are 0 or 1 there to 1e-8, so that nearly all gradients vanish, but none by way of infinity."""
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
    """Scratch for 2^40 threads is more than any address space; the arrays are not touched before it is there."""
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


# Products

PRODUCTS = (
    (1, 1, 1),
    (1, 300, 2),
    (2, 1, 17),
    (7, 65, 33),
    (6, 256, 64),
    (13, 257, 16),
    (50, 257, 300),
    (3, 600, 129),
)


@pytest.mark.parametrize("size", PRODUCTS, ids=str)
def test_products_are_numpys(size, level):
    rows, inner, columns = size
    generator = torch.Generator().manual_seed(1)
    a, b, bias = (
        torch.randn(shape, generator=generator)
        for shape in ((rows, inner), (inner, columns), (columns,))
    )
    plain = a.double().numpy() @ b.double().numpy()
    for left, right in itertools.product((a, a.t().contiguous().t()), (b, b.t().contiguous().t())):
        for added, expected in ((None, plain), (bias, plain + bias.double().numpy())):
            # as assert_close; a sum of 600 products of size 1 moves by some 600 2^-24 in the worst order
            found = kernel_scores.product(left, right, added).numpy()
            np.testing.assert_allclose(
                found, expected, rtol=0, atol=1e-5 * max(1.0, abs(expected).max())
            )


def linear_and_gradients(x, weight, bias, d_out):
    outputs = kernel_scores.linear(x, weight, bias)
    return outputs, *torch.autograd.grad(outputs, (x, weight, bias), d_out)


def nats_and_gradients(x, weight, bias, targets):
    total = kernel_scores.summed_nats(x, weight, bias, targets)
    return total, *torch.autograd.grad(
        total, (x, weight, bias), torch.tensor(0.7, dtype=torch.float64)
    )


def some_head(*shape, outputs, scale=1.0, seed=2):
    """x (shape), weight, bias, all leaves; and gradients that come in."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (shape, (outputs, shape[-1]), (outputs,), (*shape[:-1], outputs))
    x, weight, bias, d_out = (torch.randn(size, generator=generator) for size in sizes)
    return [
        part.requires_grad_() for part in (x, weight * (scale * shape[-1] ** -0.5), bias * scale)
    ], d_out


def some_targets(x, outputs):
    """About one in eight is not counted."""
    targets = torch.randint(0, outputs, x.shape[:-1], generator=torch.Generator().manual_seed(4))
    return torch.where(
        torch.randint(0, 8, targets.shape, generator=torch.Generator().manual_seed(5)) == 0,
        -100,
        targets,
    )


def doubled(leaves):
    return [part.detach().double().requires_grad_() for part in leaves]


SHAPES = ((1,), (3, 5), (4, 7, 65), (1, 300, 257))
OUTPUTS = (1, 16, 17, 129)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_and_its_gradients_are_numpys(shape, level):
    for outputs in OUTPUTS:
        leaves, d_out = some_head(*shape, outputs=outputs)
        found = linear_and_gradients(*leaves, d_out)
        rows, weight, bias, above = (part.detach().double().numpy() for part in (*leaves, d_out))
        rows, above = rows.reshape(-1, shape[-1]), above.reshape(-1, outputs)
        expected = (rows @ weight.T + bias, above @ weight, above.T @ rows, above.sum(0))
        assert found[0].shape == d_out.shape
        assert_close(
            found,
            [
                torch.from_numpy(other).reshape(one.shape)
                for one, other in zip(found, expected, strict=True)
            ],
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nats_and_their_gradients_are_those_of_cross_entropy(shape, level):
    for outputs, scale in itertools.product(
        OUTPUTS, (1.0, 30.0)
    ):  # 30: some probabilities below e^-87
        leaves, _ = some_head(*shape, outputs=outputs, scale=scale)
        targets = some_targets(leaves[0], outputs)
        found = nats_and_gradients(*leaves, targets)
        x, weight, bias = exact = doubled(leaves)
        logits = (x @ weight.T + bias).reshape(-1, outputs)
        total = F.cross_entropy(logits, targets.reshape(-1), ignore_index=-100, reduction="sum")
        gradients = torch.autograd.grad(total, exact, torch.tensor(0.7, dtype=torch.float64))
        assert found[0].dtype == torch.float64
        assert found[0].item() == pytest.approx(
            total.item(), rel=1e-6, abs=1e-5
        )  # logits are float32
        assert_close(
            found[1:], gradients, tolerance=1e-5 * scale
        )  # a probability is as exact as its logit


def test_nats_where_no_target_counts_are_none():
    leaves, _ = some_head(3, 5, outputs=7)
    for part in nats_and_gradients(*leaves, torch.full((3,), -100)):
        assert (part == 0).all()


@pytest.mark.parametrize("place", range(4))
def test_nan_among_the_scores_gives_nan(place, level):
    for outputs in (4, 33):
        (x, weight, bias), _ = some_head(3, 5, outputs=outputs)
        with torch.no_grad():
            bias[place - 4] = float("nan")
        assert kernel_scores.summed_nats(x, weight, bias, torch.zeros(3, dtype=torch.long)).isnan()
        assert kernel_scores.linear(x, weight, bias)[:, place - 4].isnan().all()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_scores_far_out_give_the_nats_of_cross_entropy(size, level):
    for outputs in (4, 33):
        (x, weight, bias), _ = some_head(3, 5, outputs=outputs)
        with torch.no_grad():
            bias.copy_(size * torch.linspace(-1, 1, outputs))
        targets = torch.tensor([0, 2, outputs - 1])
        found = nats_and_gradients(x, weight, bias, targets)
        expected = F.cross_entropy((x @ weight.T + bias).double(), targets, reduction="sum").item()
        assert found[0].item() == pytest.approx(expected, rel=1e-6)
        assert all(part.isfinite().all() for part in found)


def test_shapes_that_do_not_fit_are_refused_before_any_address_is_used():
    x, weight, bias, targets = (
        torch.ones(2, 3),
        torch.ones(4, 3),
        torch.ones(4),
        torch.zeros(2, dtype=torch.long),
    )
    for wrong in (
        (x, weight, bias, targets[:1]),
        (x, weight[:, :2], bias, targets),
        (x, weight, bias[:3], targets),
    ):
        with pytest.raises(ValueError, match="shape"):
            kernel_scores.summed_nats(*wrong)
    layer = some_layer("lstm", batch=3)
    for change in (
        {"state": tuple(part[:1] for part in layer.state)},
        {"x": layer.x[:, :0]},
        {"x": layer.x[0]},
    ):
        with pytest.raises(ValueError, match="shape"):
            compiled(replace(layer, **change))


@pytest.mark.parametrize("bad", [7, 2**32, -1])
def test_a_target_without_a_score_is_refused(bad):
    leaves, _ = some_head(3, 5, outputs=7)
    with pytest.raises(IndexError):
        kernel_scores.summed_nats(*leaves, torch.tensor([0, bad, 1]))


def test_heads_give_the_same_bits_on_any_number_of_threads(level, team):
    for rows, inputs, outputs in ((13, 65, 33), (200, 300, 17)):
        leaves, d_out = some_head(rows, inputs, outputs=outputs)
        targets = some_targets(leaves[0], outputs)
        torch.set_num_threads(1)
        alone = (*linear_and_gradients(*leaves, d_out), *nats_and_gradients(*leaves, targets))
        for threads in (2, 3, 5, 70):
            torch.set_num_threads(threads)
            found = (*linear_and_gradients(*leaves, d_out), *nats_and_gradients(*leaves, targets))
            assert_equal(found, alone, f"on {threads} threads")


def test_nats_without_gradients_are_the_same_bits():
    leaves, _ = some_head(70, 5, outputs=33)
    targets = some_targets(leaves[0], 33)
    with torch.no_grad():
        quiet = kernel_scores.summed_nats(*leaves, targets)
    assert torch.equal(quiet, kernel_scores.summed_nats(*leaves, targets))


def test_how_operands_of_heads_lie_in_memory_changes_no_bit():
    leaves, d_out = some_head(4, 3, 5, outputs=7)
    targets = some_targets(leaves[0], 7)
    expected = linear_and_gradients(*leaves, d_out), nats_and_gradients(*leaves, targets)
    for change in (strided, turned):
        moved = [change(leaves[0]), change(leaves[1]), leaves[2]]
        assert_equal(linear_and_gradients(*moved, change(d_out)), expected[0], change.__name__)
        assert_equal(
            nats_and_gradients(*moved, targets.t().contiguous().t()), expected[1], change.__name__
        )
    one = torch.tensor(0.3).expand(4, 3, 7)
    assert_equal(
        linear_and_gradients(*leaves, one), linear_and_gradients(*leaves, one.contiguous())
    )


def test_a_bias_of_a_head_may_lie_scattered_in_memory():
    leaves, d_out = some_head(3, 5, outputs=7)
    moved, targets = [*leaves[:2], strided(leaves[2])], some_targets(leaves[0], 7)
    assert_equal(linear_and_gradients(*moved, d_out), linear_and_gradients(*leaves, d_out))
    assert_equal(nats_and_gradients(*moved, targets), nats_and_gradients(*leaves, targets))


def test_what_new_memory_held_before_changes_no_bit_of_heads(level):
    leaves, d_out = some_head(70, 5, outputs=33)
    targets = some_targets(leaves[0], 33)
    expected = (*linear_and_gradients(*leaves, d_out), *nats_and_gradients(*leaves, targets))
    with new_memory_full_of_nan():
        found = (*linear_and_gradients(*leaves, d_out), *nats_and_gradients(*leaves, targets))
    assert_equal(found, expected)


def test_heads_where_no_gradient_is_wanted_for_inputs_or_weights():
    leaves, d_out = some_head(3, 5, outputs=7)
    targets = some_targets(leaves[0], 7)
    for run, last in ((linear_and_gradients, d_out), (nats_and_gradients, targets)):
        expected = run(*leaves, last)
        for wanted in ([0], [1], [2]):
            given = [part.detach().requires_grad_(k in wanted) for k, part in enumerate(leaves)]
            out = kernel_scores.linear if run is linear_and_gradients else kernel_scores.summed_nats
            total = (
                (out(*given) * d_out).sum()
                if run is linear_and_gradients
                else out(*given, targets) * 0.7
            )
            assert_equal(
                torch.autograd.grad(total, [given[k] for k in wanted]),
                [expected[1 + k] for k in wanted],
            )


def test_gradient_of_a_gradient_of_heads_raises():
    leaves, _ = some_head(3, 5, outputs=7)
    for total in (
        kernel_scores.linear(*leaves).square().sum(),
        kernel_scores.summed_nats(*leaves, torch.tensor([0, 1, 2])).square(),
    ):
        (first,) = torch.autograd.grad(total, leaves[1], create_graph=True)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            (first.square().sum() + leaves[1].sum()).backward()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_heads_refuse_another_type_of_numbers(which):
    operands = [torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)]
    operands[which] = operands[which].double()
    with pytest.raises(TypeError, match="float32"):
        kernel_scores.linear(*operands)
    with pytest.raises(TypeError, match="float32"):
        kernel_scores.summed_nats(*operands, torch.zeros(2, dtype=torch.long))


def test_targets_of_another_type_are_refused():
    with pytest.raises(TypeError, match="int64"):
        kernel_scores.summed_nats(
            torch.ones(2, 3), torch.ones(4, 3), torch.ones(4), torch.zeros(2, dtype=torch.int32)
        )


# Sanitizers


def use_the_layers(count, seed):
    """Layers and heads of random sizes at every level, forward and backward: run in a process with the sanitizers.

    torch's memory comes from the allocator that they watch, in exact sizes; new memory is full of NaN.
    """
    torch.set_num_threads(1)
    use_own_threads()  # of libgomp's the sanitizers know nothing
    generator = np.random.default_rng(seed)

    def pick(*choices):
        return choices[generator.integers(len(choices))]

    levels = all_levels()
    for number in range(count):
        level = levels[number % len(levels)]
        kernel.library = lambda level=level: at_level(level)
        cell, hidden, batch = (
            list(GATES)[number // len(levels) % 4],
            pick(1, 15, 16, 17, 33, 48, 65),
            pick(1, 2, 5, 7, 13, 50, 270),
        )
        threads = pick(1, 2, 3, 7, 70)
        kernel.threads_for = lambda work, rows, threads=threads: min(threads, rows)
        layer = some_layer(
            cell,
            hidden,
            batch,
            pick(1, 2, 3, 9),
            pick(1, 5, 16, 33, 270),
            ids=bool(pick(0, 1)),
            vocabulary=pick(1, 2, 65, 129),
            seed=number,
        )
        with torch.no_grad():
            quiet, _ = compiled(layer)
        layer.x.requires_grad_(bool(number % 5))
        outputs, last = compiled(layer)
        assert torch.equal(outputs, quiet)
        wanted = [part for part in layer.tensors if part.requires_grad]
        found = [outputs, *last, *torch.autograd.grad(readings(outputs, last), wanted)]
        rows, columns = pick(1, 7, 50, 130), pick(1, 2, 33, 64, 129)
        leaves, d_out = some_head(rows, pick(1, 65, 257), outputs=columns)
        targets = some_targets(leaves[0], columns)
        found += [*linear_and_gradients(*leaves, d_out), *nats_and_gradients(*leaves, targets)]
        with torch.no_grad():
            found.append(kernel_scores.summed_nats(*leaves, targets))
        assert all(part.isfinite().all() for part in found), "what nobody had written was read"
    print("clean")


LAYERS = "import test_layer_kernel as t; t.use_the_layers({}, 1)"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_layers_are_clean_under_the_sanitizers(tmp_path):
    done = sanitized(tmp_path, ADDRESSES, LAYERS.format(120))
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "clean\n"


# Each is one too many of something: what the sanitizers must see, or their silence says nothing.
ONE_TOO_MANY = {
    "inputs of a tile": (
        "products.inc.h",
        r"k < operands; k\+\+, from \+= a.inner",
        "k <= operands; k++, from += a.inner",
    ),
    "columns of a panel": (
        "packing.inc.h",
        r"smaller_of\(PANEL, columns - column\)",
        "smaller_of(PANEL, columns - column + 1)",
    ),
    "characters": ("training.c", r"take\(&at, table\)", "take(&at, table - 1)"),
    "targets": ("scores.inc.h", r"q->targets\[i\];", "q->targets[i + 1];"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_TOO_MANY)
def test_the_sanitizers_see_one_too_many_in_a_layer(name, tmp_path):
    file, pattern, replacement = ONE_TOO_MANY[name]
    done = sanitized(tmp_path, ADDRESSES, LAYERS.format(36), changed(pattern, replacement), file)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]
    assert "AddressSanitizer" in done.stderr


def split_the_layers():
    """Layers and heads that several threads share. 100: more than a team has, so that each has more to do."""
    torch.set_num_threads(1)
    use_own_threads()  # of libgomp's the sanitizers know nothing
    highest = all_levels()[-2:]
    cases = itertools.product(GATES, (False, True), (2, 3, 100), highest)
    for number, (cell, ids, threads, level) in enumerate(cases):
        kernel.library = lambda level=level: at_level(level)
        kernel.threads_for = lambda work, rows, threads=threads: min(threads, rows)
        for batch in (5, 70 if threads < 100 else 270):
            layer = some_layer(cell, 33, batch, 4, ids=ids, seed=number)
            with torch.no_grad():
                compiled(layer)
            everything(compiled, layer)
        leaves, d_out = some_head(70, 300, outputs=33)
        linear_and_gradients(*leaves, d_out)
        nats_and_gradients(*leaves, some_targets(leaves[0], 33))
    print("clean")


SPLIT = "import test_layer_kernel as t; t.split_the_layers()"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_threads_of_a_layer_do_not_race(tmp_path):
    done = races(tmp_path, SPLIT)
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout == "clean\n"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_threads_of_a_layer_do_not_race_where_the_system_gives_fewer_than_asked(tmp_path):
    refused = changed(r"pthread_create\(&team\[i\]", r"i == 2 || \g<0>")
    done = races(tmp_path, SPLIT, refused, "team.h")
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout == "clean\n"


RACES = {
    "rows of two threads": (
        "team.h",
        r"\.stop = n \* \(number \+ 1\) / threads",
        r"\g<0> + (number + 1 < threads)",
    ),
    "weights not packed yet": (
        "recurrence.inc.h",
        r"meet\(&work->place\);(\s+if \(s->ids\) \{)",
        r"\1",
    ),
    "a product's block not used yet": (
        "products.inc.h",
        r"meet\(&work->place\);( /\* all have read)",
        r"\1",
    ),
    "gradients of other rows": (
        "gradients.inc.h",
        r"meet\(&work->place\);(\s+/\* 3. From here on)",
        r"\1",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RACES)
def test_the_sanitizer_sees_a_race_in_a_layer(name, tmp_path):
    file, pattern, replacement = RACES[name]
    done = races(tmp_path, SPLIT, changed(pattern, replacement), file)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]
    assert "data race" in done.stderr

"""The compiled layer with products of bfloat16: the equations with every factor rounded, and float32 in all else."""

import pytest
import torch
import torch.nn.functional as F
from support import needs_kernel
from test_kernel import LEVELS
from test_layer_kernel import (
    GATES,
    assert_close,
    assert_equal,
    at_level,
    compiled,
    everything,
    independent,
    looked_up,
    some_layer,
)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from charrnn.model import equations, kernel, kernel_layer, kernel_scores

pytestmark = [
    needs_kernel,
    pytest.mark.skipif(not kernel.has_bfloat16(), reason="no processor with AVX512-BF16 here"),
]
cells = pytest.mark.parametrize("cell", GATES)


@pytest.fixture(autouse=True)
def _rounded(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(kernel, "library", lambda: at_level(kernel.BFLOAT16))


def cut(values):
    return values.bfloat16().float()


class Product(torch.autograd.Function):
    """a b with both rounded, and the same of the products that its gradients are."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return cut(a).mm(cut(b))

    @staticmethod
    def backward(ctx, d):
        a, b = ctx.saved_tensors
        return cut(d).mm(cut(b).t()), cut(a).t().mm(cut(d))


class EveryProduct(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.matmul, Tensor.matmul, Tensor.__matmul__):
            return Product.apply(*args)
        return func(*args, **(kwargs or {}))


def by_the_equations(layer):
    weights = dict(
        zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), layer.weights, strict=True)
    )
    with EveryProduct():
        return equations.run_layer(layer.cell, looked_up(layer), layer.state, weights)


# Blocks are of 256 rows and of 256 inputs, vectors of 16 units, pairs of 2 inputs.
@pytest.mark.parametrize(
    "sizes",
    [(17, 3, 3, 5), (1, 1, 2, 1), (48, 2, 3, 33), (33, 270, 2, 4), (16, 7, 2, 271), (65, 50, 3, 2)],
)
@cells
def test_everything_is_that_of_the_equations_with_rounded_factors(cell, sizes):
    """To 2e-3 of the largest: where a sum is otherwise in its last bit, a state may fall to the next bfloat16."""
    hidden, batch, time, inputs = sizes
    layer = some_layer(cell, hidden, batch, time, inputs)
    assert_close(everything(compiled, layer), everything(by_the_equations, layer), tolerance=2e-3)


@cells
def test_one_step_is_exact_but_for_the_order_of_sums(cell):
    layer = some_layer(cell, 33, 5, 1, 19)
    (found, _), (expected, _) = compiled(layer), by_the_equations(layer)
    if cell == "gru-before":  # r h, which it multiplies, is a result already
        assert_close([found], [expected], tolerance=1e-3)
    else:
        assert_close([found], [expected], tolerance=1e-6)


@cells
def test_with_gradients_one_step_is_exact_but_for_the_order_of_sums(cell, monkeypatch):
    """And float32 is not within that."""
    layer = some_layer(cell, 33, 5, 1, 19)
    expected = everything(by_the_equations, layer)
    tolerance = 1e-3 if cell == "gru-before" else 1e-4
    assert_close(everything(compiled, layer), expected, tolerance=tolerance)
    monkeypatch.setattr(kernel, "library", lambda: at_level(LEVELS[-1]))
    with pytest.raises(AssertionError):
        assert_close(everything(compiled, layer), expected, tolerance=tolerance)


@pytest.mark.parametrize("ids", [False, True])
@cells
def test_it_stays_near_float32_and_is_not_it(cell, ids, monkeypatch):
    layer = some_layer(cell, 65, 7, 17, 33, ids=ids)
    found = everything(compiled, layer)
    monkeypatch.setattr(kernel, "library", lambda: at_level(LEVELS[-1]))
    for one, other in zip(found, everything(compiled, layer), strict=True):
        assert 5e-4 < (one - other).norm() / other.norm() < 2e-2


@pytest.mark.parametrize("ids", [False, True])
@cells
def test_any_number_of_threads_gives_the_same_bits(cell, ids, monkeypatch):
    layer, found = some_layer(cell, 33, 13, 5, 19, ids=ids), []
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(
            kernel, "threads_for", lambda work, rows, threads=threads: min(threads, rows)
        )
        found.append(everything(compiled, layer))
    for other in found[1:]:
        assert_equal(other, found[0])


@cells
def test_without_gradients_the_bits_are_the_same(cell):
    layer = some_layer(cell, 17, 5, 9)
    with torch.no_grad():
        quiet, _ = compiled(layer)
    assert torch.equal(quiet, compiled(layer)[0])


@pytest.mark.parametrize("part", ["x", "h", "weight_ih", "weight_hh"])
@cells
def test_nan_in_a_factor_reaches_the_outputs_it_reaches_in_torch(cell, part):
    layer = some_layer(cell)
    where = {
        "x": layer.x,
        "h": layer.state[0],
        "weight_ih": layer.weights[0],
        "weight_hh": layer.weights[1],
    }[part]
    with torch.no_grad():
        where.view(-1)[-1] = float("nan")
    (outputs, last), (expected, after) = compiled(layer), independent(layer)
    assert outputs.isnan().any()
    assert_equal(
        [each.isnan() for each in (outputs, *last)], [each.isnan() for each in (expected, *after)]
    )


@pytest.mark.parametrize("sizes", [(5, 7, 3), (270, 600, 65), (33, 257, 17), (1, 1, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_is_that_of_rounded_factors(sizes, turned):
    rows, inner, columns = sizes
    generator = torch.Generator().manual_seed(5)
    a, b = (
        torch.randn(rows, inner, generator=generator),
        torch.randn(inner, columns, generator=generator),
    )
    given = (a.t().contiguous().t(), b.t().contiguous().t()) if turned else (a, b)
    assert_close([kernel_scores.product(*given)], [cut(a).mm(cut(b))], tolerance=1e-6)


def test_scores_are_float32_and_their_gradients_near_it():
    generator = torch.Generator().manual_seed(5)
    x, weight = (
        torch.randn(*shape, generator=generator).requires_grad_() for shape in ((7, 33), (19, 33))
    )
    given = (x, weight, torch.zeros(19, requires_grad=True))
    nats, exact = (
        kernel_scores.summed_nats(*given, torch.arange(7), bfloat16) for bfloat16 in (True, False)
    )
    assert nats == exact
    by_torch = F.cross_entropy(F.linear(*given), torch.arange(7), reduction="sum")
    for one, other in zip(
        torch.autograd.grad(nats, given), torch.autograd.grad(by_torch, given), strict=True
    ):
        assert (one - other).norm() < 1e-2 * other.norm()


def test_a_processor_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(kernel, "library", lambda: at_level(LEVELS[-1]))
    layer = some_layer("gru")
    with pytest.raises(ValueError, match="no bfloat16"):
        kernel_layer.run_layer("gru", None, layer.x, layer.state, layer.weights, bfloat16=True)

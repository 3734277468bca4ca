"""Products and scores of the compiled kernel."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_support import (
    assert_close,
    assert_equal,
    compiled,
    linear_and_gradients,
    nats_and_gradients,
    new_memory_full_of_nan,
    some_head,
    some_layer,
    some_targets,
    strided,
    turned,
)
from support import needs_kernel

from charrnn.model import kernel_scores

pytestmark = needs_kernel


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
            # as assert_close; a sum of 600 products of size 1 moves by some 600 2^-24 in the worst
            # order
            found = kernel_scores.product(left, right, added).numpy()
            np.testing.assert_allclose(
                found, expected, rtol=0, atol=1e-5 * max(1.0, abs(expected).max())
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

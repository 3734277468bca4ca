"""The explosion lab: the cliff by its formulas, clipping by norms, trainings by losses."""

import math

import numpy as np
import pytest
import torch

from charrnn.lab import cliff, explode
from charrnn.lab.result import json_objects
from charrnn.storage import json_line


def test_the_gradient_of_the_cliff_is_autograds():
    w, b = (
        torch.tensor([4.2, 4.8, 5.5], dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    with torch.no_grad():
        b.copy_(torch.tensor([-2.5, -2.4, -3.0]))
    x = torch.full_like(w, 0.5)
    for _ in range(50):
        x = w * torch.sigmoid(x) + b
    expected = (torch.sigmoid(x) - 0.7) ** 2
    expected.sum().backward()
    loss, by_w, by_b = cliff.cliff(w.detach().numpy(), b.detach().numpy())
    assert loss == pytest.approx(expected.detach().numpy(), rel=1e-12)
    assert by_w == pytest.approx(w.grad.numpy(), rel=1e-10)
    assert by_b == pytest.approx(b.grad.numpy(), rel=1e-10)


def test_at_the_cliff_the_gradient_is_a_geometric_series():
    """There x stays at x_0 and every step has one slope g: dx/db = 1 + g + ... + g^49."""
    out = 1 / (1 + math.exp(-0.5))
    g = cliff.growth()
    outer = 2 * (out - 0.7) * out * (1 - out)
    assert g > 1
    assert cliff.cliff(np.array([cliff.edge()]), cliff.BIAS)[2][0] == pytest.approx(
        outer * (g**50 - 1) / (g - 1), rel=1e-6
    )


def test_the_loss_falls_off_the_cliff_within_a_thousandth():
    at = cliff.edge()
    before, after = cliff.cliff(np.array([at - 1e-3, at + 1e-3]), cliff.BIAS)[0]
    assert before > 0.25
    assert after < 0.02
    _, steepest, _ = cliff.cliff(np.linspace(at - 1e-3, at + 1e-3, 2001), cliff.BIAS)
    assert np.abs(steepest).max() > 500


def test_clipped_descent_stays_near_the_cliff_and_plain_descent_is_thrown_away():
    plain = cliff.descent(0.0)
    clipped = cliff.descent(1.0)
    assert cliff.longest_step(clipped) == pytest.approx(cliff.LR * 1.0, rel=1e-12)
    assert cliff.longest_step(plain) == pytest.approx(
        cliff.LR * max(place.norm for place in plain), rel=1e-9
    )
    assert cliff.longest_step(plain) > 20 * cliff.longest_step(clipped)
    assert clipped[-1].loss < 1e-3 < 0.05 < plain[-1].loss


def test_clip_grad_norm_leaves_a_millionth_less_than_algorithm_1():
    """It leaves 1e-6 / (n + 1e-6) less for a norm n, and nothing less below the threshold."""
    panel = explode.shortfall_panel()
    exact, torchs = panel.series
    norms = np.array(exact.x)
    assert np.abs(exact.y).max() < 1e-14
    assert np.array(torchs.y) == pytest.approx(
        np.where(norms >= 1, 1e-6 / (norms + 1e-6), 0.0), rel=1e-6, abs=1e-14
    )


def test_first_weights_have_the_radius_and_depend_on_the_seed():
    first, again, other = (
        explode.first_weights(explode.settings_for(seed, 0.0), 7) for seed in (1, 1, 2)
    )
    radius = np.abs(np.linalg.eigvals(first["recurrent.weight_hh_l0"].astype(float))).max()
    assert radius == pytest.approx(explode.RADIUS, rel=1e-5)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["recurrent.weight_hh_l0"], other["recurrent.weight_hh_l0"])


@pytest.fixture(scope="module")
def outcome():
    said = []
    return explode.explode(1, said.append), said


def figures(result):
    return {row[0]: dict(zip(result.columns[1:], row[1:], strict=True)) for row in result.rows}


@pytest.mark.medium
def test_without_clipping_the_network_explodes_and_with_it_learns(outcome):
    """Figures of a chaotic training differ between processors; what they mean does not."""
    table = figures(outcome[0])
    blind = math.log(len(set(explode.SENTENCE)))
    assert table["highest loss, nats/char"]["no clipping"] > 2 * blind
    assert table["loss of the last 20 steps"]["no clipping"] > 0.1
    for name in ("Algorithm 1", "clip_grad_norm_"):
        assert table["loss of the last 20 steps"][name] < 0.03
        assert table["largest norm after clipping"][name] == pytest.approx(1.0, abs=1e-6)
        assert table["largest gradient norm"][name] > 3


@pytest.mark.medium
def test_the_norm_after_clipping_is_what_each_rule_says(outcome):
    """Algorithm 1 misses the threshold by float32's rounding, clip_grad_norm_ by up to 1e-6."""
    below = figures(outcome[0])["most below the threshold"]
    assert abs(below["Algorithm 1"]) < 2e-7 < below["clip_grad_norm_"] < 1.3e-6


@pytest.mark.medium
def test_going_back_is_seen_and_shortens_what_is_lost(outcome):
    result, said = outcome
    table = figures(result)
    assert table["times gone back"]["going back"] >= 1
    assert (
        sum("going back to step" in line for line in said) == table["times gone back"]["going back"]
    )
    assert (
        table["loss of the last 20 steps"]["going back"]
        < 0.5 * table["loss of the last 20 steps"]["no clipping"]
    )


@pytest.mark.medium
def test_all_four_begin_with_the_same_loss_and_the_result_is_strict_json(outcome):
    losses = next(panel for panel in outcome[0].panels if "same seed" in panel.title)
    assert len({series.y[0] for series in losses.series}) == 1
    assert all(json_line(each) for each in json_objects(outcome[0]))

"""Schedule, plan and clipping."""

import math

import pytest
import torch
from torch import nn

from charrnn.config import TrainingSettings
from charrnn.training.optim import (
    clip_by_norm,
    clip_gradients,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from charrnn.training.plan import Plan, corrected_plan, decided_plan, extended_plan, first_plan


@pytest.mark.parametrize("threshold", [0.1, 1.0, 50.0])
def test_algorithm_1_equals_clip_grad_norm(threshold):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(7, 5), nn.Linear(7, 5)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    norm = clip_by_norm([p.grad for p in ours.parameters()], threshold)
    expected = float(nn.utils.clip_grad_norm_(theirs.parameters(), threshold))
    assert norm == pytest.approx(expected, rel=1e-6)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=2e-5, atol=0)  # theirs adds 1e-6 to the norm


def test_a_gradient_just_at_the_threshold_keeps_its_direction_and_norm():
    gradient = torch.tensor([3.0, 4.0])
    assert clip_by_norm([gradient], 5.0) == 5.0
    assert gradient.tolist() == [3.0, 4.0]


def test_clip_0_leaves_gradients_and_reports_their_norm():
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[30.0, 40.0]])
    assert clip_gradients(model, 0.0) == pytest.approx(50)
    assert model.weight.grad.tolist() == [[30.0, 40.0]]


def test_cosine_falls_from_the_peak_to_zero():
    settings, plan = TrainingSettings(warmup=0, steps=101), Plan(total_steps=101)
    rates = [learning_rate(step, plan, settings, 2.0) for step in range(102)]
    assert rates[0] == 2.0
    assert rates[51] == pytest.approx(1 + math.cos(math.pi * 51 / 101))
    assert rates[101] == pytest.approx(0)


def test_warm_up_rises_and_never_takes_more_than_a_fifth():
    settings = TrainingSettings(warmup=1000, schedule="constant")
    rates = [learning_rate(step, Plan(total_steps=20), settings, 1.0) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_plan_made_anew_goes_on_without_a_jump():
    settings, plan = TrainingSettings(warmup=0), Plan(total_steps=100)
    anew = plan.with_length(60, 70, keep_rate=True)
    assert learning_rate(60, anew, settings, 1.0) == pytest.approx(learning_rate(60, plan, settings, 1.0))
    assert learning_rate(70, anew, settings, 1.0) == pytest.approx(0)


def test_a_longer_training_has_the_rate_it_would_have_had_from_the_start():
    settings = TrainingSettings(warmup=0)
    longer = Plan(total_steps=100).with_length(50, 200, keep_rate=False)
    assert learning_rate(50, longer, settings, 1.0) == pytest.approx(
        learning_rate(50, Plan(total_steps=200), settings, 1.0)
    )


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimiser_state_goes_into_a_fresh_one(name):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, TrainingSettings(optimizer=name))
    for group in optimizer.param_groups:
        group["lr"] = 0.1

    def step(optimizer):
        model.weight.grad, model.bias.grad = torch.ones(2, 3), torch.ones(2)
        optimizer.step()
        return model.weight.detach().clone()

    step(optimizer)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    tensors = {key: value.clone() for key, value in optimizer_tensors(model, optimizer).items()}
    expected = step(optimizer)
    model.load_state_dict(weights)
    fresh = make_optimizer(model, TrainingSettings(optimizer=name))
    for group in fresh.param_groups:
        group["lr"] = 0.1
    load_optimizer_tensors(model, fresh, tensors)
    assert torch.equal(step(fresh), expected)


def test_matrices_decay_and_biases_do_not():
    model = nn.Linear(3, 2)
    groups = make_optimizer(model, TrainingSettings(weight_decay=0.3)).param_groups
    assert [(group["weight_decay"], [p.dim() for p in group["params"]]) for group in groups] == [(0.3, [2]), (0.0, [1])]


def test_a_budget_becomes_as_many_steps_as_are_left():
    settings = TrainingSettings(budget="60s", save_every="1m", eval_every="30s")
    plan = decided_plan(first_plan(settings, steps_per_epoch=7), settings, step=10, step_s=0.5, left_s=50.0)
    assert (plan.total_steps, plan.eval_steps, plan.save_steps, plan.sample_steps) == (110, 60, 120, 22)


def test_epochs_and_step_intervals_wait_for_no_clock():
    plan = first_plan(TrainingSettings(epochs=2.5, save_every="9", sample_every="4"), steps_per_epoch=100)
    assert plan.is_decided
    assert (plan.total_steps, plan.eval_steps, plan.save_steps, plan.sample_steps) == (250, 12, 9, 4)


@pytest.mark.parametrize(
    ("step_s", "total"), [(1.0, None), (1.19, None), (0.84, None), (1.3, 138), (0.5, 200), (60.0, 102)]
)
def test_a_plan_is_corrected_when_its_budget_would_be_missed_by_more_than_a_fifth(step_s, total):
    corrected = corrected_plan(Plan(150, 5, 5, 5), 100, step_s, left_s=50.0 if step_s < 60 else 100.0)
    assert (corrected and corrected.total_steps) == total


def test_a_budget_that_is_used_up_ends_the_training_at_once():
    assert corrected_plan(Plan(150, 5, 5, 5), 100, 1.0, left_s=-3.0).total_steps == 100


def test_a_larger_budget_goes_on_at_the_pace_so_far():
    settings = TrainingSettings(budget="30s", eval_every="7")
    plan = extended_plan(Plan(100, 7, 9, 20), settings, 10, step=100, elapsed_s=10.0)
    assert (plan.total_steps, plan.eval_steps, plan.save_steps, plan.sample_steps) == (300, 7, 9, 60)

"""Schedule, plan and clipping."""

import math

import pytest
import torch
from support import needs_kernel
from torch import nn

from charrnn.config import ModelSettings, TrainingSettings
from charrnn.errors import CheckpointError
from charrnn.model.charmodel import CharModel
from charrnn.training.norms import clip_by_norm
from charrnn.training.optim import FlatOptimizer, TorchOptimizer, learning_rate, make_optimizer
from charrnn.training.plan import Plan, corrected_plan, decided_plan, extended_plan, first_plan

BACKENDS = ["func", "torch", pytest.param("kernel", marks=needs_kernel)]


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
        torch.testing.assert_close(
            mine.grad, other.grad, rtol=2e-5, atol=0
        )  # theirs adds 1e-6 to the norm


def test_a_gradient_just_at_the_threshold_keeps_its_direction_and_norm():
    gradient = torch.tensor([3.0, 4.0])
    assert clip_by_norm([gradient], 5.0) == 5.0
    assert gradient.tolist() == [3.0, 4.0]


def test_clip_0_leaves_gradients_and_reports_their_norm():
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[30.0, 40.0]])
    assert TorchOptimizer(model, TrainingSettings()).clip(0.0) == pytest.approx(50)
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
    assert learning_rate(60, anew, settings, 1.0) == pytest.approx(
        learning_rate(60, plan, settings, 1.0)
    )
    assert learning_rate(70, anew, settings, 1.0) == pytest.approx(0)


def test_a_longer_training_has_the_rate_it_would_have_had_from_the_start():
    settings = TrainingSettings(warmup=0)
    longer = Plan(total_steps=100).with_length(50, 200, keep_rate=False)
    assert learning_rate(50, longer, settings, 1.0) == pytest.approx(
        learning_rate(50, Plan(total_steps=200), settings, 1.0)
    )


def learn(model, optimizer, steps, *, clip=1.0, lr=0.01, seed=0):
    """Make updates from gradients of many sizes, drawn from a seed: two optimisers see the same."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draw) * 10 ** float(
                torch.rand(1, generator=draw) * 4 - 3
            )
        optimizer.clip(clip)
        optimizer.step(lr)


def network(backend="func", **changes):
    torch.manual_seed(0)
    settings = {
        "cell": "lstm",
        "hidden_size": 7,
        "num_layers": 2,
        "embedding_size": 7,
        "dropout": 0.0,
    } | changes
    return CharModel(ModelSettings(**settings), 11, backend)


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(weight_decay=0.3),
        TrainingSettings(weight_decay=0.3, optimizer="sgd"),
        TrainingSettings(optimizer="sgd"),
    ],
)
def test_the_flat_optimiser_does_what_torchs_do(settings, clip):
    ours, theirs = network(), network()
    mine, other = FlatOptimizer(ours, settings), TorchOptimizer(theirs, settings)
    if settings.optimizer == "adamw":
        assert (other._optimizer.defaults["betas"], other._optimizer.defaults["eps"]) == (
            (0.9, 0.99),
            1e-8,
        )
    learn(ours, mine, 20, clip=clip)
    learn(theirs, other, 20, clip=clip)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        # Not the same bits: the norm is summed in another order, and the update's vector loop and
        # its remainder, which round differently, meet other elements. 20 steps of 0.01 with weights
        # of about 1: some units in the last place.
        torch.testing.assert_close(parameter, expected[name], rtol=1e-6, atol=1e-6)
    found, wanted = mine.tensors(), other.tensors()
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in wanted.items()
    }
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second"), [(FlatOptimizer, TorchOptimizer), (TorchOptimizer, FlatOptimizer)]
)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimiser_state_goes_into_a_fresh_one_of_another_device(first, second, name):
    settings = TrainingSettings(optimizer=name, weight_decay=0.1)
    straight, moved = network(), network()
    begun = first(straight, settings)
    learn(straight, begun, 5)
    moved.load_tensors({key: value.clone() for key, value in straight.tensors().items()})
    fresh = second(moved, settings)
    fresh.load_tensors({key: value.clone() for key, value in begun.tensors().items()})
    learn(straight, begun, 5, seed=1)
    learn(moved, fresh, 5, seed=1)
    for ours, theirs in zip(straight.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # as above


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_flat_optimiser_goes_on_to_the_bit(name):
    settings = TrainingSettings(optimizer=name, weight_decay=0.1)
    straight, moved = network(), network()
    begun = FlatOptimizer(straight, settings)
    learn(straight, begun, 5)
    fresh = FlatOptimizer(moved, settings)
    moved.load_tensors({key: value.clone() for key, value in straight.tensors().items()})
    fresh.load_tensors({key: value.clone() for key, value in begun.tensors().items()})
    learn(straight, begun, 5, seed=1)
    learn(moved, fresh, 5, seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(straight.parameters(), moved.parameters(), strict=True)
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_stay_views_of_one_buffer(backend):
    model = network(backend=backend)
    before = {name: value.clone() for name, value in model.tensors().items()}
    optimizer = FlatOptimizer(model, TrainingSettings())
    assert all(torch.equal(value, before[name]) for name, value in model.tensors().items())
    model.load_tensors({name: value + 1 for name, value in before.items()})
    model.to("cpu")
    optimizer.zero_grad()
    logits, _ = model(torch.tensor([[1, 2, 3]]), model.zero_state(1))
    logits.sum().backward()
    storage = next(model.parameters()).untyped_storage().data_ptr()
    gradients = next(model.parameters()).grad.untyped_storage().data_ptr()
    for parameter in model.parameters():
        assert parameter.untyped_storage().data_ptr() == storage
        assert parameter.grad.untyped_storage().data_ptr() == gradients
        assert parameter.data_ptr() % 64 == 0
        assert parameter.grad.any()
    assert float(model.head.bias.detach().mean()) == 1.0  # 0 at first, and 1 was added


def test_tied_weights_are_updated_once():
    model = network(tie_weights=True)
    optimizer = FlatOptimizer(model, TrainingSettings(optimizer="sgd"))
    optimizer.zero_grad()
    model.embedding.weight.grad.fill_(1.0)
    before = model.embedding.weight.detach().clone()
    optimizer.step(0.5)
    torch.testing.assert_close(model.embedding.weight, before - 0.5)
    assert model.head.weight is model.embedding.weight
    learn(model, adam := FlatOptimizer(model, TrainingSettings()), 1)
    assert (
        "head.weight.exp_avg" not in adam.tensors() and "embedding.weight.exp_avg" in adam.tensors()
    )


@pytest.mark.parametrize("kind", [FlatOptimizer, TorchOptimizer])
def test_what_has_no_gradient_does_not_move(kind):
    model = network()
    model.head.bias.requires_grad_(False)
    optimizer = kind(model, TrainingSettings(weight_decay=0.5))
    learn_all_but = [p for p in model.parameters() if p is not model.head.bias]
    optimizer.zero_grad()
    for parameter in learn_all_but:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.1)
    optimizer.zero_grad()
    for parameter in learn_all_but:
        parameter.grad = torch.ones_like(parameter)
    model.embedding.weight.grad = None
    before = {name: value.clone() for name, value in model.tensors().items()}
    moment = optimizer.tensors()["embedding.weight.exp_avg"].clone()
    optimizer.clip(1.0)
    optimizer.step(0.1)
    still = {name for name, value in model.tensors().items() if torch.equal(value, before[name])}
    assert still == {"embedding.weight", "head.bias"}
    assert torch.equal(optimizer.tensors()["embedding.weight.exp_avg"], moment)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_norm_of_the_buffer_is_the_models(threshold):
    ours, theirs = network(), network()
    optimizer = FlatOptimizer(ours, TrainingSettings())
    optimizer.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.grad = torch.randn_like(other)
        mine.grad.copy_(other.grad)
    assert optimizer.clip(threshold) == pytest.approx(
        TorchOptimizer(theirs, TrainingSettings()).clip(threshold), rel=1e-6
    )
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)


def test_a_moment_of_another_shape_is_refused():
    optimizer = FlatOptimizer(network(), TrainingSettings())
    with pytest.raises(
        CheckpointError,
        match=r"head.bias.exp_avg has shape \(3,\), not \(11,\); use another checkpoint",
    ):
        optimizer.load_tensors({"head.bias.exp_avg": torch.zeros(3)})


def test_matrices_decay_and_biases_do_not():
    model = network()
    optimizer = make_optimizer(model, TrainingSettings(weight_decay=0.5))
    model.load_tensors({name: torch.ones_like(value) for name, value in model.tensors().items()})
    optimizer.zero_grad()
    optimizer.step(0.1)
    for parameter in model.parameters():
        assert torch.allclose(parameter, torch.tensor(0.95 if parameter.dim() >= 2 else 1.0))


def test_a_budget_becomes_as_many_steps_as_are_left():
    settings = TrainingSettings(budget="60s", save_every="1m", eval_every="30s")
    plan = decided_plan(
        first_plan(settings, steps_per_epoch=7), settings, step=10, step_s=0.5, left_s=50.0
    )
    assert (plan.total_steps, plan.eval_steps, plan.save_steps, plan.sample_steps) == (
        110,
        60,
        120,
        22,
    )


def test_epochs_and_step_intervals_wait_for_no_clock():
    plan = first_plan(
        TrainingSettings(epochs=2.5, save_every="9", sample_every="4"), steps_per_epoch=100
    )
    assert plan.is_decided
    assert (plan.total_steps, plan.eval_steps, plan.save_steps, plan.sample_steps) == (
        250,
        12,
        9,
        4,
    )


@pytest.mark.parametrize(
    ("step_s", "total"),
    [(1.0, None), (1.19, None), (0.84, None), (1.3, 138), (0.5, 200), (60.0, 102)],
)
def test_a_plan_is_corrected_when_its_budget_would_be_missed_by_more_than_a_fifth(step_s, total):
    corrected = corrected_plan(
        Plan(150, 5, 5, 5), 100, step_s, left_s=50.0 if step_s < 60 else 100.0
    )
    assert (corrected and corrected.total_steps) == total


@pytest.mark.parametrize(
    ("total", "evaluation_steps", "between"),
    [
        (1000, 0.0, 50),
        (1000, 2.0, 50),
        (1000, 2.5, 56),
        (1000, 5.0, 125),
        (1000, 100.0, 334),
        (10, 50.0, 4),
        (39, 0.01, 1),
    ],
)
def test_evaluations_take_a_twentieth_of_the_work_but_a_few_are_made(
    total, evaluation_steps, between
):
    # 2.5: 20 evaluations' worth may be spent, the first and the last included, so that one is made
    # every 1000 / 18 steps.
    plan = first_plan(TrainingSettings(steps=total), 7, evaluation_steps)
    assert plan.eval_steps == between
    longer = extended_plan(
        Plan(total // 2, 1, 1, 1),
        TrainingSettings(steps=total),
        7,
        total // 2,
        1.0,
        evaluation_steps,
    )
    assert longer.eval_steps == between


def test_how_often_to_evaluate_is_obeyed_if_said():
    assert first_plan(TrainingSettings(steps=1000, eval_every="10"), 7, 100.0).eval_steps == 10


def test_a_budget_leaves_time_for_its_evaluations():
    settings = TrainingSettings(budget="60s", save_every="1m")
    plan = decided_plan(
        first_plan(settings, 7, 4.0),
        settings,
        10,
        0.5,
        50.0,
        evaluation_s=2.0,
        evaluation_steps=4.0,
    )
    # 100 steps without any; 4 steps' work each: 3 evaluations, every 37 steps; (50 - 2) s of 0.5 +
    # 2 / 37 s each.
    assert (plan.total_steps, plan.eval_steps) == (10 + round(48 / (0.5 + 2 / 37)), 33)


def test_a_budget_that_is_used_up_ends_the_training_at_once():
    assert corrected_plan(Plan(150, 5, 5, 5), 100, 1.0, left_s=-3.0).total_steps == 100


def test_a_larger_budget_goes_on_at_the_pace_so_far():
    settings = TrainingSettings(budget="30s", eval_every="7")
    plan = extended_plan(Plan(100, 7, 9, 20), settings, 10, step=100, elapsed_s=10.0)
    assert (plan.total_steps, plan.eval_steps, plan.save_steps, plan.sample_steps) == (
        300,
        7,
        9,
        60,
    )

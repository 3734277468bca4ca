"""When a training looks at validation, and when it turns back: by steps alone."""

import pytest

from charrnn.config import TrainingSettings
from charrnn.training.optim import learning_rate
from charrnn.training.plan import (
    Plan,
    corrected_plan,
    decided_plan,
    first_plan,
    has_levelled_off,
    plan_from_dict,
)

HOUR = TrainingSettings(budget="1h")


def looks(plan, steps):
    return [step for step in range(1, steps) if step % plan.evaluation_interval(step) == 0]


def test_a_small_text_is_looked_at_after_each_of_its_first_passes_before_any_step_is_timed():
    assert looks(first_plan(HOUR, 25), 101) == [25, 50, 75, 100]


def test_later_looks_become_rarer_but_some_are_made_while_the_steps_double():
    times = looks(first_plan(HOUR, 25), 25_001)
    for steps in (800, 3_200, 12_800):
        assert 14 <= sum(steps < step <= 2 * steps for step in times) <= 20


def test_a_long_training_of_a_large_text_is_looked_at_as_often_as_before():
    plan = decided_plan(first_plan(HOUR, 25_000), HOUR, 10, 0.1, 3600.0)
    assert plan.eval_steps == plan.evaluation_interval(30_000) < 25_000


def test_looks_keep_to_their_share_of_the_work():
    """An evaluation of three steps' work is made after each 60 steps, not after each pass of 12."""
    assert first_plan(HOUR, 12, evaluation_steps=3.0).look_steps == 60


def test_who_says_how_often_to_evaluate_gets_that():
    settings = TrainingSettings(budget="1h", eval_every="7")
    assert first_plan(settings, 25).evaluation_interval(3) == 7


@pytest.mark.parametrize(
    ("step", "best_step", "count", "has_levelled"),
    [(150, 100, 5, True), (150, 100, 4, False), (115, 100, 9, False), (150, 0, 9, False)],
)
def test_validation_has_levelled_off_after_some_looks_and_a_share_of_the_steps(
    step, best_step, count, has_levelled
):
    assert has_levelled_off(Plan(1000), step, best_step, count) == has_levelled


def test_a_training_turns_back_once():
    assert not has_levelled_off(Plan(1000).annealed(150, 100, 1.0), 175, 100, 9)


def test_annealing_falls_along_a_line_to_zero_and_ends_the_training():
    settings = TrainingSettings(warmup=0)
    plan = Plan(1000).annealed(150, 100, 0.5)
    assert plan.total_steps == 180
    rates = [learning_rate(step, plan, settings, 2.0) for step in (150, 165, 180)]
    assert rates == pytest.approx([1.0, 0.5, 0.0])


def test_annealing_ends_with_the_budget_at_the_latest():
    assert Plan(160).annealed(150, 100, 1.0).total_steps == 160


def test_annealing_is_not_stretched_to_fill_the_budget_but_cut_where_it_would_miss_it():
    plan = Plan(1000).annealed(150, 100, 1.0)
    assert corrected_plan(plan, 160, 1.0, left_s=500.0) is None
    assert corrected_plan(plan, 160, 1.0, left_s=10.0).total_steps == 170


def test_more_steps_after_annealing_have_the_rate_of_the_longer_schedule():
    settings = TrainingSettings(warmup=0)
    more = Plan(1000).annealed(150, 100, 1.0).with_length(180, 2000, keep_rate=False)
    assert learning_rate(180, more, settings, 1.0) == learning_rate(180, Plan(2000), settings, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"look_steps": 0}, {"annealed_from": "x"}, {"annealed_share": 2}]
)
def test_a_plan_from_a_file_is_checked(wrong):
    with pytest.raises(ValueError, match="of a plan"):
        plan_from_dict(wrong)

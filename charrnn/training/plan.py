"""The plan that turns a budget and durations into steps: made once, and then free of clocks.

Everything here is a function of what was measured elsewhere: no clock is read, nothing is written.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from charrnn.config import LENGTHS, TrainingSettings
from charrnn.errors import SettingsError
from charrnn.values import MAX_WHOLE, interval, seconds

# How often a run is evaluated, saved and sampled, by default
TIMES = {"eval": 20, "save": 1, "sample": 5}
FEWEST_EVALUATIONS = 3  # a run, however much they cost
EVALUATION_SHARE = 0.05  # of the work of a run, at most

# A small text is overfitted within a few passes: it is looked at after each of them, however long
# the run. Later looks become rarer: so many, at least, while the steps double.
LOOKS = 16
FEWEST_LOOK_STEPS = 10  # between two looks, where a pass has fewer

# Validation has levelled off after so many evaluations, and this share of the steps before the
# best one, without a better one.
PATIENT_LOOKS = 5
PATIENT_SHARE = 0.2
# Then the best weights are annealed, for this share of the steps that led to them.
ANNEALING_SHARE = 0.3
ANNEALING_LOOKS = 6


@dataclass(frozen=True)
class Plan:
    """How many steps, and how often to look, save and sample. Recorded in every checkpoint.

    None: not decided yet, because a budget or a duration waits for the first timed steps. From the
    moment that everything is decided the weights depend on no clock. The schedule's progress runs
    from start_progress at start_step to 1 at total_steps, so that a new plan goes on without
    a jump.
    look_steps: between evaluations of the first passes, where eval_steps would be more.
    annealed_from: the step at which the training went back to its best weights. From there the
    learning rate falls from annealed_share of the peak to zero.
    """

    total_steps: int | None = None
    eval_steps: int | None = None
    save_steps: int | None = None
    sample_steps: int | None = None
    start_step: int = 0
    start_progress: float = 0.0
    look_steps: int | None = None
    annealed_from: int | None = None
    annealed_share: float = 1.0

    @property
    def is_decided(self) -> bool:
        """Nothing waits for timed steps any more."""
        return None not in (self.total_steps, self.eval_steps, self.save_steps, self.sample_steps)

    def progress(self, step: int) -> float:
        """Return the share of the schedule that lies behind; 0 while the length is not decided."""
        if self.total_steps is None:
            return 0.0
        span = max(1, self.total_steps - self.start_step)
        rest = 1 - self.start_progress
        return min(1.0, self.start_progress + rest * (step - self.start_step) / span)

    def evaluation_interval(self, step: int) -> int | None:
        """Return the steps between two evaluations at this step; None while it is not decided."""
        intervals = []
        if self.eval_steps is not None:
            intervals.append(self.eval_steps)
        if self.look_steps is not None:
            doublings = (step // (LOOKS * self.look_steps)).bit_length() - 1
            intervals.append(self.look_steps << max(0, doublings))
        if self.annealed_from is not None and self.total_steps is not None:
            intervals.append(max(1, (self.total_steps - self.annealed_from) // ANNEALING_LOOKS))
        return min(intervals, default=None)

    def annealed(self, step: int, learning_steps: int, share: float) -> Plan:
        """Return the plan that from this step on anneals weights which took so many steps.

        share: of the peak learning rate, at this step.
        """
        total = step + max(1, math.ceil(ANNEALING_SHARE * learning_steps))
        if self.total_steps is not None:
            total = min(total, self.total_steps)
        return dataclasses.replace(
            self, total_steps=total, annealed_from=step, annealed_share=share
        )

    def with_length(self, step: int, total_steps: int, *, keep_rate: bool) -> Plan:
        """Return the plan from this step on, for another length.

        keep_rate: the learning rate goes on from where it is (the machine's speed has changed).
        Otherwise it becomes what it would be had this length been asked for from the start (a
        person asked for more).
        """
        if self.annealed_from is not None and keep_rate:
            return dataclasses.replace(self, total_steps=max(step, total_steps))
        progress = self.progress(step) if keep_rate else step / max(1, total_steps)
        return dataclasses.replace(
            self,
            total_steps=max(step, total_steps),
            start_step=step,
            start_progress=progress,
            annealed_from=None,
        )

    def with_interval(self, name: str, steps: float | None) -> Plan:
        """Return the plan with another interval for "eval", "save" or "sample"."""
        interval_steps = None if steps is None else max(1, round(steps))
        changes: dict[str, Any] = {f"{name}_steps": interval_steps}
        return dataclasses.replace(self, **changes)


def plan_from_dict(values: Any) -> Plan:
    """Return the plan that dataclasses.asdict was given.

    Raises ValueError for anything else: a file may hold it.
    """
    least = {
        "total_steps": 0,
        "eval_steps": 1,
        "save_steps": 1,
        "sample_steps": 1,
        "start_step": 0,
        "look_steps": 1,
        "annealed_from": 0,
    }
    shares = ("start_progress", "annealed_share")
    if not isinstance(values, dict) or not set(values) <= {*least, *shares}:
        raise ValueError("no plan of a training")
    plan = Plan(**values)
    for name, low in least.items():
        value = getattr(plan, name)
        if value is None and name != "start_step":
            continue
        if type(value) is not int or not low <= value < MAX_WHOLE:
            raise ValueError(f"no {name} of a plan")
    for name in shares:
        share = getattr(plan, name)
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise ValueError(f"no {name} of a plan")
    return plan


def first_plan(
    settings: TrainingSettings, steps_per_epoch: int, evaluation_steps: float = 0.0
) -> Plan:
    """Return what is known before any step was timed.

    evaluation_steps: the work of one evaluation, in training steps.
    """
    total = settings.steps
    if settings.epochs is not None:
        total = math.ceil(settings.epochs * steps_per_epoch)
    plan = Plan(total)
    if settings.eval_every is None:
        affordable = math.ceil(evaluation_steps / EVALUATION_SHARE)
        if total is not None:
            affordable = _affordable_interval(total, evaluation_steps)
        looks = max(steps_per_epoch, affordable, FEWEST_LOOK_STEPS)
        plan = dataclasses.replace(plan, look_steps=looks)
    for name in TIMES:
        every = getattr(settings, f"{name}_every")
        if every is not None:
            steps, _ = interval(every, f"--{name}-every")
            plan = plan.with_interval(name, steps)
        elif total is not None:
            plan = plan.with_interval(name, _usual_interval(name, total, evaluation_steps))
    return plan


def decided_plan(
    plan: Plan,
    settings: TrainingSettings,
    step: int,
    step_s: float,
    left_s: float,
    evaluation_s: float = 0.0,
    evaluation_steps: float = 0.0,
    most_steps: int | None = None,
) -> Plan:
    """Decide everything at this step.

    step_s, evaluation_s: what a step and an evaluation take. left_s: of the budget.
    most_steps: that the budget becomes.
    How often to evaluate follows from evaluation_steps, a count of characters: machines that differ
    decide alike.
    """

    def steps_between(name: str, total: int) -> float:
        every = getattr(settings, f"{name}_every")
        if every:
            return seconds(every, name) / step_s
        return _usual_interval(name, total, evaluation_steps)

    total = plan.total_steps
    if total is None:
        longest = step + max(1, round(left_s / step_s))  # as if evaluations cost nothing
        between = max(1.0, plan.eval_steps or steps_between("eval", longest))
        between = min(between, plan.evaluation_interval(longest // 2) or between)
        total = step + max(1, round((left_s - evaluation_s) / (step_s + evaluation_s / between)))
        if most_steps is not None:
            total = max(step + 1, min(total, most_steps))
        plan = plan.with_length(step, total, keep_rate=True)
    for name in TIMES:
        if getattr(plan, f"{name}_steps") is None:
            plan = plan.with_interval(name, steps_between(name, total))
    return plan


def corrected_plan(
    plan: Plan, step: int, step_s: float, left_s: float, most_steps: int | None = None
) -> Plan | None:
    """Return a plan of another length, if at this speed the budget would be missed; else None.

    Missed is: by more than a fifth of what is left. most_steps: that the budget becomes.
    """
    if plan.total_steps is None:
        return None
    needed_s = (plan.total_steps - step) * step_s
    is_short = plan.annealed_from is not None or plan.total_steps == most_steps
    if is_short and needed_s <= left_s:
        return None  # it ends before its budget, and is meant to
    if needed_s == 0 or (left_s > 0 and 1 / 1.2 <= needed_s / left_s <= 1.2):
        return None
    total = step + max(0, round(left_s / step_s))
    if most_steps is not None:
        total = min(total, most_steps)
    return plan.with_length(step, total, keep_rate=True)


def has_levelled_off(plan: Plan, step: int, best_step: int, looks: int) -> bool:
    """Return whether the best weights should be annealed: nothing better came for long enough.

    step, best_step: since this text began.
    looks: evaluations since the best one.
    """
    if plan.annealed_from is not None or not best_step:
        return False
    return looks >= PATIENT_LOOKS and step - best_step >= PATIENT_SHARE * best_step


def is_at_next_part(step: int, before: int, total: int, parts: int) -> bool:
    """Return whether a run is in another of its equal parts than at a step before.

    Not right after that step: a plan that gets shorter moves the ends of the parts.
    """
    is_another = parts * step // total > parts * before // total
    return is_another and step - before >= total // (2 * parts)


def is_same_length(now: TrainingSettings, before: TrainingSettings) -> bool:
    """Return whether a resume asks for the length that the run had before."""
    return all(getattr(now, key) == getattr(before, key) for key in LENGTHS)


def resumed_plan(
    plan: Plan,
    now: TrainingSettings,
    before: TrainingSettings,
    steps_per_epoch: int,
    step: int,
    elapsed_s: float,
    evaluation_steps: float,
) -> Plan:
    """Return the plan of a run that goes on: as recorded, unless something else is asked for now.

    Raises SettingsError if what is asked for is shorter.
    """
    wanted = first_plan(now, steps_per_epoch, evaluation_steps)
    if now.save_every != before.save_every:
        plan = plan.with_interval("save", wanted.save_steps)
    if now.sample_every != before.sample_every:
        plan = plan.with_interval("sample", wanted.sample_steps)
    if not is_same_length(now, before):
        plan = extended_plan(plan, now, steps_per_epoch, step, elapsed_s, evaluation_steps)
    return plan


def extended_plan(
    plan: Plan,
    settings: TrainingSettings,
    steps_per_epoch: int,
    step: int,
    elapsed_s: float,
    evaluation_steps: float = 0.0,
) -> Plan:
    """Return the plan of a resumed run that was asked to go on for longer.

    A budget goes on at the pace so far.
    Raises SettingsError if what is asked for is no longer.
    """
    total = first_plan(settings, steps_per_epoch).total_steps
    if plan.total_steps is None and (total is None or total >= step):
        return dataclasses.replace(plan, total_steps=total)  # nothing was decided yet
    if total is None:
        left_s = seconds(settings.budget or "", "--budget") - elapsed_s
        total = step + round(left_s * step / max(elapsed_s, 1e-3))
    planned = plan.total_steps or step
    if total < max(step, planned):
        key = next(key for key in LENGTHS if getattr(settings, key) is not None)
        least = {
            "steps": f"{max(step, planned):,}",
            "epochs": f"{max(step, planned) / steps_per_epoch:.3g}",
            "budget": f"{math.ceil(elapsed_s * max(1.0, planned / max(1, step)))}s",
        }
        way = f"ask for more than --{key} {least[key]}"
        if step < planned:
            way += ", or leave it out to go on as planned"
        raise SettingsError(
            f"--{key} {_plain(getattr(settings, key))} is shorter than this run, which is at step "
            f"{step:,} of {planned:,} after {elapsed_s:.0f}s; {way}"
        )
    plan = plan.with_length(step, total, keep_rate=False)
    for name in TIMES:
        if getattr(settings, f"{name}_every") is None:
            plan = plan.with_interval(name, _usual_interval(name, total, evaluation_steps))
    return plan


def _plain(value: float | str) -> str:
    """Return a length as a person types it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _usual_interval(name: str, total: int, evaluation_steps: float) -> int:
    """Return the steps between two evaluations, checkpoints or samples, if nobody said.

    Evaluations get their share of the run's work, the first and the last included, but a few are
    always made.
    """
    usual = max(1, total // TIMES[name])
    if name != "eval" or not evaluation_steps:
        return usual
    return max(usual, _affordable_interval(total, evaluation_steps))


def _affordable_interval(total: int, evaluation_steps: float) -> int:
    """Return the least steps between two evaluations that keep to their share of the work."""
    if not evaluation_steps:
        return 1
    affordable = EVALUATION_SHARE * total / evaluation_steps - 2
    return math.ceil(total / max(FEWEST_EVALUATIONS, affordable))

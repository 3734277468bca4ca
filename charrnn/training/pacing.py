"""The pace of a training: its clocks, and the plan that follows from them (plan.py).

Once the plan is decided no clock decides anything, unless the machine's speed changes.
"""

from __future__ import annotations

import math
import time
from collections import deque

from charrnn.config import TrainingSettings
from charrnn.training.plan import TIMES, Plan, corrected_plan, decided_plan, is_at_next_part
from charrnn.values import seconds

# A plan waits for at least so many steps and seconds; with slow steps for fewer,
# so that these do not eat the budget: a few, in at most this share of it.
TIMED_STEPS = 10
TIMED_S = 1.5
FEWEST_TIMED_STEPS = 3
TIMED_SHARE = 0.1

# A budget reads a text that is too short to validate on no more often. On six lists of 10 to 60
# names a tenth to a half of the samples then were new; after 300 passes nearly none, after 180
# few were like names.
MOST_PASSES = 220

LEAST_BUSY = 0.1  # of a processor: a training that waits for a GPU or for others has more

REMEMBERED_STEPS = 500  # whose mean time tells how long the rest takes


class Pacing:
    """How long a training has taken, how fast it is, and what its plan says is due."""

    def __init__(
        self,
        settings: TrainingSettings,
        plan: Plan,
        evaluation_steps: float,
        began: float | None = None,
        most_steps: int | None = None,
    ) -> None:
        """evaluation_steps: the work of one evaluation, in training steps.

        most_steps: that a budget becomes.
        began: time.perf_counter() when the budget's clock started; None: now.
        """
        self.plan = plan
        self._settings = settings
        self._evaluation_steps = evaluation_steps
        self._most_steps = most_steps
        self._evaluation_s = 0.0  # of the first evaluation

        self._began = time.perf_counter() if began is None else began
        self._elapsed_before_s = 0.0  # in earlier processes
        self._still_s = 0.0  # in which this process stood still (Ctrl-Z)
        self._heard = (time.perf_counter(), time.process_time())  # at the last sign of life
        self._loop_began_s = 0.0  # elapsed at this process's first step
        self._last_look = (0, 0.0)  # step and elapsed seconds at the last evaluation

        self._sample_step: int | None = None  # of the last samples that came with an evaluation

        # Steps alone, without evaluations, samples and checkpoints.
        self._step_began = 0.0
        self._step_ends: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._steps_s = 0.0
        self._steps_chars = 0

    def resume_at(self, elapsed_s: float) -> None:
        """Count from what earlier processes took. A longer plan was asked for, and stays."""
        self._elapsed_before_s = elapsed_s
        if self._most_steps is not None and (self.plan.total_steps or 0) > self._most_steps:
            self._most_steps = None

    def elapsed_s(self) -> float:
        """Return the seconds of this training in all processes so far."""
        return self._elapsed_before_s + self._now() - self._began

    def wake(self) -> None:
        """Leave out the time in which the process stood still. Called when it goes on (SIGCONT).

        It stood still for what has passed since the last sign of life, without the time in which it
        computed: with the share of the processors that it had on average.
        """
        heard, cpu_s = self._heard
        now = time.perf_counter()
        busy = cpu_s / max(1e-3, heard - self._began - self._still_s)
        computed_s = (time.process_time() - cpu_s) / max(LEAST_BUSY, busy)
        self._still_s += max(0.0, now - heard - computed_s)
        self._heard = (now, time.process_time())

    def _now(self) -> float:
        """Return time.perf_counter() without the time in which the process stood still."""
        return time.perf_counter() - self._still_s

    def begin_loop(self, step: int, evaluation_s: float | None) -> None:
        """Note that steps begin. evaluation_s: what the evaluation before them took, if any."""
        if evaluation_s is not None:
            self._evaluation_s = evaluation_s
        self._step_ends.clear()
        self._sample_step = None
        self._loop_began_s = self.elapsed_s()
        self._last_look = (step, self._loop_began_s)

    def begin_step(self) -> None:
        """Note that a step begins."""
        self._step_began = self._now()
        self._heard = (time.perf_counter(), time.process_time())

    def end_step(self, chars: int) -> None:
        """Note that a step over so many characters has ended."""
        now = self._now()
        self._heard = (time.perf_counter(), time.process_time())
        self._steps_s += now - self._step_began
        self._steps_chars += chars
        self._step_ends.append(now)

    @property
    def chars_per_s(self) -> float:
        """Characters that a second of this process's steps learnt from."""
        return self._steps_chars / self._steps_s if self._steps_s else 0.0

    def seconds_left(self, step: int) -> float | None:
        """Return how long the rest takes at the speed of the last steps, if that can be told."""
        ends = self._step_ends
        if self.plan.total_steps is None or len(ends) < 2:
            return None
        return (self.plan.total_steps - step) * (ends[-1] - ends[0]) / (len(ends) - 1)

    def is_over(self, step: int) -> bool:
        """Return whether the plan has no step left."""
        return self.plan.total_steps is not None and step >= self.plan.total_steps

    def is_sample_due(self, step: int, updates: int) -> bool:
        """Return whether this step ends with samples. updates: since the last evaluation.

        Unless a person chose the steps, samples wait for the next evaluation, and so have a score.
        """
        plan = self.plan
        if self._settings.sample_every is not None:
            return plan.sample_steps is not None and step % plan.sample_steps == 0
        evaluation_steps = plan.evaluation_interval(step)
        if plan.total_steps is None or evaluation_steps is None or step % evaluation_steps:
            return False
        if self._sample_step is None:
            self._sample_step = step - updates
        is_due = is_at_next_part(step, self._sample_step, plan.total_steps, TIMES["sample"])
        if is_due:
            self._sample_step = step
        return is_due

    def decide(self, step: int) -> bool:
        """Turn budget and durations into steps, once enough steps were timed.

        Returns whether that is done now.
        """
        # 1. Are enough steps timed?
        budget = self._settings.budget
        budget_s = seconds(budget, "--budget") if budget else math.inf
        ends = self._step_ends
        timed_s = self.elapsed_s() - self._loop_began_s
        is_enough = len(ends) >= TIMED_STEPS and timed_s >= TIMED_S
        is_slow = len(ends) >= FEWEST_TIMED_STEPS and timed_s > budget_s * TIMED_SHARE
        if not is_enough and not is_slow:
            return False

        # 2. What does a step take? The first pay for caches and lazy set-up.
        half = len(ends) // 2
        step_s = (ends[-1] - ends[half]) / (len(ends) - 1 - half)

        # 3. How many fit?
        left_s = budget_s - self.elapsed_s()
        costs = (self._evaluation_s, self._evaluation_steps)
        self.plan = decided_plan(
            self.plan, self._settings, step, step_s, left_s, *costs, self._most_steps
        )
        return True

    def correct(self, step: int) -> bool:
        """Look, at an evaluation, whether the budget will be met.

        Returns whether the plan changed.
        """
        last_step, last_s = self._last_look
        now_s = self.elapsed_s()
        self._last_look = (step, now_s)
        budget = self._settings.budget
        if budget is None or step == last_step:
            return False
        step_s = (now_s - last_s) / (step - last_step)  # with evaluations, samples, checkpoints
        left_s = seconds(budget, "--budget") - now_s
        plan = corrected_plan(self.plan, step, step_s, left_s, self._most_steps)
        if plan is None:
            return False
        self.plan = plan
        return True

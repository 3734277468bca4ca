"""Clocks of a training: time in which the process stood still is not training time."""

import os
import signal

import pytest
from support import FEW, Watcher

from charrnn.config import TrainingSettings
from charrnn.training import pacing
from charrnn.training.pacing import Pacing
from charrnn.training.plan import Plan
from charrnn.training.session import Request, train


class Clock:
    """A wall clock, and the time of a process that has half of a processor."""

    def __init__(self):
        self.wall = 100.0
        self.cpu = 3.0

    def perf_counter(self):
        return self.wall

    def process_time(self):
        return self.cpu

    def compute(self, seconds):
        self.wall += seconds
        self.cpu += seconds / 2


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def halted(clock, still_s):
    """A training of 20 steps of 0.3 s that then stands still in the middle of an evaluation."""
    pace = Pacing(TrainingSettings(budget="25s"), Plan(), 0.0, began=clock.wall - 6.0)
    pace.begin_loop(0, None)
    for _ in range(20):
        pace.begin_step()
        clock.compute(0.3)
        pace.end_step(10)
    clock.compute(1.0)
    clock.wall += still_s
    clock.compute(0.5)
    pace.wake()
    return pace


def test_a_process_that_stood_still_did_not_train(clock):
    pace = halted(clock, 40.0)
    assert pace.elapsed_s() == pytest.approx(6.0 + 6.0 + 1.5, abs=0.1)
    pace.begin_step()
    clock.compute(0.3)
    pace.end_step(10)
    assert pace.chars_per_s == pytest.approx(10 / 0.3)


def test_the_plan_that_follows_fits_the_budget(clock):
    pace = halted(clock, 40.0)
    assert pace.decide(20)
    assert 50 < pace.plan.total_steps < 70  # 11.5 s are left, for steps of 0.3 s


def test_a_sign_to_go_on_without_a_halt_changes_nothing(clock):
    pace = halted(clock, 0.0)
    assert pace.elapsed_s() == pytest.approx(13.5, abs=0.1)


def test_a_training_that_is_continued_is_woken(tmp_path, one_thread, monkeypatch):
    woken = []
    monkeypatch.setattr(Pacing, "wake", lambda pace: woken.append(pace.elapsed_s()))

    class Continued(Watcher):
        def step(self, update):
            if update.step == 2:
                os.kill(os.getpid(), signal.SIGCONT)

    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    changes = {"steps": 4, "hidden_size": 4, "threads": 1}
    request = Request(str(tmp_path / "few.txt"), (("--", changes),), run=tmp_path / "r")
    before = signal.getsignal(signal.SIGCONT)
    train(request, Continued())
    assert len(woken) == 1
    assert signal.getsignal(signal.SIGCONT) == before

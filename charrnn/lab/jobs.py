"""Trainings of a comparison at the same time, each in a process with threads of its own.

A process that is killed is started again, and goes on from its run's checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError
from charrnn.lab.compare import Quiet, Stopped, Turn, say_trained
from charrnn.lab.plan import PLAN, Plan
from charrnn.lab.variants import as_layer
from charrnn.modelfile import checkpoint_files
from charrnn.training.listener import Step
from charrnn.training.signals import SIGNALS, signals

MOST_LIVES = 4  # of a training whose process is killed
LOOK_S = 0.2  # between looks for a signal


class JobError(CharrnnError):
    """A fault in the process of a training."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Job:
    """A training and the process that is at it."""

    turn: Turn
    path: Path
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None
    unread: bytes = b""
    has_closed: bool = False
    is_told: bool = False  # to stop
    end: dict[str, Any] | None = None  # its last event: done, diverged or fault
    step: int = 0
    total: int | None = None
    nats: float | None = None

    def start(self, plan: Plan, environment: dict[str, str]) -> None:
        """Begin the training, or go on with it."""
        settings = as_layer(self.turn.variant.with_seed(self.turn.seed))
        order = {
            "corpus": plan.corpus,
            "origin": PLAN,
            "settings": {"threads": 1} | settings,
            "run": str(self.path),
            "resume": bool(checkpoint_files(self.path / "checkpoints")),
        }
        self.lives += 1
        self.unread = b""
        self.has_closed = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "charrnn.lab.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is told to it by us
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the process has told, and note it."""
        assert self.process is not None
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "step":
                self.step = event["step"]
                self.total = event["total"]
                self.nats = event["nats"]
            elif event["event"] != "say":
                self.end = event
            yield event
        self.has_closed = not data

    def leave(self) -> None:
        """Wait for the end of the process. One that trains saves and stops."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        if not self.is_told and not self.has_closed:
            process.stdin.close()  # which tells it to stop; a second time it would not save
        process.wait()
        process.stdin.close()
        process.stdout.close()

    @property
    def is_at_work(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.returncode is None


@dataclass
class Board:
    """All trainings as one: what their single bar shows."""

    progress: Any
    jobs: Sequence[Job]
    began: float = field(default_factory=time.monotonic)

    def show(self, chars: int) -> None:
        """Move the bar. chars: learnt since the last time."""
        steps = sum(job.step for job in self.jobs)
        totals = [job.total for job in self.jobs if job.total is not None]
        total = None
        left_s = None
        if totals:  # those to come are like those that are known
            total = round(sum(totals) / len(totals) * len(self.jobs))
            if steps:
                left_s = (time.monotonic() - self.began) * max(0, total - steps) / steps
        nats = [job.nats for job in self.jobs if job.is_at_work and job.nats is not None]
        mean = sum(nats) / len(nats) if nats else math.nan
        self.progress.step(Step(steps, total, chars, mean, left_s))


def train_in_processes(
    plan: Plan,
    folder: Path,
    turns: Sequence[Turn],
    jobs: int,
    progress: Any,
    say: Callable[[str], None],
) -> dict[tuple[str, int], str]:
    """Train what is not trained yet, so many at a time. Raises Stopped, JobError.

    Returns why a run has no figure, for those that diverged. progress: shows all of them.
    """
    everything = [Job(turn, turn.variant.run(folder, turn.seed)) for turn in turns]
    waiting = list(everything)
    at_work: list[Job] = []
    failed: dict[tuple[str, int], str] = {}
    board = Board(progress, everything)
    quiet = Quiet(progress, set())
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    environment.setdefault("GOMP_SPINCOUNT", "1000")  # as cli.main does
    asked: list[str] = []

    with signals(asked.append, None, False), selectors.DefaultSelector() as selector:
        try:
            while waiting or at_work:
                # 1. As many as there may be
                while waiting and len(at_work) < jobs and not asked:
                    job = waiting.pop(0)
                    job.start(plan, environment)
                    assert job.process is not None
                    selector.register(job.process.stdout, selectors.EVENT_READ, job)  # type: ignore[arg-type]
                    at_work.append(job)
                if asked:
                    for job in at_work:
                        _tell(job, signal.SIGTERM)
                    if not at_work:
                        break

                # 2. What they tell
                for key, _ in selector.select(LOOK_S):
                    job = key.data
                    for event in job.events():
                        if event["event"] == "say":
                            quiet.say(event["text"])
                        elif event["event"] == "step":
                            board.show(event["chars"])
                    if not job.has_closed:
                        continue

                    # 3. One has ended
                    selector.unregister(key.fileobj)
                    job.leave()
                    at_work = [other for other in at_work if other is not job]
                    if not asked and not _has_ended(job, say, failed):
                        waiting.insert(0, job)
        finally:
            for job in at_work:
                job.leave()
    if asked:
        raise Stopped(asked[0])
    return failed


def _has_ended(job: Job, say: Callable[[str], None], failed: dict[tuple[str, int], str]) -> bool:
    """Take in how a process has ended. Returns whether its training is over. Raises JobError."""
    assert job.process is not None
    turn = job.turn
    end = job.end
    if end is None and job.process.returncode < 0 and job.lives < MOST_LIVES:
        name = signal.Signals(-job.process.returncode).name
        say(f"{turn.title}: its process was killed ({name}); going on from its checkpoint")
        return False
    if end is None:
        raise JobError(f"{turn.title}: its process has ended without a word", 1)
    if end["event"] == "fault":
        raise JobError(f"{turn.title}: {end['text']}", end["code"])
    if end["event"] == "diverged":
        failed[turn.variant.name, turn.seed] = end["text"]
        say(f"{turn.title}: diverged")
        return True
    if end["reason"] in SIGNALS:
        raise Stopped(end["reason"])
    say_trained(turn, end["reason"], end["nats"], end["elapsed_s"], say)
    return True


def _tell(job: Job, number: signal.Signals) -> None:
    """Send a signal to a process that is there; once is enough."""
    if job.is_at_work and job.process is not None and not job.is_told:
        job.process.send_signal(number)
        job.is_told = True

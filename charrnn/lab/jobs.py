"""Trainings of a comparison at the same time, in processes that each train one after the other.

A process that is killed is replaced, and its training goes on from its run's checkpoint.
"""

from __future__ import annotations

import contextlib
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
ENDS = ("done", "diverged", "fault")  # of a training, as its process tells them


class JobError(CharrnnError):
    """A fault in the process of a training."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Job:
    """A training, and how far it is."""

    turn: Turn
    path: Path
    lives: int = 0
    step: int = 0
    total: int | None = None
    nats: float | None = None

    def order(self, plan: Plan) -> dict[str, Any]:
        """Return what a process is told, to begin the training or go on with it."""
        settings = as_layer(self.turn.variant.with_seed(self.turn.seed))
        return {
            "corpus": plan.corpus,
            "origin": PLAN,
            "settings": {"threads": 1} | settings,
            "run": str(self.path),
            "resume": bool(checkpoint_files(self.path / "checkpoints")),
        }


class Worker:
    """A process that trains (lab/worker.py), and what it is at."""

    def __init__(self) -> None:
        environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
        environment.setdefault("GOMP_SPINCOUNT", "1000")  # as cli.main does
        self.job: Job | None = None
        self.has_closed = False
        self._unread = b""
        self._is_told = False  # to stop
        self.process = subprocess.Popen(
            [sys.executable, "-m", "charrnn.lab.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C is told to it by us
        )

    def begin(self, job: Job, plan: Plan) -> None:
        """Let the process train, which does nothing else."""
        assert self.process.stdin is not None
        self.job = job
        job.lives += 1
        with contextlib.suppress(BrokenPipeError):  # it was killed, which its output will tell
            self.process.stdin.write(json.dumps(job.order(plan)).encode() + b"\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the process has told."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self._unread = (self._unread + data).split(b"\n")
        yield from map(json.loads, lines)
        self.has_closed = not data

    def stop(self) -> None:
        """Let the training save and end, which a second signal would not."""
        if self.job is not None and not self._is_told:
            self.process.terminate()
            self._is_told = True

    def leave(self) -> None:
        """Wait for the end of its training, and end the process."""
        while self.job is not None and not self.has_closed:
            if any(event["event"] in ENDS for event in self.events()):
                self.job = None
        if not self.has_closed:
            self.process.kill()  # it has nothing to save
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@dataclass
class Board:
    """All trainings as one: what their single bar shows."""

    progress: Any
    jobs: Sequence[Job]
    workers: Sequence[Worker]
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
        at_work = [worker.job for worker in self.workers if worker.job is not None]
        nats = [job.nats for job in at_work if job.nats is not None]
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
    workers: list[Worker] = []
    failed: dict[tuple[str, int], str] = {}
    board = Board(progress, everything, workers)
    quiet = Quiet(progress, set())
    asked: list[str] = []

    with signals(asked.append, None, False), selectors.DefaultSelector() as selector:
        try:
            while (waiting and not asked) or any(worker.job for worker in workers):
                # 1. As many as there may be
                while waiting and not asked:
                    worker = next((worker for worker in workers if worker.job is None), None)
                    if worker is None:
                        if len(workers) == jobs:
                            break
                        worker = Worker()
                        workers.append(worker)
                        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
                    worker.begin(waiting.pop(0), plan)
                if asked:
                    for worker in workers:
                        worker.stop()

                # 2. What they tell
                for key, _ in selector.select(LOOK_S):
                    worker = key.data
                    for event in worker.events():
                        job = worker.job
                        assert job is not None
                        if event["event"] == "say":
                            quiet.say(event["text"])
                        elif event["event"] == "step":
                            job.step = event["step"]
                            job.total = event["total"]
                            job.nats = event["nats"]
                            board.show(event["chars"])
                        else:
                            worker.job = None
                            if not asked:
                                _take_end(job.turn, event, say, failed)
                    if not worker.has_closed:
                        continue

                    # 3. One has ended
                    selector.unregister(key.fileobj)
                    worker.leave()
                    del workers[workers.index(worker)]
                    if worker.job is not None and not asked:
                        _take_loss(worker.job, worker.process.returncode, say)
                        waiting.insert(0, worker.job)
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.leave()
    if asked:
        raise Stopped(asked[0])
    return failed


def _take_end(
    turn: Turn,
    end: dict[str, Any],
    say: Callable[[str], None],
    failed: dict[tuple[str, int], str],
) -> None:
    """Take in how a training has ended. Raises JobError, Stopped."""
    if end["event"] == "fault":
        raise JobError(f"{turn.title}: {end['text']}", end["code"])
    if end["event"] == "diverged":
        failed[turn.variant.name, turn.seed] = end["text"]
        say(f"{turn.title}: diverged")
        return
    if end["reason"] in SIGNALS:
        raise Stopped(end["reason"])
    say_trained(turn, end["reason"], end["nats"], end["elapsed_s"], say)


def _take_loss(job: Job, code: int, say: Callable[[str], None]) -> None:
    """Take in that the process of a training has gone. Raises JobError if it is not worth more.

    code: of its end, negative for a signal.
    """
    if code >= 0 or job.lives >= MOST_LIVES:
        raise JobError(f"{job.turn.title}: its process has ended without a word", 1)
    name = signal.Signals(-code).name
    say(f"{job.turn.title}: its process was killed ({name}); going on from its checkpoint")

"""SIGKILL at random moments, resumed until done: the end is that of the undisturbed training, to
the bit.

The lives of a training are forks of one process that has loaded everything and computed nothing, so
that a kill costs a life of some hundredths of a second. Each has files and locks of its own and
dies as any process does.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import Straight, without_times
from faults import trainings as small
from support import Watcher

ROW = "F1 SIGKILL at random moments, resumed until done"
NETWORK = {
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.3,
    "ema": 0.9,
    "schedule": "cosine",
    "warmup": 5,
    "clip": 0.5,
    "steps": 90,
    "save_every": "3",
    "eval_every": "10",
    "sample_every": "20",
}
REPORTS, ROUNDS = (
    16,
    30_000,
)  # a life is killed after so many reports, and so many rounds of a loop, at most

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


def trainings(folder):
    found = small(folder)
    for mode in ("lines", "stream"):
        for cell in ("lstm", "gru"):
            settings = found[mode].settings | NETWORK | {"cell": cell}
            found[f"{cell} {mode}"] = replace(found[mode], settings=settings)
    return found


class Reporter(Watcher):
    """Tells standard output of every event, at once."""

    def say(self, text):
        os.write(1, b"event\n")

    step = evaluated = sampled = lambda self, *what: self.say("")


def nursery():
    """For each line of standard input, [name, folder], go on with that training in a process of its
    own.
    """
    torch.set_num_threads(1)
    for line in sys.stdin:
        if not (child := os.fork()):
            name, folder = json.loads(line)
            os.write(1, b"born %d\n" % os.getpid())
            try:
                outcome = trainings(Path(sys.argv[1]))[name].go_on(Path(folder), Reporter())
                os.write(1, f"done {outcome.weights_sha256}\n".encode())
            except BaseException as error:
                os.write(1, f"failed {error!r}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder, and a process that brings up trainings."""
    folder = tmp_path_factory.mktemp("kills")
    command = [sys.executable, "-c", "import test_kills; test_kills.nursery()", str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        yield folder, process
        process.stdin.close()


@pytest.fixture(scope="module")
def straights(places):
    made = {}

    def straight(name):
        if name not in made:
            made[name] = Straight(places[0] / f"straight {name}", trainings(places[0])[name])
        return made[name]

    return straight


def live(process, name, folder, chance):
    """One life. chance: a generator that says when to kill, or None.

    Returns the last line told: killed if it is "event".
    """
    process.stdin.write(json.dumps([name, str(folder)]) + "\n")
    told = [process.stdout.readline()]
    child = int(told[0].split()[1])
    if chance is not None:
        for _ in range(chance.integers(REPORTS)):
            told.append(process.stdout.readline())
            if not told[-1].startswith("event"):
                break
        for _ in range(chance.integers(ROUNDS)):
            pass
        with contextlib.suppress(ProcessLookupError):  # it had come to its end
            os.kill(child, signal.SIGKILL)
    while told[-1] != "dead\n":
        told.append(process.stdout.readline())
        assert told[-1], "the process that brings up trainings has died"
    return told[-2].rstrip()


def kill_and_resume(places, straight, name, tally, kills):
    """So many kills, over as many trainings as it takes."""
    (folder, process), chance, killed = places, np.random.default_rng(len(name)), 0
    while killed < kills:
        run = straight.training.put_text(folder / "killed")
        before, last = killed, ""
        while not last.startswith("done"):
            last = live(process, name, run, chance if killed < kills else None)
            assert not last.startswith("failed"), last
            killed += not last.startswith("done")
        with tally(ROW, killed - before):
            assert last == f"done {straight.outcome.weights_sha256}"
            assert without_times(run / "r") == straight.metrics
            for file in ("model.safetensors", "samples.txt"):
                assert (run / "r" / file).read_bytes() == (
                    straight.folder / "r" / file
                ).read_bytes()
            assert not list((run / "r").rglob("*.tmp"))
        shutil.rmtree(run)


NETWORKS = ["lstm lines", "lstm stream", "gru lines", "gru stream"]
OTHERS = ["counting lines", "counting stream", "tuned lines", "tuned stream"]


@pytest.mark.parametrize("name", ["lstm stream", "gru lines", *OTHERS[1:3]])
def test_killed_some_times_and_resumed_until_done(places, straights, tally, name):
    kill_and_resume(places, straights(name), name, tally, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_killed_two_hundred_times_and_resumed_until_done(places, straights, tally, name):
    kill_and_resume(places, straights(name), name, tally, 200)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_trainings_killed_fifty_times_and_resumed_until_done(places, straights, tally, name):
    kill_and_resume(places, straights(name), name, tally, 50)

"""torchrun -m charrnn train: whole launches, killed, stopped and restarted."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch_support import Launched, children_of
from parallel_support import PROSE, alone
from support import FEW

from charrnn.training.checkpoint import load_newest
from charrnn.training.outcome import weights_sha256

HERE = Path(__file__).parent
SMALL = {
    "mode": "stream",
    "cell": "lstm",
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.3,
    "batch_size": 8,
    "seq_length": 7,
    "lr": 0.02,
    "patience": 0,
    "save_every": "3",
    "eval_every": "10",
    "counting": "off",
}


# Nothing in a step depends on how many there are.
STEADY = {
    "schedule": "constant",
    "warmup": 0,
    "steps": 20_000,
    "weight_decay": 0.01,
    "weight_drop": 0.1,
    "ema": 0.9,
    "state_reset": 0.1,
}


def options(**changes):
    return [f"--{key.replace('_', '-')}={value}" for key, value in (SMALL | changes).items()]


def in_one_process(folder, **changes):
    """The weights and the score of the same training without torchrun."""
    outcome = alone(folder / "t.txt", folder / "alone", shards=4, **SMALL | changes)
    return outcome.weights_sha256, outcome.place.val_nats


def sha_of(run):
    return weights_sha256(load_newest(run)[0].model.tensors)


def steps_of(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "event" not in row]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "t.txt").write_text(PROSE)
    return tmp_path


@pytest.mark.medium
def test_two_processes_train_as_one_and_only_the_first_speaks(folder, one_thread):
    words = ["train", "t.txt", "--run-dir=r", "--json", *options(steps=12)]
    with Launched(folder, *words) as launch:
        code, out = launch.end()
    assert code == 0, launch.stderr
    (line,) = out.splitlines()
    said = json.loads(line)
    found = said["weights_sha256"], said["val_nats_per_char"]
    assert found == in_one_process(folder, steps=12)
    assert steps_of(folder / "r") == list(range(1, 13))
    assert launch.stderr.count("2 processes, 1 thread each; 4 shards") == 1


@pytest.mark.medium
def test_two_processes_score_as_one_and_only_the_first_speaks(folder):
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in FEW * 9))
    words = ["eval", "names", "--file", "names.txt", "--json"]
    with Launched(folder, *words) as launch:
        code, out = launch.end()
    assert code == 0, launch.stderr
    command = [sys.executable, "-m", "charrnn", *words]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    assert out == subprocess.check_output(command, cwd=folder, env=env, text=True)


@pytest.mark.slow
def test_a_fault_of_eval_is_said_once_and_ends_all(folder):
    with Launched(folder, "eval", "nothing", "--json") as launch:
        code, out = launch.end()
    assert (code, out) == (1, "")  # torchrun has no other
    assert launch.stderr.count("charrnn: ") == 1
    assert "exitcode  : 3" in launch.stderr  # of the first to end; torchrun ends the other


@pytest.mark.slow
@pytest.mark.parametrize(("number", "rank"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_a_signal_to_one_that_scores_ends_all(folder, number, rank):
    (folder / "names.txt").write_text("".join(f"{name}{n}\n" for n in range(20000) for name in FEW))
    words = ["eval", "names", "--file", "names.txt", "--unknown", "skip", "--no-baselines"]
    with Launched(folder, *words) as launch:
        time.sleep(20)
        os.kill(launch.rank(rank), number)
        assert launch.end(40) == (1, "")
        assert not children_of(launch.process.pid)


def kills(count):
    """Where so many lives end."""
    chance = random.Random(24)
    places = [
        *((rank, "step") for rank in (0, 1)),
        *((rank, "saving") for rank in (0, 1)),
        *((rank, "saved") for rank in (0, 1)),
        *((rank, "evaluation") for rank in (0, 1)),
    ]
    planned = []
    for number in range(count):
        rank, where = places[number % len(places)]
        times = chance.randint(2, 5) if where == "step" else chance.randint(1, 2)
        planned.append((rank, where, times))
    return planned


def killed(folder, count, steps):
    """Go through so many kills in one launch. Returns what torchrun said."""
    (folder / "kills.json").write_text(json.dumps(kills(count)))
    env = {
        "KILLS": str(folder / "kills.json"),
        "PYTHONPATH": f"{HERE}:{HERE.parent}:{HERE.parent.parent}",
    }
    program = (str(HERE / "killed_inside.py"),)
    words = ["train", "t.txt", "--run-dir=r", *options(steps=steps)]
    with Launched(folder, *words, restarts=count, program=program, env=env) as launch:
        code, _ = launch.end(120 + 90 * count)
        assert code == 0, launch.stderr
        assert not children_of(launch.process.pid)
    return launch.stderr


@pytest.mark.slow
@pytest.mark.timeout(4000)
@pytest.mark.parametrize("count", [8, 40])
def test_killed_many_times_equals_undisturbed(folder, one_thread, count):
    steps = 3 * count + 30
    stderr = killed(folder, count, steps)
    assert stderr.count("SIGKILL") >= count or stderr.count("-9") >= count
    assert sha_of(folder / "r") == in_one_process(folder, steps=steps)[0]
    assert steps_of(folder / "r") == list(range(1, steps + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "target"),
    [
        (signal.SIGTERM, "torchrun"),
        (signal.SIGTERM, 1),
        (signal.SIGINT, 0),
        (signal.SIGHUP, 1),
        (signal.SIGINT, "torchrun"),
    ],
)
def test_a_signal_to_one_saves_and_ends_all(folder, one_thread, number, target):
    words = ["train", "t.txt", "--run-dir=r", *options(**STEADY)]
    with Launched(folder, *words) as launch:
        launch.wait_for_steps(folder / "r", 5)
        began = time.monotonic()
        pid = launch.process.pid if target == "torchrun" else launch.rank(target)
        os.kill(pid, number)
        code, _ = launch.end(40)
        assert time.monotonic() - began < 30  # 10 s where the machine has nothing else to do
        assert code == 1  # torchrun has no other
        assert not children_of(launch.process.pid)
    assert "charrnn: error" not in launch.stderr
    assert "to go on: charrnn train --resume --run r" in launch.stderr
    done = load_newest(folder / "r")[0].step
    assert steps_of(folder / "r") == list(range(1, done + 1))
    assert sha_of(folder / "r") == in_one_process(folder, **STEADY | {"steps": done})[0]

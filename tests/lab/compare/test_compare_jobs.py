"""Several trainings of a comparison at a time, and parts of it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from compare_support import SMALL, VARY, Bar, asked, done

from charrnn.cli.compare import _part
from charrnn.errors import SettingsError
from charrnn.lab import jobs
from charrnn.lab.compare import Stopped, prepare, train_all, turns_of
from charrnn.lab.compared import compared
from charrnn.lab.jobs import JobError, train_in_processes
from charrnn.modelfile import checkpoint_files, read_model


def weights(path):
    return {name: value.tobytes() for name, value in read_model(path).tensors.items()}


def side_by_side(few, folder, bar=None, said=None, seeds=2, **more):
    request = asked(VARY, corpus=str(few), seeds=seeds, **(SMALL | more))
    bar = bar or Bar()
    plan, place = prepare(request, folder, Path("none"), bar, jobs=2)
    say = (said if said is not None else []).append
    return plan, train_in_processes(plan, place, turns_of(plan), 2, bar, say)


def workers(parent=None):
    """The processes that this one, or another, has started for trainings."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            of = int(stat.read_text().rpartition(")")[2].split()[1])
            if of == (parent or os.getpid()) and is_worker(int(stat.parent.name)):
                found.append(int(stat.parent.name))
    return found


def is_worker(process):
    with contextlib.suppress(OSError):
        return b"charrnn.lab.worker" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


def wait_until(is_so, tenths=600):
    for _ in range(tenths):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail("it never was")


@pytest.fixture
def started(monkeypatch):
    """The processes that are started for trainings."""
    found = []

    class Counted(jobs.Worker):
        def __init__(self):
            super().__init__()
            found.append(self.process)

    monkeypatch.setattr(jobs, "Worker", Counted)
    return found


@pytest.mark.medium
@pytest.mark.timeout(200)
def test_two_processes_give_what_one_gives(few, tmp_path, one_thread, started):
    said = []
    plan, failed = side_by_side(few, tmp_path / "two", said=said)
    again, _ = done(few, tmp_path / "one")
    assert failed == {}
    assert len(said) == 4
    for variant, seed in plan.runs():
        two = variant.run(tmp_path / "two", seed)
        assert weights(two) == weights(variant.run(tmp_path / "one", seed))
    ours = compared(plan, tmp_path / "two", failed)
    theirs = compared(again, tmp_path / "one", failed)
    column = ours.columns.index("bits/char")
    assert [row[column] for row in ours.rows] == [row[column] for row in theirs.rows]
    assert len(started) == 2
    assert not workers()


LINES = r"""gru: 12 units, [\d,]+ parameters
rnn: \d+ units, [\d,]+ parameters
4 trainings in here, equal parameters and steps
((step .*
)*[1-4]/4  (gru|rnn), seed [34]: [\d.]+ bits/char \([\d.]+ nats\) after [\d.]+ s
){4}one page about it: charrnn report here
"""


@pytest.mark.medium
@pytest.mark.timeout(200)
def test_the_command_says_nothing_but_its_own_lines(charrnn, few):
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    words = ("compare", few, "--vary", *VARY, "--seeds", 2, *settings, "--run", "here")
    told = charrnn(*words, "--jobs", 2)
    assert told.returncode == 0
    assert re.fullmatch(LINES, told.stderr), told.stderr


def test_who_asks_does_not_load_torch(few, tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from compare_support import VARY, SMALL, Bar, asked\n"
        "from charrnn.cli import compare\n"
        "from charrnn.lab import compare, compared, jobs\n"
        "request = asked(VARY, corpus=sys.argv[1], **SMALL)\n"
        "compare.prepare(request, Path(sys.argv[2]), Path('none'), Bar(), jobs=2)\n"
        "print('torch' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(few), str(tmp_path / "r")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
    )
    assert told.stdout == "False\n", told.stderr


@pytest.mark.slow
def test_a_killed_one_goes_on_and_a_signal_stops_all(few, tmp_path, one_thread):
    more = {"steps": "3000", "save_every": "20", "eval_every": "1000"}
    folder = tmp_path / "killed"
    said = []

    def has_begun():
        return len(list(folder.glob("*/checkpoints/step-000000[2-9]0*"))) > 1

    def disturb():
        for _ in range(4000):
            if has_begun() and len(workers()) == 2:
                break
            time.sleep(0.02)
        os.kill(workers()[0], signal.SIGKILL)
        for _ in range(4000):
            if any("going on" in text for text in said):
                break
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=disturb)
    thread.start()
    with pytest.raises(Stopped, match="SIGTERM"):
        side_by_side(few, folder, said=said, **more)
    thread.join()
    assert sum("was killed (SIGKILL)" in text for text in said) == 1
    assert not workers()
    assert all(checkpoint_files(run / "checkpoints") for run in folder.glob("*-seed-3"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_and_none_complains_when_the_command_ends(few, tmp_path, number):
    words = ["compare", str(few), "--vary", *VARY, "--steps", "100000", "--run", "here"]
    command = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *words, "--jobs", "2"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    wait_until(lambda: len(list(tmp_path.glob("here/*/metrics.jsonl"))) == 2)
    begun = workers(command.pid)
    command.send_signal(number)
    _, complaint = command.communicate()  # waits for all that write there
    assert len(begun) == 2
    wait_until(lambda: not any(map(is_worker, begun)), tenths=50)
    *_, last = complaint.splitlines()
    if number == signal.SIGTERM:
        assert last == "stopped; what was trained is saved. The same command goes on"
    else:
        assert last.startswith(("6 trainings", "step"))
    assert "Error" not in complaint
    assert all(checkpoint_files(run / "checkpoints") for run in tmp_path.glob("here/*-seed-*"))


@pytest.mark.medium
@pytest.mark.timeout(200)
def test_a_process_that_is_killed_before_its_first_order_is_replaced(
    few, tmp_path, one_thread, monkeypatch, started
):
    begin = jobs.Worker.begin

    def killed(worker, job, plan):
        if len(started) == 1:
            worker.process.kill()
            worker.process.wait()
        begin(worker, job, plan)

    monkeypatch.setattr(jobs.Worker, "begin", killed)
    said = []
    _, failed = side_by_side(few, tmp_path / "killed", said=said, seeds=1)
    assert failed == {}
    assert sum("was killed (SIGKILL); going on" in text for text in said) == 1
    assert len(started) == 3
    assert not workers()


@pytest.mark.slow
def test_a_fault_of_one_is_told_once_with_its_code(few, tmp_path, one_thread):
    folder = tmp_path / "r"
    request = asked(VARY, corpus=str(few), seeds=2, **SMALL)
    plan, place = prepare(request, folder, Path("none"), Bar(), jobs=2)
    (place / "gru-seed-3").write_text("in the way")
    with pytest.raises(JobError, match="gru-seed-3") as caught:
        train_in_processes(plan, place, turns_of(plan), 2, Bar(), lambda text: None)
    assert caught.value.exit_code == 5
    assert not workers()


def test_parts_together_are_the_whole(few, tmp_path):
    request = asked(VARY, corpus=str(few), seeds=3, **SMALL)
    plan, _ = prepare(request, tmp_path / "r", Path("none"), Bar())
    parts = [turns_of(plan, (number, 4)) for number in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [2, 2, 1, 1]
    titles = {turn.title for part in parts for turn in part}
    assert titles == {turn.title for turn in turns_of(plan)}


def test_parts_in_two_directories_are_joined(few, tmp_path):
    request = asked(VARY, corpus=str(few), seeds=2, **SMALL)
    for number in (1, 2):
        plan, place = prepare(request, tmp_path / f"{number}", Path("none"), Bar())
        train_all(plan, place, Bar, lambda text: None, turns_of(plan, (number, 2)))
    for run in (tmp_path / "2").glob("*-seed-*"):
        run.rename(tmp_path / "1" / run.name)
    said = []
    plan, place = prepare(request, tmp_path / "1", Path("none"), Bar())
    assert train_all(plan, place, Bar, said.append) == {}
    assert said == []  # all were done
    assert len(compared(plan, place, {}).rows) == 3


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="such as 1/4"):
        _part(text)

"""The fault matrix: second trainers, signals, memory, changed texts (F8, F9, F12, F14, F15).

Whatever happens, the old or the new checkpoint is there. Faults are planted in storage.disk, the
one object through which everything is written. Each test counts what it tried; the figures are
printed at the end. The fast slice takes a sample of each row, `slow` all of it.
"""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from faults import (
    recover,
    without_times,
)
from loaded import loaded_after
from matrix_support import LINES, put_text, resume, start
from support import Killed, Watcher

from charrnn.cli import main
from charrnn.errors import CheckpointError, CorpusError, StorageError
from charrnn.newest import newest_run
from charrnn.text.corpus import open_corpus
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.lock import check_free
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


# F8: one trainer in a run


HOLD = (
    "import sys, time\nfrom pathlib import Path\n"
    "from charrnn.training.checkpoint import RunDirectory\n"
)


HOLD += (
    "with RunDirectory(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
)


def test_a_second_trainer_is_refused_and_a_killed_holders_lock_is_free(tmp_path, tally):
    put_text(tmp_path)
    start(tmp_path, steps=4)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "r"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
        for request in (
            Request(run=tmp_path / "r", resume=True),
            Request(
                str(tmp_path / "few.txt"),
                (("--", LINES.settings),),
                run=tmp_path / "r",
                overwrite=True,
            ),
        ):
            with (
                tally("F8 two trainers"),
                pytest.raises(StorageError, match=f"process {holder.pid} on {os.uname().nodename}"),
            ):
                train(request, Watcher())
        assert before == {
            path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()
        }
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with tally("F8 two trainers"):
        assert resume(tmp_path).reason == "already done"


@pytest.mark.parametrize(
    "how",
    [
        ["--resume"],
        ["few.txt", "--resume"],
        ["--resume", "--run", "runs/few"],
        ["--overwrite", "--run", "runs/few"],
    ],
)
def test_a_second_trainer_is_told_before_it_has_loaded_torch(
    tmp_path, straight, tally, charrnn, how
):
    shutil.copytree(straight.folder / "r", tmp_path / "runs/few")
    with tally("F8 two trainers"), RunDirectory(tmp_path / "runs/few"):
        assert loaded_after(["train", *how], ("torch",), tmp_path) == set()
        second = charrnn("train", *how)
        assert second.returncode == 5
        assert (
            f"runs/few is in use by process {os.getpid()} on {os.uname().nodename}" in second.stderr
        )


@pytest.mark.parametrize("what", ["nothing", "a FIFO", "a directory", "somebody else's"])
def test_looking_for_a_holder_makes_nothing_and_waits_for_nothing(tmp_path, tally, what):
    if what == "a FIFO":
        os.mkfifo(tmp_path / ".lock")
    if what == "a directory":
        (tmp_path / ".lock").mkdir()
    if what == "somebody else's":
        (tmp_path / ".lock").write_text("123 on elsewhere")
    before = sorted(tmp_path.iterdir())
    with tally("F8 two trainers"):
        check_free(tmp_path)
        assert sorted(tmp_path.iterdir()) == before
        assert what != "somebody else's" or (tmp_path / ".lock").read_text() == "123 on elsewhere"


# F9: signals


def stopped_and_resumed(folder, straight, number, watcher):
    outcome = start(folder, watcher)
    assert outcome.reason == signal.Signals(number).name
    assert load_newest(folder / "r")[0].step == outcome.place.step < 6
    assert resume(folder).weights_sha256 == straight.outcome.weights_sha256
    assert without_times(folder / "r") == straight.metrics


class Signalled(Watcher):
    """Sends this process a signal at a moment of step 3."""

    def __init__(self, number, moment):
        super().__init__()
        self.number, self.moment = number, moment

    def step(self, update):
        if self.moment == "step" and update.step == 3:
            os.kill(os.getpid(), self.number)

    def evaluated(self, step, *rest):
        if self.moment == "evaluation" and step == 3:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["step", "evaluation", "save"])
def test_a_signal_at_any_moment_saves_and_resumes_exactly(
    tmp_path, straight, tally, monkeypatch, number, moment
):
    original, moments = RunDirectory.save, ["save"]

    def save(run, step, *rest):
        if step == 2 and moment in moments:
            moments.clear()  # once: the stop saves again
            os.kill(os.getpid(), number)
        return original(run, step, *rest)

    monkeypatch.setattr(RunDirectory, "save", save)
    with tally("F9 signals"):
        stopped_and_resumed(put_text(tmp_path), straight, number, Signalled(number, moment))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_leaves_at_once(tmp_path, straight, tally, monkeypatch, number):
    left = []

    def leave(code):
        left.append(code)
        raise Killed

    class Twice(Signalled):
        def step(self, update):
            super().step(update)
            super().step(update)

    monkeypatch.setattr(os, "_exit", leave)
    with tally("F9 signals"):
        with pytest.raises(Killed):
            start(put_text(tmp_path), Twice(number, "step"))
        assert left == [128 + number]
        recover(tmp_path, straight, 2)


# F12: memory runs out


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_at_a_step_leaves_a_checkpoint_that_goes_on(
    tmp_path, straight, tally, monkeypatch, capsys, fault
):
    original, steps = TrainStep._nats, []

    def full(step, ids, targets, state, number, *rest):
        steps.append(number)
        if number == 3:
            raise fault
        return original(step, ids, targets, state, number, *rest)

    with tally("F12 memory and devices"):
        with monkeypatch.context() as patch:
            patch.setattr(TrainStep, "_nats", full)
            patch.setattr(main, "app_of", lambda words: lambda **named: start(put_text(tmp_path)))
            with pytest.raises(SystemExit) as left:
                main.main()
        message = capsys.readouterr().err
        assert (left.value.code, message.count("\n"), steps[-1]) == (2, 1, 3)
        assert "memory" in message
        assert "--batch-size" in message
        recover(tmp_path, straight, 2)


# F14: the text changes


@pytest.mark.parametrize("when", ["while it trains", "before a resume"])
@pytest.mark.parametrize("change", ["replaced", "cut", "longer", "removed"])
def test_a_text_that_changes_never_changes_a_training(tmp_path, straight, tally, when, change):
    text = put_text(tmp_path) / "few.txt"
    good = text.read_text()

    def spoil():
        if change == "removed":
            text.unlink()
        else:
            text.write_text(
                {"replaced": "Zyx\n" * 20, "cut": good[:50], "longer": good + "Zoe\n"}[change]
            )

    class Spoil(Watcher):
        def step(self, update):
            if when == "while it trains" and update.step == 3:
                spoil()
            super().step(update)

    with tally("F14 the text changes"):
        if when == "while it trains":
            assert start(tmp_path, Spoil()).weights_sha256 == straight.outcome.weights_sha256
            return
        with pytest.raises(Killed):
            start(tmp_path, Watcher(3))
        spoil()
        with pytest.raises(CorpusError) as caught:
            train(Request(str(text), run=tmp_path / "r", resume=True), Watcher())
        assert caught.value.exit_code == 3
        assert "is not the text this run was trained on" in str(caught.value) or change in (
            "removed",
            "cut",
        )
        assert resume(tmp_path).weights_sha256 == straight.outcome.weights_sha256


@pytest.mark.parametrize("part", ["all of it", "the validation text"])
def test_a_copy_of_the_text_that_is_damaged_while_it_trains_is_told(
    tmp_path, straight, tally, part
):
    class Spoil(Watcher):
        def step(self, update):
            if update.step == 3:
                [path] = (tmp_path / "r/corpus").glob("*.ids")
                begin = 0 if part == "all of it" else bounds["val"][0]
                with open(path, "r+b") as file:  # in place: it is mapped
                    file.seek(begin)
                    file.write(b"\xff" * (path.stat().st_size - begin))

    fingerprint = load_newest(straight.folder / "r")[0].meta["fingerprint"]
    bounds = open_corpus(straight.folder / "r/corpus", fingerprint).bounds
    with tally("F14 the text changes"):
        with pytest.raises(CheckpointError, match=r"r/corpus/.* is damaged"):
            start(put_text(tmp_path), Spoil(), eval_every="5")
        request = Request(str(tmp_path / "few.txt"), run=tmp_path / "r", resume=True)
        assert train(request, Watcher())[1].weights_sha256 == straight.outcome.weights_sha256


def test_an_index_error_of_ours_stays_one(tmp_path, monkeypatch):
    def wrong(*_):
        raise IndexError("ours")

    monkeypatch.setattr(TrainStep, "_nats", wrong)
    with pytest.raises(IndexError, match="ours"):
        start(put_text(tmp_path))


# F15: odd places, clocks and file systems


@pytest.mark.parametrize(
    "name",
    ["with spaces", "new\nline", os.fsdecode(b"no\xffutf8"), "\x1b[31m", "--resume", "r" * 200],
)
def test_a_run_directory_may_have_any_name(tmp_path, straight, tally, name):
    with tally("F15 odd places"):
        recover_from_kill(put_text(tmp_path / name), straight)


def recover_from_kill(folder, straight):
    with pytest.raises(Killed):
        start(folder, Watcher(5))
    recover(folder, straight, 4)


def test_a_run_directory_may_be_a_link_or_moved_or_copied(tmp_path, straight, tally):
    with tally("F15 odd places"):
        folder = put_text(tmp_path / "linked")
        (tmp_path / "elsewhere").mkdir()
        (folder / "r").symlink_to(tmp_path / "elsewhere")
        recover_from_kill(folder, straight)
        assert (folder / "r").is_symlink()
    for how in (shutil.move, shutil.copytree):
        with tally("F15 odd places"):
            folder = put_text(tmp_path / how.__name__)
            with pytest.raises(Killed):
                start(folder, Watcher(5))
            how(folder, tmp_path / "new")
            recover(tmp_path / "new", straight, 4)
            shutil.rmtree(tmp_path / "new")


def test_a_file_system_without_locks_still_trains(tmp_path, straight, tally, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with tally("F15 odd places"):
        recover_from_kill(put_text(tmp_path), straight)


@pytest.mark.parametrize("clock", ["perf_counter", "time"])
def test_a_clock_that_jumps_changes_nothing(tmp_path, straight, tally, monkeypatch, clock):
    jumps = iter(range(10**9, 0, -(10**5)))
    monkeypatch.setattr(time, clock, lambda: float(next(jumps)))
    with tally("F15 odd places"):
        assert start(put_text(tmp_path)).weights_sha256 == straight.outcome.weights_sha256


def test_runs_of_the_same_second_are_told_apart(tmp_path, straight, tally):
    for name in ("a", "b"):
        shutil.copytree(straight.folder / "r", tmp_path / name)
        for path in (tmp_path / name).rglob("*"):
            os.utime(path, (10**9, 10**9))
    with tally("F15 odd places"):
        assert newest_run(tmp_path) == tmp_path / "b"

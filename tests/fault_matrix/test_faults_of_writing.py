"""The fault matrix: kills, failing calls, full disks (F2, F3, F6, F7).

Whatever happens, the old or the new checkpoint is there. Faults are planted in storage.disk, the
one object through which everything is written. Each test counts what it tried; the figures are
printed at the end. The fast slice takes a sample of each row, `slow` all of it.
"""

import errno
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from faults import (
    acknowledge,
    die,
    every,
    fail,
    intercept,
    recover,
    without_times,
)
from matrix_support import LINES, LONGER, equal, put_text, resume, start
from support import Watcher

from charrnn.errors import StorageError
from charrnn.modelfile import checkpoint_files
from charrnn.training.checkpoint import load_checkpoint, load_newest

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EINTR)


def damaged(straight, folder):
    """A finished run whose newest checkpoint is damaged: a resume goes back, cuts the metrics and
    sets files aside.
    """
    shutil.copytree(straight.folder / "r", put_text(folder) / "r")
    newest = checkpoint_files(folder / "r/checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    return folder


# F2: the process dies before, in or after a call


def kill_everywhere(tmp_path, straight, tally, stride):
    training = straight.training
    for when in ("before", "in", "after"):
        for nth in every(straight, stride):
            with tally("F2 killed around a call of the disk"):
                folder = training.put_text(tmp_path / f"{when}-{nth}")
                recover(folder, straight, die(folder, nth, when, training.start))
                shutil.rmtree(folder)


def test_killed_before_in_or_after_some_calls(tmp_path, straight, tally):
    kill_everywhere(tmp_path, straight, tally, 11)


def test_any_training_may_be_killed_around_some_calls(tmp_path, other, tally):
    kill_everywhere(tmp_path, other, tally, 31)


@pytest.mark.slow
def test_killed_before_in_or_after_every_call(tmp_path, straight, tally):
    kill_everywhere(tmp_path, straight, tally, 1)


@pytest.mark.slow
def test_any_training_may_be_killed_around_every_call(tmp_path, other, tally):
    kill_everywhere(tmp_path, other, tally, 1)


SAVE = """
import sys
from pathlib import Path
import numpy as np
from charrnn.modelfile import KINDS
from charrnn.storage import read_tensors
from charrnn.training.checkpoint import RunDirectory
tensors, meta = read_tensors(Path(sys.argv[1]), KINDS)
tensors["optimizer.large"] = np.zeros(1 << 20)  # so that most of the time is spent inside a write
with RunDirectory(Path(sys.argv[2])) as run:
    for step in range(int(sys.argv[3]), 10**7):
        run.log({"step": step})
        meta["place"]["step"] = step
        run.save(step, tensors, meta | {"step": step}, 2)
        print(step, flush=True)
"""


def kill_while_saving(tmp_path, straight, tally, kills):
    """Kill a process that does nothing but save, after some saves and some rounds of a loop."""
    chance, run, step = np.random.default_rng(0), tmp_path / "r", 0
    source = checkpoint_files(straight.folder / "r/checkpoints")[-1]
    shutil.copytree(straight.folder / "r/corpus", run / "corpus")
    expected = load_checkpoint(source).model.tensors
    for _ in range(kills):
        with tally("F2 SIGKILL while saving"):
            command = [sys.executable, "-c", SAVE, source, run, str(step + 1)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                told = [process.stdout.readline() for _ in range(chance.integers(1, 5))]
                for _ in range(chance.integers(1, 1_000_000)):
                    pass
                process.kill()
                told += process.stdout.readlines()
            acknowledged = int([line for line in told if line.endswith("\n")][-1])
            newest, messages = load_newest(run)
            assert messages == []
            assert newest.step in (acknowledged, acknowledged + 1)
            assert equal(newest.model.tensors, expected)
            step = newest.step


def test_three_kills_while_saving(tmp_path, straight, tally):
    kill_while_saving(tmp_path, straight, tally, 3)


@pytest.mark.slow
def test_two_hundred_kills_while_saving(tmp_path, straight, tally):
    kill_while_saving(tmp_path, straight, tally, 200)


# F3, F7: the nth call fails, or all from the nth on


def fail_everywhere(tmp_path, straight, tally, stride, numbers, row, *, forever):
    for number in numbers:
        for nth in every(straight, stride):
            with tally(row):
                folder = straight.training.put_text(tmp_path / f"{number}-{nth}")
                recover(
                    folder,
                    straight,
                    fail(folder, nth, number, straight.training.start, forever=forever),
                )
                shutil.rmtree(folder)


def test_some_calls_fail(tmp_path, straight, tally):
    fail_everywhere(
        tmp_path, straight, tally, 5, [errno.ENOSPC], "F3 a call of the disk fails", forever=False
    )


@pytest.mark.slow
def test_every_call_fails_in_five_ways(tmp_path, straight, tally):
    fail_everywhere(
        tmp_path, straight, tally, 1, ERRORS, "F3 a call of the disk fails", forever=False
    )


def test_some_calls_of_any_training_fail(tmp_path, other, tally):
    fail_everywhere(
        tmp_path, other, tally, 17, [errno.EIO], "F3 a call of the disk fails", forever=False
    )


@pytest.mark.slow
def test_every_call_of_any_training_fails(tmp_path, other, tally):
    fail_everywhere(
        tmp_path,
        other,
        tally,
        1,
        [errno.ENOSPC, errno.EIO],
        "F3 a call of the disk fails",
        forever=False,
    )


def test_the_disk_becomes_read_only_at_some_calls(tmp_path, straight, tally):
    fail_everywhere(
        tmp_path, straight, tally, 11, [errno.EROFS], "F7 read-only from a call on", forever=True
    )


@pytest.mark.slow
def test_the_disk_becomes_full_or_read_only_at_every_call(tmp_path, straight, tally):
    numbers = [errno.ENOSPC, errno.EROFS]
    fail_everywhere(
        tmp_path, straight, tally, 1, numbers, "F7 read-only from a call on", forever=True
    )


def test_a_run_deleted_while_it_trains_is_5_and_names_it(tmp_path, tally):
    class Delete(Watcher):
        def step(self, update):
            if update.step == 3:
                shutil.rmtree(tmp_path / "r")

    with (
        tally("F7 read-only from a call on"),
        pytest.raises(StorageError, match=r"cannot write .*/r/"),
    ):
        start(put_text(tmp_path), Delete())


SLOW = [pytest.param(how, marks=pytest.mark.slow) for how in ("before", "after", *ERRORS[1:])]


@pytest.mark.parametrize("how", ["in", ERRORS[0], *SLOW])
def test_a_resume_that_sets_damage_aside_may_itself_be_killed_or_fail(
    tmp_path, straight, tally, how
):
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        intercept(patch, lambda name, arguments: calls.append(name))
        resume(damaged(straight, tmp_path / "dry"))
    assert {"truncate", "replace", "write"} <= set(calls)
    for nth in range(1, len(calls) + 1):
        with tally(
            "F2 killed around a call of the disk"
            if isinstance(how, str)
            else "F3 a call of the disk fails"
        ):
            folder = damaged(straight, tmp_path / str(nth))
            told = (
                die(folder, nth, how, resume)
                if isinstance(how, str)
                else fail(folder, nth, how, resume)
            )
            recover(folder, straight, told or 4)


@pytest.mark.parametrize("limit", [0, 1, 2000, 5000, 12000, 14000])
def test_files_that_may_not_grow_further_end_with_5_and_the_run_goes_on_when_they_may(
    tmp_path, tally, longer, limit
):
    """As `ulimit -f`: in the middle of a write, at the first save, or later, when the metrics have
    grown beyond it.
    """
    told, message, before = [], "", resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = put_text(tmp_path)
    with tally("F6 the kernel refuses to write on"):
        with pytest.MonkeyPatch.context() as patch:
            acknowledge(patch, told.append)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                start(folder, **LONGER)
            except StorageError as error:
                message = str(error)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "File too large" in message
        assert str(folder / "r") in message
        assert not told or load_newest(folder / "r")[0].step == told[-1] < LONGER["steps"]
        assert limit < 8000 or told[-1] > 7
        found = resume(folder) if told else start(folder, **LONGER)
        assert found.weights_sha256 == longer[0]
        assert without_times(folder / "r") == longer[1]


@pytest.mark.medium
def test_a_disk_that_is_full_ends_with_5_and_the_run_goes_on_when_there_is_room(
    small_disk, tally, longer
):
    """With ever more room, from none to enough: it fails before the first save, at later ones, and
    at the last.
    """
    ends = []
    for room in range(0, 1 << 20, 20480):
        told, message = [], ""
        folder, filler = put_text(small_disk / "f"), small_disk / "filler"
        with pytest.MonkeyPatch.context() as patch, tally("F6 the kernel refuses to write on"):
            acknowledge(patch, told.append)
            filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
            try:
                start(folder, **LONGER)
            except StorageError as error:
                message = str(error)
            filler.unlink()
            ends.append(told[-1] if told else None)
            assert not message or (
                "No space left on device" in message and str(folder / "r") in message
            )
            assert not told or load_newest(folder / "r")[0].step == ends[-1]
            found = LINES.go_on(folder) if told else start(folder, **LONGER)
            assert found.weights_sha256 == longer[0]
            assert without_times(folder / "r") == longer[1]
        shutil.rmtree(folder)
        if not message:
            break
    assert ends[0] is None
    assert ends[-1] == LONGER["steps"]
    assert len({*ends}) > 3, ends

"""The fault matrix: whatever happens to the disk, the process or the machine, the old or the new checkpoint is there.

Faults are planted in storage.disk, the one object through which everything is written. Each test counts what it tried;
the figures are printed at the end. The fast slice takes a sample of each row, `slow` all of it.
"""

import errno
import fcntl
import hashlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import (
    Straight,
    acknowledge,
    die,
    every,
    fail,
    intercept,
    recover,
    trainings,
    without_times,
)
from loaded import loaded_after
from support import Killed, Watcher

from charrnn import storage
from charrnn.cli import main
from charrnn.errors import CheckpointError, CorpusError, StorageError
from charrnn.modelfile import checkpoint_files, newest_run, read_model
from charrnn.text.corpus import open_corpus
from charrnn.training import checkpoint as checkpoints
from charrnn.training.checkpoint import RunDirectory, load_checkpoint, load_newest
from charrnn.training.outcome import weights_sha256
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

LINES = trainings(Path("nowhere"))["lines"]
put_text, start, resume = LINES.put_text, LINES.start, LINES.resume
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EINTR)

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return Straight(tmp_path_factory.mktemp("straight"), LINES)


@pytest.fixture(
    scope="module", params=[name for name in trainings(Path("nowhere")) if name != "lines"]
)
def other(request, tmp_path_factory):
    """The undisturbed training of a stream, by counting, or of a network that learnt another text before."""
    folder = tmp_path_factory.mktemp("other")
    return Straight(folder / "straight", trainings(folder)[request.param])


def damaged(straight, folder):
    """A finished run whose newest checkpoint is damaged: a resume goes back, cuts the metrics and sets files aside."""
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
    """SIGKILL to a process that does nothing but save, after some saves and some rounds of a loop."""
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
        def step(self, step, *rest):
            if step == 3:
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


# F6: the kernel itself refuses to write on


LONGER = {"steps": 120, "save_every": "7", "eval_every": "40"}


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    folder = put_text(tmp_path_factory.mktemp("longer"))
    return start(folder, **LONGER).weights_sha256, without_times(folder / "r")


@pytest.mark.parametrize("limit", [0, 1, 2000, 5000, 12000, 14000])
def test_files_that_may_not_grow_further_end_with_5_and_the_run_goes_on_when_they_may(
    tmp_path, tally, longer, limit
):
    """As `ulimit -f`: in the middle of a write, at the first save, or later, when the metrics have grown beyond it."""
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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.medium
def test_a_disk_that_is_full_ends_with_5_and_the_run_goes_on_when_there_is_room(
    small_disk, tally, longer
):
    """With ever more room, from none to enough: it fails before the first save, at later ones, and at the last."""
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


# F4: the power fails, and what was not synced is gone, zeros, or cut


class Ledger:
    """A model of a file system: what is there, and what would be after a power failure.

    Contents are durable once the file was synced, names once their directory was.
    """

    def __init__(self, root):
        self.root = root
        self.data, self.durable = [], []  # of each file ever made
        self.names, self.durable_names = {}, {}  # path -> number of a file, or None for a directory
        self.open, self.acknowledged = {}, None

    def opened(self, path, mode, handle):
        number = self.names.get(path)
        if number is None or mode == "wb":
            number = self.names[path] = len(self.data)
            self.data.append(b"")
            self.durable.append(b"")
        self.open[handle] = number

    def write(self, handle, data):
        self.data[self.open[handle]] += data

    def sync(self, handle):
        number = self.open[handle]
        self.durable[number] = self.data[number]

    def replace(self, old, new):
        self.names[new] = self.names.pop(old)

    def remove(self, path):
        self.names.pop(path, None)

    def truncate(self, path, size):
        number = self.names[path]
        self.data[number] = self.data[number][:size]

    def make_directory(self, path):
        self.names.setdefault(path)

    def sync_directory(self, folder):
        for names in (self.durable_names, self.names):
            for path in [path for path in names if path.parent == folder]:
                if path in self.names:
                    self.durable_names[path] = self.names[path]
                else:
                    del self.durable_names[path]

    def ack(self, step):
        self.acknowledged = step

    def states(self):
        """Every set of {path: contents} that a power failure now may leave, of those that the model knows."""
        now, kept = self.names, self.durable_names
        removed = {
            path: number for path, number in kept.items() if path in now
        }  # removals reached the disk, nothing new did
        added = kept | now  # the other way round
        for names in (kept, now, removed, added):
            for lose in (self._dropped, self._zeroed, self._cut, self._whole):
                yield {
                    path: lose(n)
                    for path, n in names.items()
                    if n is not None and self._is_reachable(path, names)
                }

    def _is_reachable(self, path, names):
        return path.parent == self.root or (
            path.parent in names and self._is_reachable(path.parent, names)
        )

    def _dropped(self, n):
        return self.durable[n]

    def _zeroed(self, n):
        return (
            self.durable[n].ljust(len(self.data[n]), b"\0")
            if self.durable[n]
            else bytes(len(self.data[n]))
        )

    def _cut(self, n):
        return self.data[n][: (len(self.durable[n]) + len(self.data[n]) + 1) // 2]

    def _whole(self, n):
        return self.data[n]


def check_after_power_failure(folder, files, straight, acknowledged):
    """The run is the old or the new one: a checkpoint that is whole, with its text and all of its metrics."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, data in files.items():
        target = folder / path.relative_to(straight.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    run = folder / "r"
    try:
        newest = load_newest(run)[0]
    except CheckpointError:
        assert acknowledged is None, "an acknowledged checkpoint is lost"
        return
    assert newest.step >= (acknowledged or 0), "an acknowledged checkpoint is lost"
    assert weights_sha256(newest.model.tensors) == straight.weights[newest.step]
    assert open_corpus(run / "corpus", newest.meta["fingerprint"]).bounds["train"][1] > 0
    lines = (run / "metrics.jsonl").read_bytes()[: newest.meta["metrics_bytes"]].splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows if "event" not in row] == list(range(1, newest.step + 1))
    told = newest.meta["samples_bytes"]
    assert (
        not told
        or (run / "samples.txt").read_bytes()[:told]
        == (straight.folder / "r/samples.txt").read_bytes()[:told]
    )
    if (run / "model.safetensors").exists():
        read_model(run / "model.safetensors")


def test_the_power_fails_at_every_moment(tmp_path, straight, tally):
    seen = set()
    ledger = Ledger(straight.folder)
    for call, *arguments in straight.log:
        if call == "open":
            ledger.opened(*arguments[:3])
        else:
            getattr(ledger, call)(*arguments)
        for files in ledger.states():
            key = (
                ledger.acknowledged,
                *sorted((path, hashlib.sha256(data).digest()) for path, data in files.items()),
            )
            if key not in seen:
                seen.add(key)
                with tally("F4 power failure"):
                    check_after_power_failure(
                        tmp_path / "state", files, straight, ledger.acknowledged
                    )


# F5: damaged files


def mutations(data, bits):
    """(what was done, the bytes): bits of each byte flipped, every truncation, bytes appended."""
    for place in range(len(data)):
        for bit in bits(place):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield f"bit {bit} of byte {place}", bytes(changed)
    for size in range(len(data)):
        yield f"cut to {size}", data[:size]
    for more in (b"\0", b"x", data):
        yield f"{len(more)} bytes appended", data + more


def equal(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def damage(straight, tmp_path, tally, bits, stride):
    """Every kind of file that a training reads, each byte: refused in one line, or (a description) read as what it was."""
    run = tmp_path / "r"
    shutil.copytree(straight.folder / "r", run)
    newest = checkpoint_files(run / "checkpoints")[-1]
    fingerprint = load_checkpoint(newest).meta["fingerprint"]
    good, best, text = (
        load_checkpoint(newest),
        read_model(run / "model.safetensors"),
        open_corpus(run / "corpus", fingerprint),
    )
    ids, vocabulary = np.array(text.ids), text.vocabulary

    def read_text():
        found = open_corpus(run / "corpus", fingerprint)
        assert np.array_equal(found.ids, ids)
        assert (found.bounds, found.vocabulary, found.mode) == (text.bounds, vocabulary, text.mode)

    def read_checkpoint():
        found = load_checkpoint(newest)
        assert equal(found.model.tensors, good.model.tensors)
        assert equal(found.optimizer, good.optimizer)

    def read_best():
        assert equal(read_model(run / "model.safetensors").tensors, best.tensors)

    files = [(newest, read_checkpoint), (run / "model.safetensors", read_best)]
    files += [(text.path, read_text), (text.path.with_suffix(".json"), read_text)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, read in files:
        data = path.read_bytes()
        for what, changed in itertools.islice(mutations(data, bits), 0, None, stride):
            path.write_bytes(changed)
            with tally("F5 damaged files"):
                message = ""
                try:
                    read()
                except CheckpointError as error:
                    message = str(error)
                assert message or path.suffix == ".json", (
                    what
                )  # a bit of the word "digest" is one of no harm
                assert "\n" not in message, what
        path.write_bytes(data)
        read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


def test_some_bits_and_truncations_are_seen(straight, tmp_path, tally):
    damage(straight, tmp_path, tally, lambda place: [place % 8], 11)


@pytest.mark.slow
def test_every_bit_and_truncation_is_seen(straight, tmp_path, tally):
    damage(straight, tmp_path, tally, lambda place: range(8), 1)


def test_without_its_newest_checkpoint_a_training_goes_on_from_the_one_before(
    tmp_path, straight, tally, monkeypatch
):
    for what in ("missing", "empty", "swapped", "a directory", "a FIFO", "a bad sector"):
        folder = put_text(tmp_path / what)
        with tally("F5 damaged files"):
            shutil.copytree(straight.folder / "r", folder / "r")
            older, newest = checkpoint_files(folder / "r/checkpoints")
            if what == "swapped":
                data = older.read_bytes()
                older.write_bytes(newest.read_bytes())
                newest.write_bytes(data)
            else:
                newest.unlink()
            if what == "empty":
                newest.write_bytes(b"")
            if what == "a directory":
                newest.mkdir()
            if what == "a FIFO":
                os.mkfifo(newest)
            if what == "a bad sector":
                newest.write_bytes(b"x")
                monkeypatch.setattr(storage, "open", bad_sector(newest), raising=False)
            assert resume(folder).weights_sha256 == straight.outcome.weights_sha256
            assert without_times(folder / "r") == straight.metrics


def bad_sector(at):
    """open, for a disk that cannot read this file."""

    def opened(path, *rest, **named):
        if path == at and rest == ("rb",):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open(path, *rest, **named)

    return opened


# F8: one trainer in a run


HOLD = "import sys, time\nfrom pathlib import Path\nfrom charrnn.training.checkpoint import RunDirectory\n"
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
        checkpoints.check_free(tmp_path)
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

    def step(self, step, *rest):
        if self.moment == "step" and step == 3:
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
        def step(self, step, *rest):
            super().step(step, *rest)
            super().step(step, *rest)

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

    def full(step, ids, targets, state, number, piece):
        steps.append(number)
        if number == 3:
            raise fault
        return original(step, ids, targets, state, number, piece)

    with tally("F12 memory and devices"):
        with monkeypatch.context() as patch:
            patch.setattr(TrainStep, "_nats", full)
            patch.setattr(main, "app", lambda **named: start(put_text(tmp_path)))
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
        def step(self, step, *rest):
            if when == "while it trains" and step == 3:
                spoil()
            super().step(step, *rest)

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
        def step(self, step, *rest):
            if step == 3:
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

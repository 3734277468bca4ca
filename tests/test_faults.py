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
from conftest import FEW, Killed, Watcher

from charrnn import storage
from charrnn.errors import CheckpointError, CorpusError, StorageError
from charrnn.modelfile import checkpoint_files, newest_run, read_model
from charrnn.text.corpus import open_corpus
from charrnn.training import checkpoint as checkpoints
from charrnn.training.checkpoint import RunDirectory, load_checkpoint, load_newest
from charrnn.training.outcome import weights_sha256
from charrnn.training.session import Request, train

SETTINGS = {
    "hidden_size": 3, "embedding_size": 2, "num_layers": 1, "dropout": 0.0, "batch_size": 4, "lr": 0.02, "steps": 6,
    "save_every": "2", "eval_every": "3", "sample_every": "3", "threads": 1, "patience": 0, "mode": "lines",
}  # fmt: skip
CALLS = ("open", "write", "sync", "replace", "remove", "truncate", "make_directory", "sync_directory")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EINTR)

pytestmark = pytest.mark.usefixtures("one_thread")


def samples(weights, meta):
    return f"sample {meta['step']}"


def start(folder, watcher=None, **changes):
    request = Request(str(folder / "few.txt"), (("--", SETTINGS | changes),), run=folder / "r")
    return train(request, watcher or Watcher(), samples)[1]


def resume(folder, watcher=None):
    return train(Request(run=folder / "r", resume=True), watcher or Watcher(), samples)[1]


def put_text(folder):
    folder.mkdir(exist_ok=True)
    (folder / "few.txt").write_text("".join(f"{name}\n" for name in FEW[:20]))
    return folder


def intercept(patch, before=lambda name, arguments: None, after=lambda name, arguments, result: None):
    """Call these around every call of the seam."""
    for name in CALLS:
        original = getattr(storage.disk, name)

        def call(*arguments, name=name, original=original):
            before(name, arguments)
            result = original(*arguments)
            after(name, arguments, result)
            return result

        patch.setattr(storage.disk, name, call)


def acknowledge(patch, told):
    """told(step) whenever the training was told that a checkpoint is safe."""
    original = RunDirectory.save

    def save(run, step, *rest):
        path = original(run, step, *rest)
        told(step)
        return path

    patch.setattr(RunDirectory, "save", save)


class Straight:
    """The undisturbed training: its end, the weights of every checkpoint, how many calls of the seam it took."""

    def __init__(self, folder):
        self.folder, self.calls, self.weights, self.log = put_text(folder), 0, {}, []
        patch = pytest.MonkeyPatch()

        def before(name, arguments):
            self.calls += 1

        def keep(step):
            self.log.append(("ack", step))
            self.weights[step] = weights_sha256(load_newest(folder / "r")[0].model.tensors)

        intercept(patch, before, self._record)
        acknowledge(patch, keep)
        try:
            self.outcome = start(folder)
        finally:
            patch.undo()
        self.metrics = without_times(folder / "r")

    def _record(self, name, arguments, result):
        if name == "open":
            self.log.append(("open", Path(arguments[0]), arguments[1], id(result), result))  # kept: ids stay unique
        elif name == "write":
            self.log.append(("write", id(arguments[0]), bytes(arguments[1])))
        elif name == "sync":
            self.log.append(("sync", id(arguments[0])))
        else:
            self.log.append((name, *arguments))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return Straight(tmp_path_factory.mktemp("straight"))


def without_times(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "elapsed_s"} for row in rows]


def damaged(straight, folder):
    """A finished run whose newest checkpoint is damaged: a resume goes back, cuts the metrics and sets files aside."""
    shutil.copytree(straight.folder / "r", put_text(folder) / "r")
    newest = checkpoint_files(folder / "r/checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    return folder


def recover(folder, straight, acknowledged):
    """What is on disk is a checkpoint of the undisturbed training, none older than was acknowledged; and it ends alike."""
    if not checkpoint_files(folder / "r/checkpoints"):
        assert acknowledged is None, "an acknowledged checkpoint is lost"
        shutil.rmtree(folder / "r", ignore_errors=True)
        outcome = start(folder)
    else:
        newest, _ = load_newest(folder / "r")
        assert newest.step >= (acknowledged or 0), "an acknowledged checkpoint is lost"
        assert weights_sha256(newest.model.tensors) == straight.weights[newest.step]
        outcome = resume(folder)
    assert outcome.weights_sha256 == straight.outcome.weights_sha256
    assert without_times(folder / "r") == straight.metrics
    for name in ("model.safetensors", "samples.txt"):
        assert (folder / "r" / name).read_bytes() == (straight.folder / "r" / name).read_bytes()
    assert not list((folder / "r").rglob("*.tmp"))


def every(straight, stride):
    return range(1, straight.calls + 1, stride)


# F2: the process dies before, in or after a call


def die(folder, nth, when, work=start):
    """Die at the nth call; a dead process changes nothing more. Returns the step acknowledged last."""
    calls, dead, told, appended = 0, False, [], []
    with pytest.MonkeyPatch.context() as patch:

        def kill():
            nonlocal dead
            dead = True
            for file in appended:  # what it had not flushed is gone
                if not file.closed:
                    os.dup2(nowhere, file.fileno())
            raise Killed

        def before(name, arguments):
            nonlocal calls
            calls += 1
            if dead:
                raise Killed
            if calls == nth and when == "in" and name == "write":
                arguments[0].write(bytes(arguments[1])[: len(arguments[1]) // 2])
                arguments[0].flush()
            if calls == nth and when != "after":
                kill()

        def after(name, arguments, result):
            if name == "open" and arguments[1] == "ab":
                appended.append(result)
            if calls == nth:
                kill()

        intercept(patch, before, after)
        acknowledge(patch, told.append)
        patch.setattr(checkpoints.shutil, "rmtree", lambda *rest, **named: None)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            work(folder)
            assert calls < nth
        except Killed:
            pass
        finally:
            os.close(nowhere)
    return told[-1] if told else None


def kill_everywhere(tmp_path, straight, tally, stride):
    for when in ("before", "in", "after"):
        for nth in every(straight, stride):
            with tally("F2 killed around a call of the disk"):
                folder = put_text(tmp_path / f"{when}-{nth}")
                recover(folder, straight, die(folder, nth, when))
                shutil.rmtree(folder)


def test_killed_before_in_or_after_some_calls(tmp_path, straight, tally):
    kill_everywhere(tmp_path, straight, tally, 7)


@pytest.mark.slow
def test_killed_before_in_or_after_every_call(tmp_path, straight, tally):
    kill_everywhere(tmp_path, straight, tally, 1)


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


def fail(folder, nth, number, work=start, *, forever=False):
    """Let the nth call fail. Returns the step acknowledged last."""
    calls, told = 0, []
    with pytest.MonkeyPatch.context() as patch:

        def before(name, arguments):
            nonlocal calls
            calls += 1
            if calls == nth or (forever and calls > nth):
                raise OSError(number, os.strerror(number))

        intercept(patch, before)
        acknowledge(patch, told.append)
        message = None  # only the clean-up of a write that has failed may fail in silence
        try:
            work(folder)
        except StorageError as error:
            message = str(error)
    if message is not None:
        assert str(folder / "r") in message
        assert os.strerror(number) in message
        assert "\n" not in message
    return told[-1] if told else None


def fail_everywhere(tmp_path, straight, tally, stride, numbers, row, *, forever):
    for number in numbers:
        for nth in every(straight, stride):
            with tally(row):
                folder = put_text(tmp_path / f"{number}-{nth}")
                recover(folder, straight, fail(folder, nth, number, forever=forever))
                shutil.rmtree(folder)


def test_some_calls_fail(tmp_path, straight, tally):
    fail_everywhere(tmp_path, straight, tally, 5, [errno.ENOSPC], "F3 a call of the disk fails", forever=False)


@pytest.mark.slow
def test_every_call_fails_in_five_ways(tmp_path, straight, tally):
    fail_everywhere(tmp_path, straight, tally, 1, ERRORS, "F3 a call of the disk fails", forever=False)


def test_the_disk_becomes_read_only_at_some_calls(tmp_path, straight, tally):
    fail_everywhere(tmp_path, straight, tally, 11, [errno.EROFS], "F7 read-only from a call on", forever=True)


@pytest.mark.slow
def test_the_disk_becomes_full_or_read_only_at_every_call(tmp_path, straight, tally):
    numbers = [errno.ENOSPC, errno.EROFS]
    fail_everywhere(tmp_path, straight, tally, 1, numbers, "F7 read-only from a call on", forever=True)


def test_a_run_deleted_while_it_trains_is_5_and_names_it(tmp_path, tally):
    class Delete(Watcher):
        def step(self, step, *rest):
            if step == 3:
                shutil.rmtree(tmp_path / "r")

    with tally("F7 read-only from a call on"), pytest.raises(StorageError, match=r"cannot write .*/r/"):
        start(put_text(tmp_path), Delete())


SLOW = [pytest.param(how, marks=pytest.mark.slow) for how in ("before", "after", *ERRORS[1:])]


@pytest.mark.parametrize("how", ["in", ERRORS[0], *SLOW])
def test_a_resume_that_sets_damage_aside_may_itself_be_killed_or_fail(tmp_path, straight, tally, how):
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        intercept(patch, lambda name, arguments: calls.append(name))
        resume(damaged(straight, tmp_path / "dry"))
    assert {"truncate", "replace", "write"} <= set(calls)
    for nth in range(1, len(calls) + 1):
        with tally("F2 killed around a call of the disk" if isinstance(how, str) else "F3 a call of the disk fails"):
            folder = damaged(straight, tmp_path / str(nth))
            told = die(folder, nth, how, resume) if isinstance(how, str) else fail(folder, nth, how, resume)
            recover(folder, straight, told or 4)


# F6: the kernel itself refuses to write on


LONGER = {"steps": 120, "save_every": "7", "eval_every": "40"}


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    folder = put_text(tmp_path_factory.mktemp("longer"))
    return start(folder, **LONGER).weights_sha256, without_times(folder / "r")


@pytest.mark.parametrize("limit", [0, 1, 2000, 5000, 12000, 14000])
def test_files_that_may_not_grow_further_end_with_5_and_the_run_goes_on_when_they_may(tmp_path, tally, longer, limit):
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
                yield {path: lose(n) for path, n in names.items() if n is not None and self._is_reachable(path, names)}

    def _is_reachable(self, path, names):
        return path.parent == self.root or (path.parent in names and self._is_reachable(path.parent, names))

    def _dropped(self, n):
        return self.durable[n]

    def _zeroed(self, n):
        return self.durable[n].ljust(len(self.data[n]), b"\0") if self.durable[n] else bytes(len(self.data[n]))

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
        not told or (run / "samples.txt").read_bytes()[:told] == (straight.folder / "r/samples.txt").read_bytes()[:told]
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
            key = (ledger.acknowledged, *sorted((path, hashlib.sha256(data).digest()) for path, data in files.items()))
            if key not in seen:
                seen.add(key)
                with tally("F4 power failure"):
                    check_after_power_failure(tmp_path / "state", files, straight, ledger.acknowledged)


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
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


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
                assert message or path.suffix == ".json", what  # a bit of the word "digest" is one of no harm
                assert "\n" not in message, what
        path.write_bytes(data)
        read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


def test_some_bits_and_truncations_are_seen(straight, tmp_path, tally):
    damage(straight, tmp_path, tally, lambda place: [place % 8], 11)


@pytest.mark.slow
def test_every_bit_and_truncation_is_seen(straight, tmp_path, tally):
    damage(straight, tmp_path, tally, lambda place: range(8), 1)


def test_without_its_newest_checkpoint_a_training_goes_on_from_the_one_before(tmp_path, straight, tally, monkeypatch):
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
HOLD += "with RunDirectory(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"


def test_a_second_trainer_is_refused_and_a_killed_holders_lock_is_free(tmp_path, tally):
    put_text(tmp_path)
    start(tmp_path, steps=4)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "r"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
        for request in (
            Request(run=tmp_path / "r", resume=True),
            Request(str(tmp_path / "few.txt"), (("--", SETTINGS),), run=tmp_path / "r", overwrite=True),
        ):
            with (
                tally("F8 two trainers"),
                pytest.raises(StorageError, match=f"process {holder.pid} on {os.uname().nodename}"),
            ):
                train(request, Watcher())
        assert before == {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with tally("F8 two trainers"):
        assert resume(tmp_path).reason == "already done"


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
def test_a_signal_at_any_moment_saves_and_resumes_exactly(tmp_path, straight, tally, monkeypatch, number, moment):
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
            text.write_text({"replaced": "Zyx\n" * 20, "cut": good[:50], "longer": good + "Zoe\n"}[change])

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
            train(Request(str(text), run=tmp_path / "r", resume=True), Watcher(), samples)
        assert caught.value.exit_code == 3
        assert "is not the text this run was trained on" in str(caught.value) or change in ("removed", "cut")
        assert resume(tmp_path).weights_sha256 == straight.outcome.weights_sha256


# F15: odd places, clocks and file systems


@pytest.mark.parametrize(
    "name", ["with spaces", "new\nline", os.fsdecode(b"no\xffutf8"), "\x1b[31m", "--resume", "r" * 200]
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

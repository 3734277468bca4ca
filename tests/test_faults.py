"""The fault matrix: whatever happens to the disk, the process or the machine, the old or the new checkpoint is there.

Faults are planted in storage.disk, the one object through which everything is written. Each test counts what it tried;
the figures are printed at the end. The fast slice takes a sample of each row, `slow` all of it.
"""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import FEW, Killed, Watcher

from charrnn import storage
from charrnn.errors import CheckpointError, StorageError
from charrnn.modelfile import checkpoint_files, read_model
from charrnn.text.corpus import open_corpus
from charrnn.training import checkpoint as checkpoints
from charrnn.training.checkpoint import RunDirectory, load_newest
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


def recover(folder, straight, acknowledged):
    """What is on disk is a checkpoint of the undisturbed training, none older than was acknowledged; and it ends alike."""
    if not checkpoint_files(folder / "r/checkpoints"):
        assert acknowledged is None, "an acknowledged checkpoint is lost"
        shutil.rmtree(folder / "r", ignore_errors=True)
        outcome = start(folder)
    else:
        newest, messages = load_newest(folder / "r")
        assert messages == []
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


def die(folder, straight, nth, when):
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
            with pytest.raises(Killed):
                start(folder)
        finally:
            os.close(nowhere)
    return told[-1] if told else None


def kill_everywhere(tmp_path, straight, tally, stride):
    for when in ("before", "in", "after"):
        for nth in every(straight, stride):
            with tally("F2 killed around a call of the disk"):
                folder = put_text(tmp_path / f"{when}-{nth}")
                recover(folder, straight, die(folder, straight, nth, when))
                shutil.rmtree(folder)


def test_killed_before_in_or_after_some_calls(tmp_path, straight, tally):
    kill_everywhere(tmp_path, straight, tally, 7)


@pytest.mark.slow
def test_killed_before_in_or_after_every_call(tmp_path, straight, tally):
    kill_everywhere(tmp_path, straight, tally, 1)


# F3, F7: the nth call fails, or all from the nth on


def fail(folder, nth, number, *, forever=False):
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
            start(folder)
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

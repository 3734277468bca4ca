"""The fault matrix: power failures and damage (F4, F5).

Whatever happens, the old or the new checkpoint is there. Faults are planted in storage.disk, the one
object through which everything is written. Each test counts what it tried; the figures are printed at
the end. The fast slice takes a sample of each row, `slow` all of it.
"""

import errno
import hashlib
import itertools
import json
import os
import resource
import shutil

import numpy as np
import pytest
from faults import (
    without_times,
)
from matrix_support import equal, put_text, resume

from charrnn import storage
from charrnn.errors import CheckpointError
from charrnn.modelfile import checkpoint_files, read_model
from charrnn.text.corpus import open_corpus
from charrnn.training.checkpoint import load_checkpoint, load_newest
from charrnn.training.outcome import weights_sha256

pytestmark = pytest.mark.usefixtures("one_thread", "no_waiting_for_the_disk")


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

"""Planting faults: small trainings that begin anywhere, and what happens to the disk or the process
while they run.

Faults are planted in storage.disk, the one object through which everything is written.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import FEW, Killed, Watcher

from charrnn import storage
from charrnn.errors import StorageError
from charrnn.modelfile import checkpoint_files
from charrnn.text import ngram
from charrnn.training import checkpoint as checkpoints
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.outcome import weights_sha256
from charrnn.training.session import Request, train

NAMES = "".join(f"{name}\n" for name in FEW[:20])
PROSE = (
    "A text of two lines,\n\nthat is a stream, a hundred characters long or so, "
    "and then some more.\n\n" * 2
)
CALLS = (
    "open",
    "write",
    "sync",
    "replace",
    "remove",
    "truncate",
    "make_directory",
    "make_new_directory",
    "sync_directory",
)


def samples(weights, meta):
    return f"sample {meta['step']}"


@dataclass(frozen=True)
class Training:
    """A training of few.txt in a folder, in its run r.

    source: the run it starts from (--init-from), made when missing.
    """

    settings: dict[str, Any]
    source: "tuple[Path, Training] | None" = None
    piece: int = ngram.PIECE  # characters that a counting counts in one step

    def put_text(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / "few.txt").write_text(NAMES if self.settings["mode"] == "lines" else PROSE)
        if self.source and not self.source[0].exists():
            self.source[1].start(self.source[1].put_text(self.source[0]))
        return folder

    def start(self, folder, watcher=None, **changes):
        source = {"init_from": str(self.source[0] / "r")} if self.source else {}
        layers = (("--", self.settings | source | changes),)
        return self._train(Request(str(folder / "few.txt"), layers, run=folder / "r"), watcher)

    def resume(self, folder, watcher=None):
        return self._train(Request(run=folder / "r", resume=True), watcher)

    def go_on(self, folder, watcher=None):
        """What a script does that starts it again and again."""
        has_begun = bool(checkpoint_files(folder / "r/checkpoints"))
        return (self.resume if has_begun else self.start)(folder, watcher)

    def _train(self, request, watcher):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ngram, "PIECE", self.piece)
            return train(request, watcher or Watcher(), samples)[1]


SIZES = {"hidden_size": 3, "embedding_size": 2, "num_layers": 1}
SETTINGS = {
    "dropout": 0.0,
    "batch_size": 4,
    "lr": 0.02,
    "steps": 6,
    "save_every": "2",
    "eval_every": "3",
    "sample_every": "4",
    "threads": 1,
    "patience": 0,
    "seq_length": 7,
}
MODES = ("lines", "stream")


def trainings(folder):
    """Small trainings by name; folder: where those lie from which others start."""
    found = {mode: Training(SIZES | SETTINGS | {"mode": mode}) for mode in MODES}
    for mode in MODES:
        found[f"counting {mode}"] = Training(
            {"cell": "ngram", "save_every": "1", "mode": mode}, piece=30
        )
        tuned = SETTINGS | {"mode": mode, "mix": 0.4, "freeze": "layer0"}
        found[f"tuned {mode}"] = Training(tuned, (folder / mode, found[mode]))
    return found


def intercept(
    patch, before=lambda name, arguments: None, after=lambda name, arguments, result: None
):
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
    """The undisturbed training: its end, the weights of every checkpoint, how many calls of the
    seam it took.
    """

    def __init__(self, folder, training):
        self.training, self.folder = training, training.put_text(folder)
        self.calls, self.weights, self.log = 0, {}, []
        patch = pytest.MonkeyPatch()

        def before(name, arguments):
            self.calls += 1

        def keep(step):
            self.log.append(("ack", step))
            self.weights[step] = weights_sha256(load_newest(folder / "r")[0].model.tensors)

        intercept(patch, before, self._record)
        acknowledge(patch, keep)
        try:
            self.outcome = training.start(folder)
        finally:
            patch.undo()
        self.metrics = without_times(folder / "r")

    def _record(self, name, arguments, result):
        if name == "open":
            self.log.append(
                ("open", Path(arguments[0]), arguments[1], id(result), result)
            )  # kept: ids stay unique
        elif name == "write":
            self.log.append(("write", id(arguments[0]), bytes(arguments[1])))
        elif name == "sync":
            self.log.append(("sync", id(arguments[0])))
        else:
            self.log.append((name, *arguments))


def without_times(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "elapsed_s"} for row in rows]


def recover(folder, straight, acknowledged):
    """What is on disk is a checkpoint of the undisturbed training, none older than was
    acknowledged; and it ends alike.
    """
    if not checkpoint_files(folder / "r/checkpoints"):
        assert acknowledged is None, "an acknowledged checkpoint is lost"
        outcome = straight.training.start(folder)
    else:
        newest, _ = load_newest(folder / "r")
        assert newest.step >= (acknowledged or 0), "an acknowledged checkpoint is lost"
        assert weights_sha256(newest.model.tensors) == straight.weights[newest.step]
        outcome = straight.training.resume(folder)
    assert outcome.weights_sha256 == straight.outcome.weights_sha256
    assert without_times(folder / "r") == straight.metrics
    for name in ("model.safetensors", "samples.txt"):
        assert (folder / "r" / name).read_bytes() == (straight.folder / "r" / name).read_bytes()
    assert not list((folder / "r").rglob("*.tmp"))


def every(straight, stride):
    return range(1, straight.calls + 1, stride)


def die(folder, nth, when, work):
    """Die at the nth call; a dead process changes nothing more.

    Returns the step acknowledged last.
    """
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


def fail(folder, nth, number, work, *, forever=False):
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

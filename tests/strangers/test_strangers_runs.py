"""Runs of a stranger, each file with a right SHA-256: all they say is checked before use."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzz_inputs import FIXTURES
from strangers_support import LINES, STREAM
from support import Watcher

from charrnn.errors import CheckpointError, StorageError
from charrnn.modelfile import KINDS, checkpoint_files, read_model
from charrnn.storage import read_tensors, write_atomically, write_tensors
from charrnn.text.corpus import open_corpus
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

pytestmark = pytest.mark.usefixtures("one_thread")


def rewrite(file, change):
    """change(tensors, meta) of a tensor file; the digest is made right again."""
    tensors, meta = read_tensors(file, KINDS | {"charrnn-novel": 1})
    change(tensors, meta)
    write_tensors(file, tensors, meta)


def resumed(run, steps=8):
    return train(Request(run=run, resume=True, layers=(("--", {"steps": steps}),)), Watcher())[1]


def newest(run):
    return checkpoint_files(run / "checkpoints")[-1]


# Checkpoints


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", 5),
        ("step", -1),
        ("step", "6"),
        ("step", None),
        ("step", 10**30),
        ("plan", None),
        ("plan", []),
        ("plan", {"more": 1}),
        ("plan", {"eval_steps": 0}),
        ("plan", {"save_steps": "1"}),
        ("plan", {"total_steps": -1}),
        ("plan", {"total_steps": 1e9}),
        ("plan", {"start_step": None}),
        ("plan", {"start_progress": 2}),
        ("plan", {"start_progress": "0"}),
        ("plan", {"total_steps": True}),
        ("place", None),
        ("place", {}),
        ("place", {"step": 6}),
        ("place", {"step": 6, "recent": []}),
        ("origins", 3),
        ("origins", {"lr": 3}),
        ("origins", [1]),
        ("surroundings", "cpu"),
        ("surroundings", 7),
        ("lift", 5),
        ("lift", [[999, 1.0]]),
        ("lift", [[0, 1e9]]),
        ("lift", [["a", "b"]]),
        ("metrics_bytes", -1),
        ("metrics_bytes", "0"),
        ("samples_bytes", 2**64),
        ("samples_bytes", None),
    ],
)
def test_a_record_of_a_training_that_makes_no_sense_is_refused(run, key, value):
    rewrite(newest(run), lambda tensors, meta: meta.update({key: value}))
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="its record of the training is damaged"):
        resumed(run)
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("best_nats", "low"),
        ("best_nats", True),
        ("chars", -1),
        ("chars", 1.5),
        ("chars", None),
        ("elapsed_s", 1e308),
        ("more", 1),
        ("rollbacks", 2**60),
        ("val_nats", []),
    ],
)
def test_a_place_that_is_none_is_refused(run, key, value):
    rewrite(newest(run), lambda tensors, meta: meta["place"].update({key: value}))
    with pytest.raises(CheckpointError, match="is damaged"):
        resumed(run)


@pytest.mark.parametrize("threads", [0, -3, True, "2", 10**9, None, 1.5])
def test_the_recorded_number_of_threads_is_a_hint(run, threads):
    def left_to_the_program(tensors, meta):
        meta["settings"]["runtime"]["threads"] = None
        meta["surroundings"]["threads"] = threads

    rewrite(newest(run), left_to_the_program)
    assert resumed(run, 7).place.step == 7


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state[0],
        lambda state: state[:, :-1],
        lambda state: state[:, :, :-1],
        lambda state: state[:-1],
        lambda state: None,
        lambda state: state.astype(np.int32),
        lambda state: state.astype(np.float64),
        lambda state: state[:, :0],
        lambda state: state.ravel(),
    ],
)
def test_a_carried_state_that_does_not_fit_is_refused(run, change):
    def break_it(tensors, meta):
        state = change(tensors.pop("state.0"))
        if state is not None:
            tensors["state.0"] = state

    rewrite(newest(run), break_it)
    with pytest.raises(CheckpointError, match="its carried state does not fit its network"):
        resumed(run)


@pytest.mark.parametrize("prefix", ["optimizer", "average", "state"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_beside_the_weights_must_be_finite_too(run, prefix, value):
    def break_it(tensors, meta):
        name = next(name for name in sorted(tensors) if name.startswith(prefix))
        tensors[name] = tensors[name].copy()
        tensors[name].flat[0] = value

    rewrite(newest(run), break_it)
    with pytest.raises(CheckpointError, match="is damaged"):
        resumed(run)


# Names that would leave the run


@pytest.mark.parametrize(
    "fingerprint",
    [
        "../../evil/evil" + "0" * 49,
        "../x",
        "",
        "0" * 63,
        "0" * 65,
        "A" * 64,
        "0" * 64 + "\n",
        7,
        None,
        [],
    ],
)
def test_a_text_is_looked_for_in_the_run_only(run, fingerprint):
    for file in (newest(run), run / "model.safetensors"):
        rewrite(file, lambda tensors, meta: meta.update(fingerprint=fingerprint))
    for call in (
        resumed,
        lambda run: open_corpus(run / "corpus", read_model(run).meta["fingerprint"]),
    ):
        with pytest.raises(CheckpointError, match="its run names no text of charrnn"):
            call(run)


@pytest.mark.parametrize("fingerprint", ["a\0b", "../../evil/evil" + "0" * 49])
def test_a_filter_is_looked_for_in_the_run_only(run, fingerprint):
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update(fingerprint=fingerprint))
    assert OpenedRun(read_model(run)).novelty is None


def test_mixing_in_a_strangers_text_writes_nothing_outside_the_new_run(run, tmp_path):
    """Its fingerprint is the name of the file that the translated text is written to."""
    fingerprint = "../../evil" + "0" * 54
    [ids] = run.glob("corpus/*.ids")
    about = json.loads(ids.with_suffix(".json").read_text()) | {"fingerprint": fingerprint}
    del about["digest"]
    place = run / "corpus" / f"{fingerprint[:16]}.ids"
    place.parent.mkdir(exist_ok=True)
    shutil.copy(ids, place)
    place.with_suffix(".json").write_text(json.dumps(about))
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update(fingerprint=fingerprint))
    (tmp_path / "text.txt").write_text("so it goes on. " * 30)
    before = set(tmp_path.rglob("*"))
    settings = {"init_from": str(run), "mix": 0.3, "steps": 1, "mode": "stream"}
    with pytest.raises(CheckpointError, match="--mix needs the text"):
        train(
            Request(str(tmp_path / "text.txt"), (("--", settings),), run=tmp_path / "new"),
            Watcher(),
        )
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "samples.txt"])
def test_a_file_of_a_run_is_not_written_through_a_link(run, name, tmp_path):
    """A stranger's run could name any file of ours with one."""
    (tmp_path / "ours").write_text("ours " * 1000)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "ours")
    with pytest.raises(StorageError, match="symbolic links"):
        train(
            Request(run=run, resume=True, layers=(("--", {"steps": 8, "sample_every": "1"}),)),
            Watcher(),
            lambda *rest: "x",
        )
    assert (tmp_path / "ours").read_text() == "ours " * 1000


@pytest.mark.parametrize("prepare", ["symlink_to", "hardlink_to", "link to nothing", "file"])
def test_neither_is_the_file_beside_one_that_is_replaced(prepare, tmp_path, monkeypatch):
    """Not even if a stranger guesses its name."""
    monkeypatch.setattr("charrnn.temporary.os.urandom", bytes)
    beside = tmp_path / f".new.{'00' * 8}.tmp"
    ours = tmp_path / "ours"
    ours.write_text("ours")
    if prepare == "file":
        beside.write_text("theirs")
    elif prepare == "link to nothing":
        beside.symlink_to(tmp_path / "nothing")
    else:
        getattr(beside, prepare)(ours)
    before = {file.name: file.lstat() for file in tmp_path.iterdir()}
    with pytest.raises(StorageError, match="File exists"):
        write_atomically(tmp_path / "new", b"new")
    assert ours.read_text() == "ours"
    assert {file.name: file.lstat().st_ino for file in tmp_path.iterdir()} == {
        name: status.st_ino for name, status in before.items()
    }


def test_a_stranger_who_prepares_the_old_name_gets_nothing(tmp_path):
    """In 0.4.0 the file beside had always the same name: who made it owned what was written."""
    (tmp_path / "ours").write_text("ours")
    (tmp_path / ".new.tmp").hardlink_to(tmp_path / "ours")
    write_atomically(tmp_path / "new", b"new")
    assert (tmp_path / "new").read_bytes() == b"new"
    assert (tmp_path / "ours").read_text() == (tmp_path / ".new.tmp").read_text() == "ours"


def test_a_pipe_in_place_of_the_metrics_does_not_hang(run):
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    with pytest.raises(StorageError):
        resumed(run)


@pytest.mark.parametrize("part", ["checkpoints", "corpus"])
def test_a_part_of_a_run_that_lies_elsewhere_is_not_written_to(run, part, tmp_path):
    (run / part).rename(tmp_path / "elsewhere")
    (run / part).symlink_to(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()}
    with pytest.raises(StorageError, match="is a symbolic link: a run keeps its parts inside"):
        resumed(run)
    assert {path: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()} == before


def test_a_run_behind_a_link_is_a_run(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    assert resumed(tmp_path / "link").place.step == 8


# Texts of a run


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (STREAM, lambda ids: np.append(ids[:-1], 200)),
        (STREAM, lambda ids: np.insert(ids[1:], 3, 15)),
        (LINES, lambda ids: np.append(ids[:-1], 5)),
        (LINES, lambda ids: np.append(ids[:-1], 34)),
    ],
)
def test_ids_beyond_the_alphabet_and_lines_without_an_end_are_refused(name, change, tmp_path):
    """The kernel reads weights with them."""
    run = Path(shutil.copytree(FIXTURES / name, tmp_path / "run"))
    [ids] = run.glob("corpus/*.ids")
    ids.write_bytes(change(np.frombuffer(ids.read_bytes(), np.uint8)).astype(np.uint8).tobytes())
    about = json.loads(ids.with_suffix(".json").read_text()) | {
        "sha256": hashlib.sha256(ids.read_bytes()).hexdigest()
    }
    del about["digest"]
    ids.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="does not fit its alphabet"):
        open_corpus(run / "corpus", about["fingerprint"])


@pytest.mark.parametrize(("length", "fits"), [(4096, True), (4097, False)])
@pytest.mark.parametrize("shift", [0, 1, 2000])
def test_lines_longer_than_lines_may_be_are_refused_wherever_they_lie(
    length, fits, shift, tmp_path
):
    """Also across the pieces of 262,144 ids that are looked at at once."""
    run = Path(shutil.copytree(FIXTURES / LINES, tmp_path / "run"))
    [path] = run.glob("corpus/*.ids")
    lines = (
        [[1] * 99 + [0]] * 2600 + [[1] * (2143 - shift) + [0]] + [[1] * length + [0]] + [[1, 0]] * 3
    )
    ids = np.concatenate(lines).astype(np.uint8)
    path.write_bytes(ids.tobytes())
    about = json.loads(path.with_suffix(".json").read_text()) | {
        "sha256": hashlib.sha256(ids.tobytes()).hexdigest()
    }
    del about["digest"]
    about["bounds"] = {
        "train": [0, len(ids) - 4],
        "val": [len(ids) - 4, len(ids) - 2],
        "test": [len(ids) - 2, len(ids)],
    }
    path.with_suffix(".json").write_text(json.dumps(about))
    if fits:
        open_corpus(run / "corpus", about["fingerprint"])
        return
    with pytest.raises(CheckpointError, match="does not fit its alphabet"):
        open_corpus(run / "corpus", about["fingerprint"])

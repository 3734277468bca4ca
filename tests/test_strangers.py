"""Runs and files of a stranger, each with a right SHA-256: what they say is checked before it is used."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from fuzz import FIXTURES, TARGETS, one_input, typed
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Watcher

from charrnn import storage
from charrnn.errors import CheckpointError, SettingsError, StorageError
from charrnn.modelfile import KINDS, checkpoint_files, read_model
from charrnn.sampling import constraints
from charrnn.sampling.constraints import Constraints
from charrnn.storage import read_json, read_tensors, write_atomically, write_tensors
from charrnn.text.corpus import open_corpus
from charrnn.training.session import Request, train

LINES, STREAM = "0.2.0/lstm-lines", "0.2.0/gru-before-stream"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(FIXTURES / STREAM, tmp_path / "run"))


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
    with pytest.raises(CheckpointError, match="its record of the training makes no sense"):
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
    with pytest.raises(CheckpointError, match="makes no sense"):
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
    with pytest.raises(CheckpointError, match="makes no sense"):
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


def test_neither_is_the_file_beside_one_that_is_replaced(tmp_path):
    (tmp_path / "ours").write_text("ours")
    (tmp_path / ".new.tmp").symlink_to(tmp_path / "ours")
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "new", b"theirs")
    assert (tmp_path / "ours").read_text() == "ours"


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


# What would take memory


def with_header(text):
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


DIGEST = b'{"__metadata__":{"meta":"{\\"sha256\\":\\"' + b"0" * 64 + b'\\"'


@pytest.mark.parametrize("bomb", [b"[],", b"{},", b'"a":0,', b"0,"])
def test_json_that_would_take_gigabytes_is_refused_unread(bomb, tmp_path, monkeypatch):
    data = bytearray(with_header(DIGEST + b'}"},"x":[' + bomb * 1_500_000 + b"0]}"))
    at = data.index(b"0" * 64)
    data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    (tmp_path / "bomb").write_bytes(data)
    monkeypatch.setattr(storage.json, "loads", lambda *rest, **named: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match="is not a charrnn checkpoint"):
        read_tensors(tmp_path / "bomb", KINDS)
    (tmp_path / "about.json").write_bytes(b"[" + bomb * 1_500_000 + b"0]")
    with pytest.raises(CheckpointError, match="is not a corpus"):
        read_json(tmp_path / "about.json", "a corpus", 1)


def test_the_largest_vocabulary_is_still_read(tmp_path):
    symbols = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    write_tensors(
        tmp_path / "m",
        {"x": np.zeros(1)},
        {"kind": "charrnn-model", "format": 1, "symbols": symbols},
    )
    assert read_tensors(tmp_path / "m", KINDS)[1]["symbols"] == symbols


def test_a_file_larger_than_memory_is_refused_unread(tmp_path, monkeypatch):
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 33)  # 8 GB of holes take no room on the disk
    monkeypatch.setattr(storage, "free_memory_bytes", lambda: 10 << 30)
    with pytest.raises(CheckpointError, match=r"takes 17\.2 GB to read and 10\.7 GB are free"):
        read_model(tmp_path / "holes")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "9" * 5000])
def test_numbers_that_json_has_not_are_refused(number, tmp_path):
    (tmp_path / "about.json").write_text(f'{{"format": 1, "bounds": {number}}}')
    with pytest.raises(CheckpointError, match="is damaged"):
        read_json(tmp_path / "about.json", "a corpus", 1)


# Patterns


@pytest.mark.parametrize(
    "pattern",
    ["(.*)*x", ".*.*.*.*.*x", "(a*)*\\1*b", "(a|||||b)+c", "(?:a|b)*?(?:a|b)*?(?:a|b)*?(?:a|b)*?c"],
)
def test_a_pattern_that_takes_years_is_stopped(pattern, monkeypatch):
    monkeypatch.setattr(constraints, "PATTERN_S", 0.01)
    with pytest.raises(
        SettingsError, match="takes over 0.01 s for one text; write it without repeats"
    ) as caught:
        Constraints(matching=pattern).matches("a" * 1000)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("((a?){1000}){1000}", True),
        ("((a?){1000}){1001}", False),
        ("a{9,}b{1000001}", False),
        ("{", True),
    ],
)
def test_counts_that_multiply_to_over_a_million_are_refused(pattern, fits):
    if fits:
        assert Constraints(matching=pattern).pattern is not None
    else:
        with pytest.raises(SettingsError, match="repeats something over 1,000,000 times"):
            Constraints(matching=pattern)


def test_the_clock_of_a_pattern_leaves_no_trace():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    assert Constraints(matching="a+b+").matches("aab")
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_pattern_is_looked_for_in_threads_too():
    found = []
    thread = threading.Thread(
        target=lambda: found.append(Constraints(matching="a+b+").matches("aab"))
    )
    thread.start()
    thread.join()
    assert found == [True]


# Tables


def test_no_cell_of_a_csv_begins_a_formula(tmp_path):
    (tmp_path / "text.txt").write_text("=cmd|' /C calc'!A0 +1 -2 @sum ＝x 'a\n" * 3)
    for words in ([], ["--words"]):
        done = typed(
            "cooccur", tmp_path / "text.txt", "--csv", tmp_path / "out.csv", "--top", 99, *words
        )
        assert done.code == 0
        head, *rows = csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))
        labels = [row[0] for row in rows]
        assert labels == head[2:]
        assert {"'=", "'+", "'-", "'@", "'＝", "|"} <= set(labels)
        assert not [cell for row in (head, *rows) for cell in row if re.match(r"[=+\-@＝]", cell)]


# At random


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """One of each, so that a sampler is loaded once. An example is a number: the same input as of tests/fuzz.py --only."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TERM", "dumb")  # rich writes no escapes of its own
    patch.setattr(constraints, "PATTERN_S", 0.2)
    made = {}
    for name, target in TARGETS.items():
        folder = tmp_path_factory.mktemp("fuzz") / "x"
        folder.mkdir()
        made[name] = target(folder)
    yield made
    patch.undo()


@pytest.mark.parametrize("name", TARGETS)
def test_altered_inputs_are_refused_in_one_line_or_work(name, targets):
    target, seeds = targets[name], targets[name].seeds()

    @settings(max_examples=15 if name == "run" else 50, derandomize=True, database=None)
    @given(number=st.integers(0, 10**6))
    def some(number):
        target.run(one_input(target, seeds, 0, number), number)

    some()

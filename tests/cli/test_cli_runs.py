"""charrnn runs: what is listed of healthy, damaged and strange folders, and what may be deleted."""

import fcntl
import io
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loaded import loaded_after

from charrnn.cli import runs as command
from charrnn.errors import SettingsError, StorageError
from charrnn.modelfile import MODEL_FILE, checkpoint_files, read_model
from charrnn.report.shelf import listed
from charrnn.storage import read_tensors, write_tensors
from charrnn.training.removal import remove_run, run_to_remove


@pytest.fixture
def shelf(trained, tmp_path, monkeypatch):
    """runs/few, a copy of a trained run, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "runs/few")
    return Path("runs")


def only(shelf):
    [entry] = listed(shelf)
    return entry


def change_checkpoint(run, **changes):
    """Write the newest checkpoint again, with other values of its plan."""
    path = checkpoint_files(run / "checkpoints")[-1]
    tensors, meta = read_tensors(path, {"charrnn-checkpoint": 3})
    meta.pop("sha256")
    write_tensors(path, tensors, meta | {"plan": meta["plan"] | changes})


def test_a_run_is_listed_with_what_its_files_say(shelf):
    entry = only(shelf)
    model = read_model(shelf / "few")
    assert (entry.name, entry.text, entry.network) == ("few", "few", "lstm 1x8")
    assert (entry.state, entry.step) == ("finished", 30)
    assert entry.val_nats_per_char == model.val_nats_per_char
    files = [file for file in (shelf / "few").rglob("*") if file.is_file()]
    assert entry.size_bytes == sum(file.stat().st_size for file in files)
    assert entry.last_used_ns == max(file.stat().st_mtime_ns for file in files)


def test_a_run_before_its_last_step_is_stopped(shelf):
    change_checkpoint(shelf / "few", total_steps=31)
    assert only(shelf).state == "stopped"


def test_a_run_whose_last_return_led_nowhere_has_diverged(shelf):
    change_checkpoint(shelf / "few", total_steps=31)
    record = {"event": "rollback", "step": 30, "from_step": 31, "rollbacks": 2}
    metrics = shelf / "few/metrics.jsonl"
    plain = metrics.read_text()
    states = []
    for changes in ({}, {"rollbacks": 3}, {"rollbacks": 3, "step": 29}):
        metrics.write_text(f"{plain}{json.dumps(record | changes)}\n")
        states.append(only(shelf).state)
    assert states == ["stopped", "diverged", "stopped"]


def test_a_run_in_use_is_training(shelf):
    with open(shelf / "few/.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert only(shelf).state == "training"
    assert only(shelf).state == "finished"


@pytest.mark.parametrize(
    "data", [b"", b"short", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"]
)
def test_a_damaged_model_is_shown_as_such(shelf, data):
    (shelf / "few" / MODEL_FILE).write_bytes(data)
    entry = only(shelf)
    assert entry.state == "damaged" and "cut short or altered" in entry.problem


def test_no_change_of_a_byte_breaks_the_list(shelf):
    generator = random.Random(1)
    files = [shelf / "few" / MODEL_FILE, *checkpoint_files(shelf / "few/checkpoints")[-1:]]
    for _ in range(60):
        file = generator.choice(files)
        data = file.read_bytes()
        changed = bytearray(data)
        size = 8 + int.from_bytes(data[:8], "little")
        for place in generator.sample(range(size), 3):
            changed[place] = generator.choice(b'0123456789"{}[],:-e')
        file.write_bytes(changed)
        entry = only(shelf)
        assert command._row(entry, 0.0) and command._as_object(entry)
        file.write_bytes(data)


def test_a_model_that_was_cut_short_is_damaged(shelf):
    file = shelf / "few" / MODEL_FILE
    file.write_bytes(file.read_bytes()[:-1])
    assert only(shelf).state == "damaged"


def test_a_model_of_a_later_charrnn_says_so(shelf):
    tensors, meta = read_tensors(shelf / "few" / MODEL_FILE, {"charrnn-model": 3})
    meta.pop("sha256")
    write_tensors(shelf / "few" / MODEL_FILE, tensors, meta | {"format": 9})
    assert "has format 9" in only(shelf).problem


def test_damaged_checkpoints_leave_the_model_in_the_list(shelf):
    for file in checkpoint_files(shelf / "few/checkpoints"):
        file.write_bytes(b"no")
    entry = only(shelf)
    assert (entry.state, entry.network) == ("model", "lstm 1x8")


def test_comparisons_are_listed_and_other_folders_are_not(shelf):
    (shelf / "compare-few").mkdir()
    (shelf / "compare-few/compare.json").write_text("{}")
    shutil.copytree(shelf / "few", shelf / "compare-few/lstm-seed-1")
    (shelf / "notes").mkdir()
    (shelf / "file").write_text("x")
    entries = {entry.name: (entry.state, entry.network) for entry in listed(shelf)}
    assert entries == {"few": ("finished", "lstm 1x8"), "compare-few": ("comparison", "1 run")}


def test_a_folder_without_a_model_is_empty(shelf):
    (shelf / "few" / MODEL_FILE).unlink()
    shutil.rmtree(shelf / "few/checkpoints")
    (shelf / "few/checkpoints").mkdir()
    assert only(shelf).state == "empty"


# Deleting


def test_a_run_is_deleted_and_its_neighbour_stays(shelf):
    shutil.copytree(shelf / "few", shelf / "few-2")
    remove_run(run_to_remove("few-2", shelf))
    assert only(shelf).name == "few"


def test_links_inside_a_run_are_not_followed(shelf, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/mine.txt").write_text("mine")
    (shelf / "few/corpus/link").symlink_to(tmp_path / "outside")
    (shelf / "few/link").symlink_to(tmp_path / "outside")
    remove_run(run_to_remove("few", shelf))
    assert listed(shelf) == [] and (tmp_path / "outside/mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes", "no run of this name"),
        ("none", "no run of this name"),
        ("link", "is a symbolic link"),
        ("../runs/few", "not a path"),
        (".", "not a path"),
        ("..", "not a path"),
        ("", "not a path"),
        ("few/checkpoints", "not a path"),
    ],
)
def test_what_is_no_run_of_this_folder_is_refused(shelf, name, message):
    (shelf / "notes").mkdir()
    (shelf / "link").symlink_to(Path("few").absolute())
    with pytest.raises(SettingsError, match=message):
        run_to_remove(name, shelf)


def test_a_run_in_use_is_not_deleted(shelf):
    with open(shelf / "few/.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="is in use by process"):
            run_to_remove("few", shelf)
        with pytest.raises(StorageError, match="is in use by process"):
            remove_run(shelf / "few")
    assert (shelf / "few" / MODEL_FILE).exists()


def test_what_a_kill_leaves_of_a_deletion_can_be_deleted(shelf, monkeypatch):
    def killed(entry):
        raise OSError(5, "killed")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(StorageError, match="cannot delete runs/few: killed"):
            remove_run(shelf / "few")
    remove_run(run_to_remove("few", shelf))
    assert listed(shelf) == []


# As a person meets it


@pytest.mark.parametrize(("answer", "is_deleted"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_deletion_asks_first(shelf, monkeypatch, capsys, answer, is_deleted):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    command.runs(delete=["few"])
    assert "delete runs/few (" in capsys.readouterr().err
    assert (listed(shelf) == []) == is_deleted


def test_without_an_answer_nothing_is_deleted(shelf, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SettingsError, match="nobody answers; pass --yes"):
        command.runs(delete=["few"])
    assert only(shelf).state == "finished"


def test_nothing_is_deleted_unless_all_names_are_runs(shelf):
    with pytest.raises(SettingsError, match="no run of this name"):
        command.runs(delete=["few", "none"], yes=True)
    assert only(shelf).state == "finished"


def test_json_is_one_object_a_run_and_no_torch_is_loaded(shelf, tmp_path):
    words = [sys.executable, "-m", "charrnn", "runs", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    about = json.loads(done.stdout)
    assert (about["schema"], about["run"], about["state"]) == (1, "few", "finished")
    assert (about["cell"], about["num_layers"], about["hidden_size"]) == ("lstm", 1, 8)
    assert loaded_after(["runs"], ("torch",), tmp_path) == set()


def test_a_list_fits_80_columns(shelf, monkeypatch, capsys):
    long_name = "a-run-of-shakespeare-with-a-long-name-2"
    shutil.copytree(shelf / "few", shelf / long_name)
    (shelf / long_name / MODEL_FILE).write_bytes(b"no")
    shutil.copytree(shelf / "few", shelf / "lines")
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    command.runs()
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "damaged" in shown.out and f"{long_name}: {MODEL_FILE} is cut short" in shown.err


def test_an_empty_list_says_how_to_begin(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command.runs()
    assert capsys.readouterr() == ("", "no run under runs/; train one: charrnn train names\n")

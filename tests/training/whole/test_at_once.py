"""Trainings that begin at the same moment, and readers beside a training that removes files."""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import FEW, Watcher

from charrnn import modelfile
from charrnn.errors import CheckpointError, StorageError
from charrnn.modelfile import checkpoint_files, read_model
from charrnn.newest import newest_run
from charrnn.training import checkpoint, naming
from charrnn.training.checkpoint import load_newest
from charrnn.training.naming import claimed_run, fresh_run, runs_of
from charrnn.training.resuming import find_checkpoint
from charrnn.training.session import Request, train

SMALL = {
    "hidden_size": 4,
    "embedding_size": 2,
    "num_layers": 1,
    "threads": 1,
    "batch_size": 4,
    "counting": "off",
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def text(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    return str(tmp_path / "few.txt")


# Names


def test_trainings_that_begin_at_once_get_a_run_each(text, tmp_path):
    options = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    command = [sys.executable, "-m", "charrnn", "train", text, "--steps=2", "--quiet", *options]
    started = [
        subprocess.Popen([*command, f"--seed={seed}"], cwd=tmp_path, stderr=subprocess.PIPE)
        for seed in range(4)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0] * 4, ends
    names = sorted(run.name for run in (tmp_path / "runs").iterdir())
    assert names == ["few", "few-2", "few-3", "few-4"]
    assert all(read_model(run).meta["step"] == 2 for run in (tmp_path / "runs").iterdir())


def test_a_name_that_another_process_takes_meanwhile_is_left_to_it(text, tmp_path, monkeypatch):
    """The moment between looking for a free name and making the directory."""
    runs = tmp_path / "runs"
    original = checkpoint.RunDirectory.__init__

    def late(self, path, **more):
        if not more:
            path.mkdir(parents=True)
            (path / "checkpoints").mkdir()
            (path / "checkpoints/step-00000001.safetensors").touch()
        original(self, path, **more)

    monkeypatch.setattr(checkpoint.RunDirectory, "__init__", late)
    request = Request(text, (("--", SMALL | {"steps": 1}),), runs=runs)
    run, _ = train(request, Watcher())
    assert read_model(run).meta["step"] == 1


def test_a_name_is_claimed_by_one_only(tmp_path):
    (tmp_path / "few-3").touch()
    (tmp_path / "few-5").symlink_to("nowhere")
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: claimed_run("few", tmp_path), range(6)))
    assert sorted(run.name for run in runs) == ["few", "few-2", "few-4", "few-6", "few-7", "few-8"]
    assert fresh_run("few", tmp_path) == tmp_path / "few-5"  # it only looks


def test_a_training_that_fails_leaves_no_claimed_directory(text, tmp_path):
    layers = (("--", SMALL | {"steps": 1, "val": str(tmp_path / "none")}),)
    with pytest.raises(Exception, match="none"):
        train(Request(text, layers, runs=tmp_path / "runs"), Watcher())
    assert not (tmp_path / "runs/few").exists()


def test_runs_that_cannot_be_made_are_an_error_of_storage(text, tmp_path):
    (tmp_path / "runs").touch()
    request = Request(text, (("--", SMALL | {"steps": 1}),), runs=tmp_path / "runs")
    with pytest.raises(StorageError, match="cannot write"):
        train(request, Watcher())


# Readers beside --keep 1


@pytest.fixture
def moving(text, tmp_path, monkeypatch):
    """A run whose checkpoint is replaced by a later one after each of the first three looks."""
    run = tmp_path / "runs/few"
    layers = (("--", SMALL | {"steps": 1, "keep": 1}),)
    train(Request(text, layers, run=run), Watcher())
    (run / "model.safetensors").unlink()
    original = modelfile.checkpoint_files
    steps = itertools.count(2)

    def looked(folder):
        files = original(folder)
        step = next(steps)
        if files and step < 5:
            os.rename(files[-1], files[-1].with_name(f"step-{step:08d}.safetensors"))
        return files

    for module in (modelfile, checkpoint, naming):
        monkeypatch.setattr(module, "checkpoint_files", looked)
    monkeypatch.setattr("charrnn.training.resuming.checkpoint_files", looked)
    return run


def test_a_reader_looks_again_where_a_training_removes_the_checkpoint(moving):
    assert read_model(moving).path.name == "step-00000004.safetensors"


def test_a_resume_looks_again(moving):
    assert find_checkpoint(moving).locked()[0].path.name == "step-00000004.safetensors"


def test_the_newest_checkpoint_is_looked_for_again(moving):
    assert load_newest(moving)[0].path.name == "step-00000004.safetensors"


def test_the_newest_run_is_found_beside_a_training(moving, tmp_path):
    assert newest_run(tmp_path / "runs") == moving


def test_the_runs_of_a_text_are_found_beside_a_training(moving, tmp_path):
    assert runs_of("few", tmp_path / "runs") == [moving]


@pytest.mark.parametrize("read", [read_model, load_newest])
def test_a_checkpoint_that_is_a_link_to_nothing_is_read_once(read, tmp_path):
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    (folder / "step-00000001.safetensors").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="cannot read"):
        read(tmp_path / "run")
    with pytest.raises(CheckpointError, match="train one first"):
        newest_run(tmp_path)
    assert checkpoint_files(folder)

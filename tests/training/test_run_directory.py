"""The directory of a run and its records, without a training in it."""

import os
from types import SimpleNamespace

import pytest

from charrnn.errors import CheckpointError, MissingError, StorageError
from charrnn.modelfile import KINDS
from charrnn.scoring.score import Score
from charrnn.storage import read_tensors
from charrnn.training import checkpoint
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.mixing import Reading
from charrnn.training.outcome import Place
from charrnn.training.records import Records


def test_a_directory_in_use_is_not_entered_twice(tmp_path):
    with RunDirectory(tmp_path / "run"):
        with (
            pytest.raises(StorageError, match=f"is in use by process {os.getpid()}"),
            RunDirectory(tmp_path / "run"),
        ):
            pass
        assert (tmp_path / "run/checkpoints").is_dir()
    with RunDirectory(tmp_path / "run"):
        pass


@pytest.mark.parametrize("part", ["checkpoints", "corpus"])
def test_a_directory_whose_parts_lie_elsewhere_is_not_entered(tmp_path, part):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a symbolic link"), RunDirectory(tmp_path / "run"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_checkpoint_tells_how_long_the_records_were(tmp_path):
    meta = {"kind": "charrnn-checkpoint", "format": 2}
    with RunDirectory(tmp_path / "run") as run:
        paths = [run.save(0, {}, meta, keep=3)]
        run.log({"step": 1})
        run.add_samples("é")
        paths.append(run.save(1, {}, meta, keep=3))
        assert (tmp_path / "run/metrics.jsonl").read_text() == '{"step":1}\n'
    metas = [read_tensors(path, KINDS)[1] for path in paths]
    sizes = [(meta["metrics_bytes"], meta["samples_bytes"]) for meta in metas]
    assert sizes == [(0, 0), (len('{"step":1}\n'), 2)]


@pytest.mark.parametrize(("is_new", "is_left"), [(True, False), (False, True)])
def test_a_fault_before_the_first_checkpoint_removes_only_a_new_directory(
    tmp_path, is_new, is_left
):
    if not is_new:
        (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError), RunDirectory(tmp_path / "run") as run:
        run.log({"step": 1})
        raise ZeroDivisionError
    assert (tmp_path / "run/metrics.jsonl").exists() is is_left


def test_a_checkpoint_that_vanishes_is_looked_for_again(tmp_path, monkeypatch):
    looks = []

    def removed(path):
        looks.append(path.name)
        if len(looks) == 1:
            path.rename(path.with_name("step-00000004.safetensors"))
        raise MissingError("gone")

    monkeypatch.setattr(checkpoint, "load_checkpoint", removed)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step-00000002.safetensors").touch()
    with pytest.raises(MissingError):
        load_newest(tmp_path)
    assert looks == ["step-00000002.safetensors", "step-00000004.safetensors"]


def test_a_run_without_a_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="start a new run with --overwrite"):
        load_newest(tmp_path)


def test_an_evaluation_is_recorded_beside_the_score_to_beat():
    lines = []
    reading = Reading(Score(2.0, 4), Score(3.0, 4), 0.25)
    for baseline in (None, SimpleNamespace(score=Score(6.0, 4))):
        counting = SimpleNamespace(baseline=lambda baseline=baseline: baseline)
        run = SimpleNamespace(log=lines.append)
        records = Records(run, None, None, None, None, counting, {}, None)
        records.log_evaluation(Place(), reading, True)
    scores = [(line["val_nats_per_char"], line["ngram_nats_per_char"]) for line in lines]
    assert scores == [(0.5, None), (0.5, 1.5)]

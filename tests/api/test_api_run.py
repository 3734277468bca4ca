"""charrnn.Run: what a program asks of a run."""

import json
import math
import subprocess
import sys

import pytest
from support import FEW

import charrnn
from charrnn.errors import CheckpointError, SettingsError

LINES = [f"{first}{second.lower()}" for first in FEW[:9] for second in FEW[:7]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "mine"
    return charrnn.train(
        LINES, run=place, steps=9, hidden_size=7, batch_size=5, seed=3, eval_every="3"
    )


def test_a_run_is_opened_by_its_directory(run):
    assert charrnn.open_run(run.path).settings == run.settings


def test_a_run_is_opened_by_its_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "named").symlink_to(run.path)
    assert charrnn.open_run("named").settings == run.settings


def test_a_model_outside_a_run_is_refused(run, tmp_path):
    (tmp_path / "m.safetensors").write_bytes((run.path / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="is a model in no run"):
        charrnn.open_run(tmp_path / "m.safetensors")


def test_its_score_is_that_of_the_kept_weights(run):
    evaluations = run.history.evaluations
    index = evaluations["step"].index(run.step)
    assert run.score.nats_per_char == evaluations["val_nats_per_char"][index]


def test_history_has_a_row_for_each_step_and_evaluation(run):
    assert run.history.steps["step"] == list(range(1, 10))
    assert run.history.evaluations["step"] == [0, 3, 6, 9]
    lengths = {len(column) for column in run.history.steps.values()}
    assert lengths == {9}


def test_an_unknown_table_of_history_is_refused(run):
    with pytest.raises(SettingsError, match="choose evaluations or steps"):
        run.history.frame("losses")


def test_samples_are_those_of_the_sampler(run):
    decoding = charrnn.Decoding(temperature=0.5, top_k=3)
    expected = [sample.text for sample in run.sampler.generate(4, decoding=decoding, seed=2)]
    assert run.samples(4, temperature=0.5, top_k=3, seed=2) == expected


def test_evaluate_gives_what_the_command_prints(run):
    command = [sys.executable, "-m", "charrnn", "eval", str(run.path), "--json", "--split", "val"]
    printed = subprocess.run([*command, "--no-baselines"], capture_output=True, check=True)
    theirs = json.loads(printed.stdout)
    ours = run.evaluate(split="val")
    assert ours["nats_per_char"] == theirs["nats_per_char"]
    assert set(ours) <= set(theirs)


def test_a_text_is_scored(run):
    score = run.evaluate(text="Ada")
    assert score["chars"] == 4
    assert math.isfinite(score["bits_per_char"])


def test_two_texts_at_once_are_refused(run):
    with pytest.raises(SettingsError, match="give one"):
        run.evaluate(text="Ada", split="val")


def test_a_report_is_written(run, tmp_path):
    place = run.report(tmp_path / "page.html")
    assert place.read_bytes().startswith(b"<!doctype html>")


def test_a_notebook_shows_curve_score_and_samples(run):
    page = run._repr_html_()
    assert "<polyline" in page
    assert f"{run.score.bits_per_char:.3f} bits" in page
    assert run.samples(10, seed=1)[0] in page


def test_nothing_in_a_notebooks_page_is_markup(tmp_path):
    lines = [f"<b>&{line}" for line in LINES]
    run = charrnn.train(lines, run=tmp_path / "<i>", steps=2, hidden_size=5, seed=3)
    page = run._repr_html_()
    assert "<i>" not in page
    assert "<b>&" not in page
    assert "&lt;i&gt;" in page


def test_its_repr_names_place_step_and_score(run):
    assert repr(run).startswith(f"Run({str(run.path)!r}, step {run.step}, ")

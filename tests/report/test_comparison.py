"""charrnn report of a comparison, without a browser: what is read, and what goes into the page."""

import json
import math
import shutil
from statistics import fmean

import pytest
from comparison_support import compared_in
from support import FEW

from charrnn.errors import CheckpointError, SettingsError
from charrnn.lab.compare import turns_of
from charrnn.lab.compared import compared
from charrnn.lab.plan import PLAN
from charrnn.modelfile import read_model
from charrnn.report.comparison import gather_comparison
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler

pytestmark = pytest.mark.usefixtures("one_thread")
RUNS = [("gru", 3), ("gru", 4), ("rnn", 3), ("rnn", 4)]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    place = tmp_path_factory.mktemp("few") / "few.txt"
    place.write_text("".join(f"{name}\n" for name in FEW))
    return place


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "cells"
    return compared_in(folder, few), folder


@pytest.fixture(scope="module")
def contents(finished):
    return gather_comparison(finished[1])


def scored(folder, cell, seed):
    """(steps, bits) of all evaluations but the first."""
    lines = (folder / f"{cell}-seed-{seed}" / "metrics.jsonl").read_text().splitlines()
    scores = [line for line in map(json.loads, lines) if line.get("event") == "eval"]
    bits = [line["val_nats_per_char"] / math.log(2) for line in scores]
    return [line["step"] for line in scores[1:]], bits[1:]


def test_each_training_has_its_line_and_the_thick_one_is_their_mean(contents, finished):
    by_step = contents["charts"][0]
    assert [series["name"] for series in by_step["series"]] == ["gru", "rnn"]
    for series in by_step["series"]:
        both = []
        for seed, strand in zip((3, 4), series["strands"], strict=True):
            steps, bits = scored(finished[1], series["name"], seed)
            assert strand["x"] == steps
            assert strand["y"] == pytest.approx(bits, rel=1e-4)
            both.append(bits)
        means = [fmean(pair) for pair in zip(*both, strict=True)]
        assert series["y"] == pytest.approx(means, rel=1e-4)


def test_the_verdict_and_the_scores_are_those_that_compare_shows(contents, finished):
    plan, folder = finished
    result = compared(plan, folder, {})
    assert contents["verdicts"] == [f"{result.sentence.partition('. ')[0].rstrip('.')}."]
    shown = result.rows[1][result.columns.index("bits/char")]
    row = contents["rows"][1]
    assert row[0] == "rnn"
    assert float(row[1]) == pytest.approx(shown, abs=6e-4)


def test_the_interval_lies_around_the_differences_of_equal_seeds(contents, finished):
    """With two seeds half of it is 12.706 times half of what their differences are apart."""
    best = {run: min(scored(finished[1], *run)[1]) for run in RUNS}
    apart = [best["rnn", seed] - best["gru", seed] for seed in (3, 4)]
    [gap] = contents["gaps"]
    assert gap["seeds"] == pytest.approx(apart, rel=1e-3, abs=1e-4)
    assert gap["mean"] == pytest.approx(fmean(apart), rel=1e-3, abs=1e-4)
    half = 12.706 * abs(apart[0] - apart[1]) / 2
    assert (gap["high"] - gap["low"]) / 2 == pytest.approx(half, rel=1e-3)


def test_samples_are_those_of_the_best_run_of_each_variant(contents, finished):
    folder = finished[1]
    for one in contents["written"]:
        best = min((3, 4), key=lambda seed: min(scored(folder, one["name"], seed)[1]))
        assert one["run"] == f"{one['name']}-seed-{best}"
        sampler = Sampler(read_model(folder / one["run"]))
        drawn = sampler.generate(12, decoding=Decoding(0.8), length=120, seed=1)
        assert one["texts"] == [sample.text for sample in drawn]


def test_one_seed_has_a_page_without_intervals(few, tmp_path):
    compared_in(tmp_path / "one", few, seeds=1)
    page = gather_comparison(tmp_path / "one")
    assert page["gaps"][0]["low"] is None
    assert page["rows"][1][4] == "–"
    assert "one seed, which gives no interval" in page["verdicts"][0]
    assert ["seeds", "3"] in page["settings"]


def test_what_is_not_finished_is_told_in_one_line(few, tmp_path):
    plan = compared_in(tmp_path / "part", few, turns=[])
    with pytest.raises(CheckpointError, match=r"is not finished: 4 trainings of 4 are missing"):
        gather_comparison(tmp_path / "part")
    compared_in(tmp_path / "part", few, turns=turns_of(plan)[:3])
    with pytest.raises(CheckpointError, match=r"1 training of 4 is missing; the same charrnn"):
        gather_comparison(tmp_path / "part")


def test_a_training_that_diverged_has_no_score_and_the_page_says_so(finished, tmp_path):
    folder = tmp_path / "cells"
    shutil.copytree(finished[1], folder)
    run = folder / "rnn-seed-4"
    newest = max((run / "checkpoints").glob("step-*"))
    newest.unlink()  # the last checkpoint is of a step before the end
    (run / "checkpoints" / "best.safetensors").unlink(missing_ok=True)
    if not list((run / "checkpoints").glob("step-*")):
        pytest.skip("no earlier checkpoint to go back to")
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'{"event":"rollback","step":12,"from_step":12,"rollbacks":3}\n')
    page = gather_comparison(folder)
    assert "no figure, a training diverged" in page["verdicts"][0]
    assert page["rows"][1][1] == "–"


def test_a_comparison_of_an_old_version_has_the_seeds_that_have_runs(finished, tmp_path):
    folder = tmp_path / "compare-few"
    shutil.copytree(finished[1], folder)
    recorded = json.loads((folder / PLAN).read_text())
    del recorded["name"], recorded["seeds"]
    for variant in recorded["variants"]:
        del variant["settings"]["text"]["split_seed"]
    (folder / PLAN).write_text(json.dumps(recorded))
    page = gather_comparison(folder)
    assert page["summary"] == "gru against rnn at equal parameters and steps, on few, 2 seeds each."
    assert len(page["runs"]) == 4


def test_a_damaged_plan_is_told_in_one_line(finished, tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / PLAN).write_text('{"schema": 1}')
    with pytest.raises(CheckpointError, match="is damaged"):
        gather_comparison(folder)


def test_the_command_takes_a_comparison_by_its_name_under_runs(charrnn, finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "runs" / "cells")
    said = charrnn("report", "cells", "--json", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    about = json.loads(said.stdout)
    assert about["comparison"] == "runs/cells"
    assert (tmp_path / "runs/cells/report.html").stat().st_size == about["bytes"]


def test_a_run_of_a_comparison_has_the_page_of_a_run(charrnn, finished, tmp_path):
    said = charrnn("report", finished[1] / "gru-seed-3", "--out", tmp_path / "p.html", "--json")
    assert said.returncode == 0, said.stderr
    assert "comparison" not in json.loads(said.stdout)


def test_a_device_is_refused_because_nothing_is_computed(charrnn, finished):
    said = charrnn("report", finished[1], "--device", "cpu")
    assert (said.returncode, said.stdout) == (SettingsError("").exit_code, "")
    assert "--device: nothing of a comparison is computed again" in said.stderr

"""Counting lines: names as long as those counted; models with the error of earlier versions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import FEW, Watcher

from charrnn.modelfile import MISCOUNTED, checkpoint_files, read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load
from charrnn.text.ngram import SMOOTHINGS
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOTE = f"note: {MISCOUNTED}"


def counted(text, run, **settings):
    """Train a counting model; what was said."""
    watcher = Watcher()
    layers = (("--", {"cell": "ngram"} | settings),)
    train(Request(str(text), layers, run=run), watcher)
    return watcher.said


def test_names_of_counted_pairs_are_as_long_as_the_names_counted(tmp_path):
    # With each line end counted in the lowest order they had 5.2 characters, in place of 6.0.
    counted("names", tmp_path / "run", order="2")
    samples = load(tmp_path / "run").generate(10_000, decoding=Decoding(temperature=1.0), seed=1)
    lengths = [len(sample.text.removesuffix("\n")) for sample in samples]
    run = OpenedRun(read_model(tmp_path / "run"))
    ids = run.training_splits[0]
    lines = np.count_nonzero(ids == run.model.vocabulary.newline)
    # Four standard errors: 4 x 4.6 / sqrt(10,000).
    assert np.mean(lengths) == pytest.approx((len(ids) - lines) / lines, abs=0.18)


# Models that were counted before


@pytest.fixture
def old_run(tmp_path):
    return shutil.copytree(FIXTURES / "0.4.0" / "ngram-lines", tmp_path / "old")


@pytest.mark.parametrize("version", ["0.2.0", "0.3.0", "0.4.0"])
def test_models_of_earlier_versions_are_known_by_their_counts(version):
    run = FIXTURES / version / "ngram-lines"
    for path in (run, checkpoint_files(run / "checkpoints")[-1]):
        assert read_model(path).is_miscounted


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", ["1", "2", "4"])
def test_what_is_counted_now_is_not_taken_for_it(tmp_path, mode, smoothing, order):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{name}\n" for name in FEW))
    counted(text, tmp_path / "run", mode=mode, smoothing=smoothing, order=order)
    assert not read_model(tmp_path / "run").is_miscounted


def test_a_network_is_not_asked_how_it_was_counted():
    assert not read_model(FIXTURES / "0.4.0" / "lstm-lines").is_miscounted


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "-n", 2, "--seed", 1),
        ("sample", "-n", 2, "--seed", 1, "--json"),
        ("eval", "--split", "val", "--per-char"),
        ("eval", "--split", "val", "--rank"),
        ("eval", "--samples", 5),
    ],
)
def test_a_command_says_once_on_standard_error_that_a_model_was_miscounted(charrnn, old_run, words):
    command, *options = words
    result = charrnn(command, old_run, *options)
    assert result.returncode == 0
    assert result.stderr.splitlines().count(NOTE) == 1
    assert MISCOUNTED not in result.stdout


def test_a_score_of_a_miscounted_model_says_so_beside_the_figure(charrnn, old_run):
    table = charrnn("eval", old_run, "--split", "val").stdout
    assert "counted by an earlier charrnn" in table
    card = json.loads(charrnn("eval", old_run, "--split", "val", "--json").stdout)
    assert card["notes"].count(MISCOUNTED) == 1
    charrnn("report", old_run)
    assert MISCOUNTED in (old_run / "report.html").read_text()


def test_a_resume_says_that_a_model_was_miscounted(old_run):
    watcher = Watcher()
    train(Request(run=old_run, resume=True), watcher)
    assert watcher.said.count(NOTE) == 1

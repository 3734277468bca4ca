"""A text too short to validate on: no score decides, the last weights are kept and write lines."""

import json
import math

import numpy as np
import pytest
from support import FEW, Watcher

from charrnn.modelfile import read_model
from charrnn.sampling.engine import Sampler
from charrnn.scoring import validation
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun
from charrnn.training.checkup import check
from charrnn.training.pacing import MOST_PASSES
from charrnn.training.session import Request, train

BANDS = """
Motley Zeppelin|Iron Dolls|Black Harbor|Señor Cult|Electric Pilots|Wild Roses|Naked Hearts
|The Velvet Sons|Pale Riders|Stone Garden|Silver Wolves|Midnight Choir|Broken Radio|Paper Kings
|Dead Poets|Red Lantern|Ghost Parade|Lost Cities|Hollow Saints|Burning Tires|Neon Prophets
|Mötley Thunder|Savage Angels|The Quiet Ones|Rusty Crown
""".replace("\n", "").split("|")
OVERFITTED = {"steps": 90, "eval_every": "15", "hidden_size": 32, "lr": 0.03, "dropout": 0.0}


def few(tmp_path, lines=BANDS):
    path = tmp_path / "few.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def trained(path, run, watcher=None, **changes):
    request = Request(path, (("--", {"threads": 1} | changes),), run=run)
    return train(request, watcher or Watcher())[1]


def evaluations(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == "eval"]


def test_twenty_five_names_give_lines_like_names(tmp_path, one_thread):
    """Their words, or such as share four letters with them, stand in most of what is written."""
    outcome = trained(few(tmp_path), tmp_path / "r", steps=220, eval_every="110")
    lines = [sample.text for sample in Sampler(read_model(tmp_path / "r")).generate(40, seed=1)]
    pieces = {band[i : i + 4] for band in BANDS for i in range(len(band) - 3)}
    alike = [line for line in lines if any(piece in line for piece in pieces)]
    assert len(alike) > 25
    assert "too little text to judge by" in outcome.verdict


def test_the_last_weights_are_kept_whatever_one_line_says(tmp_path, one_thread):
    outcome = trained(few(tmp_path), tmp_path / "r", **OVERFITTED)
    values = [row["val_nats_per_char"] for row in evaluations(tmp_path / "r")]
    assert min(values) < values[-1]
    assert outcome.reason == "done"
    assert read_model(tmp_path / "r").meta["step"] == outcome.place.best_step == 90
    assert outcome.keeps_last


def test_who_sets_a_patience_goes_by_validation_all_the_same(tmp_path, one_thread):
    outcome = trained(few(tmp_path), tmp_path / "r", **OVERFITTED, patience=0)
    assert outcome.place.best_step < 90
    assert not outcome.keeps_last


def test_a_gate_is_not_fitted_to_one_line(tmp_path, one_thread):
    """Counting has a twentieth, whatever is seen."""
    trained(few(tmp_path), tmp_path / "r", steps=20, hidden_size=8)
    theta = read_model(tmp_path / "r").ally.theta
    assert 1 / (1 + np.exp(-theta[0])) == pytest.approx(0.05)
    assert not theta[1:].any()


def test_a_gate_that_was_not_fitted_flatters_nothing(tmp_path, one_thread):
    trained(few(tmp_path), tmp_path / "r", steps=20, hidden_size=8)
    run = OpenedRun(read_model(tmp_path / "r"))
    card = evaluated(run, text_of_split(run, "val"), How(), False, lambda text: None)
    assert card.experts.mean_share == pytest.approx(0.05)
    assert not [note for note in card.notes if "gate" in note]


def test_a_budget_ends_before_all_is_known_by_heart(tmp_path, one_thread, monkeypatch):
    monkeypatch.setattr("charrnn.training.pacing.MOST_PASSES", 12)
    monkeypatch.setattr("charrnn.training.loop.MOST_PASSES", 12)
    monkeypatch.setattr("charrnn.training.pacing.TIMED_STEPS", 3)
    monkeypatch.setattr("charrnn.training.pacing.TIMED_S", 0.0)
    outcome = trained(few(tmp_path), tmp_path / "r", budget="30s", hidden_size=8)
    assert outcome.place.step == 12 < MOST_PASSES


@pytest.mark.parametrize(("count", "is_noise"), [(180, True), (200, False)])
def test_ten_lines_of_validation_decide(tmp_path, count, is_noise):
    lines = [f"{name} {number}" for number in range(5) for name in FEW][:count]
    watcher = Watcher()
    outcome = trained(few(tmp_path, lines), tmp_path / "r", watcher, steps=1, hidden_size=4)
    assert outcome.keeps_last == is_noise
    assert math.isfinite(outcome.place.best_nats)


def test_a_stream_of_a_few_lines_is_noise_too():
    class Corpus:
        mode = "stream"

        def split(self, name):
            return range(199)

    assert validation.is_noise(Corpus())


def test_ten_names_are_lines_of_their_own(tmp_path, one_thread):
    trained(few(tmp_path, BANDS[:10]), tmp_path / "r", steps=2, hidden_size=4)
    assert read_model(tmp_path / "r").mode == "lines"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("".join(f"{name}\n" for name in FEW), "44 lines leave 2 to validate on"),
        ("A line.\n\nMore of it.\n\n" * 99, "2,178 characters leave 109 to validate on"),
        ("A line.\n\nMore of it.\n\n" * 999, ""),
    ],
)
def test_the_check_says_that_little_text_is_copied(tmp_path, text, says):
    (tmp_path / "text.txt").write_text(text)
    advice = check(str(tmp_path / "text.txt"), (("--", {"steps": 1}),))["advice"]
    assert any(says in line for line in advice) if says else "validate on" not in str(advice)

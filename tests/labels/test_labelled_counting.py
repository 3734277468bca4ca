"""`--cell ngram --label`: a counting model that knows labels, trained, resumed, read, and asked."""

import json
import random

import numpy as np
import pytest
from support import Killed, Watcher

from charrnn.errors import CheckpointError
from charrnn.modelfile import read_model
from charrnn.sampling.engine import Sampler, load
from charrnn.scoring.counting import score_of
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.labels import classified, scores_by_label
from charrnn.scoring.text import text_of_split
from charrnn.storage import read_tensors, write_tensors
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

ALPHABETS = {"early": "abcdeo", "late": "fghijo"}  # that share one letter


def labelled_lines():
    draws = random.Random(1)
    for number in range(240):
        label = ("early", "late")[number % 2]
        yield f"{label}\t{''.join(draws.choices(ALPHABETS[label], k=draws.randint(3, 6)))}\n"


LABELLED = "".join(labelled_lines()) + "oo\n"
SETTINGS = {"cell": "ngram", "label": "prefix", "split": "0.6,0.2,0.2", "threads": 1}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "names.tsv"
    path.write_text(LABELLED)
    return str(path)


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("counted") / "run"
    train(Request(text, (("--", SETTINGS),), run=path), Watcher())
    return path


def test_validation_is_scored_with_labels(run):
    model = read_model(run)
    corpus = OpenedRun(model).corpora[0]
    ngram = model.ngram()
    grams = model.label_grams(ngram)
    first = corpus.first_ids("val")
    val = corpus.split("val")
    expected = score_of(ngram, val, "lines", by_label=grams, first=first).nats_per_char
    assert model.val_nats_per_char == pytest.approx(expected)
    assert expected < score_of(ngram, val, "lines").nats_per_char
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [*_, last] = [row for row in rows if row.get("event") == "eval"]
    assert last["val_nats_per_char"] == pytest.approx(expected)


def test_samples_are_of_the_label(run):
    sampler = load(run)
    for label, letters in ALPHABETS.items():
        text = "".join(one.text for one in sampler.generate(60, label=label, seed=1))
        assert np.mean([char in letters for char in text]) > 0.75
    [(found, p), (_, q)] = sampler.classify("abba")
    assert found == "early"
    assert p + q == pytest.approx(1)


def test_scores_and_classes_are_of_the_labels(run):
    opened = OpenedRun(read_model(run))
    text = text_of_split(opened, "test")
    everything, *scores = scores_by_label(opened.model, text, How())
    assert {score.label for score in scores} >= {"early", "late"}
    assert sum(score.chars for score in scores) == everything.chars
    assert classified(opened.model, text, How(), "flat").accuracy > 0.9


def test_killed_and_resumed_is_the_same_as_not_killed(text, run, tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.text.ngram.PIECE", 40)
    for number, kill_at in enumerate([1, 3, None]):
        try:
            request = Request(
                None if number else text,
                () if number else (("--", SETTINGS | {"save_every": "1"}),),
                run=tmp_path / "killed",
                resume=number > 0,
            )
            train(request, Watcher(kill_at))
        except Killed:
            assert kill_at is not None
    found = read_model(tmp_path / "killed").tensors
    expected = read_model(run).tensors
    assert found.keys() == expected.keys()
    assert any(name.startswith("bylabel.") for name in found)
    assert all(np.array_equal(found[name], expected[name]) for name in found)


def test_damaged_labels_are_refused(run, tmp_path):
    tensors, meta = read_tensors(run / "model.safetensors", {"charrnn-model": 4})
    del tensors["bylabel.share"]
    write_tensors(tmp_path / "x.safetensors", tensors, meta)
    with pytest.raises(CheckpointError, match="its n-grams make no sense"):
        read_model(tmp_path / "x.safetensors")


def test_without_labels_it_counts_all(run):
    model = read_model(run)
    plain = model.without_labels()
    assert plain.label_grams(plain.ngram()) is None
    assert Sampler(plain).score("face") == Sampler(model).score("face")
    assert Sampler(model).labelled("late").score("face") != Sampler(model).score("face")


def test_the_baseline_of_a_network_that_knows_labels_knows_them_too(text, run, tmp_path):
    network = SETTINGS | {"cell": "gru", "hidden_size": 4, "steps": 2, "counting": "off"}
    train(Request(text, (("--", network),), run=tmp_path / "run"), Watcher())
    opened = OpenedRun(read_model(tmp_path / "run"))
    card = evaluated(opened, text_of_split(opened, "test"), How(), True, print)
    counted = OpenedRun(read_model(run))
    alone = evaluated(counted, text_of_split(counted, "test"), How(), False, print)
    assert card.baselines["ngram"] == pytest.approx(alone.figures.bits_per_char)

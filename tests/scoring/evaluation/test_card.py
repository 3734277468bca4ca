"""The whole card of a stored model."""

import hashlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from charrnn.config import resolve
from charrnn.errors import CorpusError, SettingsError
from charrnn.scoring.card import Source
from charrnn.scoring.evaluation import (
    How,
    evaluated,
    lines_of,
    protocol_of,
)
from charrnn.scoring.figures import Bounds, Gain, gain, text_sha256
from charrnn.scoring.score import Predictions, Score, Tally
from charrnn.scoring.text import text_given, text_of_split
from charrnn.texts import OpenedRun


def test_a_typed_text_stands_beside_uniform(model_file):
    text = text_given(OpenedRun(model_file), None, "Anna", resolve([])[0].text, "error")
    found = evaluated(OpenedRun(model_file), text, How(), True, print)
    assert found.baselines == {"uniform": math.log2(len(model_file.vocabulary))}
    assert found.data.name == "--text" and found.overlap is None and found.figures.interval is None


def test_the_card_of_a_split_names_its_text(model_file, trained):
    text = text_of_split(OpenedRun(model_file), "val")
    found = evaluated(OpenedRun(model_file), text, How(), True, print)
    (about,) = (json.loads(path.read_text()) for path in (trained / "corpus").glob("*.json"))
    assert found.data == Source(
        name="few",
        sha256=hashlib.sha256(model_file.vocabulary.to_bytes(text.ids)).hexdigest(),
        text_sha256=about["text_sha256"],
        fingerprint=about["fingerprint"],
    )
    assert found.split_rule.startswith("distinct lines shuffled with seed 1337")
    assert found.figures.bits_per_byte == pytest.approx(found.figures.bits_per_char)  # ASCII
    assert set(found.baselines) == {"uniform", "unigram", "ngram"}
    assert "no compressors: they need 1,000 characters" in found.notes
    assert (
        found.unseen.nats_per_char == found.figures.nats_per_char
        and found.overlap.duplicate_lines == 0
    )


def test_the_card_in_json_has_its_figures_beside_its_other_values(model_file):
    run = OpenedRun(model_file)
    card = evaluated(run, text_of_split(run, "val"), How(), False, print)
    before = ["split", "split_rule", "file", "protocol", "window"]
    figures = ["nats_per_char", "bits_per_char", "perplexity", "chars", "bits_per_byte", "interval"]
    figures += ["unit", "bits_per_utf8_char"]
    after = ["model", "unknown", "data", "experts", "cache", "dynamic", "baselines", "ngram"]
    last = ["gain_over_ngram", "overlap", "unseen", "notes", "warnings"]
    values = card.to_json()
    assert list(values) == [*before, *figures, *after, *last]
    assert values["chars"] == card.figures.chars


def test_a_file_of_training_lines_is_scored_over_its_new_lines_too(model_file, tmp_path):
    corpus = text_of_split(OpenedRun(model_file), "train").corpus
    known = model_file.vocabulary.decode(corpus.split("train")).split("\n")[:9]
    (tmp_path / "more.txt").write_text("\n".join(["Annaa", *known, "Otta"]) + "\n")
    settings, _ = resolve([])
    text = text_given(OpenedRun(model_file), tmp_path / "more.txt", None, settings.text, "error")
    found = evaluated(OpenedRun(model_file), text, How(), True, print)
    assert found.overlap.duplicate_lines == 9 and "9 of 11 lines (81.8%)" in found.warnings[0]
    (tmp_path / "new.txt").write_text("Annaa\nOtta\n")
    alone = text_given(OpenedRun(model_file), tmp_path / "new.txt", None, settings.text, "error")
    expected = evaluated(OpenedRun(model_file), alone, How(), True, print)
    assert found.unseen.ngram == pytest.approx(expected.baselines["ngram"])
    assert found.unseen.lines == 2 and found.unseen.chars == expected.figures.chars == 11
    assert found.unseen.nats_per_char == pytest.approx(expected.figures.nats_per_char, rel=1e-6)


def test_the_score_of_the_training_text_is_warned_of(model_file):
    found = evaluated(
        OpenedRun(model_file), text_of_split(OpenedRun(model_file), "train"), How(), False, print
    )
    assert found.overlap is None and "the text it learnt from" in found.warnings[0]


def test_a_large_training_text_leaves_baselines_and_overlap_out_and_says_so(
    model_file, monkeypatch
):
    monkeypatch.setattr("charrnn.scoring.evaluation.MAX_BASELINE_CHARS", 100)
    said = []
    found = evaluated(
        OpenedRun(model_file), text_of_split(OpenedRun(model_file), "val"), How(), True, said.append
    )
    assert (
        set(found.baselines) == {"uniform"}
        and found.overlap is None
        and "over 100 characters" in said[0]
    )


def test_ranked_lines_of_a_split_are_the_score_of_each_line_alone(model_file):
    settings, _ = resolve([])
    text = text_given(OpenedRun(model_file), None, "Anna\n\nOtto", settings.text, "error")
    rows = list(lines_of(model_file, text, How()))
    assert {row.text for row in rows} == {"Anna", "Otto"}
    for row in rows:
        alone = text_given(OpenedRun(model_file), None, row.text, settings.text, "error")
        found = evaluated(OpenedRun(model_file), alone, How(), False, print)
        assert row.bits_per_char == pytest.approx(found.figures.bits_per_char, rel=1e-5)


def test_what_does_not_fit_lines_is_refused(model_file):
    for how, words in (
        (How("windowed"), "windowed is for streams"),
        (How(dynamic=True), "--dynamic is for streams"),
    ):
        with pytest.raises(SettingsError, match=words):
            protocol_of(model_file, how)
    with pytest.raises(CorpusError, match="nothing to score"):
        text_given(OpenedRun(model_file), None, "\n\n", resolve([])[0].text, "error")


def test_a_lost_record_of_sources_leaves_their_hashes_out(model_file, trained, tmp_path):
    corpus = text_of_split(OpenedRun(model_file), "val").corpus
    assert set(text_sha256(corpus)) == {"train"}
    corpus.path.with_suffix(".json").replace(tmp_path / "kept")
    try:
        assert text_sha256(corpus) == {}
    finally:
        (tmp_path / "kept").replace(corpus.path.with_suffix(".json"))


def test_scores_add_up():
    assert sum((Score(1.0, 2), Score(2.0, 4)), Score(0.0, 0)) == Score(3.0, 6)


def test_the_gain_over_counting_is_paired():
    # Both find block k as hard as k: alone their figures vary a lot, their difference by a
    # hundredth.
    random = np.random.default_rng(11)
    hard = random.normal(1500, 300, 200)
    tally, other = (Tally(np.zeros(200_001, np.uint8), None) for _ in range(2))
    tally.chars += 1000
    tally.nats += hard
    other.nats += hard + random.normal(50, 3, 200)
    found = gain(tally, other)
    assert found.nats_per_char == pytest.approx(0.05, rel=0.02)
    low, high = found.interval.nats_per_char
    assert low < found.nats_per_char < high and high - low < 0.002
    assert found.bits_per_char == pytest.approx(found.nats_per_char / math.log(2))


def test_the_gain_of_a_single_character_is_its_own():
    tally, other = Tally(np.zeros(2), None), Tally(np.zeros(2), None)
    tally.add(Predictions(np.array([1]), np.array([0.5])))
    other.add(Predictions(np.array([1]), np.array([2.0])))
    assert gain(tally, other) == Gain(1.5, 1.5 / math.log(2), None)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((-1.0, 1.0), True), ((0.0, 1.0), True), ((-1.0, 0.0), True), ((0.1, 1.0), False)],
)
def test_a_gain_may_be_chance_where_its_interval_holds_zero(bounds, expected):
    assert Gain(0.5, 0.7, Bounds(bounds, bounds)).may_be_chance is expected
    assert not Gain(0.5, 0.7, None).may_be_chance


@pytest.mark.parametrize(
    ("split", "sizes", "chosen"),
    [
        (None, {"val": 2}, "val"),
        (None, {"val": 2, "test": 2}, "test"),
        ("train", {"train": 2, "test": 9}, "train"),
        ("train", {"train": 1, "test": 9}, None),
        (None, {"train": 9}, None),
    ],
)
def test_the_part_that_is_scored_has_two_characters_at_least(split, sizes, chosen):
    corpus = SimpleNamespace(
        split=lambda name: np.zeros(sizes.get(name, 0), np.uint8), labels_of=lambda name: None
    )
    run = SimpleNamespace(own_corpus=lambda advice: corpus)
    if chosen is not None:
        assert text_of_split(run, split).split == chosen
        return
    with pytest.raises(CorpusError, match="this run has no"):
        text_of_split(run, split)

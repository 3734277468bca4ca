"""The card of a score: intervals, figures, baselines."""

import bz2
import hashlib
import lzma
import math
import zlib

import numpy as np
import pytest
from evaluation_support import LETTERS, Fixed, ids_of

from charrnn.config import Settings, TextSettings
from charrnn.scoring import bootstrap, compressors
from charrnn.scoring.compressors import added_bytes, reach_note
from charrnn.scoring.counting import CountingScorer, score_of
from charrnn.scoring.figures import Measured, figures, measured, split_rule
from charrnn.scoring.score import tallied
from charrnn.scoring.text import whole_lines
from charrnn.text import ngram
from charrnn.text.counting import count
from charrnn.text.vocabulary import Vocabulary

# The interval


def test_the_interval_is_that_of_the_analytic_standard_error():
    random = np.random.default_rng(1)
    nats, chars = random.normal(1500, 200, 400), np.full(400, 1000)
    low, high = bootstrap.interval(nats, chars)
    error = nats.std(ddof=1) / 1000 / math.sqrt(400)
    assert (high - low) / 2 == pytest.approx(
        1.96 * error, rel=0.06
    )  # 2,000 resamples: their quantiles move by 3 %
    assert (low + high) / 2 == pytest.approx(nats.mean() / 1000, abs=0.2 * error)


def test_the_interval_of_a_ratio_weighs_units_by_their_characters():
    random = np.random.default_rng(2)
    chars = random.integers(2, 12, 3000)
    nats = chars * 2.0 + random.normal(0, 1, 3000)
    ratio = nats.sum() / chars.sum()
    error = np.sqrt(((nats - ratio * chars) ** 2).sum()) / chars.sum()  # the delta method
    low, high = bootstrap.interval(nats, chars)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 300)
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        low, high = bootstrap.interval(random.exponential(2.0, 60), np.ones(60, np.int64))
        covered += low <= 2.0 <= high
    assert 0.87 <= covered / 200 <= 0.99


def test_the_interval_is_always_the_same():
    nats, chars = np.random.default_rng(4).random(50), np.ones(50, np.int64)
    assert bootstrap.interval(nats, chars) == bootstrap.interval(nats, chars)


def test_millions_of_lines_are_grouped_and_have_the_same_interval(monkeypatch):
    random = np.random.default_rng(5)
    nats, chars = random.normal(6, 2, 9000), np.full(9000, 3)
    fine = bootstrap.interval(nats, chars)
    monkeypatch.setattr(bootstrap, "MOST_UNITS", 700)
    grouped = bootstrap.interval(nats, chars)
    assert grouped[1] - grouped[0] == pytest.approx(fine[1] - fine[0], rel=0.1)
    assert sum(grouped) == pytest.approx(sum(fine), rel=1e-3)


def test_few_units_have_no_interval_and_empty_ones_do_not_count():
    chars = np.array([*[5] * 9, *[0] * 30])
    assert bootstrap.interval(chars * 2.0, chars) is None
    chars[20] = 5
    assert bootstrap.interval(chars * 2.0, chars) == pytest.approx((2.0, 2.0))


# Figures


def test_bits_per_byte_are_of_the_predicted_characters_bytes():
    vocabulary = Vocabulary("char", (97, 0xE9, 0x1F600))
    ids = np.array([2, 0, 1, 0], np.uint8)
    size = measured(ids, vocabulary, "stream")
    assert size == (4, hashlib.sha256("\U0001f600a\xe9a".encode()).hexdigest(), 3)
    tally = tallied(Fixed(), ids, "stateful", None)
    bits = figures(tally, size, "stream", "char").bits_per_byte
    assert bits == pytest.approx(0.1 / math.log(2) / 4)
    assert measured(ids, vocabulary, "lines")[0] == 8


def test_a_text_is_measured_in_pieces_as_in_one(monkeypatch):
    ids = ids_of("abcdefghij" * 7)
    whole = measured(ids, LETTERS, "stream")
    monkeypatch.setattr("charrnn.scoring.figures.PIECE", 9)
    assert measured(ids, LETTERS, "stream") == whole


def test_figures_name_their_interval():
    tally = tallied(Fixed(), np.tile(np.arange(10), 1200), "stateful", None)
    found = figures(tally, Measured(11_999, "", 11_999), "stream", "char")
    assert found.chars == 11_999 and found.interval.units == 12
    assert found.interval.resampled == "12 blocks of 1,000 characters"
    assert found.interval.unit == "1,000 characters" and found.interval.level == 0.95
    low, high = found.interval.nats_per_char
    assert low <= found.nats_per_char <= high
    assert found.interval.bits_per_char == pytest.approx((low / math.log(2), high / math.log(2)))


def rule(mode="stream", split="test", **text):
    return split_rule(Settings(text=TextSettings(**text)), mode, split)


def test_the_split_rule_says_how_to_repeat_it():
    assert rule() == "characters in their order, cuts rounded down: train 0.9, val 0.05, test 0.05"
    assert rule(unit="byte", split="val").startswith("bytes in their order")
    assert rule("lines") == (
        "distinct lines shuffled with seed 1337 (numpy default_rng), "
        "in turn: train 0.9, val 0.05, test 0.05"
    )
    assert rule("lines", deduplicate=False).startswith("lines shuffled")
    assert rule(test="/far/away/t.txt") == "a file of its own: t.txt"
    assert rule(test="t.txt", split="val").endswith("train 0.95, val 0.05")
    assert rule(val="v.txt", split="train").endswith("train 1")


# Baselines


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("order", [1, 3, 5])
@pytest.mark.parametrize("piece", [1, 4, 7])
def test_counting_in_pieces_equals_counting_the_whole(monkeypatch, mode, order, piece):
    random = np.random.default_rng(6)
    train, text = (np.append(random.integers(0, 4, size), 0).astype(np.uint8) for size in (300, 90))
    if mode == "lines":
        train, text = whole_lines(train, 0), whole_lines(text, 0)
    model, protocol = (
        count(train, 27, order, 0 if mode == "lines" else None),
        "stateful" if mode == "stream" else mode,
    )
    whole = score_of(model, text, protocol)
    monkeypatch.setattr(ngram, "PIECE", piece)
    parts = score_of(model, text, protocol)
    assert parts.chars == whole.chars == len(text) - (mode == "stream")
    assert parts.nats == pytest.approx(whole.nats, rel=1e-12)


def test_the_counting_scorer_says_where_each_character_stands():
    text = ids_of("ab\nc\n")
    model = count(text, 27, 2, 0)
    tally = tallied(CountingScorer(model), text, "lines", 0)
    assert tally.chars.tolist() == [3, 2]
    assert tally.score().nats == pytest.approx(-np.log(model.probabilities(text)).sum())


def test_counting_in_windows_equals_a_loop_over_windows():
    random = np.random.default_rng(8)
    model, text = count(random.integers(0, 4, 400), 4, 5), random.integers(0, 4, 50)
    expected = sum(
        -np.log(model.probabilities(text[at : at + 7])[1:]).sum() for at in range(0, 49, 6)
    )
    score = score_of(model, text, "windowed", 6)
    assert (score.chars, score.nats) == (49, pytest.approx(expected, rel=1e-12))


def test_counting_of_a_stream_scores_lines_each_after_a_newline():
    random = np.random.default_rng(9)
    model, text = (
        count(random.integers(0, 4, 400), 4, 5),
        np.array([1, 2, 0, 3, 0, 2, 2, 1, 1, 3, 0]),
    )
    lines = [[1, 2, 0], [3, 0], [2, 2, 1, 1, 3, 0]]
    expected = [-np.log(model.probabilities(np.array([0, *line]))[1:]).sum() for line in lines]
    tally = tallied(CountingScorer(model), text, "lines", 0)
    assert tally.chars.tolist() == [3, 2, 6]
    np.testing.assert_allclose(tally.nats, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("protocol", "boundary"), [("stateful", None), ("windowed", None), ("lines", 0)]
)
def test_counting_ranks_what_it_predicts(protocol, boundary):
    random = np.random.default_rng(10)
    model, text = (
        count(random.integers(0, 4, 400), 4, 4, boundary),
        np.append(random.integers(0, 4, 600), 0),
    )
    scorer = CountingScorer(model)
    plain = list(scorer.predictions(text, protocol, window=7))
    found = list(scorer.predictions(text, protocol, window=7, detailed=True))
    nats = np.concatenate([each.nats for each in found])
    np.testing.assert_allclose(nats, np.concatenate([each.nats for each in plain]), rtol=1e-12)
    np.testing.assert_array_equal(
        np.concatenate([each.places for each in found]),
        np.concatenate([each.places for each in plain]),
    )
    ranks, guesses, costs = (
        np.concatenate(each) for each in zip(*(one[2:5] for one in found), strict=True)
    )
    np.testing.assert_array_equal(costs[ranks == 1], nats[ranks == 1])
    right = guesses == text[len(text) - len(nats) :]
    assert (ranks[right] == 1).all() and (costs <= nats).all() and 0 < right.sum() < len(right)


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("zlib", lambda data: zlib.compress(data, 9)),
        ("bz2", bz2.compress),
        ("xz", lambda data: lzma.compress(data, preset=6)),
    ],
)
def test_a_compressor_counts_what_the_text_adds(monkeypatch, name, compress):
    random = np.random.default_rng(7)
    train, text = (random.integers(1, 9, size).astype(np.uint8) for size in (4000, 700))
    monkeypatch.setattr(compressors, "PIECE", 333)
    first = LETTERS.to_bytes(train)
    expected = len(compress(first + LETTERS.to_bytes(text))) - len(compress(first))
    assert added_bytes(name, train, text, LETTERS) == expected


def test_compressors_that_forget_are_named():
    assert reach_note(30_000) == ""
    assert "zlib 32 KiB" in reach_note(40_000) and "bz2" not in reach_note(40_000)
    assert "bz2 900 kB" in reach_note(2_000_000)

"""The card of a score: figures, interval, baselines, overlap, each character and each line."""

import bz2
import hashlib
import json
import lzma
import math
import zlib

import numpy as np
import pytest

from charrnn.config import Settings, TextSettings, resolve
from charrnn.errors import CorpusError, SettingsError
from charrnn.modelfile import ModelFile, read_model
from charrnn.scoring import bootstrap, compressors
from charrnn.scoring.card import Source
from charrnn.scoring.compressors import added_bytes, reach_note
from charrnn.scoring.counting import CountingScorer, score_of
from charrnn.scoring.detail import characters, likeliest_first, outliers, ranked
from charrnn.scoring.evaluation import (
    How,
    evaluated,
    lines_of,
    protocol_of,
)
from charrnn.scoring.figures import figures, gain, measured, split_rule, text_sha256
from charrnn.scoring.overlap import SharedRun, inherited, known_lines, overlap, warnings
from charrnn.scoring.score import Predictions, Score, Tally, tallied
from charrnn.scoring.text import text_given, text_of_split, whole_lines
from charrnn.text import ngram
from charrnn.text.counting import count
from charrnn.text.novelty import lines_held, make_filter, write_filter
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun

LETTERS = Vocabulary("char", (10, *range(97, 123)))


def ids_of(text, vocabulary=LETTERS):
    return vocabulary.encode(text).astype(np.uint8)


class Fixed:
    """A scorer for which the nats of a character are its id / 10."""

    def predictions(self, ids, protocol, *, window=256, detailed=False):
        for start in range(protocol != "lines", len(ids), 3):
            places = np.arange(start, min(start + 3, len(ids)))
            yield Predictions(places, ids[places] / 10)


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
    size, digest = measured(ids, vocabulary, "stream")
    assert (size, digest) == (4, hashlib.sha256("\U0001f600a\xe9a".encode()).hexdigest())
    tally = tallied(Fixed(), ids, "stateful", None)
    assert figures(tally, size, "stream").bits_per_byte == pytest.approx(0.1 / math.log(2) / 4)
    assert measured(ids, vocabulary, "lines")[0] == 8


def test_a_text_is_measured_in_pieces_as_in_one(monkeypatch):
    ids = ids_of("abcdefghij" * 7)
    whole = measured(ids, LETTERS, "stream")
    monkeypatch.setattr("charrnn.scoring.figures.PIECE", 9)
    assert measured(ids, LETTERS, "stream") == whole


def test_figures_name_their_interval():
    tally = tallied(Fixed(), np.tile(np.arange(10), 1200), "stateful", None)
    found = figures(tally, 11_999, "stream")
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
        "distinct lines shuffled with seed 1337 (numpy default_rng), in turn: train 0.9, val 0.05, test 0.05"
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
        np.concatenate(each) for each in zip(*(one[2:] for one in found), strict=True)
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


# Overlap


def compared(train, text, mode="stream", vocabulary=LETTERS):
    known = known_lines([train], text, vocabulary, mode) if vocabulary.newline is not None else None
    return overlap([train], text, vocabulary, mode, known)


def test_lines_and_runs_of_every_text_that_was_learnt_count():
    first, second = ids_of("anna\nbert\n"), ids_of("carla\nberta\n")
    text = ids_of("carla\nxbertay\nanna\n")
    known = known_lines([first, second], text, LETTERS, "lines")
    assert known.known.tolist() == [True, False, True]
    run = overlap([first, second], text, LETTERS, "lines", known).longest_run
    assert (run.text, run.train_text, run.train_at) == ("carla", 1, 0)


def test_a_carriage_return_makes_no_other_line():
    vocabulary = Vocabulary("char", (10, 13, *range(97, 123)))
    train, text = (
        vocabulary.encode(each).astype(np.uint8) for each in ("anna\nbert\n", "anna\r\nberta\r\n")
    )
    assert known_lines([train], text, vocabulary, "lines").known.tolist() == [True, False]


def test_filters_tell_which_lines_an_earlier_text_may_hold(tmp_path):
    names = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmno" for c in "pqrst"]
    old, new = names[:140], names[140:]
    made = make_filter(ids_of("".join(f"{name}\n" for name in old)), LETTERS, "lines", "0" * 64)
    half = ids_of("".join(f"{name}\n" for name in [*old[:50], *new[:50]]))
    held, asked = lines_held([made], half, LETTERS, "lines")
    assert asked == 100 and 50 <= held <= 55


def test_a_score_of_what_an_earlier_model_learnt_is_called_flattered(tmp_path):
    names = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmno" for c in "pqrst"]
    old = ids_of("".join(f"{name}\n" for name in names[:140]))
    new = ids_of("".join(f"{name}\n" for name in names[140:]))
    model = ModelFile(tmp_path / "model.safetensors", Settings(), LETTERS, "lines", 0, {}, {})
    (tmp_path / "corpus").mkdir()
    file = tmp_path / "corpus" / ("0" * 16 + ".novel")
    write_filter(file, old, LETTERS, "lines", "0" * 64)
    filters = OpenedRun(model).inherited_filters
    assert "50 of 50 lines" in inherited(filters, old[:200], LETTERS, "lines")[0]
    assert inherited(filters, new, LETTERS, "lines") == []
    # Where the text itself is there, it is compared exactly instead.
    file.with_suffix(".json").write_text("{}")
    assert OpenedRun(model).inherited_filters == []


def test_known_lines_equal_a_naive_search():
    random = np.random.default_rng(8)
    texts = [
        "\n".join("".join(random.choice(list("ab"), size)) for size in random.integers(0, 4, 60))
        for _ in "tu"
    ]
    train, text = (whole_lines(ids_of(each), 0) for each in texts)
    known, is_counted = known_lines([train], text, LETTERS, "lines")
    learnt = set(LETTERS.decode(train).split("\n"))
    assert known.tolist() == [line in learnt for line in LETTERS.decode(text).split("\n")[:-1]]
    assert 0 < known.sum() < len(known) and is_counted.all()


def test_wide_ids_are_compared_as_such():
    vocabulary = Vocabulary("char", (10, *range(97, 600)))
    train, text = np.array([300, 44, 0], np.uint16), np.array([44, 0, 300, 44, 0], np.int32)
    assert known_lines([train], text, vocabulary, "lines").known.tolist() == [False, True]
    assert compared(train, text, "lines", vocabulary).duplicate_lines == 1


def test_short_lines_of_a_stream_are_no_overlap():
    train = ids_of("end\nthislineislongenoughnow\nabc\n")
    text = ids_of("end\nthislineislongenoughnow\nthislineisanotheronehere\nabc\n")
    found = compared(train, text)
    assert (found.lines, found.duplicate_lines, found.duplicate_share) == (2, 1, 0.5)
    assert "1 of 2 lines of 20 or more characters (50.0%)" in warnings(found, "stream")[0]


def test_the_longest_shared_run_has_its_text_and_both_places():
    train, text = ids_of("aaaabcdefgaaaa"), ids_of("zzbcdefgz")
    run = compared(train, text).longest_run
    assert run == SharedRun(chars=6, text="bcdefg", at=2, train_at=4, train_text=0)


def test_a_shared_run_of_lines_does_not_cross_them():
    train, text = ids_of("anna\nbert\n"), ids_of("be\nxanna\nberta\n")
    run = compared(train, text, "lines").longest_run
    assert (run.chars, run.text, run.at, run.train_at) == (4, "anna", 4, 0)


def test_a_long_run_is_warned_of_and_a_short_one_is_not():
    random = np.random.default_rng(9)
    train = random.integers(1, 27, 3000).astype(np.uint8)
    for size, warned in ((49, 0), (50, 1)):
        text = np.concatenate([[0], train[100 : 100 + size], [0]]).astype(np.uint8)
        assert len(warnings(compared(train, text), "stream")) == warned


def test_nothing_in_common_is_no_warning():
    found = compared(
        ids_of("abc\n"), ids_of("xyz"), "stream", Vocabulary("char", tuple(range(97, 123)))
    )
    assert found.longest_run is None and found.lines is None and warnings(found, "stream") == []


# Each line, each character


def test_lines_are_ranked_by_nats_per_character():
    ids = ids_of("zz\nab\n\nmmmmmmm\nab\n")
    tally = tallied(Fixed(), ids, "lines", 0)
    tally.nats[2] = tally.chars[2] = 0  # as a network leaves blank lines out
    rows = list(ranked(ids, tally, 0, LETTERS, likeliest_first(tally)))
    assert [row.text for row in rows] == ["ab", "ab", "mmmmmmm", "zz"]
    assert rows[0].nats == pytest.approx(0.3) and rows[0].chars == 3
    assert rows[0].bits_per_char == pytest.approx(0.1 / math.log(2))


def test_many_lines_show_five_of_each_end_and_few_show_all():
    ids = ids_of("".join(f"{chr(97 + k)}\n" for k in range(11)))
    tally = tallied(Fixed(), ids, "lines", 0)
    likeliest, least_likely = outliers(ids, tally, 0, LETTERS)
    assert [row.text for row in likeliest] == list("abcde")
    assert [row.text for row in least_likely] == list("ghijk")
    _, least_likely = outliers(ids[:20], Tally(ids[:20], 0), 0, LETTERS)
    assert least_likely == []


def test_each_character_tells_its_price_and_its_rank():
    class Ranked(Fixed):
        def predictions(self, ids, protocol, *, window=256, detailed=False):
            assert detailed
            yield Predictions(
                np.array([1]),
                np.array([math.log(4)]),
                np.array([2]),
                np.array([3]),
                np.array([math.log(2)]),
            )

    (one,) = characters(Ranked(), ids_of("ab"), "stateful", LETTERS, 256)
    assert one._asdict() == {
        "place": 1,
        "char": "b",
        "code": 98,
        "bits": pytest.approx(2),
        "probability": pytest.approx(0.25),
        "rank": 2,
        "guess": "c",
        "guess_code": 99,
        "guess_probability": pytest.approx(0.5),
    }


def test_a_model_without_ranks_shows_none():
    rows = list(characters(Fixed(), ids_of("abcd"), "stateful", LETTERS, 256))
    assert [row.char for row in rows] == list("bcd") and {row.rank for row in rows} == {None}


def test_blank_lines_are_left_out_and_the_last_line_is_closed():
    assert LETTERS.decode(whole_lines(ids_of("\n\nab\n\n\nc"), 0)) == "ab\nc\n"
    assert LETTERS.decode(whole_lines(ids_of("ab\nc\n"), 0)) == "ab\nc\n"
    assert len(whole_lines(ids_of("\n\n"), 0)) == 0


# The whole card of a stored model


@pytest.fixture
def model_file(trained, one_thread):
    return read_model(trained)


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
    assert set(found.baselines) == {"uniform", "unigram", "ngram", "zlib", "bz2", "xz"}
    assert (
        found.unseen.nats_per_char == found.figures.nats_per_char
        and found.overlap.duplicate_lines == 0
    )


def test_the_card_in_json_has_its_figures_beside_its_other_values(model_file):
    run = OpenedRun(model_file)
    card = evaluated(run, text_of_split(run, "val"), How(), False, print)
    before = ["split", "split_rule", "file", "protocol", "window"]
    figures = ["nats_per_char", "bits_per_char", "perplexity", "chars", "bits_per_byte", "interval"]
    after = ["model", "unknown", "data", "cache", "dynamic", "baselines", "ngram"]
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
    # Both find block k as hard as k: alone their figures vary a lot, their difference by a hundredth.
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

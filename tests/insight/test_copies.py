"""The look at samples as a whole, its temperatures, and what `charrnn eval --samples` shows."""

import json
from dataclasses import replace

import numpy as np
import pytest
from loaded import loaded_after

from charrnn.cli import novelty_view
from charrnn.errors import CheckpointError, SettingsError
from charrnn.insight import copies
from charrnn.insight.card import LongestRuns, Nearest, NearLine, Nearness, OtherSets
from charrnn.insight.copies import Question, examine
from charrnn.modelfile import read_model
from charrnn.sampling.codec import Sample
from charrnn.texts import OpenedRun

# Temperature


def test_the_matching_temperature_lies_between_its_neighbours():
    nats = {0.5: 1.0, 1.0: 2.0, 0.8: 1.2}
    assert copies.matching_temperature(nats, 1.4) == pytest.approx(0.85)
    assert copies.matching_temperature(nats, 2.0) == 1.0
    assert copies.matching_temperature(nats, 2.1) is None


def sets_drawn(temperature, val):
    """Sets by temperature of a model whose samples have their temperature in nats a character."""

    def draw(t):
        return [Sample(0, "ab", 2 * t, 2, (np.zeros(2, np.uint8), 0, 2))]

    return copies.at_temperatures(draw, temperature, draw(temperature), val)


@pytest.mark.parametrize(
    ("val", "added"),
    [
        (None, ()),
        (0.1, ()),
        (1.1, ()),
        (1.15, (1.2,)),
        (1.4, (1.2, 1.3, 1.5)),
        (9.0, copies.HOTTER),
    ],
)
def test_hotter_samples_are_drawn_until_they_surprise_like_real_text(val, added):
    assert list(sets_drawn(0.8, val)) == [*copies.TEMPERATURES, *added]


def test_one_hot_question_does_not_stand_for_those_between():
    assert list(sets_drawn(2.0, 1.25)) == [*copies.TEMPERATURES, 1.2, 1.3, 2.0]


@pytest.mark.parametrize("near", [0.29999999, 0.30000001])
def test_temperatures_that_print_alike_are_one_column(near):
    assert list(sets_drawn(near, None)) == [near, *copies.TEMPERATURES[1:]]


@pytest.mark.parametrize(
    ("asked", "others"),
    [
        ((1000, 500, False), (100, 500)),
        ((3, 500, False), (3, 500)),
        ((1000, 5000, False), (20, 5000)),
        ((2, 5_000_000, False), (1, 100_000)),
        ((10**5, 1000, True), (1000, 1000)),
        ((2, 10**6, True), (2, 1000)),
    ],
)
def test_the_other_temperatures_draw_a_bounded_amount(asked, others):
    assert copies.other_size(*asked) == others


# The whole


@pytest.fixture(scope="module")
def report(trained):
    return examine(OpenedRun(read_model(trained)), Question(60, temperature=0.9, seed=3))


def test_a_report_is_strict_json_and_the_same_again(report, trained):
    assert examine(OpenedRun(read_model(trained)), Question(60, temperature=0.9, seed=3)) == report
    json.dumps(report.to_json(), allow_nan=False)


def test_a_report_s_samples_are_those_of_charrnn_sample(report, trained, charrnn):
    done = charrnn("sample", trained, "-n", "60", "--temp", "0.9", "--seed", "3", "--json")
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    assert report.lines.lines == sum(text != "" for text in texts)
    run = report.longest_run.samples
    assert run.text == texts[run.sample][run.start : run.start + run.chars]
    nats = [json.loads(line)["nats"] for line in done.stdout.splitlines()]
    chars = [json.loads(line)["chars"] for line in done.stdout.splitlines()]
    assert report.entropy.nats_per_char["0.9"] == pytest.approx(sum(nats) / sum(chars))


def test_it_needs_the_run_s_text(trained, tmp_path):
    (tmp_path / "alone.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="lies in no run directory"):
        examine(OpenedRun(read_model(tmp_path / "alone.safetensors")), Question(3))


@pytest.mark.parametrize(("count", "length"), [(3, 5_000_000), (1, 10**7 + 1)])
def test_more_text_than_is_bounded_is_refused_before_it_is_drawn(trained, count, length):
    with pytest.raises(SettingsError, match=r"at most 10,000,000 in all; ask for less"):
        examine(OpenedRun(read_model(trained)), Question(count, length=length))


def test_lines_that_do_not_end_are_bounded_too(trained, monkeypatch):
    monkeypatch.setattr(copies, "MAX_CHARS", 30)
    with pytest.raises(SettingsError, match="over 30 characters in all"):
        examine(OpenedRun(read_model(trained)), Question(100))


@pytest.mark.parametrize("limit", ["LONG_WORK", "LONG_TEXT"])
def test_what_takes_long_is_told(trained, monkeypatch, limit):
    notes = []
    examine(OpenedRun(read_model(trained)), Question(5), notes.append)
    assert notes == []
    monkeypatch.setattr(copies, limit, 0)
    examine(OpenedRun(read_model(trained)), Question(5), notes.append)
    assert notes == [
        "drawing 5 samples of at most 1,000 characters",
        "looking for them in the training text",
        "drawing 5 samples of at most 1,000 characters at each of 7 or more temperatures",
    ]


def test_the_sets_of_the_other_temperatures_have_the_size_that_is_said(trained, monkeypatch):
    monkeypatch.setattr(copies, "FEW_LINES", 3)
    report = examine(OpenedRun(read_model(trained)), Question(5))
    assert report.other_temperatures == OtherSets(samples=3, length=1000)


def test_places_for_people_count_from_1(report):
    run = replace(report.longest_run.samples, sample=0)
    lines = novelty_view.texts_of(replace(report, longest_run=LongestRuns(run, None)))
    assert lines[0].startswith("longest run, in sample 1:")


@pytest.mark.parametrize(
    "values",
    [
        {"count": 0},
        {"count": 10**9},
        {"count": 1, "temperature": -1},
        {"count": 1, "length": 0},
        {"count": 1, "seed": -1},
    ],
)
def test_questions_that_make_no_sense_are_refused(values):
    with pytest.raises(SettingsError):
        Question(**values)


def test_eval_with_samples_prints_json_and_no_scores(trained, charrnn):
    done = charrnn("eval", trained, "--samples", "20", "--json")
    assert done.returncode == 0 and done.stderr == ""
    [line] = done.stdout.splitlines()
    values = json.loads(line)
    assert (
        values["schema"] == 1
        and values["novelty"]["samples"] == 20
        and "nats_per_char" not in values
    )


def test_eval_with_samples_shows_a_verdict(trained, charrnn):
    done = charrnn("eval", trained, "--samples", "20", "--temp", "0.5")
    assert (
        done.returncode == 0
        and "verdict: " in done.stdout
        and "temperature 0.5, seed 1" in done.stdout
    )


def test_texts_in_the_tables_are_escaped_and_short(report):
    line = NearLine("a\x1b[31m\nb" + "x" * 99, "\u202eq", 2)
    near = Nearness(1, 0.0, 2, 0.1, [line])
    lines = novelty_view.texts_of(replace(report, nearest=Nearest(1, 64, near, near)))
    assert lines[-1].startswith("  a\\x1b[31m\\nbxxx") and lines[-1].endswith(
        "x ... <- \\u202eq (2)"
    )


@pytest.mark.parametrize(
    "more", [("--temp", "1"), ("--samples", "3", "--text", "x"), ("--samples", "0")]
)
def test_options_that_do_not_fit_are_one_line(trained, charrnn, more):
    done = charrnn("eval", trained, *more)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_eval_with_samples_never_loads_torch(trained, tmp_path):
    assert loaded_after(["eval", str(trained), "--samples", "5"], ("torch", "numpy"), tmp_path) == {
        "numpy"
    }

"""What the figures of a look at samples mean: warnings, doubts, and the verdict."""

from dataclasses import replace

import pytest

from charrnn.insight import copies, verdicts
from charrnn.insight.card import (
    Comparison,
    Distinct,
    Entropy,
    Examination,
    Expected,
    HeldOut,
    LineShares,
    LongestRuns,
    OtherSets,
    Run,
)
from charrnn.insight.verdicts import verdict


def run_of(chars):
    return Run(chars, "x" * chars, 0, 0, "text", 0, 1, 1, "x" * chars)


def lines_of(**changes):
    lines = LineShares(100, 0.2, 0.0, 0.0, 0.8, {}, 0.0, None, 100, 0.2)
    return replace(lines, **changes)


def report_of(**changes):
    """A report in which nothing is wrong except for the changes."""
    report = Examination(
        samples=100,
        mode="stream",
        temperature=0.8,
        seed=1,
        length=500,
        chars=50_000,
        other_temperatures=OtherSets(100, 500),
        held_out=HeldOut("test", 100, 50_000),
        training_texts=1,
        lines=lines_of(),
        longest_run=LongestRuns(run_of(30), run_of(30)),
        ngrams_in_training={
            str(n): Comparison(0.999, 0.999) if n < 20 else Comparison(0.0, 0.0)
            for n in copies.LENGTHS
        },
        distinct=Distinct({}, 0),
        nearest=None,
        structure={},
        entropy=Entropy(None, {}, None),
    )
    return replace(report, **changes)


def grams_with(n, samples, held_out):
    grams = report_of().ngrams_in_training
    return {"ngrams_in_training": grams | {str(n): Comparison(samples, held_out)}}


def test_no_warning_where_samples_share_what_real_text_shares():
    assert verdicts.warnings_of(report_of()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"longest_run": LongestRuns(run_of(61), run_of(30))},
            "a run of 61 characters",
        ),
        (grams_with(30, 0.3, 0.1), "30.0% of the 30-grams"),
        (grams_with(2, 0.9, 0.99), "garbles: 10.0%"),
        (
            {"lines": lines_of(in_train=0.6, expected_in_train=Expected(0.2, 0.05))},
            "line is written 3.0 times",
        ),
        (
            {"lines": lines_of(in_train=0.6, expected_in_train=Expected(0.0, 0.1))},
            "60.0% of the samples are",
        ),
    ],
)
def test_copying_is_warned_of(changes, words):
    [warning] = verdicts.warnings_of(report_of(**changes))
    assert words in warning


def test_pairs_that_real_text_does_not_share_either_are_no_garble():
    assert verdicts.warnings_of(report_of(**grams_with(2, 0.0, 0.0))) == []


def test_a_difference_that_chance_explains_is_no_warning():
    lines = lines_of(in_train=0.45, expected_in_train=Expected(0.2, 0.1))
    assert verdicts.warnings_of(report_of(lines=lines)) == []


def names_report(in_train, share, deviation):
    lines = lines_of(
        lines=5,
        in_train=in_train,
        held_out_in_train=0.0,
        expected_in_train=Expected(share, deviation),
    )
    return report_of(mode="lines", lines=lines)


@pytest.mark.parametrize(
    ("card", "doubt"),
    [
        (report_of(), None),
        (report_of(chars=verdicts.LEAST_CHARS - 1), "too few samples to tell"),
        (
            names_report(1.0, 0.0, 0.8),
            "too few samples to tell",
        ),  # 5 samples of a text split 0.8 to 0.2
        (names_report(0.1, 0.0, 0.16), None),
        (
            names_report(0.7, 0.95, 0.06),
            None,
        ),  # many samples, and held-out lines among them: no copies
        (
            report_of(mode="lines"),
            "cannot tell, for the held-out lines are no random part of the text",
        ),
        (
            report_of(**grams_with(50, 0.898, 1.0)),
            "cannot tell, for 100.0% of the held-out text's 50-grams are in the",
        ),
        (report_of(**grams_with(50, 0.0, 1.0)), None),
        (report_of(**grams_with(50, 0.1, 0.1)), None),
    ],
)
def test_a_missing_warning_is_doubted_where_none_was_possible(card, doubt):
    assert verdicts.warnings_of(card) == []
    answer = verdicts.doubt_of(card)
    assert answer == doubt or (doubt and answer.startswith(doubt))


def test_a_doubt_takes_the_place_of_no_sign_but_not_of_a_warning():
    few = "too few samples to tell"
    assert verdict(report_of(doubt=few)).startswith(f"{few}: 20.0 %")
    assert verdict(report_of(doubt=few, warnings=["copies: x"])).startswith("copies: ")


def test_the_verdict_is_one_line_that_says_whether_it_copies():
    assert verdict(report_of()).startswith("no sign of copying: 20.0 % of the whole lines")
    assert verdict(report_of(warnings=["copies: x"])).startswith("copies:")

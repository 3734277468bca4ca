"""What is kept and why the rest is not, and how many texts are drawn for it."""

import itertools
import tracemalloc

import pytest
from constraints_support import sample, sampler, texts

from charrnn.errors import SettingsError
from charrnn.sampling.constraints import (
    Constraints,
    Tally,
    accepted,
    tries_allowed,
)
from charrnn.sampling.decode import Decoding
from charrnn.texts import Novelty


def keep(texts, constraints, wanted=100, tries=None):
    """Texts kept of these, and what became of all."""
    samples = [sample(text, index) for index, text in enumerate(texts)]
    tally = Tally(wanted)
    draw = lambda first, count: iter(samples[first : first + count])  # noqa: E731
    return [one.text for one in accepted(draw, tally, tries or len(texts), constraints)], tally


# What is kept


@pytest.mark.parametrize(
    ("constraints", "kept", "reason"),
    [
        (Constraints(min_length=3), ["abc", "abcd", "béd"], "short"),
        (Constraints(max_length=3), ["", "ab", "abc", "ab", "béd"], "long"),
        (Constraints(min_length=3, max_length=3), ["abc", "béd"], "short"),
        (Constraints(matching="b"), ["ab", "abc", "ab", "abcd", "béd"], "unlike"),
        (Constraints(matching="^b"), ["béd"], "unlike"),
        (Constraints(matching="^ab?$"), ["ab", "ab"], "unlike"),
        (Constraints(matching=""), ["", "ab", "abc", "ab", "abcd", "béd"], ""),
        (Constraints(unique=True), ["", "ab", "abc", "abcd", "béd"], "repeat"),
    ],
)
def test_what_satisfies_a_constraint_is_kept_in_order(constraints, kept, reason):
    found, tally = keep(["", "ab", "abc", "ab", "abcd", "béd"], constraints)
    assert found == kept
    assert (tally.tried, tally.kept) == (6, len(kept))
    assert sum(tally.refused.values()) == 6 - len(kept)
    assert (reason in tally.refused) is bool(reason)


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(min_length=2, max_length=2),
        Constraints(matching="^ab$"),
        Constraints(matching=r"\Aab\Z"),
    ],
)
def test_the_newline_that_closes_a_text_is_not_judged(constraints):
    assert keep(["ab\n", "abb\n"], constraints)[0] == ["ab\n"]


def test_repeats_are_told_by_their_bytes():
    samples = [sample(b"a\xff"), sample(b"a\xfe"), sample(b"a\xff")]  # all three are shown alike
    tally = Tally(3)
    kept = list(
        accepted(
            lambda first, count: iter(samples[first : first + count]),
            tally,
            3,
            Constraints(unique=True),
        )
    )
    assert [one.data for one in kept] == [b"a\xff", b"a\xfe"]


def test_repeats_of_long_texts_are_told_too():
    """Of those a digest is remembered."""
    long = "ab" * 50
    found, tally = keep([long, long + "a", long, "ab", long + "a"], Constraints(unique=True))
    assert found == [long, long + "a", "ab"] and tally.refused == {"repeat": 2}


def test_what_was_refused_is_no_repeat():
    samples = [sample("ab"), sample("ab")]
    tally, novelty = Tally(2), Flags([False, True])
    both = Constraints(unique=True, novel=True)
    assert (
        len(
            list(
                accepted(
                    lambda first, count: iter(samples[first : first + count]),
                    tally,
                    2,
                    both,
                    novelty,
                )
            )
        )
        == 1
    )


class Flags(Novelty):
    """A training text that answers what it was told to."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def is_novel(self, data):
        return next(self.answers)


def test_a_doubt_is_not_novel():
    samples = [sample("ab", index) for index in range(3)]
    tally = Tally(3)
    draw = lambda first, count: iter(samples[first : first + count])  # noqa: E731
    kept = list(accepted(draw, tally, 3, Constraints(novel=True), Flags([True, None, False])))
    assert [one.index for one in kept] == [0]
    assert tally.refused == {"doubtful": 1, "known": 1}


def test_what_is_kept_is_what_a_filter_by_hand_keeps():
    model, asked = sampler(), Constraints(min_length=2, max_length=4, matching="a", unique=True)
    how = {"seed": 5, "decoding": Decoding(1.0)}
    wanted = []
    for one in model.generate(3000, **how):
        if (
            2 <= len(one.text) <= 4
            and "a" in one.text
            and one.text not in [other.text for other in wanted]
        ):
            wanted.append(one)
    length = asked.length("lines", "char", sample("", chars=0), "", None)
    tally = Tally(10)
    kept = list(
        accepted(
            lambda first, n: model.generate(n, first=first, length=length, **how),
            tally,
            3000,
            asked,
        )
    )
    assert texts(kept) == texts(wanted[:10])
    assert tally.tried == kept[-1].index + 1


# Tries


def test_no_more_is_drawn_than_the_tries_allow():
    found, tally = keep(["b"] * 50, Constraints(matching="a"), tries=20)
    assert (found, tally.tried, tally.ran_out) == ([], 20, True)


def test_enough_is_enough():
    found, tally = keep(["a", "b"] * 50, Constraints(matching="a"), wanted=3)
    assert (found, tally.tried, tally.ran_out) == (["a"] * 3, 5, False)
    found, tally = keep(
        ["b"] * 4 + ["a"] * 50, Constraints(matching="a"), wanted=2
    )  # more were drawn than needed
    assert (found, tally.tried, tally.ran_out) == (["a"] * 2, 6, False)


def test_the_last_try_may_be_the_last_text():
    found, tally = keep(["b", "b", "a"], Constraints(matching="a"), wanted=1)
    assert (found, tally.ran_out) == (["a"], False)


def test_no_draw_is_asked_for_twice_and_the_first_are_as_many_as_are_wanted():
    asked = []

    def draw(first, count):
        asked.append((first, count))
        return (sample("ab"[index % 7 == 0], index) for index in range(first, first + count))

    list(accepted(draw, Tally(4), 1000, Constraints(matching="b")))
    assert asked[0] == (0, 4)
    assert all(first == before + count for (before, count), (first, _) in itertools.pairwise(asked))
    assert sum(count for _, count in asked) < 60  # 22 are needed


def test_a_hundred_thousand_tries_take_no_memory():
    draw = lambda first, count: (sample("b", index) for index in range(first, first + count))  # noqa: E731
    tracemalloc.start()
    list(accepted(draw, Tally(1), 100_000, Constraints(matching="a", novel=True)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("tries", "count", "temperature", "allowed"),
    [
        (None, 1, 0.8, 10_000),
        (None, 10, 0.8, 10_000),
        (None, 11, 0.8, 11_000),
        (None, 0, 0.8, 10_000),
        (7, 7, 0.8, 7),
        (50, 7, 0.8, 50),
        (50, 7, 0.0, 7),
        (None, 1, 0.0, 1),
    ],
)
def test_tries_follow_the_count_and_greedy_texts_get_no_second_chance(
    tries, count, temperature, allowed
):
    assert tries_allowed(tries, count, temperature) == allowed


@pytest.mark.parametrize(("tries", "count"), [(6, 7), (0, 0), (-1, 1)])
def test_too_few_tries_are_an_error(tries, count):
    with pytest.raises(SettingsError, match="--tries"):
        tries_allowed(tries, count, 0.8)


def test_reasons_are_counted_in_words():
    tally = Tally(10)
    tally.refused.update({"known": 1, "unlike": 9120, "repeat": 2})
    assert tally.reasons() == (
        "9,120 do not match --matching, 2 are repeats (--unique), "
        "1 is in the training text (--novel)"
    )

"""Constraints that make no sense, lengths that are drawn, and ranking."""

import math

import pytest
from constraints_support import SYMBOLS, sample, sampler, texts

from charrnn.errors import SettingsError
from charrnn.sampling.constraints import (
    Constraints,
    Tally,
    accepted,
    bits_per_char,
    ranked,
)
from charrnn.sampling.decode import Decoding

# Wrong constraints


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"matching": "("}, "--matching '\\('"),
        ({"matching": "a{9999999999999999999}"}, "over 1,000,000 times"),
        ({"matching": "*"}, "nothing"),
        ({"matching": "(" * 5000 + ")" * 5000}, "--matching"),
        ({"min_length": -1}, "--min-length -1"),
        ({"max_length": -1}, "--max-length -1"),
        ({"min_length": 3, "max_length": 2}, "--min-length 3 .*--max-length 2"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_an_error(values, word):
    with pytest.raises(SettingsError, match=word):
        Constraints(**values)


def test_no_constraint_is_false():
    assert not Constraints()
    assert Constraints(max_length=0)


# How much is drawn of a text too long


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize(
    ("mode", "until"), [("lines", ""), ("lines", "ab"), ("stream", "ab"), ("stream", "\n")]
)
@pytest.mark.parametrize("prompt", ["", "ab", "a\u00e9"])
def test_cutting_long_texts_early_changes_nothing_that_is_kept(unit, mode, until, prompt):
    symbols = SYMBOLS if unit == "char" else (0x0A, 0x61, 0x62, 0xA9, 0xC3)
    model, asked = sampler(mode, unit, symbols), Constraints(max_length=4)
    how = {"seed": 2, "prime": prompt, "until": until, "decoding": Decoding(1.0)}
    [begun] = model.generate(1, **how | {"length": 0})
    length = asked.length(mode, unit, begun, until, None)
    assert length <= 4 * 6
    fits = [one for one in model.generate(150, **how) if len(one.text.removesuffix("\n")) <= 4]
    drawn = lambda first, count: model.generate(count, first=first, length=length, **how)  # noqa: E731
    assert texts(accepted(drawn, Tally(150), 150, asked)) == texts(fits) != []


@pytest.mark.parametrize(
    ("mode", "until", "length", "drawn"),
    [
        ("lines", "", None, 6),
        ("lines", "", 4, 4),
        ("lines", "", 0, 0),
        ("stream", "x", None, 7),
        ("stream", "x", 3, 3),
        ("stream", "", None, 5),
        ("stream", "", 2, 2),
    ],
)
def test_the_length_that_is_drawn(mode, until, length, drawn):
    assert (
        Constraints(max_length=5).length(mode, "char", sample("", chars=0), until, length) == drawn
    )


@pytest.mark.parametrize(
    ("constraints", "mode", "prompt", "length"),
    [
        (Constraints(max_length=2), "lines", "abc", None),
        (Constraints(max_length=5), "stream", "", 7),
        (Constraints(min_length=1001), "lines", "", None),
        (Constraints(min_length=501), "stream", "", None),
        (Constraints(min_length=6), "stream", "ab", 3),
    ],
)
def test_what_no_text_can_be_is_said_at_once(constraints, mode, prompt, length):
    with pytest.raises(SettingsError, match="-length"):
        constraints.length(mode, "char", sample(prompt, chars=0), "", length)


def test_a_length_that_is_just_possible_is_taken():
    assert Constraints(min_length=5).length("stream", "char", sample("ab", chars=0), "", 3) == 3
    assert Constraints(max_length=3).length("lines", "char", sample("abc", chars=0), "", None) == 1


# Rank


def test_the_likeliest_come_first_equals_as_drawn_and_those_without_a_character_last():
    samples = [
        sample("", 0, 0.0, 0),
        sample("c", 1, 9.0, 3),
        sample("a", 2, 2.0, 2),
        sample("b", 3, 1.0, 1),
    ]
    assert [one.index for one in ranked(iter(samples))] == [2, 3, 1, 0]


def test_bits_per_char_are_nats_over_ln_2():
    assert bits_per_char(sample("ab", nats=3 * math.log(2), chars=2)) == pytest.approx(1.5)
    assert bits_per_char(sample("ab", nats=0.0, chars=0)) is None

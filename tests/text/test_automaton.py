"""Automata of regular expressions, compared with `re`, and what cannot be one."""

import itertools
import re

import numpy as np
import pytest

from charrnn.text.automaton import DEAD, compiled
from charrnn.text.expression import Uncompilable, filled

ALPHABET = "ab_ \nBé"
CODES = np.array(sorted(map(ord, ALPHABET)))
TEXTS = ["".join(text) for n in range(5) for text in itertools.product(ALPHABET, repeat=n)]


def fits(automaton, text):
    state = automaton.after(automaton.start, text)
    return state != DEAD and bool(automaton.fits[state])


@pytest.mark.parametrize("holds_newline", [False, True])
@pytest.mark.parametrize(
    "pattern",
    [
        *("", "a", "^a", "a$", "^ab?$", r"\Aa\Z", "^$", "(?m)^a$", r"(?s)a.b", "a.b"),
        *("(a|bé)+$", "^(?:a|b)*?b$", "^a{2,3}$", "^(ab?){2}$", "[^ab]$", r"^[\w ]+$", "(|a)*b"),
        *("(?i)^É$", "(?i)[a-b]{4}", "^(?i:b)a", "(?i)^(?-i:b)a", r"(?a)^\w+$", "a$|b"),
        *(r"\ba", r"a\b.", r"\B_", r"^\B", r"\b\b", r"(?a)é\b", r"a$\n", "a$b", "(?m)a$.?b", "$^"),
    ],
)
def test_an_automaton_finds_what_re_finds(pattern, holds_newline):
    automaton = compiled([pattern], CODES, holds_newline=holds_newline)
    expected = re.compile(pattern)
    for text in TEXTS[::3]:
        shown = text.removesuffix("\n") if holds_newline else text
        assert fits(automaton, text) is bool(expected.search(shown)), repr(text)


def test_several_patterns_must_all_be_found():
    automaton = compiled(["^a", "b", "(?s)..."], CODES, holds_newline=False)
    for text in TEXTS[:500]:
        assert fits(automaton, text) is (text[:1] == "a" and "b" in text and len(text) > 2)


def test_states_from_which_nothing_fits_are_dead():
    automaton = compiled(["^ab$"], CODES, holds_newline=False)
    assert automaton.after(automaton.start, "b") == DEAD
    assert compiled(["^z"], CODES, holds_newline=False).start == DEAD


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)b", "looks ahead or back"),
        ("(?<!a)b", "looks ahead or back"),
        (r"(a)\1", "refers back"),
        ("(a)?(?(1)b|c)", "refers back"),
        ("(?>a|ab)c", "atomic"),
        ("a*+b", "possessive"),
        ("(a|b)*a(a|b){30}", "over 3,000 states"),
        ("((a?){1000}){1000}", "too large"),
        ("a" * 3000, "too long to make"),
    ],
)
def test_what_is_no_small_automaton_says_why(pattern, reason):
    with pytest.raises(Uncompilable, match=reason):
        compiled([pattern], CODES, holds_newline=False)


# Blanks


@pytest.mark.parametrize(
    ("form", "yes", "no"),
    [
        ("a_b", ["aéb", "a\nb", "a_b"], ["ab", "aaab", " a_b", "a_b\n"]),
        (r"a\_", ["a_"], ["ab", "a", r"a\_"]),
        (r"\\", ["\\"], ["\\\\"]),
        ("a.*", ["a.*"], ["abb"]),
        ("", [""], ["a"]),
    ],
)
def test_a_form_is_a_whole_text_with_blanks(form, yes, no):
    pattern = re.compile(filled(form))
    assert all(pattern.search(text) for text in yes)
    assert not any(pattern.search(text) for text in no)


@pytest.mark.parametrize("form", [r"a\b", "a\\"])
def test_a_backslash_that_says_nothing_is_an_error(form):
    with pytest.raises(ValueError, match="backslash"):
        filled(form)

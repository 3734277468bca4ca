"""Lines that differ in form alone: folded they are equal, however the text is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.text import folding
from charrnn.text.folding import fold_lines
from charrnn.text.linehash import SENTENCE


def codes_of(text, unit="char"):
    if unit == "byte":
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def within(held, training, least=1, unit="char"):
    """Which lines of a text are lines of another except for their form."""
    parts = np.sort(fold_lines([codes_of(training, unit)], unit).hashes)
    folded = fold_lines([codes_of(held, unit)], unit)
    return folded.within(parts, held.count("\n") + 1, least).tolist()


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize(
    "line",
    [
        " Zoë",
        "Zoë ",
        "Zoë\r",
        "\tZoë\u00a0",
        "ZOË",
        "Zoe\u0308",
        "Zoë\u2028",
        "\u2029Zoë\x85",
        "\ufeffZoë",
        "Zo\u200bë",
        "\uff3a\uff4fë",
    ],
)
def test_a_line_in_another_form_folds_to_the_same(line, unit):
    assert within(f"{line}\nZoo", "Anna\nZoë\n", unit=unit) == [True, False]
    assert within("Zoë\nZoo", f"Anna\n{line}\n", unit=unit) == [True, False]


def test_lines_with_other_words_do_not_fold_to_the_same():
    assert within("Ann a\nAnna.\nAnn\nÄnna", "Anna\n") == [False] * 4


def test_a_line_separator_parts_a_line():
    assert within("Anna\nBob\nBo", "Anna\u2028Bob\n") == [True, True, False]
    assert within("Anna\u2028Bob\nAnna\u2028Bo\n", "Bob\nAnna\n") == [True, False, False]


def test_a_blank_line_is_like_no_other():
    assert within(" \n\n\t\n", " \n\n") == [False] * 4


def test_short_parts_of_a_stream_say_nothing():
    long = "x" * SENTENCE
    assert within(f"{' ' * 30}}}\n  {long}", f"}}\n{long.upper()}\n", SENTENCE) == [False, True]


texts = st.text(st.sampled_from("aAé\u0301 \r\n\n\u2028\u200b"), max_size=40)


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 5))
def test_lines_fold_the_same_however_the_text_is_cut(text, cut):
    codes = codes_of(text)
    pieces = [codes[at : at + cut] for at in range(0, len(codes), cut)]
    whole = fold_lines([codes], "char")
    cut_up = fold_lines(pieces, "char")
    assert cut_up.hashes.tolist() == whole.hashes.tolist()
    assert cut_up.numbers.tolist() == whole.numbers.tolist()


def test_bytes_that_are_no_text_are_folded_apart():
    training = np.frombuffer(b"\xff\xfea\n", np.uint8)
    held = np.frombuffer(b" \xff\xfeA\n\xfe\xffa\n", np.uint8)
    parts = fold_lines([training], "byte").hashes
    assert fold_lines([held], "byte").within(parts, 2).tolist() == [True, False]


def test_a_line_without_an_end_is_held_in_pieces(monkeypatch):
    monkeypatch.setattr(folding, "CHUNK", 4)
    folded = fold_lines([codes_of("abcdefghijklmnop\nq\n")], "char")
    assert folded.numbers.tolist()[-1] == 1
    assert set(folded.numbers.tolist()) == {0, 1}

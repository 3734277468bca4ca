"""Lines as hashes: equal where lines are, however the text is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.text import linehash


def array(text):
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def hashed(text, cut=1 << 30, edge=0):
    codes = array(text)
    return linehash.hash_lines(
        (codes[at : at + cut] for at in range(0, len(codes), cut)), text.count("\n") + 1, edge
    )


def lines_of(text):
    """Lines that are not blank, a carriage return before the newline not being part of one."""
    *closed, last = text.split("\n")
    return [line for line in [*(line.removesuffix("\r") for line in closed), last] if line]


some_lines = st.text(st.sampled_from("ab \r\n\n\0é"), max_size=60)


@settings(max_examples=200, deadline=None)
@given(some_lines, st.integers(1, 7), st.integers(0, 60))
def test_lines_are_the_same_however_the_text_is_cut(text, cut, edge):
    whole = hashed(text, edge=edge)
    cut_up = hashed(text, cut, edge)
    assert cut_up.hashes.tolist() == whole.hashes.tolist()
    assert (cut_up.trailing, cut_up.longest, cut_up.before) == (
        whole.trailing,
        whole.longest,
        whole.before,
    )


@settings(max_examples=200, deadline=None)
@given(some_lines)
def test_hashes_are_equal_where_lines_are(text):
    lines = lines_of(text)
    hashed_lines = hashed(text)
    assert len(hashed_lines.hashes) == len(lines)
    assert [a == b for a in hashed_lines.hashes for b in hashed_lines.hashes] == [
        a == b for a in lines for b in lines
    ]
    assert hashed_lines.trailing == sum(line[-1] in " \t" for line in lines)
    assert hashed_lines.longest == max(map(len, lines), default=0)


@settings(max_examples=200, deadline=None)
@given(some_lines, st.integers(1, 7))
def test_a_carriage_return_can_be_part_of_a_line(text, cut):
    codes = array(text)
    pieces = [codes[at : at + cut] for at in range(0, len(codes), cut)]
    lines = [line for line in text.split("\n") if line]
    hashed_lines = linehash.hash_lines(pieces, text.count("\n") + 1, keeps_returns=True)
    assert [a == b for a in hashed_lines.hashes for b in hashed_lines.hashes] == [
        a == b for a in lines for b in lines
    ]
    assert hashed_lines.longest == max(map(len, lines), default=0)
    # Spaces at the end are seen before a carriage return, too.
    assert hashed_lines.trailing == hashed(text, cut).trailing


def test_a_line_has_its_hash_wherever_it_stands():
    alone = hashed("abc\n").hashes
    later = hashed("x\n\nyy\nabc").hashes
    assert alone[0] == later[2]


@pytest.mark.parametrize(
    ("first", "second"), [("\0a", "a"), ("a\0", "a"), ("ab", "ba"), ("a\r", "a")]
)
def test_like_lines_have_other_hashes(first, second):
    assert hashed(first).hashes[0] != hashed(second).hashes[0]


def test_lines_before_an_edge_are_those_that_begin_before_it():
    codes = array("aa\nbb\n\ncc\n")  # begin at 0, 3 and 7
    assert [linehash.hash_lines([codes], 4, edge).before for edge in (0, 1, 3, 4, 7, 8)] == [
        0,
        1,
        1,
        2,
        2,
        3,
    ]


def test_repeats_are_counted_beside_the_first_of_each():
    hashed_lines = hashed("b\na\nb\nc\nb\na\n")
    hashed_lines.hashes.sort()
    again, most = linehash.repeats(hashed_lines.hashes, 5)
    assert (again, sorted(count for _, count in most)) == (3, [2, 3])
    assert linehash.show_lines([array("x\nb\na")], [line for line, _ in most]) == ["b", "a"]


def test_a_long_line_is_shown_by_its_beginning_even_across_chunks(monkeypatch):
    monkeypatch.setattr(linehash, "CHUNK", 7)
    text = "n" * 61 + "\n"
    assert linehash.show_lines([array("ab\n" + text)], hashed(text).hashes.tolist()) == [
        "n" * 60 + "…"
    ]


SHORT = [f"  name{number}" for number in range(60)]


@pytest.mark.parametrize(
    ("lines", "mode", "least"),
    [
        (SHORT, "stream", 1),
        (SHORT * 2, "stream", 1),
        (SHORT * 3, "stream", 20),  # words of a running text, one a line
        ([*SHORT, *(["a line of twenty characters"] * 10)], "stream", 20),
        ([], "stream", 20),
        (["a line of twenty characters"], "lines", 1),
    ],
)
def test_short_lines_count_in_lists(lines, mode, least):
    hashes = np.sort(hashed("".join(f"{line}\n" for line in lines)).hashes)
    assert linehash.least_line(hashes, mode) == least

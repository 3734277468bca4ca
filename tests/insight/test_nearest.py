"""The nearest line of a text, against the textbook's edit distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.insight import nearest
from charrnn.insight.nearest import MAX_LENGTH, Lines, edit_distances


def naive_distance(a, b):
    """The textbook's recursion, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


lines = st.lists(st.integers(1, 3), min_size=1, max_size=64)


@given(lines, st.lists(lines, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_edit_distances_are_the_textbook_s(line, others):
    lengths = np.array([len(other) for other in others])
    padded = np.zeros((len(others), lengths.max()), np.uint8)
    for row, other in zip(padded, others, strict=True):
        row[: len(other)] = other
    distances = edit_distances(np.array(line, np.uint8), padded, lengths)
    assert distances.tolist() == [naive_distance(line, other) for other in others]


def test_edit_distances_use_all_bits_of_a_word():
    line = np.arange(64, dtype=np.uint8)
    assert edit_distances(line, line[None, ::-1], np.array([64])).tolist() == [
        naive_distance(line, line[::-1])
    ]


@given(
    st.lists(st.lists(st.integers(1, 70), max_size=9), max_size=30),
    st.lists(st.integers(1, 70), min_size=1, max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_the_nearest_line_is_that_of_all_lines(others, line):
    text = np.array([one for other in others for one in [*other, 0]], np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "FEW", 1)  # so that the bound decides which are tried
        hit = Lines(text, 0).nearest(np.array(line, np.uint8))
    distances = [naive_distance(line, other) for other in others if other]
    assert (hit is None) == (not distances)
    if hit:
        assert hit[0] == min(distances) == naive_distance(line, hit[1].tolist())


def test_lines_too_long_to_be_near_are_left_out():
    assert (
        len(
            Lines(
                np.array([0, *[1] * MAX_LENGTH, 0, *[1] * (MAX_LENGTH + 1), 0, 0, 1], np.uint8), 0
            )
        )
        == 2
    )

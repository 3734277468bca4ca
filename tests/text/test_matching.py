"""The longest common run and shared n-grams, against a search that tries everything."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.text import matching
from charrnn.text.matching import Run, distinct, longest_run, shares_found


def ids(text, dtype=np.uint8):
    return np.array([ord(character) for character in text], dtype)


def naive_run(pieces, text):
    """Python's own search: the longest, the first in the text, the first in the pieces."""
    for length in range(max(map(len, pieces), default=0), 0, -1):
        for place in range(len(text) - length + 1):
            for piece, each in enumerate(pieces):
                start = each.find(text[place : place + length])
                if start >= 0:
                    return Run(length, piece, start, place)
    return None


def naive_shares(pieces, text, n):
    grams = [piece[i : i + n] for piece in pieces for i in range(len(piece) - n + 1)]
    return sum(gram in text for gram in grams), len(grams)


def in_small_parts(patch):
    """Small parts of the text, no plain tables and full buckets: a short text has many."""
    patch.setattr(matching, "CHUNK", 3)
    patch.setattr(matching, "DENSE", 1)
    patch.setattr(matching, "PROBES", 1)


letters = st.text("ab", max_size=40) | st.text("abc", max_size=12)


@given(st.lists(letters, max_size=4), letters, st.booleans())
@example(["ab", "ba"], "abba", True)  # no run crosses from one piece to the next
@example([""], "a", True)
@example([], "", False)
@settings(max_examples=200, deadline=None)
def test_the_longest_run_is_that_of_a_naive_search(pieces, text, small):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            in_small_parts(patch)
        assert longest_run([ids(piece) for piece in pieces], ids(text)) == naive_run(pieces, text)


@given(st.lists(letters, max_size=4), letters, st.booleans())
@settings(max_examples=200, deadline=None)
def test_shares_are_those_of_a_naive_count(pieces, text, small):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            in_small_parts(patch)
        shares = shares_found([ids(piece) for piece in pieces], ids(text), range(1, 8))
    assert shares == {n: naive_shares(pieces, text, n) for n in range(1, 8)}


@given(st.lists(letters, max_size=4))
@settings(max_examples=50, deadline=None)
def test_distinct_grams_are_counted_once(pieces):
    for n, (different, all_) in distinct([ids(piece) for piece in pieces], (1, 2, 3, 5)).items():
        grams = [piece[i : i + n] for piece in pieces for i in range(len(piece) - n + 1)]
        assert (different, all_) == (len(set(grams)), len(grams))


def thue_morse(doublings):
    """Its halves of 2^k letters, k >= 11, are equal under every polynomial hash modulo 2^64."""
    text = "a"
    for _ in range(doublings):
        text += text.translate(str.maketrans("ab", "ba"))
    return text


def test_strings_that_defeat_polynomial_hashes_are_told_apart():
    text = thue_morse(12)
    piece = thue_morse(12).translate(str.maketrans("ab", "ba"))
    run = longest_run([ids(piece)], ids(text))
    assert run == Run(2048, 0, 2048, 0)  # its second half is the first half of the text
    assert shares_found([ids(piece[:2048])], ids(text[:2048]), [2048]) == {2048: (0, 1)}


def test_a_periodic_text_shares_all_of_a_shorter_one():
    pieces = [ids("a" * 70), ids("a" * 99 + "b")]
    text = ids("a" * 5000)
    assert longest_run(pieces, text) == Run(99, 1, 0, 0)
    assert shares_found(pieces, text, [70, 99, 100]) == {
        70: (1 + 30, 1 + 31),
        99: (1, 2),
        100: (0, 1),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_a_piece_that_is_the_whole_text_is_found_whole(dtype):
    text = np.random.default_rng(0).integers(0, 200, 1001).astype(dtype) * dtype(
        1 if dtype == np.uint8 else 300
    )
    assert longest_run([text[:3], text], text) == Run(1001, 1, 0, 0)


def test_ids_that_only_the_text_has_match_nothing():
    assert longest_run([np.array([1, 2], np.uint8)], np.array([3, 255, 0], np.uint8)) is None


def test_the_text_is_read_in_parts_and_memory_does_not_grow_with_it(monkeypatch):
    seen = []
    whole = matching._Windows.doubled
    monkeypatch.setattr(matching, "CHUNK", 64)
    monkeypatch.setattr(
        matching._Windows,
        "doubled",
        lambda self, names, k: seen.append(len(names)) or whole(self, names, k),
    )
    text = np.random.default_rng(1).integers(0, 3, 5000).astype(np.uint8)
    longest_run([text[100:130]], text)
    shares_found([text[100:130]], text, [4])
    assert max(seen) == 64 + 30 - 1

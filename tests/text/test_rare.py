"""Which characters are written as bytes where nobody said: it follows from the counts."""

import numpy as np
import pytest

from charrnn.config import TextSettings
from charrnn.text.rare import LEARNT, alphabet
from charrnn.text.spelling import MAX_CODE

HAN = 0x4E00


def counts_of(ascii_count, *groups):
    """counts (MAX_CODE,): ASCII letters, then groups of (characters, occurrences of each)."""
    counts = np.zeros(MAX_CODE, np.int64)
    counts[ord("a") : ord("z")] = ascii_count
    at = HAN
    for number, occurrences in groups:
        counts[at : at + number] = occurrences
        at += number
    return counts


def rare(counts, mode="stream", **settings):
    return alphabet(counts, TextSettings(**settings), mode)[1]


def test_of_a_large_alphabet_what_is_not_learnt_is_written_as_bytes():
    counts = counts_of(15_000, (2000, 3), (500, 150))
    vocabulary, least = alphabet(counts, TextSettings(), "stream")
    assert least == LEARNT
    assert vocabulary.characters == 128 + 500


def test_of_a_long_text_a_symbol_is_two_in_ten_thousand():
    assert rare(counts_of(200_000, (2000, 3), (500, 1250))) == 1127


def test_bytes_are_a_small_part_of_the_text():
    counts = counts_of(100, (20_000, 1), (20_000, 20))  # Han are 99 of 100
    assert rare(counts) == 20


@pytest.mark.parametrize("settings", [{"rare": 0}, {"unit": "byte"}])
def test_none_is_rare_where_nobody_wants_bytes(settings):
    counts = counts_of(100_000, (2000, 3))
    if "unit" in settings:
        counts[256:] = 0
    assert rare(counts, **settings) == 0


def test_lists_and_small_alphabets_keep_their_characters():
    assert rare(counts_of(100_000, (2000, 3)), mode="lines") == 0
    assert rare(counts_of(100_000, (200, 3))) == 0
    assert rare(counts_of(3_000, (2000, 3))) == 0  # a short text
    assert rare(counts_of(100_000, (200, 3)), rare=4) == 4

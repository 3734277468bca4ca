"""Words keep the marks on their letters; a character is read in the form that a model knows."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextSettings
from charrnn.insight.cooccur import count_text
from charrnn.insight.features import features
from charrnn.insight.structure import words_of
from charrnn.text.reading import encode_file, encode_text
from charrnn.text.vocabulary import Vocabulary
from charrnn.text.words import codes_in_known_form, in_known_form, word_pattern


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते दुनिया हिन्दी", ["नमस्ते", "दुनिया", "हिन्दी"]),
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("क्\u200dष", ["क्\u200dष"]),
        ("don't, it’s a_1!", ["don't", ",", "it’s", "a_1", "!"]),
        ("I ❤\ufe0f you\n", ["I", "❤\ufe0f", "you", "\n"]),
        ("'quoted' \u0301x", ["'", "quoted", "'", "\u0301", "x"]),
    ],
)
def test_a_word_is_a_run_of_letters_with_their_marks(text, words):
    assert word_pattern().findall(text) == words


def test_a_table_of_hindi_words_has_words(tmp_path):
    (tmp_path / "hi.txt").write_text("नमस्ते दुनिया हिन्दी\n" * 100)
    table = count_text(str(tmp_path / "hi.txt"), TextSettings(), words=True, top=9, window=2)
    assert sorted(table.symbols) == sorted(["नमस्ते", "दुनिया", "हिन्दी"])
    assert table.frequencies == [100, 100, 100]


def test_words_that_samples_share_with_the_text_keep_their_marks():
    assert list(words_of("Nai\u0308ve दुनिया 12")) == ["nai\u0308ve", "दुनिया"]


def test_a_mark_is_in_a_word_for_the_units_that_follow_words():
    (word,) = [one for one in features("हिन्दी a") if one.name == "in a word"]
    assert np.asarray(word.values).tolist() == [1] * 6 + [0, 1]


# The form that a model knows


def vocabulary(text):
    return Vocabulary("char", tuple(sorted({*map(ord, text)})))


COMPOSED = vocabulary("café ñ\n")
PARTS = vocabulary("cafen \u0301\u0303\n")


@pytest.mark.parametrize(
    ("text", "known", "expected", "count"),
    [
        ("cafe\u0301", COMPOSED, "café", 1),
        ("café", PARTS, "cafe\u0301", 1),
        ("café", COMPOSED, "café", 0),
        ("n\u0303 n\u0303", COMPOSED, "ñ ñ", 2),
        ("e\u0300", COMPOSED, "e\u0300", 0),
        ("e\u0301", vocabulary("e\u0301é"), "e\u0301", 0),
        ("\u1112\u1161\u11ab", vocabulary("한"), "한", 1),
    ],
)
def test_a_character_is_read_in_the_form_that_is_known(text, known, expected, count):
    assert in_known_form(text, known) == (expected, count)


@given(text=st.text(st.sampled_from("cafe \n\u0301\u0303éñ"), max_size=30), size=st.integers(1, 9))
def test_pieces_are_read_as_the_whole(text, size):
    codes = COMPOSED.codes(text)
    parts = [codes[start : start + size] for start in range(0, len(codes), size)]
    read = list(codes_in_known_form(parts, COMPOSED))
    whole, count = in_known_form(text, COMPOSED)
    assert np.concatenate([part for part, _ in read]).tolist() == COMPOSED.codes(whole).tolist()
    assert sum(part for _, part in read) == count


def test_a_file_and_a_typed_text_are_read_in_the_known_form(tmp_path):
    text = unicodedata.normalize("NFD", "café ñ\n")
    (tmp_path / "a.txt").write_text(text)
    expected = COMPOSED.encode("café ñ\n").tolist()
    settings = TextSettings()
    from_file = encode_file(tmp_path / "a.txt", settings, COMPOSED, "error")
    typed = encode_text(text, settings, COMPOSED, "error", "--text")
    assert from_file.ids.tolist() == typed.ids.tolist() == expected
    assert (from_file.respelt, typed.respelt) == (2, 2)

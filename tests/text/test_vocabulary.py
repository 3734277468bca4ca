"""Characters <-> ids, and what happens to characters a model does not know."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import VocabularyError
from charrnn.text.vocabulary import Vocabulary, describe

SMALL = Vocabulary("char", (10, ord("a"), ord("b"), ord("é"), 0x1F600))
BYTES = Vocabulary("byte", (10, ord("?"), ord("a"), 0xA9, 0xC3))
WITH_REPLACEMENT = Vocabulary("char", (ord("a"), 0xFFFD))


def test_an_id_is_the_place_of_a_character_in_code_point_order():
    assert SMALL.encode("ab\né😀").tolist() == [1, 2, 0, 3, 4]


@given(st.text(alphabet="ab\né😀", max_size=9))
def test_decode_undoes_encode(text):
    assert SMALL.decode(SMALL.encode(text)) == text


@given(
    st.binary(max_size=9).map(
        lambda data: bytes(byte for byte in data if byte in (10, 63, 97, 0xC3, 0xA9))
    )
)
def test_bytes_of_a_byte_model_come_back_exactly_even_if_they_are_not_utf8(data):
    assert BYTES.to_bytes(BYTES.encode(data)) == data


def test_a_text_for_a_byte_model_is_taken_as_utf8():
    assert BYTES.encode("aé").tolist() == BYTES.encode(b"a\xc3\xa9").tolist()


def test_surrogate_escapes_of_a_command_line_give_a_byte_model_the_original_bytes():
    assert BYTES.to_bytes(BYTES.encode(b"a\xa9".decode("utf-8", "surrogateescape"))) == b"a\xa9"


def test_decode_of_half_a_character_shows_the_replacement_character():
    assert BYTES.decode(np.array([2, 4])) == "a\ufffd"


def test_an_emoji_of_five_code_points_has_five_ids():
    family = "👨\u200d👩\u200d👧"
    vocabulary = Vocabulary("char", tuple(sorted({ord(char) for char in family})))
    assert len(vocabulary.encode(family)) == 5
    assert vocabulary.decode(vocabulary.encode(family)) == family


@pytest.mark.parametrize("kind", [np.uint8, np.uint32])
def test_lookup_of_small_and_wide_codes_with_a_large_alphabet(kind):
    # uint8 codes come from ASCII pieces; the table's last place does not fit into a uint8
    assert SMALL.lookup(np.array([97, 98, 120], kind)).tolist() == [1, 2, -1]


@pytest.mark.parametrize("code", [0, 0x1F601, 0x10FFFF])
def test_codes_below_between_and_above_the_known_are_unknown(code):
    assert SMALL.lookup(np.array([code], np.uint32)).tolist() == [-1]


def test_the_largest_code_point_can_be_known():
    top = Vocabulary("char", (0, 0x10FFFF))
    assert top.decode(top.encode("\U0010ffff\0")) == "\U0010ffff\0"


@pytest.mark.parametrize(("symbols", "expected"), [((10, 97), 0), ((9, 10), 1), ((97,), None)])
def test_newline_is_its_id_or_none(symbols, expected):
    assert Vocabulary("char", symbols).newline == expected


# Unknown characters


def test_unknown_characters_are_named_with_code_and_count_and_the_first_position():
    named = (
        r"'ü' U\+00FC LATIN SMALL LETTER U WITH DIAERESIS x2, 'z' U\+007A LATIN SMALL LETTER Z x1"
    )
    with pytest.raises(
        VocabularyError, match=rf"--prime has 3 characters, the first at position 1.*: {named};"
    ):
        SMALL.encode("aüüz", where="--prime")


def test_a_combining_mark_is_named_without_being_printed():
    with pytest.raises(VocabularyError, match=r"knows: U\+0301 COMBINING ACUTE ACCENT x1;"):
        SMALL.encode("a\u0301")


def test_more_than_five_unknown_characters_are_counted():
    with pytest.raises(VocabularyError, match="and 2 more"):
        SMALL.encode("cdefghi")


def test_a_lone_surrogate_is_an_unknown_character_and_the_message_can_be_printed():
    with pytest.raises(VocabularyError, match=r"U\+DC92") as caught:
        SMALL.encode("a\udc92")
    str(caught.value).encode("utf-8")


def test_an_unknown_byte_is_named_in_hexadecimal():
    with pytest.raises(VocabularyError, match="byte 0x00 x1"):
        BYTES.encode(b"a\0")


def test_skip_leaves_unknown_characters_out():
    assert SMALL.encode("xaxbx", unknown="skip").tolist() == [1, 2]


def test_replace_puts_the_replacement_character_where_the_model_knows_it():
    assert WITH_REPLACEMENT.encode("axa", unknown="replace").tolist() == [0, 1, 0]


def test_replace_puts_a_question_mark_in_a_byte_model():
    assert BYTES.to_bytes(BYTES.encode(b"a\0a", unknown="replace")) == b"a?a"


def test_replace_is_an_error_where_the_model_knows_no_replacement():
    with pytest.raises(VocabularyError):
        SMALL.encode("ax", unknown="replace")


@pytest.mark.parametrize("unknown", ["error", "skip", "replace"])
def test_known_text_and_empty_text_pass_in_every_way(unknown):
    assert SMALL.encode("ab", unknown=unknown).tolist() == [1, 2]
    assert SMALL.encode("", unknown=unknown).tolist() == []


@pytest.mark.parametrize(
    ("code", "unit", "shown"),
    [
        (0xE9, "char", "'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE"),
        (0x301, "char", "U+0301 COMBINING ACUTE ACCENT"),
        (0x1B, "char", "U+001B"),
        (0xD800, "char", "U+D800"),
        (0x202E, "char", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        (0x92, "byte", "byte 0x92"),
    ],
)
def test_describe(code, unit, shown):
    assert describe(code, unit) == shown


# From a file


@pytest.mark.parametrize("vocabulary", [SMALL, BYTES])
def test_from_dict_undoes_to_dict(vocabulary):
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


@pytest.mark.parametrize(
    "values",
    [
        {"unit": "char", "symbols": []},
        {"unit": "char", "symbols": [98, 97]},
        {"unit": "char", "symbols": [97, 97]},
        {"unit": "char", "symbols": [-1, 97]},
        {"unit": "char", "symbols": [0x110000]},
        {"unit": "char", "symbols": [0xD800]},
        {"unit": "char", "symbols": [97, 0xDFFF, 0xE000]},
        {"unit": "char", "symbols": [97.0]},
        {"unit": "char", "symbols": [True]},
        {"unit": "char", "symbols": ["a"]},
        {"unit": "char", "symbols": "ab"},
        {"unit": "byte", "symbols": [256]},
        {"unit": "byte", "symbols": list(range(257))},
        {"unit": "word", "symbols": [97]},
        {"unit": ["char"], "symbols": [97]},
        {"unit": "char", "symbols": None},
    ],
)
def test_what_cannot_be_a_vocabulary_is_refused(values):
    with pytest.raises((ValueError, TypeError)):
        Vocabulary.from_dict(values)


def test_too_many_symbols_are_refused_before_they_are_looked_at():
    with pytest.raises(ValueError, match="not a vocabulary"):
        Vocabulary.from_dict({"unit": "char", "symbols": [0] * 0x110001})

"""Rare characters as bytes: one spelling for each text, and what may follow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.counting import GramCounter, Orders, count
from charrnn.text.spelling import BYTE_SYMBOLS, FORBIDDEN
from charrnn.text.vocabulary import Vocabulary

FREQUENT = [0xE9, 0x4E00, *range(0x4E40, 0x4E80), 0x1F600]  # one row of continuations is whole
ALPHABET = Vocabulary.with_bytes(FREQUENT)
SPELLING = ALPHABET.spelling
TEXT = "ab é 界ñ一\n乀Ω😀😁 ل\U0010ffff\x7f"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(text):
    ids = ALPHABET.encode(text)
    assert ALPHABET.decode(ids) == text
    assert ALPHABET.to_bytes(ids) == text.encode()
    assert ALPHABET.codes_of(ids).tolist() == list(map(ord, text))
    assert ALPHABET.chars(ids) == len(text)


def test_frequent_characters_have_one_id_and_others_one_for_each_byte():
    assert len(ALPHABET.encode("aé一😀")) == 4
    assert len(ALPHABET.encode("ñ界😁")) == 2 + 3 + 4


def test_as_many_spellings_as_rare_characters():
    spellings = np.zeros(len(SPELLING.table))  # by state: how often it leads to a character
    for _ in range(3):
        spellings[0] = 1
        is_allowed = SPELLING.table != FORBIDDEN
        spellings = (spellings[SPELLING.table] * is_allowed).sum(1)
    leads = SPELLING.after[-51:]
    spellings[0] = 1
    total = spellings[leads[leads != FORBIDDEN]].sum()
    assert total == 0x110000 - 0x800 - 0x80 - len(FREQUENT)  # without surrogates and ASCII


@pytest.mark.slow
def test_bytes_that_may_follow_each_other_spell_every_rare_character_once_and_no_other():
    leads = np.array([symbol - 0x110000 for symbol in BYTE_SYMBOLS[64:]])
    states = SPELLING.after[-len(leads) :]
    spelled = leads[:, None][states != FORBIDDEN]  # (N, bytes so far)
    states = states[states != FORBIDDEN]
    whole = []
    while len(states):
        rows, byte = np.nonzero(SPELLING.table[states] != FORBIDDEN)
        states = SPELLING.table[states[rows], byte]
        spelled = np.column_stack([spelled[rows], byte + 0x80])
        whole.append(spelled[states == 0].astype(np.uint8).tobytes().decode())
        spelled = spelled[states > 0]
        states = states[states > 0]
    codes = np.frombuffer("".join(whole).encode("utf-32-le"), np.uint32)
    characters = np.r_[0x80:0xD800, 0xE000:0x110000]
    np.testing.assert_array_equal(np.sort(codes), np.setdiff1d(characters, FREQUENT))


def test_states_of_a_text_are_those_of_its_steps():
    ids = ALPHABET.encode(TEXT)
    state = np.zeros(1, np.int32)
    for newest, before in zip(ids, SPELLING.states(ids), strict=True):
        assert before == state[0]
        assert SPELLING.allowed(state)[0, newest]
        state = SPELLING.advance(state, np.array([newest]))
    assert state == 0


def test_what_is_cut_becomes_the_replacement_character():
    ids = ALPHABET.encode("a界")
    assert ALPHABET.codes_of(ids[:-1]).tolist() == [ord("a"), 0xFFFD]
    assert ALPHABET.codes_of(ids[2:]).tolist() == []  # it began before


def test_a_file_without_all_bytes_or_without_ascii_is_no_vocabulary():
    values = ALPHABET.to_dict()
    assert Vocabulary.from_dict(values) == ALPHABET
    for symbols in (values["symbols"][:-1], values["symbols"][1:]):
        with pytest.raises(ValueError, match="vocabulary"):
            Vocabulary.from_dict({"unit": "char", "symbols": symbols})


@pytest.mark.parametrize("boundary", [None, ALPHABET.newline])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_counting_gives_all_its_probability_to_what_may_follow(order, boundary):
    rng = np.random.default_rng(order)
    ids = ALPHABET.encode("".join(rng.choice(list(TEXT + "abab"), 300)))
    ngram = count(ids, len(ALPHABET), order, boundary)
    place = 150
    allowed = np.flatnonzero(SPELLING.allowed(SPELLING.states(ids)[place : place + 1])[0])
    texts = [np.append(ids[:place], following) for following in allowed]
    plain = np.array([ngram.probabilities(text)[-1] for text in texts])
    ngram.spelling = SPELLING
    masked = np.array([ngram.probabilities(text)[-1] for text in texts])
    assert plain.sum() < 1
    np.testing.assert_allclose(masked, plain / plain.sum(), rtol=1e-9)


def test_all_orders_are_scored_as_one_by_one():
    ids = ALPHABET.encode(TEXT[::-1] * 20 + "Ωab")
    orders = Orders(GramCounter(len(ALPHABET), 4).count(ids), ids[:4])
    for order, nats in enumerate(orders.nats(ids, "kneser-ney", SPELLING), 1):
        ngram = orders.model(order, "kneser-ney")
        ngram.spelling = SPELLING
        first = ALPHABET.first_length(ids)
        assert nats == pytest.approx(-np.log(ngram.probabilities(ids)[first:]).sum(), rel=1e-12)

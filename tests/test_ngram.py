"""The counting baseline against a naive implementation and against hand-worked numbers."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.text.ngram import NGram


def naive_probability(text, context, char, vocabulary_size, order, positions):
    """Witten-Bell by dictionaries, straight from the formula."""
    probability = 1 / vocabulary_size
    for length in range(order):
        if length > len(context):
            break
        suffix = tuple(context[len(context) - length :])
        following = Counter(text[i] for i in positions if i >= length and tuple(text[i - length : i]) == suffix)
        total, distinct = sum(following.values()), len(following)
        if total:
            probability = (following[char] + distinct * probability) / (total + distinct)
    return probability


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=30),
    st.lists(st.integers(0, 2), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_probabilities_equal_a_naive_implementation(train, text, order):
    found = NGram(np.array(train), 3, order).probabilities(np.array(text))
    for i, char in enumerate(text):
        expected = naive_probability(train, text[max(0, i - order + 1) : i], char, 3, order, range(len(train)))
        assert found[i] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(st.integers(0, 3), max_size=6), st.integers(1, 6))
def test_probabilities_of_the_next_character_sum_to_one(train, context, order):
    model = NGram(np.array(train), 4, order)
    total = sum(model.probabilities(np.array([*context, char]))[-1] for char in range(4))
    assert total == pytest.approx(1, rel=1e-12)


def test_unigram_by_hand():
    # aab over {a, b, c}: 3 characters, 2 distinct. P(a) = (2 + 2/3) / 5, P(c) = (0 + 2/3) / 5.
    found = NGram(np.array([0, 0, 1]), 3, 1).probabilities(np.array([0, 2]))
    np.testing.assert_allclose(found, [(2 + 2 / 3) / 5, (2 / 3) / 5], rtol=1e-15)


def test_lines_have_no_context_across_the_newline():
    newline = 0
    train, text = np.array([1, 2, 0, 2, 1, 0]), np.array([1, 2, 0, 2, 1, 0])
    together = NGram(train, 3, 3, newline).probabilities(text)
    swapped = NGram(train, 3, 3, newline).probabilities(np.concatenate([text[3:], text[:3]]))
    np.testing.assert_allclose(swapped, np.concatenate([together[3:], together[:3]]), rtol=1e-15)


def test_padding_is_never_predicted():
    # One line "a": the only continuation of the padding's context is a, so after newlines a newline is not counted.
    model = NGram(np.array([1, 0]), 2, 3, boundary=0)
    first = model.probabilities(np.array([1, 0]))[0]
    # Unigram: a 1, newline 1 -> (1 + 2/2)/4 = 1/2; bigram after newline: (1 + 1/2)/2; trigram: (1 + 3/4)/2.
    assert first == pytest.approx((1 + (1 + 0.5) / 2) / 2)


def test_nats_is_the_sum_of_logarithms():
    model, text = NGram(np.array([0, 1, 1, 0]), 2, 2), np.array([1, 0, 0])
    assert model.nats(text) == pytest.approx(-sum(math.log(p) for p in model.probabilities(text)))

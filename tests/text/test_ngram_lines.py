"""Counting over lines, against an independent reference (kneser_ney.py) and hand-worked numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kneser_ney import FALLBACK, LinesReference
from support import FEW

from charrnn.sampling.counted import Counted
from charrnn.text import ngram
from charrnn.text.counting import count
from charrnn.text.ngram import SMOOTHINGS, discounts_of

LETTERS = sorted({char for name in FEW for char in name})
FEW_LINES = [[1 + LETTERS.index(char) for char in name] for name in FEW]


def ids_of(lines):
    """The ids of lines without their newlines, which is 0."""
    return np.array([char for line in lines for char in (*line, 0)])


def texts_of(ids):
    """The lines of ids, each with its newline; a last one may lack it."""
    texts = [[]]
    for char in ids:
        texts[-1].append(char)
        if char == 0:
            texts.append([])
    return [text for text in texts if text]


def probabilities_after(model, contexts):
    """P (contexts, V) of every character of the alphabet after the beginnings of lines."""
    size = model.vocabulary_size
    lines = [[*context, char, 0] for context in contexts for char in range(size)]
    places = np.cumsum([len(line) for line in lines]) - 2
    return model.probabilities(np.concatenate(lines))[places].reshape(-1, size)


def test_a_line_end_counts_the_different_characters_before_it():
    # ba, ca, da over {newline, a, b, c, d}: only a stands before a newline, three before a,
    # the beginning of a line before b, c and d.
    lines = np.array([2, 1, 0, 3, 1, 0, 4, 1, 0])
    assert count(lines, 5, 2, 0).levels[0].counts.tolist() == [1, 3, 1, 1, 1]


def test_the_end_of_an_empty_line_follows_its_beginning():
    # a, two empty lines, b: a, b and the beginning of a line stand before a newline.
    lines = np.array([1, 0, 0, 0, 2, 0])
    assert count(lines, 3, 2, 0).levels[0].counts.tolist() == [3, 1, 1]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=9),
    st.integers(1, 6),
    st.sampled_from(SMOOTHINGS),
    st.booleans(),
)
def test_every_probability_in_lines_equals_the_reference(lines, order, smoothing, is_ended):
    ids = ids_of(lines)
    if not is_ended and len(ids) > 1:
        ids = ids[:-1]
    model = count(ids, 4, order, 0, smoothing)
    texts = texts_of(ids.tolist())
    reference = LinesReference(texts, 4, order, smoothing)
    contexts = [text[:place] for text in texts for place in range(len(text))]
    contexts.append([3, 2, 1, 3])  # seldom counted
    expected = [[reference.probability(c, char) for char in range(4)] for c in contexts]
    np.testing.assert_allclose(probabilities_after(model, contexts), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_discounts_from_the_counts_of_lines_equal_the_reference(order, monkeypatch):
    # Long enough that the discounts come from the text and not from the fallback. Pieces of
    # some lines each: counts of pieces add up to those of the whole.
    random = np.random.default_rng(3)
    letters = random.zipf(1.4, 4000).clip(1, 20)
    lines = np.split(letters, np.cumsum(random.integers(0, 8, 1000)).clip(0, 4000))
    ids = ids_of([line.tolist() for line in lines])
    monkeypatch.setattr(ngram, "PIECE", 50)
    model = count(ids, 21, order, 0)
    texts = texts_of(ids.tolist())
    reference = LinesReference(texts, 21, order, "kneser-ney")
    assert discounts_of(model.levels[-1].counts) != FALLBACK
    contexts = [text[:place] for text in texts[:12] for place in range(len(text))]
    expected = [[reference.probability(c, char) for char in range(21)] for c in contexts]
    np.testing.assert_allclose(probabilities_after(model, contexts), expected, rtol=1e-11)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_probabilities_of_the_alphabet_sum_to_one_after_every_context(order, smoothing):
    size = 1 + len(LETTERS)
    model = count(ids_of(FEW_LINES), size, order, 0, smoothing)
    contexts = [line[:place] for line in FEW_LINES for place in range(len(line) + 1)]
    contexts += [line[::-1] for line in FEW_LINES]  # contexts that were not counted
    probabilities = probabilities_after(model, contexts)
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=0, atol=1e-12)

    # What sampling draws from is the same distribution.
    steps = Counted(model)
    for context, expected in zip(contexts, probabilities, strict=True):
        state = steps.zero_state(1)
        logits = steps.logits(state)
        for char in context:
            logits, state = steps.step(np.array([char]), state)
        np.testing.assert_allclose(np.exp(logits[0]), expected, rtol=1e-12)

"""Counting against naive implementations of the formulas, and against hand-worked numbers.

Lines have their own file, test_ngram_lines.py.
"""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.text import ngram
from charrnn.text.counting import GramCounter, Orders, count, most_orders, next_top, pick_order
from charrnn.text.ngram import (
    FALLBACK,
    SMOOTHINGS,
    NGram,
    discounts_of,
    levels_of,
    pieces_of,
)

ids = st.lists(st.integers(0, 2), min_size=1, max_size=30)


def grams_of(texts, n):
    """Counts of n-grams, and what stands before each, in dictionaries.

    The beginning of a text stands before its first n-gram.
    """
    counts = Counter()
    before = defaultdict(set)
    for text in texts:
        for i in range(len(text) - n + 1):
            gram = tuple(text[i : i + n])
            counts[gram] += 1
            before[gram].add(text[i - 1] if i else "beginning")
    return counts, before


def naive_witten_bell(texts, context, char, vocabulary_size, order):
    probability = 1 / vocabulary_size
    for n in range(1, order + 1):
        if n - 1 > len(context):
            break
        suffix = tuple(context[len(context) - n + 1 :])
        following = Counter(
            {
                gram[-1]: number
                for gram, number in grams_of(texts, n)[0].items()
                if gram[:-1] == suffix
            }
        )
        total = sum(following.values())
        distinct = len(following)
        if total:
            probability = (following[char] + distinct * probability) / (total + distinct)
    return probability


def naive_discounts(counts):
    n1, n2, n3, n4 = (sum(1 for value in counts.values() if value == k) for k in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return discounts if all(0 < d <= k for k, d in enumerate(discounts, 1)) else FALLBACK


def naive_kneser_ney(texts, context, char, vocabulary_size, order):
    order = min(order, max(map(len, texts)))
    probability = 1 / vocabulary_size
    for n in range(1, order + 1):
        if n - 1 > len(context):
            break
        counts, before = grams_of(texts, n)
        if n < order:
            counts = {gram: len(before[gram]) for gram in counts}
        d = (0, *naive_discounts(counts))
        suffix = tuple(context[len(context) - n + 1 :])
        following = {gram[-1]: number for gram, number in counts.items() if gram[:-1] == suffix}
        total = sum(following.values())
        if total:
            kept = following.get(char, 0) - d[min(3, following.get(char, 0))]
            rest = sum(d[min(3, count)] for count in following.values())
            probability = kept / total + rest / total * probability
    return probability


NAIVE = {"witten-bell": naive_witten_bell, "kneser-ney": naive_kneser_ney}


@settings(max_examples=60, deadline=None)
@given(
    ids,
    st.lists(st.integers(0, 2), min_size=1, max_size=12),
    st.integers(1, 5),
    st.sampled_from(SMOOTHINGS),
)
def test_probabilities_equal_a_naive_implementation(train, text, order, smoothing):
    probability = count(np.array(train), 3, order, smoothing=smoothing).probabilities(
        np.array(text)
    )
    for i, char in enumerate(text):
        expected = NAIVE[smoothing]([train], text[max(0, i - order + 1) : i], char, 3, order)
        assert probability[i] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_real_counts_of_counts_agree_with_a_naive_implementation(smoothing):
    # Long enough that the discounts come from the text and not from the fallback.
    train = np.random.default_rng(1).zipf(1.3, 600).clip(0, 11) - 1
    text = train[:40][::-1]
    probability = count(train, 11, 3, smoothing=smoothing).probabilities(text)
    levels = count(train, 11, 3, smoothing=smoothing).levels
    assert discounts_of(levels[2].counts) != FALLBACK
    for i, char in enumerate(text):
        expected = NAIVE[smoothing]([train.tolist()], text[max(0, i - 2) : i].tolist(), char, 11, 3)
        assert probability[i] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.lists(st.integers(0, 3), max_size=6),
    st.integers(1, 6),
    st.sampled_from(SMOOTHINGS),
    st.sampled_from([None, 0]),
)
def test_probabilities_of_the_next_character_sum_to_one(train, context, order, smoothing, boundary):
    model = count(np.array(train), 4, order, boundary, smoothing)
    total = sum(model.probabilities(np.array([*context, char]))[-1] for char in range(4))
    assert total == pytest.approx(1, rel=1e-12)


def test_unigram_by_hand():
    # aab over {a, b, c}: 3 characters, 2 distinct. P(a) = (2 + 2/3) / 5, P(c) = (0 + 2/3) / 5.
    probability = count(np.array([0, 0, 1]), 3, 1, smoothing="witten-bell").probabilities(
        np.array([0, 2])
    )
    np.testing.assert_allclose(probability, [(2 + 2 / 3) / 5, (2 / 3) / 5], rtol=1e-15)


def test_bigram_of_kneser_ney_by_hand():
    # aab: b stands after a alone, a after a and at the beginning.
    # Unigram counts: a 2, b 1, discounts 0.5 and 1: P1(b) = (1 - 0.5)/3 + (0.5 + 1)/3/2.
    # After a: a once, b once: P2(b) = (1 - 0.5)/2 + (0.5 + 0.5)/2 P1(b).
    probability = count(np.array([0, 0, 1]), 2, 2).probabilities(np.array([0, 1]))[1]
    assert probability == pytest.approx(
        0.5 / 2 + (0.5 + 0.5) / 2 * (0.5 / 3 + 1.5 / 3 / 2), rel=1e-15
    )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_lines_have_no_context_across_the_newline(smoothing):
    newline = 0
    train = np.array([1, 2, 0, 2, 1, 0])
    text = np.array([1, 2, 0, 2, 1, 0])
    together = count(train, 3, 3, newline, smoothing).probabilities(text)
    swapped = count(train, 3, 3, newline, smoothing).probabilities(
        np.concatenate([text[3:], text[:3]])
    )
    np.testing.assert_allclose(swapped, np.concatenate([together[3:], together[:3]]), rtol=1e-15)


def test_padding_is_never_predicted():
    # One line "a": the only continuation of the padding's context is a, so after newlines a
    # newline is not counted.
    model = count(np.array([1, 0]), 2, 3, boundary=0, smoothing="witten-bell")
    first = model.probabilities(np.array([1, 0]))[0]
    # Unigram: a 1, newline 1 -> (1 + 2/2)/4 = 1/2; bigram after newline: (1 + 1/2)/2;
    # trigram: (1 + 3/4)/2.
    assert first == pytest.approx((1 + (1 + 0.5) / 2) / 2)


@pytest.mark.parametrize("boundary", [None, 0])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_pieces_equal_the_whole(monkeypatch, boundary, smoothing):
    random = np.random.default_rng(0)
    train = random.integers(0, 5, 500)
    text = random.integers(0, 5, 333)
    whole = count(train, 5, 4, boundary, smoothing).probabilities(text)
    monkeypatch.setattr(ngram, "PIECE", 7)
    np.testing.assert_array_equal(
        count(train, 5, 4, boundary, smoothing).probabilities(text), whole
    )


def test_a_piece_of_lines_ends_with_the_line_that_reaches_the_size(monkeypatch):
    monkeypatch.setattr(ngram, "PIECE", 3)
    text = np.array([1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 1])  # 0: the newline
    assert list(pieces_of(text, 2, 0)) == [(0, 8), (8, 11), (11, 12)]
    assert list(pieces_of(text, 2, None)) == [(0, 3), (2, 6), (5, 9), (8, 12)]


def test_windows_equal_a_loop_over_windows():
    random = np.random.default_rng(2)
    model = count(random.integers(0, 4, 400), 4, 5)
    text = random.integers(0, 4, 50)
    window = 6
    expected = [model.probabilities(text[:1])[0]]
    for start in range(0, 49, window):
        expected += model.probabilities(text[start : start + window + 1])[1:].tolist()
    np.testing.assert_array_equal(
        model.probabilities(text, (np.arange(50) - 1) % window + 1), expected
    )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("boundary", [None, 0])
def test_shorter_models_of_long_counts_equal_models_counted_short(boundary, smoothing):
    random = np.random.default_rng(4)
    train = random.integers(0, 3, 200)
    text = random.integers(0, 3, 60)
    counted = Orders(GramCounter(3, 6, boundary).count(train), train[:6])
    for order in range(1, 7):
        long = counted.model(order, smoothing).probabilities(text)
        np.testing.assert_array_equal(
            long, count(train, 3, order, boundary, smoothing).probabilities(text)
        )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("boundary", [None, 0])
def test_the_scores_of_all_orders_are_those_of_each(monkeypatch, boundary, smoothing):
    random = np.random.default_rng(7)
    train = random.integers(0, 3, 200)
    text = random.integers(0, 3, 60)
    counted = Orders(GramCounter(3, 5, boundary).count(train), train[:5])
    models = [count(train, 3, order, boundary, smoothing) for order in range(1, 6)]
    expected = [-np.log(model.probabilities(text)[boundary is None :]).sum() for model in models]
    monkeypatch.setattr(ngram, "PIECE", 11)
    np.testing.assert_allclose(counted.nats(text, smoothing), expected, rtol=1e-12)


@pytest.mark.parametrize("most", [1, 3, 11, 12, 38, 39, 200, 9999])
@pytest.mark.parametrize("boundary", [None, 0])
def test_orders_with_more_ngrams_than_asked_for_are_left_out(boundary, most):
    random = np.random.default_rng(4)
    train = np.append(random.integers(0, 3, 200), 0)
    whole = Orders(GramCounter(3, 6, boundary).count(train), train[:6])
    grams = [level.grams for level in whole.levels(6, "kneser-ney")]
    fit = [order for order in range(1, 7) if sum(map(len, grams[:order])) <= most]
    counted = Orders(GramCounter(3, 6, boundary).count(train), train[:6], most)
    assert counted.longest == max(fit, default=1)
    text = random.integers(0, 3, 60)
    for order in range(1, counted.longest + 1):
        np.testing.assert_array_equal(
            counted.model(order, "kneser-ney").probabilities(text),
            whole.model(order, "kneser-ney").probabilities(text),
        )


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_a_text_shorter_than_the_order_is_counted_as_far_as_it_goes(length):
    text = np.arange(length)
    np.testing.assert_array_equal(
        count(text, 6, 9).probabilities(text), count(text, 6, length).probabilities(text)
    )


def test_the_best_order_is_the_one_of_the_lowest_score():
    # Period 5: three characters before it tell everything. The scores have more than one valley.
    text = np.tile([0, 0, 0, 1, 1], 60)
    scores = {
        order: -np.log(count(text, 2, order).probabilities(text[:50])[1:]).sum()
        for order in range(1, 9)
    }
    assert pick_order(text, text[:50], 2, None).order == min(scores, key=scores.get) == 4


def test_longer_n_grams_are_counted_while_they_help():
    # A long period over two characters: only contexts of ten or more are sure.
    period = np.random.default_rng(5).integers(0, 2, 300)
    text = np.tile(period, 6)
    assert pick_order(text, text[:900], 2, None).order > next_top(0, 2, len(text)) == 8


def test_large_texts_start_with_shorter_n_grams():
    assert next_top(0, 3, 7_999_999) == 8
    assert next_top(0, 3, 8_000_000) == 6
    assert next_top(6, 3, 8_000_000) == 8


@pytest.mark.parametrize(
    ("size", "orders"), [(1, 24), (2, 24), (65, 10), (256, 7), (20_000, 4), (1_114_112, 3)]
)
def test_n_grams_fit_into_64_bits(size, orders):
    assert most_orders(size) == orders
    assert max(2, size) ** orders < 1 << 63


def test_a_model_outlives_its_levels():
    random = np.random.default_rng(6)
    train = random.integers(0, 5, 300)
    text = random.integers(0, 5, 30)
    made = count(train, 5, 4)
    again = NGram(made.levels, 5, None, "kneser-ney")
    np.testing.assert_array_equal(again.probabilities(text), made.probabilities(text))


def test_a_smoothing_has_its_name_in_one_place():
    package = Path(ngram.__file__).parent.parent
    files = [path.name for path in package.rglob("*.py") if '"Witten-Bell"' in path.read_text()]
    assert files == ["ngram.py"]


@pytest.mark.parametrize(
    "change",
    [
        {"ngram.1.grams": None},
        {"ngram.1.counts": None},
        {"ngram.2.grams": None},
        {"ngram.4.counts": np.ones(2, np.uint32)},
        {"ngram.1.grams": np.arange(3.0)},
        {"ngram.1.counts": np.ones(3, np.int64)},
        {"ngram.1.counts": np.ones(2, np.uint32)},
        {"ngram.1.grams": np.array([[0, 1, 2]]), "ngram.1.counts": np.ones((1, 3), np.uint32)},
        {"ngram.1.grams": np.zeros(0, np.int64), "ngram.1.counts": np.zeros(0, np.uint32)},
        {"ngram.1.grams": np.array([-1, 1, 2])},
        {"ngram.1.grams": np.array([0, 1, 3])},
        {"ngram.1.grams": np.array([0, 2, 1])},
        {"ngram.1.grams": np.array([0, 1, 1])},
    ],
    ids=lambda change: str(change)[:50],
)
def test_tensors_that_are_no_counting_model_are_refused(change):
    tensors = count(np.tile([0, 1, 2, 2, 1], 4), 3, 3).tensors()
    assert len(levels_of(tensors, 3)) == 3
    altered = {key: value for key, value in (tensors | change).items() if value is not None}
    with pytest.raises(ValueError, match=r"n-gram"):
        levels_of(altered, 3)


def test_no_tensors_are_no_counting_model():
    with pytest.raises(ValueError, match="not an n-gram model"):
        levels_of({}, 3)

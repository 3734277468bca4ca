"""Distributions and draws, against naive loops and numbers worked by hand."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charrnn.errors import SettingsError
from charrnn.sampling.decode import Decoding, distribution, draw, surprise, uniforms

# Multiples of 1/8: ties happen, and sums of probabilities differ by more than rounding.
LOGITS = arrays(np.float32, (3, 7), elements=st.integers(-40, 40).map(lambda n: n / 8))


def softmax(row, temperature=1.0):
    top = max(row)
    weights = [math.exp((float(x) - float(top)) / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def by_likelihood(row):
    """Ids, the likeliest first, the lower id first where they tie."""
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


def renormalised(probabilities, kept):
    total = sum(probabilities[i] for i in kept)
    return [probabilities[i] / total if i in kept else 0.0 for i in range(len(probabilities))]


@given(LOGITS, st.sampled_from([0.3, 1.0, 2.0, 2.5]))
def test_temperature_divides_the_logits(logits, temperature):
    expected = [softmax(row, temperature) for row in logits]
    np.testing.assert_allclose(
        distribution(logits, Decoding(temperature=temperature)), expected, rtol=1e-12
    )


@given(LOGITS, st.integers(1, 9))
def test_top_k_keeps_exactly_k_and_the_lowest_ids_of_a_tie(logits, k):
    expected = [renormalised(softmax(row), by_likelihood(row)[:k]) for row in logits]
    np.testing.assert_allclose(distribution(logits, Decoding(top_k=k)), expected, rtol=1e-12)


@given(LOGITS, st.floats(1e-3, 1.0))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, p):
    found = distribution(logits, Decoding(top_p=p))
    for row, probabilities in zip(logits, found, strict=True):
        full, kept, total = softmax(row), [], 0.0
        for i in by_likelihood(row):
            if (
                kept and total >= p - 1e-12
            ):  # p itself as a sum of probabilities is a matter of rounding
                break
            kept.append(i)
            total += full[i]
        if abs(total - full[kept[-1]] - p) > 1e-9 and abs(total - p) > 1e-9:
            np.testing.assert_allclose(probabilities, renormalised(full, kept), rtol=1e-12)


@given(LOGITS, st.sampled_from([0.0, 0.011, 0.1, 0.77, 1.0]))
def test_min_p_is_relative_to_the_likeliest(logits, p):
    for row, probabilities in zip(logits, distribution(logits, Decoding(min_p=p)), strict=True):
        full = softmax(row)
        kept = [i for i in range(7) if full[i] >= p * max(full) * (1 - 1e-12)]
        np.testing.assert_allclose(probabilities, renormalised(full, kept), rtol=1e-12)


@given(
    LOGITS, arrays(np.int32, (3, 4), elements=st.integers(-1, 6)), st.sampled_from([0.5, 1.3, 2.0])
)
def test_penalty_divides_positive_and_multiplies_negative_logits_of_recent_characters(
    logits, recent, penalty
):
    changed = logits.astype(float)
    for row, ids in zip(changed, recent, strict=True):
        for i in set(ids.tolist()) - {-1}:
            row[i] = row[i] / penalty if row[i] > 0 else row[i] * penalty
    found = distribution(logits, Decoding(repetition_penalty=penalty), recent)
    np.testing.assert_allclose(found, [softmax(row) for row in changed], rtol=1e-12)


def test_filters_apply_in_their_documented_order():
    probabilities = np.array([[0.4, 0.3, 0.2, 0.1]])
    # top-k 3: 4/9, 3/9, 2/9; top-p 0.5 of those keeps two; min-p 0.8 of 4/9 drops the second (3/4
    # of the first).
    decoding = Decoding(top_k=3, top_p=0.5)
    np.testing.assert_allclose(
        distribution(np.log(probabilities), decoding), [[4 / 7, 3 / 7, 0, 0]]
    )
    decoding = Decoding(top_k=3, top_p=0.5, min_p=0.8)
    np.testing.assert_allclose(distribution(np.log(probabilities), decoding), [[1, 0, 0, 0]])


@given(LOGITS)
def test_any_filters_leave_a_distribution(logits):
    recent = np.array([[0, 1, -1]] * 3)
    found = distribution(logits, Decoding(0.7, 4, 0.9, 0.05, 1.2), recent)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("temperature", [1e-8, 1e-300, 5e-324])
def test_tiny_temperature_is_greedy_without_a_warning(temperature):
    logits = np.array([[0.5, 3.0, 2.9], [-7.0, -9.0, -8.0]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = distribution(logits, Decoding(temperature=temperature))
    np.testing.assert_array_equal(found, distribution(logits, Decoding(temperature=0)))


def test_greedy_takes_the_lowest_id_of_a_tie():
    np.testing.assert_array_equal(
        distribution(np.array([[1.0, 5.0, 5.0]]), Decoding(temperature=0)), [[0, 1, 0]]
    )


@pytest.mark.parametrize(
    "row", [[np.inf, 0, np.nan], [-np.inf] * 3, [np.nan] * 3, [3e38, -3e38, np.inf]]
)
@pytest.mark.parametrize("decoding", [Decoding(), Decoding(0), Decoding(1e-300, 2, 0.5, 0.1, 1e6)])
def test_logits_of_exploded_weights_still_give_a_distribution(row, decoding):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = distribution(np.array([row], np.float32), decoding, np.array([[0, 1]]))
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)


def test_logits_are_left_as_they_were():
    logits = np.array([[1.0, 2.0, 3.0]])
    distribution(logits, Decoding(0.5, 2, 0.9, 0.1, 1.5), np.array([[1]]))
    np.testing.assert_array_equal(logits, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"temperature": -0.1}, "--temp"),
        ({"temperature": math.nan}, "--temp"),
        ({"temperature": math.inf}, "--temp"),
        ({"top_k": -1}, "--top-k"),
        ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.01}, "--top-p"),
        ({"top_p": math.nan}, "--top-p"),
        ({"min_p": -0.1}, "--min-p"),
        ({"min_p": 1.5}, "--min-p"),
        ({"repetition_penalty": 0.0}, "--repetition-penalty"),
        ({"repetition_penalty": math.inf}, "--repetition-penalty"),
    ],
)
def test_a_value_outside_its_bounds_is_an_error_that_names_its_flag(values, flag):
    with pytest.raises(SettingsError, match=f"^{flag} "):
        Decoding(**values)


def test_draws_follow_the_distribution():
    probabilities = np.array([[0.5, 0.0, 0.3, 0.15, 0.05]])
    draws = 20_000
    ids = draw(probabilities.repeat(draws, 0), uniforms(7, np.zeros(1), np.arange(draws)))
    counts, expected = np.bincount(ids, minlength=5), probabilities[0] * draws
    assert counts[1] == 0
    seen = expected > 0
    # 3 degrees of freedom: 16.3 is exceeded once in a thousand seeds.
    assert ((counts - expected)[seen] ** 2 / expected[seen]).sum() < 16.3


def test_draw_inverts_the_cumulative_sum():
    probabilities = np.array([[0.25, 0.25, 0.5]] * 5)
    np.testing.assert_array_equal(
        draw(probabilities, np.array([0.0, 0.2499, 0.25, 0.5, 0.99])), [0, 0, 1, 2, 2]
    )


@settings(max_examples=300)
@given(
    arrays(np.float64, (1, 6), elements=st.sampled_from([0.0, 0.1, 0.3, 1e-18, 1e-300])),
    st.integers(0, 2**53 - 1),
)
def test_draw_never_gives_an_id_of_probability_zero(weights, numerator):
    if weights.sum() == 0:
        weights[0, 3] = 1.0
    for u in (numerator / 2**53, 0.0, 1 - 2**-53):
        assert weights[0, draw(weights, np.array([u]))[0]] > 0


def splitmix64(state, position):
    """The published generator, in whole numbers: advance the state position + 1 times, mix the
    last.
    """
    mask = 2**64 - 1
    z = (state + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_reference_generator_gives_the_published_first_output():
    assert (
        splitmix64(1234567, 0) == 6457827717110365317
    )  # Rosetta Code, "Pseudo-random numbers/Splitmix64"


@pytest.mark.parametrize("seed", [0, 1234567, 2**63 - 1])
def test_uniforms_are_splitmix64(seed):
    streams, positions = np.array([0, 1, 5_000_000_000]), np.array([0, 9, 2**40])
    pairs = zip(streams.tolist(), positions.tolist(), strict=True)
    expected = [(splitmix64(splitmix64(seed, i), n) >> 11) / 2**53 for i, n in pairs]
    np.testing.assert_array_equal(uniforms(seed, streams, positions), expected)


def test_uniforms_of_a_stream_do_not_depend_on_its_neighbours():
    together = uniforms(3, np.arange(5), 11)
    np.testing.assert_array_equal(together, [uniforms(3, np.array([i]), 11)[0] for i in range(5)])


def test_surprise_is_the_negative_logarithm_of_softmax():
    logits = np.array([[0.5, -1.0, 2.0], [1000.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(
        surprise(logits, np.array([1, 2])), [-math.log(softmax(logits[0])[1]), 1000.0]
    )

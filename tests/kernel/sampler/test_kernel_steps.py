"""The compiled sampler: its steps and what it reads equal numpy."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_support import (
    CELLS,
    DECODINGS,
    LEVELS,
    SKIPS,
    bias_model,
    child,
    compiled_sampler,
    random_model,
)
from support import needs_kernel

from charrnn.sampling import compiled
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.engine import Sampler
from charrnn.sampling.network import Network

pytestmark = needs_kernel


def random_state(network, count, seed=0):
    generator = np.random.default_rng(seed)
    return tuple(
        generator.uniform(-1, 1, part.shape).astype(np.float32)
        for part in network.zero_state(count)
    )


# One step


def assert_steps_are_equal(model, weights, level, count):
    """From the same state, so that differences do not add up."""
    network = Network(model, weights)
    kernel = Compiled(network, level=level)
    generator = np.random.default_rng(1)
    state = random_state(network, count)
    for _ in range(3):
        ids = generator.integers(0, len(network.embedding), count)
        expected, after = network.step(ids, state)
        found, reached = kernel.step(ids, state)
        # float32: a sum of 650 products of size 1/25, summed in another order, moves by a few 2^-24
        # of its terms; two layers below multiply that by their weights. 3.4e-6 was the largest in
        # 3,000 models.
        for one, other in zip((found, *reached), (expected, *after), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)
        state = after


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_equals_numpys(cell, skip, layers, level):
    for hidden, vocabulary, embedding, weights in (
        (17, 10, 17, "float32"),
        (48, 129, 6, "float16"),
        (7, 65, 5, "float32"),
    ):
        assert_steps_are_equal(
            random_model(cell, skip, layers, hidden, vocabulary, embedding),
            weights,
            level,
            layers + 1,
        )


MODELS = st.builds(
    random_model,
    st.sampled_from(CELLS),
    st.sampled_from(SKIPS),
    st.integers(1, 3),
    st.sampled_from([1, 2, 7, 16, 17, 48, 65, 130]),
    st.sampled_from([2, 10, 65, 129, 300]),
    st.sampled_from([1, 7, 16, 17, 48, 130]),
    seed=st.integers(0, 1000),
)


WEIGHTS = st.sampled_from(["float32", "float16"])


ROWS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 13])


@settings(max_examples=60, deadline=None)
@given(MODELS, WEIGHTS, st.sampled_from(LEVELS), ROWS)
def test_steps_of_any_size_equal_numpys(model, weights, level, count):
    assert_steps_are_equal(model, weights, level, count)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(MODELS, WEIGHTS, st.sampled_from(LEVELS), ROWS)
def test_steps_of_any_size_equal_numpys_thousands_of_times(model, weights, level, count):
    assert_steps_are_equal(model, weights, level, count)


@settings(max_examples=80, deadline=None)
@given(MODELS, WEIGHTS, st.sampled_from(LEVELS), ROWS)
def test_rows_together_are_rows_alone_to_the_last_bit(model, weights, level, count):
    kernel = Compiled(Network(model, weights), level=level)
    state, ids = random_state(kernel, count), np.arange(count) % 2
    logits, after = kernel.step(ids, state)
    for row in range(count):
        alone, reached = kernel.step(
            ids[row : row + 1], tuple(part[:, row : row + 1] for part in state)
        )
        np.testing.assert_array_equal(alone[0], logits[row])
        for part, other in zip(reached, after, strict=True):
            np.testing.assert_array_equal(part[:, 0], other[:, row])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
def test_sums_of_ten_thousand_are_numpys(cell, level):
    """Far out on every curve: gates are 0 or 1 there, exactly or to the last bit of float32."""
    model = random_model(cell, layers=2, hidden=33)
    for name in ("recurrent.bias_ih_l0", "recurrent.bias_ih_l1"):
        model.tensors[name][:] = np.random.default_rng(3).choice(
            [-1e4, 1e4], len(model.tensors[name])
        )
    network = Network(model, "float32")
    state = random_state(network, 3)
    expected, after = network.step(np.array([1, 2, 3]), state)
    found, reached = Compiled(network, level=level).step(np.array([1, 2, 3]), state)
    for one, other in zip((found, *reached), (expected, *after), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_tanh_is_right_to_three_ten_millionths_everywhere(level):
    """As level.h says of it; numpy's own is right to one."""
    sums = np.concatenate([np.linspace(-12, 12, 900), np.geomspace(1e-38, 1, 124)]).astype(
        np.float32
    )
    model = random_model("rnn", hidden=1024, vocabulary=2, embedding=1, scale=0.0)
    model.tensors["recurrent.bias_ih_l0"][:] = sums
    kernel = Compiled(Network(model, "float32"), level=level)
    [[[found]]] = kernel.step(np.array([0]), kernel.zero_state(1))[1]
    np.testing.assert_allclose(found, np.tanh(sums.astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("level", LEVELS)
def test_half_precision_keeps_every_number_it_has(level):
    """Each of the 63,488 finite ones as a weight of the head, read off by a state of exactly 1."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = halves[np.isfinite(halves)].astype(np.float32).reshape(-1, 2)
    model = bias_model(np.zeros(len(values)))
    model.tensors["recurrent.bias_ih_l0"][:] = 20.0  # tanh: 1
    for column in (0, 1):
        model.tensors["head.weight"][:, 0] = values[:, column]
        kernel = Compiled(Network(model, "float16"), level=level)
        np.testing.assert_array_equal(
            kernel.step(np.array([0]), kernel.zero_state(1))[0][0], values[:, column]
        )


@pytest.mark.parametrize("bad", [-1, 10, 2**31 - 1, 2**32, 2**40])
def test_an_id_outside_the_vocabulary_is_refused(bad):
    kernel = Compiled(Network(random_model(), "float32"))
    with pytest.raises(IndexError):
        kernel.step(np.array([1, bad]), kernel.zero_state(2))
    with pytest.raises(IndexError):
        kernel.read(np.array([1, bad]), kernel.zero_state(1))


def test_a_state_of_another_shape_is_refused():
    """In a process of its own: the kernel would write beyond it."""
    code = "import test_kernel_steps as t; t.offer_wrong_states()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=child(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def offer_wrong_states():
    kernel = Compiled(Network(random_model("lstm", hidden=17), "float32"))
    for shapes in (
        [(1, 2, 17)],
        [(1, 1, 17)] * 2,
        [(2, 2, 17)] * 2,
        [(1, 2, 1)] * 2,
        [(1, 2, 18)] * 2,
        [(1, 2, 17)] * 3,
    ):
        with pytest.raises(ValueError, match="state"):
            kernel.step(np.array([1, 2]), tuple(np.zeros(shape, np.float32) for shape in shapes))
    with pytest.raises(ValueError, match="state"):
        kernel.read(np.array([1, 2]), kernel.zero_state(2))


# Reading


@pytest.mark.parametrize("pause", [0.03, 0.0])
@pytest.mark.parametrize("vocabulary", [10, 300])
@pytest.mark.parametrize("cell", CELLS)
def test_reading_equals_numpys(cell, vocabulary, pause, monkeypatch):
    monkeypatch.setattr(compiled, "PAUSE_S", pause)  # 0: a call for every character
    network = Network(random_model(cell, "dense", 2, 17, vocabulary), "float32")
    ids = np.random.default_rng(2).integers(0, vocabulary, 300)
    expected, after, nats = network.read(ids, network.zero_state(1))
    found, reached, counted = Compiled(network).read(ids, network.zero_state(1))
    assert counted == pytest.approx(nats, rel=1e-6)
    for one, other in zip((found, *reached), (expected, *after), strict=True):
        np.testing.assert_allclose(
            one, other, atol=1e-4
        )  # 300 steps of float32 each on the last one's result


@pytest.mark.parametrize("vocabulary", [10, 300])
def test_pauses_change_no_bit_of_what_reading_cost(vocabulary, monkeypatch):
    kernel = Compiled(Network(random_model("gru", "none", 1, 17, vocabulary), "float32"))
    ids = np.random.default_rng(2).integers(0, vocabulary, 300)
    nats = []
    for pause in (100.0, 0.0):  # one call for all; a call for every character
        monkeypatch.setattr(compiled, "PAUSE_S", pause)
        nats.append(kernel.read(ids, kernel.zero_state(1))[2])
    assert nats[0] == nats[1]


@pytest.mark.parametrize("cell", CELLS)
def test_reading_is_steps_to_the_last_bit(cell):
    kernel = Compiled(Network(random_model(cell, "residual", 2, 33, 130), "float32"))
    ids = np.arange(40) % 9
    logits, state, _ = kernel.read(ids, kernel.zero_state(1))
    each = kernel.zero_state(1)
    for at in range(40):
        expected, each = kernel.step(ids[at : at + 1], each)
    np.testing.assert_array_equal(logits, expected)
    for part, other in zip(state, each, strict=True):
        np.testing.assert_array_equal(part, other)


@settings(max_examples=15, deadline=None)
@given(MODELS, WEIGHTS, st.sampled_from(LEVELS))
def test_a_row_on_several_threads_is_the_row_on_one(model, weights, level):
    kernel = Compiled(Network(model, weights), level=level)
    ids = np.random.default_rng(0).integers(0, kernel.vocabulary_size, 12)
    logits, state, nats = kernel.read(ids, kernel.zero_state(1))
    for threads in (2, 3):
        found, reached, counted = kernel.read(ids, kernel.zero_state(1), threads=threads)
        assert counted == pytest.approx(
            nats, rel=1e-12
        )  # what falls between two calls is counted by numpy
        np.testing.assert_array_equal(found, logits)
        for part, other in zip(reached, state, strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("decoding", DECODINGS, ids=str)
def test_draws_are_numpys(decoding, level):
    model = random_model("gru", "residual", 2, 20, 26, scale=2.0)
    [expected] = Sampler(model, weights="float32", engine="numpy").generate(
        length=300, seed=3, decoding=decoding
    )
    [found] = compiled_sampler(model, level=level).generate(length=300, seed=3, decoding=decoding)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.nats == pytest.approx(expected.nats, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_texts_are_numpys(cell, weights):
    model = random_model(cell, "dense", 3, 19, 40, mode="lines")
    expected = list(Sampler(model, weights=weights, engine="numpy").generate(70, seed=2, length=40))
    found = list(compiled_sampler(model, weights).generate(70, seed=2, length=40))
    assert [sample.text for sample in found] == [sample.text for sample in expected]
    np.testing.assert_allclose([s.nats for s in found], [s.nats for s in expected], rtol=1e-5)

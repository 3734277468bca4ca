"""The compiled kernel: equal to numpy, to itself however the work is cut up, and clean under the sanitizers.

What both engines must do for a caller is in sampling/engine.
"""

import dataclasses
import itertools
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support import COMPILER, needs_kernel

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.kernel.library import describe, library
from charrnn.layout import expected_shapes
from charrnn.modelfile import ModelFile
from charrnn.sampling import compiled, packed, rows
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding, distribution, draw, uniforms
from charrnn.sampling.engine import Sampler
from charrnn.sampling.network import Network
from charrnn.text.vocabulary import Vocabulary

ROOT = Path(__file__).parent.parent.parent
KERNEL = ROOT / "charrnn/kernel"
SOURCES = sorted(KERNEL.glob("*.c"))
FLAGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"][
    0
]["extra-compile-args"]
CELLS = ("rnn", "lstm", "gru", "gru-before")
SKIPS = ("none", "residual", "dense")
LEVELS = range(1 + library().charrnn_level()) if library() else (0,)
PROC = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to look at")

pytestmark = needs_kernel


def random_model(
    cell="lstm",
    skip="none",
    layers=1,
    hidden=17,
    vocabulary=10,
    embedding=5,
    *,
    seed=0,
    scale=1.0,
    mode="stream",
):
    """Sums of inputs and sums of states are of size `scale`: gates neither idle nor stuck at 1."""
    sizes = {
        "cell": cell,
        "skip": skip,
        "num_layers": layers,
        "hidden_size": hidden,
        "embedding_size": embedding,
    }
    chosen = Settings().with_values("model", **sizes)
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(chosen.model, vocabulary).items():
        size = (
            1.0
            if name == "embedding.weight"
            else scale / (shape[-1] ** 0.5 if len(shape) > 1 else 2)
        )
        tensors[name] = generator.standard_normal(shape, np.float32) * np.float32(size)
    symbols = tuple(range(10, 10 + vocabulary))  # id 0 is the newline
    return ModelFile(Path(), chosen, Vocabulary("char", symbols), mode, 0, tensors, {})


def bias_model(bias):
    """A model whose scores are `bias` whatever it has read."""
    model = random_model("rnn", hidden=1, vocabulary=len(bias), embedding=1, scale=0.0)
    model.tensors["head.bias"][:] = bias
    return model


def compiled_sampler(model, weights="float32", level=None):
    sampler = Sampler(model, weights=weights, engine="compiled")
    if level is not None:
        sampler._network = Compiled(Network(model, weights), level=level)
    return sampler


def everything(samples):
    return [(sample.index, sample.ids.tolist(), sample.nats) for sample in samples]


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
        # float32: a sum of 650 products of size 1/25, summed in another order, moves by a few 2^-24 of its terms; two
        # layers below multiply that by their weights. 3.4e-6 was the largest in 3,000 models.
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
    code = "import test_kernel as t; t.offer_wrong_states()"
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


# Draws

DECODINGS = [
    Decoding(),
    Decoding(0),
    Decoding(1e-9),
    Decoding(2.0),
    Decoding(top_k=3),
    Decoding(top_p=0.6),
    Decoding(min_p=0.2),
    Decoding(repetition_penalty=1.7),
    Decoding(0, repetition_penalty=1.7),
    Decoding(0.8, 6, 0.9, 0.05, 1.2),
]


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


# Multiples of 1/8, so that scores tie and sums of weights differ by more than rounding; and what exploded weights give.
SCORES = st.one_of(
    st.integers(-40, 40).map(lambda n: n / 8),
    st.sampled_from([0.0, 3e38, -3e38, np.inf, -np.inf, np.nan, 1e-45]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.integers(1, 40), st.just(130)).flatmap(
        lambda size: arrays(np.float32, size, elements=SCORES)
    ),
    st.builds(
        Decoding,
        st.sampled_from([0, 1, 1e-300, 1e-8, 0.3, 2.5]),
        st.sampled_from([0, 1, 2, 3, 7, 1000, 2**60]),
        st.sampled_from([1.0, 1e-300, 0.1, 0.3, 0.5, 0.9, 0.999]),
        st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        st.sampled_from([1.0, 0.5, 1.3, 1e6]),
    ),
    st.integers(0, 2**63 - 1),
    st.sampled_from(LEVELS),
)
def test_any_scores_and_decoding_choose_what_decode_chooses(bias, decoding, seed, level):
    # Infinite scores with a penalty: the engines tame what comes of it differently.
    assume(decoding.repetition_penalty == 1 or np.isfinite(bias).all())
    [sample] = compiled_sampler(bias_model(bias), level=level).generate(
        length=70, seed=seed, decoding=decoding
    )
    recent = np.full((1, 64), -1)
    for position, found in enumerate(sample.ids.tolist()):  # 70: past the window of the penalty
        u = uniforms(seed, np.zeros(1, int), position)
        assert found == draw(distribution(bias[None], decoding, recent), u)[0]
        recent[0, position % 64] = found
    assert np.isfinite(sample.nats)


# However the work is cut up


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(0.7, 5, 0.9, 0.02, 1.3)], ids=["plain", "all"]
)
def test_samples_alone_in_a_crowd_and_on_threads_are_the_same(cell, decoding):
    sampler = compiled_sampler(random_model(cell, "residual", 2, 33, 8, 33, mode="lines"))
    options = {"seed": 5, "length": 60, "decoding": decoding}
    crowd = everything(sampler.generate(150, threads=1, **options))
    assert len({len(ids) for _, ids, _ in crowd}) > 10  # rows end at different times
    assert everything(sampler.generate(150, threads=2, **options)) == crowd
    assert everything(sampler.generate(150, threads=3, **options)) == crowd
    alone = [next(sampler.generate(1, first=index, threads=1, **options)) for index in range(150)]
    assert everything(alone) == crowd


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_on_several_threads_is_the_stream_on_one(cell, level):
    # Heads of one panel and of many; matrices of fewer panels than threads, and of more.
    for hidden, vocabulary in ((5, 10), (65, 300)):
        sampler = compiled_sampler(random_model(cell, "dense", 2, hidden, vocabulary), level=level)
        one = b"".join(sampler.stream(length=300, seed=1, threads=1))
        assert b"".join(sampler.stream(length=300, seed=1, threads=2)) == one
        assert b"".join(sampler.stream(length=300, seed=1, threads=3)) == one
        assert next(sampler.generate(length=300, seed=1, threads=3)).data == one


@pytest.mark.parametrize("pause", [0.0, 1e-5])
def test_calls_of_a_moment_write_what_long_ones_write(pause, monkeypatch):
    sampler = compiled_sampler(random_model("lstm", layers=2, vocabulary=5, mode="lines"))
    expected = everything(sampler.generate(100, seed=1, length=50))
    streamed = b"".join(sampler.stream(seed=1, length=50))
    monkeypatch.setattr(rows, "PAUSE_S", pause)
    ends, run = [], rows.Rows.run
    monkeypatch.setattr(rows.Rows, "run", lambda self: ends.append(run(self)))
    assert everything(sampler.generate(100, seed=1, length=50, threads=1)) == expected
    assert rows.PAUSED in ends
    monkeypatch.undo()
    monkeypatch.setattr(rows, "PAUSE_S", pause)
    assert b"".join(sampler.stream(seed=1, length=50)) == streamed


@pytest.mark.timeout(60)
def test_an_alphabet_so_large_that_one_row_is_left_writes_the_same(monkeypatch):
    sampler = compiled_sampler(random_model(vocabulary=4, mode="lines", scale=2.0))
    expected = everything(sampler.generate(40, seed=1))
    monkeypatch.setattr(rows, "MAX_SCORES", 1)
    assert everything(sampler.generate(40, seed=1)) == expected


@pytest.mark.timeout(60)
def test_samples_that_outgrow_every_array_are_their_draws():
    """Lines of 20,000 beside lines of one: what a row has written and what has ended must both grow."""
    sampler = compiled_sampler(bias_model([-9.0, 0.0, 0.0]))  # a newline about once in 16,000
    sampler._codec = dataclasses.replace(sampler._codec, mode="lines", newline=0)
    numbers = uniforms(2, np.repeat(np.arange(30), 20_000), np.tile(np.arange(20_000), 30)).reshape(
        30, -1
    )
    expected = draw(
        distribution(np.array([[-9.0, 0.0, 0.0]]), Decoding()).repeat(600_000, 0),
        numbers.reshape(-1),
    )
    for sample in sampler.generate(30, seed=2, length=20_000):
        ids = expected.reshape(30, -1)[sample.index]
        ends = np.flatnonzero(ids == 0)
        np.testing.assert_array_equal(sample.ids, ids[: ends[0] + 1] if len(ends) else ids)


def test_two_threads_at_one_sampler_give_what_one_gives():
    sampler = compiled_sampler(random_model("gru", layers=2, mode="lines"))
    expected = [everything(sampler.generate(60, seed=seed, threads=2)) for seed in (1, 2)]
    found = [None, None]

    def work(seed):
        found[seed - 1] = everything(sampler.generate(60, seed=seed, threads=2))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == expected


def test_a_pickled_sampler_is_packed_anew():
    sampler = compiled_sampler(random_model("gru", layers=2), "float16")
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy.engine == "compiled"
    assert everything(copy.generate(2, seed=1)) == everything(sampler.generate(2, seed=1))


# What a call leaves behind


@PROC
def test_samples_closed_early_leave_no_thread():
    sampler = compiled_sampler(random_model("lstm", vocabulary=3, mode="lines"))

    def threads():
        return len(os.listdir("/proc/self/task"))

    def are_gone():  # a joined thread of Python's may need a moment to leave the system's list
        return threads() <= before or any(
            time.sleep(0.01) or threads() <= before for _ in range(500)
        )

    next(sampler.generate(64, threads=1))  # whatever numpy starts for itself has started
    before = threads()
    samples = sampler.generate(10**12, seed=1, threads=3)
    assert [sample.index for sample in itertools.islice(samples, 300)] == list(range(300))
    samples.close()
    assert are_gone()
    stream = sampler.stream(length=10**9, threads=3)
    next(stream)
    stream.close()
    assert are_gone()


@PROC
def test_calls_give_their_memory_back():
    kernel = Compiled(Network(random_model("lstm", "dense", 2, 130, 300), "float32"))
    sampler = compiled_sampler(random_model("lstm", vocabulary=3, mode="lines"))
    ids, state = np.arange(60), kernel.zero_state(60)

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def calls(count):
        for _ in range(count):
            kernel.step(ids, state)
            kernel.read(ids[:1], tuple(part[:, :1] for part in state), threads=2)
            next(sampler.generate(1, seed=1))

    calls(20)
    before = resident()
    calls(150)
    assert resident() - before < 10 << 20  # a step's arrays are 0.3 MB: 150 of them would be 40


def test_a_call_lets_other_threads_of_python_run(monkeypatch):
    monkeypatch.setattr(compiled, "PAUSE_S", 100.0)  # one call for the whole prompt
    kernel = Compiled(Network(random_model(hidden=48), "float32"))
    turns, over = 0, threading.Event()

    def count():
        nonlocal turns
        while not over.wait(0.001):
            turns += 1

    other = threading.Thread(target=count)
    other.start()
    kernel.read(np.zeros(300_000, np.int32), kernel.zero_state(1))  # some tenths of a second
    seen = turns
    over.set()
    other.join()
    assert seen > 5  # a turn or two if the interpreter stood still


def keep_writing(how):
    """In a process of its own, until Ctrl-C."""
    sampler = compiled_sampler(
        random_model(hidden=64, mode="lines" if how == "lines" else "stream")
    )
    endless = {
        "lines": lambda: sampler.generate(10**9, length=10**9),
        "sample": lambda: sampler.generate(1, length=10**9),
        "threads": lambda: sampler.generate(10**9, length=10**9, threads=2),
        "stream": lambda: sampler.stream(length=10**9),
        "split stream": lambda: sampler.stream(length=10**9, threads=2),
        "prompt": lambda: [sampler.feed(np.zeros(50_000_000, np.int32))],
    }
    print("ready", flush=True)
    try:
        for _ in endless[how]():
            pass
    except KeyboardInterrupt:
        print("stopped", flush=True)


@pytest.mark.parametrize("how", ["lines", "threads", "split stream", "prompt"])
def test_ctrl_c_is_answered_at_once(how):
    code = f"import test_kernel; test_kernel.keep_writing({how!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT / "tests", env=child(), stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.2)  # it is in the kernel now
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == b"stopped\n"
            assert time.monotonic() - sent < 2  # a call takes 0.03 s; machines are busy
        finally:
            process.kill()


# The library


def child(**changes):
    """The environment of a process that finds the package and these tests."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "kernel")))
    return {
        **os.environ,
        "PYTHONPATH": paths,
        **{name: str(value) for name, value in changes.items()},
    }


def build(sources, target, *flags, compiler=COMPILER):
    command = [compiler, *flags, "-fPIC", "-shared", "-o", target, *sources, "-lm"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)


@pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
def test_where_there_is_a_compiler_there_is_a_kernel():
    assert library() is not None, "install charrnn again: pip install -e ."


@pytest.mark.skipif("CHARRNN_KERNEL" in os.environ, reason="CHARRNN_KERNEL names another library")
def test_the_kernel_is_not_older_than_its_source():
    newest = max(path.stat().st_mtime for path in KERNEL.glob("*.[ch]"))
    assert Path(library()._name).stat().st_mtime >= newest, (
        "install charrnn again: pip install -e ."
    )


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_kernel_is_c99_without_a_warning(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} on the PATH")
    done = build(
        SOURCES,
        tmp_path / "k.so",
        *FLAGS,
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        compiler=compiler,
    )
    assert done.returncode == 0, done.stderr


def test_the_kernel_is_built_without_fast_math():
    """-ffast-math breaks the rounding tricks, and linking with it changes arithmetic in the whole process."""
    assert "-std=c99" in FLAGS
    assert not {
        "-ffast-math",
        "-Ofast",
        "-funsafe-math-optimizations",
        "-fassociative-math",
        "-march=native",
    } & set(FLAGS)


def engine_with(**changes):
    code = "import test_kernel, charrnn.kernel.library as l; print(l.describe(), test_kernel.engine_of_a_sampler())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child(**changes),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def engine_of_a_sampler():
    sampler = Sampler(random_model())
    next(sampler.generate(length=3))
    return sampler.engine


@pytest.mark.parametrize("other", ["missing", "a text", "no functions", "another version", "off"])
def test_without_a_fitting_library_numpy_samples(other, tmp_path):
    path = tmp_path / "library.so"
    source = {
        "no functions": "int nothing;",
        "another version": "int charrnn_version(void) { return 1 << 20; }",
    }
    if other == "a text":
        path.write_text("not a library")
    elif other in source:
        if COMPILER is None:
            pytest.skip("no C compiler here")
        (tmp_path / "other.c").write_text(source[other])
        assert build([tmp_path / "other.c"], path).returncode == 0
    assert engine_with(CHARRNN_KERNEL="off" if other == "off" else path) == "numpy numpy"


def test_the_kernel_samples_where_it_is_there():
    assert engine_with() == f"{describe()} compiled"
    assert describe().startswith("compiled")


def test_asking_for_a_kernel_that_is_not_there_is_a_message(monkeypatch):
    monkeypatch.setattr("charrnn.sampling.choice.library", lambda: None)
    with pytest.raises(SettingsError, match="C compiler"):
        Sampler(random_model(), engine="compiled")


def test_the_version_names_the_engine(charrnn):
    assert describe() in charrnn("--version").stdout
    assert "numpy" in charrnn("--version", env={"CHARRNN_KERNEL": "off"}).stdout.rsplit(",", 1)[1]


# Sanitizers


def exact(self, count, dtype):
    """Instead of packed._Memory.take: what is read beyond an array is then seen."""
    return np.empty(count, dtype)


def use_the_kernel(count, seed):
    """Every cell, skip, level and call on `count` models of random sizes: run in a process with the sanitizers."""
    packed._Memory.take = exact
    generator = np.random.default_rng(seed)

    def pick(*choices):
        return choices[generator.integers(len(choices))]

    sizes = [(1, 1, 2), (4, 513, 257)]  # the smallest and the largest
    for number in range(count):
        layers, hidden, vocabulary = (
            sizes[number]
            if number < 2
            else (
                pick(1, 2, 3, 4),
                pick(1, 2, 7, 15, 16, 17, 31, 33, 48, 63, 65, 100, 129),
                pick(2, 3, 10, 17, 63, 65, 128, 257),
            )
        )
        model = random_model(
            CELLS[number % 4],
            pick(*SKIPS),
            layers,
            hidden,
            vocabulary,
            pick(1, 5, 16, hidden),
            seed=number,
            mode=pick("lines", "stream"),
            scale=pick(1.0, 1.0, 1e38),
        )
        sampler = compiled_sampler(model, pick("float32", "float16"), pick(*LEVELS))
        count_rows = pick(1, 2, 3, 5, 6, 7, 13)
        sampler.step(np.arange(count_rows) % vocabulary, sampler.zero_state(count_rows))
        sampler.feed(np.arange(pick(1, 5)) % vocabulary, threads=pick(1, 2, 3))
        decoding = pick(*DECODINGS)
        until = (
            "".join(map(chr, generator.integers(11, 10 + vocabulary, pick(1, 3))))
            if number % 3 == 0
            else ""
        )
        options = {
            "decoding": decoding,
            "length": pick(1, 2, 5, 140) if hidden < 100 else 3,
            "until": until,
        }
        list(sampler.generate(pick(1, 2, 7, 40), seed=number, threads=pick(1, 2, 3), **options))
        turn = sampler.begin(seed=number).write(**options, threads=pick(1, 2, 3))
        list(itertools.islice(turn, 1))
        turn.close()
    print("clean")


STRICT = (
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-g",
    "-O1",
    "-pthread",
    "-fno-sanitize-recover=all",
)
ADDRESSES = (*STRICT, "-fsanitize=address,undefined")
RACES = (*STRICT, "-fsanitize=thread")


def changed(pattern, replacement):
    """A change of a file for `sanitized`, wherever it fits."""

    def change(text):
        text, found = re.subn(pattern, replacement, text)
        assert found, "the file has changed: do this in another place"
        return text

    return change


# One allocation for each array of a call, instead of one for all: no array may run into the next.
SEPARATE = {
    "sampling.c": changed(
        r"(static void \*part\([^)]*\) \{\n)",
        r"\1    if (bytes >= 0) return malloc((size_t)bytes);\n",
    ),
    "training.c": changed(
        r"(static float \*take\([^)]*\) \{\n)",
        r"\1    if (n >= 0) return malloc((size_t)n * sizeof(float));\n",
    ),
}


def sanitized(folder, flags, code, change=str, of="sampling.c"):
    """What a process says that uses the kernel with gcc's sanitizers, one of its files changed."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc here")
    name = "libtsan.so" if "-fsanitize=thread" in flags else "libasan.so"
    runtime = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip(f"gcc has no {name} here")
    shutil.copytree(KERNEL, folder / "kernel")
    sources = sorted((folder / "kernel").glob("*.c"))
    for file, how in (*SEPARATE.items(), (of, change)):
        path = folder / "kernel" / file
        path.write_text(how(path.read_text()))
    done = build(sources, folder / "k.so", *flags, compiler="gcc")
    assert done.returncode == 0, done.stderr
    environment = child(
        CHARRNN_KERNEL=folder / "k.so",
        LD_PRELOAD=runtime,
        PYTHONMALLOC="malloc",
        OPENBLAS_NUM_THREADS=1,
        OMP_NUM_THREADS=1,
        UBSAN_OPTIONS="print_stacktrace=1",
        TSAN_OPTIONS="exitcode=99:halt_on_error=1",
        # new memory is full of NaN: what is read before it is written is seen in the results
        ASAN_OPTIONS="detect_leaks=0:exitcode=99:max_malloc_fill_size=1000000000:malloc_fill_byte=255",
    )
    code = f"import charrnn.kernel.library as l; assert l.library()._name == {str(folder / 'k.so')!r}; {code}"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_kernel_is_clean_under_the_sanitizers(tmp_path):
    done = sanitized(tmp_path, ADDRESSES, "import test_kernel as t; t.use_the_kernel(120, 1)")
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "clean\n"


# Each is one too many of something: what the sanitizers must see, or their silence says nothing.
ONE_TOO_MANY = {
    "weights": (
        "panels.inc.h",
        r"for \(int64_t k = 0; k < inputs;",
        "for (int64_t k = 0; k <= inputs;",
    ),
    "until": (
        "sampling.c",
        r"matched \+= job->until\[matched\] == id;",
        "matched += job->until[matched + 1] == id;",
    ),
    "rows": (
        "sampling.c",
        r"static void begin_sample\(const Model \*m, Job \*job, int64_t row\) \{",
        r"\g<0>\n    row++;",
    ),
    "call arrays": (
        "sampling.c",
        r"work->sums = part\(&at, n \* 8\);",
        "work->sums = part(&at, n * 8 - 8);",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_TOO_MANY)
def test_the_sanitizers_see_one_element_too_many(name, tmp_path):
    code = "import test_kernel as t; t.use_the_kernel(12, 1)"
    file, pattern, replacement = ONE_TOO_MANY[name]
    done = sanitized(tmp_path, ADDRESSES, code, changed(pattern, replacement), file)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]
    assert "AddressSanitizer" in done.stderr


def split_the_kernel():
    """Streams and prompts that several threads share, and samples on several threads."""
    for number, (cell, skip, vocabulary) in enumerate(itertools.product(CELLS, SKIPS, (10, 300))):
        sampler = compiled_sampler(random_model(cell, skip, 1 + number % 3, 65, vocabulary))
        sampler.feed(np.arange(20) % 9, threads=2 + number % 2)
        list(sampler.stream(length=60, threads=2 + number % 2))
        list(sampler.generate(40, length=10, threads=2))
    print("clean")


def races(folder, code, *change):
    done = sanitized(folder, RACES, code, *change)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not know this system's memory layout")
    return done


@pytest.mark.slow
def test_the_threads_of_a_row_do_not_race(tmp_path):
    done = races(tmp_path, "import test_kernel as t; t.split_the_kernel()")
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout == "clean\n"


@pytest.mark.slow
def test_the_sanitizer_sees_a_race(tmp_path):
    # Without the meeting between the update gate and the candidate, one thread reads what the other writes.
    unmet = changed(r"meet\(&work->place\);( /\* a candidate reads)", r"\1")
    done = races(tmp_path, "import test_kernel as t; t.split_the_kernel()", unmet, "step.inc.h")
    assert done.returncode == 99
    assert "data race" in done.stderr

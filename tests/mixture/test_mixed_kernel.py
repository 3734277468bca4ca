"""The compiled kernel mixes as numpy does, and stays within its arrays."""

import numpy as np
import pytest
from kernel_support import CELLS, LEVELS
from mixture_support import SIZE, mixed_model, text
from sanitizers import ADDRESSES, changed, sanitized
from support import needs_kernel

from charrnn.sampling import packed
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.sampling.mixed import Mixed
from charrnn.sampling.network import Network

pytestmark = needs_kernel


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_and_reading_are_numpys(cell, mode, order, level):
    model = mixed_model(mode, order, cell=cell, layers=2)
    network = Network(model)
    reference = Mixed(network, network.name, model.ally)
    kernel = Compiled(network, level, model.ally)
    expected, state, nats = reference.read(text(80), reference.zero_state(1))
    found, reached, cost = kernel.read(text(80), kernel.zero_state(1))
    assert found == pytest.approx(expected, abs=2e-5)
    assert cost == pytest.approx(nats, rel=1e-5)
    for part, other in zip(reached, state, strict=True):
        assert part == pytest.approx(other, abs=1e-5)
    rows = np.arange(SIZE)
    expected, state = reference.step(rows, reference.zero_state(SIZE))
    found, reached = kernel.step(rows, kernel.zero_state(SIZE))
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(reached[-1], state[-1])


@pytest.mark.parametrize("bias", [3e38, np.inf, np.nan, -np.inf])
def test_exploded_weights_are_numpys_too(bias):
    model = mixed_model()
    model.tensors["head.bias"][3] = bias
    network = Network(model)
    reference = Mixed(network, network.name, model.ally)
    kernel = Compiled(network, None, model.ally)
    expected, _ = reference.step(np.array([1, 2]), reference.zero_state(2))
    found, _ = kernel.step(np.array([1, 2]), kernel.zero_state(2))
    assert np.exp(found) == pytest.approx(np.exp(expected), abs=1e-6)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_samples_are_numpys(mode):
    model = mixed_model(mode, chars=2000)

    def samples(engine, threads, **which):
        sampler = Sampler(model, engine=engine, weights="float32")
        options = {"length": 30, "seed": 4, "decoding": Decoding(top_k=5), "until": "\x0c\x0e"}
        return [
            (sample.ids.tolist(), pytest.approx(sample.nats, rel=1e-4))
            for sample in sampler.generate(**which, threads=threads, **options)
        ]

    expected = samples("numpy", 1, count=90)
    assert samples("compiled", 1, count=90) == expected
    assert samples("compiled", 3, count=90) == expected
    assert samples("compiled", 1, count=2, first=50) == expected[50:52]


def test_a_stream_goes_on_where_it_was_left():
    sampler = Sampler(mixed_model(chars=2000), engine="compiled", weights="float32")
    whole = b"".join(sampler.stream(length=3000, seed=2))
    writer = sampler.begin(seed=2)
    pieces = [b"".join(writer.write(length)) for length in (1, 7, 992, 2000)]
    assert b"".join(pieces) == whole[-len(b"".join(pieces)) :]


def use_the_kernel(seed):
    """Every call on mixtures of random sizes: run in a process with the sanitizers."""
    packed._Memory.take = lambda self, count, dtype: np.empty(count, dtype)
    generator = np.random.default_rng(seed)
    for number in range(24):
        size = int(generator.choice([2, 3, 16, 17, 65]))
        mode = ("lines", "stream")[number % 2]
        order = 1 + number % 4
        model = mixed_model(mode, order, number, max(size, 3), 400, hidden=9)
        sampler = Sampler(model, engine="compiled", weights="float32")
        kernel = Compiled(Network(model), int(generator.choice(LEVELS)), model.ally)
        sampler._network = kernel
        sampler.step(np.arange(5) % 3, sampler.zero_state(5))
        sampler.feed(np.arange(9) % 3, threads=1 + number % 3)
        list(sampler.generate(1 + number, length=20, seed=number, threads=1 + number % 3))
        writer = sampler.begin(seed=number)
        list(writer.write(30))
    print("clean")


CODE = "import sys; sys.path.insert(0, 'tests/mixture'); import test_mixed_kernel as t; "


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mixtures_are_clean_under_the_sanitizers(tmp_path):
    done = sanitized(tmp_path, ADDRESSES, CODE + "t.use_the_kernel(1)")
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "clean\n"


ONE_TOO_MANY = {
    "children": ("mixing.inc.h", r"child < at\[1\]\.first;", "child <= at[1].first;"),
    "nodes": ("following.h", r"return low \+ 1;", "return low + 2;"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_TOO_MANY)
def test_the_sanitizers_see_one_too_many(name, tmp_path):
    file, pattern, replacement = ONE_TOO_MANY[name]
    change = changed(pattern, replacement)
    done = sanitized(tmp_path, ADDRESSES, CODE + "t.use_the_kernel(1)", change, file)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]

"""The compiled sampler: its draws are those of numpy, however the work is cut up."""

import dataclasses
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kernel_support import (
    CELLS,
    LEVELS,
    PROC,
    ROOT,
    bias_model,
    child,
    compiled_sampler,
    everything,
    random_model,
)
from support import needs_kernel

from charrnn.sampling import compiled, rows
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding, distribution, draw, uniforms
from charrnn.sampling.network import Network

pytestmark = needs_kernel


# Multiples of 1/8, so that scores tie and sums of weights differ by more than rounding; and what
# exploded weights give.
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
    """Lines of 20,000 beside lines of one: what a row has written and what has ended must both
    grow.
    """
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
    code = f"import test_kernel_texts; test_kernel_texts.keep_writing({how!r})"
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

"""The compiled sampler is clean under the sanitizers, and they see what is planted."""

import itertools

import numpy as np
import pytest
from kernel_support import CELLS, DECODINGS, LEVELS, SKIPS, compiled_sampler, random_model
from sanitizers import ADDRESSES, changed, races, sanitized
from support import needs_kernel

from charrnn.sampling import packed

pytestmark = needs_kernel


# Sanitizers


def exact(self, count, dtype):
    """Instead of packed._Memory.take: what is read beyond an array is then seen."""
    return np.empty(count, dtype)


def use_the_kernel(count, seed):
    """Every cell, skip, level and call on `count` models of random sizes: run in a process with the
    sanitizers.
    """
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


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_kernel_is_clean_under_the_sanitizers(tmp_path):
    done = sanitized(
        tmp_path, ADDRESSES, "import test_kernel_sanitizers as t; t.use_the_kernel(120, 1)"
    )
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
    code = "import test_kernel_sanitizers as t; t.use_the_kernel(12, 1)"
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


@pytest.mark.slow
def test_the_threads_of_a_row_do_not_race(tmp_path):
    done = races(tmp_path, "import test_kernel_sanitizers as t; t.split_the_kernel()")
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout == "clean\n"


@pytest.mark.slow
def test_the_sanitizer_sees_a_race(tmp_path):
    # Without the meeting between the update gate and the candidate, one thread reads what the other
    # writes.
    unmet = changed(r"meet\(&work->place\);( /\* a candidate reads)", r"\1")
    done = races(
        tmp_path, "import test_kernel_sanitizers as t; t.split_the_kernel()", unmet, "step.inc.h"
    )
    assert done.returncode == 99
    assert "data race" in done.stderr

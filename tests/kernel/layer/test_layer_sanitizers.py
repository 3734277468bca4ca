"""The compiled layer is clean under the sanitizers, and they see what is planted."""

import itertools

import numpy as np
import pytest
import torch
from layer_support import (
    GATES,
    all_levels,
    at_level,
    compiled,
    everything,
    linear_and_gradients,
    nats_and_gradients,
    readings,
    some_head,
    some_layer,
    some_targets,
    use_own_threads,
)
from sanitizers import ADDRESSES, changed, races, sanitized
from support import needs_kernel

from charrnn.model import kernel, kernel_scores

pytestmark = needs_kernel


# Sanitizers


def use_the_layers(count, seed):
    """Layers and heads of random sizes at every level, forward and backward: run in a process with
    the sanitizers.

    torch's memory comes from the allocator that they watch, in exact sizes; new memory is full of
    NaN.
    """
    torch.set_num_threads(1)
    use_own_threads()  # of libgomp's the sanitizers know nothing
    generator = np.random.default_rng(seed)

    def pick(*choices):
        return choices[generator.integers(len(choices))]

    levels = all_levels()
    for number in range(count):
        level = levels[number % len(levels)]
        kernel.library = lambda level=level: at_level(level)
        cell, hidden, batch = (
            list(GATES)[number // len(levels) % 4],
            pick(1, 15, 16, 17, 33, 48, 65),
            pick(1, 2, 5, 7, 13, 50, 270),
        )
        threads = pick(1, 2, 3, 7, 70)
        kernel.threads_for = lambda work, rows, threads=threads: min(threads, rows)
        layer = some_layer(
            cell,
            hidden,
            batch,
            pick(1, 2, 3, 9),
            pick(1, 5, 16, 33, 270),
            ids=bool(pick(0, 1)),
            vocabulary=pick(1, 2, 65, 129),
            seed=number,
        )
        with torch.no_grad():
            quiet, _ = compiled(layer)
        layer.x.requires_grad_(bool(number % 5))
        outputs, last = compiled(layer)
        assert torch.equal(outputs, quiet)
        wanted = [part for part in layer.tensors if part.requires_grad]
        found = [outputs, *last, *torch.autograd.grad(readings(outputs, last), wanted)]
        rows, columns = pick(1, 7, 50, 130), pick(1, 2, 33, 64, 129)
        leaves, d_out = some_head(rows, pick(1, 65, 257), outputs=columns)
        targets = some_targets(leaves[0], columns)
        found += [*linear_and_gradients(*leaves, d_out), *nats_and_gradients(*leaves, targets)]
        with torch.no_grad():
            found.append(kernel_scores.summed_nats(*leaves, targets))
        assert all(part.isfinite().all() for part in found), "what nobody had written was read"
    print("clean")


LAYERS = "import test_layer_sanitizers as t; t.use_the_layers({}, 1)"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_layers_are_clean_under_the_sanitizers(tmp_path):
    done = sanitized(tmp_path, ADDRESSES, LAYERS.format(120))
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "clean\n"


# Each is one too many of something: what the sanitizers must see, or their silence says nothing.
ONE_TOO_MANY = {
    "inputs of a tile": (
        "products.inc.h",
        r"k < operands; k\+\+, from \+= a.inner",
        "k <= operands; k++, from += a.inner",
    ),
    "columns of a panel": (
        "packing.inc.h",
        r"smaller_of\(PANEL, columns - column\)",
        "smaller_of(PANEL, columns - column + 1)",
    ),
    "characters": ("training.c", r"take\(&at, table\)", "take(&at, table - 1)"),
    "targets": ("scores.inc.h", r"q->targets\[i\];", "q->targets[i + 1];"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_TOO_MANY)
def test_the_sanitizers_see_one_too_many_in_a_layer(name, tmp_path):
    file, pattern, replacement = ONE_TOO_MANY[name]
    done = sanitized(tmp_path, ADDRESSES, LAYERS.format(36), changed(pattern, replacement), file)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]
    assert "AddressSanitizer" in done.stderr


def split_the_layers():
    """Layers and heads that several threads share.

    100: more than a team has, so that each has more to do.
    """
    torch.set_num_threads(1)
    use_own_threads()  # of libgomp's the sanitizers know nothing
    highest = all_levels()[-2:]
    cases = itertools.product(GATES, (False, True), (2, 3, 100), highest)
    for number, (cell, ids, threads, level) in enumerate(cases):
        kernel.library = lambda level=level: at_level(level)
        kernel.threads_for = lambda work, rows, threads=threads: min(threads, rows)
        for batch in (5, 70 if threads < 100 else 270):
            layer = some_layer(cell, 33, batch, 4, ids=ids, seed=number)
            with torch.no_grad():
                compiled(layer)
            everything(compiled, layer)
        leaves, d_out = some_head(70, 300, outputs=33)
        linear_and_gradients(*leaves, d_out)
        nats_and_gradients(*leaves, some_targets(leaves[0], 33))
    print("clean")


SPLIT = "import test_layer_sanitizers as t; t.split_the_layers()"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_threads_of_a_layer_do_not_race(tmp_path):
    done = races(tmp_path, SPLIT)
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout == "clean\n"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_threads_of_a_layer_do_not_race_where_the_system_gives_fewer_than_asked(tmp_path):
    refused = changed(r"pthread_create\(&team\[i\]", r"i == 2 || \g<0>")
    done = races(tmp_path, SPLIT, refused, "team.h")
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout == "clean\n"


RACES = {
    "rows of two threads": (
        "team.h",
        r"\.stop = n \* \(number \+ 1\) / threads",
        r"\g<0> + (number + 1 < threads)",
    ),
    "weights not packed yet": (
        "recurrence.inc.h",
        r"meet\(&work->place\);(\s+if \(s->ids\) \{)",
        r"\1",
    ),
    "a product's block not used yet": (
        "products.inc.h",
        r"meet\(&work->place\);( /\* all have read)",
        r"\1",
    ),
    "gradients of other rows": (
        "gradients.inc.h",
        r"meet\(&work->place\);(\s+/\* 3. From here on)",
        r"\1",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RACES)
def test_the_sanitizer_sees_a_race_in_a_layer(name, tmp_path):
    file, pattern, replacement = RACES[name]
    done = races(tmp_path, SPLIT, changed(pattern, replacement), file)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]
    assert "data race" in done.stderr

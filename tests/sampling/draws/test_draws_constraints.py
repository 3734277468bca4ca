"""Constraints reject texts and never steer them: chi-square given that a text passes.

Through the command, with the engine that CHARRNN_KERNEL chooses. As many texts are asked for as
pass of so many draws.
"""

import itertools
import math
import re

import pytest
from draws_reference import given, opened, texts_of
from draws_support import FEW, MANY, assert_drawn

import charrnn
from charrnn.sampling.constraints import Constraints, Tally, accepted

LENGTH = 3
# The option, more arguments, what passes. Lengths are counted with the prompt.
KEPT = {
    "--matching": (["--matching", "a.|^d"], {}, lambda text: re.search("a.|^d", text)),
    "--min-length": (["--min-length", "2"], {}, lambda text: len(text) >= 2),
    "--max-length": (["--max-length", "2"], {}, lambda text: len(text) <= 2),
    "both lengths, --prime": (
        ["--min-length", "3", "--max-length", "4", "--prime", "ba"],
        {"prime": "ba"},
        lambda text: 3 <= len(text) <= 4,
    ),
}
COUNTED = ("counted lines", "both lengths, --prime")


def check(run_of, command, engine, draws, model, option):
    run = run_of(model)
    arguments, how, is_kept = KEPT[option]
    how = {"length": LENGTH, **how}
    reference = opened(run / "model.safetensors", is_half=model.endswith("stream"))
    share, expected = given(texts_of(reference, **how), is_kept)
    kept = round(draws * share)
    fixed = ["--temp", 1, "--seed", 3, "--length", LENGTH, "-n", kept]
    texts = command(run, *fixed, *arguments)
    assert len(texts) == kept
    assert_drawn(f"{model}: {option}", engine, texts, expected)


@pytest.mark.parametrize("option", ["--matching", "both lengths, --prime"])
def test_what_is_kept_follows_the_model_given_that_it_passes(run_of, command, engine, option):
    check(run_of, command, engine, FEW, "lines", option)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "option"),
    [*(("lines", option) for option in KEPT), ("byte lines", "--matching"), COUNTED],
)
def test_a_million_kept_texts_follow_the_model(run_of, command, engine, model, option):
    if model.startswith("counted") and engine == "compiled":
        pytest.skip("counting models are sampled by numpy alone")
    check(run_of, command, engine, MANY, model, option)


@pytest.mark.slow
def test_a_million_kept_streams_follow_the_model(run_of, command, engine):
    check(run_of, command, engine, MANY, "stream", "--matching")


@pytest.mark.slow
def test_a_million_streams_with_an_end_are_kept_by_length(run_of, command, engine):
    run = run_of("stream")
    reference = opened(run / "model.safetensors", is_half=True)
    probabilities = texts_of(reference, length=5, until="b")
    share, expected = given(probabilities, lambda text: 2 <= len(text) <= 3)
    texts = command(
        *(run, "--temp", 1, "--seed", 3, "-n", round(MANY * share)),
        *("--until", "b", "--length", 5, "--max-length", 3, "--min-length", 2),
    )
    assert_drawn("stream: --max-length, --until", engine, texts, expected)


# --novel


def check_novel(run_of, command, engine, draws, model):
    run = run_of(model)
    known = (run.parent / "text.txt").read_text()
    if model.endswith("lines"):
        known_lines = set(known.splitlines())
        how = {"length": LENGTH}

        def is_new(text):
            return text != "" and text not in known_lines  # an empty text is not new
    else:
        how = {"length": LENGTH}

        def is_new(text):
            return text not in known

    reference = opened(run / "model.safetensors", is_half=model.endswith("stream"))
    share, expected = given(texts_of(reference, **how), is_new)
    kept = round(draws * share)
    assert 0.05 < share < 0.95
    fixed = ["--temp", 1, "--seed", 4, "--length", LENGTH, "-n", kept]
    texts = command(run, "--novel", *fixed)
    assert len(texts) == kept
    assert_drawn(f"{model}: --novel", engine, texts, expected)


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
def test_new_texts_follow_the_model_given_that_they_are_new(run_of, command, engine):
    check_novel(run_of, command, engine, FEW, "lines")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lines", "stream"])
def test_a_million_new_texts_follow_the_model(run_of, command, engine, model):
    check_novel(run_of, command, engine, MANY, model)


# --unique


def check_unique(run_of, engine, draws):
    """Pairs of different texts, drawn without replacement: P(a) P(b) / (1 - P(a))."""
    run = run_of("lines")
    how = {"length": 2}
    single = texts_of(opened(run / "model.safetensors"), **how)
    expected = {
        (a, b): p * q / (1 - p) for (a, p), (b, q) in itertools.permutations(single.items(), 2)
    }
    samples = charrnn.load(run, engine=engine).generate(draws, seed=5, **how)
    pairs = []
    for _ in range(draws // 4):

        def draw(first, count):
            return itertools.islice(samples, count)

        pair = list(accepted(draw, Tally(2), 1000, Constraints(unique=True)))
        if len(pair) == 2:
            pairs.append((pair[0].text, pair[1].text))
    assert len(pairs) > draws // 5
    assert_drawn("lines: --unique, pairs", engine, pairs, expected)


def test_different_texts_are_drawn_without_replacement(run_of, engine):
    check_unique(run_of, engine, FEW)


@pytest.mark.slow
def test_different_texts_of_many_are_drawn_without_replacement(run_of, engine):
    check_unique(run_of, engine, 4 * MANY)


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
def test_unique_texts_are_the_first_of_each_kind(run_of, command):
    how = ["--temp", 1, "--seed", 6, "--length", LENGTH]
    every = command(run_of("lines"), *how, "-n", 3000)
    unique = command(run_of("lines"), *how, "-n", 40, "--unique")
    assert unique == list(dict.fromkeys(every))[:40]


# --rank


def check_rank(run_of, command, engine, draws):
    """The order is by the model's own bits per character, and no text is lost or made."""
    run = run_of("lines")
    reference = opened(run / "model.safetensors")
    how = ["--temp", 1.5, "--seed", 7, "--length", LENGTH, "-n", draws]
    texts = command(run, *how, "--rank")
    expected = texts_of(reference, decoding={"temperature": 1.5}, length=LENGTH)
    assert_drawn("lines: --rank", engine, texts, expected)
    plain = texts_of(reference, length=LENGTH)
    bits = [-math.log2(plain[text]) / min(LENGTH, len(text) + 1) for text in texts]
    assert all(a <= b + 1e-5 for a, b in itertools.pairwise(bits))  # float32 logits
    assert sorted(texts) == sorted(command(run, *how))


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
def test_ranked_texts_are_those_drawn_the_likeliest_first(run_of, command, engine):
    check_rank(run_of, command, engine, FEW)


@pytest.mark.slow
def test_a_million_ranked_texts_are_those_drawn(run_of, command, engine):
    check_rank(run_of, command, engine, MANY)

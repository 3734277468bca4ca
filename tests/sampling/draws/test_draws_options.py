"""Every option that changes how a character is drawn: chi-square of whole texts.

Texts have at most three generated characters, so that each has an exact probability. A table of
all tests: `pytest -m "" -s tests/sampling/draws`.
"""

import itertools
from collections import Counter

import pytest
from draws_reference import MAPS, opened, texts_of
from draws_support import FEW, LEAST_P, MANY, assert_drawn, chi_square

import charrnn

LENGTH = 3
NETWORKS = ("lines", "stream", "byte lines", "byte stream")
COUNTED = ("counted lines", "counted stream", "counted bytes")
ALL = {
    "temperature": 0.7,
    "top_k": 4,
    "top_p": 0.9,
    "min_p": 0.05,
    "repetition_penalty": 1.3,
}
# What `charrnn sample` calls --temp and so on
DECODINGS = {
    "nothing": {},
    "--temp 0.8": {"temperature": 0.8},
    "--temp 2.5": {"temperature": 2.5},
    "--top-k 3": {"top_k": 3},
    "--top-p 0.7": {"top_p": 0.7},
    "--min-p 0.3": {"min_p": 0.3},
    "--repetition-penalty 1.8": {"repetition_penalty": 1.8},
    "--repetition-penalty 0.6": {"repetition_penalty": 0.6},
    "all of these": ALL,
}
# More of what a text is: arguments of generate, and of load
TEXTS = {
    "--prime ab": {"prime": "ab"},
    "--until b": {"until": "b"},
    "--until ba, --prime ab": {"until": "ba", "prime": "ab"},
    "--length 1": {"length": 1},
}
WEIGHTS = {"--weights float16": {"weights": "float16"}, "--weights float32": {"weights": "float32"}}
# A cache leaves little to chance: milder filters, so that there is more than one text.
MILD = {"temperature": 2.5, "top_p": 0.98, "min_p": 0.01}
CACHES = {
    # What followed the same place before has just left the cache.
    "--cache 2": ({}, {"cache": 2, "prime": "abdabdab"}),
    "--cache 50": ({}, {"cache": 50, "prime": "abdabdab"}),
    "--cache 4 and all of these": (ALL | MILD, {"cache": 4, "prime": "abdabdab"}),
}


def cases(is_fast):
    """Return the tests as (model, option, decoding, how).

    Each option has one network, or two, and a counting model; which ones goes round. A fast run
    has counting models for some options alone.
    """
    table = []
    options = [(option, decoding, {}) for option, decoding in DECODINGS.items()]
    options += [(option, {}, how) for option, how in TEXTS.items()]
    for number, option in enumerate(options):
        models = [NETWORKS[number % 4]]
        if not is_fast:
            models.append(NETWORKS[(number + 1) % 4])
        if not is_fast or number % 4 == 0:
            models.append(COUNTED[number % 3])
        table += [(model, *option) for model in models]
    for option, how in WEIGHTS.items():
        table += [(model, option, {}, how) for model in ("lines", "stream")]
    for option, (decoding, how) in CACHES.items():
        table.append(("stream", option, decoding, how))
    table.append(("byte stream", "--cache 2", {}, {"cache": 2, "prime": "aabaabaa"}))
    return [pytest.param(*case, id=f"{case[0]}: {case[1]}") for case in table]


def check(run_of, engine, draws, model, option, decoding, how):
    """Compare the draws of the public sampler with the exact probabilities."""
    if model.startswith("counted") and engine == "compiled":
        pytest.skip("counting models are sampled by numpy alone")
    how = dict(how)
    run = run_of(model)
    weights = how.pop("weights", "auto")
    cache = how.pop("cache", 0)
    how.setdefault("length", LENGTH)
    is_half = weights == "float16" or (weights == "auto" and model.endswith("stream"))
    reference = opened(run / "model.safetensors", is_half=is_half, cache=cache)
    sampler = charrnn.load(run, weights=weights, cache=cache, engine=engine_of(model, engine))
    chosen = charrnn.Decoding(**decoding)
    samples = sampler.generate(draws, decoding=chosen, seed=1, **how)
    expected = texts_of(reference, decoding=decoding, **how)
    assert_drawn(f"{model}: {option}", engine, (sample.text for sample in samples), expected)


def engine_of(model, engine):
    return "auto" if model.startswith("counted") else engine


@pytest.mark.parametrize(("model", "option", "decoding", "how"), cases(is_fast=True))
def test_texts_follow_the_definition(run_of, engine, model, option, decoding, how):
    check(run_of, engine, FEW, model, option, decoding, how)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "option", "decoding", "how"), cases(is_fast=False))
def test_a_million_texts_follow_the_definition(run_of, engine, model, option, decoding, how):
    check(run_of, engine, MANY, model, option, decoding, how)


# --seed


def check_seeds(run_of, engine, draws):
    """Each of 20 seeds gives a part of the draws; no seed repeats those of another."""
    run = run_of("lines")
    sampler = charrnn.load(run, engine=engine)
    seeds = [*range(10), 999_999, *(2**k - 1 for k in (31, 32, 33, 52, 53, 54, 61, 62, 63)), 2**40]
    parts = []
    for seed in seeds:
        samples = sampler.generate(draws // len(seeds), seed=seed, length=1)
        parts.append([sample.text for sample in samples])
    expected = texts_of(opened(run / "model.safetensors"), length=1)
    assert_drawn("--seed, 20 of them", engine, itertools.chain(*parts), expected)

    # Two characters that stand side by side, in one seed or in two, are independent.
    pairs = {(a, b): p * q for a, p in expected.items() for b, q in expected.items()}
    after = itertools.chain(*(zip(part[::2], part[1::2], strict=False) for part in parts))
    assert_drawn("one sample and the next", engine, after, pairs)
    twins = zip(parts[::2], parts[1::2], strict=False)
    beside = itertools.chain(*(zip(*pair, strict=True) for pair in twins))
    assert_drawn("one seed and the next", engine, beside, pairs)


def test_seeds_are_independent(run_of, engine):
    check_seeds(run_of, engine, FEW)


@pytest.mark.slow
def test_seeds_are_independent_in_a_million_draws(run_of, engine):
    check_seeds(run_of, engine, MANY)


# The order: temperature, top-k, top-p, min-p

# Found by search: every other order is far off in one of the two.
ORDERED = (
    {"temperature": 3.0, "top_k": 4, "top_p": 0.6, "min_p": 0.3},
    {"temperature": 0.4, "top_k": 4, "top_p": 0.9, "min_p": 0.1},
    {"temperature": 1.5, "top_k": 4, "top_p": 0.5, "min_p": 0.7},
    {"temperature": 0.7, "top_k": 3, "top_p": 0.7, "min_p": 0.6},
)


def check_order(run_of, engine, draws):
    """Of 24 orders the documented one fits, and the one that is the same mathematically."""
    run = run_of("lines")
    reference = opened(run / "model.safetensors")
    sampler = charrnn.load(run, engine=engine)
    fitting = set(itertools.permutations(MAPS))
    for decoding in ORDERED:
        chosen = charrnn.Decoding(**decoding)
        samples = sampler.generate(draws, decoding=chosen, seed=2, length=LENGTH)
        counts = Counter(sample.text for sample in samples)
        for order in set(fitting):
            expected = texts_of(reference, decoding=decoding, length=LENGTH, order=order)
            is_possible = set(counts) <= set(expected)
            if not is_possible or chi_square(counts.elements(), expected)[3] <= LEAST_P:
                fitting.remove(order)
    documented = ("temperature", "top_k", "top_p", "min_p")
    same = ("top_k", "temperature", "top_p", "min_p")  # a power keeps the order by likelihood
    assert fitting == {documented, same}


def test_filters_apply_in_the_documented_order(run_of, engine):
    check_order(run_of, engine, FEW)


@pytest.mark.slow
def test_filters_apply_in_the_documented_order_in_a_million_draws(run_of, engine):
    check_order(run_of, engine, MANY)

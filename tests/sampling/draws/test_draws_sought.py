"""Texts that are sought follow the model given that they fit: chi-square with exact probabilities.

Every text is sought here, from the first on; the command draws first, and seeks where few fit.
"""

import functools
import itertools
import re

import pytest
from draws_reference import given, opened, texts_of
from draws_support import FEW, MANY, assert_drawn

import charrnn
from charrnn.sampling import prefixes
from charrnn.sampling.constraints import Constraints
from charrnn.sampling.decode import Decoding
from charrnn.sampling.seeking import guided, search, seeker
from charrnn.sampling.steered import Steering

LENGTH = 4
# The model, its constraints, arguments of `generate`, options of decoding
CASES = {
    "lines": ("lines", {"matching": "^a.*[cd]$"}, {}, {}),
    "filled": ("lines", {"fill": "d_a_"}, {}, {}),
    "lengths, prime": (
        "lines",
        {"matching": "c", "min_length": 4, "max_length": 5},
        {"prime": "ba"},
        {"temperature": 0.7},
    ),
    "decoding": ("lines", {"matching": "b$"}, {}, {"top_k": 3, "repetition_penalty": 1.7}),
    "until": ("stream", {"matching": "^[a-c]+b"}, {"until": "ab"}, {}),
    "stream": ("stream", {"matching": "^b.*a"}, {}, {}),
    "counted": ("counted lines", {"matching": "d.*a"}, {}, {}),
}


def sought(run, engine, constraints, count, *, seed=3, ahead=False, decoding=None, **how):
    """Return texts that are sought, and what was cut off."""
    sampler = opened_sampler(run, engine)
    how = {"decoding": Decoding(**(decoding or {})), "length": LENGTH, "seed": seed, **how}
    plan, guide = guided(sampler, constraints, **how)
    ids = [sampler.start, *plan.prime]
    steering = Steering(sampler._network, guide, sampler.feed(ids)[:2], 0)
    found = (one for one in steering.texts(looks_ahead=ahead) if not isinstance(one, int))
    samples = [
        sample
        for one in itertools.islice(found, count)
        for sample in sampler._codec.samples_of(plan.prime, one)
    ]
    return samples, steering.report.deviation


@functools.cache
def opened_sampler(run, engine):
    return charrnn.load(run, engine="auto" if engine == "compiled" else engine)


def expected_of(run, model, constraints, decoding, how):
    reference = opened(run / "model.safetensors", is_half=model.endswith("stream"))

    def fits(text):
        longest = constraints.max_length or 99
        is_long = constraints.min_length <= len(text) <= longest
        return is_long and all(re.search(one, text) for one in constraints.patterns)

    return given(texts_of(reference, length=LENGTH, decoding=decoding, **how), fits)


def check(run_of, engine, name, draws, *, ahead):
    model, asked, how, decoding = CASES[name]
    if model.startswith("counted") and engine == "compiled":
        pytest.skip("counting models are sampled by numpy alone")
    constraints = Constraints(**asked)
    run = run_of(model)
    share, expected = expected_of(run, model, constraints, decoding, how)
    assert share < 0.3
    samples, deviation = sought(
        run, engine, constraints, draws, ahead=ahead, decoding=decoding, **how
    )
    assert deviation < (0.002 if ahead else 1e-9)
    assert_drawn(f"sought: {name}", engine, [one.text for one in samples], expected)


@pytest.mark.parametrize("name", ["lines", "decoding"])
def test_texts_that_are_sought_follow_the_model_given_that_they_fit(run_of, engine, name):
    check(run_of, engine, name, FEW, ahead=False)


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
@pytest.mark.parametrize("name", ["filled", "lengths, prime", "until", "stream", "counted"])
def test_every_kind_of_text_that_is_sought_follows_the_model(run_of, engine, name):
    check(run_of, engine, name, FEW // 4, ahead=False)


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
@pytest.mark.parametrize("name", ["lines", "decoding"])
def test_texts_that_are_sought_ahead_follow_the_model_too(run_of, engine, name):
    check(run_of, engine, name, FEW, ahead=True)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_tree_that_remembers_nothing_finds_the_same_texts(run_of, ahead, monkeypatch):
    """A small model's tree soon knows all there is, and then keeps every walk."""
    monkeypatch.setattr(prefixes, "MOST_BYTES", 0)
    check(run_of, "numpy", "lines", FEW // 4, ahead=ahead)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", list(CASES))
def test_very_many_texts_that_are_sought_follow_the_model(run_of, engine, name, ahead):
    check(run_of, engine, name, MANY // 10, ahead=ahead)


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
def test_the_very_first_text_that_is_sought_follows_the_model(run_of, engine):
    """However few walks there were: one text of each of many seeds."""
    run = run_of("lines")
    constraints = Constraints(matching="^b.*a.$")
    _, expected = expected_of(run, "lines", constraints, {}, {})
    texts = [sought(run, engine, constraints, 1, seed=seed)[0][0].text for seed in range(100)]
    assert_drawn("sought: the first", engine, texts, expected)


@pytest.mark.parametrize("name", ["lines", "lengths, prime", "until"])
def test_nats_of_a_text_that_was_sought_are_the_models_own(run_of, engine, name):
    model, asked, how, decoding = CASES[name]
    run = run_of(model)
    samples, _ = sought(run, engine, Constraints(**asked), 20, decoding=decoding, **how)
    sampler = charrnn.load(run, engine="numpy")
    for sample in samples:
        ids = [sampler.start, *sampler._codec.ids_of_prompt(how.get("prime", ""), "error")]
        before = sampler.feed(ids)[2]
        assert sample.nats == pytest.approx(sampler.feed([*ids, *sample.ids])[2] - before, abs=1e-3)


def test_equal_seeds_find_equal_texts_however_many_are_asked_for(run_of, engine):
    how = {"decoding": Decoding(), "length": LENGTH, "seed": 5}
    sampler = charrnn.load(run_of("lines"), engine=engine)
    constraints = Constraints(matching="^a.*d$")
    many, few = (
        [one.text for one in itertools.islice(_samples(sampler, constraints, how), count)]
        for count in (300, 40)
    )
    assert many[:40] == few


def _samples(sampler, constraints, how):
    found = seeker(sampler, constraints, **how)(7)
    return (one for one in found if not isinstance(one, int))


# --likeliest


@pytest.mark.parametrize("name", ["lines", "filled", "lengths, prime", "until", "counted"])
def test_the_likeliest_texts_are_those_of_all_texts(run_of, engine, name):
    model, asked, how, _ = CASES[name]
    if model.startswith("counted") and engine == "compiled":
        pytest.skip("counting models are sampled by numpy alone")
    run = run_of(model)
    constraints = Constraints(**asked)
    share, expected = expected_of(run, model, constraints, {}, how)
    ranked = sorted(expected.items(), key=lambda item: -item[1])[:15]
    sampler = charrnn.load(run, engine=engine)
    call = {"decoding": Decoding(), "length": LENGTH, "seed": 0, **how}
    _, samples, _ = search(sampler, constraints, len(ranked), **call)
    found = list(itertools.islice(samples, len(ranked)))
    probabilities = [2.718281828459045**-sample.nats for sample in found]
    assert probabilities == pytest.approx([share * p for _, p in ranked], rel=1e-3)
    assert len({sample.text for sample in found}) == len(ranked)

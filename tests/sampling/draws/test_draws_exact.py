"""Options whose texts are known exactly: greedy ones, and other ways to say the same."""

import math

import pytest
from draws_reference import opened, texts_of
from draws_support import MODELS

import charrnn

GREEDY = {"temperature": 0}


@pytest.mark.parametrize("model", MODELS)
def test_temperature_0_writes_the_likeliest_character_each_time(run_of, engine, model):
    if model.startswith("counted"):
        engine = "auto"
    run = run_of(model)
    reference = opened(run / "model.safetensors", is_half=model.endswith("stream"))
    sampler = charrnn.load(run, engine=engine)
    decoding = charrnn.Decoding(temperature=0)
    for length in (3, 40):
        expected = texts_of(reference, decoding=GREEDY, length=length)
        texts = [one.text for one in sampler.generate(3, decoding=decoding, length=length)]
        assert texts == list(expected) * 3


def test_top_k_1_is_temperature_0(run_of, engine):
    run = run_of("stream")
    reference = opened(run / "model.safetensors", is_half=True)
    expected = texts_of(reference, decoding=GREEDY, length=30)
    sampler = charrnn.load(run, engine=engine)
    for decoding in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-9}):
        samples = sampler.generate(20, decoding=charrnn.Decoding(**decoding), length=30, seed=1)
        assert {sample.text for sample in samples} == set(expected)


@pytest.mark.parametrize("weights", ["float16", "float32"])
@pytest.mark.parametrize("model", ["lines", "stream"])
def test_nats_tell_one_kind_of_weights_from_the_other(run_of, engine, model, weights):
    """Half precision moves a logit by a thousandth: too little for a million draws to show."""
    run = run_of(model)
    sampler = charrnn.load(run, engine=engine, weights=weights)
    samples = list(sampler.generate(200, length=3, seed=1, decoding=charrnn.Decoding(1.5)))
    errors = {}
    for is_half in (False, True):
        reference = opened(run / "model.safetensors", is_half=is_half)
        probabilities = texts_of(reference, length=3)
        errors[is_half] = max(abs(one.nats + math.log(probabilities[one.text])) for one in samples)
    assert errors[weights == "float16"] < 1e-5 < 1e-4 < errors[weights == "float32"]


def test_the_command_draws_what_the_library_draws(run_of, command, engine):
    """Each flag reaches its argument."""
    run = run_of("stream")
    flags = {
        "--temp": 0.7,
        "--top-k": 4,
        "--top-p": 0.9,
        "--min-p": 0.05,
        "--repetition-penalty": 1.3,
        "--prime": "abdabd",
        "--until": "aa",
        "--length": 30,
        "--cache": 4,
        "--weights": "float32",
        "--threads": 2,
        "--seed": 5,
        "--count": 50,
    }
    texts = command(run, *(word for flag in flags.items() for word in flag))
    samples = charrnn.load(run, engine=engine, weights="float32", cache=4).generate(
        50,
        decoding=charrnn.Decoding(0.7, 4, 0.9, 0.05, 1.3),
        prime="abdabd",
        until="aa",
        length=30,
        seed=5,
        threads=1,
    )
    assert texts == [sample.text for sample in samples]
    assert len(set(texts)) > 25 and len(set(map(len, texts))) > 3


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
def test_other_ways_to_give_a_prompt_give_the_same_texts(run_of, command, tmp_path):
    run = run_of("stream")
    how = ["--seed", 5, "--length", 20, "-n", 5]
    expected = command(run, *how, "--prime", "abd")
    (tmp_path / "start.txt").write_text("abd")
    assert command(run, *how, "--prime-file", "start.txt") == expected
    assert command(run, *how, "--starts-with", "aXbYd", "--unknown", "skip") == expected
    assert command(run, "--seed", 6, *how[2:], "--prime", "abd") != expected

"""Samples of many prompts are those of each prompt alone, whichever engine writes them."""

import dataclasses

import numpy as np
import pytest
from kernel_support import random_model
from support import needs_kernel

import charrnn
from charrnn.errors import SettingsError
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.sampling.prompts import samples_of
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES, Ally

ENGINES = ("numpy", pytest.param("compiled", marks=needs_kernel))
SIZE = 10


def with_counting(model):
    ids = np.random.default_rng(1).integers(0, SIZE, 200)
    ngram = count(ids, SIZE, 3, None)
    return dataclasses.replace(model, ally=Ally(Contexts(ngram), np.zeros(FEATURES)))


def prompts_of(sampler, number):
    """Prompts of unequal lengths, an empty one among them."""
    known = [chr(code) for code in sampler.vocabulary.symbols if code != 10]
    return ["".join(known[place] for place in range(n % 4)) for n in range(number)]


def one_by_one(sampler, prompts, each, **how):
    return [
        sample
        for place, prompt in enumerate(prompts)
        for sample in sampler.generate(each, prime=prompt, first=place * each, **how)
    ]


def test_it_is_a_name_of_the_package():
    assert charrnn.samples_of is samples_of


def test_one_string_is_no_list_of_prompts():
    with pytest.raises(SettingsError, match="put it into a list"):
        samples_of(Sampler(random_model()), "ab")


def known(samples):
    return [(sample.index, sample.text, sample.chars) for sample in samples]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("threads", [1, 3])
def test_samples_are_those_of_each_prompt_alone(engine, mode, threads):
    sampler = Sampler(random_model(mode=mode, scale=2.0), engine=engine)
    prompts = prompts_of(sampler, 50)
    how = {"seed": 7, "length": 30, "threads": threads, "decoding": Decoding(0.9, top_k=8)}
    samples = list(samples_of(sampler, prompts, 3, **how))
    assert known(samples) == known(one_by_one(sampler, prompts, 3, **how))
    assert all(sample.text.startswith(prompts[sample.index // 3]) for sample in samples)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_every_cell_begins_in_the_state_after_its_prompt(engine, cell):
    model = with_counting(random_model(cell, layers=2, scale=2.0))
    sampler = Sampler(model, engine=engine)
    prompts = prompts_of(sampler, 5)
    how = {"seed": 1, "length": 12}
    samples = samples_of(sampler, prompts, 1, **how)
    assert known(samples) == known(one_by_one(sampler, prompts, 1, **how))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_ends_where_it_is_told_to(engine):
    sampler = Sampler(random_model(scale=2.0), engine=engine)
    prompts = prompts_of(sampler, 9)
    how = {"seed": 1, "length": 40, "until": chr(sampler.vocabulary.symbols[3])}
    samples = list(samples_of(sampler, prompts, 2, **how))
    assert known(samples) == known(one_by_one(sampler, prompts, 2, **how))
    assert min(sample.chars for sample in samples) < 40


@pytest.mark.parametrize(("prompts", "each", "length"), [([], 3, 5), (["", ""], 0, 5)])
def test_nothing_is_written_for_nothing(prompts, each, length):
    sampler = Sampler(random_model(), engine="numpy")
    assert list(samples_of(sampler, prompts, each, length=length)) == []


def test_length_zero_gives_the_prompts():
    sampler = Sampler(random_model(), engine="numpy")
    prompts = prompts_of(sampler, 3)
    texts = [sample.text for sample in samples_of(sampler, prompts, 2, length=0)]
    assert texts == [prompt for prompt in prompts for _ in range(2)]


def test_what_is_wrong_with_a_prompt_names_its_number_at_once():
    sampler = Sampler(random_model(mode="lines"), engine="numpy")
    with pytest.raises(SettingsError, match=r"^--prompts: prompt 2 has 1 character, the first"):
        samples_of(sampler, ["", "\u20ac"])
    with pytest.raises(SettingsError, match=r"^--prompts: prompt 1 has a newline"):
        samples_of(sampler, ["\n"])
    with pytest.raises(SettingsError, match=r"^--count -1: must be"):
        samples_of(sampler, [""], -1)
    with pytest.raises(SettingsError, match=r"^--threads 0: must be"):
        samples_of(sampler, [""], threads=0)


def test_a_cache_is_refused():
    sampler = Sampler(random_model(), engine="numpy", cache=5)
    with pytest.raises(SettingsError, match="--cache looks back on one prompt"):
        samples_of(sampler, [""])

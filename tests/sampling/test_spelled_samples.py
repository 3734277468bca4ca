"""Writing where rare characters are bytes: whole characters, counted as characters."""

import dataclasses

import pytest
from kernel_support import random_model

from charrnn.modelfile import ModelFile
from charrnn.sampling.engine import Sampler
from charrnn.text.vocabulary import Vocabulary

ALPHABET = Vocabulary.with_bytes([0xE9])


@pytest.fixture(scope="module", params=["numpy", "auto"])
def sampler(request):
    model = random_model("gru", "none", 1, 8, len(ALPHABET))
    newline = ALPHABET.newline
    model: ModelFile = dataclasses.replace(model, vocabulary=ALPHABET, start=newline, mode="stream")
    return Sampler(model, engine=request.param, weights="float32")


def test_texts_have_as_many_characters_as_asked_and_none_is_cut(sampler):
    samples = list(sampler.generate(5, length=17, prime="é界", seed=3))
    assert {(len(sample.text), sample.chars) for sample in samples} == {(19, 17)}
    assert "\ufffd" not in "".join(sample.text for sample in samples)
    assert any(len(sample.ids) > 17 for sample in samples)


def test_a_stream_is_the_first_sample(sampler):
    (sample,) = sampler.generate(1, length=20, seed=4)
    assert b"".join(sampler.stream(length=20, seed=4)).decode() == sample.text


def test_nats_are_what_scoring_says(sampler):
    prime = "é界\n"
    (sample,) = sampler.generate(1, length=15, prime=prime, seed=5)
    whole, chars = sampler.score(sample.text)
    begun, _ = sampler.score(prime)
    assert chars == len(prime) + 15 - 1
    assert sample.nats == pytest.approx(whole - begun, rel=1e-4)


def test_texts_written_in_turns_are_whole(sampler):
    writer = sampler.begin("a", seed=1)
    first = b"".join(writer.write(9)).decode()
    writer.read("Ω")
    second = b"".join(writer.write(9)).decode()
    assert (len(first), len(second)) == (9, 9)

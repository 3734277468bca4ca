"""The compiled kernel masks what may not follow as numpy does, and draws what the model says."""

import dataclasses
from collections import Counter
from itertools import product

import numpy as np
import pytest
from kernel_support import LEVELS, random_model
from support import needs_kernel

from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.sampling.mixed import Mixed
from charrnn.sampling.network import Network
from charrnn.sampling.spelled import Spelled
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES, Ally
from charrnn.text.vocabulary import Vocabulary

FREQUENT = "é界"
ALPHABET = Vocabulary.with_bytes(map(ord, FREQUENT))
TEXT = "ab é\n界Ωx\nñé😀b 乀\n" * 4


def spelled_model(mode="stream", *, is_mixed=False, cell="gru", seed=0, hidden=9):
    """A random network, and n-grams beside it if is_mixed, with many rare characters."""
    model = random_model(cell, hidden=hidden, vocabulary=len(ALPHABET), seed=seed, mode=mode)
    model.tensors["head.bias"][-51:] += 2  # bytes that begin a character
    ally = None
    if is_mixed:
        boundary = ALPHABET.newline if mode == "lines" else None
        ngram = count(ALPHABET.encode(TEXT), len(ALPHABET), 4, boundary)
        ngram.spelling = ALPHABET.spelling
        ally = Ally(Contexts(ngram), np.random.default_rng(seed).normal(size=FEATURES))
    start = ALPHABET.newline
    return dataclasses.replace(model, vocabulary=ALPHABET, start=start, ally=ally)


def both(model, level=None):
    """The steps in numpy, and in the kernel."""
    network = Network(model)
    reference = Spelled(network, ALPHABET.spelling)
    if model.ally is not None:
        reference = Mixed(reference, network.name, model.ally)
    return reference, Compiled(network, level, model.ally, ALPHABET.spelling)


@needs_kernel
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_steps_and_reading_are_numpys(cell, is_mixed, level):
    reference, kernel = both(spelled_model(cell=cell, is_mixed=is_mixed), level)
    ids = ALPHABET.encode(TEXT)[:-3]  # within a character
    expected, state, nats = reference.read(ids, reference.zero_state(1))
    found, reached, cost = kernel.read(ids, kernel.zero_state(1))
    assert np.isneginf(expected).any()
    assert np.array_equal(np.isneginf(found), np.isneginf(expected))
    assert found == pytest.approx(expected, abs=2e-5)
    assert cost == pytest.approx(nats, rel=1e-5)
    for part, other in zip(reached, state, strict=True):
        assert part == pytest.approx(other, abs=1e-5)
    expected, state = reference.step(ids[:7], reference.zero_state(7))
    found, reached = kernel.step(ids[:7], kernel.zero_state(7))
    assert found == pytest.approx(expected, abs=2e-5)
    for part, other in zip(reached, state, strict=True):
        assert part == pytest.approx(other, abs=1e-5)


@needs_kernel
@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_samples_are_numpys(mode, is_mixed):
    model = spelled_model(mode, is_mixed=is_mixed)

    def samples(engine, threads, **which):
        sampler = Sampler(model, engine=engine, weights="float32")
        decoding = Decoding(top_k=40, repetition_penalty=1.5)
        options = {"length": 20, "seed": 4, "decoding": decoding, "until": "Ω", "prime": "ñ"}
        return [
            (sample.ids.tolist(), sample.chars, pytest.approx(sample.nats, rel=1e-4))
            for sample in sampler.generate(**which, threads=threads, **options)
        ]

    expected = samples("numpy", 1, count=40)
    assert any(len(ids) > chars for ids, chars, _ in expected)
    assert samples("compiled", 1, count=40) == expected
    assert samples("compiled", 3, count=40) == expected
    assert samples("compiled", 1, count=2, first=30) == expected[30:32]


@pytest.mark.parametrize("engine", ["numpy", pytest.param("compiled", marks=needs_kernel)])
def test_a_stream_goes_on_where_it_was_left_with_whole_characters(engine):
    sampler = Sampler(spelled_model(), engine=engine, weights="float32")
    decoding = Decoding(repetition_penalty=1.5)
    whole = b"".join(sampler.stream(length=400, seed=2, decoding=decoding)).decode()
    writer = sampler.begin(seed=2)
    written = ""
    for length in (1, 7, 92, 300):
        for piece in writer.write(length, decoding=decoding):
            written += piece.decode()
            if length == 92:
                break  # the next turn goes on from here
    assert written == whole[: len(written)]
    assert len(written) >= 308


def begins_a_rare_character(spelled):
    """Whether some rare character begins with these bytes, by Python's own UTF-8."""
    length = 2 if spelled[0] < 0xE0 else 3 if spelled[0] < 0xF0 else 4
    tails = (0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xA9, 0xBF)
    for tail in product(tails, repeat=length - len(spelled)):
        character = bytes([*spelled, *tail]).decode("utf-8", "ignore")
        if len(character) == 1 and character not in FREQUENT:
            return True
    return False


@pytest.mark.parametrize("engine", ["numpy", pytest.param("compiled", marks=needs_kernel)])
def test_draws_follow_the_networks_probabilities_of_characters(engine):
    model = spelled_model(seed=3)
    network = Network(model)
    logits, state = network.step(np.array([model.start]), network.zero_state(1))
    first = np.exp(logits[0].astype(float))
    byte_ids = {0x80 + i: ALPHABET.spelling.first + i for i in range(64)}
    lead_ids = {0xC2 + i: ALPHABET.spelling.first + 64 + i for i in range(51)}
    for index in byte_ids.values():
        first[index] = 0
    for lead, index in lead_ids.items():
        first[index] *= begins_a_rare_character([lead])
    first /= first.sum()
    expected = {bytes(ALPHABET.to_bytes(np.array([i]))): first[i] for i in range(len(first))}
    for lead, index in list(lead_ids.items()):  # a rare character counts by its first two bytes
        share = expected.pop(bytes([lead]))
        logits, _ = network.step(np.array([index]), state)
        second = np.exp(logits[0].astype(float))
        may = [byte for byte in byte_ids if begins_a_rare_character([lead, byte])]
        total = sum(second[byte_ids[byte]] for byte in may)
        for byte in may:
            expected[bytes([lead, byte])] = share * second[byte_ids[byte]] / total
    expected = {key: share for key, share in expected.items() if share and key[0] not in byte_ids}
    assert sum(expected.values()) == pytest.approx(1)

    sampler = Sampler(model, engine=engine, weights="float32")
    draws = 20_000 if engine == "compiled" else 5_000
    seen = Counter()
    for sample in sampler.generate(draws, length=1, seed=1):
        data = sample.data
        seen[data if data.decode() in FREQUENT else data[:2]] += 1
    likely = [key for key, share in expected.items() if share * draws >= 5]
    observed = np.array([seen[key] for key in likely])
    wanted = np.array([expected[key] * draws for key in likely])
    chi_square = ((observed - wanted) ** 2 / wanted).sum()
    others = draws - wanted.sum()
    chi_square += (draws - observed.sum() - others) ** 2 / others
    assert len(likely) > 100
    # Its mean is the number of degrees of freedom, its variance twice that.
    assert abs(chi_square - len(likely)) < 4 * np.sqrt(2 * len(likely))

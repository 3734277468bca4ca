"""Sampling with a mixture: its steps are its scores, alone, in rows and with a cache."""

import numpy as np
import pytest
from mixture_support import SIZE, lines, mixed_model, text
from support import needs_kernel

from charrnn.insight.lookback import glances
from charrnn.sampling.cache import MODEL_COUNTS, SWITCH, THETA
from charrnn.sampling.decode import Decoding, surprise
from charrnn.sampling.engine import Sampler
from charrnn.scoring import cached, network
from charrnn.scoring.score import tallied

CACHES = [0, 9]
ENGINES = ["numpy", pytest.param("compiled", marks=needs_kernel)]


def everything(samples):
    return [(sample.index, sample.ids.tolist()) for sample in samples]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cache", CACHES)
def test_reading_costs_what_the_scorer_says(cache, engine):
    model = mixed_model()
    ids = text(400)
    sampler = Sampler(model, engine=engine, cache=cache, weights="float32")
    scorer = cached.load_scorer(model, "cpu", 9) if cache else network.load_scorer(model, "cpu")
    expected = tallied(scorer, ids, "stateful", None).score().nats
    assert sampler.feed(ids)[2] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cache_counts_beside_the_mixture(engine):
    model = mixed_model()
    mixture = Sampler(model, engine="numpy", weights="float32")
    cached_too = Sampler(model, engine=engine, cache=9, weights="float32")
    state = mixture.zero_state(1)
    own_state = cached_too.zero_state(1)
    pairs = []
    beliefs, opinions = np.full(3, 1 / 3), np.ones((3, SIZE))
    for char in text(30):
        pairs.append((state[0].astype(float).ravel(), char))
        right = beliefs * opinions[:, char]
        beliefs = (1 - SWITCH) * right / right.sum() + SWITCH / 3
        ln_p, state = mixture.step(np.array([char]), state)
        now = state[0].astype(float).ravel()
        counts = np.zeros(SIZE)
        for key, said in pairs[-9:]:
            norms = np.linalg.norm(key) * np.linalg.norm(now)
            counts[said] += np.exp(THETA * ((key @ now / norms if norms else 0.0) - 1))
        own = np.exp(ln_p[0]) / np.exp(ln_p[0]).sum()
        ways = [(n * own + counts) / (n + counts.sum()) for n in MODEL_COUNTS[1:]]
        opinions = np.array([own, *ways])
        found, own_state = cached_too.step(np.array([char]), own_state)
        assert np.exp(found[0]) == pytest.approx(beliefs @ opinions, rel=1e-3)


@pytest.mark.usefixtures("one_thread")
def test_the_score_of_lines_is_the_scorers():
    model = mixed_model("lines")
    ids = lines(200)
    nats, chars = Sampler(model, engine="numpy").score(model.vocabulary.decode(ids))
    expected = tallied(network.load_scorer(model, "cpu"), ids, "lines", 0).score()
    assert chars == expected.chars
    assert nats == pytest.approx(expected.nats, rel=1e-5)


@pytest.mark.parametrize("cache", CACHES)
def test_reading_is_stepping(cache):
    sampler = Sampler(mixed_model(), engine="numpy", cache=cache, weights="float32")
    ids = text(30)
    logits, state, nats = sampler.feed(ids)
    by_steps = sampler.zero_state(1)
    expected = 0.0
    row = None
    for at, char in enumerate(ids):
        if at:
            expected += surprise(row, np.array([char]))[0]
        row, by_steps = sampler.step(np.array([char]), by_steps)
    assert nats == pytest.approx(expected)
    assert logits == pytest.approx(row, abs=1e-6)
    for part, other in zip(state, by_steps, strict=True):
        assert part == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("cache", CACHES)
def test_samples_do_not_depend_on_those_beside_them(mode, cache):
    if mode == "lines" and cache:
        pytest.skip("a cache is for streams")
    sampler = Sampler(mixed_model(mode), engine="numpy", cache=cache, weights="float32")
    options = {"length": 12, "seed": 3, "decoding": Decoding(temperature=0.9, top_k=4)}
    together = everything(sampler.generate(9, **options))
    assert everything(sampler.generate(2, first=5, **options)) == together[5:7]


def test_a_writer_goes_on_where_a_copy_was_taken():
    sampler = Sampler(mixed_model(), engine="numpy", weights="float32")
    writer = sampler.begin(chr(11), seed=1)
    b"".join(writer.write(5))
    twin = writer.copy()
    assert b"".join(writer.write(9)) == b"".join(twin.write(9))


def test_frequencies_are_those_of_the_mixture():
    sampler = Sampler(mixed_model(), engine="numpy", weights="float32")
    logits, _, _ = sampler.feed(np.array([sampler.start]))
    p = np.exp(logits[0] - logits[0].max())
    p /= p.sum()
    first = [sample.ids[0] for sample in sampler.generate(4000, length=1, seed=7)]
    counts = np.bincount(first, minlength=SIZE)
    chi_square = ((counts - 4000 * p) ** 2 / (4000 * p)).sum()
    assert chi_square < 30  # of 5 degrees of freedom: once in 70,000 seeds


@pytest.mark.usefixtures("one_thread")
def test_a_glance_costs_what_the_scorers_say():
    model = mixed_model()
    ids = text(300)
    seen = list(glances(model, ids, 9, "cpu"))
    alone = tallied(network.load_scorer(model, "cpu"), ids, "stateful", None).score().nats
    looking_back = tallied(cached.load_scorer(model, "cpu", 9), ids, "stateful", None).score().nats
    assert sum(glance.nats for glance in seen) == pytest.approx(alone, rel=1e-5)
    assert sum(glance.cached_nats for glance in seen) == pytest.approx(looking_back, rel=1e-5)

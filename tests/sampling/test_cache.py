"""A cache beside a network: every way through it against a plain loop over all pairs."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from support import needs_kernel

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.layout import expected_shapes
from charrnn.model.charmodel import CharModel
from charrnn.sampling import cache as caches
from charrnn.sampling.cache import MODEL_COUNTS, SWITCH, THETA
from charrnn.sampling.engine import Sampler
from charrnn.scoring.cached import CachedScorer
from charrnn.scoring.score import tallied
from charrnn.text.vocabulary import Vocabulary

SYMBOLS = tuple(map(ord, "\nabcde"))
LENGTHS = (1, 2, 7, 1000)


@pytest.fixture(params=["numpy", pytest.param("compiled", marks=needs_kernel)])
def engine(request):
    return request.param


def make(cell="gru", layers=2, skip="none", mode="stream"):
    """A random model's torch network, and what makes its samplers."""
    settings = Settings().with_values(
        "model", cell=cell, skip=skip, num_layers=layers, hidden_size=6, embedding_size=4
    )
    torch.manual_seed(layers)
    network = CharModel(settings.model, len(SYMBOLS)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    tensors = {name: value.numpy() for name, value in network.tensors().items()}

    def sampler(cache=0, engine="numpy"):
        return Sampler.from_tensors(
            settings,
            Vocabulary("char", SYMBOLS),
            mode,
            0,
            tensors,
            weights="float32",
            engine=engine,
            cache=cache,
        )

    return network, sampler


def text(count, seed=0):
    return np.random.default_rng(seed).integers(0, len(SYMBOLS), count).astype(np.int32)


def plain(sampler, ids, length, given=None):
    """P (T, V) of what comes after each id, by the formula, one pair and one character at a time.

    given: the places of ids that were given to read; the others the model has written (None: all
    were given).
    """
    state, pairs, found = sampler.zero_state(1), [], []
    beliefs, opinions = [1 / 3] * 3, [np.ones(len(SYMBOLS))] * 3
    for place, char in enumerate(ids):
        before = state[0].astype(float).swapaxes(0, 1).ravel()
        logits, state = sampler.step(np.array([char]), state)
        if given is None or place in given:
            pairs = [*pairs, (before, char)][-length:]
            right = [b * said[char] for b, said in zip(beliefs, opinions, strict=True)]
            beliefs = [(1 - SWITCH) * each / sum(right) + SWITCH / 3 for each in right]
        now = state[0].astype(float).swapaxes(0, 1).ravel()
        own = np.exp(logits[0].astype(float))
        own /= own.sum()
        counts = np.zeros(len(SYMBOLS))
        for key, said in pairs:
            norms = math.sqrt(key @ key) * math.sqrt(now @ now)
            counts[said] += math.exp(THETA * ((now @ key / norms if norms else 0.0) - 1))
        opinions = [own, *((n * own + counts) / (n + counts.sum()) for n in MODEL_COUNTS[1:])]
        found.append(sum(b * said for b, said in zip(beliefs, opinions, strict=True)))
    return np.array(found)


def peak_of(work):
    """The most bytes that Python and numpy held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def nats_of(probabilities, ids):
    return -np.log(probabilities[np.arange(len(ids) - 1), ids[1:]]).sum()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
@pytest.mark.parametrize("length", LENGTHS)
def test_reading_is_the_formula_over_all_pairs(cell, length, engine, monkeypatch):
    monkeypatch.setattr(caches, "PIECE", 5)
    sampler, ids = make(cell)[1], text(33)
    expected = plain(sampler(), ids, length)
    logits, _, nats = sampler(length, engine).feed(ids)
    assert np.exp(logits) == pytest.approx(expected[-1:], rel=1e-4)  # float32 products
    assert nats == pytest.approx(nats_of(expected, ids), rel=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_steps_are_the_formula_too(length, engine):
    sampler, ids = make()[1], text(33)
    cached, rows = sampler(length, engine), []
    state = cached.zero_state(1)
    for char in ids:
        logits, state = cached.step(np.array([char]), state)
        rows.append(np.exp(logits[0]))
    assert np.array(rows) == pytest.approx(plain(sampler(), ids, length), rel=1e-4)


@pytest.mark.parametrize("skip", ["none", "residual", "dense"])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_score_of_a_stream_is_the_formula_s(skip, length, monkeypatch, one_thread):
    monkeypatch.setattr(caches, "PIECE", 5)
    (network, sampler), ids = make(skip=skip), text(700)  # more than one chunk of the evaluation
    score = tallied(
        CachedScorer(network, torch.device("cpu"), length), ids, "stateful", None
    ).score()
    assert score.chars == 699
    assert score.nats == pytest.approx(nats_of(plain(sampler(), ids, length), ids), rel=1e-5)


def test_every_place_of_a_long_stream_is_scored_in_order(one_thread):
    scorer = CachedScorer(make()[0], torch.device("cpu"), 7)
    parts = list(scorer.predictions(text(700), "stateful"))
    assert len(parts) > 1
    assert np.concatenate([part.places for part in parts]).tolist() == list(range(1, 700))


def test_ranks_and_guesses_are_those_of_the_mixture(one_thread):
    (network, sampler), ids = make(), text(50)
    scorer = CachedScorer(network, torch.device("cpu"), 7)
    (found,) = scorer.predictions(ids, "stateful", detailed=True)
    expected = plain(sampler(), ids, 7)[:-1]
    assert found.guesses.tolist() == expected.argmax(1).tolist()
    costs = np.sort(-np.log(expected), 1)
    assert costs[np.arange(49), found.ranks - 1] == pytest.approx(found.nats, rel=1e-4)
    assert np.exp(-found.guess_nats) == pytest.approx(expected.max(1), rel=1e-4)


def test_what_comes_again_costs_less():
    ids = np.concatenate([text(60)] * 2)
    sampler = make()[1]
    ways = [sampler(), sampler(1000)]
    second = [each.feed(ids)[2] - each.feed(ids[:60])[2] for each in ways]
    assert second[1] < 0.5 * second[0]


def test_where_all_states_look_the_same_a_cache_costs_little():
    """The network knows that all characters are as likely; the last ten of them say otherwise."""
    network, sampler = make()
    with torch.no_grad():
        for part in (network.embedding, network.head):
            for parameter in part.parameters():
                parameter.zero_()
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    ids = text(600)
    alone, cached = (
        Sampler.from_tensors(
            sampler().settings, Vocabulary("char", SYMBOLS), "stream", 0, tensors, cache=cache
        ).feed(ids)[2]
        for cache in (0, 10)
    )
    assert alone == pytest.approx(599 * math.log(len(SYMBOLS)))
    most = math.log(3) - len(ids) * math.log(1 - 2 * SWITCH / 3)
    assert alone < cached < alone + most


def test_a_text_read_in_parts_is_the_text(engine):
    cached, ids = make()[1](7, engine), text(40)
    whole = cached.feed(ids)
    _, state, _ = cached.feed(ids[:11])
    parts = cached.feed(ids[11:], state)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert all(
        np.allclose(mine, other, atol=1e-6) for mine, other in zip(parts[1], whole[1], strict=True)
    )


@pytest.mark.parametrize("go_on", ["step", "feed"])
def test_a_state_is_left_as_it_was(go_on, engine):
    cached = make()[1](3, engine)
    state = cached.feed(text(10))[1]
    before = [part.copy() for part in state]
    getattr(cached, go_on)(np.array([1]), state)
    assert all(np.array_equal(mine, other) for mine, other in zip(before, state, strict=True))


def test_samples_side_by_side_are_those_drawn_alone(engine):
    cached = make()[1](7, engine)
    how = {"seed": 3, "length": 40, "prime": "abcab"}
    together = [each.text for each in cached.generate(5, **how)]
    assert together == [next(cached.generate(1, first=number, **how)).text for number in range(5)]
    assert len(set(together)) == 5


@pytest.mark.parametrize("length", LENGTHS)
def test_what_it_writes_itself_it_does_not_look_back_on(length, engine):
    sampler = make()[1]
    one = next(sampler(length, engine).generate(1, seed=1, length=60, prime="abcabcab"))
    ids = np.concatenate([[0], [SYMBOLS.index(ord(char)) for char in one.text]])
    assert one.chars == 60
    assert one.nats == pytest.approx(
        nats_of(plain(sampler(), ids, length, given=range(9))[8:], ids[8:]), rel=1e-5
    )


def test_the_stream_is_the_sample(engine):
    cached = make()[1](7, engine)
    streamed = b"".join(cached.stream(seed=5, length=300, prime="ab"))
    assert streamed.decode() == next(cached.generate(1, seed=5, length=300, prime="ab")).text


def test_a_cache_changes_what_is_written(engine):
    sampler = make()[1]
    plain_text, cached_text = (
        next(sampler(n, engine).generate(1, seed=5, length=200, prime="abcde" * 3)).text
        for n in (0, 50)
    )
    assert plain_text != cached_text


def test_a_writer_s_copy_goes_its_own_way(engine):
    writer = make()[1](7, engine).begin("abc", seed=2)
    twin, again = writer.copy(), writer.copy()
    twin.read("ddd")
    assert b"".join(writer.write(50)) == b"".join(again.write(50))


def test_a_writer_goes_on_as_if_it_had_not_stopped(engine):
    """Its own last character is no more taken in between two turns than within one."""
    writer = make()[1](7, engine).begin("abcabcab", seed=2)
    twin = writer.copy()
    whole = b"".join(writer.write(120))
    parts = b"".join(twin.write(20))
    twin.read("")
    assert parts + b"".join(twin.write(100)) == whole


def test_many_samples_share_what_they_look_back_on():
    cached, prompt = make()[1](20_000), "abcde" * 20
    one, many = (
        peak_of(lambda n=n: list(cached.generate(n, seed=1, length=9, prime=prompt)))
        for n in (1, 64)
    )
    assert many < one + 20_000 * 12 * 4  # another text's pairs


def test_samples_that_end_apart_are_those_drawn_alone(engine):
    cached = make()[1](7, engine)
    how = {"seed": 3, "length": 60, "prime": "abcab", "until": "a"}
    together = [each.text for each in cached.generate(12, **how)]
    assert together == [next(cached.generate(1, first=number, **how)).text for number in range(12)]
    assert len({len(each) for each in together}) > 3


def test_the_state_of_another_model_is_refused(engine):
    sampler = make()[1]
    for other in (sampler(0, engine), sampler(6, engine)):
        with pytest.raises(ValueError, match="does not fit"):
            sampler(7, engine).feed(text(5), other.feed(text(5))[1])


def test_what_is_read_after_writing_moves_the_beliefs_by_what_was_said_there(engine):
    sampler, ids = make()[1], text(20)
    cached = sampler(7, engine)._network
    state = cached.zero_state(1)
    given = {*range(8), *range(12, 20)}
    for place, char in enumerate(ids):
        take = cached.step if place in given else cached.write_step
        logits, state = take(np.array([char]), state)
    expected = plain(sampler(), ids, 7, given)
    assert np.exp(logits) == pytest.approx(expected[-1:], rel=1e-4)


def test_a_pickled_sampler_keeps_its_cache(engine):
    cached = make()[1](7, engine)
    twin = pickle.loads(pickle.dumps(cached))
    assert "cache of 7" in repr(twin) and twin.engine == engine
    assert next(twin.generate(1, seed=1)).text == next(cached.generate(1, seed=1)).text


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
@pytest.mark.parametrize("scale", [1.5e38, 1e-25])
def test_weights_of_any_size_give_numbers(cell, scale, engine):
    """What is no number in the network's states is nothing that a cache compares."""
    settings = Settings().with_values(
        "model", cell=cell, num_layers=1, hidden_size=6, embedding_size=4
    )
    signs = np.random.default_rng(0)
    tensors = {
        name: (scale * signs.choice([-1, 1], shape)).astype(np.float32)
        for name, shape in expected_shapes(settings.model, len(SYMBOLS)).items()
    }
    sampler = Sampler.from_tensors(
        settings, Vocabulary("char", SYMBOLS), "stream", 0, tensors, cache=50, engine=engine
    )
    assert math.isfinite(sampler.score("abcdeabcde" * 3)[0])


@pytest.mark.parametrize(
    ("mode", "length", "words"),
    [
        ("lines", 5, "--cache looks back along one stream"),
        ("stream", -1, "--cache -1: .* between 1 and 5,592,405"),
        ("stream", 5_592_406, "--cache 5592406"),
        ("stream", 1.5, "--cache 1.5"),
    ],
)
def test_a_cache_that_will_not_do_is_refused(mode, length, words):
    with pytest.raises(SettingsError, match=words):
        make(mode=mode)[1](length)

"""Both engines take the steps of the torch model they must equal; scores."""

import functools
import itertools
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charrnn.config import Settings
from charrnn.errors import VocabularyError
from charrnn.layout import expected_shapes
from charrnn.model.charmodel import CharModel
from charrnn.sampling.decode import Decoding, distribution
from charrnn.sampling.engine import Sampler
from charrnn.text.vocabulary import Vocabulary

CELLS = ("rnn", "lstm", "gru", "gru-before")


SKIPS = ("none", "residual", "dense")


# The network


@pytest.mark.parametrize(
    ("cell", "skip", "layers", "backend"),
    [
        (cell, skip, layers, backend)
        for cell, skip, layers, backend in itertools.product(
            CELLS, SKIPS, (1, 2, 3), ("func", "torch")
        )
        if (cell, backend) != ("gru-before", "torch")  # torch has no such cell
    ],
)
def test_logits_and_state_equal_the_torch_model(cell, skip, layers, backend, make_pair):
    network, sampler = make_pair(cell, skip, layers, backend=backend, scale=1.5)
    state = tuple(torch.randn(layers, 2, 7) for _ in sampler.zero_state(2))
    ids = torch.tensor([[1, 2, 0], [3, 3, 8]])
    with torch.no_grad():
        expected, last = network(ids, state)
    state = tuple(part.numpy() for part in state)
    for t in range(3):
        logits, state = sampler.step(ids[:, t].numpy(), state)
        np.testing.assert_allclose(
            logits, expected[:, t].numpy(), atol=1e-5
        )  # float32, sums of at most 26 products
    for part, other in zip(state, last, strict=True):
        np.testing.assert_allclose(part, other.numpy(), atol=1e-5)


@pytest.mark.parametrize(("skip", "embedding"), [("none", 7), ("residual", 7)])
def test_logits_equal_the_torch_model_with_square_embedding_and_tied_weights(
    skip, embedding, make_pair
):
    network, sampler = make_pair("gru", skip, 2, embedding_size=embedding, tie_weights=True)
    with torch.no_grad():
        expected, _ = network(torch.tensor([[4]]), network.zero_state(1))
    np.testing.assert_allclose(
        sampler.step(np.array([4]), sampler.zero_state(1))[0], expected[:, 0].numpy(), atol=1e-5
    )


# Small random networks fall into short cycles. Of 36 of each cell, with recurrent and input weights of these sizes, the
# seeds are ones whose text goes on changing while rounding does not grow: chaotic ones part after a few hundred
# characters, between torch and numpy as well.
VARIED = [
    ("rnn", "torch", 2, 2, 2),
    ("lstm", "torch", 2, 5, 8),
    ("gru", "torch", 2, 3, 4),
    ("gru-before", "func", 2, 2, 4),
]


@functools.cache
def varied_model(cell, backend, seed, recurrent, inputs):
    """Settings, tensors and the 2,000 ids that torch finds likeliest, one after the other, from id 0 on."""
    settings = Settings().with_values(
        "model", cell=cell, hidden_size=48, num_layers=2, embedding_size=8
    )
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(settings.model, 26).items():
        scales = {
            "weight_hh": recurrent / shape[-1] ** 0.5,
            "weight_ih": inputs / shape[-1] ** 0.5,
            "bias": 0.3,
        }
        scale = next((value for part, value in scales.items() if part in name), 1.0)
        tensors[name] = generator.standard_normal(shape, np.float32) * np.float32(scale)
    model = CharModel(settings.model, 26, backend).eval()
    model.load_tensors({name: torch.from_numpy(value) for name, value in tensors.items()})
    ids, state, chosen = torch.tensor([[0]]), model.zero_state(1), []
    with torch.no_grad():
        for _ in range(2000):
            logits, state = model(ids, state)
            ids = logits.argmax(2)
            chosen.append(int(ids))
    return settings, tensors, chosen


@pytest.mark.parametrize("model", VARIED, ids=[row[0] for row in VARIED])
def test_greedy_text_equals_the_torch_model(model, engine, one_thread):
    settings, tensors, expected = varied_model(*model)
    assert (
        len({tuple(expected[at : at + 8]) for at in range(len(expected) - 8)}) > 500
    )  # no short cycle
    sampler = Sampler.from_tensors(
        settings,
        Vocabulary("char", tuple(range(97, 123))),
        "stream",
        0,
        tensors,
        weights="float32",
        engine=engine,
    )
    [sample] = sampler.generate(decoding=Decoding(temperature=0), length=2000)
    assert sample.ids.tolist() == expected


@pytest.mark.parametrize("cell", CELLS)
def test_enormous_weights_stay_finite_and_silent(cell, make_sampler):
    sampler = make_sampler(cell=cell, scale=1e5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits, state = sampler.step(np.array([1, 2]), sampler.zero_state(2))
        logits, state = sampler.step(np.array([3, 4]), state)
    assert all(np.isfinite(part).all() for part in (logits, *state))


def test_step_leaves_the_callers_state_alone(make_sampler):
    sampler = make_sampler(layers=2)
    state = tuple(part + 0.5 for part in sampler.zero_state(3))
    sampler.step(np.array([1, 2, 3]), state)
    assert all((part == 0.5).all() for part in state)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_at_the_end_of_float32_write_text_in_silence(cell, make_sampler):
    sampler = make_sampler(cell=cell, layers=2, scale=1e38)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [sample] = sampler.generate(length=200, seed=1)
    assert sample.chars == 200


def test_later_changes_of_the_given_tensors_do_not_reach_the_sampler(make_pair):
    network, sampler = make_pair()
    before = sampler.step(np.array([1]), sampler.zero_state(1))[0]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(sampler.step(np.array([1]), sampler.zero_state(1))[0], before)


def test_feed_is_steps_and_their_nats(make_sampler):
    sampler = make_sampler(layers=2)
    ids = np.arange(600) % 7  # more than one piece of 256
    logits, state, nats = sampler.feed(ids)
    expected, each = 0.0, sampler.zero_state(1)
    for now, after in zip(ids, [*ids[1:], None], strict=True):
        step, each = sampler.step(np.array([now]), each)
        if after is not None:
            expected -= np.log(distribution(step, Decoding())[0, after])
    np.testing.assert_allclose(logits, step, atol=1e-5)
    assert nats == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(state[0], each[0])


def test_feed_goes_on_from_a_state(make_sampler):
    sampler = make_sampler()
    whole, _, _ = sampler.feed(np.array([1, 2, 3, 4]))
    _, state, _ = sampler.feed(np.array([1, 2]))
    np.testing.assert_allclose(sampler.feed(np.array([3, 4]), state)[0], whole, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "largest", "taken"),
    [("stream", 65504.0, "float16"), ("stream", 65600.0, "float32"), ("lines", 1.0, "float32")],
)
def test_streams_of_weights_in_its_range_are_computed_in_half_precision(
    mode, largest, taken, make_pair
):
    network, _ = make_pair()
    with torch.no_grad():
        network.tensors()["embedding.weight"][0, 0] = largest
    tensors = {name: value.numpy() for name, value in network.tensors().items()}

    def logits(weights):
        sampler = make_pair(mode=mode)[1]
        made = Sampler.from_tensors(
            sampler.settings,
            sampler.vocabulary,
            mode,
            0,
            tensors,
            weights=weights,
            engine=sampler.engine,
        )
        return made.step(np.array([1]), made.zero_state(1))[0]

    assert np.array_equal(logits("auto"), logits(taken))
    assert not np.array_equal(logits("float16"), logits("float32"))


# Scores


def test_score_of_a_stream_is_the_sum_of_nats_after_the_first_character(make_pair):
    network, sampler = make_pair(layers=2)
    text = "abcé\n\U0001f600 dab"
    ids = torch.from_numpy(sampler.vocabulary.encode(text)).long()[None]
    with torch.no_grad():
        logits, _ = network(ids, network.zero_state(1))
    expected = F.cross_entropy(logits[0, :-1].double(), ids[0, 1:], reduction="sum")
    nats, chars = sampler.score(text)
    assert nats == pytest.approx(float(expected), rel=1e-6)  # float32 logits
    assert chars == len(text) - 1


@pytest.mark.parametrize("ending", ["", "\n"])
def test_score_of_lines_counts_each_newline_from_a_fresh_state(ending, make_pair):
    network, sampler = make_pair(mode="lines")
    expected = 0.0
    for line in ("abc\n", "k\n"):
        ids = torch.from_numpy(sampler.vocabulary.encode("\n" + line)).long()[None]
        with torch.no_grad():
            logits, _ = network(ids, network.zero_state(1))
        expected += float(F.cross_entropy(logits[0, :-1].double(), ids[0, 1:], reduction="sum"))
    nats, chars = sampler.score("abc\nk" + ending)
    assert nats == pytest.approx(expected, rel=1e-6)
    assert chars == 6


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_score_of_nothing_is_nothing(mode, make_sampler):
    assert make_sampler(mode=mode).score("") == (0.0, 0)


def test_score_refuses_unknown_characters(make_sampler):
    with pytest.raises(VocabularyError, match="U\\+007A"):
        make_sampler().score("abz")


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_samples_nats_are_the_models_whatever_the_decoding(mode, make_sampler):
    sampler = make_sampler(mode=mode)
    [sample] = sampler.generate(decoding=Decoding(2.0, top_k=4), length=30, seed=5, prime="ab")
    ids = np.concatenate([[sampler.start], sampler.vocabulary.encode("ab"), sample.ids])
    nats = sampler.feed(ids)[2] - sampler.feed(ids[:3])[2]
    assert sample.nats == pytest.approx(nats, rel=1e-6)
    assert sample.chars == len(sample.ids)

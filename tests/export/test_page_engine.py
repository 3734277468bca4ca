"""The engine in a page beside the sampler: greedy text, distributions, draws of a seed."""

import dataclasses
import itertools

import numpy as np
import pytest
from browser_support import ENGINE, needs_chromium, of_bytes, with_rare
from export_support import V, network

from charrnn.export.page import page_of
from charrnn.sampling.decode import Decoding, distribution
from charrnn.sampling.engine import Sampler
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import Ally
from charrnn.text.labelgrams import LabelGrams, count_labels

pytestmark = [pytest.mark.medium, needs_chromium]
LENGTH = 500


def asked(browser, tmp_path, model, weights="float32", prompts=(), label=0):
    """What the page says of a model. label: the number of the one that it writes with."""
    place = tmp_path / "page.html"
    place.write_bytes(page_of(model, weights=weights))
    page = browser.new_page()
    page.goto(place.as_uri())
    answer = page.evaluate(ENGINE, [list(prompts), LENGTH, 1, label])
    page.close()
    return answer


def ids_of(sampler, temperature, length):
    sample = next(sampler.generate(1, decoding=Decoding(temperature), length=length, seed=1))
    return sample.ids.tolist()


def prompts_of(size, count=50):
    rng = np.random.default_rng(3)
    return [rng.integers(0, size, rng.integers(1, 20)).tolist() for _ in range(count)]


def mixture(model, boundary=None):
    """The network of a model, with n-grams beside it."""
    ids = np.random.default_rng(5).integers(0, len(model.vocabulary), 600)
    ngram = count(ids, len(model.vocabulary), 3, boundary)
    ngram.spelling = model.vocabulary.spelling
    theta = np.array([0.3, -0.2, 0.1, 0.2, 0.4, 0.3, -0.1, 0.2])
    return dataclasses.replace(model, ally=Ally(Contexts(ngram), theta))


# Every cell with every skip, two layers, and what else a model can have. The hidden size is not a
# multiple of the eight rows that the engine multiplies at once.
NETWORKS = {
    f"{cell} {skip}{' tied' if tied else ''}": (cell, skip, tied)
    for cell, (skip, tied) in itertools.product(
        ("rnn", "lstm", "gru", "gru-before"),
        (("none", False), ("residual", True), ("dense", False)),
    )
}


def model_of(name):
    if name in NETWORKS:
        cell, skip, tied = NETWORKS[name]
        return network(
            cell, skip, tied, 2, mode="stream", hidden_size=11, embedding_size=11 if tied else 3
        )
    return {
        "convolution": lambda: network("lstm", mode="stream", conv=3, hidden_size=11),
        "convolution over 1": lambda: network("gru", "residual", mode="stream", conv=1),
        "bytes": of_bytes,
        "rare characters as bytes": with_rare,
        "mixture": lambda: mixture(network(mode="stream", hidden_size=11)),
        "mixture of lines": lambda: mixture(network(hidden_size=11), 0),
        "mixture with rare characters": lambda: mixture(with_rare()),
    }[name]()


OTHERS = (
    "convolution",
    "convolution over 1",
    "bytes",
    "rare characters as bytes",
    "mixture",
    "mixture of lines",
    "mixture with rare characters",
)


@pytest.mark.parametrize("name", [*NETWORKS, *OTHERS])
def test_the_page_writes_what_the_command_writes(browser, tmp_path, name):
    model = model_of(name)
    sampler = Sampler(model, weights="float32", engine="numpy")
    size = model.vocabulary.characters if model.vocabulary.spelling else len(model.vocabulary)
    prompts = prompts_of(size)
    answer = asked(browser, tmp_path, model, prompts=prompts)

    # 1. Equal weights write equal texts.
    assert answer["greedy"] == ids_of(sampler, 0.0, LENGTH)
    assert answer["drawn"] == ids_of(sampler, 0.8, 100)

    # 2. Distributions: sums are taken in another order, in double precision.
    for ids, shares in zip(prompts, answer["shares"], strict=True):
        logits = sampler.feed(np.array([model.start, *ids]))[0]
        np.testing.assert_allclose(shares, distribution(logits, Decoding())[0], atol=1e-5)


def labelled(is_mixed):
    """A network of lines with three labels; the last has no n-grams of its own."""
    plain = network("gru", hidden_size=11)
    rng = np.random.default_rng(4)
    names = ("Greek", "Irish", "Zu\u202elu")
    vocabulary = dataclasses.replace(plain.vocabulary, labels=names)
    size = plain.tensors["embedding.weight"].shape[1]
    tensors = plain.tensors | {"labels.weight": rng.normal(0, 2, (3, size)).astype(np.float32)}
    model = dataclasses.replace(plain, vocabulary=vocabulary, tensors=tensors)
    if not is_mixed:
        return model
    newline = model.vocabulary.newline
    ids = rng.integers(0, len(vocabulary), 600)
    ids[7::8] = newline
    ngram = count(ids, len(vocabulary), 3, newline)
    labels = np.arange(int((ids == newline).sum())) % 3  # 0: none
    grams = LabelGrams(ngram, count_labels(ngram, ids, labels).owned, 50.0)
    theta = np.array([0.3, -0.2, 0.1, 0.2, 0.4, 0.3, -0.1, 0.2])
    return dataclasses.replace(model, ally=Ally(Contexts(ngram), theta, grams))


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("is_mixed", [False, True])
def test_the_page_writes_with_each_label(browser, tmp_path, is_mixed, number):
    model = labelled(is_mixed)
    name = ("", *model.vocabulary.labels)[number]
    sampler = Sampler(model, weights="float32", engine="numpy").labelled(name)
    prompts = prompts_of(len(model.vocabulary), 20)
    answer = asked(browser, tmp_path, model, prompts=prompts, label=number)
    assert answer["drawn"] == ids_of(sampler, 0.8, 100)
    for ids, shares in zip(prompts, answer["shares"], strict=True):
        logits = sampler.feed(np.array([sampler.start, *ids]))[0]
        np.testing.assert_allclose(shares, distribution(logits, Decoding())[0], atol=1e-5)


def test_the_menu_has_every_label(browser, tmp_path):
    place = tmp_path / "page.html"
    place.write_bytes(page_of(labelled(is_mixed=False)))
    page = browser.new_page()
    page.goto(place.as_uri())
    options = page.locator("#box-label option").all_text_contents()
    assert options == ["any", "Greek", "Irish", "Zu\\u202elu"]
    page.locator("#box-label").select_option("2")
    page.get_by_role("button", name="Write").click()
    page.locator("#box-out[aria-busy=false] .char").first.wait_for(state="attached")
    page.close()


@pytest.mark.parametrize("name", ["lstm dense", "convolution", "mixture"])
def test_half_precision_moves_a_probability_by_a_thousandth_at_most(browser, tmp_path, name):
    model = model_of(name)
    sampler = Sampler(model, weights="float32", engine="numpy")
    prompts = prompts_of(V)
    answer = asked(browser, tmp_path, model, weights="float16", prompts=prompts)
    for ids, shares in zip(prompts, answer["shares"], strict=True):
        logits = sampler.feed(np.array([model.start, *ids]))[0]
        np.testing.assert_allclose(shares, distribution(logits, Decoding())[0], atol=1e-3)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(1.3, top_k=3),
        Decoding(1.0, top_p=0.7),
        Decoding(0.9, min_p=0.1),
        Decoding(1.2, 4, 0.8, 0.05),
    ],
)
def test_a_filtered_draw_is_the_commands(browser, tmp_path, decoding):
    model = model_of("gru none")
    place = tmp_path / "page.html"
    place.write_bytes(page_of(model))
    page = browser.new_page()
    page.goto(place.as_uri())
    how = {
        "temperature": decoding.temperature,
        "topK": decoding.top_k,
        "topP": decoding.top_p,
        "minP": decoding.min_p,
    }
    drawn = page.evaluate(
        """(how) => {
          const story = new Story(machineOf(model), [], 12345678901, 4);
          while (story.advance(how, 300)) { }
          return story.ids.slice(1);
        }""",
        how,
    )
    page.close()
    sampler = Sampler(model, weights="float32", engine="numpy")
    [sample] = sampler.generate(1, decoding=decoding, length=300, seed=12345678901, first=4)
    assert drawn == sample.ids.tolist()

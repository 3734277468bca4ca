"""What a model card says where little is known, and where a file is a stranger's."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from export_support import network

from charrnn.export import card, facts, hub
from charrnn.modelfile import read_model
from charrnn.sampling.engine import Sampler
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES, Ally
from charrnn.texts import OpenedRun

FIXTURES = Path(__file__).parent.parent / "fixtures/0.4.0"


def card_of(model, use=card.HUB_USE):
    return card.card(facts.gathered(OpenedRun(model)), use)


def mixed():
    ngram = count(np.array([1, 2, 3, 0] * 20), 7, 3, 0)
    return dataclasses.replace(network(), ally=Ally(Contexts(ngram), np.zeros(FEATURES)))


def test_a_lone_model_file_says_what_is_not_known():
    text = card_of(network())
    assert "Not known: the record of the training is not beside the model." in text
    assert "## Copies\n\nNot known: x lies in no run directory" in text


def test_the_figures_of_a_byte_model_are_per_byte():
    model = dataclasses.replace(network(unit="byte"), meta={"val_nats_per_char": 1.0})
    text = card_of(model)
    assert "| text | scored by | bits per byte | bytes |" in text and "out of 7 bytes" in text


def test_a_card_says_whether_the_ngrams_beside_a_network_are_there():
    assert "mixes the network with 3-grams of its text. They are the tensors" in card_of(mixed())
    assert "This file holds the network alone." in card_of(mixed(), card.ONNX_USE)
    assert "3-grams" not in card_of(network())


def test_a_folder_of_a_model_that_counts_can_be_sampled(tmp_path):
    model = read_model(FIXTURES / "ngram-lines")
    hub.write_folder(tmp_path / "hub", facts.gathered(OpenedRun(model)))
    [sample] = Sampler(read_model(tmp_path / "hub")).generate(1, seed=1)
    [expected] = Sampler(model).generate(1, seed=1)
    assert sample.text == expected.text
    text = (tmp_path / "hub/README.md").read_text()
    assert "A model that counts n-grams" in text and "torch.nn" not in text


def test_a_folder_of_a_checkpoint_holds_its_model_alone(trained, tmp_path):
    checkpoint = max((trained / "checkpoints").glob("*.safetensors"))
    model = read_model(checkpoint)
    hub.write_folder(tmp_path / "hub", facts.gathered(OpenedRun(model)))
    copy = read_model(tmp_path / "hub")
    assert copy.meta["kind"] == "charrnn-model" and copy.step == model.step
    assert copy.tensors.keys() == model.tensors.keys()


def test_the_score_of_the_test_text_is_the_one_of_the_sampler(trained):
    run = OpenedRun(read_model(trained))
    rows = facts.gathered(run).scores
    [row] = [row for row in rows if (row.text, row.scorer) == ("test", "this model")]
    corpus = run.corpora[0]
    text = corpus.vocabulary.decode(corpus.split("test"))
    nats, chars = Sampler(run.model, weights="float32").score(text)
    assert row.chars == chars
    assert row.bits_per_char == pytest.approx(nats / chars / np.log(2))


@pytest.mark.parametrize("name", ["x\n---\nlicense: mit", "[a](http://b) <script>", "|`#"])
def test_a_strangers_name_is_no_markdown_and_no_yaml(name):
    model = network(corpus=name)
    text = hub.front(model) + card_of(model)
    assert not any(mark in text for mark in ("license: mit", "(http", "<script>", "|`#"))


def test_a_strangers_split_is_no_markdown():
    model = network()
    settings = model.settings.with_values("text", test="a\n# Scores\n<script>")
    text = card_of(dataclasses.replace(model, settings=settings))
    assert "<script>" not in text and "\n# Scores" not in text


def test_the_configuration_is_json_that_names_every_size():
    config = json.loads(hub._as_json(hub._config(network("lstm", layers=2))))
    assert (config["num_layers"], config["vocab_size"], config["has_ngrams"]) == (2, 7, False)

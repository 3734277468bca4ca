"""How a text is read, what does not fit the model, and how text and model are named."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_support import LETTERS, ids_of
from kernel_support import random_model

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.modelfile import ModelFile
from charrnn.scoring.card import CountingModel
from charrnn.scoring.counting import CountingScorer
from charrnn.scoring.evaluation import How, open_scorer, protocol_of, scored_alone
from charrnn.scoring.text import Text
from charrnn.text.counting import count


def counting_model(mode="stream"):
    settings = Settings().with_values("model", cell="ngram", smoothing="kneser-ney")
    boundary = 0 if mode == "lines" else None
    tensors = count(ids_of("ab\nabc\nac\n" * 3), len(LETTERS), 2, boundary).tensors()
    return ModelFile(Path(), settings, LETTERS, mode, 0, tensors, {})


def test_counting_models_are_scored_on_the_processor():
    for device in ("auto", "cpu"):
        assert isinstance(open_scorer(counting_model(), device), CountingScorer)
    with pytest.raises(SettingsError, match="--device cuda: counting models"):
        open_scorer(counting_model(), "cuda")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (How(cache=5), "--cache is for networks"),
        (How(dynamic=True), "--dynamic is for networks"),
    ],
)
def test_counting_models_have_no_state_to_read_with(how, message):
    with pytest.raises(SettingsError, match=message):
        protocol_of(counting_model(), how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (How("windowed", cache=5), "--cache looks back along one stream, which windows are not"),
        (How("windowed", dynamic=True), "--dynamic learns along one stream, which windows are not"),
        (How(cache=-1), "--cache -1"),
    ],
)
def test_windows_are_no_stream_to_look_back_on(how, message):
    with pytest.raises(SettingsError, match=message):
        protocol_of(random_model(mode="stream"), how)


def test_the_model_decides_how_its_text_is_read():
    stream = random_model(mode="stream")
    assert protocol_of(stream, How()) == "stateful"
    assert protocol_of(stream, How("windowed")) == "windowed"
    assert protocol_of(stream, How(cache=5, dynamic=True)) == "stateful"
    assert protocol_of(random_model(mode="lines"), How()) == "lines"
    assert protocol_of(counting_model("lines"), How()) == "lines"


@pytest.mark.parametrize(
    ("file", "name"), [(None, "--text"), ("-", "standard input"), ("some/where.txt", "where.txt")]
)
def test_the_card_names_the_text_and_the_model(file, name):
    card = scored_alone(counting_model(), Text(ids_of("abcab"), None, file, None), How("windowed"))
    assert card.data.name == name
    assert card.model == CountingModel("ngram", 2, "kneser-ney")
    assert (card.protocol, card.window, card.figures.chars) == ("windowed", 256, 4)
    assert np.isfinite(card.figures.nats_per_char)

"""The section of the report that says where a cache would look back."""

import numpy as np
import pytest
import torch

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.report import lookback
from charrnn.scoring.text import Text
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun

VOCABULARY = Vocabulary("char", (10, 32, 97, 98, 99))
TEXT = "abc abca\n" * 20


@pytest.fixture
def section(tmp_path, monkeypatch, one_thread):
    """section(mode, text) -> what the page has of a random model and a held-out text."""

    def call(mode="stream", text=TEXT):
        settings = Settings().with_values(
            "model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4
        )
        torch.manual_seed(1)
        model = CharModel(settings.model, len(VOCABULARY))
        tensors = {name: value.numpy() for name, value in model.tensors().items()}
        file = ModelFile(tmp_path / "m", settings, VOCABULARY, mode, 0, tensors, {})
        ids = VOCABULARY.encode(text).astype(np.uint8)
        held_out = Text(ids, "test", None, None)
        monkeypatch.setattr(lookback, "text_of_split", lambda run, split: held_out)
        return lookback.lookback_of(OpenedRun(file), lambda line: None)

    return call


def test_it_has_the_characters_that_gained_most_and_a_picture(section):
    found = section()
    assert found is not None
    assert "first 180 characters of the test text it saves" in found["said"]
    gains = [float(row[-1]) for row in found["rows"]]
    assert len(gains) == lookback.MOST_ROWS
    assert gains == sorted(gains, reverse=True)
    assert len(found["lines"]) == lookback.LINES
    assert len(found["columns"]) == lookback.COLUMNS


def test_a_cell_is_right_where_what_followed_there_is_what_came(section):
    found = section()
    assert found is not None
    kinds = set()
    for line, column, share, is_right in found["cells"]:
        assert 0 < share <= 1000
        assert is_right == (found["lines"][line] == found["columns"][column])
        kinds.add(is_right)
    assert kinds == {0, 1}


def test_a_short_text_has_a_small_picture(section):
    found = section(text="abcab")
    assert found is not None
    assert (found["lines"], found["columns"]) == (list("bcab"), list("abca"))


@pytest.mark.parametrize(("mode", "text"), [("lines", TEXT), ("stream", "a")])
def test_where_nothing_can_be_looked_back_on_there_is_no_section(section, mode, text):
    assert section(mode, text) is None

"""The models that come with charrnn: small, found by name last of all, and sound."""

import json
import re
from pathlib import Path

import pytest

from charrnn.cli.chosen import say_chosen
from charrnn.errors import CheckpointError
from charrnn.modelfile import MODEL_FILE, PRETRAINED, model_path, read_model
from charrnn.sampling.engine import Sampler
from charrnn.texts import OpenedRun
from charrnn.training.outcome import weights_sha256

NAMES = ("names", "shakespeare")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_small_and_has_its_text(name):
    folder = PRETRAINED / name
    assert (folder / MODEL_FILE).stat().st_size <= 1_000_000
    model = read_model(folder)
    corpus = OpenedRun(model).own_corpus("")
    assert len(corpus.split("train")) > 30_000
    assert next(Sampler(model).generate(1, length=20, seed=1)).text


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_the_command_and_the_weights(name):
    folder = PRETRAINED / name
    card = (folder / "README.md").read_text()
    assert weights_sha256(read_model(folder).tensors) in card
    command = json.loads((folder / "run.json").read_text())["command"]
    printed = re.search(r"```\n(.*?)```", card, re.DOTALL)[1].replace("\\\n", "").split()
    assert printed == command


def test_a_name_is_a_path_then_a_run_then_a_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_path(Path("names")) == PRETRAINED / "names" / MODEL_FILE
    run = tmp_path / "runs" / "names"
    run.mkdir(parents=True)
    (run / MODEL_FILE).touch()
    assert model_path(Path("names")) == Path("runs/names") / MODEL_FILE
    (tmp_path / "names").touch()
    assert model_path(Path("names")) == Path("names")
    with pytest.raises(CheckpointError, match="no run"):
        model_path(Path("names/x"))


def test_what_was_taken_is_said(capsys):
    say_chosen(Path("names"), read_model(Path("names")))
    assert "names, a model that comes with charrnn" in capsys.readouterr().err

"""The models that come with charrnn: small, found by name last of all, and sound."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import Watcher

from charrnn.cli.chosen import say_chosen
from charrnn.errors import CheckpointError
from charrnn.modelfile import MODEL_FILE, PRETRAINED, model_path, read_model
from charrnn.sampling.engine import Sampler
from charrnn.text import shipped
from charrnn.texts import OpenedRun
from charrnn.training.outcome import weights_sha256
from charrnn.training.session import Request, train

NAMES = ("names", "shakespeare")
CORPORA = Path(__file__).parent.parent / "corpora"


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


# A stream's ids, which the wheel holds once, as the corpus


def test_no_stream_ships_its_ids():
    assert not list((PRETRAINED / "shakespeare" / "corpus").glob("*.ids"))


def test_ids_made_from_the_shipped_text_are_that_text():
    corpus = OpenedRun(read_model(PRETRAINED / "shakespeare")).own_corpus("")
    text = (CORPORA / "shakespeare.txt").read_bytes().decode("ascii")
    symbols = [chr(code) for code in corpus.vocabulary.symbols]
    assert "".join(symbols[place] for place in corpus.ids.tolist()) == text
    assert corpus.bounds["val"] == (1_003_854, 1_115_394)


def test_they_are_made_once_a_process_and_go_with_it():
    code = (
        "from charrnn.modelfile import PRETRAINED, read_model\n"
        "from charrnn.texts import OpenedRun\n"
        "model = read_model(PRETRAINED / 'shakespeare')\n"
        "print(*[OpenedRun(model).own_corpus('').path for _ in range(2)])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = map(Path, said.stdout.split())
    assert first == second
    assert not first.parent.exists()


def test_another_text_in_its_place_is_refused(tmp_path, monkeypatch):
    (tmp_path / "shakespeare.txt").write_text("First Citizen: another edition")
    monkeypatch.setattr(shipped, "shipped", lambda folder, name: tmp_path / name)
    monkeypatch.setattr(shipped, "_folders", {})
    with pytest.raises(CheckpointError, match="does not fit its description"):
        OpenedRun(read_model(PRETRAINED / "shakespeare")).own_corpus("")


def test_without_the_corpus_it_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(shipped, "shipped", lambda folder, name: None)
    monkeypatch.setattr(shipped, "_folders", {})
    with pytest.raises(CheckpointError, match="which is not here; install charrnn again"):
        OpenedRun(read_model(PRETRAINED / "shakespeare")).own_corpus("")


def test_fine_tuning_from_it_has_the_old_text_at_hand(tmp_path):
    """--mix writes that text into the new run, in the ids of the new alphabet."""
    (tmp_path / "my.txt").write_text("What is my text to thee, good Æsop? " * 40)
    settings = {
        "init_from": "shakespeare",
        "mix": 0.3,
        "steps": 1,
        "mode": "stream",
        "threads": 1,
        "batch_size": 4,
    }
    run, _ = train(
        Request(str(tmp_path / "my.txt"), (("--", settings),), run=tmp_path / "r"), Watcher()
    )
    texts = [path.stat().st_size for path in (run / "corpus").glob("*.ids")]
    assert sorted(texts)[-1] == 1_115_394

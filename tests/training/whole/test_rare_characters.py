"""Trainings whose rare characters are bytes: recorded, resumed to the bit, scored as characters."""

import dataclasses
import json

import numpy as np
import pytest
from support import Killed, Watcher

import charrnn
from charrnn.errors import SettingsError
from charrnn.export.hub import _vocabulary as described_vocabulary
from charrnn.insight.cells import pieces, trace
from charrnn.insight.copies import Question, examine
from charrnn.insight.recoded import recoded
from charrnn.lab.models import read_run
from charrnn.modelfile import read_model
from charrnn.report.viewer import viewer
from charrnn.sampling.engine import Sampler
from charrnn.scoring.text import text_of_split
from charrnn.text import rare
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

LAYERS = {
    "hidden_size": 9,
    "num_layers": 1,
    "batch_size": 3,
    "seq_length": 7,
    "steps": 24,
    "save_every": "4",
    "eval_every": "8",
    "threads": 1,
    "split": "0.6,0.2,0.2",
}
TEXT = "".join(
    f"é word {chr(0x4E00 + number)} and {chr(0x1F600 + number % 3)}. " for number in range(90)
)
NEVER_SEEN = "字 Ω"


@pytest.fixture
def corpus(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return str(file)


def trained(corpus, run, watcher=None, **changes):
    request = Request(corpus, (("--", LAYERS | changes),), run=run)
    return train(request, watcher or Watcher())[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rare")
    (folder / "text.txt").write_text(TEXT)
    trained(str(folder / "text.txt"), folder / "run", rare=40)
    return folder / "run"


@pytest.mark.fault("F11 resumes")
@pytest.mark.parametrize("counting", ["on", "off"])
def test_killed_twice_equals_undisturbed(tmp_path, corpus, one_thread, counting):
    expected = trained(corpus, tmp_path / "straight", rare=40, counting=counting)
    for kill_at in (5, 17, None):
        resumed = kill_at != 5
        layers = () if resumed else (("--", LAYERS | {"rare": 40, "counting": counting}),)
        request = Request(None if resumed else corpus, layers, tmp_path / "killed", resume=resumed)
        try:
            found = train(request, Watcher(kill_at))[1]
        except Killed:
            assert kill_at is not None
    assert found.weights_sha256 == expected.weights_sha256
    same = [tmp_path / name / "model.safetensors" for name in ("straight", "killed")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_the_number_is_recorded_and_scores_are_of_characters(run):
    model = read_model(run)
    assert model.settings.text.rare == 40
    assert model.vocabulary.characters == 128 + 1  # and é
    assert len(model.tensors["embedding.weight"]) == len(model.vocabulary)
    said = json.loads((run / "run.json").read_text())["settings"]["text"]["rare"]
    assert said == 40


@pytest.mark.parametrize(("least_chars", "expected"), [(100, 100), (10_000_000, 0)])
def test_what_follows_from_the_text_is_recorded(tmp_path, monkeypatch, least_chars, expected):
    monkeypatch.setattr(rare, "LEAST_CHARS", least_chars)
    file = tmp_path / "large.txt"
    file.write_text("".join(f"word {chr(0x4E00 + number)} and more\n\n" for number in range(700)))
    trained(str(file), tmp_path / "run", steps=2, mode="stream")
    model = read_model(tmp_path / "run")
    assert model.settings.text.rare == expected
    assert (model.vocabulary.spelling is not None) == bool(expected)


def test_characters_never_seen_are_primed_and_scored(run):
    sampler = charrnn.load(run)
    (sample,) = sampler.generate(1, prime=NEVER_SEEN, length=5, seed=1)
    assert sample.text.startswith(NEVER_SEEN)
    assert len(sample.text) == len(NEVER_SEEN) + 5
    nats, chars = sampler.score(NEVER_SEEN)
    assert chars == len(NEVER_SEEN) - 1
    assert np.isfinite(nats)


def test_characters_never_seen_are_learnt_from_a_run_with_bytes(run, tmp_path):
    file = tmp_path / "other.txt"
    file.write_text("字 Ω and é. " * 30)
    steps = {"steps": 4, "init_from": str(run), "split": "0.6,0.2,0.2", "batch_size": 2}
    train(Request(str(file), (("--", steps),), run=tmp_path / "tuned"), Watcher())
    tuned = read_model(tmp_path / "tuned")
    assert tuned.vocabulary == read_model(run).vocabulary
    with pytest.raises(SettingsError, match="--rare 40, not 0"):
        train(Request(str(file), (("--", steps | {"rare": 0}),), run=tmp_path / "no"), Watcher())


def test_the_text_of_a_plain_run_stays_plain_when_it_is_resumed_or_tuned(corpus, tmp_path):
    trained(corpus, tmp_path / "plain", rare=0)
    assert read_model(tmp_path / "plain").vocabulary.spelling is None
    steps = {"steps": 4, "init_from": str(tmp_path / "plain"), "split": "0.6,0.2,0.2"}
    train(Request(corpus, (("--", steps),), run=tmp_path / "tuned"), Watcher())
    assert read_model(tmp_path / "tuned").vocabulary.spelling is None


def test_copies_are_counted_in_characters(run):
    opened = OpenedRun(read_model(run))
    (corpus,) = opened.corpora
    vocabulary = corpus.vocabulary
    (plain,), (piece,) = recoded([corpus], [vocabulary.encode(NEVER_SEEN)])
    assert plain.vocabulary.spelling is None
    assert plain.vocabulary.decode(piece) == NEVER_SEEN
    for split in ("train", "val", "test"):
        text = vocabulary.decode(corpus.split(split))
        assert plain.vocabulary.decode(plain.split(split)) == text
        assert len(plain.split(split)) == len(text) < len(corpus.split(split))
    card = examine(opened, Question(2, length=12))
    assert card.chars == 24
    assert card.held_out.chars == 24


def test_labs_refuse_a_model_whose_symbols_are_no_characters(run):
    with pytest.raises(SettingsError, match="rare characters as bytes; train with --rare 0"):
        read_run(run)


def test_a_hubs_vocabulary_names_the_bytes(run):
    model = read_model(run)
    about = described_vocabulary(model)["characters"]
    assert about[-1] == "<0xF4>"
    assert len(about) == len(model.vocabulary)


def test_cells_and_the_page_show_a_character_as_one(run):
    opened = OpenedRun(read_model(run))
    model = opened.model
    text = text_of_split(opened, "test")
    chars = model.vocabulary.decode(text.ids)
    assert len(text.ids) > len(chars)
    traced = trace(model, text.ids)
    assert "".join(map(chr, traced.codes)) == chars
    activations = traced.activations["layer0.hidden"]
    places = [(place, part["layer0.hidden"]) for place, part in pieces(model, text.ids, 5)]
    assert [place.start for place, _ in places] == list(range(0, len(chars), 5))
    np.testing.assert_allclose(np.concatenate([part for _, part in places]), activations, rtol=1e-5)
    nats, count = Sampler(dataclasses.replace(model, ally=None)).score(chars)
    assert np.nansum(traced.surprise) == pytest.approx(nats, rel=1e-4)
    assert count == len(chars) - 1

    shown = viewer(model, text, [])
    assert "".join(shown["symbols"][index] for index in shown["ids"]) == chars

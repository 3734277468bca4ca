"""Fine-tuning as whole trainings: killed, refused, warned of, recorded."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from finetune_support import NAMES, PLACES, TUNE, old_model
from support import Killed, Watcher

from charrnn.errors import CheckpointError, SettingsError
from charrnn.modelfile import KINDS, read_model
from charrnn.sampling.engine import Sampler
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.corpus import open_corpus
from charrnn.texts import OpenedRun
from charrnn.training import finetune
from charrnn.training.checkpoint import load_newest
from charrnn.training.session import Request, train


def test_a_fine_tuning_of_no_steps_is_the_old_model(tune, bases):
    run, _, said = tune(steps=0, counting="off")
    old = dataclasses.replace(read_model(bases / "lines"), ally=None)  # n-grams are counted again
    new = read_model(run)
    assert set(old.vocabulary.symbols) < set(new.vocabulary.symbols)
    texts = [[s.text for s in Sampler(model).generate(20, seed=1)] for model in (old, new)]
    assert texts[0] == texts[1]
    [note] = [line for line in said if "starting from" in line]
    assert "5 characters ('U' U+0055 LATIN CAPITAL LETTER U, " in note
    assert "'ö' U+00F6 LATIN SMALL LETTER O WITH DIAERESIS) added, " in note
    assert note.endswith("of the old do not occur in this text")
    assert any("; LSTM, " in line for line in said)


def test_new_characters_are_learnt_in_a_few_steps(tune):
    run, _, _ = tune(steps=40, lr=0.05)
    model = read_model(run)
    assert any("ö" in sample.text for sample in Sampler(model).generate(20, seed=1))


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.fault("F11 resumes")
def test_killed_five_times_equals_undisturbed_with_a_frozen_layer_and_an_old_text(
    tune, bases, tmp_path, mode
):
    source = tmp_path / "source"
    shutil.copytree(bases / mode, source)
    changes = {"freeze": "layer0", "mix": 0.4, "source": source}
    straight, expected, _ = tune(mode, "straight", **changes)
    with pytest.raises(Killed):
        tune(
            mode, "killed", Watcher(1), **changes
        )  # only the checkpoint of step 0: the lift is still to come
    shutil.rmtree(source)  # the new run needs nothing of the old
    (tmp_path / "killed").rename(tmp_path / "moved")
    for kill_at in (5, 9, 17, 18, None):
        watcher = Watcher(kill_at)
        try:
            _, outcome = train(Request(None, (), run=tmp_path / "moved", resume=True), watcher)
        except Killed:
            assert kill_at is not None
    assert outcome.weights_sha256 == expected.weights_sha256
    before, after = read_model(bases / mode).tensors, load_newest(straight)[0].model.tensors
    for name in before:
        if not name.startswith(("embedding", "head")):
            assert np.array_equal(before[name], after[name]) == name.endswith("_l0"), name


def test_the_text_mixed_in_is_the_old_one_in_new_ids(tune, bases):
    run, _, _ = tune(mix=0.4, steps=2)
    old, new = read_model(bases / "lines"), load_newest(run)[0]
    before = open_corpus(bases / "lines/corpus", old.meta["fingerprint"])
    after = open_corpus(run / "corpus", new.meta["mixed"])
    assert after.vocabulary == new.model.vocabulary
    for split in ("train", "val", "test"):
        assert after.vocabulary.decode(after.split(split)) == before.vocabulary.decode(
            before.split(split)
        )


@pytest.mark.parametrize("changes", [{}, {"mix": 0.3}])
def test_a_line_of_the_old_text_is_not_novel(tune, bases, changes):
    run, _, _ = tune(steps=2, **changes)
    old = read_model(bases / "lines")
    corpus = open_corpus(bases / "lines/corpus", old.meta["fingerprint"])
    line = corpus.vocabulary.decode(corpus.split("train")).split("\n")[0]
    known = OpenedRun(read_model(run)).novelty

    def is_novel(text):
        return known.is_novel(text.encode())

    assert is_novel(line) is not True
    assert is_novel("Zzxqq") is True


def test_another_unit_sizes_or_cell_are_refused_with_both_values(tune):
    for changes, says in (
        ({"hidden_size": 10}, "--hidden-size: --init-from .*lines has --hidden-size 9, not 10"),
        ({"cell": "gru"}, "has --cell lstm, not gru"),
        ({"unit": "byte"}, "has --unit char, not byte"),
        ({"tie_weights": True}, "has --tie-weights False, not True"),
        ({"skip": "dense"}, "--skip none, not dense"),
    ):
        with pytest.raises(SettingsError, match=says):
            tune(**changes)


def test_dropout_may_differ_and_normalisation_is_taken_over_unless_asked(tune, tmp_path):
    source, _, _ = tune(run="nfd", normalize="nfd", steps=1)
    run, _, _ = tune(source=source, dropout=0.5, steps=1)
    settings = read_model(run).settings
    assert (settings.model.dropout, settings.text.normalize) == (0.5, "nfd")
    run, _, _ = tune(source=source, run="asked", normalize="nfc", steps=1)
    assert read_model(run).settings.text.normalize == "nfc"


@pytest.mark.parametrize("freeze", ["embedding", "head"])
def test_new_characters_and_a_frozen_alphabet_are_refused(tune, freeze, tmp_path):
    with pytest.raises(
        SettingsError, match=r"'ö' U\+00F6.* that .* does not know and could not learn"
    ):
        tune(freeze=freeze)
    assert not (tmp_path / "tuned").exists()
    tune(freeze=freeze, text=NAMES, steps=1)


@pytest.mark.parametrize("key", ["freeze", "mix"])
def test_freeze_and_mix_are_for_runs_that_start_from_another(tune, key):
    value = {"freeze": "head", "mix": 0.5}[key]
    with pytest.raises(SettingsError, match=f"--{key}.*give --init-from RUN too"):
        train(Request("names", (("--", {key: value}),)), Watcher())


def test_a_model_without_its_text_cannot_be_mixed(tune, bases, tmp_path):
    shutil.copy(bases / "lines/model.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(CheckpointError, match=r"--mix needs .*not inside a run directory"):
        tune(source=tmp_path / "alone.safetensors", mix=0.2)
    tune(source=tmp_path / "alone.safetensors", steps=1)


def test_a_damaged_text_cannot_be_mixed(tune, bases, tmp_path):
    shutil.copytree(bases / "lines", tmp_path / "source")
    ids = next((tmp_path / "source/corpus").glob("*.ids"))
    ids.write_bytes(ids.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"--mix needs .*does not fit its description"):
        tune(source=tmp_path / "source", mix=0.2)


def test_texts_of_two_modes_are_not_mixed_and_the_difference_is_said(tune, bases):
    with pytest.raises(
        SettingsError, match=r"learnt a text of lines, and this one is read as stream"
    ):
        tune("stream", source=bases / "lines", mix=0.2)
    _, _, said = tune("stream", source=bases / "lines", steps=1)
    assert any("it learnt lines, and this text is read as stream" in line for line in said)


def test_a_missing_or_damaged_model_is_refused(tune, bases, tmp_path):
    with pytest.raises(CheckpointError, match="no run or checkpoint"):
        tune(source=tmp_path / "none")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((bases / "lines/model.safetensors").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged|not a charrnn checkpoint"):
        tune(source=damaged)


def test_a_model_that_counts_is_refused(tune, monkeypatch):
    def counting(path):
        old = old_model("lstm", 1, "none", False)
        model = dataclasses.replace(old.settings.model, cell="ngram")
        return dataclasses.replace(old, settings=dataclasses.replace(old.settings, model=model))

    monkeypatch.setattr(finetune, "read_model", counting)
    with pytest.raises(SettingsError, match="a model of cell ngram counts"):
        tune()


def test_the_run_that_would_be_overwritten_is_no_source(bases, tmp_path):
    shutil.copytree(bases / "lines", tmp_path / "source")
    settings = TUNE | {"init_from": str(tmp_path / "source" / "model.safetensors")}
    with pytest.raises(SettingsError, match="--overwrite would remove"):
        train(
            Request(
                str(bases / "lines.txt"),
                (("--", settings),),
                run=tmp_path / "source",
                overwrite=True,
            ),
            Watcher(),
        )


def test_the_same_text_again_can_be_mixed_with_itself(tune, bases):
    run, _, _ = tune(text=NAMES, mix=0.5, steps=3)
    assert len(list((run / "corpus").glob("*.ids"))) == 1
    train(Request(None, (("--", {"steps": 5}),), run=run, resume=True), Watcher())


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("init_from", "--init-from .*lines, not elsewhere"),
        ("freeze", "--freeze layer0, not head"),
        ("mix", "--mix 0.25, not 0.5"),
    ],
)
def test_a_resume_with_another_source_is_refused(tune, key, says):
    run, _, _ = tune(freeze="layer0", mix=0.25, steps=2)
    value = {"init_from": "elsewhere", "freeze": "head", "mix": 0.5}[key]
    with pytest.raises(SettingsError, match=says):
        train(Request(None, (("--", {key: value, "steps": 4}),), run=run, resume=True), Watcher())


def test_run_json_and_checkpoint_name_the_source(tune, bases):
    run, _, _ = tune(steps=1)
    about = json.loads((run / "run.json").read_text())
    assert about["settings"]["training"]["init_from"] == str(bases / "lines")
    assert about["origins"]["hidden_size"] == f"--init-from {bases / 'lines'}"
    assert load_newest(run)[0].model.settings.training.init_from == str(bases / "lines")


def test_a_model_of_bytes_keeps_its_unit(tune):
    source, _, _ = tune_bytes(tune)
    run, _, said = tune(source=source, steps=1, run="again", text=PLACES.replace("ö", "é"))
    assert read_model(run).vocabulary.unit == "byte"
    assert any("1 character (byte 0xA9) added" in line for line in said)


def tune_bytes(tune):
    """A byte model without a source."""
    return tune(
        run="bytes",
        unit="byte",
        steps=1,
        init_from="",
        hidden_size=6,
        num_layers=1,
        embedding_size=4,
    )


def test_a_checkpoint_from_before_there_was_fine_tuning_resumes(bases, tmp_path):
    shutil.copytree(bases / "lines", tmp_path / "old")
    newest = load_newest(tmp_path / "old")[0].path
    tensors, meta = read_tensors(newest, KINDS)
    for key in ("init_from", "freeze", "mix"):
        del meta["settings"]["training"][key]
    del meta["sha256"]
    write_tensors(newest, tensors, meta)
    _, outcome = train(
        Request(None, (("--", {"steps": 33}),), run=tmp_path / "old", resume=True), Watcher()
    )
    assert outcome.place.step == 33


def test_held_out_lines_that_the_earlier_model_learnt_are_warned_of(tmp_path):
    """Another seed divides the same names otherwise: most of the new validation lines were training
    lines.
    """
    path = tmp_path / "names.txt"
    path.write_text(NAMES)
    small = {
        "hidden_size": 4,
        "embedding_size": 3,
        "steps": 1,
        "threads": 1,
        "split": "0.6,0.2,0.2",
    }
    train(Request(str(path), (("--", small | {"seed": 1}),), run=tmp_path / "old"), Watcher())
    said = {}
    for seed in (1, 2):
        layer = {
            "init_from": str(tmp_path / "old"),
            "steps": 1,
            "threads": 1,
            "split": "0.6,0.2,0.2",
            "seed": seed,
        }
        watcher = Watcher()
        train(Request(str(path), (("--", layer),), run=tmp_path / f"new{seed}"), watcher)
        said[seed] = [line for line in watcher.said if "the earlier model learnt" in line]
    assert said[1] == [] and len(said[2]) == 2 and "use the same --seed" in said[2][0]

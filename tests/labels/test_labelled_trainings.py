"""Trainings with labels: batches, exact resume, validation, fine-tuning, and their commands."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from labels_support import TEXT
from support import FEW, Killed, Watcher

from charrnn.modelfile import read_model
from charrnn.text.batches import LineBatches
from charrnn.text.labels import is_dropped
from charrnn.training.session import Request, train

LABELLED = "".join(f"{name[0] < 'M'}\t{name}\n" for name in FEW) + "Zo\nYpsi\n"
SETTINGS = {
    "label": "prefix",
    "hidden_size": 7,
    "embedding_size": 5,
    "num_layers": 1,
    "dropout": 0.2,
    "batch_size": 5,
    "lr": 0.02,
    "steps": 24,
    "save_every": "4",
    "eval_every": "7",
    "threads": 1,
    "counting": "off",
}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text(LABELLED)
    return str(path)


def trained(text, run, **more):
    return train(Request(text, (("--", SETTINGS | more),), run=run), Watcher())[1]


def test_a_batch_begins_with_labels_and_drops_some():
    ids = np.array([1, 2, 0, 3, 0, 0, 4, 4, 4, 0] * 40, np.uint8)
    first = np.array([20, 21, 99, 22] * 40)  # 99: of the blank lines
    labelled = LineBatches(ids, 0, 16, seed=5, first=first)
    plain = LineBatches(ids, 0, 16, seed=5)
    of_line = {1: 20, 3: 21, 4: 22}
    dropped = rows = 0
    for step in range(60):
        batch = labelled.batch(step)
        other = plain.batch(step)
        assert (batch.targets == other.targets).all()
        assert (batch.inputs[:, 1:] == other.inputs[:, 1:]).all()
        drops = is_dropped(len(batch.inputs), 5, step)
        expected = [of_line[int(line)] for line in batch.targets[:, 0]]
        assert batch.inputs[:, 0].tolist() == np.where(drops, 0, expected).tolist()
        assert (labelled.batch(step).inputs == batch.inputs).all()
        dropped += int(drops.sum())
        rows += len(drops)
    assert dropped / rows == pytest.approx(0.1, abs=0.04)  # four standard deviations


def test_a_killed_training_with_labels_resumes_exactly(text, tmp_path, one_thread):
    expected = trained(text, tmp_path / "straight")
    run = tmp_path / "killed"
    for kill_at in (6, 13, None):
        request = Request(
            text if kill_at == 6 else None,
            (("--", SETTINGS),) if kill_at == 6 else (),
            run=run,
            resume=kill_at != 6,
        )
        try:
            _, outcome = train(request, Watcher(kill_at))
        except Killed:
            assert kill_at is not None
    assert outcome.weights_sha256 == expected.weights_sha256
    assert (
        outcome.weights_sha256
        != trained(text, tmp_path / "no", label="file", column="none").weights_sha256
    )


def test_fine_tuning_adds_labels_and_keeps_the_old(text, tmp_path):
    trained(text, tmp_path / "old")
    old = read_model(tmp_path / "old")
    assert old.vocabulary.labels == ("False", "True")
    more = tmp_path / "more.tsv"
    more.write_text(TEXT)
    kept = ("hidden_size", "embedding_size", "num_layers")
    settings = {key: value for key, value in SETTINGS.items() if key not in kept}
    settings |= {"init_from": str(tmp_path / "old"), "steps": 0, "mix": 0.3}
    watcher = Watcher()
    train(Request(str(more), (("--", settings),), run=tmp_path / "new"), watcher)
    new = read_model(tmp_path / "new")
    assert new.vocabulary.labels == ("False", "True", "Greek", "Irish", "Norse")
    found = new.tensors["labels.weight"]
    assert np.array_equal(found[:2], old.tensors["labels.weight"])
    assert not found[2:].any()
    assert any("3 labels too" in said for said in watcher.said)
    train(Request(None, (("--", {"steps": 2}),), run=tmp_path / "new", resume=True), Watcher())


def command(*arguments):
    """The exit code of a command, and its standard output and error."""
    words = [sys.executable, "-m", "charrnn", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, timeout=240, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.medium
def test_the_commands_know_labels(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(text, tmp_path / "run")
    _, _, err = command("train", "--resume", "--run", "run", "--steps", 26)
    assert err.endswith("now: charrnn sample run --label False\n")
    code, out, _ = command("sample", "run", "--label", "all", "-n", 4, "--seed", 1)
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert [line.split("\t")[0] for line in lines] == ["False", "True"] * 2
    one = ("sample", "run", "--label", "True", "-n", 2, "--seed", 1)
    assert command(*one)[1].splitlines() == [line.split("\t")[1] for line in lines[1::2]]
    _, out, _ = command(*one, "--json", "--unique", "--min-length", 2, "--prime", "K")
    for row in map(json.loads, out.splitlines()):
        assert row["label"] == "True"
        assert row["text"].startswith("K")
    code, out, err = command("sample", "run", "--label", "Treu")
    assert (code, out) == (2, "")
    assert "'Treu' is not among the 2 labels this model knows; the nearest: True" in err
    _, out, _ = command("eval", "run", "--file", text, "--json", "--no-baselines")
    with_labels = json.loads(out)
    (tmp_path / "plain.txt").write_text(LABELLED.replace("True\t", "").replace("False\t", ""))
    _, out, _ = command("eval", "run", "--file", "plain.txt", "--json", "--no-baselines")
    without = json.loads(out)
    assert with_labels["chars"] == without["chars"]
    assert with_labels["nats_per_char"] != without["nats_per_char"]


def test_validation_reads_the_labels(text, tmp_path):
    """Independent: the sampler's nats of each line after its label."""
    from charrnn.sampling.engine import Sampler
    from charrnn.text.corpus import open_corpus

    outcome = trained(text, tmp_path / "run", ema=0.0, dropout=0.0)
    model = read_model(tmp_path / "run")
    corpus = open_corpus(tmp_path / "run/corpus", model.meta["fingerprint"])
    ids = corpus.split("val").astype(np.int64)
    lines = np.split(ids, np.flatnonzero(ids == 0)[:-1] + 1)
    sampler = Sampler(model, engine="numpy")
    nats = sum(
        sampler.feed(np.append(first, line))[2]
        for first, line in zip(corpus.first_ids("val"), lines, strict=True)
    )
    assert nats / len(ids) == pytest.approx(outcome.place.best_nats, rel=1e-4)
    assert dataclasses.asdict(model.settings.text)["label"] == "prefix"

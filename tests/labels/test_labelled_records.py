"""Labels of records: before a delimiter in the first line, as that line, of files and columns."""

import dataclasses

import numpy as np
import pytest
from support import Watcher

from charrnn.config import TextSettings
from charrnn.modelfile import read_model
from charrnn.sampling.engine import load
from charrnn.scoring.evaluation import How
from charrnn.scoring.labels import scores_by_label
from charrnn.scoring.text import text_of_split
from charrnn.text.batching import make_batches
from charrnn.text.building import build, survey
from charrnn.text.labels import is_dropped
from charrnn.text.records import BREAK_SIGN
from charrnn.text.splits import SPLITS
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

RECORDS = [
    (("soup", "salad", "")[number % 3], f"Dish {number}\n\nstir: {number * n}\nserve")
    for n in (1, 7)
    for number in range(12)
]
PREFIX = TextSettings(label="prefix", mode="records", delimiter=":", split="0.6,0.2,0.2")


def built(tmp_path, text, settings):
    path = tmp_path / "dishes.txt"
    path.write_text(text)
    return build(survey(str(path), settings, 1), settings, 1, tmp_path / "corpus")[0]


def pairs_of(corpus, name):
    """(label, record) of each record of a split, in order; the label is "" where there is none."""
    ids = np.asarray(corpus.split(name))
    parts = np.split(ids, np.flatnonzero(ids == corpus.vocabulary.newline) + 1)[:-1]
    records = [corpus.vocabulary.decode(part[:-1]) for part in parts]
    names = ["", *corpus.vocabulary.labels]
    return [(names[k], one) for k, one in zip(corpus.labels_of(name), records, strict=True)]


def found(corpus):
    return sorted(pair for name in SPLITS for pair in pairs_of(corpus, name))


def with_prefixes(end=":"):
    return "".join(f"{label}{end if label else ''}{item}\n---\n" for label, item in RECORDS)


def test_a_records_label_stands_in_its_first_line(tmp_path):
    """The colon of an unlabelled record's third line is none."""
    corpus = built(tmp_path, with_prefixes(), PREFIX)
    assert found(corpus) == sorted(set(RECORDS))


@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_a_first_line_may_be_the_label(tmp_path, between):
    records = [pair for pair in RECORDS if pair[0]]
    text = "".join(f"{label}{between}{item}\n---\n" for label, item in records)
    settings = dataclasses.replace(PREFIX, delimiter="\\n")
    assert found(built(tmp_path, text, settings)) == sorted(set(records))


def test_files_name_the_labels_of_their_records(tmp_path):
    folder = tmp_path / "dishes"
    folder.mkdir()
    for label in ("soup", "salad"):
        own = [item for name, item in RECORDS if name == label]
        (folder / f"{label}.txt").write_text("\n---\n".join(own))
    settings = TextSettings(label="file", mode="records")
    corpus = build(survey(str(folder), settings, 1), settings, 1, tmp_path / "corpus")[0]
    assert found(corpus) == sorted({pair for pair in RECORDS if pair[0]})


def test_a_table_has_records_with_labels(tmp_path):
    path = tmp_path / "dishes.csv"
    rows = "".join(f'"{item}",{label}\n' for label, item in RECORDS)
    path.write_text("dish,kind\n" + rows)
    settings = TextSettings(column="dish", label="kind", mode="records")
    corpus = build(survey(str(path), settings, 1), settings, 1, tmp_path / "corpus")[0]
    assert found(corpus) == sorted(set(RECORDS))


def test_windows_begin_with_the_label_of_their_record(tmp_path):
    corpus = built(tmp_path, with_prefixes(), PREFIX)
    newline = corpus.vocabulary.newline
    batches = make_batches(corpus, 5, 9, seed=3)
    label_of = {item: label for label, item in pairs_of(corpus, "train")}
    ids = {"": newline} | corpus.vocabulary.label_ids
    begun = dropped = ended = 0
    texts = [""] * batches.rows
    labels = [0] * batches.rows
    for step in range(80):
        batch = batches.batch(step)
        drops = is_dropped(batches.rows, 3, step)
        for row in range(batches.rows):
            if batch.begins[row]:
                texts[row] = ""
                labels[row] = int(batch.inputs[row, 0])
                begun += 1
                dropped += int(drops[row])
                was_dropped = drops[row]
                labels[row] = -1 if was_dropped else labels[row]
                assert not was_dropped or batch.inputs[row, 0] == newline
            else:
                assert batch.inputs[row, 0] < len(corpus.vocabulary)
            targets = batch.targets[row][batch.targets[row] >= 0].numpy()
            texts[row] += corpus.vocabulary.decode(targets)
            if targets[-1:] == [newline] and labels[row] >= 0:
                assert labels[row] == ids[label_of[texts[row][:-1]]]
                ended += 1
    assert begun > 60 < ended
    assert 0 < dropped < begun / 3


@pytest.mark.parametrize("cell", ["gru", "ngram"])
def test_records_with_labels_are_trained_sampled_and_scored(tmp_path, cell):
    path = tmp_path / "dishes.txt"
    path.write_text(with_prefixes())
    asked = {"label": "prefix", "mode": "records", "delimiter": ":", "cell": cell, "threads": 1}
    if cell == "gru":
        sizes = {"hidden_size": 8, "embedding_size": 5, "num_layers": 1, "batch_size": 4}
        asked |= sizes | {"seq_length": 16, "steps": 30, "lr": 0.03, "split": "0.6,0.2,0.2"}
    train(Request(str(path), (("--", asked),), run=tmp_path / "run"), Watcher())
    opened = OpenedRun(read_model(tmp_path / "run"))
    everything, *scores = scores_by_label(opened.model, text_of_split(opened, "val"), How())
    assert sum(score.chars for score in scores) == everything.chars
    sampler = load(tmp_path / "run")
    soup = [one.text for one in sampler.generate(3, label="soup", seed=2, length=40)]
    salad = [one.text for one in sampler.generate(3, label="salad", seed=2, length=40)]
    assert soup != salad
    assert BREAK_SIGN not in "".join(soup)
    p = [p for _, p in sampler.classify("Dish 1\n\nstir: 7\nserve")]
    assert np.isclose(sum(p), 1)

"""What pages know of labels: samples of each in a report, and the model in an exported page."""

import dataclasses

import numpy as np
from labels_support import LABELS, labelled_model

from charrnn.export.model import packed_model
from charrnn.report.finished import LABEL_LINES, finished_of
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler


def counted_model(counts=(3, 9, 5)):
    model = labelled_model(is_mixed=True)
    return dataclasses.replace(model, meta=model.meta | {"label_counts": list(counts)})


def test_a_report_shows_samples_of_each_label_the_most_frequent_first():
    found = finished_of(counted_model())["labelled"]
    assert [one["label"] for one in found] == ["Irish", "Norse", "Greek"]
    sampler = Sampler(counted_model())
    expected = sampler.generate(LABEL_LINES, decoding=Decoding(0.8), seed=1, label="Irish")
    assert found[0]["texts"] == [one.text for one in expected]


def test_a_report_shows_a_few_of_many_labels():
    model = counted_model()
    labels = tuple(map(str, range(30)))
    vocabulary = dataclasses.replace(model.vocabulary, labels=labels)
    rows = np.zeros((30, 5), np.float32)
    tensors = model.tensors | {"labels.weight": rows}
    model = dataclasses.replace(model, vocabulary=vocabulary, tensors=tensors, ally=None, meta={})
    assert len(finished_of(model)["labelled"]) == 9


def test_a_report_of_a_model_without_labels_shows_none():
    assert finished_of(counted_model().without_labels())["labelled"] == []


def test_a_page_has_the_labels_and_their_n_grams():
    model = counted_model()
    packed = packed_model(model, with_filter=False)
    assert packed["labels"]["names"] == list(LABELS)
    assert "labels.weight" in [name for name, *_ in packed["tensors"]]
    assert packed["counting"]["labels"]["share"] == model.ally.by_label.share
    assert len(packed["counting"]["labels"]["levels"]) == 3


def test_a_page_without_labels_is_as_before():
    packed = packed_model(counted_model().without_labels(), with_filter=False)
    assert packed["labels"] == {"names": [], "seeds": []}
    assert packed["counting"]["labels"] is None

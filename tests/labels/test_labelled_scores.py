"""Scores by label, classification, and counting by label, each beside an independent reference."""

import dataclasses

import numpy as np
import pytest
from labels_support import LABELS, labelled_model
from support import FEW, Watcher

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, SettingsError
from charrnn.modelfile import read_model
from charrnn.sampling.engine import Sampler
from charrnn.scoring.counting import best_ngram
from charrnn.scoring.evaluation import How
from charrnn.scoring.label_counting import LabelCounting
from charrnn.scoring.labels import classified, scores_by_label
from charrnn.scoring.text import text_given, text_of_split
from charrnn.text.building import build, survey
from charrnn.text.counting import count
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

LABELLED = "".join(f"{'early' if name[0] < 'M' else 'late'}\t{name}\n" for name in FEW) * 2
LABELLED += "early\tTwin\nlate\tTwin\nNone\n"
SETTINGS = {
    "label": "prefix",
    "split": "0.5,0.25,0.25",
    "hidden_size": 8,
    "embedding_size": 5,
    "num_layers": 1,
    "batch_size": 8,
    "lr": 0.03,
    "steps": 30,
    "threads": 1,
    "counting": "off",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    (folder / "names.tsv").write_text(LABELLED)
    request = Request(str(folder / "names.tsv"), (("--", SETTINGS),), run=folder / "run")
    train(request, Watcher())
    return OpenedRun(read_model(folder / "run"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "names.tsv"
    path.write_text(LABELLED)
    return path


def whole_text(run, file):
    return text_given(run, file, None, run.model.reading, "error")


def lines_of(text, vocabulary):
    return vocabulary.decode(text.ids).split("\n")[:-1]


@pytest.mark.parametrize("prior", ["count", "flat"])
def test_the_label_found_is_the_likeliest_after_the_prior(run, file, prior):
    """Independent: the sampler, line by line."""
    model = run.model
    text = whole_text(run, file)
    result = classified(model, text, How(), prior)
    sampler = Sampler(model, engine="numpy")
    expected = np.zeros((2, 2), int)
    left_out = 0
    for line, number in zip(lines_of(text, model.vocabulary), text.labels, strict=True):
        if line in ("Twin", "None"):
            left_out += 1
            continue
        [(found, p), (other, q)] = sampler.classify(line, prior=prior)
        assert p + q == pytest.approx(1)
        assert {found, other} == {"early", "late"}
        expected[number - 1, ["early", "late"].index(found)] += 1
    assert result.confusion == expected.tolist()
    assert (result.lines, result.left_out) == (expected.sum(), left_out)
    assert result.accuracy == pytest.approx(expected.trace() / expected.sum())


def test_the_file_keeps_the_training_lines_of_each_label(run):
    labels = run.corpora[0].labels_of("train")
    assert run.model.label_counts.tolist() == [(labels == 1).sum(), (labels == 2).sum()]


def test_scores_by_label_add_up(run, file):
    text = whole_text(run, file)
    everything, *scores = scores_by_label(run.model, text, How())
    assert {score.label for score in scores} == {"early", "late", "(none)"}
    assert sum(score.lines for score in scores) == everything.lines == len(text.labels)
    nats = sum(score.nats_per_char * score.chars for score in scores)
    assert nats == pytest.approx(everything.nats_per_char * everything.chars)
    sampler = Sampler(run.model, engine="numpy").labelled("late")
    lines = zip(lines_of(text, run.model.vocabulary), text.labels, strict=True)
    late = [sampler.score(line) for line, number in lines if number == 2]
    [score] = [score for score in scores if score.label == "late"]
    assert score.chars == sum(chars for _, chars in late)
    expected = sum(nats for nats, _ in late) / score.chars
    assert score.nats_per_char == pytest.approx(expected, rel=1e-4)


def test_counting_by_label_is_the_mixture_of_two_countings(tmp_path):
    """Independent: n-grams of the label's lines and of all, mixed by hand."""
    path = tmp_path / "names.tsv"
    path.write_text(LABELLED)
    settings = TextSettings(label="prefix", split="0.5,0.25,0.25", deduplicate=False)
    corpus = build(survey(str(path), settings, 1), settings, 1, tmp_path / "corpus")[0]
    everyone = best_ngram(corpus)
    counting = LabelCounting(corpus, everyone)
    counting._share = 100.0
    size = len(corpus.vocabulary)
    train = np.asarray(corpus.split("train"))
    labels = corpus.labels_of("train")
    ends = np.flatnonzero(train == 0)
    late = np.repeat(labels, np.diff(ends, prepend=-1)) == 2
    own = count(train[late], size, counting.order, 0)
    w = late.sum() / (late.sum() + 100.0)
    ids = corpus.vocabulary.encode("Lora\nZoe\n".replace("Z", "N"))

    def p_of(ngram):
        return np.concatenate([p for _, p, _ in ngram.with_contexts(ids, None)])

    nats = -np.log(w * p_of(own) + (1 - w) * p_of(everyone))
    expected = [nats[:5].sum(), nats[5:].sum()]
    assert counting.nats(ids, np.array([2, 2])) == pytest.approx(expected)
    found = counting.nats_of_all(ids, np.array([1, 2]))
    assert found[:, 1] == pytest.approx(expected)
    alone = counting.nats(ids, np.array([0, 0]))
    assert alone == pytest.approx(
        [-np.log(p_of(everyone))[:5].sum(), -np.log(p_of(everyone))[5:].sum()]
    )


def test_a_text_without_labels_is_not_classified(run):
    text = text_given(run, None, "Anna", run.model.reading, "error")
    for ask in (lambda: classified(run.model, text, How(), "flat"),):
        with pytest.raises(SettingsError, match="this text has no labels"):
            ask()
    unlabelled = dataclasses.replace(
        text_of_split(run, "val"), labels=np.zeros_like(run.corpora[0].labels_of("val"))
    )
    with pytest.raises(CorpusError, match="no line of this text has one label"):
        classified(run.model, unlabelled, How(), "flat")


def test_classify_knows_every_label_and_needs_one():
    sampler = Sampler(labelled_model(), engine="numpy")
    found = sampler.classify("\x0b\x0c")
    assert sorted(label for label, _ in found) == list(LABELS)
    assert sum(p for _, p in found) == pytest.approx(1)
    plain = Sampler(
        dataclasses.replace(
            labelled_model(),
            vocabulary=dataclasses.replace(labelled_model().vocabulary, labels=()),
            tensors={k: v for k, v in labelled_model().tensors.items() if k != "labels.weight"},
        ),
        engine="numpy",
    )
    with pytest.raises(SettingsError, match="this model knows no labels"):
        plain.classify("\x0b")


def test_the_picture_shows_shares_of_rows_and_the_counts(monkeypatch):
    """Wide as few labels are; black on bright, white on dark, and no zeros."""
    pytest.importorskip("matplotlib")
    from charrnn import picture

    drawn = []
    monkeypatch.setattr(picture, "_written", lambda figure, *_, **__: drawn.append(figure))
    picture.confusion("title", ["a", "b", "c"], [[3, 1, 0], [0, 1500, 0], [0, 0, 0]], "png")
    axes = drawn[0].axes[0]
    shares = [[75, 25, 0], [0, 100, 0], [0, 0, 0]]
    assert axes.images[0].get_array().tolist() == shares
    numbers = [(word.get_position(), word.get_text(), word.get_color()) for word in axes.texts]
    assert numbers == [
        ((0, 0), "3", "black"),
        ((1, 0), "1", "white"),
        ((1, 1), "1,500", "black"),
    ]

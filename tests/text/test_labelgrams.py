"""Counting that knows labels: its formula, its files, and which labels are counted."""

import numpy as np
import pytest
from kneser_ney import LinesReference

from charrnn.text import labelgrams
from charrnn.text.counting import count
from charrnn.text.labelgrams import LabelGrams, count_labels, label_grams

SIZE = 6
LINES = ["12", "1233", "35", "3512", "5", "121", "4433", "1255", "331", "3345"]
LABELS = np.array([1, 1, 2, 2, 1, 3, 0, 1, 2, 3])
SMOOTHINGS = ["kneser-ney", "witten-bell"]


def ids_of(lines):
    return np.array([int(char) for line in lines for char in line + "0"])


def counted(smoothing="kneser-ney", order=3, share=10.0):
    ngram = count(ids_of(LINES), SIZE, order, 0, smoothing)
    made = count_labels(ngram, ids_of(LINES), LABELS)
    return LabelGrams(ngram, made.owned, share)


class Reference:
    """The formula at the head of labelgrams.py, in dictionaries."""

    def __init__(self, number, smoothing, share):
        texts = [[*line, "0"] for line in LINES]
        self.everyone = LinesReference(texts, SIZE, 3, smoothing)
        own = [text for text, label in zip(texts, LABELS, strict=True) if label == number]
        self.own = LinesReference(own, SIZE, 3, smoothing)
        n = sum(map(len, own))
        self.trust = n / (n + share)

    def probability(self, before, char):
        marked = ["beginning of a line"] * 2 + list(before)
        p = 1 / SIZE
        for n in (1, 2, 3):
            context = tuple(marked[len(marked) - n + 1 :])
            following = self.own.following[n - 1].get(context, {})
            t = sum(following.values())
            w = self.trust * t / (t + len(following) / 2) if t else 0.0
            own = self.own.interpolated(n, context, char, p)
            p = w * own + (1 - w) * self.everyone.interpolated(n, context, char, p)
        return p


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_label_is_counted_by_the_formula(number, smoothing):
    model = counted(smoothing).of(number)
    reference = Reference(number, smoothing, 10.0)
    for line in ("1233", "5", "44", "2154"):
        found = model.probabilities(ids_of([line]))
        text = [*line, "0"]
        expected = [reference.probability(text[:at], char) for at, char in enumerate(text)]
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("number", [0, 4])
def test_a_label_without_n_grams_is_counted_as_all_are(number):
    grams = counted()
    assert grams.of(number) is grams.ngram


def test_a_large_share_leaves_little_to_the_label():
    ids = ids_of(["123"])
    grams = counted(share=1e12)
    expected = grams.ngram.probabilities(ids)
    assert grams.of(1).probabilities(ids) == pytest.approx(expected, rel=1e-9)
    assert counted(share=0.1).of(1).probabilities(ids) != pytest.approx(expected, rel=0.05)


def test_the_share_is_the_one_that_predicts_best():
    grams = counted()
    for lines, labels in ((LINES, LABELS), (["35", "121"], np.array([1, 2]))):
        ids = ids_of(lines)
        found = grams.fitted(ids, labels).share

        def nats(share, ids=ids, labels=labels):
            one = LabelGrams(grams.ngram, grams.owned, share)
            parts = zip(np.split(ids, np.flatnonzero(ids == 0) + 1), labels, strict=False)
            return -sum(np.log(one.of(number).probabilities(part)).sum() for part, number in parts)

        assert found == min(labelgrams.SHARES, key=nats)


def test_the_most_frequent_labels_are_counted(monkeypatch):
    assert list(counted().owned) == [1, 2, 3]
    monkeypatch.setattr(labelgrams, "MOST_CELLS", 1)
    assert list(counted().owned) == [1, 2]


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_they_come_back_from_a_file(smoothing):
    grams = counted(smoothing)
    again = label_grams(grams.tensors(4), grams.ngram, 4)
    assert again.share == grams.share
    for number in range(5):
        for found, weights in zip(again.of(number).weights, grams.of(number).weights, strict=True):
            assert np.array_equal(found.gain, weights.gain)
            assert np.array_equal(found.back, weights.back)


def test_large_counts_come_back():
    lines = ["1"] * 300 + ["2"] * 9
    ngram = count(ids_of(lines), SIZE, 2, 0)
    grams = count_labels(ngram, ids_of(lines), np.array([1] * 300 + [2] * 9))
    again = label_grams(grams.tensors(300), ngram, 300)
    assert again.owned[1][1].counts.max() == 300
    assert again.owned[1][1].counts.tolist() == grams.owned[1][1].counts.tolist()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bylabel.share", None),
        ("bylabel.share", np.array([np.nan])),
        ("bylabel.share", np.array([1.0, 2.0])),
        ("bylabel.2.labels", None),
        ("bylabel.2.labels", np.zeros(3, np.uint8)),
        ("bylabel.4.labels", np.ones(3, np.uint8)),
        ("bylabel.1.counts", np.zeros(3, np.int64)),
        ("bylabel.1.large", np.array([3], np.uint32)),
    ],
)
def test_what_is_damaged_is_refused(name, part):
    grams = counted()
    tensors = grams.tensors(3) | {name: part}
    tensors = {key: value for key, value in tensors.items() if value is not None}
    with pytest.raises(ValueError, match="share|label"):
        label_grams(tensors, grams.ngram, 3)


@pytest.mark.parametrize("number", [0, 4])
def test_a_number_that_is_no_label_is_refused(number):
    grams = counted()
    tensors = grams.tensors(3)
    tensors["bylabel.2.labels"][-1] = number
    with pytest.raises(ValueError, match="labels out of range"):
        label_grams(tensors, grams.ngram, 3)


def test_labels_out_of_order_are_refused():
    grams = counted()
    tensors = grams.tensors(3)
    shared = int(np.flatnonzero(tensors["bylabel.1.sharers"] > 1)[0])
    at = int(tensors["bylabel.1.sharers"][:shared].sum())
    labels = tensors["bylabel.1.labels"]
    labels[at : at + 2] = labels[at : at + 2][::-1].copy()
    with pytest.raises(ValueError, match="labels out of order"):
        label_grams(tensors, grams.ngram, 3)

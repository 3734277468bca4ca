"""A model that knows labels: its score by label, and which label makes each line likeliest."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from charrnn.errors import CorpusError, SettingsError
from charrnn.modelfile import ModelFile
from charrnn.sampling.labelled import PRIORS, UNSEEN
from charrnn.scoring import bootstrap
from charrnn.scoring.counting import best_ngram
from charrnn.scoring.evaluation import How, open_scorer
from charrnn.scoring.figures import Gain, Range, gain
from charrnn.scoring.label_counting import LabelCounting
from charrnn.scoring.score import Scorer, Tally, tallied
from charrnn.scoring.text import Text
from charrnn.text.corpus import line_bounds

UNLABELLED = "(none)"
MOST_INTERVALS = 200  # labels with an interval, those with the most lines


@dataclass(frozen=True)
class LabelScore:
    """The score of the lines with one label. ngram: bits per character of counting by label.

    interval: of the bits per character; None for few lines. gain: over counting by label.
    """

    label: str
    lines: int
    chars: int
    nats_per_char: float
    bits_per_char: float
    interval: Range | None
    ngram: float | None
    gain: Gain | None


@dataclass(frozen=True)
class Classified:
    """Which labels were found. confusion (K, K): lines by their label, then by the one found.

    ngram: the accuracy of counting by label; most: of always saying the most frequent label.
    left_out: lines with several labels, or none.
    """

    labels: list[str]
    prior: str
    lines: int
    accuracy: float
    interval: Range | None
    ngram: float | None
    ngram_order: int | None
    most: float
    left_out: int
    confusion: list[list[int]]


def scores_by_label(model: ModelFile, text: Text, how: How) -> list[LabelScore]:
    """Return the score of all lines, then of each label, the most frequent first."""
    labels = _labels_of(text, "--by-label")
    vocabulary = model.vocabulary
    newline = int(vocabulary.newline or 0)
    scorer = open_scorer(model, how.device, how.helped)
    first = text.first_ids(vocabulary)
    tally = tallied(scorer, text.ids, "lines", newline, first=first)
    counted = None
    if text.corpus is not None:
        counted = Tally(text.ids, newline)
        counted.nats = LabelCounting(text.corpus, best_ngram(text.corpus)).nats(text.ids, labels)
        counted.chars = tally.chars
    numbers, lines = np.unique(labels, return_counts=True)
    order = np.argsort(-lines, kind="stable")
    names = [UNLABELLED, *vocabulary.labels]
    scores = [_score("all", tally, counted, np.arange(len(labels)), has_interval=True)]
    for place, number in enumerate(numbers[order].tolist()):
        chosen = np.flatnonzero(labels == number)
        is_told = place < MOST_INTERVALS
        scores.append(_score(names[number], tally, counted, chosen, has_interval=is_told))
    return scores


def _score(
    label: str, tally: Tally, counted: Tally | None, chosen: np.ndarray, *, has_interval: bool
) -> LabelScore:
    """Return the score of the chosen lines."""
    own = _part(tally, chosen)
    score = own.score()
    interval = None
    bounds = bootstrap.interval(own.nats, own.chars) if has_interval else None
    if bounds is not None:
        interval = (bounds[0] / math.log(2), bounds[1] / math.log(2))
    ngram = over = None
    if counted is not None:
        other = _part(counted, chosen)
        ngram = other.score().bits_per_char
        over = gain(own, other) if has_interval else None
    return LabelScore(
        label,
        len(chosen),
        score.chars,
        score.nats_per_char,
        score.bits_per_char,
        interval,
        ngram,
        over,
    )


def _part(tally: Tally, chosen: np.ndarray) -> Tally:
    """Return the tally of some lines alone."""
    part = Tally(np.zeros(0, np.int64), 0)
    part.nats = tally.nats[chosen]
    part.chars = tally.chars[chosen]
    return part


def classified(model: ModelFile, text: Text, how: How, prior: str) -> Classified:
    """Find the label that makes each line likeliest. Raises SettingsError, CorpusError.

    prior: "count" favours frequent labels, by their share of the training lines; "flat" none.
    """
    if prior not in PRIORS:
        raise SettingsError(f"--prior {prior!r}: choose count or flat")
    labels = _labels_of(text, "--classify")
    vocabulary = model.vocabulary
    newline = int(vocabulary.newline or 0)

    # 1. The lines that have one label, and only one
    kept = _with_one_label(text.ids, labels, newline)
    if not kept.any():
        raise CorpusError("--classify: no line of this text has one label; give one that has")
    ends = np.flatnonzero(text.ids == newline)
    ids = text.ids[np.repeat(kept, np.diff(ends, prepend=-1))]
    truth = labels[kept].astype(np.int64) - 1

    # 2. The likeliest label of each
    numbers = np.arange(1, len(vocabulary.labels) + 1)
    lines_of = _lines_of(model, text)
    ln_prior = np.zeros(len(numbers))
    if prior == "count":
        ln_prior = np.log(lines_of + UNSEEN)
    if model.ally is not None and model.ally.by_label is None:
        # Counting that knows no labels would only blur what the network says of them.
        model = dataclasses.replace(model, ally=None)
    scorer = open_scorer(model, how.device, how.helped)
    found = _likeliest(scorer, ids, newline, len(vocabulary), ln_prior)
    ngram = order = None
    if text.corpus is not None:
        counting = LabelCounting(text.corpus, best_ngram(text.corpus))
        by_counting = (ln_prior - counting.nats_of_all(ids, numbers)).argmax(1)
        ngram = float((by_counting == truth).mean())
        order = counting.order
    is_right = (found == truth).astype(float)
    confusion = np.zeros((len(numbers), len(numbers)), np.int64)
    np.add.at(confusion, (truth, found), 1)
    return Classified(
        list(vocabulary.labels),
        prior,
        len(truth),
        float(is_right.mean()),
        bootstrap.interval(is_right, np.ones(len(truth), np.int64)),
        ngram,
        order,
        float((truth == lines_of.argmax()).mean()),
        int((~kept).sum()),
        confusion.tolist(),
    )


def _likeliest(
    scorer: Scorer, ids: np.ndarray, newline: int, size: int, ln_prior: np.ndarray
) -> np.ndarray:
    """Return (lines,) the place of the likeliest label. size: of the alphabet."""
    lines = int((ids == newline).sum())
    best = np.full(lines, -np.inf)
    found = np.zeros(lines, np.int64)
    for place, favour in enumerate(ln_prior.tolist()):
        first = np.full(lines, size + place, np.int64)
        score = favour - tallied(scorer, ids, "lines", newline, first=first).nats
        is_better = score > best
        best[is_better] = score[is_better]
        found[is_better] = place
    return found


def _lines_of(model: ModelFile, text: Text) -> np.ndarray:
    """Return (K,) the training lines of each label; equal where that is not known."""
    if text.corpus is not None:
        labels = text.corpus.labels_of("train")
        assert labels is not None
        return np.bincount(labels, minlength=len(model.vocabulary.labels) + 1)[1:]
    return model.label_counts


def _labels_of(text: Text, option: str) -> np.ndarray:
    """Return the labels of the lines of a text. Raises SettingsError where it has none."""
    if text.labels is None:
        raise SettingsError(f"{option}: this text has no labels; leave out --text, or give --file")
    return text.labels


def _with_one_label(ids: np.ndarray, labels: np.ndarray, newline: int) -> np.ndarray:
    """Return (lines,) bool: which lines have a label, and the same one wherever they stand."""
    starts, lengths = line_bounds(ids, newline)
    label_of: dict[bytes, int] = {}
    several: set[bytes] = set()
    keys = []
    spans = zip(starts.tolist(), lengths.tolist(), labels.tolist(), strict=True)
    for start, length, label in spans:
        key = ids[start : start + length].tobytes()
        keys.append(key)
        if label_of.setdefault(key, label) != label:
            several.add(key)
    pairs = zip(keys, labels.tolist(), strict=True)
    return np.array([label > 0 and key not in several for key, label in pairs], bool)

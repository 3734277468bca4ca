"""Counting behind the seam of score.py: counting models, and the n-grams that a network must beat.

No torch here. Shapes: N characters of a text, n predicted characters of a piece, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.sampling.decode import log_probabilities
from charrnn.scoring.held_out import HeldOut, held_out
from charrnn.scoring.score import Predictions, Score, tallied
from charrnn.scoring.spelled import spelled_text
from charrnn.text.corpus import Corpus
from charrnn.text.counting import GramCounter, Orders, best_orders, most_orders, pick_order
from charrnn.text.labelgrams import LabelGrams, chars_by_label, count_labels
from charrnn.text.ngram import NGram
from charrnn.values import MAX_ORDER

# Training counts no more characters of a long text: memory stays flat, and it takes seconds.
MAX_COUNTED_CHARS = 3_000_000
WHOLE_CHARS = 5_000_000  # beside a network, shorter texts are counted whole
PIECES = 16  # of a longer stream
MOST_ALLIED = 8_000_000  # n-grams beside a network: about 24 MB of its file
MOST_OF_PARTS = 4_000_000  # of a text longer than that, without a cliff between
TRAINING_ORDERS = 6  # in training, orders up to this are tried; eval tries all
DETAILED_PIECE = 256


class CountingScorer:
    """An n-gram model behind the seam of score.py."""

    def __init__(self, ngram: NGram, by_label: LabelGrams | None = None) -> None:
        """by_label: the n-grams of labels; None: it knows none."""
        self.ngram = ngram
        self.by_label = by_label

    def predictions(
        self,
        ids: np.ndarray,
        protocol: str,
        *,
        window: int = 256,
        detailed: bool = False,
        first: np.ndarray | None = None,
    ) -> Iterator[Predictions]:
        text = spelled_text(self.ngram.spelling, ids)
        labels = None
        if first is not None and self.by_label is not None:
            labels = labels_read(first, self.ngram.vocabulary_size)
        read = self._detailed if detailed else self._quick
        for predictions in read(ids, protocol, window, labels):
            if text is not None:
                predictions = text.counted(predictions, is_stream=protocol != "lines")
            yield predictions

    def _quick(
        self, ids: np.ndarray, protocol: str, window: int, labels: np.ndarray | None
    ) -> Iterator[Predictions]:
        """Yield every predicted id once, in the order of the text; lines label by label."""
        if labels is None or self.by_label is None:
            for places, probabilities, _ in placed_contexts(self.ngram, ids, protocol, window):
                yield Predictions(places, -np.log(probabilities))
            return
        for number, here in chars_by_label(ids, labels, self.ngram.boundary):
            parts = placed_contexts(self.by_label.of(number), ids[here], protocol, window)
            for places, probabilities, _ in parts:
                yield Predictions(here[places], -np.log(probabilities))

    def _detailed(
        self, ids: np.ndarray, protocol: str, window: int, labels: np.ndarray | None
    ) -> Iterator[Predictions]:
        """Yield one character after the other, with the model's first choice."""
        from charrnn.sampling.counted import Counted

        boundary = self.ngram.boundary
        numbers = iter([] if labels is None else labels.tolist())
        everyone = Counted(self.ngram, self.by_label)
        steps = everyone.for_label(next(numbers, 0))
        state = steps.zero_state(1)
        logits = steps.logits(state)
        spelling = self.ngram.spelling
        states = spelling.states(ids) if spelling is not None else None
        rows: list[tuple[float, int, int, float]] = []
        begin = int(boundary is None)
        for place, char in enumerate(ids.tolist()):
            if place >= begin:
                scores = logits[0]  # (V,)
                if spelling is not None and states is not None:
                    masked = spelling.masked(logits, states[place : place + 1])
                    scores = log_probabilities(masked)[0]
                guess = int(scores.argmax())
                rank = 1 + int((scores > scores[char]).sum())
                rows.append((-scores[char], rank, guess, -scores[guess]))
            if char == boundary and labels is not None:
                steps = everyone.for_label(next(numbers, 0))
            if char == boundary or (protocol == "windowed" and place % window == 0):
                state = steps.zero_state(1)
            logits, state = steps.step(np.array([char]), state)
            if rows and (len(rows) == DETAILED_PIECE or place == len(ids) - 1):
                columns = [np.array(column) for column in zip(*rows, strict=True)]
                yield Predictions(np.arange(place + 1 - len(rows), place + 1), *columns)
                rows = []


@dataclass(frozen=True)
class Baseline:
    """How well n-grams predict a text, with the order that predicts the validation text best."""

    order: int
    score: Score

    def __str__(self) -> str:
        return f"{self.order}-gram"


def placed_contexts(
    ngram: NGram, ids: np.ndarray, protocol: str, window: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the places of predicted characters of ids (N,), their P, and their longest contexts.

    All (n,), in the order of the text; the contexts as NGram.with_contexts numbers them.
    """
    is_stream = ngram.boundary is None
    reach = None  # (N,): how many characters before each one may be looked at
    shift = 0
    if protocol == "windowed":
        reach = _clipped((np.arange(len(ids)) - 1) % window + 1)
    elif protocol == "lines" and is_stream:
        # A model of a stream reads each line after a newline, so one is put before the first.
        ids = np.concatenate([ids[-1:], ids])
        shift = 1
        starts = np.maximum.accumulate(np.where(ids == ids[0], np.arange(len(ids)), 0)[:-1])
        reach = _clipped(np.append(0, np.arange(1, len(ids)) - starts))
    for start, probabilities, contexts in ngram.with_contexts(ids, reach):
        # Nothing comes before a stream's first character, so it is not predicted.
        first = int(is_stream and start == 0)
        places = np.arange(start + first, start + len(probabilities)) - shift
        yield places, probabilities[first:], contexts[first:]


def _clipped(reach: np.ndarray) -> np.ndarray:
    """The reach in a byte for each place: no context is longer than MAX_ORDER."""
    clipped: np.ndarray = np.minimum(reach, MAX_ORDER).astype(np.uint8)
    return clipped


def labels_read(first: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """The labels of lines, from 1 on, of what is read before each (lines,); 0: none."""
    numbers: np.ndarray = np.maximum(0, first - vocabulary_size + 1)
    return numbers


def score_of(
    ngram: NGram,
    ids: np.ndarray,
    protocol: str,
    window: int = 256,
    by_label: LabelGrams | None = None,
    first: np.ndarray | None = None,
) -> Score:
    """The score of a text, over the same characters as a network's under the same protocol.

    by_label: the n-grams of labels. first: as for Scorer.predictions.
    """
    scorer = CountingScorer(ngram, by_label)
    return tallied(scorer, ids, protocol, ngram.boundary, window, first).score()


def best_ngram(corpus: Corpus) -> NGram:
    """The n-gram model of the training text, with the order that predicts the validation text best.

    Its smoothing is modified Kneser-Ney.
    """
    train = corpus.split("train")
    return pick_order(
        train,
        corpus.split("val"),
        len(corpus.vocabulary),
        _boundary(corpus),
        spelling=corpus.vocabulary.spelling,
    )


def counted_for_training(corpus: Corpus) -> Baseline | None:
    """The score of counting on what `validation` looks at.

    None if there is no validation text, or if the training text is too large.
    """
    train = corpus.split("train")
    val = held_out(corpus, "val").ids
    if len(train) > MAX_COUNTED_CHARS or not len(val):
        return None
    size = len(corpus.vocabulary)
    boundary = _boundary(corpus)
    predicted = corpus.vocabulary.chars(val) - (boundary is None)
    order = min(TRAINING_ORDERS, most_orders(size))
    grams = GramCounter(size, order, boundary).count(train)
    spelling = corpus.vocabulary.spelling
    nats = Orders(grams, train[:order]).nats(val, "kneser-ney", spelling)
    best = int(np.argmin(nats))
    return Baseline(best + 1, Score(nats[best], predicted))


def counted_as_ally(
    corpus: Corpus, mixed: Corpus | None
) -> tuple[Baseline, NGram, LabelGrams | None] | None:
    """The n-grams that stand beside a network, and their score on what `validation` looks at.

    With those of labels, where the text has some.
    mixed: another text that the network learns, counted too.
    Of a longer text than WHOLE_CHARS less is counted. None without a validation text.
    """
    val, first = held_out(corpus, "val")
    if not len(val):
        return None
    vocabulary = corpus.vocabulary
    boundary = _boundary(corpus)
    texts = [corpus] if mixed is None else [corpus, mixed]
    trains = [text.split("train") for text in texts]
    parts = [_counted_part(ids, boundary) for ids in trains]
    train = parts[0] if mixed is None else np.concatenate(parts)
    predicted = vocabulary.chars(val) - (boundary is None)
    beyond = max(0, sum(map(len, trains)) - WHOLE_CHARS)
    most = max(MOST_OF_PARTS, MOST_ALLIED - 2 * beyond)
    orders, nats = best_orders(
        train, val, len(vocabulary), boundary, spelling=vocabulary.spelling, most=most
    )
    order = int(np.argmin(nats)) + 1
    ngram = orders.model(order, "kneser-ney")
    ngram.spelling = vocabulary.spelling
    score = Score(nats[order - 1], predicted)
    if not vocabulary.labels:
        return Baseline(order, score), ngram, None
    labels = np.concatenate([_labels_of(*both) for both in zip(texts, parts, strict=True)])
    by_label = _fitted_labels(ngram, train, labels, HeldOut(val, first))
    score = score_of(ngram, val, "lines", by_label=by_label, first=first)
    return Baseline(order, score), ngram, by_label


def labels_counted(ngram: NGram, corpus: Corpus, nats: float) -> tuple[LabelGrams | None, float]:
    """The n-grams of a corpus's labels, and the nats per character on validation with them.

    ngram: of all its training text. nats: of it alone, which is returned for a text without labels.
    """
    by_label = label_grams(ngram, corpus)
    first = corpus.first_ids("val")
    if first is None:
        return None, nats
    score = score_of(ngram, corpus.split("val"), "lines", by_label=by_label, first=first)
    return by_label, score.nats_per_char


def label_grams(ngram: NGram, corpus: Corpus) -> LabelGrams | None:
    """The n-grams of a corpus's labels, fitted on validation; None for a text without labels.

    ngram: of all its training text.
    """
    labels = corpus.labels_of("train")
    if labels is None:
        return None
    val = HeldOut(corpus.split("val"), corpus.first_ids("val"))
    return _fitted_labels(ngram, corpus.split("train"), labels, val)


def _fitted_labels(
    ngram: NGram, train: np.ndarray, labels: np.ndarray, val: HeldOut
) -> LabelGrams | None:
    """The n-grams of the labels (lines,) of train (N,), which `ngram` was counted of.

    They predict `val` as well as they can. None where no label has any.
    """
    by_label = count_labels(ngram, train, labels)
    if by_label is None or val.first is None:
        return by_label
    return by_label.fitted(val.ids, labels_read(val.first, ngram.vocabulary_size))


def _labels_of(corpus: Corpus, ids: np.ndarray) -> np.ndarray:
    """The labels (lines,) of ids (N,), which the training text begins with."""
    lines = int((ids == corpus.vocabulary.newline).sum())
    labels = corpus.labels_of("train")
    return np.zeros(lines, np.uint32) if labels is None else labels[:lines]


def _counted_part(ids: np.ndarray, boundary: int | None) -> np.ndarray:
    """Return as much of a text (N,) as is counted beside a network.

    A text of up to WHOLE_CHARS whole; of one beyond it as much less, down to MAX_COUNTED_CHARS. Of
    lines, which were shuffled, the first; of a stream, pieces from all over it.
    """
    if len(ids) <= WHOLE_CHARS:
        return ids
    most = max(MAX_COUNTED_CHARS, 2 * WHOLE_CHARS - len(ids))
    if boundary is not None:
        ends = np.flatnonzero(ids[:most] == boundary)
        return ids[: int(ends[-1]) + 1 if len(ends) else most]
    starts = np.linspace(0, len(ids) - most // PIECES, PIECES).astype(np.int64)
    return np.concatenate([ids[start : start + most // PIECES] for start in starts])


def _boundary(corpus: Corpus) -> int | None:
    """The id that ends every line; None for a stream."""
    return corpus.vocabulary.newline if corpus.mode == "lines" else None

"""Counting behind the seam of score.py: counting models, and the n-grams that a network must beat. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.config import MAX_ORDER
from charrnn.scoring.score import Predictions, Score, tallied
from charrnn.text.corpus import Corpus
from charrnn.text.counting import GramCounter, Orders, most_orders, pick_order
from charrnn.text.ngram import NGram

MAX_VALIDATION_CHARS = 1 << 18  # of a stream are looked at during training
MAX_COUNTED_CHARS = (
    3_000_000  # training counts no more for its baseline: memory stays flat, and it costs seconds
)
TRAINING_ORDERS = 6  # in training, orders up to this are tried; eval tries all
DETAILED_PIECE = 256


class CountingScorer:
    """An n-gram model behind the seam of score.py."""

    def __init__(self, ngram: NGram) -> None:
        self.ngram = ngram

    def predictions(
        self, ids: np.ndarray, protocol: str, *, window: int = 256, detailed: bool = False
    ) -> Iterator[Predictions]:
        if detailed:
            yield from self._detailed(ids, window if protocol == "windowed" else 0)
            return
        reach, begin = (
            None,
            int(self.ngram.boundary is None),
        )  # nothing comes before a stream's first character
        if protocol == "windowed":
            reach = _clipped((np.arange(len(ids)) - 1) % window + 1)
        elif (
            protocol == "lines" and self.ngram.boundary is None
        ):  # of a stream's model, after a newline each
            ids = np.concatenate([ids[-1:], ids])
            starts = np.maximum.accumulate(np.where(ids == ids[0], np.arange(len(ids)), 0)[:-1])
            reach = _clipped(np.append(0, np.arange(1, len(ids)) - starts))
        shift = int(protocol == "lines" and self.ngram.boundary is None)
        for start, found in self.ngram.in_pieces(ids, reach):
            first = begin if start == 0 else 0
            yield Predictions(
                np.arange(start + first, start + len(found)) - shift, -np.log(found[first:])
            )

    def _detailed(self, ids: np.ndarray, window: int) -> Iterator[Predictions]:
        """One character after the other, with what the model would have written."""
        from charrnn.sampling.counted import Counted

        steps, boundary = Counted(self.ngram), self.ngram.boundary
        state = steps.zero_state(1)
        logits = steps.logits(state)
        rows: list[tuple[float, int, int, float]] = []
        begin = 0 if boundary is not None else 1
        for place, char in enumerate(ids.tolist()):
            if place >= begin:
                scores = logits[0]
                guess = int(scores.argmax())
                rows.append(
                    (-scores[char], 1 + int((scores > scores[char]).sum()), guess, -scores[guess])
                )
            is_new = char == boundary or (window > 0 and place % window == 0)
            logits, state = steps.step(np.array([char]), steps.zero_state(1) if is_new else state)
            if rows and (len(rows) == DETAILED_PIECE or place == len(ids) - 1):
                nats, ranks, guesses, guess_nats = (
                    np.array(column) for column in zip(*rows, strict=True)
                )
                yield Predictions(
                    np.arange(place + 1 - len(rows), place + 1), nats, ranks, guesses, guess_nats
                )
                rows = []


@dataclass(frozen=True)
class Baseline:
    """How well counting predicts a text, with n-grams of the order that is best for validation."""

    order: int
    score: Score

    def __str__(self) -> str:
        return f"{self.order}-gram"


def _clipped(reach: np.ndarray) -> np.ndarray:
    """No context is longer: a byte each is enough."""
    return np.minimum(reach, MAX_ORDER).astype(np.uint8)


def score_of(ngram: NGram, ids: np.ndarray, protocol: str, window: int = 256) -> Score:
    """Of a text: the same characters as a network's, under the same protocol."""
    return tallied(CountingScorer(ngram), ids, protocol, ngram.boundary, window).score()


def best_ngram(corpus: Corpus) -> NGram:
    """Of all orders the model of the training text that predicts the validation text best: modified Kneser-Ney."""
    boundary = corpus.vocabulary.newline if corpus.mode == "lines" else None
    return pick_order(corpus.split("train"), corpus.split("val"), len(corpus.vocabulary), boundary)


def counted_for_training(corpus: Corpus) -> Baseline | None:
    """Counting's score on what `validation` looks at; None if the training text is too large to count in passing."""
    train, val = corpus.split("train"), corpus.split("val")
    if len(train) > MAX_COUNTED_CHARS or not len(val):
        return None
    size, boundary = (
        len(corpus.vocabulary),
        corpus.vocabulary.newline if corpus.mode == "lines" else None,
    )
    ids = val if boundary is not None else val[: MAX_VALIDATION_CHARS + 1]
    order = min(TRAINING_ORDERS, most_orders(size))
    nats = Orders(GramCounter(size, order, boundary).count(train), train[:order]).nats(
        ids, "kneser-ney"
    )
    best = int(np.argmin(nats))
    return Baseline(best + 1, Score(nats[best], len(ids) - (boundary is None)))

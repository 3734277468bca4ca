"""Bits per character, and the protocols under which they are counted.

stateful: the text in one stream from the zero state, the state carried over all of it; every character but the first
is predicted once. windowed: windows of W characters, each from the zero state (nanoGPT's way). lines: each line from
the zero state, its closing newline counted. Batches are summed in float64 and divided once, by characters.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.text.batches import IGNORED, Batch, LineBatches
from charrnn.text.corpus import Corpus
from charrnn.text.counting import count

LANES = 32  # of validation during training: quick, and close to one stream
CHUNK = 512  # characters of one stream fed at once
MAX_VALIDATION_CHARS = 1 << 18
NGRAM_ORDER = 5
MAX_SCORES = 1 << 23  # logits held at once: 32 MB
MAX_COUNTED_CHARS = 3_000_000  # training counts no more for its baseline: memory stays flat, and it costs seconds
MAX_BASELINE_CHARS = 20_000_000  # eval counts more, and says what it leaves out


@dataclass(frozen=True)
class Score:
    """Nats over characters. Scores add up."""

    nats: float
    chars: int

    def __add__(self, other: Score) -> Score:
        return Score(self.nats + other.nats, self.chars + other.chars)

    @property
    def nats_per_char(self) -> float:
        return self.nats / self.chars if self.chars else math.nan

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats_per_char, 700.0))


def score_batches(model: CharModel, batches: Iterator[Batch], device: torch.device) -> Score:
    """The score of these batches in order, dropout off, the state carried where a batch is not fresh."""
    was_training = model.training
    model.eval()
    nats, chars = 0.0, 0
    state = None
    with torch.inference_mode():
        for batch in batches:
            if batch.fresh or state is None:
                state = model.zero_state(len(batch.inputs))
            scored, state = model.nats(batch.inputs.to(device), batch.targets.to(device), state)
            nats += float(scored)
            chars += int((batch.targets != IGNORED).sum())
    model.train(was_training)
    return Score(nats, chars)


def lane_batches(ids: np.ndarray, lanes: int, most: int = LANES * CHUNK) -> Iterator[Batch]:
    """ids (N,) cut into equal lanes, each from the zero state, at most `most` characters at a time.

    The tail that does not fill a lane's width is one more lane.
    """
    predicted = len(ids) - 1
    lanes = max(1, min(lanes, predicted // (2 * CHUNK) or 1))
    lane, chunk = predicted // lanes, max(1, min(CHUNK, most // lanes))
    for start in range(0, lane, chunk):
        stop = min(start + chunk, lane)
        rows = np.stack([ids[b * lane + start : b * lane + stop + 1] for b in range(lanes)]).astype(np.int64)
        yield _batch(rows, fresh=start == 0)
    if lane * lanes < predicted:
        yield _batch(ids[lane * lanes :].astype(np.int64)[None], fresh=True)


def window_batches(ids: np.ndarray, window: int, most: int = LANES * CHUNK) -> Iterator[Batch]:
    """Non-overlapping windows from the zero state; a last, shorter one so that every character is predicted once."""
    predicted = len(ids) - 1
    full = predicted // window
    rows = max(1, most // window)
    for first in range(0, full, rows):
        starts = np.arange(first, min(first + rows, full)) * window
        yield _batch(np.stack([ids[start : start + window + 1] for start in starts]).astype(np.int64), fresh=True)
    if full * window < predicted:
        yield _batch(ids[full * window :].astype(np.int64)[None], fresh=True)


def evaluate_lines(model: CharModel, ids: np.ndarray, newline: int, device: torch.device) -> Score:
    """Every line of ids (each ends in newline) from the zero state; blank lines count for nothing."""
    batches = LineBatches(ids, newline, 256)
    return score_batches(model, (batches.collate(lines) for lines in batches.in_order(_most(model))), device)


def evaluate_ids(model: CharModel, ids: np.ndarray, device: torch.device, *, protocol: str, window: int = 256,
                 lanes: int = 1) -> Score:  # fmt: skip
    """A stream's score under "stateful" or "windowed"."""
    if len(ids) < 2:
        return Score(0.0, 0)
    most = _most(model)
    batches = window_batches(ids, window, most) if protocol == "windowed" else lane_batches(ids, lanes, most)
    return score_batches(model, batches, device)


def validation(model: CharModel, corpus: Corpus, split: str, device: torch.device) -> Score:
    """What training looks at: lines whole; a stream in LANES lanes, at most MAX_VALIDATION_CHARS of it."""
    if corpus.mode == "lines":
        return evaluate_lines(model, corpus.split(split), int(corpus.vocabulary.newline or 0), device)
    return evaluate_ids(
        model, corpus.split(split)[: MAX_VALIDATION_CHARS + 1], device, protocol="stateful", lanes=LANES
    )


def validation_chars(corpus: Corpus, split: str) -> int:
    """How many characters `validation` looks at; a few more where a text has blank lines."""
    chars = len(corpus.split(split))
    return chars if corpus.mode == "lines" else min(chars - 1, MAX_VALIDATION_CHARS)


def counted_for_training(corpus: Corpus) -> Score | None:
    """The 5-gram's score on what `validation` looks at; None if the training text is too large to count in passing."""
    if len(corpus.split("train")) > MAX_COUNTED_CHARS:
        return None
    return ngram_score(corpus, "val", limit=None if corpus.mode == "lines" else MAX_VALIDATION_CHARS + 1)


def ngram_score(corpus: Corpus, split: str, *, limit: int | None = None) -> Score | None:
    """The 5-gram's score on a split, counted on the training text; None if that is too large to count unasked.

    Predicts the same characters as the network: in a stream all but the first, of which it too sees only the text.
    """
    train, ids = corpus.split("train"), corpus.split(split)[:limit]
    if len(train) > MAX_BASELINE_CHARS or not len(ids):
        return None
    boundary = corpus.vocabulary.newline if corpus.mode == "lines" else None
    logs = -np.log(count(train, len(corpus.vocabulary), NGRAM_ORDER, boundary).probabilities(ids))
    logs = logs if corpus.mode == "lines" else logs[1:]
    return Score(float(logs.sum()), len(logs))


def baselines(corpus: Corpus, split: str, note: Callable[[str], None]) -> dict[str, float]:
    """Bits per character of what a network must beat: uniform, unigram, 5-gram, and xz after reading the training text."""
    ids = corpus.split(split)
    counted = len(ids) - (corpus.mode == "stream")
    found = {"uniform": math.log2(len(corpus.vocabulary))}
    ngram = ngram_score(corpus, split)
    if ngram is None:
        note(f"the training text has over {MAX_BASELINE_CHARS:,} characters: n-gram and xz baselines left out")
        return found
    unigram = count(corpus.split("train"), len(corpus.vocabulary), 1).probabilities(ids)[-counted:]
    found["unigram"] = float(-np.log2(unigram).sum() / counted)
    found["ngram"] = ngram.bits_per_char
    train = corpus.vocabulary.to_bytes(corpus.split("train"))
    text = corpus.vocabulary.to_bytes(ids)
    found["xz"] = 8 * (_xz(train + text) - _xz(train)) / counted
    return found


def _most(model: CharModel) -> int:
    """Characters whose logits are held at once: as in a batch of training, and fewer for a large alphabet."""
    return max(1, min(LANES * CHUNK, MAX_SCORES // model.head.out_features))


def _xz(data: bytes) -> int:
    return len(lzma.compress(data, preset=6))


def _batch(rows: np.ndarray, fresh: bool) -> Batch:
    text = torch.from_numpy(rows)
    return Batch(text[:, :-1], text[:, 1:], fresh)

"""The batches of each protocol, and a network's score while it trains.

stateful: the text in one stream from the zero state, the state carried over all of it; every character but the first
is predicted once. windowed: windows of W characters, each from the zero state (nanoGPT's way). lines: each line from
the zero state, its closing newline counted. Batches are summed in float64 and divided once, by characters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.scoring.counting import MAX_VALIDATION_CHARS
from charrnn.scoring.score import Score
from charrnn.text.batches import IGNORED, Batch, LineBatches
from charrnn.text.corpus import Corpus

LANES = 32  # of validation during training: quick, and close to one stream
CHUNK = 512  # characters of one stream fed at once
LINES = 256  # at most, in a batch
MAX_SCORES = 1 << 23  # logits held at once: 32 MB


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
        rows = np.stack([ids[b * lane + start : b * lane + stop + 1] for b in range(lanes)]).astype(
            np.int64
        )
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
        yield _batch(
            np.stack([ids[start : start + window + 1] for start in starts]).astype(np.int64),
            fresh=True,
        )
    if full * window < predicted:
        yield _batch(ids[full * window :].astype(np.int64)[None], fresh=True)


def validation(model: CharModel, corpus: Corpus, split: str, device: torch.device) -> Score:
    """What training looks at: lines whole; a stream in LANES lanes, at most MAX_VALIDATION_CHARS of it."""
    ids, most = corpus.split(split), most_chars(model)
    if corpus.mode == "lines":
        lines = LineBatches(ids, int(corpus.vocabulary.newline or 0), LINES)
        return score_batches(
            model, (lines.collate(chosen) for chosen in lines.in_order(most)), device
        )
    ids = ids[: MAX_VALIDATION_CHARS + 1]
    return score_batches(
        model, lane_batches(ids, LANES, most) if len(ids) > 1 else iter(()), device
    )


def validation_chars(corpus: Corpus, split: str) -> int:
    """How many characters `validation` looks at; a few more where a text has blank lines."""
    chars = len(corpus.split(split))
    return chars if corpus.mode == "lines" else min(chars - 1, MAX_VALIDATION_CHARS)


def most_chars(model: CharModel) -> int:
    """Characters whose logits are held at once: as in a batch of training, and fewer for a large alphabet."""
    return max(1, min(LANES * CHUNK, MAX_SCORES // model.head.out_features))


def _batch(rows: np.ndarray, fresh: bool) -> Batch:
    text = torch.from_numpy(rows)
    return Batch(text[:, :-1], text[:, 1:], fresh)

"""The batches of each protocol, and a network's score while it trains.

stateful  the text in one stream from the zero state, the state carried over all of it; every
          character but the first is predicted once
windowed  windows of W characters, each from the zero state, as nanoGPT does
lines     each line from the zero state, its closing newline counted

Batches are summed in float64 and divided once, by characters.
Shapes: N characters of a text, B rows of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import emptied
from charrnn.scoring.held_out import held_out
from charrnn.scoring.readers import VALIDATION, NatsReader, Share, summed
from charrnn.scoring.score import Score
from charrnn.scoring.spelled import SpelledText
from charrnn.text.batches import IGNORED, Batch, LineBatches
from charrnn.text.corpus import Corpus

# Lanes of validation during training, at most: quick, and close to one stream. A lane has at least
# two chunks of characters, so a short text has fewer.
LANES = 32
CHUNK = 512  # characters of one stream fed at once
LINES = 256  # at most, in a batch
MAX_SCORES = 1 << 23  # logits held at once: 32 MB

# Of fewer lines, or characters of a stream, a score is noise: one name can be like the others or
# not. No training goes by it.
FEWEST_LINES = 10
FEWEST_CHARS = 200


def is_noise(corpus: Corpus) -> bool:
    """Return whether the validation text is too short to tell the better of two models."""
    ids = held_out(corpus, "val").ids
    if corpus.mode == "lines":
        return int((ids == corpus.vocabulary.newline).sum()) < FEWEST_LINES
    return len(ids) < FEWEST_CHARS


def score_batches(model: CharModel, batches: Iterator[Batch], device: torch.device) -> Score:
    """The score of these batches in order, dropout off.

    A batch that is not fresh goes on with the state of the batch before.
    """
    was_training = model.training
    model.eval()
    nats = 0.0
    chars = 0
    state = None
    with torch.inference_mode():
        for batch in batches:
            if batch.fresh or state is None:
                state = model.zero_state(len(batch.inputs))
            elif batch.begins is not None:
                state = emptied(state, ~batch.begins)
            scored, state = model.nats(batch.inputs.to(device), batch.targets.to(device), state)
            nats += float(scored)
            chars += int((batch.targets != IGNORED).sum())
    model.train(was_training)
    return Score(nats, chars)


def lane_batches(ids: np.ndarray, lanes: int, most: int = LANES * CHUNK) -> Iterator[Batch]:
    """Yield ids (N,) in equal lanes, each from the zero state, at most `most` characters at a time.

    lanes: at most so many. There is one for each 2 CHUNK (1,024) characters, and at least one. The
    tail that does not fill a lane's width is one more lane.
    """
    predicted = len(ids) - 1
    lanes = max(1, min(lanes, predicted // (2 * CHUNK) or 1))
    lane = predicted // lanes  # characters of one
    chunk = max(1, min(CHUNK, most // lanes))
    for start in range(0, lane, chunk):
        stop = min(start + chunk, lane)
        rows = [ids[b * lane + start : b * lane + stop + 1] for b in range(lanes)]
        yield _batch(np.stack(rows), fresh=start == 0)
    if lane * lanes < predicted:
        yield _batch(ids[lane * lanes :][None], fresh=True)


def window_batches(ids: np.ndarray, window: int, most: int = LANES * CHUNK) -> Iterator[Batch]:
    """Yield windows that do not overlap, each from the zero state.

    The last one is shorter, so that every character is predicted once.
    """
    predicted = len(ids) - 1
    full = predicted // window
    rows = max(1, most // window)
    for first in range(0, full, rows):
        starts = np.arange(first, min(first + rows, full)) * window
        windows = [ids[start : start + window + 1] for start in starts]
        yield _batch(np.stack(windows), fresh=True)
    if full * window < predicted:
        yield _batch(ids[full * window :][None], fresh=True)


def validation(
    model: CharModel,
    corpus: Corpus,
    split: str,
    device: torch.device,
    deadline: float | None = None,
    most: int | None = None,
    share: Share | None = None,
) -> Score:
    """The score that training looks at.

    Lines are scored whole, a stream in one lane for each 2 CHUNK (1,024) characters and at most
    LANES; of a large text a part is (held_out.py).
    deadline, most: as for validation_batches.
    share: reads the batches with other processes, if it can.
    """
    batches = validation_batches(corpus, split, model, deadline, most)
    spelling = corpus.vocabulary.spelling
    if spelling is not None:
        text = SpelledText(spelling, held_out(corpus, split).ids)
        return _spelled_score(model, text, batches, device)
    if share is not None:
        return summed(share(VALIDATION, NatsReader(model), batches))
    return score_batches(model, (batch for batch, _ in batches), device)


def validation_batches(
    corpus: Corpus,
    split: str,
    model: CharModel,
    deadline: float | None = None,
    most: int | None = None,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield what `validation` looks at, and for each batch the place of every target (B, T).

    Places are those in what held_out returns.

    deadline: time.perf_counter() after which no batch begins but the first.
    most: characters of a batch, at most.
    """
    chars = min(most_chars(model), most or MAX_SCORES)
    for index, batch in enumerate(_all_batches(corpus, split, chars, deadline is None)):
        if index and deadline is not None and time.perf_counter() > deadline:
            return
        yield batch


def _all_batches(
    corpus: Corpus, split: str, most: int, by_length: bool
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield all batches, each of at most `most` characters. by_length: short lines first."""
    ids, first = held_out(corpus, split)
    if corpus.mode == "lines":
        newline = int(corpus.vocabulary.newline or 0)
        lines = LineBatches(ids, newline, LINES, first=first)
        for chosen in lines.in_order(most, by_length=by_length):
            batch = lines.collate(chosen)
            places = lines.starts[chosen][:, None] + np.arange(batch.targets.shape[1])
            if corpus.vocabulary.has_breaks:
                yield from shortened(batch, places, most)
            else:
                yield batch, places
        return
    if len(ids) < 2:
        return
    # Places, cut as the text is.
    numbers = lane_batches(np.arange(len(ids)), LANES, most)
    for batch, places in zip(lane_batches(ids, LANES, most), numbers, strict=True):
        yield batch, places.targets.numpy()


def shortened(batch: Batch, places: np.ndarray, most: int) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield the batch in pieces of at most `most` characters: a file may be one long line.

    All pieces but the first go on with the state of the piece before.
    """
    width = max(1, most // len(batch.inputs))
    for start in range(0, batch.inputs.shape[1], width):
        piece = slice(start, start + width)
        is_fresh = batch.fresh and start == 0
        part = Batch(batch.inputs[:, piece], batch.targets[:, piece], fresh=is_fresh)
        yield part, places[:, piece]


def _spelled_score(
    model: CharModel,
    text: SpelledText,
    batches: Iterator[tuple[Batch, np.ndarray]],
    device: torch.device,
) -> Score:
    """The score of batches and places of a text whose rare characters are bytes, dropout off.

    What may not follow gets no probability, and whole characters count.
    """
    was_training = model.training
    model.eval()
    nats = 0.0
    chars = 0
    state = None
    spelling = text.spelling
    closed = torch.from_numpy(spelling.closed).to(device)
    with torch.inference_mode():
        for batch, places in batches:
            if batch.fresh or state is None:
                state = model.zero_state(len(batch.inputs))
            # 1. Between characters: most places, all with the same mask
            states = text.states(places)  # (B, T)
            is_counted = (batch.targets != IGNORED).numpy()
            inside = np.flatnonzero(is_counted & (states > 0))
            between = batch.targets.masked_fill(torch.from_numpy(states > 0), IGNORED)
            scored, logits, state = model.nats_and_logits(
                batch.inputs.to(device),
                between.to(device),
                state,
                closed,
                torch.from_numpy(inside).to(device),
            )
            nats += float(scored)
            chars += int((between != IGNORED).sum())

            # 2. Inside a character
            allowed = torch.from_numpy(spelling.allowed(states.reshape(-1)[inside]))
            targets = batch.targets.reshape(-1)[inside].to(device)
            masked = logits.masked_fill(~allowed.to(device), -torch.inf)
            nats += float(F.cross_entropy(masked, targets, reduction="sum"))
    model.train(was_training)
    return Score(nats, chars)


def validation_chars(corpus: Corpus, split: str) -> int:
    """How many characters `validation` looks at, and its blank lines, which it does not."""
    chars = len(held_out(corpus, split).ids)
    return chars if corpus.mode == "lines" else chars - 1


def most_chars(model: CharModel) -> int:
    """The characters whose logits are held at once; fewer for a large alphabet."""
    return max(1, min(LANES * CHUNK, MAX_SCORES // model.head.out_features))


def _batch(rows: np.ndarray, fresh: bool) -> Batch:
    """A batch that predicts all but the first character of each row. rows (B, N), integers."""
    text = torch.from_numpy(rows.astype(np.int64))
    return Batch(text[:, :-1], text[:, 1:], fresh)

"""How much of its context a network uses: its loss with less context, and with it out of order.

    reset      the state is emptied every k characters, so that 1 to k of them are known
    only       exactly the last k are read, from the zero state
    shuffled   all are read, those farther back than k in random order

The last two are measured at places drawn at random, the same for all k. Source of the last:
Khandelwal et al. 2018, "Sharp Nearby, Fuzzy Far Away". N: characters of a text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from charrnn.errors import CorpusError
from charrnn.model.charmodel import CharModel
from charrnn.scoring.score import Score
from charrnn.scoring.validation import LINES, most_chars, score_batches, window_batches
from charrnn.text.batches import Batch, LineBatches

LONGEST = 1024  # characters of context, at most
WORK = 2e12  # weights times characters read, of each of the two measurements
CHARS = (8_192, 100_000)  # how many at least and at most
PLACES = (32, 256)
USABLE = 0.95  # share of the gain that usable context has


class Means(NamedTuple):
    """Mean nats for each length of context."""

    nats: tuple[float, ...]
    errors: tuple[float, ...]  # standard errors of the difference to all the context


@dataclass(frozen=True)
class Context:
    """Nats per character for each length of context."""

    lengths: tuple[int, ...]  # the last is all the context there is
    reset: tuple[float, ...]
    only: Means
    shuffled: Means
    chars: int  # that reset was measured on
    places: int  # that the other two were

    @property
    def usable(self) -> int:
        """The least context with 95 % of what all of it gains over a single character."""
        first = self.only.nats[0]
        enough = USABLE * (first - self.only.nats[-1])
        for length, nats in zip(self.lengths, self.only.nats, strict=True):
            if first - nats >= enough:
                return length
        return self.lengths[-1]


def context_of(model: CharModel, ids: np.ndarray, newline: int | None, seed: int) -> Context:
    """Measure what a network uses of its context, on ids (N,).

    newline: its id where the text is lines, each from the zero state; None for a stream. Raises
    CorpusError where the text is too short.
    """
    lengths = lengths_for(ids, newline)
    weights = model.parameter_count()
    chars = int(np.clip(WORK / weights / len(lengths), *CHARS))
    reset = [reset_score(model, ids[: chars + 1], k, newline) for k in lengths]
    most = int(np.clip(WORK / weights / (len(lengths) + 2) / lengths[-1], *PLACES))
    groups = list(places_of(ids, newline, lengths[-1], most, seed))
    is_lines = newline is not None
    only = np.stack([place_nats(model, groups, k, is_lines) for k in lengths])
    shuffled = np.stack([place_nats(model, groups, k, is_lines, seed) for k in lengths])
    return Context(
        lengths,
        tuple(score.nats_per_char for score in reset),
        _means(only, only[-1]),
        _means(shuffled, only[-1]),
        reset[-1].chars,
        only.shape[1],
    )


def _means(nats: np.ndarray, whole: np.ndarray) -> Means:
    """Average nats (lengths, places) over places. whole (places,): with all the context."""
    errors = (nats - whole).std(1) / math.sqrt(len(whole))
    return Means(tuple(nats.mean(1).tolist()), tuple(errors.tolist()))


def lengths_for(ids: np.ndarray, newline: int | None) -> tuple[int, ...]:
    """Return the lengths of context to look at: 1, 2, 4, ...

    Of a stream as far as there are enough places; of lines until the longest is whole. Raises
    CorpusError.
    """
    if newline is None:
        longest = min(LONGEST, (len(ids) - 1) // 8)
    else:
        longest = min(LONGEST, int(LineBatches(ids, newline, 1).lengths.max(initial=0)))
    if longest < 2:
        raise CorpusError(
            f"the text held out has {len(ids):,} characters; this lab needs 17 of a stream, "
            "or lines of 2"
        )
    lengths = tuple(2**power for power in range(longest.bit_length()))
    return lengths if newline is None else (*lengths, 2 * lengths[-1])


def reset_score(model: CharModel, ids: np.ndarray, context: int, newline: int | None) -> Score:
    """Score a text with the state emptied every `context` characters.

    The state is also emptied at the beginning of each line, where the text is lines.
    """
    most = most_chars(model)
    device = model.head.bias.device
    if newline is None:
        return score_batches(model, window_batches(ids, context, most), device)
    lines = LineBatches(ids, newline, LINES)
    whole = (lines.collate(chosen) for chosen in lines.in_order(most))
    return score_batches(
        model, (piece for batch in whole for piece in _cut(batch, context)), device
    )


def _cut(batch: Batch, width: int) -> Iterator[Batch]:
    """Cut a batch into pieces that each begin with the zero state."""
    for start in range(0, batch.inputs.shape[1], width):
        piece = slice(start, start + width)
        yield Batch(batch.inputs[:, piece], batch.targets[:, piece], fresh=True)


def places_of(
    ids: np.ndarray, newline: int | None, longest: int, most: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield texts (n, W + 1) that end in a character to predict, grouped by their width.

    There are at most `most` of them in all. Of a stream W is longest; of lines it is the newline
    before and what the line has up to there.
    """
    random = np.random.default_rng(seed)
    if newline is None:
        places = np.arange(longest, len(ids))
        ends = np.sort(random.choice(places, min(most, len(places)), replace=False))
        yield ids[ends[:, None] + np.arange(-longest, 1)].astype(np.int64)
        return
    lines = LineBatches(ids, newline, 1)
    widths = np.minimum(lines.lengths + 1, longest)  # a line has as many places
    total = int(widths.sum())
    chosen = np.sort(random.choice(total, min(most, total), replace=False))
    line = np.searchsorted(np.cumsum(widths), chosen, side="right")
    width_of = 1 + chosen - (np.cumsum(widths) - widths)[line]
    for width in np.unique(width_of):
        starts = lines.starts[line[width_of == width]]
        yield ids.take(starts[:, None] + np.arange(-1, width), mode="wrap").astype(np.int64)


def place_nats(
    model: CharModel,
    groups: list[np.ndarray],
    context: int,
    keeps_first: bool,
    shuffle: int | None = None,
) -> np.ndarray:
    """Return the nats of the last character of each text, after its last `context` others.

    With a seed in shuffle, the farther ones are read too, in random order. keeps_first: all of
    them but the first, which is the newline of a line.
    """
    random = np.random.default_rng(shuffle)
    nats = []
    for group in groups:
        before = group[:, :-1]
        wanted = torch.from_numpy(group[:, -1])
        near = before[:, -context:]
        if shuffle is not None and context < before.shape[1]:
            kept = before[:, : int(keeps_first)]
            far = before[:, int(keeps_first) : -context]
            near = np.concatenate([kept, random.permuted(far, axis=1), near], 1)
        text = torch.from_numpy(np.ascontiguousarray(near))
        rows = max(1, most_chars(model) // text.shape[1])
        device = model.head.bias.device
        for ids, targets in zip(torch.split(text, rows), torch.split(wanted, rows), strict=True):
            nats.append(_last_nats(model, ids.to(device), targets.to(device)))
    return np.concatenate(nats)


def _last_nats(model: CharModel, ids: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Return -ln P(target) after each row of ids (n, W), read from the zero state. targets (n,)."""
    with torch.inference_mode():
        state = model.zero_state(len(ids))
        if ids.shape[1] > 1:
            state = model.advance(ids[:, :-1], state)
        logits, _ = model(ids[:, -1:], state)
        losses = F.cross_entropy(logits[:, 0], targets, reduction="none")
    return losses.double().cpu().numpy()

"""How much of what stands before a character a network uses: its loss with less of it, and with the rest out of order.

reset: the state is emptied every k characters, so that 1 to k of them are known. only: exactly the last k are read, from
the zero state. shuffled: all are read, those farther back than k in random order (Khandelwal et al. 2018, "Sharp Nearby,
Fuzzy Far Away"). The last two are measured at places drawn at random, the same for all k.
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
CHARS, PLACES = (8_192, 100_000), (32, 256)  # how many at least and at most
CPU = torch.device("cpu")


class Means(NamedTuple):
    """Mean nats for each length of context, and the standard error of what they are more than with all of it."""

    nats: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Context:
    """Nats per character for each of `lengths`; the last of them is all the context there is."""

    lengths: tuple[int, ...]
    reset: tuple[float, ...]
    only: Means
    shuffled: Means
    chars: int  # that reset was measured on
    places: int  # that the other two were

    @property
    def usable(self) -> int:
        """The least context with 95 % of what all of it gains over a single character."""
        nats = self.only.nats
        enough = (
            k
            for k, each in zip(self.lengths, nats, strict=True)
            if nats[0] - each >= 0.95 * (nats[0] - nats[-1])
        )
        return next(enough, self.lengths[-1])


def context_of(model: CharModel, ids: np.ndarray, newline: int | None, seed: int) -> Context:
    """Measured on ids (N,). newline: its id where the text is lines, each from the zero state; None: a stream.

    Raises CorpusError where the text is too short. The model must be on the CPU.
    """
    lengths = lengths_for(ids, newline)
    weights = model.parameter_count()
    chars = int(np.clip(WORK / weights / len(lengths), *CHARS))
    reset = [reset_score(model, ids[: chars + 1], k, newline) for k in lengths]
    most = int(np.clip(WORK / weights / (len(lengths) + 2) / lengths[-1], *PLACES))
    groups, is_lines = list(places_of(ids, newline, lengths[-1], most, seed)), newline is not None
    only = np.stack([place_nats(model, groups, k, is_lines) for k in lengths])
    shuffled = np.stack([place_nats(model, groups, k, is_lines, seed) for k in lengths])
    of_only, of_shuffled = _means(only, only[-1]), _means(shuffled, only[-1])
    nats = tuple(score.nats_per_char for score in reset)
    return Context(lengths, nats, of_only, of_shuffled, reset[-1].chars, only.shape[1])


def _means(nats: np.ndarray, whole: np.ndarray) -> Means:
    """nats (lengths, places), whole (places)."""
    errors = (nats - whole).std(1) / math.sqrt(len(whole))
    return Means(tuple(nats.mean(1).tolist()), tuple(errors.tolist()))


def lengths_for(ids: np.ndarray, newline: int | None) -> tuple[int, ...]:
    """1, 2, 4, ...: of a stream as far as there are places enough, of lines until the longest is whole. Raises CorpusError."""
    if newline is None:
        longest = min(LONGEST, (len(ids) - 1) // 8)
    else:
        longest = min(LONGEST, int(LineBatches(ids, newline, 1).lengths.max(initial=0)))
    if longest < 2:
        raise CorpusError(
            f"the text held out has {len(ids):,} characters; this lab needs 17 of a stream, or lines of 2"
        )
    lengths = tuple(2**power for power in range(longest.bit_length()))
    return lengths if newline is None else (*lengths, 2 * lengths[-1])


def reset_score(model: CharModel, ids: np.ndarray, context: int, newline: int | None) -> Score:
    """The score of a text whose state is emptied every `context` characters, and at the beginning of each line."""
    most = most_chars(model)
    if newline is None:
        return score_batches(model, window_batches(ids, context, most), CPU)
    lines = LineBatches(ids, newline, LINES)
    whole = (lines.collate(chosen) for chosen in lines.in_order(most))
    return score_batches(model, (piece for batch in whole for piece in _cut(batch, context)), CPU)


def _cut(batch: Batch, width: int) -> Iterator[Batch]:
    for start in range(0, batch.inputs.shape[1], width):
        piece = slice(start, start + width)
        yield Batch(batch.inputs[:, piece], batch.targets[:, piece], fresh=True)


def places_of(
    ids: np.ndarray, newline: int | None, longest: int, most: int, seed: int
) -> Iterator[np.ndarray]:
    """Texts (n, W + 1) that each end in a character to predict, grouped by their width; in all at most `most`.

    Of a stream W is longest; of lines it is the newline before and what the line has up to there.
    """
    random = np.random.default_rng(seed)
    if newline is None:
        ends = np.sort(
            random.choice(
                np.arange(longest, len(ids)), min(most, len(ids) - longest), replace=False
            )
        )
        yield ids[ends[:, None] + np.arange(-longest, 1)].astype(np.int64)
        return
    lines = LineBatches(ids, newline, 1)
    widths = np.minimum(lines.lengths + 1, longest)  # of each line as many places
    chosen = np.sort(random.choice(int(widths.sum()), min(most, int(widths.sum())), replace=False))
    line = np.searchsorted(np.cumsum(widths), chosen, side="right")
    width = 1 + chosen - (np.cumsum(widths) - widths)[line]
    for each in np.unique(width):
        starts = lines.starts[line[width == each]]
        yield ids.take(starts[:, None] + np.arange(-1, each), mode="wrap").astype(np.int64)


def place_nats(
    model: CharModel,
    groups: list[np.ndarray],
    context: int,
    keeps_first: bool,
    shuffle: int | None = None,
) -> np.ndarray:
    """Nats of the last character of each text, after its last `context` others alone; or, shuffle a seed, after all of
    them, the farther ones in random order (keeps_first: all but the first, a line's newline)."""
    random, found = np.random.default_rng(shuffle), []
    for group in groups:
        before, wanted = group[:, :-1], torch.from_numpy(group[:, -1])
        near = before[:, -context:]
        if shuffle is not None and context < before.shape[1]:
            kept, far = before[:, : int(keeps_first)], before[:, int(keeps_first) : -context]
            near = np.concatenate([kept, random.permuted(far, axis=1), near], 1)
        text = torch.from_numpy(np.ascontiguousarray(near))
        rows = max(1, most_chars(model) // text.shape[1])
        with torch.inference_mode():
            for ids, targets in zip(text.split(rows), wanted.split(rows), strict=True):
                state = model.zero_state(len(ids))
                if ids.shape[1] > 1:
                    state = model.advance(ids[:, :-1], state)
                logits, _ = model(ids[:, -1:], state)
                found.append(
                    F.cross_entropy(logits[:, 0], targets, reduction="none").double().numpy()
                )
    return np.concatenate(found)

"""Which characters of a text are rare: too seldom to be learnt, and so written as bytes."""

from __future__ import annotations

import math

import numpy as np

from charrnn.config import TextSettings
from charrnn.text.spelling import ASCII
from charrnn.text.vocabulary import Vocabulary

# The default of --rare follows from the counts (docs/decisions.md). A character is a symbol if it
# occurs so often, and is at least this share of the text ...
LEARNT = 100
LEAST_SHARE = 2e-4
# ... unless rare characters were more of the text than this: their bytes make it longer.
MOST_SPELLED = 0.1
# Shorter texts lose by bytes: 2 % on 27,000 characters of poems.
LEAST_CHARS = 400_000
# Symbols that bytes must save: an alphabet becomes smaller by this factor, or stays as it is.
LEAST_SAVED = 1.5


def alphabet(counts: np.ndarray, settings: TextSettings, mode: str) -> tuple[Vocabulary, int]:
    """Return the vocabulary of a text, and from how many occurrences on a character is a symbol.

    counts (MAX_CODE,): how often each code occurs. 0: every character is a symbol, as in small
    alphabets, in short texts and in lists.
    """
    codes = np.flatnonzero(counts)
    plain = Vocabulary(settings.unit, tuple(codes.tolist()))
    if settings.unit == "byte":
        return plain, 0
    least = settings.rare
    if least is None:
        least = _suggested(counts[codes[codes >= len(ASCII)]], int(counts.sum()))
    is_rare = (counts[codes] < least) & (codes >= len(ASCII))
    if not is_rare.any():
        return plain, 0
    spelled = Vocabulary.with_bytes(codes[~is_rare].tolist())
    keeps_all = mode == "lines" or counts.sum() < LEAST_CHARS
    if settings.rare is None and (keeps_all or len(spelled) * LEAST_SAVED > len(plain)):
        return plain, 0
    return spelled, least


def _suggested(counts: np.ndarray, total: int) -> int:
    """Return from how many occurrences on a character is learnt, where nobody said.

    counts (N,): of the characters that may be rare. total: characters of the text.
    """
    learnt = max(LEARNT, math.ceil(LEAST_SHARE * total))
    ascending = np.sort(counts)
    is_too_much = np.cumsum(ascending) > MOST_SPELLED * total
    if not is_too_much.any():
        return learnt
    return min(learnt, int(ascending[np.argmax(is_too_much)]))


def note_of(counts: np.ndarray, rare: int) -> str:
    """Say how many characters occur fewer than `rare` times. counts: as in `alphabet`."""
    codes = np.flatnonzero(counts)
    is_rare = (counts[codes] < rare) & (codes >= len(ASCII))
    share = counts[codes[is_rare]].sum() / counts.sum()
    shown = f"{share:.2%}" if share >= 1e-4 else "under 0.01%"
    return (
        f"{is_rare.sum():,} characters beyond ASCII occur fewer than {rare:,} times and are "
        f"written as bytes: {shown} of the text (--rare 0: none)"
    )

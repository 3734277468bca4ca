"""Which characters of a text are rare: too seldom to be learnt, and so written as bytes."""

from __future__ import annotations

import numpy as np

from charrnn.config import TextSettings
from charrnn.text.spelling import ASCII
from charrnn.text.vocabulary import Vocabulary


def alphabet(counts: np.ndarray, settings: TextSettings, mode: str) -> tuple[Vocabulary, int]:
    """Return the vocabulary of a text, and from how many occurrences on a character is a symbol.

    counts (MAX_CODE,): how often each code occurs. 0: every character is a symbol, as in small
    alphabets and in lists.
    """
    codes = np.flatnonzero(counts)
    plain = Vocabulary(settings.unit, tuple(codes.tolist()))
    if settings.unit == "byte":
        return plain, 0
    least = settings.rare or 0
    is_rare = (counts[codes] < least) & (codes >= len(ASCII))
    if not is_rare.any():
        return plain, 0
    return Vocabulary.with_bytes(codes[~is_rare].tolist()), least


def note_of(counts: np.ndarray, rare: int) -> str:
    """Say how many characters occur fewer than `rare` times. counts: as in `alphabet`."""
    codes = np.flatnonzero(counts)
    is_rare = (counts[codes] < rare) & (codes >= len(ASCII))
    share = counts[codes[is_rare]].sum() / counts.sum()
    return (
        f"{is_rare.sum():,} of {len(codes):,} characters occur fewer than {rare:,} times and are "
        f"written as bytes: {share:.2%} of the text (--rare 0: none)"
    )

"""The characters of a text, for a person: rare ones, odd ones, line ends, what NFC would change."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from charrnn.config import TextSettings
from charrnn.text.census import Census
from charrnn.text.spelling import MAX_CODE
from charrnn.text.vocabulary import BREAK, NEWLINE, REPLACEMENT, RETURN

RARE = 5  # a character that occurs fewer times is rare
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_KINDS = {
    "Cc": "control",
    "Cf": "invisible",
    "Zs": "unusual space",
    "Zl": "unusual space",
    "Zp": "unusual space",
    "Co": "private use",
    "Cn": "unassigned",
}


@dataclass(frozen=True)
class Symbol:
    """A code point, or byte value, and how often it occurs."""

    code: int
    count: int
    kind: str = ""


def encoding_of(census: Census, settings: TextSettings) -> str:
    """Name the encoding in which a text decodes."""
    if settings.unit == "byte":
        return "bytes"
    return settings.encoding.upper() if census.counts[128:].any() else "ASCII"


def line_ends_of(census: Census) -> str:
    """Name the line ends of a text: LF, CRLF, CR, or how many of each."""
    counts = {
        "LF": census.lf,
        "CRLF": census.crlf,
        "CR": census.lone_cr,
    }
    present = {name: count for name, count in counts.items() if count}
    if not present:
        return "no line ends"
    if len(present) == 1:
        return next(iter(present))
    shares = ", ".join(f"{count:,} {name}" for name, count in present.items())
    return f"mixed line ends ({shares})"


def rare_characters(census: Census) -> tuple[Symbol, ...]:
    """Return the characters seen fewer than RARE times, the rarest first."""
    codes = np.flatnonzero((census.counts > 0) & (census.counts < RARE))
    codes = codes[np.argsort(census.counts[codes], kind="stable")]
    return tuple(Symbol(int(code), int(census.counts[code])) for code in codes)


def odd_characters(census: Census, unit: str) -> tuple[Symbol, ...]:
    """Return the characters seldom meant, by kind: controls, bidi marks, invisible ones, U+FFFD."""
    limit = 128 if unit == "byte" else MAX_CODE
    symbols = [
        Symbol(int(code), int(census.counts[code]), _kind(int(code)))
        for code in np.flatnonzero(census.counts[:limit])
    ]
    odd = [symbol for symbol in symbols if symbol.kind]
    return tuple(sorted(odd, key=lambda symbol: symbol.kind))


@cache
def _kind(code: int) -> str:
    """Name the kind of an odd character; "" for others."""
    if code in (NEWLINE, RETURN, BREAK, ord("\t"), ord(" ")):
        return ""
    if code == REPLACEMENT:
        return "replacement"
    if code in _BIDI:
        return "bidi"
    return _KINDS.get(unicodedata.category(chr(code)), "")


class NfcChanges:
    """What normalisation to NFC would change in a text that arrives in pieces."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.uint32)  # the end of the text so far: what follows may compose
        self._gains = np.zeros(MAX_CODE, np.int64)  # by code: occurrences after NFC less before

    def add(self, codes: np.ndarray) -> None:
        """Count what changes in a piece."""
        # No character below U+0300, and no ideograph, composes with what stands before it: a cut
        # before one is safe.
        if codes.dtype == np.uint8 or (codes < 0x300).all():
            self._count(self._held)
            self._held = codes[-1:]
            return
        cuts = np.flatnonzero((codes < 0x300) | ((codes >= 0x4E00) & (codes < 0xA000)))
        if len(cuts):
            self._count(np.concatenate([self._held, codes[: cuts[-1]]]))
            self._held = codes[cuts[-1] :]
        else:
            self._held = np.concatenate([self._held, codes])

    def result(self, census: Census) -> tuple[int, int]:
        """Return how many characters NFC removes or replaces, and the distinct ones after it."""
        self._count(self._held)
        self._held = self._held[:0]
        lost = -int(self._gains[self._gains < 0].sum())
        return lost, int(np.count_nonzero(census.counts + self._gains))

    def _count(self, codes: np.ndarray) -> None:
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        if unicodedata.is_normalized("NFC", text):
            return
        after = np.frombuffer(unicodedata.normalize("NFC", text).encode("utf-32-le"), np.uint32)
        self._gains += np.bincount(after, minlength=MAX_CODE)
        self._gains -= np.bincount(codes, minlength=MAX_CODE)

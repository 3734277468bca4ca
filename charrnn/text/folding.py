"""Lines that say the same in another form: folded, they are equal.

Folding takes away the white space around a line, upper case, the Unicode form (NFKC) and characters
that cannot be seen. A line separator, such as U+2028 or a carriage return, ends a part of a line.

    "\\u00a0Anna\\r"   "ANNA"   "anna\\u2028"   ->   anna
    "Anna\\u2028Bob"                          ->   anna, bob

Folding only warns: nothing that is learnt or scored is folded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.text.linehash import common, every_line
from charrnn.text.vocabulary import NEWLINE

WORDS = "white space, case, Unicode form or line separators"
# Above, a text is not folded: 0.1 us a character, and twelve bytes a part.
MAX_CHARS = 100_000_000
CHUNK = 1 << 20  # characters folded at a time; a longer line is folded in pieces
_PART = 0x1E  # ends a part within a line, once folded
# What str.splitlines takes for the end of a line, the newline aside.
_SEPARATORS = re.compile("[\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029]")
# Those of Default_Ignorable_Code_Point that occur, as NFKC_Casefold leaves them out.
_IGNORABLE = re.compile(
    "[\\xad\\u034f\\u061c\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufe00-\\ufe0f\\ufeff]"
)


class Folded(NamedTuple):
    """The P parts of N folded lines, blank ones left out.

    Lines are numbered from 0 as by linehash.every_line, and a part has the number of its line.
    """

    hashes: np.ndarray  # (P,) uint64
    numbers: np.ndarray  # (P,)

    def parts_of(self, is_wanted: np.ndarray) -> np.ndarray:
        """Return the sorted hashes of the parts of some lines. is_wanted: (N,) bool."""
        return np.sort(self.hashes[is_wanted[self.numbers]])

    def within(self, parts: np.ndarray, lines: int, least: int = 1) -> np.ndarray:
        """Return which of N lines have no part but these: (N,) bool. A blank line is none.

        parts: sorted hashes. least: 1, or linehash.SENTENCE: shorter parts do not count.
        """
        is_counted = np.ones(len(self.hashes), bool)
        if least > 1:
            is_counted = (self.hashes & np.uint64(1)) == 1
        is_known = common(self.hashes, parts)
        has_part = np.zeros(lines, bool)
        has_part[self.numbers[is_counted]] = True
        has_new_part = np.zeros(lines, bool)
        has_new_part[self.numbers[is_counted & ~is_known]] = True
        return has_part & ~has_new_part


def fold_lines(pieces: Iterable[np.ndarray], unit: str) -> Folded:
    """Fold every line of a text in pieces. unit: of its codes, "char" or "byte"."""
    hashes = [np.zeros(0, np.uint64)]
    numbers = [np.zeros(0, np.uint32)]
    line = 0
    for codes in _whole_lines(pieces):
        # 1. Parts, each ended as if it were a line.
        folded = _folded(_text(codes, unit))
        folded_codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), np.uint32)
        is_end = (folded_codes == NEWLINE) | (folded_codes == _PART)
        parts, lengths = every_line([np.where(is_end, NEWLINE, folded_codes)])

        # 2. The line of each: one more after every newline.
        ends_line = folded_codes[is_end] == NEWLINE
        lines_before = np.concatenate([[0], np.cumsum(ends_line)])[: len(parts)]
        is_full = lengths > 0
        hashes.append(parts[is_full])
        numbers.append((lines_before[is_full] + line).astype(np.uint32))
        line += int(ends_line.sum())
    return Folded(np.concatenate(hashes), np.concatenate(numbers))


def _whole_lines(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield a text in pieces that end with a newline, or that are long and have none."""
    held: list[np.ndarray] = []
    for piece in pieces:
        for start in range(0, len(piece), CHUNK):
            codes = piece[start : start + CHUNK]
            ends = np.flatnonzero(codes == NEWLINE)
            if len(ends):
                stop = int(ends[-1]) + 1
                yield np.concatenate([*held, codes[:stop]])
                held = [codes[stop:]]
            else:
                held.append(codes)
            if sum(map(len, held)) > CHUNK:
                yield np.concatenate(held)
                held = []
    if sum(map(len, held)):
        yield np.concatenate(held)


def _text(codes: np.ndarray, unit: str) -> str:
    """Return codes as text; bytes that are not UTF-8 become lone surrogates."""
    if unit == "byte":
        return codes.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape")
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _folded(text: str) -> str:
    """Return a text with each line folded, and _PART at every line separator within one."""
    if text.isascii():
        text = text.lower()
    else:
        text = _IGNORABLE.sub("", unicodedata.normalize("NFKC", text).casefold())
        text = unicodedata.normalize("NFKC", text)
    lines = [line.strip() for line in text.split("\n")]
    text = "\n".join(lines)
    if _SEPARATORS.search(text) is None:
        return text
    for number, line in enumerate(lines):
        parts = _SEPARATORS.split(line)
        if len(parts) > 1:
            lines[number] = chr(_PART).join(part.strip() for part in parts)
    return "\n".join(lines)

"""Letters and the marks that stand on them: words that keep their marks, and the other spelling of
a character that a model does not know.

    e + U+0301   <->   é          NFD <-> NFC: parts, or one composed character
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal

import numpy as np

from charrnn.text.vocabulary import Vocabulary

FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
FIRST_MARK = 0x300  # below are no marks
JAMO = "\u1160-\u11ff"  # vowels and ends of Korean syllables, which join what stands before
JOINERS = "'’\u200c\u200d"  # inside words: apostrophes, and the signs that (do not) join letters


def is_mark(char: str) -> bool:
    """Return whether a character is a combining mark, which stands on a letter."""
    return char >= "\u0300" and unicodedata.category(char)[0] == "M"


@cache
def marks() -> str:
    """Return all combining marks, as the inside of a character class: [...]."""
    chars = map(chr, range(FIRST_MARK, 0x20000))
    codes = [ord(char) for char in chars if unicodedata.category(char)[0] == "M"]
    codes += range(0xE0100, 0xE01F0)  # variation selectors
    ranges = []
    start = codes[0]
    for code, later in zip(codes, [*codes[1:], sys.maxunicode + 2], strict=True):
        if later != code + 1:
            ranges.append(f"{chr(start)}-{chr(code)}")
            start = later
    return "".join(ranges)


@cache
def word_pattern() -> re.Pattern[str]:
    """Return the pattern of words, signs and newlines.

    A word is a run of letters, digits, marks and underscores, with apostrophes inside ("don't").
    Every other sign stands alone, with its marks.
    """
    inside = rf"[\w{marks()}]"
    return re.compile(
        rf"\w{inside}*(?:[{JOINERS}]+{inside}+)*|[^\w\s{marks()}][{marks()}]*|[{marks()}]+|\n"
    )


@cache
def letters_pattern() -> re.Pattern[str]:
    """Return the pattern of runs of letters, with their marks."""
    return re.compile(rf"[^\W\d_]+(?:[{marks()}]+[^\W\d_]*)*")


@cache
def _cluster_pattern() -> re.Pattern[str]:
    """Return the pattern of a character with the marks that stand on it."""
    return re.compile(rf".[{marks()}{JAMO}]*", re.DOTALL)


def in_known_form(text: str, vocabulary: Vocabulary) -> tuple[str, int]:
    """Return a text with the characters that a model knows, where it knows another spelling.

    Where it does not know é, its parts are tried, and the other way round. Also returns how many
    characters are spelt otherwise.
    """
    if _knows_all(vocabulary) or (vocabulary.lookup(vocabulary.codes(text)) >= 0).all():
        return text, 0
    count = 0
    clusters: list[str] = []
    for match in _cluster_pattern().finditer(text):
        cluster = match[0]
        if not _knows(vocabulary, cluster):
            spellings = [unicodedata.normalize(form, cluster) for form in FORMS]
            known = [spelling for spelling in spellings if _knows(vocabulary, spelling)]
            count += bool(known)
            cluster = known[0] if known else cluster
        clusters.append(cluster)
    return "".join(clusters), count


def respelt_note(count: int) -> str:
    """Say that characters are spelt otherwise than they were given."""
    noun = "character is" if count == 1 else "characters are"
    return f"{count:,} {noun} read in another Unicode form (NFC or NFD), which this model knows"


def codes_in_known_form(
    pieces: Iterable[np.ndarray], vocabulary: Vocabulary
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the codes of a text in pieces as `in_known_form` spells them, each with its count."""
    held = np.zeros(0, np.uint8)  # the last character so far: marks may follow
    for piece in pieces:
        codes = np.concatenate([held, piece])
        starts = np.flatnonzero(codes < FIRST_MARK)
        cut = int(starts[-1]) if len(starts) else 0
        yield _known_codes(codes[:cut], vocabulary)
        held = codes[cut:]
    yield _known_codes(held, vocabulary)


def _known_codes(codes: np.ndarray, vocabulary: Vocabulary) -> tuple[np.ndarray, int]:
    if _knows_all(vocabulary) or (vocabulary.lookup(codes) >= 0).all():
        return codes, 0
    text, count = in_known_form(codes.astype("<u4").tobytes().decode("utf-32-le"), vocabulary)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32), count


def _knows_all(vocabulary: Vocabulary) -> bool:
    return vocabulary.unit == "byte" or vocabulary.spelling is not None


def _knows(vocabulary: Vocabulary, text: str) -> bool:
    return bool((vocabulary.lookup(vocabulary.codes(text)) >= 0).all())

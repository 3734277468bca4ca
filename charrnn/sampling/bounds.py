"""How much may be asked for at once where texts are held in memory, and the words that refuse more.

A stream that is written as it comes is held nowhere: it has no bound but MAX_LENGTH.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from charrnn.errors import SettingsError
from charrnn.sampling.codec import Sample
from charrnn.text.vocabulary import Vocabulary

MAX_LENGTH = 10**12  # no counter overflows
MOST_RANKED = 1_000_000  # texts: 400 MB
MOST_UNIQUE = 10_000_000  # texts of which the bytes, or a digest, are remembered: 1 GB
MOST_HELD_CHARS = 20_000_000  # of all texts that are held at once: 30 bytes each, measured
STREAM_LENGTH = 500  # characters of a stream, unless the caller says otherwise
LINE_LENGTH = 1000  # a line that has not ended by then is cut
RECORD_LENGTH = 20_000  # a record of several lines
AT_ONCE = 1000  # texts under way side by side, about


def default_length(mode: str, vocabulary: Vocabulary) -> int:
    """Return how many characters a text has at most where nobody said."""
    if mode != "lines":
        return STREAM_LENGTH
    return RECORD_LENGTH if vocabulary.has_breaks else LINE_LENGTH


def check_count(count: int, *, rank: bool, unique: bool) -> None:
    """Raise SettingsError for more texts than --rank sorts, or --unique remembers."""
    if rank and count > MOST_RANKED:
        raise SettingsError(
            f"--count {count:,} with --rank: at most {MOST_RANKED:,} texts are sorted; "
            "ask for fewer, or leave --rank out"
        )
    if unique and count > MOST_UNIQUE:
        raise SettingsError(
            f"--count {count:,} with --unique: at most {MOST_UNIQUE:,} texts are remembered; "
            "ask for fewer, or leave --unique out"
        )


def check_held(count: int, length: int) -> None:
    """Raise SettingsError for texts of this length that are held as a whole, some side by side."""
    most = MOST_HELD_CHARS // max(1, min(count, AT_ONCE))
    if length > most:
        texts = "one text" if count == 1 else f"{count:,} texts"
        raise SettingsError(
            f"--length {length:,}: at most {most:,} characters for {texts} that cannot be written "
            "as they come (lines, or with --json, --rank or a constraint); ask for less"
        )


def held(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield samples that the caller holds. Raises SettingsError where they grow too long."""
    chars = 0
    for sample in samples:
        chars += len(sample.text)
        if chars > MOST_HELD_CHARS:
            raise SettingsError(
                f"--rank: the texts have over {MOST_HELD_CHARS:,} characters; "
                "ask for fewer or shorter ones"
            )
        yield sample


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_length(length: int) -> int:
    """Return the length. Raises SettingsError for one below 0 or above MAX_LENGTH."""
    if length < 0:
        raise SettingsError(f"--length {length}: must be at least 0")
    if length > MAX_LENGTH:
        raise SettingsError(f"--length {length:,}: must be at most {MAX_LENGTH:,}")
    return length

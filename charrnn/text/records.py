"""Records: items of several lines, between separators, that begin and end.

As codes, a record is a line: its end is a newline, and each line break inside it is BREAK, a symbol
of its own (vocabulary.py) that no text has. So records are learnt, split, counted and compared as
lines are.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator

from charrnn.errors import CorpusError
from charrnn.terminal import one_line
from charrnn.text.vocabulary import BREAK, Vocabulary

MAX_LINE = 4096  # characters; lines mode learns whole lines
MAX_RECORD = 100_000  # records are learnt in windows
BLANK = "blank"  # the separator that is a blank line
LEAST = 2  # separators, for a text to have records
SIGN = re.compile(r"[^\w\s](?:[^\w\s]| (?=\S))*")  # a line of signs alone: ---, %, * * *
HEAD_LINES = 20_000
PIECE_CHARS = 1 << 20
BREAK_SIGN = chr(BREAK)


def longest_item(vocabulary: Vocabulary) -> int:
    """Return how many characters a line, or a record, has at most."""
    return MAX_RECORD if vocabulary.has_breaks else MAX_LINE


def shown_breaks(line: str) -> str:
    """Return a line, or the beginning of a record on one line, for a person."""
    return line.replace(BREAK_SIGN, "↵")


def separator_of(head: str) -> str:
    """Return what separates the records of a text by its beginning; "" where nothing does.

    The line of signs that stands most often, or else a blank line.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", head)[:HEAD_LINES]]
    signs = Counter(line for line in lines if line and SIGN.fullmatch(line))
    if signs:
        sign, count = signs.most_common(1)[0]
        if count >= LEAST:
            return sign
    blank = sum(not line for line in lines[:-1])
    return BLANK if blank >= LEAST else ""


def words_of(separator: str) -> str:
    """Return the name of a separator in a sentence."""
    return "blank lines" if separator == BLANK else f"lines of {one_line(separator)}"


def records(texts: Iterator[str], separator: str, shown: str) -> Iterator[str]:
    """Yield the records of a text, without the blank lines around them; empty ones are left out.

    texts: with LF as line ends. separator: BLANK, or a line without the white space around it.
    Raises CorpusError, which names the line, for one of over MAX_RECORD characters.
    """
    wanted = "" if separator == BLANK else separator.strip()
    lines: list[str] = []
    size = 0
    began = 1
    for number, line in enumerate(_lines(texts), 1):
        if line.strip() != wanted:
            lines.append(line)
            size += len(line) + 1
            if size > 2 * MAX_RECORD:  # white space around it may still go
                raise _too_long(shown, began, f"over {MAX_RECORD:,}", separator)
            continue
        yield from _record(lines, shown, began, separator)
        lines = []
        size = 0
        began = number + 1
    yield from _record(lines, shown, began, separator)


def _record(lines: list[str], shown: str, began: int, separator: str) -> Iterator[str]:
    while lines and not lines[-1].strip():
        lines.pop()
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    record = "\n".join(lines[first:])
    if len(record) > MAX_RECORD:
        raise _too_long(shown, began, f"{len(record):,}", separator)
    if record:
        yield record


def _too_long(shown: str, line: int, size: str, separator: str) -> CorpusError:
    return CorpusError(
        f"{shown}: the record that begins on line {line:,} has {size} characters; a record has at "
        f"most {MAX_RECORD:,}: is --separator right? it is {words_of(separator)}"
    )


def as_codes_text(found: Iterator[str]) -> Iterator[str]:
    """Yield records as lines of a text, about a megabyte at a time: BREAK for each newline."""
    held: list[str] = []
    size = 0
    for record in found:
        held.append(record.replace("\n", BREAK_SIGN))
        size += len(record)
        if size >= PIECE_CHARS:
            yield "\n".join(held) + "\n"
            held = []
            size = 0
    if held:
        yield "\n".join(held) + "\n"


def _lines(texts: Iterator[str]) -> Iterator[str]:
    held: list[str] = []
    for text in texts:
        if BREAK_SIGN in text:
            raise CorpusError(
                f"the text has U+{BREAK:04X}, which stands for line breaks in records; take it out"
            )
        *lines, last = text.split("\n")
        for line in lines:
            held.append(line)
            yield "".join(held)
            held = []
        held.append(last)
        if sum(map(len, held)) > 2 * MAX_RECORD and len(held) > 1:
            held = ["".join(held)]
    if last_line := "".join(itertools.chain(held)):
        yield last_line

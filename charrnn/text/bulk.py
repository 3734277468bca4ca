"""Rows of a delimited table, thousands at a time where each is as it should be.

The csv module reads a piece of whole rows at once. Where it objects, or a row has another width,
the rows of that piece are read one by one (delimited.py), which says what is wrong and where.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from charrnn.text.delimited import allow_long_fields

PIECE_CHARS = 1 << 20  # read at once
MOST_HELD = 8 << 20  # characters without the end of a row


class Piece(NamedTuple):
    """Whole rows of a table. rows: all, blank lines left out; None: to be read one by one.

    text, line: of these rows, and the line that it begins on.
    """

    rows: list[list[str]] | None
    text: Iterator[str]
    line: int


def read_pieces(texts: Iterator[str], delimiter: str, width: int) -> Iterator[Piece]:
    """Yield the rows of a table. texts: of the file, line ends as they are. width: columns."""
    allow_long_fields()
    held = ""
    line = 1
    for text in texts:
        held += text
        start = 0
        while len(held) - start >= PIECE_CHARS:
            stop = _row_end(held, start, start + PIECE_CHARS)
            if stop == start:
                stop = _row_end(held, start, len(held))
            if stop == start:
                break
            rows, lines = _strict(held[start:stop], delimiter)
            if not lines:  # a quotation mark that is out of place: who knows where rows end?
                yield Piece(None, itertools.chain([held[start:]], texts), line)
                return
            is_plain = set(map(len, rows)) <= {width}
            yield Piece(rows if is_plain else None, iter([held[start:stop]]), line)
            line += lines
            start = stop
        held = held[start:]
        if len(held) > MOST_HELD:
            break
    if held:
        yield Piece(None, itertools.chain([held], texts), line)


def _row_end(text: str, start: int, stop: int) -> int:
    """Return the end of the last whole row between two places; start where there is none.

    Outside of quotation marks their number is even.
    """
    end = text.rfind("\n", start, stop) + 1
    while end > start and text.count('"', start, end) % 2:
        end = text.rfind("\n", start, text.rfind('"', start, end)) + 1
    return max(start, end)


def _strict(text: str, delimiter: str) -> tuple[list[list[str]], int]:
    """Return the rows of a text, blank lines left out, and its lines; 0 where it is not strict."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return list(filter(None, reader)), reader.line_num
    except csv.Error:
        return [], 0

"""Items of a table as lines of a text: stripped, each on one line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from charrnn.config import TextSettings
from charrnn.text.faults import Faults
from charrnn.text.stripping import stripper
from charrnn.text.tables import Item

PIECE_ITEMS = 1 << 13  # in one piece


def is_table(settings: TextSettings) -> bool:
    """Return whether a text is read as a table, by one of its columns."""
    return settings.column not in ("auto", "none")


def as_lines(items: Iterator[Item], settings: TextSettings, faults: Faults) -> Iterator[str]:
    """Yield the items of a table as lines, some thousands at a time; empty ones are left out."""
    stripped = stripper(settings.strip)
    while batch := list(itertools.islice(items, PIECE_ITEMS)):
        lines = []
        for item in batch:
            text = stripped(item.text)
            line = as_line(text)
            if line:
                faults.found["line breaks"] += len(line) != len(text) or "\n" in text
                lines.append(line)
        if lines:
            yield "\n".join(lines) + "\n"


def as_line(text: str) -> str:
    """Return a text on one line: a space for each of its line ends, none at its edges."""
    if "\n" not in text and "\r" not in text:
        return text
    return re.sub(r"[ \t]*[\r\n]+[ \t]*", " ", text.strip())

"""Items of a table as lines of a text: stripped, each on one line or with BREAK inside."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

from charrnn.config import TextSettings
from charrnn.text.faults import Faults
from charrnn.text.records import BREAK_SIGN, MAX_LINE, MAX_RECORD
from charrnn.text.stripping import stripper
from charrnn.text.tables import Item

PIECE_ITEMS = 1 << 13  # in one piece


def is_table(settings: TextSettings) -> bool:
    """Return whether a text is read as a table, by one of its columns."""
    return settings.column not in ("auto", "none")


def as_lines(
    items: Iterator[Item],
    settings: TextSettings,
    faults: Faults,
    labels: list[str] | None = None,
) -> Iterator[str]:
    """Yield the items of a table as lines, some thousands at a time; empty ones are left out.

    In records mode a line break inside an item is BREAK, else a space. labels: gets the label of
    each line, "" for none, where the items have some.
    """
    prepared = preparing(settings)
    while batch := list(itertools.islice(items, PIECE_ITEMS)):
        lines = []
        for item in batch:
            if line := prepared(item.text):
                if len(line) > MAX_LINE or "\n" in line:
                    _count(line, item, settings, faults)
                    line = line.replace("\n", BREAK_SIGN) if is_records(settings) else one(line)
                lines.append(line)
                if labels is not None and item.label is not None:
                    labels.append(item.label.strip())
        if lines:
            yield "\n".join(lines) + "\n"


def _count(text: str, item: Item, settings: TextSettings, faults: Faults) -> None:
    """Count an item that is no line. Raises CorpusError where it is too long for a record."""
    if "\n" in text and not is_records(settings):
        faults.found["line breaks"] += 1
    if len(text) > MAX_LINE:
        faults.found["long"] += 1
    if len(text) > MAX_RECORD:
        faults.meet(
            f"line {item.line:,}", f"a text of {len(text):,} characters, over {MAX_RECORD:,}"
        )


def preparing(settings: TextSettings) -> Callable[[str], str]:
    """Return what makes an item of a cell's text: stripped, line ends LF, none at its edges."""
    stripped = stripper(settings.strip)

    def prepared(text: str) -> str:
        text = stripped(text)
        if "\n" not in text and "\r" not in text:
            return text
        return re.sub(r"\r\n?", "\n", text).strip("\n")

    return prepared


def one(text: str) -> str:
    """Return a text on one line: a space for each of its line ends."""
    return re.sub(r"[ \t]*\n+[ \t]*", " ", text)


def is_records(settings: TextSettings) -> bool:
    """Return whether items may have several lines."""
    return settings.mode == "records"

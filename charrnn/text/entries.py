"""Items of a table as lines of a text: stripped, each on one line or with BREAK inside."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

from charrnn.config import TextSettings
from charrnn.text.faults import Faults
from charrnn.text.records import BREAK_SIGN, MAX_LINE, MAX_RECORD
from charrnn.text.stripping import names_of, stripper
from charrnn.text.tables import Cells, Item

PIECE_ITEMS = 1 << 13  # in one piece


def is_table(settings: TextSettings) -> bool:
    """Return whether a text is read as a table, by one of its columns."""
    return settings.column not in ("auto", "none")


def as_lines(
    cells: Iterator[Cells],
    settings: TextSettings,
    faults: Faults,
    shown: str,
    labels: list[str] | None = None,
) -> Iterator[str]:
    """Yield the items of a table as lines, some thousands at a time; empty ones are left out.

    In records mode a line break inside an item is BREAK, else a space. shown: the file's name.
    labels: gets the label of each line, "" for none, where the items have some.
    Raises CorpusError for a text that is too long for a record.
    """
    for some in cells:
        text = _plain(some.texts, settings) if some.texts is not None else None
        if text is None:
            yield from _one_by_one(some.items, settings, faults, shown, labels)
        elif text:
            yield text


def _plain(texts: list[str], settings: TextSettings) -> str | None:
    """Return cells as lines, where nothing in them is to be changed; None where something is."""
    lines = list(filter(str.strip, texts))
    joined = "\n".join([*lines, ""])
    is_plain = joined.count("\n") == len(lines) and "\r" not in joined
    if names_of(settings.strip) or not is_plain or max(map(len, lines), default=0) > MAX_LINE:
        return None
    return joined


def _one_by_one(
    items: Iterator[Item],
    settings: TextSettings,
    faults: Faults,
    shown: str,
    labels: list[str] | None,
) -> Iterator[str]:
    prepared = preparing(settings)
    while batch := list(itertools.islice(items, PIECE_ITEMS)):
        lines = []
        for item in batch:
            line = prepared(item.text)
            if len(line) > MAX_LINE or "\n" in line:
                faults.found["long"] += len(line) > MAX_LINE
                if not is_records(settings):
                    faults.found["line breaks"] += "\n" in line
                    line = one(line)
                elif len(line) > MAX_RECORD:
                    what = f"a text of {len(line):,} characters; the most is {MAX_RECORD:,}"
                    faults.meet(f"{shown}: line {item.line:,}", what)
                    continue
                line = line.replace("\n", BREAK_SIGN)
            if line:
                lines.append(line)
                if labels is not None and item.label is not None:
                    labels.append(item.label.strip())
        if lines:
            yield "\n".join(lines) + "\n"


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

"""What a file is that is not plain text, and what is done about it where nobody said.

A table with one column of text is read by that column, a numbered list without its numbers. What is
not clear is offered, as an option to paste (looks.py).
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from typing import Any

from charrnn.config import TextSettings
from charrnn.errors import CharrnnError, CorpusError, SettingsError
from charrnn.terminal import many, one_line
from charrnn.text.entries import is_records, is_table
from charrnn.text.jsonrows import texts_at
from charrnn.text.labels import column_of
from charrnn.text.reading import head_of
from charrnn.text.records import separator_of, words_of
from charrnn.text.sources import Source
from charrnn.text.stripping import NUMBERED, names_of
from charrnn.text.tables import Layout, listed, recognised

READINGS = ("column", "strip", "separator")  # what is decided for each of several texts
LEAST_ROWS = 5  # of a table that is recognised by its looks
LEAST_LINES = 5  # of a numbered list
SURE = 0.95  # of the lines
DISTINCT = 0.3  # of a column's texts: names are distinct, kinds of things are few
# Values with letters that are no text: dates with names of months, addresses, keys.
CODE = re.compile(
    r"\w{0,8}[-_./:#]?\d[\w./:+-]*|[0-9a-fA-F-]{8,}|\w+://\S+|www\.\S+|\S+@\S+\.\w+|"
    r"\d{1,4}[ ./-]\w{3,9}[ ./-]\d{1,4}"
)


def settle_all(settings: TextSettings, source: Source) -> tuple[TextSettings, Source, list[str]]:
    """Decide it for each of several texts. Returns the settings of all, and texts with their own.

    What differs from text to text stays in those settings as it was asked for. Raises CorpusError.
    """
    if not source.parts:
        settings, notes = settle(settings, source)
        return settings, source, notes
    notes = list(source.notes)
    settled: list[TextSettings] = []
    for part in source.parts:
        asked = part.read(settings)
        if is_table(asked) and _layout(asked, part.source) is None:  # --column is for the tables
            label = "" if column_of(asked) else asked.label
            asked = dataclasses.replace(asked, column="none", label=label)
        own, more = settle(asked, part.source)
        settled.append(own)
        notes += more
    if any(is_records(own) for own in settled):
        settings = dataclasses.replace(settings, mode="records")
    for key in READINGS:
        values = {getattr(own, key) for own in settled}
        if len(values) == 1:
            settings = dataclasses.replace(settings, **{key: values.pop()})
    parts = []
    for part, own in zip(source.parts, settled, strict=True):
        reading = {key: getattr(own, key) for key in (*READINGS, "encoding", "label")}
        parts.append(dataclasses.replace(part, reading=reading))
    return settings, dataclasses.replace(source, parts=tuple(parts)), notes


def settle(settings: TextSettings, source: Source) -> tuple[TextSettings, list[str]]:
    """Decide how a text is read where that was left open: which column, what is stripped.

    Returns settings that leave neither open, and notes for the person. Raises CorpusError.
    """
    names_of(settings.strip)
    if settings.separator != "auto" and settings.mode == "auto":
        settings = dataclasses.replace(settings, mode="records")
    notes: list[str] = []
    column = settings.column
    strip = settings.strip
    is_open = settings.unit == "char" and settings.mode != "stream"
    if column == "auto":
        column, note = "none", ""
        if settings.unit == "char" and settings.label != "prefix":
            column, note = _column(settings, source, is_open=is_open)
        notes += [note] if note else []
    if column == "none" and column_of(settings):
        raise SettingsError(
            f"--label {one_line(settings.label)} is a column of a table; name the column of the "
            "texts too (--column NAME), or choose --label file or --label prefix"
        )
    if column != "none" and column == column_of(settings):
        shown = one_line(column)
        raise SettingsError(f"--label {shown} is the column that is learnt; name another column")
    settled = dataclasses.replace(settings, column=column)
    if strip == "auto":
        strip, note = ("none", "")
        if is_open:
            strip, note = _strip(settled, source)
        notes += [note] if note else []
    settled = dataclasses.replace(settled, strip=strip)
    if is_records(settled) and settled.separator == "auto" and not is_table(settled):
        separator, note = _separator(settled, source)
        settled = dataclasses.replace(settled, separator=separator)
        notes.append(note)
    return settled, notes


def _separator(settings: TextSettings, source: Source) -> tuple[str, str]:
    """Return what separates the records of a text, and a note. Raises CorpusError."""
    head, shown, _ = head_of(source, settings)
    separator = separator_of(head)
    if not separator:
        raise CorpusError(
            f"{shown} has no line of signs such as --- and no blank lines between records; "
            "pass --separator TEXT"
        )
    return separator, f"records of {shown} are between {words_of(separator)} (--separator TEXT)"


def _column(settings: TextSettings, source: Source, *, is_open: bool) -> tuple[str, str]:
    """Return the column that is clearly the text, or "none", and a note."""
    found = _layout(settings, source)
    if found is None:
        return "none", ""
    layout, shown = found
    columns = [name for name in text_columns(layout) if name != column_of(settings)]
    what = layout.name
    if layout.width > 1:
        what += f", {many(layout.width, 'column')}"
    if len(columns) == 1 and is_open:
        (column,) = columns
        return column, (
            f"{shown} is {what}; learning its column {one_line(column)} "
            "(--column NAME learns another, --column none the file as it is)"
        )
    if layout.header:
        what += f": {listed(layout.header)}"
    column = shlex.quote(one_line(columns[0])) if columns else "NAME"
    return "none", f"{shown} looks like {what}; --column {column} learns one column alone"


def _layout(settings: TextSettings, source: Source) -> tuple[Layout, str] | None:
    """Return how a text is a table, by its looks, and its name; None where it is none."""
    try:
        head, shown, is_whole = head_of(source, dataclasses.replace(settings, errors="replace"))
    except CharrnnError:  # it is told when the text is read
        return None
    layout = recognised(head, shown, is_whole=is_whole)
    if layout is None or (len(layout.sample) < LEAST_ROWS and not layout.header):
        return None
    return layout, shown


def text_columns(layout: Layout) -> list[str]:
    """Return the columns that hold texts, as --column names them: mostly letters, few repeats."""
    return [name for name, values in _columns(layout) if _is_text(values)]


def _columns(layout: Layout) -> Iterator[tuple[str, list[str]]]:
    """Yield each column's name, as --column takes it, and its values in the sample."""
    if layout.kind != "delimited":
        if not layout.header:
            yield "1", _json_values(layout.sample, "")
        for path in layout.header:
            yield path, _json_values(layout.sample, path)
        return
    for place in range(min(layout.width, 1000)):
        name = layout.header[place] if layout.header else ""
        if not name or layout.header.count(name) > 1:
            name = str(place + 1)
        yield name, [row[place] for row in layout.sample if len(row) > place]


def _values_of(column: str, layout: Layout) -> list[str]:
    """Return the values of a column in the sample. column: its name, or its number."""
    for number, (name, values) in enumerate(_columns(layout), 1):
        if column in (name, str(number)):
            return values
    return []


def _json_values(sample: tuple[Any, ...], path: str) -> list[str]:
    values: list[str] = []
    for value in sample:
        try:
            values += texts_at(value, path)
        except ValueError:
            continue
    return values


def _is_text(values: list[str]) -> bool:
    values = [value.strip() for value in values if value.strip()]
    if not values:
        return False
    texts = [value for value in values if _has_words(value)]
    if len(texts) < 0.6 * len(values):
        return False
    return len(set(texts)) >= DISTINCT * len(texts)


def _has_words(value: str) -> bool:
    letters = sum(char.isalpha() for char in value)
    digits = sum(char.isdigit() for char in value)
    return letters > digits and CODE.fullmatch(value) is None


def _strip(settings: TextSettings, source: Source) -> tuple[str, str]:
    """Return what is clearly no part of the lines, or "none", and a note."""
    if is_table(settings):
        found = _layout(settings, source)
        lines = _values_of(settings.column, found[0]) if found else []
        shown = f"column {one_line(settings.column)}"
    else:
        try:
            head, shown, is_whole = head_of(source, dataclasses.replace(settings, errors="replace"))
        except CharrnnError:
            return "none", ""
        lines = head.splitlines()[:300]
        if not is_whole or len(lines) == 300:
            lines = lines[:-1]
    lines = [line for line in lines if line.strip()]
    numbers = [int(match[1]) for line in lines if (match := NUMBERED.match(line))]
    pairs = zip(numbers, numbers[1:], strict=False)
    steps = sum(later == number + 1 for number, later in pairs)
    if len(lines) < LEAST_LINES or len(numbers) < SURE * len(lines):
        return "none", ""
    if steps < SURE * (len(numbers) - 1):
        return "none", ""
    return "numbering", (
        f"{shown} is a numbered list; learning it without its numbers (--strip none keeps them)"
    )

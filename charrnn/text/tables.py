"""Tables as items: one column of a CSV, TSV, JSON or JSON Lines file, and a label beside it.

    for item in rows(texts, "bands.csv", "band", label_column="genre"):
        item.text, item.label, item.line

texts: the file's decoded text in pieces, line ends as they are. What the file is follows from its
beginning and its name. A column is a name or a number from 1; of JSON a key, or a path such as
data.title. reading.items does this for a text that find_source has found. Memory does not grow with
the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from charrnn.errors import CorpusError, SettingsError
from charrnn.terminal import many, one_line
from charrnn.text.bulk import read_pieces
from charrnn.text.delimited import (
    DELIMITERS,
    Row,
    find_delimiter,
    header_of,
    looks_delimited,
    read_rows,
    sample_rows,
)
from charrnn.text.faults import Faults
from charrnn.text.jsonrows import read_lines, read_values, sample_values, texts_at
from charrnn.values import nearest

HEAD_CHARS = 1 << 16  # that tell what a table is
MOST_HEAD = 1 << 23  # of a table whose first rows are long
HEAD_LINES = 3
SAMPLE_VALUES = 300
MOST = 0.8  # of the lines that are JSON, for a text of such lines
NAMED = 12  # columns that a message names
LINES_SUFFIXES = (".jsonl", ".ndjson")
JSON_SUFFIXES = (".json", *LINES_SUFFIXES)


class Item(NamedTuple):
    """One text of a table. label: None where no label was asked for. line: where its row begins."""

    text: str
    label: str | None
    line: int


@dataclass(frozen=True)
class Layout:
    """What a table is, by its beginning."""

    kind: str  # "delimited", "json" or "json lines"
    delimiter: str = ","
    header: tuple[str, ...] = ()  # the names of its columns; none of a table without a header
    width: int = 0  # columns
    sample: tuple[Any, ...] = ()  # its first rows below the header, or values

    @property
    def name(self) -> str:
        """What it is, in a word."""
        if self.kind == "delimited":
            return DELIMITERS[self.delimiter]
        return "JSON" if self.kind == "json" else "JSON, one value a line"


class Cells(NamedTuple):
    """The cells of a column in some rows. texts: all of them, as they are; None: ask `items`.

    items: those with a text, read one by one. Where it is asked, it must be read to its end.
    """

    texts: list[str] | None
    items: Iterator[Item]


def rows(
    texts: Iterator[str],
    shown: str,
    column: str,
    label_column: str = "",
    faults: Faults | None = None,
) -> Iterator[Item]:
    """Yield the items of a table, in order; cells without a text are left out. As `cells_of`."""
    for cells in cells_of(texts, shown, column, label_column, faults):
        yield from cells.items


def cells_of(
    texts: Iterator[str],
    shown: str,
    column: str,
    label_column: str = "",
    faults: Faults | None = None,
) -> Iterator[Cells]:
    """Yield the cells of a table's column, those of many rows at a time.

    shown: the file's name, which messages give and whose ending counts. column, label_column: as
    the person named them. faults: what wrong rows do, and where they are counted.
    Raises CorpusError with the line of a wrong row, SettingsError for a column that is not there.
    """
    faults = Faults() if faults is None else faults
    head, texts, is_whole = _head(texts)
    names = tuple(name for name in (column, label_column) if name)
    layout = layout_of(head, shown, names, is_whole=is_whole)
    if layout.kind == "delimited":
        yield from _delimited_cells(texts, shown, layout, column, label_column, faults)
    else:
        yield Cells(None, _json_items(texts, shown, layout, column, label_column, faults))


def layout_of(
    head: str, shown: str, names: tuple[str, ...] = (), *, is_whole: bool = False
) -> Layout:
    """Return what a table is. names: the columns that it should have. is_whole: head is all."""
    suffix = PurePath(shown.removesuffix(".gz")).suffix.lower()
    begins = head.lstrip()[:1]
    if suffix in JSON_SUFFIXES or (begins in ("{", "[") and suffix not in (".csv", ".tsv")):
        return _json_layout(head, is_whole=is_whole, is_lines=suffix in LINES_SUFFIXES)
    delimiter = find_delimiter(head, suffix, names, is_whole=is_whole)
    table = sample_rows(head, delimiter, is_whole=is_whole)
    if not table:
        return Layout("delimited", delimiter)
    first = [name.strip() for name in table[0]]
    has_names = any(name in first and not name.isdigit() for name in names)
    header = first if has_names else header_of(table)
    body = table[1:] if header else table
    return Layout("delimited", delimiter, tuple(header), len(first), tuple(body))


def recognised(head: str, shown: str, *, is_whole: bool) -> Layout | None:
    """Return what table a text is, going by its looks; None for a text that is none."""
    layout = layout_of(head, shown, is_whole=is_whole)
    if layout.kind != "delimited":
        return layout if layout.sample else None
    is_named = PurePath(shown.removesuffix(".gz")).suffix.lower() in (".csv", ".tsv")
    if is_named and layout.header:
        return layout
    table = [list(row) for row in ((layout.header,) if layout.header else ())]
    table += layout.sample
    if not table or not looks_delimited(table, head, layout.delimiter):
        return None
    return layout


def _head(texts: Iterator[str]) -> tuple[str, Iterator[str], bool]:
    """Return the beginning of a text, all of it again, and whether the beginning is all."""
    parts: list[str] = []
    size = 0
    lines = 0
    for text in texts:
        parts.append(text)
        size += len(text)
        lines += text.count("\n")
        if (size >= HEAD_CHARS and lines >= HEAD_LINES) or size >= MOST_HEAD:
            head = "".join(parts)
            return _cut(head), itertools.chain([head], texts), False
    head = "".join(parts)
    return head, iter([head]), True


def peeked(texts: Iterator[str]) -> tuple[str, Iterator[str]]:
    """Return the beginning of a text, and all of it again."""
    head, texts, _ = _head(texts)
    return head, texts


def beginning(texts: Iterator[str]) -> tuple[str, bool]:
    """Return the beginning of a text that tells what it is, and whether it is all of it."""
    head, _, is_whole = _head(texts)
    return head, is_whole


def _cut(head: str) -> str:
    """Return a beginning without what is not needed, where its lines are short."""
    if head.count("\n", 0, HEAD_CHARS) >= HEAD_LINES:
        return head[:HEAD_CHARS]
    return head


# Delimited columns


def _delimited_cells(
    texts: Iterator[str],
    shown: str,
    layout: Layout,
    column: str,
    label_column: str,
    faults: Faults,
) -> Iterator[Cells]:
    """Yield the cells of a column of delimited rows."""
    place = _place_of(column, layout, shown, "--column")
    label_place = _place_of(label_column, layout, shown, "--label") if label_column else None
    has_header = bool(layout.header)
    count = 0

    def items(rows: Iterator[Row]) -> Iterator[Item]:
        nonlocal count
        for line, row in rows:
            needed = max(place, label_place or 0)
            if needed >= len(row) or (len(row) > layout.width and any(row[layout.width :])):
                if len(row) == 1 and not row[0].strip():
                    continue
                whole = "the header has" if layout.header else "the first row has"
                fields = "field" if len(row) == 1 else "fields"
                what = f"{len(row):,} {fields}, where {whole} {layout.width:,}"
                faults.meet(f"{shown}: line {line:,}", what)
                continue
            count += 1
            if row[place].strip():
                label = row[label_place].strip() if label_place is not None else None
                yield Item(row[place], label, line)

    for piece in read_pieces(texts, layout.delimiter, layout.width):
        rows = read_rows(piece.text, shown, layout.delimiter, faults, piece.line - 1)
        texts_of_rows = None
        if piece.rows is not None and label_place is None:
            texts_of_rows = [row[place] for row in piece.rows[has_header:]]
            count += len(texts_of_rows)
        yield Cells(texts_of_rows, items(itertools.islice(rows, has_header, None)))
        has_header = has_header and piece.rows == []
    if not count and not faults.count:
        raise CorpusError(f"{shown} has a header and no rows" if layout.header else _empty(shown))


def _empty(shown: str) -> str:
    return f"{shown} is empty; give a table with at least a few hundred entries"


def _place_of(column: str, layout: Layout, shown: str, option: str) -> int:
    """Return the place of a column, from 0. Raises SettingsError."""
    if not layout.width:
        raise CorpusError(_empty(shown))
    for names in (layout.header, tuple(name.lower() for name in layout.header)):
        asked = column if names is layout.header else column.lower()
        places = [place for place, name in enumerate(names) if name == asked.strip()]
        if len(places) > 1:
            numbers = " or ".join(str(place + 1) for place in places[:NAMED])
            raise SettingsError(
                f"{option} {one_line(column)}: {shown} has it {len(places)} times; "
                f"pass {option} {numbers}"
            )
        if places:
            return places[0]
    if column.isdigit() and 1 <= int(column) <= layout.width:
        return int(column) - 1
    raise SettingsError(_no_column(column, layout.header, layout.width, shown, option))


def _no_column(column: str, names: tuple[str, ...], width: int, shown: str, option: str) -> str:
    """Say that a column is not there, and which are."""
    if column.isdigit():
        return f"{option} {column}: {shown} has {many(width, 'column')}"
    if not names:
        return (
            f"{option} {one_line(column)}: {shown} has no header with names; give the column's "
            f"number, 1 to {width:,}"
        )
    hint = nearest(column, [one_line(name) for name in names])
    return f"{option} {one_line(column)}: {shown} has {listed(names)}{hint}"


def listed(names: tuple[str, ...]) -> str:
    """Return the first names of columns, and how many more there are."""
    text = ", ".join(map(one_line, names[:NAMED]))
    if len(names) > NAMED:
        text += f" and {len(names) - NAMED:,} more"
    return text


# JSON


def _json_layout(head: str, *, is_whole: bool, is_lines: bool) -> Layout:
    """Return what JSON a text is: one value a line, or one array or object.

    is_lines: its name says that it is one value a line.
    """
    lines = [line for line in head.split("\n") if line.strip()]
    if not is_whole and len(lines) > 1:
        lines = lines[:-1]  # it may be cut
    values = _values_of(lines[:SAMPLE_VALUES])
    are_objects = sum(isinstance(value, dict) for value in values)
    is_one_a_line = len(lines) > 1 or not is_whole
    is_likely = is_one_a_line and are_objects >= max(1, MOST * len(lines[:SAMPLE_VALUES]))
    if is_lines or is_likely:
        return Layout("json lines", header=_keys(values), sample=tuple(values))
    if not head.lstrip().startswith(("[", "{")) and len(lines) > 1:  # texts or numbers, one a line
        return Layout("json lines", header=_keys(values), sample=tuple(values))
    values = sample_values(head, SAMPLE_VALUES, is_whole=is_whole)
    return Layout("json", header=_keys(values), sample=tuple(values))


def _values_of(lines: list[str]) -> list[Any]:
    """Return the values of lines that are JSON."""
    return [value for _, value in read_lines(iter(["\n".join(lines)]), "", Faults(skips=True))]


def _keys(values: list[Any]) -> tuple[str, ...]:
    """Return the paths of the texts in values, in order: of objects in them, and in these."""
    found: dict[str, None] = {}

    def look(value: Any, path: str, depth: int) -> None:
        if isinstance(value, list):
            for inner in value[:100]:
                look(inner, path, depth)
        elif isinstance(value, dict) and depth < 3:
            for name, inner in value.items():
                look(inner, f"{path}.{name}" if path else str(name), depth + 1)
        elif path:
            found[path] = None

    for value in values[:300]:
        look(value, "", 0)
    return tuple(found)


def _json_items(
    texts: Iterator[str],
    shown: str,
    layout: Layout,
    column: str,
    label_column: str,
    faults: Faults,
) -> Iterator[Item]:
    read = read_values(texts, shown)
    if layout.kind == "json lines":
        read = read_lines(texts, shown, faults)
    count = 0
    wrong = 0
    for line, value in read:
        count += 1
        try:
            found = list(_texts(value, column))
            label = None
            if label_column:
                label = next(_texts(value, label_column), "")
        except ValueError as error:
            wrong += 1
            if wrong == count and not _has(layout, column):
                names = layout.header
                raise SettingsError(_no_column(column, names, 1, shown, "--column")) from None
            faults.meet(f"{shown}: line {line:,}", f"the value {error}")
            continue
        for text in found:
            if text.strip():
                yield Item(text, label, line)
    if not count:
        raise CorpusError(f"{shown} has no values; give a table with at least a few hundred")


def _texts(value: Any, column: str) -> Iterator[str]:
    """Yield the texts of a value in a column: a key or path, or the place in a list."""
    if column.isdigit() and isinstance(value, list) and not any(map(_is_object, value)):
        if int(column) > len(value) or column == "0":
            raise ValueError(f"has {many(len(value), 'part')}")
        return texts_at(value[int(column) - 1], "")
    if column == "1" and not isinstance(value, dict):
        return texts_at(value, "")
    return texts_at(value, column)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _has(layout: Layout, column: str) -> bool:
    return column in layout.header or any(
        name.startswith(f"{column}.") or name.endswith(f".{column}") for name in layout.header
    )

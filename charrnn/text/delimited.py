"""Tables of delimited columns: CSV, TSV and their kin, by the rules of Python's csv module.

Rows are read one by one, so memory does not grow with the table.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from charrnn.errors import CorpusError
from charrnn.text.faults import Faults

DELIMITERS = {",": "CSV", "\t": "TSV", ";": "CSV", "|": "a table"}
MOST_FIELD = 10_000_000  # characters; a quote that never closes would take the whole file
MOST_LINE = 64_000_000
SAMPLE_LINES = 300
SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}

Row = tuple[int, list[str]]  # the line that it begins on, and its fields


def read_rows(
    texts: Iterator[str], shown: str, delimiter: str, faults: Faults, before: int = 0
) -> Iterator[Row]:
    """Yield the rows of a table, blank lines left out.

    texts: of the file, in pieces, line ends as they are. before: lines of it that came before.
    Raises CorpusError.
    """
    lines = _Lines(texts, shown)
    allow_long_fields()
    reader = csv.reader(lines, delimiter=delimiter)
    line = before + 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.meet(f"{shown}: line {line:,}", _csv_fault(error))
            line = before + reader.line_num + 1
            continue
        if lines.is_over:  # the reader wanted one more
            faults.meet(f"{shown}: line {line:,}", "a quotation mark that does not close")
        elif row:
            yield line, row
        line = before + reader.line_num + 1


def _csv_fault(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a quotation mark does not close within {MOST_FIELD:,} characters"
    return str(error)


class _Lines:
    """The lines of a text in pieces, each with its end: LF, CRLF or CR.

    is_over: whether a line was asked for after the last.
    """

    def __init__(self, texts: Iterator[str], shown: str) -> None:
        self.is_over = False
        self._lines = self._split(texts, shown)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            self.is_over = True
            raise

    def _split(self, texts: Iterator[str], shown: str) -> Iterator[str]:
        held = ""
        for text in texts:
            held += text
            # A CR at the very end may be half of a CRLF.
            cut = max(held.rfind("\n"), held.rfind("\r", 0, max(0, len(held) - 1))) + 1
            if cut:
                yield from io.StringIO(held[:cut], newline="")
                held = held[cut:]
            elif len(held) > MOST_LINE:
                raise CorpusError(
                    f"{shown}: a line has more than {MOST_LINE:,} characters; is it a table?"
                )
        if held:
            yield from io.StringIO(held, newline="")


def allow_long_fields() -> None:
    """Let fields be longer than the csv module's 131,072 characters."""
    csv.field_size_limit(max(csv.field_size_limit(), MOST_FIELD))


def sample_rows(head: str, delimiter: str, *, is_whole: bool) -> list[list[str]]:
    """Return the first rows of a table. is_whole: head is all of it, and not its beginning."""
    lines = list(io.StringIO(head, newline=""))[: SAMPLE_LINES + 1]
    if len(lines) > 1 and not (is_whole and len(lines) <= SAMPLE_LINES):
        lines = lines[:-1]  # it may be cut
    rows: list[list[str]] = []
    allow_long_fields()
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error:
            continue
        if row:
            rows.append(row)
    if len(rows) > 1 and len(lines) > SAMPLE_LINES - 1:
        rows = rows[:-1]  # a field of several lines may be cut
    return rows


def find_delimiter(head: str, suffix: str, names: tuple[str, ...], *, is_whole: bool) -> str:
    """Return the delimiter of a table: the one that has these columns, or that cuts most evenly."""
    best = (0.0, SUFFIXES.get(suffix, ","))
    for delimiter in DELIMITERS:
        rows = sample_rows(head, delimiter, is_whole=is_whole)
        if not rows:
            continue
        first = [name.strip() for name in rows[0]]
        widths = Counter(map(len, rows))
        width, count = widths.most_common(1)[0]
        evenness = count / len(rows) * (width > 1)
        if names and all(name in first for name in names):
            evenness += 1 + len(first) / 1e6  # the one that cuts off most beside the name
        if evenness > best[0] + 0.05 * (delimiter != SUFFIXES.get(suffix)):
            best = (evenness, delimiter)
    return best[1]


def looks_delimited(rows: list[list[str]], head: str, delimiter: str) -> bool:
    """Return whether the rows of a sample are a table: nearly all have as many columns."""
    # "Smith, John" is a name, and running text has a space after its commas.
    pairs = head.count(delimiter)
    if not pairs or head.count(f"{delimiter} ") > pairs / 2:
        return False
    width, count = Counter(map(len, rows)).most_common(1)[0]
    if width < 2 or count < 0.9 * len(rows):
        return False
    return sum(not row[0].strip() for row in rows) <= len(rows) / 2  # indented by tabs


def header_of(rows: list[list[str]]) -> list[str]:
    """Return the names of the columns; none if the first row is like the others."""
    first, *others = rows
    names = [name.strip() for name in first]
    others = [row for row in others if len(row) == len(names)]
    filled = [name for name in names if name]
    is_names = all(re.fullmatch(r"[^\W\d][\w .()/-]{0,59}", name) for name in filled)
    if not is_names or not filled or not others or len(filled) < len(names) / 2:
        return []
    numbers = [any(row[place].strip().isdigit() for row in others) for place in range(len(names))]
    is_small = all(name == name.lower() or name == name.upper() for name in names)
    is_new = not any(name in {row[place] for row in others} for place, name in enumerate(names))
    is_told_apart = len(set(names)) == len(names) and is_small and is_new
    return names if any(numbers) or is_told_apart else []

"""Results for people on standard output: tables, facts, coloured text. The only file with rich.

Text that a model made is escaped in here; no markup is read from it.
"""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any, Literal, TextIO

from charrnn.errors import StorageError
from charrnn.terminal import (
    LEAST_COLUMNS,
    columns_of,
    forget_stdout,
    one_line,
    print_line,
    visible,
    width_of,
    writable,
)

if TYPE_CHECKING:
    from rich.console import Console

LEAST_EXCERPT = 18  # columns: in fewer an excerpt is no longer read as a text
NOT_A_TERMINAL_COLUMNS = 100
COLUMN_GAP = 2
BLUE = (110, 150, 255)
GREEN = (70, 200, 90)


def print_table(
    title: str, columns: list[str], rows: list[list[str]], *, excerpts: str | None = None
) -> None:
    """Print a table. Cells are shown as they are, without markup.

    No figure or name is ever cut: where a terminal is too narrow, text wraps inside its column;
    where that is not enough, each row becomes a few lines. excerpts: a column whose cells may be
    split anywhere.
    """
    from rich.table import Table
    from rich.text import Text

    terminal_columns = columns_of(_stdout())
    available = terminal_columns or NOT_A_TERMINAL_COLUMNS
    shown = [[_shown(cell) for cell in row] for row in [columns, *rows]]
    widths = _column_widths(shown, available, excerpts)
    if terminal_columns and sum(widths) + COLUMN_GAP * (len(widths) - 1) > terminal_columns:
        _print_title(title)
        _print_stacked(shown[0], shown[1:], terminal_columns)
        return
    table = Table(box=None, pad_edge=False)
    for index, width in enumerate(widths):
        justify: Literal["left", "right"] = "left" if index == 0 else "right"
        table.add_column(Text(shown[0][index]), justify=justify, overflow="fold", width=width)
    for row in shown[1:]:
        table.add_row(*(Text(cell) for cell in row))
    total = sum(widths) + COLUMN_GAP * (len(widths) - 1)
    _print_title(title)
    _console(width=max(available, total)).print(table)


def _print_stacked(headings: list[str], rows: list[list[str]], available: int) -> None:
    """Print each row as its first cell, and below it the others with their headings."""
    for first, *others in rows:
        for line in textwrap.wrap(first, max(LEAST_COLUMNS, available)) or [""]:
            print_line(line)
        line = ""
        for heading, cell in zip(headings[1:], others, strict=True):
            pair = f"{heading} {cell}".strip()
            if line and width_of(line) + COLUMN_GAP + width_of(pair) > available:
                print_line(line)
                line = ""
            line += "  " + pair
        if line:
            print_line(line)


def _column_widths(rows: list[list[str]], available: int, excerpts: str | None) -> list[int]:
    """Return the width of each column: excerpts narrowed first, then the widest texts."""
    widths = []
    narrowest = []
    for heading, *cells in zip(*rows, strict=True):
        widths.append(max(map(width_of, [heading, *cells])))
        words = heading.split()
        least = 0
        if heading == excerpts:
            least = min(LEAST_EXCERPT, max(map(width_of, cells), default=0))
        else:
            words += [word for cell in cells for word in cell.split()]
        narrowest.append(max([least, *map(width_of, words)], default=1))
    excess = sum(widths) + COLUMN_GAP * (len(widths) - 1) - available
    headings = rows[0]
    for index in sorted(
        range(len(widths)),
        key=lambda index: (headings[index] != excerpts, narrowest[index] - widths[index]),
    ):
        cut = max(0, min(excess, widths[index] - narrowest[index]))
        widths[index] -= cut
        excess -= cut
    return [max(1, width) for width in widths]


def print_matrix(title: str, labels: list[str], values: list[list[int]]) -> None:
    """Print a square table, as many columns of it as fit a line."""
    from rich.cells import cell_len

    # 1. How many columns fit?
    labels = [_shown(label) for label in labels]
    width = columns_of(_stdout()) or NOT_A_TERMINAL_COLUMNS
    left = width - max(map(cell_len, labels), default=0)
    columns = 0
    for index, label in enumerate(labels):
        widest = max(len(f"{row[index]:,}") for row in values)
        left -= 2 + max(cell_len(label), widest)
        if left < 0:
            break
        columns += 1

    # 2. Print them.
    if columns < len(labels):
        title += f"; {columns} of {len(labels)} columns, the rest with --csv or --json"
    rows = [
        [label, *(f"{value:,}" for value in row[:columns])]
        for label, row in zip(labels, values, strict=True)
    ]
    print_table(title, ["", *labels[:columns]], rows)


def print_facts(facts: list[tuple[str, str]]) -> None:
    """Print lines of a word and what it stands for; long ones go on under themselves."""
    width = max((len(word) for word, _ in facts), default=0) + 2
    columns = columns_of(_stdout()) or NOT_A_TERMINAL_COLUMNS
    for word, text in facts:
        margin = _shown(word)
        for line in textwrap.wrap(_shown(text), max(LEAST_COLUMNS, columns - width)) or [""]:
            print_line(f"{margin:{width}}{line}".rstrip())
            margin = ""


def print_shaded(title: str, pieces: list[tuple[str, float]]) -> None:
    """Print a text, each piece on a colour for its value: blue for -1, white for 0, green for 1.

    Where there are fewer than 256 colours (no terminal, NO_COLOR, TERM=xterm), a digit from 0 for
    -1 to 9 for 1 stands under each character.
    """
    from rich.cells import cell_len
    from rich.text import Text

    # 1. Lines of coloured text, and of digits. With 16 colours all shades are one or two greys.
    console = _console(soft_wrap=True)
    has_colours = console.color_system in ("256", "truecolor") and not console.no_color
    texts = [Text()]
    digits = [""]
    for piece, value in pieces:
        shown = "    " if piece == "\t" else writable(one_line(piece), console.file)
        style = f"rgb(0,0,0) on {_shade(value)}" if has_colours else ""
        digit = str(min(9, int(5 * (value + 1))))
        texts[-1].append(shown, style)
        digits[-1] += digit * cell_len(shown)
        if piece == "\n":
            texts.append(Text())
            digits.append("")
    if not digits[-1]:
        texts.pop()

    # 2. Print them.
    _print_title(title)
    for text, line_digits in zip(texts, digits, strict=False):
        console.print(text)
        if not has_colours:
            console.print(line_digits)


def print_shaded_rows(title: str, heading: str, rows: list[tuple[str, list[float]]]) -> None:
    """Print a heading, and below it rows of values between -1 and 1, a column each.

    Colours as in print_shaded; a digit stands in each column where there are too few of them.
    """
    from rich.text import Text

    console = _console(soft_wrap=True)
    has_colours = console.color_system in ("256", "truecolor") and not console.no_color
    if title:
        _print_title(title)
    console.print(Text(_shown(heading)))
    for label, values in rows:
        line = Text(label)
        for value in values:
            digit = str(min(9, int(5 * (value + 1))))
            if has_colours:
                line.append(" ", f"on {_shade(value)}")
            else:
                line.append(digit)
        console.print(line)


def _shown(text: str) -> str:
    """Return a text as stdout can show it, so that its width is known."""
    return writable(visible(text), _stdout())


def _print_title(title: str) -> None:
    for line in _shown(title).split("\n"):
        print_line(line)


def _console(**options: Any) -> Console:
    """Return a console on stdout that falls silent when its reader has left (| head).

    Rich's own would exit with 1.
    """
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            forget_stdout()
            self.quiet = True

    return Quiet(file=_stdout(), highlight=False, **options)


def _shade(value: float) -> str:
    """Return blue (-1) over white (0) to green (1), light enough for black letters."""
    colour = BLUE if value < 0 else GREEN
    share = abs(value)
    parts = [str(round(255 + share * (part - 255))) for part in colour]
    return f"rgb({','.join(parts)})"


def _stdout() -> TextIO:
    """Return stdout. Raises StorageError where there is none."""
    if sys.stdout is None:  # the shell's >&-
        raise StorageError("cannot write to standard output: it is closed")
    return sys.stdout

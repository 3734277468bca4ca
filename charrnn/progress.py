"""What a person watches: a bar on a terminal, one plain line per interval elsewhere.

The only file with rich and tqdm.
Everything goes to stderr. Text that a model made is escaped before it gets here or in here; no
markup is read from it.
"""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

from charrnn.errors import StorageError
from charrnn.terminal import forget_stdout, one_line, print_line, say, visible

if TYPE_CHECKING:
    from rich.console import Console

    from charrnn.scoring.score import Score
    from charrnn.training.outcome import Recent

LINE_S = 10.0  # off a terminal, at most one line of progress in so many seconds
RATE_S = 0.5  # over which characters a second are counted
POSTFIX_S = 0.2  # between two changes of what stands beside the bar
SMOOTHING = 0.98  # of the training score that is shown between evaluations
SHOWN_EVALUATIONS = 5  # a run, without --verbose
NOT_A_TERMINAL_COLUMNS = 100
LEAST_COLUMNS = 20
BLUE = (110, 150, 255)
GREEN = (70, 200, 90)
MOST_ROW_CHARS = (
    120  # of samples that are shown in a row: what lines write, not a piece of a stream
)


class TrainingProgress:
    """The view of one training; fulfils training.listener.Progress.

    Without `every`, evaluations and samples are shown at a few points of a run: a line for both, if
    they fit one. The run's metrics.jsonl and samples.txt hold them all.
    """

    def __init__(self, *, quiet: bool = False, every: bool = False) -> None:
        """quiet: only notes and warnings.

        every: each evaluation with its gradients, each sample whole.
        """
        self._quiet = quiet
        self._every = every
        self._is_terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._evaluation = ""  # a line that waits for the samples of its step
        self._shown_points = 0  # of SHOWN_EVALUATIONS

        # The speed and the score between evaluations
        now = time.perf_counter()
        self._chars = 0
        self._since = now
        self._line_at = now
        self._rate = 0.0
        self._bits = math.nan

    def say(self, text: str) -> None:
        """Show a message above the bar; on a terminal no line is wider than that."""
        self._show_evaluation()
        if self._quiet and not text.startswith(("note:", "warning:")):
            return
        self._write(visible(text))

    def step(
        self,
        step: int,
        total: int | None,
        chars: int,
        bits_per_char: float,
        seconds_left: float | None,
    ) -> None:
        """Move the bar, or print a line once in a while."""
        # 1. Speed and score
        self._chars += chars
        if math.isfinite(bits_per_char):
            if math.isnan(self._bits):
                self._bits = bits_per_char
            self._bits = SMOOTHING * self._bits + (1 - SMOOTHING) * bits_per_char
        now = time.perf_counter()
        if now - self._since >= RATE_S:
            self._rate = self._chars / (now - self._since)
            self._chars = 0
            self._since = now

        # 2. Bar or line
        if self._quiet:
            return
        self._show_evaluation()
        if self._is_terminal:
            self._draw(step, total, seconds_left)
        elif now - self._line_at >= LINE_S:
            learnt = "" if math.isnan(self._bits) else f"  train {self._bits:.3f} bits/char"
            pace = f"{self._rate:,.0f} chars/s{learnt}{_left(seconds_left)}"
            self._write(f"step {step:,}{_of(total)}  {pace}")

    def evaluated(
        self, step: int, total: int | None, recent: Recent, val: Score, best: bool
    ) -> None:
        """Keep a line on an evaluation for the samples that may follow it."""
        self._show_evaluation()
        if self._quiet or not (self._every or self._is_point(step, total)):
            return
        line = f"step {step:,}{_of(total)}  val {val.bits_per_char:.3f} bits/char"
        if recent.steps:
            line += f" (train {recent.score.bits_per_char:.3f})"
        if self._every and recent.steps:
            line += f"  grad norm {recent.grad_norm:.2f}, {recent.clip_rate:.0%} clipped"
        if self._every and best and step:
            line += "  best so far"
        self._evaluation = line

    def sampled(self, step: int, text: str) -> None:
        """Show samples: as many short lines as fit behind the evaluation, or a block."""
        if self._quiet:
            return
        lines = [visible(line) for line in text.splitlines()]
        head = self._evaluation or f"step {step:,}"
        row = ""
        if len(text) <= MOST_ROW_CHARS and not self._every:
            row = _row(lines, self._columns() - len(head) - 3)
        if row:
            self._evaluation = ""
            self._write(f"{head}  {row}")
        else:
            self._show_evaluation()
            self._write("\n".join(f"  | {line}" for line in lines), indent="  | ")

    def close(self) -> None:
        """Remove the bar."""
        self._show_evaluation()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _is_point(self, step: int, total: int | None) -> bool:
        """Return whether an evaluation is one of the few shown: after each fifth of a run."""
        if total is None or step >= total:
            return True
        points = SHOWN_EVALUATIONS * step // total
        is_new = points > self._shown_points
        self._shown_points = points
        return is_new

    def _show_evaluation(self) -> None:
        if self._evaluation:
            line = self._evaluation
            self._evaluation = ""
            self._write(line)

    def _write(self, text: str, indent: str = "  ") -> None:
        """Print lines above the bar. On a terminal long ones go on under `indent`."""
        self._line_at = time.perf_counter()
        if self._is_terminal:
            columns = self._columns()
            text = "\n".join(
                part for line in text.split("\n") for part in _wrapped(line, columns, indent)
            )
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            say(text)

    def _columns(self) -> int:
        if not self._is_terminal:
            return 80
        return max(LEAST_COLUMNS, shutil.get_terminal_size().columns)

    def _draw(self, step: int, total: int | None, seconds_left: float | None) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=step,
                file=sys.stderr,
                leave=False,
                mininterval=0.1,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| step {n_fmt}/{total_fmt}{postfix}",
            )
        bar = self._bar
        if total is not None and bar.total != total:
            bar.total = total
        now = time.perf_counter()
        if now - self._line_at >= POSTFIX_S:
            self._line_at = now
            learnt = "" if math.isnan(self._bits) else f"  {self._bits:.3f} bits/char"
            text = f"{self._rate:,.0f} chars/s{learnt}{_left(seconds_left)}"
            bar.set_postfix_str(text, refresh=False)
        bar.update(step - bar.n)


def _row(lines: list[str], columns: int) -> str:
    """Return the first lines in a row, as many as fit."""
    row = ""
    for line in lines:
        longer = f"{row}, {line}" if row else line
        if _width(longer) > columns:
            break
        row = longer
    return row


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    """Return a line in pieces that are narrower than a terminal, the later ones indented."""
    width = _width(line)
    if width < columns:
        return [line]
    chars = (columns - 1) * len(line) // width  # fewer where characters are wide
    return textwrap.wrap(
        line,
        max(LEAST_COLUMNS, chars),
        subsequent_indent=indent,
        replace_whitespace=False,
        break_on_hyphens=False,
    )


def _width(text: str) -> int:
    """Return the columns that a text takes, where wide characters (CJK) take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table. Cells are shown as they are, without markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    width = None if _stdout().isatty() else NOT_A_TERMINAL_COLUMNS
    _console(width=width).print(Text(visible(title)), table)


def print_matrix(title: str, labels: list[str], values: list[list[int]]) -> None:
    """Print a square table, as many columns of it as fit a line."""
    from rich.cells import cell_len
    from rich.console import Console

    # 1. How many columns fit?
    labels = [visible(label) for label in labels]
    out = _stdout()
    width = Console(file=out).width if out.isatty() else NOT_A_TERMINAL_COLUMNS
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
    columns = NOT_A_TERMINAL_COLUMNS
    if _stdout().isatty():
        columns = shutil.get_terminal_size().columns
    for word, text in facts:
        margin = visible(word)
        for line in textwrap.wrap(visible(text), max(LEAST_COLUMNS, columns - width)) or [""]:
            print_line(f"{margin:{width}}{line}".rstrip())
            margin = ""


def print_shaded(title: str, pieces: list[tuple[str, float]]) -> None:
    """Print a text, each piece on a colour for its value: blue for -1, white for 0, green for 1.

    Where there are no colours (no terminal, NO_COLOR) a digit from 0 for -1 to 9 for 1 stands
    under each character.
    """
    from rich.cells import cell_len
    from rich.text import Text

    # 1. Lines of coloured text, and of digits
    console = _console(soft_wrap=True)
    has_colours = console.color_system is not None and not console.no_color
    texts = [Text()]
    digits = [""]
    for piece, value in pieces:
        shown = "    " if piece == "\t" else one_line(piece)
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
    console.print(Text(visible(title)))
    for text, line_digits in zip(texts, digits, strict=False):
        console.print(text)
        if not has_colours:
            console.print(line_digits)


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


def duration(value_s: float) -> str:
    """75 -> '1m15s'."""
    whole = round(value_s)
    hours = whole // 3600
    minutes = whole % 3600 // 60
    if hours:
        return f"{hours}h{minutes:02}m"
    if minutes:
        return f"{minutes}m{whole % 60:02}s"
    return f"{whole}s"


def _of(total: int | None) -> str:
    return f"/{total:,}" if total else ""


def _left(seconds_left: float | None) -> str:
    return f"  {duration(max(0.0, seconds_left))} left" if seconds_left is not None else ""

"""What a person watches: a bar on a terminal, one plain line per interval elsewhere.

The only file with tqdm.
Everything goes to stderr. Text that a model made is escaped before it gets here or in here; no
markup is read from it.
"""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.terminal import say, visible, width_of

if TYPE_CHECKING:
    from charrnn.config import Settings
    from charrnn.scoring.score import Score
    from charrnn.training.outcome import Recent

LINE_S = 10.0  # off a terminal, at most one line of progress in so many seconds
RATE_S = 0.5  # over which characters a second are counted
POSTFIX_S = 0.2  # between two changes of what stands beside the bar
SMOOTHING = 0.98  # of the training score that is shown between evaluations
SHOWN_EVALUATIONS = 5  # a run, without --verbose
LEAST_COLUMNS = 20
MOST_ROW_CHARS = 120  # of samples shown in a row: what lines write, not a piece of a stream


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
        self._left_out = ""  # the newest evaluation, if it was no point to show
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
        if self._quiet:
            return
        line = f"step {step:,}{_of(total)}  val {val.bits_per_char:.3f} bits/char"
        if recent.steps:
            line += f" (train {recent.score.bits_per_char:.3f})"
        if self._every and recent.steps:
            line += f"  grad norm {recent.grad_norm:.2f}, {recent.clip_rate:.0%} clipped"
        if self._every and best and step:
            line += "  best so far"
        if self._every or self._is_point(step, total):
            self._evaluation = line
            self._left_out = ""
        elif step:
            self._left_out = line

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
            self._evaluation = ""
            self._write(head)
            self._write("\n".join(f"  | {line}" for line in lines), indent="  | ")

    def started(self, path: Path, settings: Settings) -> None:
        """Show nothing: what is trained has been said."""

    def saved(self, step: int, path: Path) -> None:
        """Show nothing: a checkpoint a minute is no news."""

    def stop_reason(self) -> str:
        """Ask for no end: who watches presses Ctrl-C."""
        return ""

    def close(self) -> None:
        """Show the newest evaluation, if it was left out, and remove the bar."""
        self._show_evaluation()
        if self._left_out:
            self._write(self._left_out)
            self._left_out = ""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _is_point(self, step: int, total: int | None) -> bool:
        """Return whether an evaluation is one of the few shown: after each fifth of a run."""
        if total is None:  # a budget that is not yet a number of steps
            return step > 0
        if step >= total:
            return True
        points = SHOWN_EVALUATIONS * step // total
        is_new = points > self._shown_points
        self._shown_points = max(points, self._shown_points)  # a corrected plan may be longer
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
        if width_of(longer) > columns:
            break
        row = longer
    return row


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    """Return a line in pieces that are narrower than a terminal, the later ones indented."""
    width = width_of(line)
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

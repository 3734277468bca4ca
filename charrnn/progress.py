"""What a person watches: a bar and a curve on a terminal, one plain line per interval elsewhere.

Everything goes to stderr. Text that a model made is escaped before it gets here or in here; no
markup is read from it. How a terminal is drawn on is in screen.py.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.scoring.score import Score
from charrnn.terminal import (
    USUAL_COLUMNS,
    columns_of,
    many,
    say,
    visible,
    width_of,
    wrapped,
    writable,
)
from charrnn.training.plan import is_at_next_part

if TYPE_CHECKING:
    from charrnn.config import Settings
    from charrnn.notebook import NotebookBar
    from charrnn.screen import Screen
    from charrnn.training.listener import Step
    from charrnn.training.outcome import Place, Recent

LINE_S = 10.0  # off a terminal, at most one line of progress in so many seconds
LINE_SHARE = 0.1  # nor in this share of the time so far: the log of an hour is no book
RATE_S = 0.5  # over which characters a second are counted
DRAW_S = 0.2  # between two frames on a terminal
SMOOTHING = 0.98  # of the training score that is shown between evaluations
SHOWN_EVALUATIONS = 5  # a run, without --verbose
MOST_ROW_CHARS = 120  # of samples shown in a row: what lines write, not a piece of a stream
MOST_BLOCK_LINES = 5  # of a sample that is a block: the evaluations around it stay on the screen
WHAT_A_BIT_IS = "bits/char: yes-or-no questions to guess a character; fewer is better"
OF_BYTES = "bits/byte: yes-or-no questions to guess a byte; fewer is better"
HEADING = "  it writes: "

# Styles of a terminal, in words of rich
FIGURES = "dim"
SAMPLE = "bold"
WARNING = "yellow"
VERDICT = "bold green"


class TrainingProgress:
    """The view of one training; fulfils training.listener.Progress.

    Without `every`, evaluations and samples are shown at a few points of a run. The run's
    metrics.jsonl and samples.txt hold them all.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        every: bool = False,
        screen: Screen | NotebookBar | None = None,
        began: float | None = None,
    ) -> None:
        """quiet: only notes and warnings.

        every: each evaluation with its gradients, each sample whole. screen: what to draw on; None:
        on standard error, if that is a terminal. began: time.perf_counter() when the person pressed
        Enter; None: now.
        """
        self._quiet = quiet
        self._unit = "char"  # what figures are per
        self._every = every
        self._is_terminal = sys.stderr.isatty()
        self._screen = screen
        if screen is None and self._is_terminal:
            self._screen = _screen()
        self._columns = columns_of(sys.stderr) or USUAL_COLUMNS

        # Evaluations
        self._evaluation = ""  # a line that waits for the samples of its step
        self._evaluated_step = -1  # of that line, or of the last one
        self._shown_step = 0
        self._left_out = ""  # the newest evaluation, if it was no point to show
        self._has_explained = False

        # The length, if it was known from the start: then steps are shown as a part of it
        self._has_begun = False
        self._total: int | None = None
        self._share = 0.0  # of the training that is done

        # The speed and the score between evaluations
        now = time.perf_counter()
        self._began = now if began is None else began
        self._chars = 0
        self._since = now
        self._line_at = now
        self._drawn_at = 0.0
        self._rate = 0.0
        self._updates = 0
        self._bits = math.nan

    def say(self, text: str) -> None:
        """Show a message above the bar; on a terminal no line is wider than that."""
        self._show_evaluation()
        is_warning = text.startswith(("note:", "warning:"))
        if self._quiet and not is_warning:
            return
        self._write(visible(text), WARNING if text.startswith("warning:") else "")

    def conclude(self, figures: str, verdict: str, *advice: str) -> None:
        """Show how a training ended: what it reached, what that means, what to type next."""
        self.close()
        if self._quiet:
            return
        self._write(visible(figures), FIGURES)
        self._write(visible(verdict), VERDICT)
        for line in advice:
            self._write(visible(line))

    def step(self, update: Step) -> None:
        """Move the bar, or print a line once in a while."""
        # 1. Speed and score
        total = update.total_steps
        bits = update.train_nats_per_char / math.log(2)
        self._chars += update.chars
        if math.isfinite(bits):
            self._updates += 1
            if self._updates == 1:
                self._bits = bits
            self._bits += (bits - self._bits) * max(1 - SMOOTHING, 1 / self._updates)
        now = time.perf_counter()
        if now - self._since >= RATE_S:
            self._rate = self._chars / (now - self._since)
            self._chars = 0
            self._since = now
        share_before = self._share
        if total:
            if self._updates <= 1:  # a training that was resumed begins in the middle
                share_before = (update.step - 1) / total
            self._share = min(1.0, max(self._share, update.step / total))

        # 2. Bar or line
        if self._quiet:
            return
        self._show_evaluation()
        self._follow(total)
        if self._screen is not None:
            if total:
                self._screen.add(share_before, self._share, self._bits)
            if now - self._drawn_at >= DRAW_S:
                self._drawn_at = now
                self._draw(self._screen, update)
        elif now - self._line_at >= max(LINE_S, LINE_SHARE * (now - self._began)):
            learnt = "" if math.isnan(self._bits) else f"  train {_score(self._bits, self._unit)}"
            pace = f"{learnt}  {self._rate:,.0f} chars/s{_left(update.seconds_left)}"
            self._write(f"{self._head(update.step)}{pace}")

    def evaluated(
        self, step: int, total: int | None, recent: Recent, val: Score, best: bool
    ) -> None:
        """Keep a line on an evaluation for the samples that may follow it."""
        self._show_evaluation()
        if self._quiet:
            return
        self._follow(total)
        line = f"{self._head(step)}  val {val.per(self._unit)}"
        if recent.steps:
            line += f", train {recent.score.bits_per_char:.3f}"
            nats = f" ({recent.score.nats_per_char:.3f})"
            if self._screen is None or width_of(line + nats) < self._columns:
                line += nats
        if self._every and recent.steps:
            line += f"  grad norm {recent.grad_norm:.2f}, {recent.clip_rate:.0%} clipped"
        if self._every and best and step:
            line += "  best so far"
        if self._every or self._is_point(step, total):
            self._evaluation = line
            self._left_out = ""
            self._shown_step = step
        elif step:
            self._left_out = line
        self._evaluated_step = step

    def sampled(self, step: int, text: str) -> None:
        """Show samples below the evaluation of their step: a row of short lines, or a block."""
        if self._quiet:
            return
        # 1. The heading: the score is that of the weights that wrote.
        if step != self._evaluated_step:
            self._show_evaluation()
            self._write(f"{self._head(step)}  not scored", FIGURES)
        elif self._left_out and not self._evaluation:
            self._evaluation = self._left_out
            self._left_out = ""
            self._shown_step = step
        self._show_evaluation()

        # 2. The samples
        lines = [visible(line) for line in text.splitlines()]
        if self._screen is not None:
            lines = [writable(line, sys.stderr) for line in lines]
        row = ""
        if len(text) <= MOST_ROW_CHARS and not self._every:
            row = _row(lines, self._columns - len(HEADING) - 1)
        if row:
            self._write(row, SAMPLE, HEADING)
            return
        self._write(HEADING.rstrip(), FIGURES)
        shown = lines if self._every else lines[:MOST_BLOCK_LINES]
        for line in shown:
            self._write(f"  | {line}", SAMPLE, indent="  | ")
        if len(shown) < len(lines):
            rest = many(len(lines) - len(shown), "line")
            self._write(f"  ... {rest} more in samples.txt", FIGURES)

    def started(self, path: Path, settings: Settings, step: int) -> None:
        """Note what is predicted, characters or bytes; what is trained has been said."""
        self._unit = settings.text.unit

    def saved(self, step: int, path: Path) -> None:
        """Show nothing: a checkpoint a minute is no news."""

    def stop_reason(self) -> str:
        """Ask for no end: who watches presses Ctrl-C."""
        return ""

    def ended(self, path: Path, reason: str, place: Place) -> None:
        """Show nothing: `conclude` shows how it ended."""

    def close(self) -> None:
        """Show the newest evaluation, if it was left out, and remove the bar."""
        self._show_evaluation()
        if self._left_out:
            self._write(self._left_out, FIGURES)
            self._left_out = ""
        if self._screen is not None:
            self._screen.clear()

    def _is_point(self, step: int, total: int | None) -> bool:
        """Return whether an evaluation is one of the few shown: after each fifth of a run.

        The first after any learning is one too.
        """
        if total is None:  # a budget that is not yet a number of steps
            return step > 0 and not self._has_explained
        if step >= total:
            return True
        # As samples are made (Pacing.is_sample_due): the two belong together.
        return is_at_next_part(step, self._shown_step, total, SHOWN_EVALUATIONS)

    def _follow(self, total: int | None) -> None:
        """Note the length of the training, and say so where one that was shown has changed."""
        if not self._has_begun:
            self._has_begun = True
            self._total = total
        elif self._total is not None and total is not None and total != self._total:
            self._total = total
            self._write(f"from here on, {many(total, 'step')} in all", FIGURES)

    def _head(self, step: int) -> str:
        """Return where a training stands: its step, of how many if that is fixed, and the time.

        A budget has no fixed number of steps: its pace is measured again and again.
        """
        end = f"/{self._total:,}" if self._total else ""
        return f"step {step:,}{end}  {duration(time.perf_counter() - self._began)}"

    def _show_evaluation(self) -> None:
        if self._evaluation:
            line = self._evaluation
            self._evaluation = ""
            if not self._has_explained:
                self._has_explained = True
                self._write(OF_BYTES if self._unit == "byte" else WHAT_A_BIT_IS, FIGURES)
            self._write(line, FIGURES)

    def _write(self, text: str, style: str = "", heading: str = "", indent: str = "  ") -> None:
        """Print lines above the bar. On a terminal long ones go on under `indent`.

        heading: stands before the text, in the style of figures.
        """
        self._line_at = time.perf_counter()
        lines = f"{heading}{text}".split("\n")
        if self._is_terminal:
            self._columns = columns_of(sys.stderr) or USUAL_COLUMNS
            lines = [
                part
                for line in lines
                for part in wrapped(line, self._columns, indent, cuts_words=style == SAMPLE)
            ]
        if self._screen is None:
            say("\n".join(lines))
            return
        for number, line in enumerate(lines):
            begin = len(heading) if number == 0 else 0
            self._screen.print([(line[:begin], FIGURES), (line[begin:], style)])

    def _draw(self, screen: Screen | NotebookBar, update: Step) -> None:
        self._columns = columns_of(sys.stderr) or USUAL_COLUMNS
        words = [f"step {update.step:,}", f"{self._rate:,.0f} chars/s"]
        if update.total_steps is None:
            words.insert(0, "measuring the pace")
        elif update.seconds_left is not None:
            words.insert(0, _left(update.seconds_left).strip())
        scores: list[str] = []
        if not math.isnan(self._bits):
            short = f"{self._bits:.3f}"
            scores = [_score(self._bits, self._unit), f"{short} bits/{self._unit}", short]
        screen.draw(self._share, words, scores, self._columns)


def _screen() -> Screen | None:
    """Return the terminal, if one can draw on it."""
    from charrnn.screen import Screen, is_notebook

    if os.environ.get("TERM") == "dumb" or is_notebook():
        return None
    return Screen()


def _row(lines: Sequence[str], columns: int) -> str:
    """Return the first lines in a row, as many as fit."""
    row = ""
    for line in lines:
        longer = f"{row}, {line}" if row else line
        if width_of(longer) > columns:
            break
        row = longer
    return row


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


def _score(bits_per_char: float, unit: str) -> str:
    return Score(bits_per_char * math.log(2), 1).per(unit)


def _left(seconds_left: float | None) -> str:
    return f"  {duration(max(0.0, seconds_left))} left" if seconds_left is not None else ""

"""The terminal of a person who watches a training: lines that stay, and two that change in place.

Those two are a bar, and below it the curve of the loss. The cursor is never hidden and no thread
draws: whatever kills the program leaves a terminal that works. Rich chooses the colours: 256, 16 or
none (NO_COLOR).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from charrnn.terminal import width_of

BINS = 240  # of the curve: more than a bar has columns
LEAST_BAR = 10  # columns
MARGIN = 5  # columns left of the bar and of the curve
GAP = 2  # columns right of them
FREE = 3  # columns at the right edge: a terminal shows ^C behind the last character
BAR = "━─"
ASCII_BAR = "=-"
LEVELS = "▁▂▃▄▅▆▇█"
ASCII_LEVELS = "_.,-~=*#"
EARLY_SHARE = 0.1  # of the curve: its first, highest part does not set the scale


def is_notebook() -> bool:
    """Return whether this program was started in a cell of a notebook.

    There its standard error looks like a terminal, but every frame of a bar stays in the page.
    """
    has_kernel = "JPY_PARENT_PID" in os.environ
    # ipykernel sets these three, also where something other than Jupyter started it.
    signs = {"TERM": "xterm-color", "PAGER": "cat", "GIT_PAGER": "cat"}
    return has_kernel or all(os.environ.get(name) == value for name, value in signs.items())


class Screen:
    """A terminal on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, force_terminal=True, highlight=False)
        self._drawn_lines = 0
        self._sums = [0.0] * BINS  # of the loss, at each share of the training
        self._counts = [0] * BINS
        has_blocks = _can_write(self._console.encoding, BAR + LEVELS)
        self._bar = BAR if has_blocks else ASCII_BAR
        self._levels = LEVELS if has_blocks else ASCII_LEVELS

    def print(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Print a line that stays: pieces of text, each with a style such as "bold"."""
        self._write(f"{self._cleared()}{self._styled(Text.assemble(*pieces))}\n")
        self._drawn_lines = 0

    def add(self, begin: float, end: float, loss: float) -> None:
        """Remember the loss between two shares of the training."""
        if math.isfinite(loss):
            first = min(BINS - 1, int(begin * BINS))
            for place in range(first, max(first + 1, int(end * BINS))):
                self._sums[place] += loss
                self._counts[place] += 1

    def draw(self, share: float, words: Sequence[str], scores: Sequence[str], columns: int) -> None:
        """Draw the bar and the curve anew.

        words: right of the bar, the most important first. scores: forms of one score, right of the
        curve, the longest first. What has no room is left out.
        """
        # 1. What stands on the right
        room = columns - FREE - MARGIN - LEAST_BAR - GAP
        score = next((form for form in scores if width_of(form) <= room), "")
        right = ""
        for count in range(len(words), 0, -1):
            right = "  ".join(words[:count])
            if width_of(right) <= max(room // 2, width_of(score)):
                break
        if width_of(right) > room:
            right = ""
        width = columns - FREE - MARGIN - GAP - max(width_of(right), width_of(score))

        # 2. The lines
        filled = int(share * width)
        bar = Text.assemble(
            (f"{math.floor(100 * share):3}% ", ""),
            (self._bar[0] * filled, "cyan"),
            (self._bar[1] * (width - filled), "dim"),
            (f"  {right}", "dim"),
        )
        curve = self.curve(share, width)
        below = Text.assemble(
            ("loss ", "dim"),
            (curve, "cyan"),
            " " * (width - len(curve)),
            (f"  {score}", ""),
        )
        self.draw_lines([bar, below] if curve or score else [bar])  # counting has no loss

    def draw_lines(self, lines: Sequence[Text]) -> None:
        """Draw lines in place of those that were drawn before. They must fit the terminal."""
        text = "\n".join(f"{self._styled(line)}\x1b[K" for line in lines)
        self._write(self._to_top() + text)
        self._drawn_lines = len(lines)

    def clear(self) -> None:
        """Remove what was drawn."""
        self._write(self._cleared())
        self._drawn_lines = 0

    def curve(self, share: float, width: int) -> str:
        """Return the curve of the loss up to a share of the training, as high as one line."""
        # 1. The loss of each column; that of the column before where no step fell into one
        losses: list[float] = []
        for column in range(min(width, int(share * width) + 1)):
            bins = range(column * BINS // width, max(1, (column + 1) * BINS // width))
            count = sum(self._counts[place] for place in bins)
            if count:
                losses.append(sum(self._sums[place] for place in bins) / count)
            else:
                losses.append(losses[-1] if losses else math.nan)
        known = [loss for loss in losses if math.isfinite(loss)]
        if not known:
            return ""

        # 2. Its height
        low = min(known)
        high = max(known[int(EARLY_SHARE * len(known)) + (len(known) > 1) :])
        most = len(self._levels) - 1
        scale = most / (high - low) if high > low else 0.0
        heights = (min(most, round((loss - low) * scale)) for loss in known)
        missing = " " * (len(losses) - len(known))  # a training that was resumed
        return missing + "".join(self._levels[height] for height in heights)

    def _styled(self, text: Text) -> str:
        with self._console.capture() as capture:
            self._console.print(text, end="", soft_wrap=True)
        return capture.get()

    def _to_top(self) -> str:
        """Return the escapes that move to the first of the drawn lines."""
        up = self._drawn_lines - 1
        return f"\r\x1b[{up}A" if up > 0 else "\r" * self._drawn_lines

    def _cleared(self) -> str:
        return f"{self._to_top()}\x1b[J" if self._drawn_lines else ""

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _can_write(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True

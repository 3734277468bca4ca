"""A training in a cell of a notebook: tqdm's bar, and lines that stay below it.

It draws as `screen.Screen` does. Lines go to standard output: a notebook paints standard error red,
as if something had failed. Without widgets there are lines alone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

WHOLE = 1000  # parts of a training that the bar counts


def in_notebook() -> bool:
    """Return whether this program runs in a notebook's kernel."""
    return "ipykernel" in sys.modules


class NotebookBar:
    """A bar with the newest score beside it, and lines of text."""

    def __init__(self) -> None:
        self._bar: Any = None
        if importlib.util.find_spec("ipywidgets") is None:
            return
        from tqdm.notebook import tqdm

        display: Any = import_module("IPython.display").display  # which has no types

        form = "{percentage:3.0f}%{bar}{postfix}"
        self._bar = tqdm(total=WHOLE, leave=False, bar_format=form, display=False)
        self._place = display(self._bar.container, display_id=True)

    def print(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Print a line that stays: pieces of text; their styles are left out."""
        print("".join(text for text, _ in pieces), flush=True)

    def add(self, begin: float, end: float, loss: float) -> None:
        """Draw no curve: the run has one at the end."""

    def draw(self, share: float, words: Sequence[str], scores: Sequence[str], columns: int) -> None:
        """Move the bar. words, scores: what stands beside it, in their longest forms."""
        if self._bar is None:
            return
        self._bar.set_postfix_str("  ".join([*words, *scores[:1]]), refresh=False)
        self._bar.update(round(WHOLE * share) - int(self._bar.n))

    def clear(self) -> None:
        """Remove the bar, its place in the page too: the training is over."""
        if self._bar is None:
            return
        self._bar.close()
        if self._place is not None:
            self._place.update({"text/plain": ""}, raw=True)

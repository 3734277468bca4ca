"""A whole state or gate over a text, for a terminal: a row for each unit, a column a character."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from charrnn.terminal import one_line

if TYPE_CHECKING:
    import numpy as np

MOST_UNITS = 24  # that are shown: those that vary most


def print_heat(title: str, chars: list[str], shades: np.ndarray) -> None:
    """Print shades (N, H), between -1 and 1, of N characters. chars: what each looks like."""
    from charrnn.tables import print_shaded_rows

    # 1. The units that vary most, in the order of their numbers.
    order = (-shades.std(0)).argsort(kind="stable")[:MOST_UNITS]
    units = sorted(order.tolist())
    if len(units) < shades.shape[1]:
        title += f"; the {len(units)} of {shades.shape[1]} units that vary most"

    # 2. Pieces of the text that fit the screen.
    margin = len(str(units[-1])) + 1
    width = max(10, shutil.get_terminal_size().columns - margin)
    for start in range(0, len(chars), width):
        piece = slice(start, start + width)
        heading = " " * margin + "".join(chars[piece])
        rows = [(f"{unit:>{margin - 1}} ", shades[piece, unit].tolist()) for unit in units]
        print_shaded_rows(title if not start else "", heading, rows)


def cell_of(text: str) -> str:
    """Return one column that stands for a character."""
    shown = {"\n": "↵", "\t": "⇥", " ": "␣"}.get(text, one_line(text))
    return shown if len(shown) == 1 else "?"

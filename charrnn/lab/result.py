"""The result of a lab as plain data: a table, a sentence that says what to see, and curves.

picture.py draws it. Neither torch, numpy nor the disk is known here: numbers are Python's own.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

Cell = str | int | float | None
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet may take for a formula


@dataclass(frozen=True)
class Series:
    """One curve, with a band around it if low and high are given. A NaN is a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        given = [values for values in (self.y, self.low, self.high) if values is not None]
        if any(len(values) != len(self.x) for values in given):
            raise ValueError(f"series {self.name!r}: x, y, low and high must have one length")


@dataclass(frozen=True)
class Panel:
    """One pair of axes. Labels name their units."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Result:
    """What a lab measured. All of it can be written as strict JSON."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    panels: tuple[Panel, ...]
    sentence: str  # what to see, with its figures
    settings: dict[str, Cell] = field(default_factory=dict)  # what the figures depend on

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("every row needs a cell for each column")


def shown(cell: Cell) -> str:
    """Write a cell of the table for people, with four significant digits."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell


def to_csv(result: Result) -> bytes:
    """Write every point of every curve in a row: panel, series, x, y, low, high.

    What is not finite is left empty.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["panel", "series", "x", "y", "low", "high"])
    for panel in result.panels:
        for series in panel.series:
            names = [_no_formula(panel.title), _no_formula(series.name)]
            gaps = (math.nan,) * len(series.x)
            low = series.low or gaps
            high = series.high or gaps
            for point in zip(series.x, series.y, low, high, strict=True):
                numbers = (repr(value) if math.isfinite(value) else "" for value in point)
                writer.writerow([*names, *numbers])
    return out.getvalue().encode()


def json_objects(result: Result) -> Iterator[dict[str, object]]:
    """Yield the table, then each curve: one object for each line of --json."""
    yield {
        "kind": "result",
        "title": result.title,
        "columns": result.columns,
        "rows": result.rows,
        "sentence": result.sentence,
        "settings": result.settings,
    }
    for panel in result.panels:
        for series in panel.series:
            yield {
                "kind": "series",
                "panel": panel.title,
                "series": series.name,
                "x": series.x,
                "y": series.y,
                "low": series.low,
                "high": series.high,
            }


def _no_formula(text: str) -> str:
    return "'" + text if text.startswith(FORMULA) else text

"""What a lab found, as plain data: a table, a sentence that says what to see, and curves. Drawn by insight/picture.py.

No torch, no numpy, no disk: numbers are Python's own.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | None
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet may take for a formula


@dataclass(frozen=True)
class Series:
    """One curve. x, y and, for a band around it, low and high: all of one length; a NaN is a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if any(
            len(values) != len(self.x)
            for values in (self.y, self.low, self.high)
            if values is not None
        ):
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
    """sentence: what to see, with its figures. settings: what the figures depend on; strict JSON, as the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    panels: tuple[Panel, ...]
    sentence: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("every row needs a cell for each column")


def shown(cell: Cell) -> str:
    """A cell of the table for people: four significant digits."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def to_csv(result: Result) -> bytes:
    """Every point of every curve, one a row: panel, series, x, y, low, high. What is not finite is left empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["panel", "series", "x", "y", "low", "high"])
    for panel in result.panels:
        for series in panel.series:
            names = [_no_formula(panel.title), _no_formula(series.name)]
            none = (math.nan,) * len(series.x)
            for point in zip(
                series.x, series.y, series.low or none, series.high or none, strict=True
            ):
                writer.writerow(
                    [*names, *(repr(value) if math.isfinite(value) else "" for value in point)]
                )
    return out.getvalue().encode()


def json_objects(result: Result) -> Iterator[dict[str, Any]]:
    """The table, then each curve: one object a line of --json."""
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
            curve = {name: getattr(series, name) for name in ("x", "y", "low", "high")}
            yield {"kind": "series", "panel": panel.title, "series": series.name} | curve


def _no_formula(text: str) -> str:
    return "'" + text if text.startswith(FORMULA) else text

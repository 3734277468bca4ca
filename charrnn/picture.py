"""Pictures: the only file with matplotlib, which comes with the extra "plot". No window, no pyplot, no state."""

from __future__ import annotations

import io
from functools import cache
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from charrnn.lab.result import Panel, Result

FONT = "DejaVu Sans"  # it comes with matplotlib
# Whatever a matplotlibrc says: no TeX reads the labels, and the same SVG is the same bytes.
STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "text.usetex": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "charrnn",
}
MOST_LETTERS = 16  # of a label
# Told apart by every eye (Okabe & Ito 2008, "Color Universal Design"), with grey for its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#808080")
LINES = ("-", "--", ":", "-.")  # the next one when the colours are used up
MARKED_POINTS = 16  # curves of up to so many points show them


def heat_map(title: str, labels: list[str], counts: list[list[int]], format: str) -> bytes:
    """A PNG or SVG of a square table of counts, on a logarithmic scale that begins at zero."""
    size = len(labels)
    inches = min(40.0, max(4.0, 0.28 * size))
    shown = [
        drawable(label if len(label) <= MOST_LETTERS else label[: MOST_LETTERS - 1] + "…")
        for label in labels
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(inches + 2.5, inches + 1.5), layout="constrained")
        axes = figure.add_subplot()
        values = np.array(counts)
        norm = SymLogNorm(linthresh=1, vmin=0, vmax=max(1, int(values.max(initial=0))))
        image = axes.imshow(values, norm=norm, cmap="viridis", interpolation="nearest")
        # Labels are text of a corpus: `$` and `\\` are no mathematics.
        font_size = max(1.0, min(9.0, 72 * inches / max(1, size) * 0.8))
        axes.set_xticks(range(size), shown, fontsize=font_size, parse_math=False)
        axes.set_yticks(range(size), shown, fontsize=font_size, parse_math=False)
        axes.xaxis.tick_top()
        for tick, label in zip(axes.get_xticklabels(), shown, strict=True):
            tick.set_rotation(90 if len(label) > 2 else 0)
        axes.tick_params(length=0)
        axes.set_title(
            "\n".join(wrap(drawable(title), int(12 * inches))), fontsize=10, parse_math=False
        )
        figure.colorbar(image, ax=axes, shrink=0.8, label="count", format="{x:,.0f}")
        out = io.BytesIO()
        figure.savefig(
            out, format=format, dpi=min(160, int(6000 / (inches + 2.5))), metadata=_undated(format)
        )
    return out.getvalue()


def curves(result: Result, format: str) -> bytes:
    """A PNG or SVG of a lab's panels, two or three beside each other; a name has one look in all, a label of y one range."""
    # A curve that is alone in its panel needs no colour of its own: those come last.
    ordered = sorted(result.panels, key=lambda panel: len(panel.series) == 1)
    names = list(dict.fromkeys(series.name for panel in ordered for series in panel.series))
    columns = min(2 if len(result.panels) <= 4 else 3, len(result.panels))
    rows = -(-len(result.panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.2 * columns, 4.2 * rows + 0.6), layout="constrained")
        like: dict[tuple[str, bool], Any] = {}
        for place, panel in enumerate(result.panels, 1):
            axes = figure.add_subplot(
                rows, columns, place, sharey=like.get((panel.y_label, panel.log_y))
            )
            like.setdefault((panel.y_label, panel.log_y), axes)
            _draw_panel(axes, panel, names)
        title = "\n".join(wrap(drawable(result.title), 70 * columns))
        figure.suptitle(title, fontsize=12, parse_math=False)
        out = io.BytesIO()
        figure.savefig(out, format=format, dpi=150, metadata=_undated(format))
    return out.getvalue()


def _draw_panel(axes: Any, panel: Panel, names: list[str]) -> None:
    if panel.log_x:
        axes.set_xscale("log", nonpositive="mask")
    if panel.log_y:
        axes.set_yscale("log", nonpositive="mask")
    for series in panel.series:
        index = names.index(series.name)
        colour, line = COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)]
        marker = "o" if len(series.x) <= MARKED_POINTS else None
        label = drawable(series.name).lstrip(
            "_"
        )  # matplotlib leaves names with _ out of the legend
        axes.plot(
            series.x,
            series.y,
            line,
            color=colour,
            marker=marker,
            markersize=3.5,
            linewidth=1.6,
            label=label,
        )
        if series.low is not None and series.high is not None:
            axes.fill_between(
                series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0
            )
    axes.set_title("\n".join(wrap(drawable(panel.title), 70)), fontsize=10, parse_math=False)
    axes.set_xlabel(drawable(panel.x_label), parse_math=False)
    axes.set_ylabel(drawable(panel.y_label), parse_math=False)
    if not panel.log_x and all(float(x).is_integer() for series in panel.series for x in series.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # half a seed or half a lag is none
    places = sorted({x for series in panel.series for x in series.x})
    if (
        panel.log_x and len(places) <= MARKED_POINTS and all(x > 0 for x in places)
    ):  # 1, 2, 4 rather than powers of ten
        axes.set_xticks(places, [f"{x:g}" for x in places])
        axes.set_xticks([], minor=True)
    axes.grid(True, alpha=0.25, linewidth=0.6)
    if panel.series:
        for text in axes.legend(fontsize=8).get_texts():
            text.set_parse_math(False)


def drawable(text: str) -> str:
    """The text, with characters that the font has no picture of as U+XXXX."""
    return "".join(char if ord(char) in _glyphs() else f"U+{ord(char):04X}" for char in text)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


def _undated(format: str) -> dict[str, str | None]:
    return {"Date": None} if format == "svg" else {}

"""Pictures: the only file with matplotlib, which comes with the extra "plot".

No window, no pyplot, no state. A curve's name stands beside its end, in its colour, instead of in a
legend. SVGs have no background, and colours that can be read on white and on black.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from functools import cache
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

from charrnn.lab.result import Panel, Result, Series

FONT = "DejaVu Sans"  # it comes with matplotlib
GREY = "#7b7f87"  # of all words and axes: contrast 4 on white and 4.7 on GitHub's black
# Whatever a matplotlibrc says: no TeX reads the labels, and the same SVG is the same bytes.
STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "text.usetex": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "charrnn",
    "path.simplify": True,
    "path.simplify_threshold": 0.5,  # pixels: nobody sees less
}
INK: dict[Any, Any] = {
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
CELL = 0.11  # inches of a character in a picture of attention
RINGED = 0.05  # of the largest share: what is less gets no ring
MOST_LETTERS = 16  # of a label of a table
MOST_NUMBERED = 20  # labels of a table whose cells hold their counts
BRIGHT = 0.6  # of the scale: black can be read on it, white below
MOST_NAME_LETTERS = 40  # of a curve's name

# Told apart by every eye (after Okabe & Ito 2008, "Color Universal Design"), each of middle
# brightness: the yellow and the black of theirs are lost on white or on black.
COLOURS = (
    "#2b83cc",
    "#d55e00",
    "#0f9d76",
    "#c2649b",
    "#b58900",
    "#8a7be0",
    "#3399ae",
    GREY,
)
LINES = ("-", "--", ":", "-.")  # the next one when the colours are used up
COLUMNS = ((1, 1), (4, 2), (math.inf, 3))  # up to so many panels: columns
MARKED_POINTS = 16  # curves of up to so many points show them
NAME_SIZE = 9  # points; a line of names is 1.25 times as high
MARGIN = 0.02  # of the width, left and right of the curves
NEAR_END = 0.95  # of the width: a curve that ends before is named where it ends


def heat_map(title: str, labels: list[str], counts: list[list[int]], format: str) -> bytes:
    """Draw a square table of counts as PNG or SVG, on a logarithmic scale that begins at zero."""
    values = np.array(counts)
    norm = SymLogNorm(linthresh=1, vmin=0, vmax=max(1, int(values.max(initial=0))))
    return _square(title, labels, values, norm, "count", "{x:,.0f}", format)


def confusion(title: str, labels: list[str], counts: list[list[int]], format: str) -> bytes:
    """Draw which labels (columns) were found for lines of each label (rows), as PNG or SVG.

    The colour is the share of the row, so that rare labels can be read beside frequent ones. Up to
    MOST_NUMBERED labels have the counts written in.
    """
    values = np.array(counts)
    shares = 100 * values / np.maximum(1, values.sum(1, keepdims=True))
    numbers = values if len(labels) <= MOST_NUMBERED else None
    norm = Normalize(0, 100)
    return _square(title, labels, shares, norm, "% of the row", "{x:.0f}", format, numbers)


def _square(
    title: str,
    labels: list[str],
    values: np.ndarray,
    norm: Normalize,
    unit: str,
    scale: str,
    format: str,
    numbers: np.ndarray | None = None,
) -> bytes:
    """Draw a table of as many rows as columns. scale: how a number of the unit is written."""
    size = len(labels)
    inches = min(40.0, max(4.0, 0.28 * size if numbers is None else 0.5 * size))
    dpi = min(160, int(6000 / (inches + 2.5)))
    names = [drawable(_shortened(label, MOST_LETTERS)) for label in labels]
    with matplotlib.rc_context(STYLE | INK):
        figure = Figure(figsize=(inches + 2.5, inches + 1.5), layout="constrained")
        axes = figure.add_subplot()

        # 1. The table
        image = axes.imshow(values, norm=norm, cmap="viridis", interpolation="nearest")
        if numbers is not None:
            for row, column in np.argwhere(numbers):
                ink = "white" if norm(values[row, column]) < BRIGHT else "black"
                number = f"{numbers[row, column]:,}"
                words = axes.text(column, row, number, color=ink, fontsize=9)
                words.set(ha="center", va="center")

        # 2. Its labels: text of a corpus, in which `$` and `\\` are no mathematics
        font_size = max(1.0, min(9.0, 72 * inches / max(1, size) * 0.8))
        axes.set_xticks(range(size), names, fontsize=font_size, parse_math=False)
        axes.set_yticks(range(size), names, fontsize=font_size, parse_math=False)
        axes.xaxis.tick_top()
        _turn_long_ones(axes)
        axes.tick_params(length=0)
        axes.set_title(_wrapped(title, int(12 * inches)), fontsize=10, parse_math=False)
        figure.colorbar(image, ax=axes, shrink=0.8, label=unit, format=scale)
        return _written(figure, format, dpi=dpi)


def attention(
    title: str,
    rows: list[str],
    columns: list[str],
    shares: np.ndarray,
    is_right: np.ndarray,
    format: str,
) -> bytes:
    """Draw which places (columns) each character (rows) looked back at, as PNG or SVG.

    shares, is_right (rows, columns): of the probability; whether what followed at the place is the
    character.
    """
    width = max(5.0, CELL * len(columns) + 1.8)
    height = max(2.5, CELL * len(rows) + 1.2)
    with matplotlib.rc_context(STYLE | INK):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()

        # 1. The shares. Square roots, so that small ones can be seen.
        most = max(float(shares.max(initial=0)), 1e-3)
        norm = PowerNorm(0.5, vmin=0, vmax=most)
        image = axes.imshow(shares, norm=norm, cmap="viridis", interpolation="nearest")
        row, column = np.nonzero(is_right & (shares >= RINGED * most))
        axes.scatter(column, row, s=14, facecolors="none", edgecolors=COLOURS[1], linewidths=0.9)

        # 2. The characters: text of a corpus, in which `$` and `\\` are no mathematics
        for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
            drawn = [drawable(name) for name in names]
            axis.set_ticks(range(len(names)), drawn, fontsize=6, parse_math=False)
        _turn_long_ones(axes)
        axes.tick_params(length=0)
        axes.set_xlabel("what had been read; a ring: what followed there is what came")
        axes.set_ylabel("the character to come")
        axes.set_title(_wrapped(title, int(12 * width)), fontsize=10, parse_math=False)
        figure.colorbar(image, ax=axes, pad=0.01, aspect=40, label="share of the probability")
        return _written(figure, format, dpi=150)


def _turn_long_ones(axes: Axes) -> None:
    """Write labels of columns that are longer than a column is wide from bottom to top."""
    for tick in axes.get_xticklabels():
        if len(tick.get_text()) > 2:
            tick.set_rotation(90)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def curves(result: Result, format: str) -> bytes:
    """Draw a result's panels as PNG or SVG, up to three beside each other.

    A name has one colour in all panels; panels with one label of y have one range.
    """
    panels = result.panels
    columns = next(columns for most, columns in COLUMNS if len(panels) <= most)
    rows = -(-len(panels) // columns)
    size = (6.2 * columns, 4.2 * rows + 0.6)
    letters = 70 * columns  # of the title, in a line
    if len(panels) == 1:
        size = (7.2, 4.0)
    looks = _looks(panels)
    with matplotlib.rc_context(STYLE | INK):
        figure = Figure(figsize=size, layout="constrained")
        first_of: dict[tuple[str, bool], Axes] = {}
        drawn: list[tuple[Axes, Panel]] = []
        for place, panel in enumerate(panels, 1):
            scale = (panel.y_label, panel.log_y)
            axes = figure.add_subplot(rows, columns, place, sharey=first_of.get(scale))
            first_of.setdefault(scale, axes)
            _draw_panel(axes, panel, looks)
            drawn.append((axes, panel))
        figure.suptitle(_wrapped(result.title, letters), fontsize=12, parse_math=False)

        # Names are placed once the layout is known: how far apart they must be depends on it.
        figure.draw_without_rendering()
        for axes, panel in drawn:
            if len(panel.series) > 1:
                _name_curves(figure, axes, panel, looks)
        return _written(figure, format, dpi=150)


def _looks(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Give every name a colour and a kind of line."""
    # A curve that is alone in its panel needs no colour of its own: those come last.
    ordered = sorted(panels, key=lambda panel: len(panel.series) == 1)
    names = dict.fromkeys(series.name for panel in ordered for series in panel.series)
    looks = {}
    for index, name in enumerate(names):
        line = LINES[index // len(COLOURS) % len(LINES)]
        looks[name] = (COLOURS[index % len(COLOURS)], line)
    return looks


def _draw_panel(axes: Axes, panel: Panel, looks: dict[str, tuple[str, str]]) -> None:
    # 1. The curves, with their bands
    axes.set_xmargin(MARGIN)
    if panel.log_x:
        axes.set_xscale("log", nonpositive="mask")
    if panel.log_y:
        axes.set_yscale("log", nonpositive="mask")
    for series in panel.series:
        colour, line = looks[series.name]
        marker = "o" if len(series.x) <= MARKED_POINTS else None
        axes.plot(
            series.x, series.y, line, color=colour, marker=marker, markersize=3.5, linewidth=1.7
        )
        if series.low is not None and series.high is not None:
            axes.fill_between(
                series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0
            )

    # 2. Words
    axes.set_title(_wrapped(panel.title, 70), fontsize=10, parse_math=False)
    axes.set_xlabel(drawable(panel.x_label), parse_math=False)
    axes.set_ylabel(drawable(panel.y_label), parse_math=False)

    # 3. Places on the axis: no half seed or lag, and 1, 2, 4 rather than powers of ten
    places = sorted({x for series in panel.series for x in series.x})
    if not panel.log_x and all(float(x).is_integer() for x in places):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.log_x and len(places) <= MARKED_POINTS and all(x > 0 for x in places):
        axes.set_xticks(places, [f"{x:g}" for x in places])
        axes.set_xticks([], minor=True)
    axes.grid(True, color=GREY, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)


def _name_curves(
    figure: Figure, axes: Axes, panel: Panel, looks: dict[str, tuple[str, str]]
) -> None:
    """Write the name of each curve beside its end, in its colour.

    Those that end at the right stand beside the axes, with a gap between them and a line to the
    curve where they had to move. The others stand where their curves end.
    """
    # 1. Where each curve ends, as shares of the width and height of the axes
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for series in panel.series:
        points = _shown_points(series, panel)
        x, y = to_axes.transform(points[-1]) if points else (1.0, 0.0)
        if x < NEAR_END:
            _write_name(axes, series.name, looks, (float(x) + 0.012, float(y)))
        else:
            # Curves that end at one height are named in the order that they have before.
            before = sum(height for _, height in points)
            ends.append((round(float(y), 2), before, series.name))

    # 2. Those at the right, from the lowest to the highest
    ends.sort()
    gap = 1.25 * NAME_SIZE / 72 * figure.dpi / axes.bbox.height
    gap = min(gap, 1 / max(1, len(ends)))  # too many for the height stand closer
    places = spread([height for height, _, _ in ends], gap)
    for (height, _, name), place in zip(ends, places, strict=True):
        _write_name(axes, name, looks, (1.05, place))
        axes.plot(
            [1.005, 1.045],
            [height, place],
            color=looks[name][0],
            linewidth=0.7,
            transform=axes.transAxes,
            clip_on=False,
        )


def _write_name(
    axes: Axes, name: str, looks: dict[str, tuple[str, str]], place: tuple[float, float]
) -> None:
    axes.text(
        *place,
        drawable(_shortened(name, MOST_NAME_LETTERS)),
        color=looks[name][0],
        fontsize=NAME_SIZE,
        transform=axes.transAxes,
        verticalalignment="center",
        parse_math=False,
    )


def _shown_points(series: Series, panel: Panel) -> list[tuple[float, float]]:
    """Return the points of a curve that the axes can show."""
    return [
        (x, y)
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(y) and (y > 0 or not panel.log_y) and (x > 0 or not panel.log_x)
    ]


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move rising places as little as possible, so that they are a gap apart, between 0 and 1.

    It is an isotonic regression of the places less their number of gaps: places that are too near
    each other become a block around their mean.
    """
    blocks: list[list[float]] = []  # sum and number of what stands together
    for index, place in enumerate(places):
        blocks.append([place - index * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
    means = [total / number for total, number in blocks for _ in range(int(number))]
    highest = 1 - (len(places) - 1) * gap
    return [max(0.0, min(mean, highest)) + index * gap for index, mean in enumerate(means)]


def _wrapped(text: str, width: int) -> str:
    return "\n".join(wrap(drawable(text), width))


def drawable(text: str) -> str:
    """Return the text, with characters that the font has no picture of as U+XXXX."""
    return "".join(char if ord(char) in _glyphs() else f"U+{ord(char):04X}" for char in text)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


def _written(figure: Figure, format: str, dpi: int) -> bytes:
    """Return the bytes of a picture; of an SVG without a date and without needless digits."""
    out = io.BytesIO()
    if format != "svg":
        figure.savefig(out, format=format, dpi=dpi)
        return out.getvalue()
    figure.patch.set_alpha(0)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format=format, metadata=nothing)
    return re.sub(rb' d="[^"]*"', _rounded, out.getvalue())


def _rounded(path: re.Match[bytes]) -> bytes:
    """Round the numbers of a path to hundredths of a point, and put it in one line."""
    numbers = re.sub(rb"-?\d+\.\d{3,}", lambda number: b"%.2f" % float(number[0]), path[0])
    return b" ".join(numbers.split(b"\n"))

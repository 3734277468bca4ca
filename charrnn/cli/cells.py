"""charrnn cells: which cells of a network track quotes, brackets or the place in a line.

With --show, a text is coloured by what one of them did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.chosen import read_chosen
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import INTEGER, TEXT, WHAT, Csv, Json, Run, option
from charrnn.cli.result_view import check_outputs
from charrnn.errors import SettingsError
from charrnn.terminal import many, one_line, print_line, say, write_stdout

if TYPE_CHECKING:
    import numpy as np

    from charrnn.insight.cells import Trace
    from charrnn.insight.search import Search, Tracker
    from charrnn.modelfile import ModelFile
    from charrnn.texts import OpenedRun

CHARS = 50_000
MOST_CHARS = 1_000_000
SHOWN_CHARS = 1000
MOST_SHOWN_CHARS = 20_000  # everything about them is held at once
MOST_TOP = 100
SHOWN_BEFORE = 20  # characters of the table's text
EXCERPTS = "text up to its peak"  # a column of the table
COLUMNS = (
    ("score", "correlation, on the half of the text not used to choose the cell"),
    ("accuracy", "of one threshold on the cell, on that half; 50 % is guessing"),
    ("by luck", "the best score of any cell when the feature is taken from elsewhere in the text"),
)


def cells(
    run: Run = None,
    chars: Annotated[
        int | None,
        option(
            "--chars",
            help="Characters of held-out text to read",
            metavar=INTEGER,
            default=f"{CHARS:,}; with --show {SHOWN_CHARS:,}",
            panel=WHAT,
        ),
    ] = None,
    top: Annotated[
        int | None,
        option(
            "--top",
            help="Show this many of the best cells for each feature",
            metavar=INTEGER,
            default="1",
            panel=WHAT,
        ),
    ] = None,
    show: Annotated[
        str | None,
        option(
            "--show",
            help="Colour the text by one cell, such as layer0.cell:17, or by all of layer0.cell",
            metavar=TEXT,
            default="none",
            panel=WHAT,
        ),
    ] = None,
    text: Annotated[
        str | None,
        option(
            "--text",
            help="Look at this text instead of the held-out one",
            metavar=TEXT,
            default="held-out text",
            panel=WHAT,
        ),
    ] = None,
    # Cells are read on the processor: hidden, and still read, as the one of `sample`.
    device: Annotated[str, typer.Option("--device", hidden=True)] = "auto",
    csv: Csv = None,
    json: Json = False,
) -> None:
    """Find cells that track quotes, brackets or the place in a line

    With --show, colour a text by what one of them does, or by a whole state or gate.
    """
    most_chars = MOST_CHARS if show is None else MOST_SHOWN_CHARS
    for name, value, most in (("--chars", chars, most_chars), ("--top", top, MOST_TOP)):
        if value is not None and not 1 <= value <= most:
            suffix = " with --show" if show else ""
            raise SettingsError(f"{name} {value}: must be between 1 and {most:,}{suffix}")
    if text is not None and top is not None:
        raise SettingsError("--top is for the search, which needs more than one --text")
    if show is not None and top is not None:
        raise SettingsError("--top is for the search, and --show looks at one cell; leave one out")
    if device not in ("auto", "cpu"):
        raise SettingsError(
            f"--device {one_line(device)!r}: cells are read on the processor; "
            "leave it out, or say cpu"
        )
    check_outputs(None, csv, json)

    from charrnn.texts import OpenedRun

    opened = OpenedRun(read_chosen(run))
    run_name = one_line(str(run or opened.model.run or opened.model.path))
    if text is not None or show is not None:
        ids = _ids(opened, text, chars or SHOWN_CHARS)
        _show(opened.model, run_name, show, ids, csv, json)
    else:
        _search(opened, run_name, chars or CHARS, top or 1, csv, json)


# The search


def _search(
    run: OpenedRun, run_name: str, chars: int, top: int, csv: Path | None, json: bool
) -> None:
    from charrnn.insight.cells import held_out
    from charrnn.insight.search import Tracker, search

    model = run.model
    ids = held_out(run, chars)
    say(f"reading {many(len(ids), 'character')} of held-out text")
    result = search(model, ids, top)
    rows = [tracker._asdict() for tracker in result.trackers]
    # No text in what a spreadsheet may open.
    columns = [name for name in Tracker._fields if name not in ("before", "peak", "after")]
    if _write_csv(csv, columns, rows):
        return
    if json:
        about = {
            "run": str(model.path),
            "step": model.step,
            "chars": result.chars,
            "units": result.units,
            "dialect": result.dialect,
            "left_out": result.left_out,
        }
        return write_json([about | {"found": rows}])
    _print_search(run_name, result)


def _print_search(run_name: str, result: Search) -> None:
    from charrnn.tables import print_facts, print_table

    chars = many(result.chars, "character")
    if result.trackers:
        print_table(
            f"{run_name}: {many(result.units, 'unit')} over {chars} of held-out text",
            ["feature", "cell", "score", "accuracy", "by luck", EXCERPTS],
            [row_of(tracker) for tracker in result.trackers],
            excerpts=EXCERPTS,
        )
        facts = list(COLUMNS)
    else:
        no_feature = f"no feature varies enough in {chars}; read more of the text with --chars"
        facts = [("nothing", no_feature)]
    lucky = [tracker.feature for tracker in result.trackers if not tracker.beats_luck]
    if lucky:
        names = ", ".join(dict.fromkeys(lucky))
        facts.append(("luck alone", f"{names}: no better than what luck can do"))
    if result.left_out:
        facts.append(("left out", f"{', '.join(result.left_out)}: too rare in this text"))
    print_facts(facts)
    if result.trackers:
        first = result.trackers[0]
        print_line(f"now: charrnn cells {run_name} --show {first.cell}:{first.unit}")


def row_of(tracker: Tracker) -> list[str]:
    """A row of the table: feature, cell, score, accuracy, luck, and the text up to the peak."""
    return [
        tracker.feature,
        f"{tracker.cell}:{tracker.unit}",
        f"{tracker.score:+.3f}",
        "" if tracker.accuracy is None else f"{tracker.accuracy:.1%}",
        f"{tracker.chance:.3f}",
        one_line((tracker.before + tracker.peak)[-SHOWN_BEFORE:]),
    ]


# One cell, or all of a state or gate


def _ids(run: OpenedRun, text: str | None, chars: int) -> np.ndarray:
    """Return the ids of the typed text, or of the beginning of the held-out one."""
    from charrnn.insight.cells import held_out
    from charrnn.scoring.text import cut, text_given

    if text is None:
        return held_out(run, chars)
    return cut(run.model, text_given(run, None, text, run.model.reading, "error").ids, chars)


def _show(
    model: ModelFile,
    run_name: str,
    cell: str | None,
    ids: np.ndarray,
    csv: Path | None,
    json: bool,
) -> None:
    from charrnn.insight.cells import default_view, extent, named, shades, trace, whole
    from charrnn.tables import print_shaded

    if cell is None:
        cell = default_view(model)
    if ":" not in cell:
        return _show_whole(model, run_name, whole(model, cell), ids, csv, json)
    name, unit = named(model, cell)
    text = trace(model, ids)
    values = text.activations[name][:, unit]
    rows = _rows(model, text, values)
    if _write_csv(csv, ("place", "code", "activation", "bits"), rows):
        return
    if json:
        return write_json(rows)
    edges = model.vocabulary.edges(ids).tolist()
    decode = model.vocabulary.decode
    pieces = [
        (decode(ids[begin:end]), shade)
        for begin, end, shade in zip(edges, edges[1:], shades(name, values).tolist(), strict=False)
    ]
    low, high = extent(name, values)
    colours = f"from {low:.3g} (blue, or 0) to {high:.3g} (green, or 9)"
    print_shaded(f"{run_name}, {name}:{unit}: {colours}", pieces)


def _show_whole(
    model: ModelFile, run_name: str, name: str, ids: np.ndarray, csv: Path | None, json: bool
) -> None:
    """Show every unit of a state or gate."""
    from charrnn.cli.heat_view import cell_of, print_heat
    from charrnn.insight.cells import extent, shades, trace

    text = trace(model, ids)
    values = text.activations[name]
    rows = [
        {"place": place, "code": code, "activations": row}
        for place, (code, row) in enumerate(zip(text.codes.tolist(), values.tolist(), strict=True))
    ]
    units = [f"unit_{unit}" for unit in range(values.shape[1])]
    named_units = [row | dict(zip(units, row["activations"], strict=True)) for row in rows]
    if _write_csv(csv, ("place", "code", *units), named_units):
        return
    if json:
        return write_json(rows)
    edges = model.vocabulary.edges(ids).tolist()
    decode = model.vocabulary.decode
    chars = [cell_of(decode(ids[begin:end])) for begin, end in zip(edges, edges[1:], strict=False)]
    low, high = extent(name, values)
    title = f"{run_name}, {name}: from {low:.3g} (blue, or 0) to {high:.3g} (green, or 9)"
    print_heat(title, chars, shades(name, values))


def _rows(model: ModelFile, text: Trace, values: np.ndarray) -> list[dict[str, Any]]:
    """A row for each character: its place and code, the cell's value, its cost and the guesses."""
    symbols = model.vocabulary.symbols
    rows = []
    for place, code in enumerate(text.codes.tolist()):
        value = float(values[place])
        nats = float(text.surprise[place])
        guesses = text.guesses[place].tolist()
        shares = text.probabilities[place].tolist()
        rows.append(
            {
                "place": place,
                "code": code,
                "activation": value if math.isfinite(value) else None,
                "bits": nats / math.log(2) if math.isfinite(nats) else None,
                "guesses": [
                    [symbols[guess], share]
                    for guess, share in zip(guesses, shares, strict=True)
                    if 0 <= guess < model.vocabulary.characters
                ],
            }
        )
    return rows


# Files


def _write_csv(place: Path | None, columns: Sequence[str], rows: list[dict[str, Any]]) -> bool:
    """Write the file that was asked for. Returns whether standard output is used up by it."""
    if place is None:
        return False
    import csv
    import io

    from charrnn.storage import write_atomically

    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = out.getvalue().encode()
    if str(place) == "-":
        write_stdout([data])
        return True
    write_atomically(place, data, "--csv")
    return False

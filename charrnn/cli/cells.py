"""charrnn cells: which cells of a network track quotes, brackets, the place in a line ...; or one of them, in colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import INTEGER, TEXT, WHAT, Csv, Json, Run, option
from charrnn.cli.result_view import check_outputs
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, print_line, write_stdout

if TYPE_CHECKING:
    import numpy as np

    from charrnn.insight.cells import Trace
    from charrnn.insight.search import Found, Search
    from charrnn.modelfile import ModelFile
    from charrnn.texts import OpenedRun

CHARS, MOST_CHARS = 50_000, 1_000_000
SHOWN_CHARS, MOST_SHOWN_CHARS = 1000, 20_000  # everything about them is held at once
MOST_TOP = 100
SHOWN_BEFORE = 20  # characters of the table's text


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
            help="Colour the text by one cell, such as layer0.cell:17",
            metavar=TEXT,
            default="none",
            panel=WHAT,
        ),
    ] = None,
    csv: Csv = None,
    json: Json = False,
) -> None:
    """Find cells that track quotes, brackets or the place in a line

    With --show, colour a text by what one of them does.
    """
    most_chars = MOST_CHARS if show is None else MOST_SHOWN_CHARS
    for name, value, most in (("--chars", chars, most_chars), ("--top", top, MOST_TOP)):
        if value is not None and not 1 <= value <= most:
            raise SettingsError(
                f"{name} {value}: must be between 1 and {most:,}{' with --show' if show else ''}"
            )
    if show is not None and top is not None:
        raise SettingsError("--top is for the search, and --show looks at one cell; leave one out")
    check_outputs(None, csv, json)

    from charrnn.modelfile import newest_run, read_model
    from charrnn.texts import OpenedRun

    place = run or newest_run(Path("runs"))
    opened = OpenedRun(read_model(place))
    shown = one_line(str(place))
    if show is None:
        _search(opened, shown, chars or CHARS, top or 1, csv, json)
    else:
        _show(opened, shown, show, chars or SHOWN_CHARS, csv, json)


def _search(run: OpenedRun, shown: str, chars: int, top: int, csv: Path | None, json: bool) -> None:
    from charrnn.insight.cells import held_out
    from charrnn.insight.search import Found, search

    model = run.model
    ids = held_out(run, chars)
    typer.echo(f"reading {len(ids):,} characters of held-out text", err=True)
    found = search(model, ids, top)
    rows = [one._asdict() for one in found.found]
    if _write_csv(csv, Found._fields[:-3], rows):  # no text in what a spreadsheet may open
        return
    if json:
        about = {
            "run": str(model.path),
            "step": model.meta.get("step"),
            "chars": found.chars,
            "units": found.units,
            "dialect": found.dialect,
            "left_out": found.left_out,
        }
        return _write_json([about | {"found": rows}])
    _print_search(shown, found)


def _print_search(shown: str, found: Search) -> None:
    from charrnn.progress import print_facts, print_table

    title = f"{shown}: {found.units:,} units over {found.chars:,} characters of held-out text"
    facts = []
    if found.found:
        print_table(
            title,
            ["feature", "cell", "score", "accuracy", "by luck", "text up to its peak"],
            [row_of(one) for one in found.found],
        )
        facts = [
            (
                "score",
                "correlation on the half of the text that had no say in which cell was picked",
            ),
            ("accuracy", "of one threshold on the cell, on that half; 50 % is guessing"),
            (
                "by luck",
                "the best score of any cell when the feature is taken from elsewhere in the text",
            ),
        ]
    else:
        facts = [
            (
                "nothing",
                f"no feature varies enough in {found.chars:,} characters; read more of the text with --chars",
            )
        ]
    if lucky := list(dict.fromkeys(one.feature for one in found.found if not one.beats_luck)):
        facts.append(("luck alone", f"{', '.join(lucky)}: no better than what luck can do"))
    if found.left_out:
        facts.append(("left out", f"{', '.join(found.left_out)}: too rare in this text"))
    print_facts(facts)
    if found.found:
        print_line(f"now: charrnn cells {shown} --show {found.found[0].cell}:{found.found[0].unit}")


def row_of(one: Found) -> list[str]:
    """Of the table: feature, cell, score, accuracy, what luck can do, and the text that ends in the cell's peak."""
    return [
        one.feature,
        f"{one.cell}:{one.unit}",
        f"{one.score:+.3f}",
        "" if one.accuracy is None else f"{one.accuracy:.1%}",
        f"{one.chance:.3f}",
        one_line((one.before + one.peak)[-SHOWN_BEFORE:]),
    ]


def _show(run: OpenedRun, shown: str, cell: str, chars: int, csv: Path | None, json: bool) -> None:
    from charrnn.insight.cells import extent, held_out, named, shades, trace
    from charrnn.progress import print_shaded

    model = run.model
    name, unit = named(model, cell)
    ids = held_out(run, chars)
    found = trace(model, ids)
    values = found.activations[name][:, unit]
    rows = _rows(model, found, values)
    if _write_csv(csv, ("place", "code", "activation", "bits"), rows):
        return
    if json:
        return _write_json(rows)
    decode = model.vocabulary.decode
    pieces = [
        (decode(ids[i : i + 1]), value) for i, value in enumerate(shades(name, values).tolist())
    ]
    low, high = extent(name, values)
    print_shaded(
        f"{shown}, {name}:{unit}: from {low:.3g} (blue, or 0) to {high:.3g} (green, or 9)", pieces
    )


def _rows(model: ModelFile, found: Trace, values: np.ndarray) -> list[dict[str, Any]]:
    """A row for each character: its place and code, the cell's value having read it, what it cost, what was guessed."""
    symbols, rows = model.vocabulary.symbols, []
    for place, char in enumerate(found.ids.tolist()):
        value, nats = float(values[place]), float(found.surprise[place])
        guesses = zip(
            found.guesses[place].tolist(), found.probabilities[place].tolist(), strict=True
        )
        rows.append(
            {
                "place": place,
                "code": symbols[char],
                "activation": value if math.isfinite(value) else None,
                "bits": nats / math.log(2) if math.isfinite(nats) else None,
                "guesses": [[symbols[guess], share] for guess, share in guesses if guess >= 0],
            }
        )
    return rows


def _write_json(objects: list[dict[str, Any]]) -> None:
    from charrnn.storage import json_line

    write_stdout((json_line({"schema": 1} | one).encode() + b"\n" for one in objects), raw=True)


def _write_csv(place: Path | None, columns: Sequence[str], rows: list[dict[str, Any]]) -> bool:
    """Write the file that was asked for; whether standard output is used up by it."""
    if place is None:
        return False
    import csv
    import io

    from charrnn.storage import write_atomically

    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if str(place) == "-":
        write_stdout([out.getvalue().encode()])
        return True
    write_atomically(place, out.getvalue().encode(), "--csv")
    return False

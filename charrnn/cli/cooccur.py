"""charrnn cooccur: how often characters, or words, stand near each other.

The counts are shown as a table, CSV, JSON or a heat map.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from charrnn.cli.json_lines import write_json
from charrnn.cli.options import (
    INTEGER,
    OUTPUT,
    PATH,
    TEXT,
    WHAT,
    Corpus,
    Csv,
    Json,
    option,
    switch,
)
from charrnn.cli.result_view import check_picture, check_place
from charrnn.config import resolve
from charrnn.errors import SettingsError
from charrnn.terminal import write_stdout

if TYPE_CHECKING:
    from charrnn.insight.cooccur import Cooccurrence

MOST_SYMBOLS = 1000
MOST_PLACES = 1000
FORMULA_SIGNS = "=+-@＝＋－＠"


def cooccur(
    corpus: Corpus = None,
    window: Annotated[
        int,
        option(
            "--window",
            help="Count neighbours up to this many places away, on both sides",
            metavar=INTEGER,
            default="2",
            panel=WHAT,
        ),
    ] = 2,
    words: Annotated[
        bool,
        switch("--words", help="Count words and punctuation marks, not characters", panel=WHAT),
    ] = False,
    top: Annotated[
        int,
        option(
            "--top",
            help="Show this many of the most frequent symbols",
            metavar=INTEGER,
            default="20",
            panel=WHAT,
        ),
    ] = 20,
    mode: Annotated[
        str,
        option(
            "--mode",
            help="With lines, no window crosses the end of a line; auto decides as training does",
            choices=("auto", "lines", "stream"),
            metavar=TEXT,
            default="auto",
            panel=WHAT,
        ),
    ] = "auto",
    encoding: Annotated[
        str,
        option(
            "--encoding", help="Encoding of the text", metavar=TEXT, default="utf-8", panel=WHAT
        ),
    ] = "utf-8",
    errors: Annotated[
        str,
        option(
            "--errors",
            help="Refuse bytes that cannot be decoded, or replace them",
            choices=("strict", "replace"),
            metavar=TEXT,
            default="strict",
            panel=WHAT,
        ),
    ] = "strict",
    glob: Annotated[
        str,
        option(
            "--glob",
            help="Files to read from a directory, such as '**/*.c'",
            metavar=TEXT,
            default="*",
            panel=WHAT,
        ),
    ] = "*",
    csv: Csv = None,
    plot: Annotated[
        Path | None,
        option(
            "--plot",
            help="Draw a heat map to a .png or .svg file (needs matplotlib)",
            metavar=PATH,
            default="none",
            panel=OUTPUT,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Count which characters or words stand near each other in a text"""
    for name, value, most in (("--window", window, MOST_PLACES), ("--top", top, MOST_SYMBOLS)):
        if not 1 <= value <= most:
            raise SettingsError(f"{name} {value}: must be between 1 and {most:,}")
    options = {"mode": mode, "encoding": encoding, "errors": errors, "glob": glob}
    settings = resolve([("--", options)])[0].text
    to_stdout = csv is not None and str(csv) == "-"
    if json and to_stdout:
        raise SettingsError(
            "--json and --csv - both write to standard output; give one a file, or leave one out"
        )
    if plot is not None:
        check_picture(plot)
        check_place("--plot", plot)
    if csv is not None and not to_stdout:
        check_place("--csv", csv)

    from charrnn.insight.cooccur import count_text, label
    from charrnn.storage import write_atomically

    result = count_text(corpus, settings, words=words, top=top, window=window)
    labels = [label(symbol) for symbol in result.symbols]
    title = (
        f"{result.shown}: {result.unit}s at most {window} apart, as {result.mode}; "
        f"the {len(labels)} most frequent"
    )
    if plot is not None:
        from charrnn.picture import heat_map

        picture = heat_map(title, labels, result.counts, plot.suffix.lower()[1:])
        write_atomically(plot, picture, "--plot")
    if csv is not None:
        table = _as_csv(labels, result)
        if to_stdout:
            write_stdout([table])
        else:
            write_atomically(csv, table, "--csv")
    if json:
        write_json([dataclasses.asdict(result)])
    elif not to_stdout:
        from charrnn.tables import print_matrix

        print_matrix(title, labels, result.counts)


def _as_csv(labels: list[str], result: Cooccurrence) -> bytes:
    import csv
    import io

    labels = [_quoted(label) for label in labels]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", "frequency", *labels])
    for name, frequency, row in zip(labels, result.frequencies, result.counts, strict=True):
        writer.writerow([name, frequency, *row])
    return out.getvalue().encode()


def _quoted(label: str) -> str:
    """A label that a spreadsheet does not take for a formula: the text may be a stranger's."""
    return f"'{label}" if label[:1] in FORMULA_SIGNS else label

"""charrnn cooccur: how often characters, or words, stand near each other; a table, CSV, JSON or a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.result_view import check_picture, check_place
from charrnn.cli.train import CORPUS_HELP
from charrnn.config import resolve
from charrnn.errors import SettingsError
from charrnn.terminal import write_stdout

MOST_SYMBOLS, MOST_PLACES = 1000, 1000


def _what(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel="What", **more)


def _how(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel="Output", show_default=False, **more)


def cooccur(
    corpus: Annotated[str | None, typer.Argument(help=CORPUS_HELP, show_default=False)] = None,
    window: Annotated[int, _what("Count neighbours up to so many places away, on both sides.")] = 2,
    words: Annotated[
        bool,
        typer.Option(
            "--words", help="Words and punctuation marks, as they are.", rich_help_panel="What"
        ),
    ] = False,
    top: Annotated[int, _what("The so many most frequent ones.")] = 20,
    mode: Annotated[
        str, _what("lines: no window crosses a line's end; stream: it does; auto: as in training.")
    ] = "auto",
    encoding: Annotated[str, _what("Encoding of the text.")] = "utf-8",
    errors: Annotated[str, _what("Bytes that do not decode: strict or replace.")] = "strict",
    glob: Annotated[str, _what("Which files of a directory.")] = "*",
    csv: Annotated[
        Path | None, _how("Write the counts to this file; - is standard output.")
    ] = None,
    plot: Annotated[Path | None, _how("Draw a heat map, .png or .svg (needs matplotlib).")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
) -> None:
    """Count which characters or words stand near each other in a text."""
    for name, value, most in (("--window", window, MOST_PLACES), ("--top", top, MOST_SYMBOLS)):
        if not 1 <= value <= most:
            raise SettingsError(f"{name} {value}: must be between 1 and {most:,}")
    asked = {"mode": mode, "encoding": encoding, "errors": errors, "glob": glob}
    settings = resolve([("--", asked)])[0].text
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
    from charrnn.storage import json_line, write_atomically

    found = count_text(corpus, settings, words=words, top=top, window=window)
    labels = [label(symbol) for symbol in found["symbols"]]
    title = f"{found['shown']}: {found['unit']}s at most {window} apart, as {found['mode']}; the {len(labels)} most frequent"
    if plot is not None:
        from charrnn.picture import heat_map

        write_atomically(
            plot, heat_map(title, labels, found["counts"], plot.suffix.lower()[1:]), "--plot"
        )
    if csv is not None:
        table = _as_csv(labels, found)
        if to_stdout:
            write_stdout([table])
        else:
            write_atomically(csv, table, "--csv")
    if json:
        write_stdout([json_line({"schema": 1} | found).encode() + b"\n"], raw=True)
    elif not to_stdout:
        from charrnn.progress import print_matrix

        print_matrix(title, labels, found["counts"])


def _as_csv(labels: list[str], found: dict[str, Any]) -> bytes:
    import csv
    import io

    # A spreadsheet would take these for the beginning of a formula, and the text may be a stranger's.
    labels = [f"'{label}" if label[:1] in "=+-@＝＋－＠" else label for label in labels]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", "frequency", *labels])
    for name, frequency, row in zip(labels, found["frequencies"], found["counts"], strict=True):
        writer.writerow([name, frequency, *row])
    return out.getvalue().encode()

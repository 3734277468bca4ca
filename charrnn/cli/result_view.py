"""A lab's result on its way to a person or a file: the options that the labs share, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.errors import SettingsError, StorageError
from charrnn.terminal import one_line, write_stdout

if TYPE_CHECKING:
    from charrnn.lab.result import Result

PICTURES = (".png", ".svg")
PANEL = "Output"

Run = Annotated[
    Path | None,
    typer.Argument(
        help="A run directory, a model or a checkpoint (default: small networks, made on the spot).",
        show_default=False,
    ),
]
Seed = Annotated[
    int, typer.Option(help="The same seed gives the same figures.", rich_help_panel="What")
]
Plot = Annotated[
    list[Path] | None,
    typer.Option(
        help="Draw it, .png or .svg (needs matplotlib); may be given twice.", rich_help_panel=PANEL
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        help="Write the curves to this file; - is standard output.", rich_help_panel=PANEL
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Strict JSON, one object a line, on standard output.", rich_help_panel=PANEL
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing on the way.", rich_help_panel=PANEL)
]


def check_outputs(plot: list[Path] | None, csv: Path | None, json: bool, seed: int = 0) -> None:
    """Before any work. Raises SettingsError, StorageError."""
    if not 0 <= seed < 1 << 32:
        raise SettingsError(f"--seed {seed}: must be between 0 and {(1 << 32) - 1:,}")
    for picture in plot or ():
        check_picture(picture)
        check_place("--plot", picture)
    if csv is not None and str(csv) == "-":
        if json:
            raise SettingsError(
                "--json and --csv - both write to standard output; give one a file, or leave one out"
            )
    elif csv is not None:
        check_place("--csv", csv)


def show(result: Result, plot: list[Path] | None, csv: Path | None, json: bool) -> None:
    """Write the files that were asked for, and the table, or JSON or CSV in its place, to standard output."""
    from charrnn.lab.result import json_objects, shown, to_csv
    from charrnn.storage import json_line, write_atomically

    for picture in plot or ():
        from charrnn.picture import curves

        write_atomically(picture, curves(result, picture.suffix.lower()[1:]), "--plot")
    if csv is not None and str(csv) == "-":
        return write_stdout([to_csv(result)])
    if csv is not None:
        write_atomically(csv, to_csv(result), "--csv")
    if json:
        lines = (json_line({"schema": 1} | each).encode() + b"\n" for each in json_objects(result))
        return write_stdout(lines, raw=True)

    from charrnn.progress import print_facts, print_table

    print_table(
        result.title, list(result.columns), [[shown(cell) for cell in row] for row in result.rows]
    )
    facts = [("see", result.sentence)]
    if result.settings:
        facts.append(
            ("settings", ", ".join(f"{name} {value}" for name, value in result.settings.items()))
        )
    print_facts(facts)


def note(quiet: bool, text: str) -> None:
    """A line of progress on standard error."""
    if not quiet:
        typer.echo(one_line(text), err=True)


def check_picture(plot: Path) -> None:
    """Before any work. Raises SettingsError."""
    from importlib.util import find_spec

    if plot.suffix.lower() not in PICTURES:
        raise SettingsError(
            f"--plot {one_line(str(plot))}: the name of a picture ends in {' or '.join(PICTURES)}"
        )
    if find_spec("matplotlib") is None:
        raise SettingsError(
            "--plot needs matplotlib: pip install 'charrnn-torch[plot]' (in a clone: '.[plot]')"
        )


def check_place(option: str, path: Path) -> None:
    """Before any work. Raises SettingsError, StorageError."""
    shown = one_line(str(path))
    if path.exists() and not path.is_file():  # a device would be replaced by a file
        raise SettingsError(f"{option} {shown}: not a regular file; name a file to write")
    if not path.parent.is_dir():
        raise StorageError(
            f"{option} {shown}: no directory {one_line(str(path.parent))}; make it, or choose another"
        )

"""A lab's result on its way to a person or a file: what the options that the labs share do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.json_lines import write_json
from charrnn.errors import SettingsError, StorageError
from charrnn.terminal import one_line, say, write_stdout

if TYPE_CHECKING:
    from charrnn.lab.result import Result

BITS = "bits/char"  # a column of some tables
PICTURES = (".png", ".svg")


def check_outputs(plot: list[Path] | None, csv: Path | None, json: bool, seed: int = 0) -> None:
    """Check the options before any work. Raises SettingsError, StorageError."""
    if not 0 <= seed < 1 << 32:
        raise SettingsError(f"--seed {seed}: must be between 0 and {(1 << 32) - 1:,}")
    for picture in plot or ():
        check_picture(picture)
        check_place("--plot", picture)
    if csv is not None and str(csv) == "-":
        if json:
            raise SettingsError(
                "--json and --csv - both write to standard output; give one a file, "
                "or leave one out"
            )
    elif csv is not None:
        check_place("--csv", csv)


def show(result: Result, plot: list[Path] | None, csv: Path | None, json: bool) -> None:
    """Write the files that were asked for, and to standard output the table, JSON or CSV."""
    from charrnn.lab.result import json_objects, shown, to_csv
    from charrnn.storage import write_atomically

    for picture in plot or ():
        from charrnn.picture import curves

        write_atomically(picture, curves(result, picture.suffix.lower()[1:]), "--plot")
    if csv is not None and str(csv) == "-":
        return write_stdout([to_csv(result)])
    if csv is not None:
        write_atomically(csv, to_csv(result), "--csv")
    if json:
        return write_json(json_objects(result))

    from charrnn.tables import print_facts, print_table

    rows = [[shown(cell) for cell in row] for row in result.rows]
    print_table(result.title, list(result.columns), rows)
    facts = [("see", result.sentence)]
    if BITS in result.columns:
        facts.append(("bits", "1 bit/char is 0.693 nats/char; fewer are better"))
    if result.settings:
        settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
        facts.append(("settings", settings))
    print_facts(facts)


def note(quiet: bool, text: str) -> None:
    """Print a line of progress on standard error."""
    if not quiet:
        say(one_line(text))


def check_picture(plot: Path) -> None:
    """Check that a picture can be drawn, before any work. Raises SettingsError."""
    from importlib.util import find_spec

    if plot.suffix.lower() not in PICTURES:
        raise SettingsError(
            f"--plot {one_line(str(plot))}: the name of a picture ends in {' or '.join(PICTURES)}"
        )
    if find_spec("matplotlib") is None:
        raise SettingsError(
            "--plot needs matplotlib; in the clone: pip install -c constraints.txt -e '.[plot]'"
        )


def check_place(option: str, path: Path) -> None:
    """Check where a file shall go, before any work. Raises SettingsError, StorageError."""
    shown = one_line(str(path))
    if path.exists() and not path.is_file():  # a device would be replaced by a file
        raise SettingsError(f"{option} {shown}: not a regular file; name a file to write")
    if not path.parent.is_dir():
        parent = one_line(str(path.parent))
        raise StorageError(f"{option} {shown}: no directory {parent}; make it, or choose another")

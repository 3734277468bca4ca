"""How options are declared, in one style for every command, and the options that several share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.completion import completer, corpus_names, run_names

Completion = Callable[[], list[str]]
# What an option takes, as its help names it.
INTEGER = "INTEGER"
FLOAT = "FLOAT"
TEXT = "TEXT"
PATH = "PATH"
DURATION = "DURATION"

# Titles of the boxes that the help of several commands has.
WHAT = "What"
OUTPUT = "Output"


def described(text: str, choices: Iterable[str] = (), default: str = "") -> str:
    """Help of an option: `What it does [one|other] (default: one)`."""
    listed = "|".join(choices)
    if listed:
        text += f" \\[{listed}]"  # a bare [ would begin markup
    if default:
        text += f" (default: {default})"
    return text


def option(
    *names: str,
    help: str,
    metavar: str,
    default: str,
    choices: Iterable[str] = (),
    panel: str | None = None,
    completion: Completion | None = None,
) -> Any:
    """Declare an option that takes a value. default: as the help shows it.

    completion: the words that the shell completes; None: the choices, if there are some.
    """
    choices = tuple(choices)
    if completion is None and choices:
        completion = completer(choices)
    return typer.Option(
        *names,
        help=described(help, choices, default),
        metavar=metavar,
        rich_help_panel=panel,
        show_default=False,
        autocompletion=completion,
    )


def switch(*names: str, help: str, panel: str | None = None, default: str = "") -> Any:
    """Declare an option that takes no value. default: for a pair of --this/--no-this."""
    return typer.Option(
        *names, help=described(help, default=default), rich_help_panel=panel, show_default=False
    )


def argument(metavar: str, help: str, default: str, completion: Completion) -> Any:
    """Declare a word that stands without an option's name. completion: of the shell."""
    return typer.Argument(
        metavar=metavar,
        help=described(help, default=default),
        show_default=False,
        autocompletion=completion,
    )


WHERE = (
    "A text file, a directory, - for standard input, or a corpus that comes with charrnn: "
    "names, shakespeare, surnames"
)
Corpus = Annotated[str | None, argument("CORPUS", WHERE, "names", corpus_names)]
Corpora = Annotated[
    list[str] | None,
    argument(
        "CORPUS",
        f"{WHERE}; of several, one model learns all, by shares if they have some: "
        "a.txt:0.7 b.txt:0.3",
        "names",
        corpus_names,
    ),
]
Run = Annotated[
    Path | None,
    argument(
        "RUN",
        "A run, a model, a checkpoint, or what comes with charrnn: names, shakespeare",
        "the newest under runs/",
        run_names,
    ),
]
LabRun = Annotated[
    Path | None,
    argument(
        "RUN", "A run directory, a model or a checkpoint", "small built-in networks", run_names
    ),
]
ConfigFile = option(
    "--config",
    help="Settings from a TOML file or a preset",
    choices=("names", "shakespeare", "latex", "linux", "tiny", "char-rnn"),
    metavar=PATH,
    default="none",
)
Assignments = Annotated[
    list[str] | None,
    option(
        "--set",
        help="A setting, such as lr=0.01; may be repeated",
        metavar=TEXT,
        default="none",
    ),
]
Seed = Annotated[
    int,
    option(
        "--seed", help="Equal seeds give equal figures", metavar=INTEGER, default="1", panel=WHAT
    ),
]
Plot = Annotated[
    list[Path] | None,
    option(
        "--plot",
        help="Draw the curves to a .png or .svg file (needs matplotlib); may be repeated",
        metavar=PATH,
        default="none",
        panel=OUTPUT,
    ),
]
Csv = Annotated[
    Path | None,
    option(
        "--csv",
        help="Write the figures to this file, or to standard output with -",
        metavar=PATH,
        default="none",
        panel=OUTPUT,
    ),
]
Json = Annotated[
    bool,
    switch("--json", help="Print strict JSON, one object a line, on standard output", panel=OUTPUT),
]
Device = Annotated[
    str | None,
    option(
        "--device",
        help="Where to compute: auto, cpu, cuda, cuda:N or mps",
        metavar=TEXT,
        default="auto",
        panel=WHAT,
    ),
]
RunDevice = Annotated[
    str | None,
    option(
        "--device",
        help="Where a RUN's network computes: auto, cpu, cuda, cuda:N or mps",
        metavar=TEXT,
        default="cpu",
        panel=WHAT,
    ),
]
Quiet = Annotated[bool, switch("--quiet", "-q", help="Show no progress", panel=OUTPUT)]

"""The short help: what most people need of a command, a line for each option, in one screen.

--help-all shows the rest, and every text whole.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from charrnn.cli.examples import EXAMPLES

MOST_COLUMNS = 100  # a longer line is hard to read
LEAST_TEXT = 20  # columns, beside the names of the options

# The parameters that --help shows, for commands with more options than a screen has lines.
COMMON: dict[str, tuple[str, ...]] = {
    "train": (
        *("corpus", "run", "resume", "overwrite", "config_file", "check", "verbose"),
        *("mode", "cell", "hidden_size", "budget", "steps", "seed", "init_from"),
    ),
    "sample": (
        *("run", "count", "length", "prime", "until", "temp", "seed", "novel", "unique"),
        *("matching", "fill", "rank", "interactive", "json"),
    ),
    "eval": (
        *("run", "file", "text", "split", "protocol", "cache", "dynamic", "samples", "per_char"),
        *("rank", "json"),
    ),
}

# Texts of one line, where the first words of the whole text say too little.
SHORT = {
    "CORPUS": "A file, a directory, - (standard input) or names",
    "--mode": "Short lines or one stream [auto|lines|stream]",
    "--cell": "Kind of cell [rnn|lstm|gru|gru-before|ngram]",
    "--init-from": "Start with the weights of another run",
    "--temp": "1 is as learnt, lower is safer (default: 0.8)",
    "--verbose": "Show every score, and all about text and network",
    "--matching": "Only texts that match this regular expression",
    "--fill": "Only texts of this form, in which _ is any character",
    "--likeliest": "Not drawn: so many of the most probable texts",
    "--protocol": "Read one stream, or windows [stateful|windowed]",
    "--cache": "Score also with a cache of so many characters",
    "--dynamic": "Score also while the model adapts to the text",
    "--samples": "Draw so many samples: what is new, what is copied",
    "--equal": "What all variants share, such as params,time or steps",
    "--per-char": "Show what each character cost, and the first guess",
    "--show-completion": "Show what that installs",
    "--conv": "Characters that a convolution sees first",
}

# A help text: what it does, then perhaps `\\[one|other]` and `(default: one)`.
_TEXT = re.compile(r"(?P<text>.*?)(?P<choices> \\\[.*?\])?(?P<default> \(default: .*\))?")


def short_help(command: Any, ctx: Any, columns: int) -> str:
    """Return the help of a command, or of a group of them, for a terminal of so many columns."""
    columns = min(columns, MOST_COLUMNS)
    path = str(ctx.command_path.removeprefix(ctx.find_root().command_path)).strip()
    commands = [
        (name, (other.help or "").partition("\n\n")[0])
        for name, other in getattr(command, "commands", {}).items()
    ]
    options = [_row(param, ctx) for param in _params(command, ctx, path)]
    summary, _, rest = (command.help or "").partition("\n\n")
    lines = textwrap.wrap(" ".join(command.get_usage(ctx).split()), columns)
    lines += ["", *textwrap.wrap(f"{summary}. {rest}" if rest else summary, columns)]
    for rows in (commands, options):
        if rows:
            width = min(max(len(name) for name, _ in rows), columns - LEAST_TEXT - 4)
            lines.append("")
            for name, text in rows:
                lines += _lines(name, text, width, columns)
    example = textwrap.wrap(f"Example: {EXAMPLES[path][0]}", columns, break_on_hyphens=False)
    return "\n".join([*lines, "", *example])


def is_common(command: str, parameter: str) -> bool:
    """Return whether --help shows a parameter of a command."""
    return command not in COMMON or parameter in (*COMMON[command], "help_all")


def _params(command: Any, ctx: Any, path: str) -> Iterator[Any]:
    for param in command.get_params(ctx):
        is_hidden = getattr(param, "hidden", False) or param.name == "help"
        if not is_hidden and is_common(path, param.name):
            yield param


def _row(param: Any, ctx: Any) -> tuple[str, str]:
    """Return the names of a parameter, and its text."""
    if param.param_type_name == "argument":
        return param.metavar, SHORT.get(param.metavar, param.help)
    names = sorted(param.opts, key=lambda name: not name.startswith("--"))
    shown = ", ".join(name for name in names if len(name) == 2 or name == names[0])
    if not param.is_flag:
        shown += f" {param.make_metavar(ctx)}"
    return shown, SHORT.get(names[0], param.help)


def _lines(name: str, text: str, width: int, columns: int) -> list[str]:
    """Return the lines of an option: one, if some form of its text fits."""
    room = columns - width - 4
    forms = list(_forms(text))
    form = next((form for form in forms if len(form) <= room), forms[-1])
    indent = " " * (width + 4)
    head = f"  {name:{width}}  "
    if len(name) > width:  # on a narrow terminal
        head = indent
    lines = textwrap.wrap(head + form, columns, subsequent_indent=indent)
    return lines if head != indent else [f"  {name}", *lines]


def _forms(text: str) -> Iterator[str]:
    """Yield a help text, then shorter forms of it: without choices, default, the latter half."""
    match = _TEXT.fullmatch(text)
    assert match is not None
    choices = (match["choices"] or "").replace("\\", "")
    default = match["default"] or ""
    if default == " (default: none)":
        default = ""
    for words in (match["text"], re.split(r"[;:] ", match["text"])[0]):
        yield f"{words}{choices}{default}"
        yield f"{words}{default}"
        yield f"{words}{choices}"
        yield words

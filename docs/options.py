"""Write docs/options.md: every command and every option, as the program itself declares them.

    python docs/options.py

tests/docs/test_options.py holds that the page is up to date.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import typer

from charrnn.cli.examples import EXAMPLES
from charrnn.cli.habits import ALIASES
from charrnn.cli.main import app_of
from charrnn.config import FIELDS, dotted

PAGE = Path(__file__).parent / "options.md"
WIDTH = 120
INTRODUCTION = """\
# Commands and options

Written by `python docs/options.py` from the commands themselves: change those, not this page.

`--help` or `-h` after a command shows what most people need of it, in one screen.
`--help-all` shows all its options, as this page does.

## Settings

The options of `train` with a name in parentheses, such as `model.hidden_size`, are settings.
A setting has five places. A later one wins:

1. the default
2. a TOML file or a preset: `--config names`, with `hidden_size = 64` below `[model]`
3. the environment: `CHARRNN_HIDDEN_SIZE=64`
4. `--set hidden_size=64`
5. the option: `--hidden-size 64`

`charrnn train --print-config` prints every setting and where it comes from.
"""


def page() -> str:
    """Return the page as it should be."""
    program = typer.main.get_command(app_of())
    context = program.make_context("charrnn", [], resilient_parsing=True)
    parts = [INTRODUCTION, _aliases(), _program(program, context)]
    parts += [_command(path, command, context) for path, command in commands_of(program)]
    return "\n".join(parts)


def commands_of(group: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return ("lab vanish", command) for every command that can be run, in order of the help."""
    commands = []
    for name, command in group.commands.items():
        full_name = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            commands += commands_of(command, full_name)
        else:
            commands.append((full_name, command))
    return commands


def _aliases() -> str:
    rows = [f"- `--{alias}` is `--{name}`" for alias, name in ALIASES.items()]
    lead = "For users of char-rnn, torch-rnn and nanoGPT, these names work too:"
    return "\n".join(["## Other names", "", lead, "", *rows, ""])


def _program(program: Any, context: Any) -> str:
    lines = ["## Without a command", ""]
    for param in program.get_params(context):
        lines += _entry("", param, context)
    return "\n".join([*lines, ""])


def _command(path: str, command: Any, context: Any) -> str:
    summary, _, rest = (command.help or "").partition("\n\n")
    lines = [f"## {path}", "", f"{summary}.", ""]
    if rest:
        lines += [*textwrap.wrap(rest, WIDTH), ""]
    lines += ["```", *EXAMPLES[path], "```", ""]
    panels: dict[str, list[Any]] = {}
    for param in command.params:
        if not getattr(param, "hidden", False) and param.name != "help_all":
            panels.setdefault(_panel(param), []).append(param)
    for panel, params in panels.items():
        if len(panels) > 1:
            lines += [f"**{panel}**", ""]
        for param in params:
            lines += _entry(path, param, context)
        lines.append("")
    return "\n".join(lines)


def _panel(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return str(param.rich_help_panel or "Options")


def _entry(path: str, param: Any, context: Any) -> list[str]:
    """Return the lines of one option: its names, its key, what it does."""
    if param.param_type_name == "argument":
        names = f"`{param.metavar}`"
    else:
        # Click gives --help and -h in any order.
        opts = sorted(param.opts, key=lambda name: not name.startswith("--"))
        names = ", ".join(f"`{name}`" for name in [*opts, *param.secondary_opts])
        if not param.is_flag:
            names += f" {param.make_metavar(context)}"
    if path == "train" and param.name in FIELDS:
        names += f" (`{dotted(param.name)}`)"
    return textwrap.wrap(
        f"- {names}: {_markdown(param.help)}",
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _markdown(help: str) -> str:
    """Return the help text with its choices as code, and no asterisk that would begin emphasis."""
    before, bracket, after = help.replace("*", r"\*").partition(r"\[")
    if not bracket:
        return before
    choices, _, rest = after.partition("]")
    return f"{before}`{choices}`{rest}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

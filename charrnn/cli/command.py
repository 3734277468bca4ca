"""How a command shows its help: one screen, and everything with --help-all."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from charrnn.cli.examples import EXAMPLES
from charrnn.cli.habits import (
    COMMANDS,
    empty_name,
    explain_missing,
    explain_unknown,
    typed_name,
    with_two_dashes,
)
from charrnn.cli.options import PATH
from charrnn.cli.shortlist import short_help
from charrnn.errors import SettingsError
from charrnn.terminal import USUAL_COLUMNS, columns_of, forget_stdout, print_line


class Command(TyperCommand):
    """A command in the style of this program."""

    shows_all = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.append(_help_all())
        # Typer keeps the line ends of all paragraphs but the first.
        paragraphs = (self.help or "").split("\n\n")
        self.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)
        for param in self.params:
            if isinstance(param, TyperArgument):
                # The name of an argument says enough: typer would add <str> or <path>.
                param.type = copy.copy(param.type)
                param.type.get_metavar = lambda *_, **__: ""  # type: ignore[method-assign]

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the words behind the command; foreign names of options become those here."""
        valued, plain = _options(self)
        words = with_two_dashes(args, valued, plain)
        named = [name for param in self.params if param.metavar == PATH for name in param.opts]
        empty = empty_name(words, valued, named)
        if empty is not None:
            raise SettingsError(f"{empty}: the name is empty; leave it out, or name something")
        try:
            return super().parse_args(ctx, list(words))
        except typer.TyperException as error:
            message = error.format_message()
            missing = explain_missing(message, self._example)
            if missing is not None:
                raise SettingsError(missing) from None
            if not message.startswith("No such option"):
                raise
            name: str = error.option_name  # type: ignore[attr-defined]
            known = dict(_all_options(ctx))
            here = known.pop(self.name or "", [])
            typed = typed_name(args, name)
            command = ctx.command_path.removeprefix(f"{ctx.find_root().command_path} ")
            explained = explain_unknown(typed, command, here, known.items())
            raise SettingsError(explained) from None

    def _example(self, option: str) -> str:
        """Return a value that an option takes."""
        kind = next((param.type.name for param in self.params if option in param.opts), "")
        return {"int": "20", "integer": "20", "float": "0.8"}.get(kind, "VALUE")

    def get_params(self, ctx: Any) -> Any:
        """Return the options and arguments, typer's own in the style of the others."""
        return _without_full_stops(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the short help, or everything."""
        if self.shows_all:
            with _until_the_reader_leaves():
                super().format_help(ctx, formatter)
        else:
            formatter.write(_short(self, ctx))


class Group(TyperGroup):
    """A command that has commands, in the style of this program.

    all_commands: gives those of the program, of which one alone may have been loaded.
    """

    all_commands: Callable[[], dict[str, Any]] | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the words behind the program; `help train` is `train --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        if args and args[0] in COMMANDS and args[0] not in self.commands:
            raise SettingsError(f"no command {args[0]}; here: charrnn {COMMANDS[args[0]]}")
        if not args and not ctx.resilient_parsing:
            print_line(ctx.get_help())
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> Any:
        """Return the options, typer's own in the style of the others."""
        return _without_full_stops(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help: the commands, each in a line."""
        formatter.write(_short(self, ctx))


def _options(command: Any) -> tuple[list[str], list[str]]:
    """Return the options of a command that take a value, and those that take none."""
    valued: list[str] = []
    plain: list[str] = []
    for param in command.params:
        if isinstance(param, TyperArgument):
            continue
        names = [*param.opts, *param.secondary_opts]
        is_plain = param.is_flag or param.count
        (plain if is_plain else valued).extend(names)
    return valued, plain


def _all_options(ctx: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands beside this one, itself included, with their options."""
    group = ctx.parent.command
    commands = group.commands
    if ctx.parent.parent is None and group.all_commands is not None:
        commands = group.all_commands()
    for name, command in commands.items():
        yield name, [option for kind in _options(command) for option in kind]


@contextlib.contextmanager
def _until_the_reader_leaves() -> Iterator[None]:
    """Keep the exit code when the reader of the help leaves (| head): rich would end with 1."""
    try:
        yield
    except SystemExit:
        forget_stdout()


def _without_full_stops(params: Any) -> Any:
    for param in params:
        param.help = (param.help or "").removesuffix(".")
    return params


def _short(command: Any, ctx: Any) -> str:
    return short_help(command, ctx, columns_of(sys.stdout) or USUAL_COLUMNS)


def _help_all() -> TyperOption:
    return TyperOption(
        param_decls=["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        help="Show all options and their whole texts",
        callback=_show_help_all,
    )


def _show_help_all(ctx: Any, param: Any, is_wanted: bool) -> None:
    """Print the whole help and leave."""
    if is_wanted:
        ctx.command.shows_all = True
        typer.echo(ctx.get_help())
        raise typer.Exit


def epilogue(name: str) -> str:
    """The examples of a command, as the end of its help."""
    # Typer takes away the spaces that begin the lines of an epilogue, but not those within markup.
    lines = [f"[dim]  [/]{line}" for line in EXAMPLES[name]]
    return "\n".join(["Examples:", *lines])

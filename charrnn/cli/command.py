"""How a command shows its help: examples at the end, rare options behind --help-all."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from charrnn.cli.examples import EXAMPLES
from charrnn.terminal import forget_stdout


class Command(TyperCommand):
    """A command in the style of this program.

    Subclasses name the options that --help leaves out.
    """

    rare: ClassVar[frozenset[str]] = frozenset()  # names of parameters, as in hidden_size
    shows_rare = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # Typer keeps the line ends of all paragraphs but the first.
        paragraphs = (self.help or "").split("\n\n")
        self.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)
        for param in self.params:
            if isinstance(param, TyperArgument):
                # The name of an argument says enough: typer would add <str> or <path>.
                param.type = copy.copy(param.type)
                param.type.get_metavar = lambda *_, **__: ""  # type: ignore[method-assign]

    def get_params(self, ctx: Any) -> Any:
        """Return the options and arguments, typer's own in the style of the others."""
        return _without_full_stops(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help. The rare options are hidden only now, so that the shell completes them."""
        shown = [param for param in self.params if not getattr(param, "hidden", False)]
        hidden_now = [param for param in shown if param.name in self.rare and not self.shows_rare]
        for param in hidden_now:
            param.hidden = True  # type: ignore[attr-defined]
        try:
            with _until_the_reader_leaves():
                super().format_help(ctx, formatter)
        finally:
            for param in hidden_now:
                param.hidden = False  # type: ignore[attr-defined]


class Group(TyperGroup):
    """A command that has commands, in the style of this program."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options, typer's own in the style of the others."""
        return _without_full_stops(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help."""
        with _until_the_reader_leaves():
            super().format_help(ctx, formatter)


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


def show_help_all(ctx: typer.Context, is_wanted: bool) -> None:
    """Print the help with the rare options, and leave: the callback of --help-all."""
    if is_wanted and isinstance(ctx.command, Command):
        ctx.command.shows_rare = True
        typer.echo(ctx.get_help())
        raise typer.Exit


def epilogue(name: str) -> str:
    """The examples of a command, as the end of its help."""
    # Typer takes away the spaces that begin the lines of an epilogue, but not those within markup.
    lines = [f"[dim]  [/]{line}" for line in EXAMPLES[name]]
    return "\n".join(["Examples:", *lines])

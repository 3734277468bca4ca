"""The program `charrnn`: its commands, its version, and what a fault looks like."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from charrnn.cli.command import Command, Group, epilogue
from charrnn.cli.habits import normalized
from charrnn.errors import CharrnnError
from charrnn.launch import is_follower
from charrnn.terminal import forget_stdout, one_line, prepare_streams, print_line, say

# Each command in the order of the help: its function, in the file of this folder with its name.
COMMANDS = {
    "train": "train",
    "sample": "sample",
    "eval": "evaluate",
    "report": "report",
    "cooccur": "cooccur",
    "cells": "cells",
    "explain": "explain",
    "compare": "compare",
    "export": "export",
    "runs": "runs",
    "lab": "lab",
}


def app_of(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the program, with all its commands or some of them."""
    app = typer.Typer(
        name="charrnn",
        help="Character-level text generation with recurrent networks",
        epilog=epilogue(""),
        cls=Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "token_normalize_func": normalized,
        },
    )
    app.callback()(options)
    for name in names:
        module = importlib.import_module(f"charrnn.cli.{name}")
        command = getattr(module, COMMANDS[name])
        if name == "lab":
            app.add_typer(command, name=name)
        else:
            kind = module.CompareCommand if name == "compare" else Command
            app.command(name, cls=kind, epilog=epilogue(name))(command)
    return app


def _all_commands() -> dict[str, Any]:
    from typer.main import get_group

    return dict(get_group(app_of()).commands)


def _named(words: Sequence[str]) -> Iterable[str]:
    """Return the commands that these words need: building all of them takes a tenth of a second."""
    is_completing = "_CHARRNN_COMPLETE" in os.environ
    return words[:1] if words[:1] and words[0] in COMMANDS and not is_completing else COMMANDS


def _show_version(is_wanted: bool) -> None:
    if not is_wanted:
        return
    from charrnn import __version__
    from charrnn.kernel.library import describe

    python = ".".join(map(str, sys.version_info[:3]))
    print_line(
        f"charrnn {__version__} (torch {_installed('torch')}, numpy {_installed('numpy')}, "
        f"Python {python}, sampler: {describe()})"
    )
    raise typer.Exit


def _installed(package: str) -> str:
    """The version of a package, without loading it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Show the versions and exit",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Carry the options of the program itself."""


def main() -> NoReturn:
    """Run a command; a person's mistake is one line on stderr and an exit code.

    A mistake of ours is a traceback and exit code 1.
    """
    # Threads that wait for each other spin only for a moment, then sleep. With other busy programs
    # on two cores, spinning as long as libgomp does by default made the same training step 2 to 300
    # times slower; never spinning made it 2.2 times slower on an idle machine (docs/decisions.md).
    # Read by libgomp when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    prepare_streams()
    try:
        Group.all_commands = staticmethod(_all_commands)
        result = app_of(_named(sys.argv[1:]))(standalone_mode=False)
    except typer.Exit as end:
        _leave(end.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _complain("stopped")
        _leave(130)
    except CharrnnError as error:
        _debug()
        _complain(str(error))
        _leave(error.exit_code)
    except OSError as error:
        _debug()
        _complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
        _leave(5)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        _complain(f"out of memory: {_memory_advice()}")
        _leave(2)
    except SystemExit as end:
        # Typer leaves with 1 when the reader of a help or a completion has left (| head).
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        forget_stdout()
        _leave(0)
    except typer.TyperException as error:
        _complain(error.format_message())
        _leave(error.exit_code)
    code = result if isinstance(result, int) else 0
    _leave(code)


def _memory_advice() -> str:
    if {"sample", "eval", "report", "cooccur", "cells", "explain", "export"} & set(sys.argv[1:2]):
        return "ask for less at once, such as fewer or shorter texts"
    return (
        "try a smaller --batch-size, --seq-length or --hidden-size, "
        "or --checkpoint-every-chars; what was saved is safe"
    )


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    if isinstance(error, MemoryError):
        return True
    return "out of memory" in str(error) or "can't allocate memory" in str(error)


def _complain(message: str) -> None:
    """Say what is wrong; of several processes on a machine, the first one does."""
    if message and not is_follower(os.environ):
        say(f"charrnn: {one_line(message)}")


def _debug() -> None:
    """With CHARRNN_DEBUG=1, print the traceback behind the line that follows."""
    if os.environ.get("CHARRNN_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()


def _leave(code: int) -> NoReturn:
    """Exit; 5 when standard output cannot take what is still in its buffer."""
    try:
        if sys.stdout is not None:  # the shell's >&-
            sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
    except OSError as error:
        _complain(f"cannot write to standard output: {error.strerror}")
        forget_stdout()
        code = code or 5
    sys.exit(code)

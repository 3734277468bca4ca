"""The program `charrnn`: its commands, its version, and what a fault looks like. Nothing heavy is imported here."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from charrnn.cli.cells import cells
from charrnn.cli.compare import compare
from charrnn.cli.cooccur import cooccur
from charrnn.cli.eval import evaluate
from charrnn.cli.explain import explain
from charrnn.cli.lab import lab
from charrnn.cli.report import report
from charrnn.cli.sample import sample
from charrnn.cli.train import train
from charrnn.errors import CharrnnError
from charrnn.terminal import one_line

# Options that hands trained on char-rnn, torch-rnn and nanoGPT type. Not in the help: one name is enough there.
ALIASES = {
    "rnn-size": "hidden-size",
    "seq-len": "seq-length",
    "grad-clip": "clip",
    "temperature": "temp",
    "start-text": "prime",
    "primetext": "prime",
    "learning-rate": "lr",
}

app = typer.Typer(
    name="charrnn",
    help="Character-level text generation with recurrent networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: ALIASES.get(name, name),
    },
)
app.command("train")(train)
app.command("sample")(sample)
app.command("eval")(evaluate)
app.command("report")(report)
app.command("cooccur")(cooccur)
app.command("cells")(cells)
app.command("explain")(explain)
app.command("compare")(compare)
app.add_typer(lab, name="lab")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        def installed(package: str) -> str:
            try:
                return version(package)
            except PackageNotFoundError:
                return "not installed"

        from charrnn import __version__
        from charrnn.kernel.library import describe

        python = ".".join(map(str, sys.version_info[:3]))
        typer.echo(
            f"charrnn {__version__} (torch {installed('torch')}, numpy {installed('numpy')}, Python {python}, "
            f"sampler: {describe()})"
        )
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show versions and leave.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Character-level text generation with recurrent networks: train, sample, evaluate, resume exactly."""


def main() -> NoReturn:
    """Run a command; a person's mistake is one line on stderr and an exit code, ours is a traceback and 1."""
    # Threads that wait for each other spin only for a moment, then sleep. With other busy programs on two cores,
    # spinning as long as libgomp does by default made the same training step 2 to 300 times slower; never spinning made
    # it 2.2 times slower on an idle machine (README, Decisions). Read by libgomp when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        result = app(standalone_mode=False)
    except typer.Exit as done:
        _leave(done.exit_code)
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
        if not (
            isinstance(error, MemoryError)
            or "out of memory" in str(error)
            or "can't allocate memory" in str(error)
        ):
            raise
        _complain(
            "out of memory: try a smaller --batch-size, --seq-length or --hidden-size, or --checkpoint-every-chars; what was "
            "saved is safe"
        )
        _leave(2)
    except typer.TyperException as error:
        _complain(error.format_message())
        _leave(error.exit_code)
    _leave(result if isinstance(result, int) else 0)


def _complain(message: str) -> None:
    if message:
        print(f"charrnn: {one_line(message)}", file=sys.stderr)


def _debug() -> None:
    """With CHARRNN_DEBUG=1, the traceback behind the line that follows."""
    if os.environ.get("CHARRNN_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()


def _leave(code: int) -> NoReturn:
    try:
        if sys.stdout is not None:  # the shell's >&-
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _complain(f"cannot write to standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 5
    sys.exit(code)

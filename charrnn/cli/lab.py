"""charrnn lab: what gradients, depth, memory and clipping do, measured and drawn.

One function a lab; each returns through result_view.show. A further lab is a further function here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.command import Command, Group, epilogue
from charrnn.cli.options import (
    INTEGER,
    TEXT,
    WHAT,
    Csv,
    Json,
    LabRun,
    Plot,
    Quiet,
    RunDevice,
    Seed,
    option,
)
from charrnn.cli.result_view import check_outputs, note, show
from charrnn.errors import SettingsError
from charrnn.layout import GATES
from charrnn.terminal import one_line
from charrnn.values import nearest

lab = typer.Typer(
    help="Measure and draw what gradients, depth, clipping and memory do",
    epilog=epilogue("lab"),
    cls=Group,
    no_args_is_help=True,
)


@lab.command("vanish", cls=Command, epilog=epilogue("lab vanish"))
def vanish(
    run: LabRun = None,
    lags: Annotated[
        int,
        option(
            "--lags",
            help="Look back over at most this many characters",
            metavar=INTEGER,
            default="64",
            panel=WHAT,
        ),
    ] = 64,
    device: RunDevice = None,
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    seed: Seed = 1,
    quiet: Quiet = False,
) -> None:
    """Measure how the gradient fades with distance

    With a run, in its network. Without one, in an rnn, an lstm and a gru, untrained and briefly
    trained.
    """
    check_outputs(plot, csv, json, seed)
    if not 3 <= lags <= 1000:
        raise SettingsError(f"--lags {lags}: must be between 3 and 1,000")
    _check_device(device, run)

    from charrnn.lab.gradients import vanish as measured

    result = measured(run, lags, seed, lambda text: note(quiet, text), device or "cpu")
    show(result, plot, csv, json)


@lab.command("depth", cls=Command, epilog=epilogue("lab depth"))
def depth(
    cell: Annotated[
        str,
        option(
            "--cell",
            help="Kind of cell",
            choices=("rnn", "lstm", "gru", "gru-before"),
            metavar=TEXT,
            default="rnn",
            panel=WHAT,
        ),
    ] = "rnn",
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    seed: Seed = 1,
    quiet: Quiet = False,
) -> None:
    """Measure gradients by layer in stacks of 1 to 8 layers

    Plain and with skips; and the loss when one layer is left out.
    """
    check_outputs(plot, csv, json, seed)
    if cell not in GATES:
        hint = nearest(cell, GATES)
        raise SettingsError(f"--cell {one_line(cell)!r} is not one of {', '.join(GATES)}{hint}")

    from charrnn.lab.depth import depth as measured

    show(measured(cell, seed, lambda text: note(quiet, text)), plot, csv, json)


@lab.command("memory", cls=Command, epilog=epilogue("lab memory"))
def memory(
    run: LabRun = None,
    device: RunDevice = None,
    seed: Seed = 1,
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much context a network uses

    With a run, its loss with less and less context. Without one, how far an rnn, a gru and an lstm
    can remember.
    """
    check_outputs(plot, csv, json, seed)
    _check_device(device, run)

    from charrnn.lab.memory import memory as measured

    result = measured(run, seed, lambda text: note(quiet, text), device or "cpu")
    show(result, plot, csv, json)


@lab.command("explode", cls=Command, epilog=epilogue("lab explode"))
def explode(
    seed: Seed = 1, plot: Plot = None, csv: Csv = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Train a network that explodes

    With clipping, without, and going back to a checkpoint; and the cliff in the loss behind it.
    """
    check_outputs(plot, csv, json, seed)

    from charrnn.lab.explode import explode as measured

    show(measured(seed, lambda text: note(quiet, text)), plot, csv, json)


def _check_device(device: str | None, run: Path | None) -> None:
    """Refuse a device where nothing runs on it. Raises SettingsError."""
    if device is not None and run is None:
        raise SettingsError(
            "--device is for the network of a RUN: the lab's own small networks run on the "
            "processor; name a run, or leave it out"
        )

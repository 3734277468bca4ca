"""charrnn lab: the lecture's pictures, computed here. One function a lab, beneath each other; each returns through `show`."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.result_view import Csv, Json, Plot, Quiet, Run, Seed, check_outputs, note, show
from charrnn.errors import SettingsError
from charrnn.layout import GATES
from charrnn.terminal import one_line
from charrnn.values import nearest

lab = typer.Typer(
    help="What gradients, depth, clipping and memory do, measured and drawn.", no_args_is_help=True
)


@lab.command("vanish")
def vanish(
    run: Run = None,
    lags: Annotated[
        int, typer.Option(help="Look back so many characters, at most.", rich_help_panel="What")
    ] = 64,
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    seed: Seed = 1,
    quiet: Quiet = False,
) -> None:
    """How the gradient fades with distance, in a run; or in rnn, lstm and gru, untrained and briefly trained."""
    check_outputs(plot, csv, json, seed)
    if not 3 <= lags <= 1000:
        raise SettingsError(f"--lags {lags}: must be between 3 and 1,000")

    from charrnn.lab.gradients import vanish as find

    show(find(run, lags, seed, lambda text: note(quiet, text)), plot, csv, json)


@lab.command("depth")
def depth(
    cell: Annotated[
        str, typer.Option(help="rnn, lstm, gru or gru-before.", rich_help_panel="What")
    ] = "rnn",
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    seed: Seed = 1,
    quiet: Quiet = False,
) -> None:
    """Gradients by layer in stacks of 1 to 8, plain and with skips; and what leaving out a layer costs."""
    check_outputs(plot, csv, json, seed)
    if cell not in GATES:
        raise SettingsError(
            f"--cell {one_line(cell)!r} is not one of {', '.join(GATES)}{nearest(cell, GATES)}"
        )

    from charrnn.lab.depth import depth as find

    show(find(cell, seed, lambda text: note(quiet, text)), plot, csv, json)


@lab.command("memory")
def memory(
    run: Run = None,
    seed: Seed = 1,
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a run's loss owes to its context; without a run, how far rnn, gru and lstm remember."""
    check_outputs(plot, csv, json, seed)

    from charrnn.lab.memory import memory as find

    show(find(run, seed, lambda text: note(quiet, text)), plot, csv, json)


@lab.command("explode")
def explode(
    seed: Seed = 1, plot: Plot = None, csv: Csv = None, json: Json = False, quiet: Quiet = False
) -> None:
    """A network that explodes: with clipping, without, and going back to a checkpoint; the cliff behind it."""
    check_outputs(plot, csv, json, seed)

    from charrnn.lab.explode import explode as find

    show(find(seed, lambda text: note(quiet, text)), plot, csv, json)


# Further labs: a command as those above, here or in a file of its own that imports `lab` from here.

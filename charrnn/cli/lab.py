"""charrnn lab: the lecture's pictures, computed here. One function a lab, beneath each other; each returns through `show`."""

from __future__ import annotations

import typer

from charrnn.cli.result_view import Csv, Json, Plot, Quiet, Run, Seed, check_outputs, note, show

lab = typer.Typer(help="What gradients, depth, clipping and memory do, measured and drawn.", no_args_is_help=True)


@lab.command("vanish")
def vanish(
    run: Run = None, plot: Plot = None, csv: Csv = None, json: Json = False, seed: Seed = 1, quiet: Quiet = False
) -> None:
    """How the gradient fades with distance: rnn, lstm and gru side by side, or a run's own model."""
    check_outputs(plot, csv, json, seed)

    from charrnn.lab.gradients import vanish as find

    show(find(run, seed, lambda text: note(quiet, text)), plot, csv, json)


@lab.command("depth")
def depth(plot: Plot = None, csv: Csv = None, json: Json = False, seed: Seed = 1, quiet: Quiet = False) -> None:
    """Gradients by layer in stacks of 1 to 8, plain and with skips; and what removing a layer costs."""
    check_outputs(plot, csv, json, seed)

    from charrnn.lab.depth import depth as find

    show(find(seed, lambda text: note(quiet, text)), plot, csv, json)


@lab.command("explode")
def explode(plot: Plot = None, csv: Csv = None, json: Json = False, seed: Seed = 1, quiet: Quiet = False) -> None:
    """A network that explodes: with clipping, without, and going back to a checkpoint; the cliff behind it."""
    check_outputs(plot, csv, json, seed)

    from charrnn.lab.explode import explode as find

    show(find(seed, lambda text: note(quiet, text)), plot, csv, json)


# Further labs: a command as those above, here or in a file of its own that imports `lab` from here.

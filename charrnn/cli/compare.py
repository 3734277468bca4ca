"""charrnn compare: words typed by a person -> trainings of lab.compare, a table with intervals and curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.result_view import PANEL, Csv, Json, Plot, check_outputs, note, show
from charrnn.cli.train import CORPUS_HELP, with_settings
from charrnn.errors import SettingsError
from charrnn.layers import environment_layer, set_layer, toml_layer
from charrnn.terminal import one_line

WHAT = "What"


@with_settings
def compare(
    corpus: Annotated[str | None, typer.Argument(help=CORPUS_HELP, show_default=False)] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting and its values, the first is what the others are compared with, as cell=lstm,gru; given twice, "
            "every combination. (default: cell=lstm,gru,rnn)",
            metavar="SETTING=A,B",
            rich_help_panel=WHAT,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            help="Runs of each, with --seed and the seeds after it.", rich_help_panel=WHAT
        ),
    ] = 3,
    equal: Annotated[
        str | None,
        typer.Option(
            help="params (the hidden sizes are chosen to fit the first), time, steps; or params,time. "
            "(default: params,steps; with --vary hidden-size steps)",
            metavar="WHAT",
            rich_help_panel=WHAT,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the runs (default: runs/compare-<corpus>).", rich_help_panel=WHAT
        ),
    ] = None,
    config_file: Annotated[
        str | None,
        typer.Option(
            "--config", help="TOML file, or a preset.", metavar="FILE", rich_help_panel=WHAT
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="One setting, as section.key=value.",
            metavar="KEY=VALUE",
            rich_help_panel=WHAT,
        ),
    ] = None,
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing on the way.", rich_help_panel=PANEL)
    ] = False,
    **chosen: Any,
) -> int:
    """Train the same network in several ways, over several seeds; tell which is better, if the seeds can tell.

    Equal steps and a budget: the first variant's pace decides. Stopped, the same command goes on.
    """
    check_outputs(plot, csv, json)
    layers = (
        *([toml_layer(config_file)] if config_file is not None else []),
        ("environment", environment_layer(os.environ)),
        ("--set", set_layer(assignments or [])),
        ("--", chosen),
    )
    if run is not None and run.exists() and not run.is_dir():
        raise SettingsError(f"--run {one_line(str(run))} is a file; name a directory")

    from charrnn.lab.asked import ask

    asked = ask(corpus, layers, vary or [], equal, seeds)

    from charrnn.lab.compare import Stopped, prepare, train_all
    from charrnn.lab.compared import compared
    from charrnn.progress import TrainingProgress
    from charrnn.training.session import SIGNALS

    progress = TrainingProgress(quiet=quiet)
    try:
        plan, folder = prepare(asked, run, Path("runs"), progress)
        for variant, numbers in zip(plan.variants, plan.parameters, strict=True):
            note(
                quiet,
                f"{variant.name}: {variant.settings.model.hidden_size} units, {numbers:,} parameters",
            )
        note(
            quiet,
            f"{len(plan.variants) * seeds} trainings in {folder}"
            + (f", equal {plan.equal}" if plan.equal else ""),
        )
        failed = train_all(plan, folder, lambda: TrainingProgress(quiet=quiet), progress.say)
    except Stopped as signal:
        note(quiet, "stopped; what was trained is saved. The same command goes on")
        return SIGNALS[str(signal)]
    finally:
        progress.close()
    show(compared(plan, folder, failed), plot, csv, json)
    return 0

"""charrnn compare: words typed by a person -> trainings of lab.compare, a table with intervals."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from charrnn.cli.command import Command
from charrnn.cli.options import (
    INTEGER,
    PATH,
    TEXT,
    WHAT,
    Assignments,
    ConfigFile,
    Corpus,
    Csv,
    Json,
    Plot,
    Quiet,
    option,
)
from charrnn.cli.result_view import check_outputs, note, show
from charrnn.config import FIELDS, dotted
from charrnn.errors import SettingsError
from charrnn.layers import environment_layer, set_layer, toml_layer
from charrnn.terminal import many, one_line


class CompareCommand(Command):
    """charrnn compare, which has no option for a setting and takes those of train."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the words; options of train are settings of every run."""
        words = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except (typer.TyperException, SettingsError):
            others, assignments = parted(words, ctx.token_normalize_func)
            if not assignments:
                raise
            for assignment in assignments:
                others += ["--set", assignment]
            return super().parse_args(ctx, others)


def parted(words: Sequence[str], real_name: Any) -> tuple[list[str], list[str]]:
    """Return the words without options of train, and those as --set takes them: lr=0.01.

    real_name: gives the name behind an alias such as rnn-size.
    """
    others: list[str] = []
    assignments: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        key = real_name(name.removeprefix("--")).replace("-", "_")
        is_off = key.removeprefix("no_") in FIELDS and key.startswith("no_")
        if is_off:
            key = key.removeprefix("no_")
        if not word.startswith("--") or key not in FIELDS or others[-1:] == ["--vary"]:
            others.append(word)
            continue
        if FIELDS[key][1].metadata["kind"] is bool:
            value = "false" if is_off else "true"
        elif not equals:
            value = next(rest, "")
        assignments.append(f"{dotted(key)}={value}")
    return others, assignments


def compare(
    corpus: Corpus = None,
    vary: Annotated[
        list[str] | None,
        option(
            "--vary",
            help="A setting and its values, as dropout=0,0.5; the first value is the reference; "
            "repeated: every combination",
            metavar=TEXT,
            default="cell=lstm,gru,rnn",
            panel=WHAT,
        ),
    ] = None,
    assignments: Assignments = None,
    config_file: Annotated[str | None, ConfigFile] = None,
    seeds: Annotated[
        int,
        option(
            "--seeds",
            help="Seeds per variant, counted up from training.seed",
            metavar=INTEGER,
            default="3",
            panel=WHAT,
        ),
    ] = 3,
    equal: Annotated[
        str | None,
        option(
            "--equal",
            help="What all variants share: params (hidden sizes are fitted to the first), time, "
            "steps or params,time",
            metavar=TEXT,
            default="params,steps; with --vary hidden-size steps",
            panel=WHAT,
        ),
    ] = None,
    jobs: Annotated[
        int,
        option(
            "--jobs",
            help="Trainings at a time; of several, each has one thread unless runtime.threads "
            "says more",
            metavar=INTEGER,
            default="1",
        ),
    ] = 1,
    part: Annotated[
        str | None,
        option(
            "--part",
            help="Train one part of the runs, such as 1/4; without it the rest is trained and the "
            "table shown",
            metavar=TEXT,
            default="all",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        option(
            "--run",
            help="Directory of the runs",
            metavar=PATH,
            default="runs/compare- and the name of the corpus",
        ),
    ] = None,
    plot: Plot = None,
    csv: Csv = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Compare settings over several seeds, with confidence intervals

    Run the same command again to continue. With a budget and equal steps, the speed of the first
    variant sets the number of steps.
    """
    check_outputs(plot, csv, json)
    layers: tuple[tuple[str, Any], ...] = (
        ("environment", environment_layer(os.environ)),
        ("--set", set_layer(assignments or [])),
    )
    if config_file is not None:
        layers = (toml_layer(config_file), *layers)
    if run is not None and run.exists() and not run.is_dir():
        raise SettingsError(f"--run {one_line(str(run))} is a file; name a directory")
    if jobs < 1:
        raise SettingsError(f"--jobs {jobs}: train at least 1 at a time")
    share = _part(part)

    from charrnn.lab.asked import ask

    request = ask(corpus, layers, vary or [], equal, seeds)

    from charrnn.lab.compare import Stopped, prepare, train_all, turns_of
    from charrnn.lab.compared import compared
    from charrnn.progress import TrainingProgress
    from charrnn.training.signals import SIGNALS

    progress = TrainingProgress(quiet=quiet)
    try:
        plan, folder = prepare(request, run, Path("runs"), progress, jobs=jobs)
        turns = turns_of(plan, share)
        for variant, parameters in zip(plan.variants, plan.parameters, strict=True):
            units = variant.settings.model.hidden_size
            sizes = f"{many(units or 0, 'unit')}, {many(parameters, 'parameter')}"
            note(quiet, f"{variant.name}: {sizes}")
        equal_words = f", equal {plan.equal}" if plan.equal else ""
        note(quiet, f"{many(len(turns), 'training')} in {folder}{equal_words}")
        if jobs > 1:
            from charrnn.lab.jobs import train_in_processes

            failed = train_in_processes(plan, folder, turns, jobs, progress, progress.say)
        else:
            failed = train_all(
                plan, folder, lambda: TrainingProgress(quiet=quiet), progress.say, turns
            )
    except Stopped as signal:
        note(quiet, "stopped; what was trained is saved. The same command goes on")
        return SIGNALS[str(signal)]
    finally:
        progress.close()
    if part is not None:
        note(quiet, f"part {part} is trained; without --part the same command shows the table")
        return 0
    show(compared(plan, folder, failed), plot, csv, json)
    note(quiet, f"one page about it: charrnn report {quote(str(folder))}")
    return 0


def _part(text: str | None) -> tuple[int, int]:
    """Return which part of how many is meant: 2/4. Raises SettingsError."""
    if text is None:
        return 1, 1
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise SettingsError(f"--part {one_line(text)}: write which of how many, such as 1/4")
    return int(match[1]), int(match[2])

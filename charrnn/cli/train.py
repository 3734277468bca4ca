"""charrnn train: words typed by a person -> one call of training.session.train.

The options for settings are made from the fields of config.py, where each is named, typed, bounded and explained.
"""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn import config
from charrnn import layers as sources
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, print_line, write_stdout

PANELS = {"text": "Text", "model": "Network", "training": "Training", "runtime": "Machine"}
METAVARS: dict[type, str] = {int: "N", float: "X", str: "TEXT"}


def with_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command one option for every setting, in place of its **chosen."""
    signature = inspect.signature(command, eval_str=True)
    named = [
        each
        for each in signature.parameters.values()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    made = []
    for section, kind in config.SECTIONS.items():
        for item in fields(kind):
            made.append(_option(section, item.name, item.metadata, item.default))

    def run(**values: Any) -> int:
        own = {each.name: values.pop(each.name) for each in named}
        return command(**own, **values)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = signature.replace(parameters=[*named, *made])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in [*named, *made]}
    return run


def _option(section: str, key: str, limits: Any, default: Any) -> inspect.Parameter:
    text = limits["help"]
    if "choices" in limits:
        text += f": {', '.join(limits['choices'])}"
    if default not in (None, "", True, False):
        text += f" (default: {default})"
    kind: Any = str
    if limits["kind"] is bool:
        kind = bool
        names = (f"{config.flag(key)}/--no-{key.replace('_', '-')}",)
        option = typer.Option(
            *names, help=text, rich_help_panel=PANELS[section], show_default=False
        )
    else:
        metavar = METAVARS[limits["kind"]]
        option = typer.Option(
            config.flag(key),
            help=text,
            metavar=metavar,
            rich_help_panel=PANELS[section],
            show_default=False,
        )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


CORPUS_HELP = (
    "A text file, a directory, - for standard input, or a corpus that comes with charrnn: names, surnames "
    "(default: names)."
)
CONFIG_HELP = "TOML file or preset of settings: names, shakespeare, latex, linux, tiny."


def _switch(name: str, help: str) -> Any:
    return typer.Option(name, help=help)


@with_settings
def train(
    corpus: Annotated[str | None, typer.Argument(help=CORPUS_HELP, show_default=False)] = None,
    run: Annotated[
        Path | None, typer.Option(help="Directory of this training (default: runs/<corpus>).")
    ] = None,
    resume: Annotated[
        bool, _switch("--resume", "Go on with a run exactly where it stopped.")
    ] = False,
    overwrite: Annotated[
        bool, _switch("--overwrite", "Start anew in a directory that holds a run.")
    ] = False,
    allow_corpus_change: Annotated[
        bool, _switch("--allow-corpus-change", "With --resume: go on although the text is another.")
    ] = False,
    config_file: Annotated[
        list[str] | None, typer.Option("--config", help=CONFIG_HELP, metavar="FILE")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, as section.key=value.", metavar="KEY=VALUE"),
    ] = None,
    check: Annotated[
        bool,
        _switch(
            "--check",
            "Say what the text is like, what to mind and what to pass; train and write nothing.",
        ),
    ] = False,
    print_config: Annotated[
        bool,
        _switch("--print-config", "Show the settings and where each comes from; train nothing."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Say what it runs on and what memory it will take."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Annotated[
        bool, _switch("--json", "End with one JSON object on standard output.")
    ] = False,
    **chosen: Any,
) -> int:
    """Train a network on a text; show progress and samples; write runs/<corpus>/."""
    began = time.perf_counter() - _process_age_s()
    layers = _layers(config_file or [], assignments or [], chosen)
    if check:
        given = {
            "--resume": resume,
            "--run": run is not None,
            "--overwrite": overwrite,
            "--print-config": print_config,
            "--allow-corpus-change": allow_corpus_change,
        }
        for name in (name for name, is_given in given.items() if is_given):
            raise SettingsError(
                f"--check looks at a text before a training and writes nothing; leave out {name}"
            )
    if print_config:
        return _print_config(layers)
    if check:
        return _check(corpus, layers, json)
    # A wrong option is told before torch is loaded, and that somebody else is at it.
    _, origins = config.resolve(layers)
    from charrnn.training.checkpoint import check_free
    from charrnn.training.naming import run_to_resume

    if run is not None or (resume and not overwrite):
        check_free(run or run_to_resume(corpus, Path("runs")))

    from charrnn.progress import TrainingProgress, duration
    from charrnn.training import session
    from charrnn.training.session import Request

    has_own_points = not origins.keys().isdisjoint({"eval_every", "sample_every"})
    progress = TrainingProgress(quiet=quiet, every=verbose or has_own_points)
    request = Request(
        corpus, layers, run, resume, overwrite, allow_corpus_change, began=began, verbose=verbose
    )
    try:
        path, outcome = session.train(request, progress, _make_samples)
    finally:
        progress.close()
    place = outcome.place
    bits = place.best_nats / math.log(2)
    against = ""
    if outcome.ngram is not None:
        against = f"; counting {outcome.ngram.score.bits_per_char:.3f}"
    if outcome.reason == "already done":
        if json:
            _print_json(path, outcome)
        return 0
    progress.say(
        f"{outcome.reason} after {duration(place.elapsed_s)}, {round(outcome.epochs, 1):g} epochs: "
        f"best {bits:.3f} bits/char at step {place.best_step:,}{against}"
    )
    progress.say(outcome.verdict)
    stopped = session.SIGNALS.get(outcome.reason)
    if stopped:
        progress.say(f"saved. To go on: charrnn train --resume --run {path}")
    else:
        progress.say(f"now: charrnn sample {path}")
    if json:
        _print_json(path, outcome)
    return stopped or 0


def _layers(
    files: list[str], assignments: list[str], chosen: dict[str, Any]
) -> tuple[tuple[str, Any], ...]:
    """Settings in order of precedence: file < environment < --set < flags."""
    if len(files) > 1:
        raise SettingsError(
            f"--config given {len(files)} times; give one file, and --set for the rest"
        )
    layers: list[tuple[str, Any]] = [sources.toml_layer(name) for name in files]
    environment = sources.environment_layer(os.environ)
    layers += [
        ("environment", environment),
        ("--set", sources.set_layer(assignments)),
        ("--", chosen),
    ]
    return tuple(layers)


def _print_config(layers: tuple[tuple[str, Any], ...]) -> int:
    settings, origins = config.resolve(layers)
    for section, values in settings.to_dict().items():
        print_line(f"[{section}]")
        for key, value in values.items():
            shown = f'"{one_line(value)}"' if isinstance(value, str) else str(value).lower()
            line = f"{key} = {shown}" if value is not None else f"# {key}: left to the program"
            print_line(f"{line}  # {origins[key]}" if key in origins else line)
    return 0


def _check(corpus: str | None, layers: tuple[tuple[str, Any], ...], json: bool) -> int:
    from charrnn.cli.check import report
    from charrnn.storage import json_line
    from charrnn.training import checkup

    found = checkup.check(corpus, layers)
    shown = [json_line({"schema": 1} | found)] if json else report(found)
    write_stdout([f"{line}\n".encode("utf-8", "replace") for line in shown], raw=json)
    return 0


def _make_samples(tensors: Any, meta: dict[str, Any]) -> str:
    """What the network writes by now: five lines, or 300 characters."""
    from pathlib import Path

    from charrnn.modelfile import parse_model
    from charrnn.sampling.decode import Decoding
    from charrnn.sampling.engine import Sampler

    sampler = Sampler(parse_model(Path("weights in training"), tensors, meta))
    lines = meta["mode"] == "lines"
    samples = sampler.generate(
        5 if lines else 1,
        decoding=Decoding(temperature=0.8),
        length=60 if lines else 300,
        seed=meta["step"],
    )
    return "\n".join(sample.text for sample in samples)


def _print_json(path: Path, outcome: Any) -> None:
    from charrnn.storage import json_line

    place = outcome.place
    line = {
        "schema": 1,
        "run": str(path),
        "reason": outcome.reason,
        "step": place.step,
        "epochs": outcome.epochs,
        "parameters": outcome.parameters,
        "chars_seen": place.chars,
        "elapsed_s": place.elapsed_s,
        "train_chars_per_s": outcome.train_chars_per_s,
        "train_nats_per_char": place.train_nats,
        "val_nats_per_char": place.val_nats,
        "val_bits_per_char": place.val_nats / math.log(2),
        "best_val_nats_per_char": place.best_nats,
        "best_step": place.best_step,
        "ngram_nats_per_char": outcome.ngram.score.nats_per_char if outcome.ngram else None,
        "ngram_order": outcome.ngram.order if outcome.ngram else None,
        "clip_rate": place.clipped_steps / max(1, place.step),
        "skipped_steps": place.skipped_steps,
        "rollbacks": place.rollbacks,
        "weights_sha256": outcome.weights_sha256,
        "device": outcome.device,
        "precision": outcome.precision,
        "verdict": outcome.verdict,
    }
    write_stdout([json_line(line).encode() + b"\n"], raw=True)


def _process_age_s() -> float:
    """Seconds since this process began: a budget counts from when the person pressed Enter."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/uptime", "rb") as file:
            uptime = float(file.read().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return time.process_time()

"""charrnn train: words typed by a person -> one call of training.session.train.

The options for settings are made from the fields of sections.py, where each is named, typed,
bounded and explained.
"""

from __future__ import annotations

import inspect
import math
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn import config
from charrnn import layers as sources
from charrnn.cli.age import process_age_s
from charrnn.cli.completion import completer, run_names
from charrnn.cli.json_lines import write_json
from charrnn.cli.launched import train_in_processes
from charrnn.cli.logs import check_logs
from charrnn.cli.options import (
    DURATION,
    FLOAT,
    INTEGER,
    PATH,
    TEXT,
    Assignments,
    ConfigFile,
    Corpora,
    option,
    switch,
)
from charrnn.errors import SettingsError, StorageError
from charrnn.launch import is_follower
from charrnn.terminal import many, one_line, write_lines

if TYPE_CHECKING:
    from charrnn.text.sources import Source

PANELS = {"text": "Text", "model": "Network", "training": "Training", "runtime": "Machine"}
CHECK_INDENT = " " * 12  # of the lines of --check, below their first word
MOST_TEXTS = 12  # whose scores are shown
METAVARS = {int: INTEGER, float: FLOAT, str: TEXT}
METAVARS_BY_KEY = {
    "val": PATH,
    "test": PATH,
    "init_from": PATH,
    "budget": DURATION,
    "eval_every": DURATION,
    "save_every": DURATION,
    "sample_every": DURATION,
}
COMPLETIONS = {"init_from": run_names}


def with_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command one option for every setting, in place of its **chosen."""
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    settings = [
        _parameter(section, item.name, item.metadata, item.default)
        for section, kind in config.SECTIONS.items()
        for item in fields(kind)
    ]

    def run(**values: Any) -> int:
        return command(**values)

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    parameters = [*own, *settings]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(section: str, key: str, limits: Any, default: Any) -> inspect.Parameter:
    """Return the option of a setting. None, its default, means that the option was not given."""
    declared = setting_switch if limits["kind"] is bool else setting_option
    kind: Any = bool if limits["kind"] is bool else str
    annotation = Annotated[kind | None, declared(key, PANELS[section])]
    return inspect.Parameter(
        key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def setting_option(key: str, panel: str, default: str = "") -> Any:
    """Declare an option for a setting that has a value. default: as the help shows it."""
    item = config.FIELDS[key][1]
    limits = item.metadata
    return option(
        config.flag(key),
        help=limits["help"],
        metavar=METAVARS_BY_KEY.get(key, METAVARS[limits["kind"]]),
        default=default or limits.get("auto", str(item.default)),
        choices=limits.get("choices", ()),
        completion=COMPLETIONS.get(key),
        panel=panel,
    )


def setting_switch(key: str, panel: str) -> Any:
    """Declare an option for a setting that is on or off."""
    item = config.FIELDS[key][1]
    default = "on" if item.default else "off"
    return switch(
        f"{config.flag(key)}/--no-{key.replace('_', '-')}",
        help=item.metadata["help"],
        default=default,
        panel=panel,
    )


@with_settings
def train(
    corpus: Corpora = None,
    run: Annotated[
        Path | None,
        option(
            "--run",
            help="Directory of this run",
            metavar=PATH,
            default="runs/ and the name of the corpus",
        ),
    ] = None,
    resume: Annotated[
        bool, switch("--resume", help="Continue a run exactly where it stopped")
    ] = False,
    overwrite: Annotated[
        bool, switch("--overwrite", help="Start over in a directory that holds a run")
    ] = False,
    allow_corpus_change: Annotated[
        bool,
        switch("--allow-corpus-change", help="With --resume: continue though the text has changed"),
    ] = False,
    config_file: Annotated[list[str] | None, ConfigFile] = None,
    assignments: Assignments = None,
    check: Annotated[
        bool,
        switch(
            "--check",
            help="Inspect the text and train nothing: encoding, rare characters, duplicates, "
            "leakage, suggested options",
        ),
    ] = False,
    print_config: Annotated[
        bool,
        switch(
            "--print-config",
            help="Print every setting and where it comes from, and train nothing",
        ),
    ] = False,
    share_text: Annotated[
        bool,
        switch(
            "--share-text",
            help="With torchrun: give the text to machines that do not see the run's directory",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        switch("--verbose", "-v", help="Show all about text, network and machine, and every score"),
    ] = False,
    quiet: Annotated[bool, switch("--quiet", "-q", help="Show no progress")] = False,
    json: Annotated[
        bool, switch("--json", help="End with one JSON object on standard output")
    ] = False,
    log: Annotated[
        list[str] | None,
        option(
            "--log",
            help="Log scores and samples to tensorboard:DIR or wandb:PROJECT; may be repeated",
            metavar=TEXT,
            default="none",
            completion=completer(["tensorboard:", "wandb:"]),
        ),
    ] = None,
    page: Annotated[
        bool,
        switch("--page", help="Write live.html into the run: curve, samples and time left"),
    ] = False,
    **chosen: Any,
) -> int:
    """Train a network on a text and write it to runs/

    Progress and samples are shown on the way. Ctrl-C saves and stops; --resume continues.
    """
    began = time.perf_counter() - process_age_s()
    layers = _layers(config_file or [], assignments or [], chosen)
    logs = check_logs(log or [])
    text = _named(corpus or [], layers)

    # 1. What trains nothing.
    if (check or print_config) and is_follower(os.environ):
        return 0
    if check:
        _refuse_with_check(
            {
                "--resume": resume,
                "--run": run is not None,
                "--overwrite": overwrite,
                "--print-config": print_config,
                "--allow-corpus-change": allow_corpus_change,
                "--log": bool(log),
                "--page": page,
            }
        )
    if print_config:
        from charrnn.cli.settings_view import print_settings

        return print_settings(text, layers)
    if check:
        return _check(text, layers, json)

    # 2. The training, in this process or in those that torchrun has started.
    words = {
        "corpus": text,
        "run": run,
        "resume": resume,
        "overwrite": overwrite,
        "allow_corpus_change": allow_corpus_change,
        "began": began,
        "verbose": verbose,
        "shares_text": share_text,
    }
    trained = train_in_processes(words, layers, logs, quiet=quiet, page=page)
    if isinstance(trained, int):
        return trained
    path, outcome, progress, listening = trained

    # 3. What came out.
    from charrnn.training.outcome import STOPPED
    from charrnn.training.signals import SIGNALS

    signal_code = SIGNALS.get(outcome.reason)
    if outcome.reason != "already done":
        is_stopped = bool(signal_code) or outcome.reason == STOPPED
        progress.conclude(*_closing_lines(path, outcome, is_stopped=is_stopped))
    if json:
        try:
            _print_json(path, outcome)
        except StorageError:
            if not signal_code:  # a stopped training leaves with its own code
                raise
    if not signal_code:
        listening.raise_error()
    return signal_code or 0


def _named(corpus: list[str], layers: tuple[tuple[str, Any], ...]) -> str | Source | None:
    """Return the text, or several as one. Raises SettingsError, CorpusError."""
    if not corpus:
        return None
    from charrnn.text.shares import named

    texts = [named(operand) for operand in corpus]
    if len(texts) == 1:
        name, share = texts[0]
        if share is not None:
            raise SettingsError(
                f"{one_line(corpus[0])}: a share is for one of several texts; name them too, or "
                f"leave :{share:g} out"
            )
        return name
    from charrnn.text.sources import find_several

    return find_several(texts, config.resolve(layers)[0].text)


def _refuse_with_check(given: dict[str, bool]) -> None:
    """Raises SettingsError for an option that --check would ignore."""
    for name, is_given in given.items():
        if is_given:
            raise SettingsError(
                f"--check looks at a text before a training and writes nothing; leave out {name}"
            )


def _closing_lines(path: Path, outcome: Any, *, is_stopped: bool) -> list[str]:
    """Tell a person what the run reached, why it ended, and what to type next."""
    from charrnn.progress import duration
    from charrnn.scoring.score import Score

    shown = shlex.quote(one_line(_as_operand(path)))
    place = outcome.place
    passes = round(outcome.epochs, 1)
    epochs = "1 epoch" if passes == 1 else f"{passes:g} epochs"
    kept = "last" if outcome.keeps_last else "best"
    end = (
        f"{outcome.reason} after {duration(place.elapsed_s)}, {epochs}: "
        f"{kept} {Score(place.best_nats, 1).per(outcome.unit)} at step {place.best_step:,}"
    )
    if outcome.unit == "byte" and outcome.symbols_per_char:
        bits = place.best_nats / math.log(2) * outcome.symbols_per_char
        end += f"; {bits:.3f} bits/char, as UTF-8"
    if outcome.ngram is not None:
        ngram = outcome.ngram.score
        end += f"\n  counting {ngram.bits_per_char:.3f} ({ngram.nats_per_char:.3f})"
    if place.counting_gain:
        alone = place.network_nats
        end += f"; the network alone {alone / math.log(2):.3f} ({alone:.3f})"
    if outcome.texts:
        end += "\n  each text, as charrnn eval --split val scores it:"
    for score in outcome.texts[:MOST_TEXTS]:
        figure = Score(score.nats_per_char, 1).per(outcome.unit)
        noun = "byte" if outcome.unit == "byte" else "character"
        end += f"\n    {one_line(score.name)}: {figure}, {many(score.chars, noun)}"
    if len(outcome.texts) > MOST_TEXTS:
        end += f"\n    {len(outcome.texts) - MOST_TEXTS} texts more: charrnn eval"
    asked = ""
    if outcome.label:
        label = shlex.quote(one_line(outcome.label))
        asked = f" --label={label}" if label.startswith("-") else f" --label {label}"
    lines = [end, outcome.verdict, f"now: charrnn sample {shown}{asked}"]
    if is_stopped:
        lines.append(f"to go on: charrnn train --resume --run {shown}")
    return lines


def _as_operand(path: Path) -> str:
    """Return a path that no command takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _layers(
    files: list[str], assignments: list[str], chosen: dict[str, Any]
) -> tuple[tuple[str, Any], ...]:
    """Return settings in order of precedence: file < environment < --set < flags."""
    if len(files) > 1:
        raise SettingsError(
            f"--config given {len(files)} times; give one file, and --set for the rest"
        )
    typed = (("--set", sources.set_layer(assignments)), ("--", chosen))
    return sources.in_order(files[0] if files else None, os.environ, *typed)


def _check(corpus: str | Source | None, layers: tuple[tuple[str, Any], ...], json: bool) -> int:
    from charrnn.cli.check import report
    from charrnn.training import checkup

    findings = checkup.check(corpus, layers)
    if json:
        write_json([findings])
    else:
        write_lines(report(findings), CHECK_INDENT)
    return 0


def _print_json(path: Path, outcome: Any) -> None:
    place = outcome.place
    val_bits_per_utf8_char = None  # of bytes that are no UTF-8
    if outcome.symbols_per_char:
        val_bits_per_utf8_char = place.val_nats / math.log(2) * outcome.symbols_per_char
    ngram_nats = None
    ngram_order = None
    if outcome.ngram:
        ngram_nats = outcome.ngram.score.nats_per_char
        ngram_order = outcome.ngram.order
    line: dict[str, Any] = {
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
        "unit": outcome.unit,
        "val_bits_per_utf8_char": val_bits_per_utf8_char,
        "network_nats_per_char": place.network_nats,
        "best_val_nats_per_char": place.best_nats,
        "best_step": place.best_step,
        "ngram_nats_per_char": ngram_nats,
        "ngram_order": ngram_order,
        "clip_rate": place.clipped_steps / max(1, place.step),
        "skipped_steps": place.skipped_steps,
        "rollbacks": place.rollbacks,
        "weights_sha256": outcome.weights_sha256,
        "device": outcome.device,
        "precision": outcome.precision,
        "verdict": outcome.verdict,
    }
    if outcome.texts:
        line["texts"] = [asdict(score) for score in outcome.texts]
    write_json([line])

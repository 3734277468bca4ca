"""charrnn eval: bits per character of a run, beside baselines; or what its samples copy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.config import resolve
from charrnn.errors import SettingsError
from charrnn.values import finite


def _what(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel="What", show_default=False)


def _how(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel="How", show_default=False)


def _show_option(name: str, help: str) -> Any:
    return typer.Option(name, help=help, rich_help_panel="Output")


def _novelty(help: str, metavar: str) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel="Novelty", show_default=False)


Run = Annotated[
    Path | None,
    typer.Argument(
        help="A run directory, a model or a checkpoint (default: the newest under runs/).",
        show_default=False,
    ),
]


def evaluate(
    run: Run = None,
    file: Annotated[Path | None, _what("Score this file; - is standard input.")] = None,
    text: Annotated[str | None, _what("Score this text.")] = None,
    split: Annotated[
        str | None, _what("Score train, val or test (default: test if there is one, else val).")
    ] = None,
    protocol: Annotated[
        str | None,
        _how(
            "stateful (one stream) or windowed (each window from an empty state); default: stateful."
        ),
    ] = None,
    window: Annotated[int | None, _how("Characters of a window (default: 256).")] = None,
    cache: Annotated[
        int,
        _how("Beside it: the model looks back on the last N characters, e.g. 2000 (streams).", "N"),
    ] = 0,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Beside it: the model learns on as it reads (streams).",
            rich_help_panel="How",
        ),
    ] = False,
    dynamic_lr: Annotated[float | None, _how("Its learning rate (default: 0.2).")] = None,
    unknown: Annotated[
        str | None,
        _how("Characters the model does not know: error, skip or replace (default: error)."),
    ] = None,
    encoding: Annotated[str | None, _how("Encoding of --file (default: the corpus's).")] = None,
    errors: Annotated[
        str | None, _how("Bytes of --file that do not decode: strict or replace (default: strict).")
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Score counting and compressors too (default: yes).",
            rich_help_panel="How",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str | None, _how("auto, cpu, cuda, cuda:N or mps (default: auto).")] = None,
    samples: Annotated[
        int | None, _novelty("Draw N samples: what is new, what was copied?", "N")
    ] = None,
    temp: Annotated[float | None, _novelty("Of the samples (default: 0.8).", "X")] = None,
    length: Annotated[
        int | None, _novelty("Characters of a sample (default: 500; a line: up to 1000).", "N")
    ] = None,
    seed: Annotated[int | None, _novelty("Of the samples (default: 1).", "N")] = None,
    per_char: Annotated[
        bool, _show_option("--per-char", "What each character cost, its rank, and the first guess.")
    ] = False,
    rank: Annotated[
        bool, _show_option("--rank", "Each line from an empty state, the likeliest first.")
    ] = False,
    json: Annotated[
        bool, _show_option("--json", "Strict JSON, one object a line, on standard output.")
    ] = False,
) -> None:
    """Bits per character of a run on its test text, a file or a text, beside counting and compressors; or what it copies."""
    if dynamic_lr is not None:
        finite(dynamic_lr, "--dynamic-lr", above=0)
        dynamic = True
    _check_views(samples, per_char, rank, cache, dynamic)
    of_a_given_text = {"--unknown": unknown, "--encoding": encoding, "--errors": errors}
    if samples is not None:
        scoring_only = {
            "--file": file,
            "--text": text,
            "--split": split,
            "--protocol": protocol,
            "--window": window,
            "--device": device,
            "--no-baselines": baselines,
            **of_a_given_text,
        }
        _refuse(scoring_only, "--samples looks at what the model writes, and scores no text")
        from charrnn.cli.novelty_view import examine_and_show

        question = {"count": samples, "temperature": temp, "length": length, "seed": seed}
        return examine_and_show(run, question, json=json)

    # 1. Refuse options that contradict each other or would do nothing.
    for name, value in (("--temp", temp), ("--length", length), ("--seed", seed)):
        if value is not None:
            raise SettingsError(f"{name} is for --samples; add --samples 1000")
    texts = _given({"--file": file, "--text": text, "--split": split})
    if len(texts) > 1:
        raise SettingsError(f"{' and '.join(texts)} both say what to score; give one")
    if protocol not in (None, "stateful", "windowed"):
        raise SettingsError(f"--protocol {protocol!r}: choose stateful or windowed")
    if protocol != "windowed":
        _refuse({"--window": window}, "windows are for --protocol windowed")
    if file is None and text is None:
        _refuse(of_a_given_text, "the run's own text is read already")
    if file is None:
        _refuse({"--encoding": encoding, "--errors": errors}, "these are for --file")
    if window is not None and not 1 <= window <= 1 << 20:
        raise SettingsError(f"--window {window}: must be between 1 and {1 << 20:,}")
    if unknown not in (None, "error", "skip", "replace"):
        raise SettingsError(f"--unknown {unknown!r}: choose error, skip or replace")
    if split not in (None, "train", "val", "test"):
        raise SettingsError(f"--split {split!r}: choose train, val or test")

    from charrnn.cli.score_view import show_card, show_characters, write_json, write_ranking
    from charrnn.modelfile import newest_run, read_model
    from charrnn.scoring.evaluation import How, characters_of, evaluated, lines_of
    from charrnn.scoring.text import text_given, text_of_split
    from charrnn.texts import OpenedRun

    # 2. Open the model and the text.
    model = read_model(run or newest_run(Path("runs")))
    opened = OpenedRun(model)
    how = How(protocol or "stateful", window or 256, device or "auto", dynamic, dynamic_lr, cache)
    if file is None and text is None:
        scored = text_of_split(opened, split)
    else:
        own = dataclasses.asdict(model.settings.text)
        own["encoding"] = encoding or model.settings.text.encoding
        own["errors"] = errors or "strict"
        settings, _ = resolve([("--", own)])
        scored = text_given(opened, file, text, settings.text, unknown or "error")

    # 3. Score it, and show what was asked for.
    if per_char:
        costs = characters_of(model, scored, how)
        if json:
            write_json(cost._asdict() for cost in costs)
        else:
            show_characters(costs)
        return
    if rank:
        lines = lines_of(model, scored, how)
        if json:
            write_json({"rank": number} | line._asdict() for number, line in enumerate(lines, 1))
        else:
            write_ranking(lines)
        return
    with_baselines = baselines is not False
    card = evaluated(opened, scored, how, with_baselines, lambda note: typer.echo(note, err=True))
    if json:
        about = {"run": str(model.path), "step": model.meta.get("step")}
        write_json([about | card.to_json()])
    else:
        show_card(str(model.path), card)


def _check_views(
    samples: int | None, per_char: bool, rank: bool, cache: int, dynamic: bool
) -> None:
    """Refuse two views at once, and figures beside the score that a view does not show.

    Raises SettingsError.
    """
    views = {"--samples": samples is not None, "--per-char": per_char, "--rank": rank}
    asked = [name for name, is_wanted in views.items() if is_wanted]
    readings = {"--cache": cache != 0, "--dynamic": dynamic}
    beside = [name for name, is_wanted in readings.items() if is_wanted]
    if asked and beside:
        are = "is a figure" if len(beside) == 1 else "are figures"
        raise SettingsError(
            f"{' and '.join(beside)} {are} beside the score, which {asked[0]} does not show; "
            "leave one out"
        )
    if len(asked) > 1:
        raise SettingsError(f"{' and '.join(asked)} show different things; give one")


def _given(options: dict[str, Any]) -> list[str]:
    """The names of the options that were given."""
    return [name for name, value in options.items() if value is not None]


def _refuse(options: dict[str, Any], why: str) -> None:
    """Refuse options that would do nothing. Raises SettingsError, which says why."""
    given = _given(options)
    if given:
        them = "it" if len(given) == 1 else "them"
        raise SettingsError(f"{' and '.join(given)}: {why}; leave {them} out")

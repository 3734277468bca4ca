"""charrnn eval: bits per character of a run, beside baselines; or what its samples copy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli.chosen import read_chosen
from charrnn.cli.eval_options import ByLabel, Classify, Length, Prior, Samples, Seed, Temp
from charrnn.cli.json_lines import write_json
from charrnn.cli.launched import score_in_processes
from charrnn.cli.options import (
    FLOAT,
    INTEGER,
    OUTPUT,
    PATH,
    TEXT,
    WHAT,
    Json,
    Run,
    option,
    switch,
)
from charrnn.config import resolve
from charrnn.errors import SettingsError
from charrnn.terminal import say
from charrnn.values import finite

if TYPE_CHECKING:
    from charrnn.scoring.readers import Helped

HOW = "How"


def evaluate(
    run: Run = None,
    file: Annotated[
        Path | None,
        option(
            "--file",
            help="Score this file, or standard input with -",
            metavar=PATH,
            default="none",
            panel=WHAT,
        ),
    ] = None,
    text: Annotated[
        str | None,
        option("--text", help="Score this text", metavar=TEXT, default="none", panel=WHAT),
    ] = None,
    split: Annotated[
        str | None,
        option(
            "--split",
            help="Score a part of the run's text",
            choices=("train", "val", "test"),
            metavar=TEXT,
            default="test, or val if there is no test text",
            panel=WHAT,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        option(
            "--protocol",
            help="Score one stream (stateful), or each window from an empty state (windowed)",
            choices=("stateful", "windowed"),
            metavar=TEXT,
            default="stateful",
            panel=HOW,
        ),
    ] = None,
    window: Annotated[
        int | None,
        option(
            "--window",
            help="Characters in a window",
            metavar=INTEGER,
            default="256",
            panel=HOW,
        ),
    ] = None,
    cache: Annotated[
        int,
        option(
            "--cache",
            help="Score a second time with a cache of this many last characters, such as 2000 "
            "(streams)",
            metavar=INTEGER,
            default="0, off",
            panel=HOW,
        ),
    ] = 0,
    dynamic: Annotated[
        bool,
        switch(
            "--dynamic",
            help="Score a second time while the model adapts to the text: dynamic evaluation "
            "(streams)",
            panel=HOW,
        ),
    ] = False,
    dynamic_lr: Annotated[
        float | None,
        option(
            "--dynamic-lr",
            help="Learning rate of --dynamic; giving it turns --dynamic on",
            metavar=FLOAT,
            default="0.2",
            panel=HOW,
        ),
    ] = None,
    unknown: Annotated[
        str | None,
        option(
            "--unknown",
            help="Characters of the text that the model does not know",
            choices=("error", "skip", "replace"),
            metavar=TEXT,
            default="error",
            panel=HOW,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        option(
            "--encoding",
            help="Encoding of --file",
            metavar=TEXT,
            default="as the run's text",
            panel=HOW,
        ),
    ] = None,
    errors: Annotated[
        str | None,
        option(
            "--errors",
            help="Refuse bytes of --file that cannot be decoded, or replace them",
            choices=("strict", "replace"),
            metavar=TEXT,
            default="strict",
            panel=HOW,
        ),
    ] = None,
    baselines: Annotated[
        bool | None,
        switch(
            "--baselines/--no-baselines",
            help="Score counting and compressors too",
            default="on",
            panel=HOW,
        ),
    ] = None,
    device: Annotated[
        str | None,
        option(
            "--device",
            help="Where to compute: auto, cpu, cuda, cuda:N or mps",
            metavar=TEXT,
            default="auto",
            panel=HOW,
        ),
    ] = None,
    by_label: ByLabel = False,
    classify: Classify = False,
    prior: Prior = None,
    samples: Samples = None,
    temp: Temp = None,
    length: Length = None,
    seed: Seed = None,
    per_char: Annotated[
        bool,
        switch(
            "--per-char",
            help="Show the bits of each character, its rank, and the first guess; with --cache or "
            "--dynamic, those of that reading",
            panel=OUTPUT,
        ),
    ] = False,
    rank: Annotated[
        bool,
        switch(
            "--rank", help="Show each line from an empty state, the likeliest first", panel=OUTPUT
        ),
    ] = False,
    show: Annotated[
        bool,
        switch(
            "--show",
            help="With --cache: show where the model looked back before each character",
            panel=OUTPUT,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        option(
            "--plot",
            help="With --show or --classify: draw that to a .png or .svg file (needs matplotlib)",
            metavar=PATH,
            default="none",
            panel=OUTPUT,
        ),
    ] = None,
    json: Json = False,
) -> int | None:
    """Measure a model in bits per character

    On the test text of its run, on a file or on a text, beside counting and compressors. With
    --samples, measure how much the model copies.
    """
    if dynamic_lr is not None:
        finite(dynamic_lr, "--dynamic-lr", above=0)
        dynamic = True
    labels = {"--by-label": by_label, "--classify": classify}
    _check_views(samples, per_char, rank, cache, dynamic, show, labels)
    _check_show(show, plot, cache, dynamic, classify)
    if not classify:
        _refuse({"--prior": prior}, "labels are chosen by --classify")
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
        return score_in_processes(lambda _: examine_and_show(run, question, json=json))

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

    def score(helped: Helped | None) -> None:
        from charrnn.cli.prompt import unescaped
        from charrnn.cli.score_view import show_card, show_characters, write_ranking
        from charrnn.modelfile import MISCOUNTED
        from charrnn.scoring.evaluation import How, characters_of, evaluated, lines_of
        from charrnn.scoring.text import text_given, text_of_split
        from charrnn.texts import OpenedRun

        # 2. Open the model and the text.
        model = read_chosen(run)
        if model.is_miscounted and (per_char or rank):  # else the card says it
            say(f"note: {MISCOUNTED}")
        typed = None if text is None else unescaped("--text", text, model)
        opened = OpenedRun(model)
        how = How(
            protocol or "stateful",
            window or 256,
            device or "auto",
            dynamic,
            dynamic_lr,
            cache,
            helped,
        )
        if file is None and text is None:
            scored = text_of_split(opened, split)
        else:
            own = dataclasses.asdict(model.reading)
            own["encoding"] = encoding or model.reading.encoding
            own["errors"] = errors or "strict"
            settings, _ = resolve([("--", own)])
            scored = text_given(opened, file, typed, settings.text, unknown or "error")

        # 3. Score it, and show what was asked for.
        if by_label or classify:
            from charrnn.cli import label_view

            if by_label:
                return label_view.show_scores(opened, scored, how, json=json)
            return label_view.show_classes(opened, scored, how, prior or "count", plot, json=json)
        if per_char:
            costs = characters_of(model, scored, how)
            if json:
                write_json(cost._asdict() for cost in costs)
            else:
                show_characters(costs, model.vocabulary.unit)
            return
        if rank:
            lines = lines_of(model, scored, how)
            if json:
                write_json(
                    {"rank": number} | line._asdict() for number, line in enumerate(lines, 1)
                )
            else:
                write_ranking(lines)
            return
        if show:
            from charrnn.cli.lookback_view import look_back_and_show

            return look_back_and_show(opened, scored, how, plot=plot, json=json)
        with_baselines = baselines is not False
        card = evaluated(opened, scored, how, with_baselines, say)
        if json:
            about = {"run": str(model.path), "step": model.step}
            write_json([about | card.to_json()])
        else:
            show_card(str(model.path), card)

    return score_in_processes(score)


def _check_views(
    samples: int | None,
    per_char: bool,
    rank: bool,
    cache: int,
    dynamic: bool,
    show: bool,
    labels: dict[str, bool],
) -> None:
    """Refuse two views at once, and figures beside the score that a view does not show.

    Raises SettingsError.
    """
    views = {"--samples": samples is not None, "--per-char": per_char, "--rank": rank} | labels
    asked = [name for name, is_wanted in views.items() if is_wanted]
    readings = {"--cache": cache != 0, "--dynamic": dynamic}
    beside = [name for name, is_wanted in readings.items() if is_wanted]
    if asked == ["--per-char"] and len(beside) == 1 and not show:
        return  # it shows the characters of that reading
    if asked and beside:
        raise SettingsError(
            f"{' and '.join(beside)} cannot be combined with {asked[0]}; leave one out"
        )
    if len(asked) > 1:
        raise SettingsError(f"{' and '.join(asked)} show different things; give one")


def _check_show(show: bool, plot: Path | None, cache: int, dynamic: bool, classify: bool) -> None:
    """Refuse --show and --plot where there is nothing to show. Raises SettingsError, StorageError.

    --show cannot stand beside another view, since those refuse --cache.
    """
    if plot is not None and not show and not classify:
        raise SettingsError(
            "--plot draws what --show or --classify shows; add --cache 2000 --show, or --classify"
        )
    if show and not cache:
        raise SettingsError("--show is for a cache, which looks back; add --cache 2000")
    if show and dynamic:
        raise SettingsError("--dynamic cannot be combined with --show; leave one out")
    if plot is not None:
        from charrnn.cli.result_view import check_outputs

        check_outputs([plot], None, False)


def _given(options: dict[str, Any]) -> list[str]:
    """The names of the options that were given."""
    return [name for name, value in options.items() if value is not None]


def _refuse(options: dict[str, Any], why: str) -> None:
    """Refuse options that would do nothing. Raises SettingsError, which says why."""
    given = _given(options)
    if given:
        them = "it" if len(given) == 1 else "them"
        raise SettingsError(f"{' and '.join(given)}: {why}; leave {them} out")

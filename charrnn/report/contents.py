"""What stands in a report: gathered from a run, in words and numbers, bounded in time and size. It draws nothing."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.errors import CheckpointError, CorpusError
from charrnn.insight import cells
from charrnn.insight.copies import Question, examine
from charrnn.insight.search import search
from charrnn.modelfile import ModelFile
from charrnn.report import curves, record
from charrnn.report.viewer import label, viewer
from charrnn.scoring.card import Evaluation
from charrnn.scoring.compressors import COMPRESSORS
from charrnn.scoring.counting import Baseline
from charrnn.scoring.evaluation import How, evaluated, scored_alone
from charrnn.scoring.figures import Gain
from charrnn.scoring.score import Score
from charrnn.scoring.text import text_of_split
from charrnn.terminal import one_line
from charrnn.texts import OpenedRun
from charrnn.training.checkpoint import load_newest
from charrnn.training.outcome import place_from_dict, verdict, weights_sha256

Say = Callable[[str], None]

MOST_SCORED = 200_000  # characters of a split; `charrnn eval` scores all of it
SCORING_WORK = 1.5e11  # characters times parameters: about fifteen seconds
LARGE_TEXT = 3_000_000  # characters of training text beyond which counting and searching it take too long for a page
NOVELTY_WORK = 2e11  # characters drawn times parameters: a few seconds
NOVEL_LINES, NOVEL_STREAMS = 200, 20
SEARCHED, SEARCH_WORK = 20_000, 1.5e10  # characters; times parameters: a few seconds
MOST_SAMPLES, SAMPLE_CHARS = 8, 1200
SPLIT_NAMES = {"test": "test text", "val": "validation text"}
SMOOTHINGS = {"kneser-ney": "modified Kneser-Ney", "witten-bell": "Witten-Bell"}


def folder_of(model: ModelFile) -> Path:
    """The run a report is about. Raises CheckpointError if the model lies in none."""
    if model.run is None:
        raise CheckpointError(
            f"{one_line(str(model.path))} lies in no run directory; a report shows a run: name one"
        )
    return model.run


def gather(
    run: OpenedRun, verdict_of_copies: Callable[[dict[str, Any]], str], say: Say
) -> dict[str, Any]:
    """All that a page shows. verdict_of_copies: words for what insight.novelty found.

    Raises CheckpointError if the run's text is not the model's.
    """
    model = run.model
    folder = folder_of(model)
    metrics = record.read_metrics(folder / "metrics.jsonl")
    about = record.read_about(folder / "run.json")
    results = [card for split in ("test", "val") if (card := _scored(run, split, say))]
    training = model.settings.training
    return {
        "title": folder.resolve().name,
        "version": __version__,
        "summary": _summary(model),
        "status": _status(folder, model, metrics),
        "key": _key_figures(model, metrics, results),
        "charts": curves.charts(metrics, training.clip, len(model.vocabulary)),
        "remarks": _remarks(metrics),
        "results": _results(results),
        "samples": _samples(folder / "samples.txt"),
        "novelty": _novelty(run, verdict_of_copies, say),
        "cells": _cells(run, say),
        "settings": _settings(model, about),
        "files": _files(model),
    }


def _summary(model: ModelFile) -> str:
    settings, corpus = model.settings.model, model.meta.get("corpus", "a text")
    what = "lines, each by itself" if model.mode == "lines" else "one stream of characters"
    if model.counts:
        kind = f"{model.ngram().order}-gram with {SMOOTHINGS[settings.smoothing]} smoothing"
        return f"A {kind} that counted {corpus}, read as {what}."
    layers = "1 layer" if settings.num_layers == 1 else f"{settings.num_layers} layers"
    names = {
        "rnn": "An RNN",
        "lstm": "An LSTM",
        "gru": "A GRU",
        "gru-before": "A GRU (reset before the product)",
    }
    return f"{names[settings.cell]} of {layers} with {settings.hidden_size:,} units that learnt {corpus}, read as {what}."


def _status(run: Path, model: ModelFile, metrics: record.Metrics) -> str:
    """How far the training has come, and what its figures mean. Empty where no checkpoint says so."""
    try:
        checkpoint, _ = load_newest(run)
        place, total = (
            place_from_dict(checkpoint.meta["place"]),
            checkpoint.meta["plan"].get("total_steps"),
        )
    except (CheckpointError, AttributeError, KeyError, TypeError):
        return ""
    patience = model.settings.training.patience
    if patience and place.evaluations_since_best >= patience:
        reason, said = "stopped improving", f"Stopped at step {place.step:,}"
    elif isinstance(total, int) and place.step >= total:
        reason, said = (
            "done",
            f"Finished after {place.step:,} {'step' if place.step == 1 else 'steps'}",
        )
    else:
        steps = f" of {total:,}" if isinstance(total, int) else ""
        reason, said = "", f"Not finished: step {place.step:,}{steps} at its newest checkpoint"
    if model.counts or not reason:
        return f"{said}."
    counted = [
        nats
        for each in metrics.evaluations
        if (nats := record.number(each.get("ngram_nats_per_char"))) is not None
    ]
    ngram = (
        Baseline(0, Score(counted[-1], 1)) if counted else None
    )  # of which order, the record does not say
    return f"{said}: {verdict(place, reason, model.settings, ngram)}."


def _key_figures(
    model: ModelFile, metrics: record.Metrics, results: list[Evaluation]
) -> list[dict[str, str]]:
    found = [
        {
            "value": f"{card.figures.bits_per_char:.3f}",
            "name": f"bits per character, {SPLIT_NAMES[str(card.split)]}",
        }
        for card in results
    ]
    if not model.counts:
        found.append(
            {
                "value": f"{sum(each.size for each in model.tensors.values()):,}",
                "name": "parameters",
            }
        )
    elapsed = metrics.steps["elapsed_s"][np.isfinite(metrics.steps["elapsed_s"])]
    read = float(np.nansum(metrics.steps["chars"]))
    if read:
        found.append({"value": f"{read:,.0f}", "name": "characters read in training"})
    if len(elapsed):
        found.append({"value": _duration(float(elapsed.max())), "name": "of training"})
    return found


def _duration(value_s: float) -> str:
    if value_s < 120:
        return f"{value_s:.0f} s"
    return f"{value_s / 60:.0f} min" if value_s < 7200 else f"{value_s / 3600:.1f} h"


def _remarks(metrics: record.Metrics) -> list[str]:
    """What somebody should know of the record of the training."""
    found = [metrics.missing] if metrics.missing else []
    for each in metrics.rollbacks:
        found.append(
            f"The training diverged at step {each.get('from_step')} ({str(each.get('reason'))[:200]}) and went back to step "
            f"{each.get('step')}, with {each.get('lr_factor')} of the learning rate."
        )
    if metrics.unreadable:
        found.append(
            f"Lines of metrics.jsonl that cannot be read, left out: {metrics.unreadable:,}."
        )
    return found


# Results


def _scored(run: OpenedRun, split: str, say: Say) -> Evaluation | None:
    """What `charrnn eval` finds on a split, or on as much of its beginning as can be scored in some seconds."""
    model = run.model
    try:
        text = text_of_split(run, split)
    except CorpusError:
        return None  # this run keeps no such text
    size = sum(tensor.size for tensor in model.tensors.values())
    whole = text.ids
    most = MOST_SCORED
    if not model.counts:
        most = int(min(MOST_SCORED, max(5000, SCORING_WORK / size)))
    text = replace(text, ids=cells.cut(model, whole, most))
    say(f"scoring {len(text.ids):,} characters of the {split} text")
    corpus = text.corpus
    if corpus is not None and len(corpus.split("train")) <= LARGE_TEXT:
        with_baselines = split == "test" or not len(corpus.split("test"))
        card = evaluated(run, text, How(), with_baselines, say)
    else:
        card = scored_alone(model, text, How())
        card.baselines["uniform"] = math.log2(len(model.vocabulary))
        card.notes.append(
            "the training text is too large for a page to count it: charrnn eval compares"
        )
    if len(text.ids) < len(whole):
        card.notes.append(
            f"the first {len(text.ids):,} of {len(whole):,} characters; charrnn eval scores all"
        )
    return card


def _results(results: list[Evaluation]) -> dict[str, Any]:
    """The run among its baselines, best first, by split; and what somebody needs to quote a figure."""
    rows: dict[str, list[float | None]] = {}
    for place, card in enumerate(results):
        names = {"unigram": "frequencies alone", "uniform": "every character as likely"} | {
            name: f"{name}, after the training text" for name in COMPRESSORS
        }
        if card.ngram is not None:
            names["ngram"] = f"{card.ngram.order}-gram, {SMOOTHINGS[card.ngram.smoothing]}"
        bits = {"this run": card.figures.bits_per_char}
        bits |= {names[key]: value for key, value in card.baselines.items()}
        for name, value in bits.items():
            rows.setdefault(name, [None] * len(results))[place] = round(value, 6)
    in_order = sorted(
        rows.items(), key=lambda row: min(value for value in row[1] if value is not None)
    )
    return {
        "splits": [SPLIT_NAMES[str(card.split)] for card in results],
        "rows": [
            {"name": name, "bits": bits, "own": name == "this run"} for name, bits in in_order
        ],
        "said": [_said(card) for card in results],
        "warnings": [
            f"{warning[:1].upper()}{warning[1:]}."
            for card in results[:1]
            for warning in card.warnings
        ],
        "facts": [_facts(card) for card in results],
    }


def _said(card: Evaluation) -> str:
    """How sure the figure is."""
    figures = card.figures
    split = SPLIT_NAMES[str(card.split)].capitalize()
    parts = [f"{split}: {figures.bits_per_char:.3f} bits per character"]
    if figures.interval is not None:
        low, high = figures.interval.bits_per_char
        parts.append(f"95 % of resampled texts between {low:.3f} and {high:.3f}")
    if card.gain_over_ngram is not None:
        parts.append(_gain(card.gain_over_ngram))
    return ", ".join(parts) + "."


def _facts(card: Evaluation) -> list[list[str]]:
    figures = card.figures
    interval = figures.interval
    facts = [
        [
            "figures",
            f"{figures.nats_per_char:.4f} nats per character, "
            f"perplexity {figures.perplexity:.3f}, {figures.bits_per_byte:.4f} bits per byte",
        ],
        ["protocol", f"{card.protocol}, {figures.chars:,} predicted characters"],
        ["text", f"{card.data.name}, {card.split} split: {card.split_rule}"],
        ["SHA-256 of it", card.data.sha256],
    ]
    if interval is not None:
        facts.append(["interval", f"{interval.method}, over {interval.resampled}"])
    if card.overlap is not None:
        facts.append(["overlap", str(card.overlap)])
    facts += [["note", note] for note in card.notes]
    return facts + [["warning", warning] for warning in card.warnings]


def _gain(gain: Gain) -> str:
    bits = gain.bits_per_char
    comparison = f"{abs(bits):.3f} {'better' if bits > 0 else 'worse'} than counting"
    if gain.may_be_chance:
        return f"{comparison}, no difference that this text could tell"
    return comparison


# Samples and copies


def _samples(path: Path) -> dict[str, Any]:
    """The first, the last and some between, each cut short."""
    found = record.read_samples(path)
    chosen = np.unique(
        np.linspace(0, len(found) - 1, min(MOST_SAMPLES, len(found))).astype(int)
    ).tolist()
    return {
        "kept": len(found),
        "shown": [
            {
                "step": found[k].step,
                "bits": found[k].bits_per_char,
                "text": found[k].text[:SAMPLE_CHARS]
                + (" …" if len(found[k].text) > SAMPLE_CHARS else ""),
            }
            for k in chosen
        ],
    }


def _novelty(
    run: OpenedRun, verdict_of_copies: Callable[[dict[str, Any]], str], say: Say
) -> dict[str, Any]:
    """A small version of `charrnn eval --samples`; or why there is none."""
    how = "charrnn eval RUN --samples 1000"
    model = run.model
    lines = model.mode == "lines"
    count = NOVEL_LINES if lines else NOVEL_STREAMS
    size = 0 if model.counts else sum(each.size for each in model.tensors.values())
    try:
        train = len(text_of_split(run, "train").ids)
        if train > LARGE_TEXT or 8 * count * (50 if lines else 500) * size > NOVELTY_WORK:
            why = "Looking for copies takes longer than a page should for this text or network."
            return {"why": why, "how": how}
        say(f"drawing {count} samples to see what they copy")
        found = examine(run, Question(count))
    except (CheckpointError, CorpusError) as error:
        return {"why": str(error), "how": how}
    shares, held = found["lines"], f"{found['held_out']['split']} text"
    rows: list[list[Any]] = []
    if shares["lines"]:
        rows.append(
            [
                "whole lines that stand in the training text",
                shares["in_train"],
                shares["held_out_in_train"],
            ]
        )
        rows.append(["whole lines that stand nowhere in the corpus", shares["new"], None])
    for n in (5, 10, 20, 50):
        both = found["ngrams_in_training"][str(n)]
        if both["samples"] is not None:
            rows.append(
                [
                    f"runs of {n} characters that stand in the training text",
                    both["samples"],
                    both["held_out"],
                ]
            )
    nearest = found["nearest"]["samples"]["examples"] if found["nearest"] else []
    longest = found["longest_run"]["samples"]
    return {
        "verdict": verdict_of_copies(found).removeprefix("verdict: "),
        "how": how,
        "held": held,
        "drawn": f"{found['samples']:,} samples, {found['chars']:,} characters, temperature {found['temperature']:g}, "
        f"seed {found['seed']}",
        "rows": rows,
        "longest": longest and {"chars": longest["chars"], "text": _signs(longest["text"][:400])},
        "nearest": [[each["text"], each["nearest"], each["edits"]] for each in nearest],
    }


def _signs(text: str) -> str:
    """Line ends, tabs and runs of spaces that can be seen."""
    return (
        re.sub(" {2,}", lambda spaces: "␣" * len(spaces[0]), text)
        .replace("\n", "↵")
        .replace("\t", "⇥")
    )


# Cells


def _cells(run: OpenedRun, say: Say) -> dict[str, Any] | None:
    """The viewer's text and activations, with the cells that were found in more of that text."""
    model = run.model
    try:
        text = text_of_split(run, None)
    except CorpusError:
        return None
    if model.counts:
        return viewer(model, text, []) | {
            "said": "A model that counts has no cells; its guesses and its surprise can be read."
        }
    most = int(
        min(SEARCHED, max(2000, SEARCH_WORK / sum(each.size for each in model.tensors.values())))
    )
    ids = cells.cut(model, text.ids, most)
    say(f"looking for cells in {len(ids):,} characters of the {text.split} text")
    looked = search(model, ids)
    told = [each for each in looked.found if each.beats_luck]
    found = [
        {
            "title": each.feature,
            "array": each.cell,
            "unit": each.unit,
            "place": f"{label(each.cell, model.settings.model.num_layers or 1)} {each.unit}",
            "score": f"{each.score:+.2f}".replace("-", "−"),
            "luck": f"{each.chance:.2f}",
            "accuracy": "–" if each.accuracy is None else f"{100 * each.accuracy:.0f} %",
        }
        for each in told
    ]
    others = sorted({each.feature for each in looked.found} - {each.feature for each in told})
    said = (
        f"Each of {looked.units:,} units and gates was held against what a reader could keep track of. Picked on the first "
        f"half of {looked.chars:,} characters of the {SPLIT_NAMES[str(text.split)]}, scored on the second."
        if looked.found
        else "This text has too little of what cells could be seen to follow."
    )
    missed = [f"Nothing better than luck: {', '.join(others)}."] if others else []
    missed += (
        [f"Too rare in this text to tell: {', '.join(looked.left_out)}."] if looked.left_out else []
    )
    return viewer(model, text, found) | {"said": said, "missed": " ".join(missed)}


# Settings


def _settings(model: ModelFile, about: dict[str, Any]) -> dict[str, Any]:
    given, origins = about.get("command"), about.get("origins")
    words = [str(word) for word in given] if isinstance(given, list) else []
    command = shlex.join(["charrnn", *words[1:]]) if words else ""
    origins = origins if isinstance(origins, dict) else {}
    groups = [
        {
            "name": group,
            "rows": [
                [name, _value(value), str(origins.get(name, ""))] for name, value in values.items()
            ],
        }
        for group, values in asdict(model.settings).items()
    ]
    return {"command": command, "groups": groups}


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"


def _files(model: ModelFile) -> list[list[str]]:
    meta = model.meta
    return [
        ["model", f"{model.path.name}, of step {meta.get('step')}"],
        ["SHA-256 of its weights", weights_sha256(model.tensors)],
        ["SHA-256 of the text, with its options", str(meta.get("fingerprint", ""))],
        [
            "vocabulary",
            f"{len(model.vocabulary):,} {'bytes' if model.vocabulary.unit == 'byte' else 'characters'}",
        ],
        ["charrnn that trained it", str(meta.get("charrnn", ""))],
    ]

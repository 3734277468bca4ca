"""What stands in a report, gathered from a run in words and numbers, bounded in time and size.

The sections with figures have files of their own: `curves`, `results`, `writing`, `inside`,
`lookback`. How a page looks is not known here.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from charrnn import __version__
from charrnn.errors import CheckpointError
from charrnn.export.model import Model
from charrnn.modelfile import ModelFile
from charrnn.report import record
from charrnn.report.curves import Chart, charts
from charrnn.report.finished import Finished, finished_of, model_in_page
from charrnn.report.inside import cells_of
from charrnn.report.lookback import Lookback, lookback_of
from charrnn.report.results import (
    Results,
    Say,
    parameters_of,
    results_of,
    scores_of,
    split_name,
)
from charrnn.report.viewer import Viewer
from charrnn.report.writing import KeptSamples, NoNovelty, Novelty, novelty_of, samples_of
from charrnn.scoring.card import Evaluation
from charrnn.scoring.counting import Baseline
from charrnn.scoring.score import Score
from charrnn.scoring.validation import is_noise
from charrnn.terminal import many, one_line
from charrnn.text.ngram import SMOOTHING_NAMES
from charrnn.text.vocabulary import noun_of
from charrnn.texts import OpenedRun
from charrnn.training.checkpoint import load_newest
from charrnn.training.outcome import verdict, weights_sha256

MOST_LABELS = 100  # named on the page
ARTICLES = {
    "rnn": "An RNN",
    "lstm": "An LSTM",
    "gru": "A GRU",
    "gru-before": "A GRU (reset before the product)",
}


class KeyFigure(TypedDict):
    """A figure at the head of the page."""

    value: str
    name: str


class SettingsGroup(TypedDict):
    """Settings that belong together: name, value, where the value is from."""

    name: str
    rows: list[list[str]]


class Making(TypedDict):
    """The command and the settings that made the run."""

    command: str
    groups: list[SettingsGroup]


class Contents(TypedDict):
    """All that a page shows. The page's script (page.js) reads it."""

    title: str
    version: str
    summary: str
    status: str
    key: list[KeyFigure]
    finished: Finished
    model: Model | None
    charts: list[Chart]
    remarks: list[str]
    results: Results
    samples: KeptSamples
    novelty: Novelty | NoNovelty
    cells: Viewer | None
    lookback: Lookback | None
    settings: Making
    files: list[list[str]]


def folder_of(model: ModelFile) -> Path:
    """The run a report is about. Raises CheckpointError if the model lies in none."""
    if model.run is None:
        raise CheckpointError(
            f"{one_line(str(model.path))} lies in no run directory; a report shows a run: name one"
        )
    return model.run


def gather(run: OpenedRun, say: Say, device: str | None = None) -> Contents:
    """Gather all that a page shows. say: is told what takes long. device: where the network
    computes; None: scores on the first GPU if there is one, the rest on the processor.

    Raises CheckpointError if the run's text is not the model's.
    """
    model = run.model
    folder = folder_of(model)
    metrics = record.read_metrics(folder / "metrics.jsonl")
    scored_steps = {evaluation.step for evaluation in metrics.evaluations}
    about = record.read_about(folder / "run.json")
    cards = scores_of(run, say, device or "auto")
    return {
        "title": folder.resolve().name,
        "version": __version__,
        "summary": _summary(model),
        "status": _status(run, metrics),
        "key": _key_figures(model, metrics, cards),
        "finished": finished_of(model),
        "model": model_in_page(model),
        "charts": charts(
            metrics, model.settings.training.clip, len(model.vocabulary), noun_of(model.vocabulary)
        ),
        "remarks": _remarks(metrics),
        "results": results_of(cards),
        "samples": samples_of(folder / "samples.txt", scored_steps),
        "novelty": novelty_of(run, say),
        "cells": cells_of(run, say),
        "lookback": lookback_of(run, say, device or "cpu"),
        "settings": _making(model, about),
        "files": _files(model),
    }


# The head of the page


def _summary(model: ModelFile) -> str:
    settings = model.settings.model
    corpus = model.meta.get("corpus", "a text")
    mode = "lines, each by itself" if model.mode == "lines" else "one stream of characters"
    if model.counts:
        smoothing = SMOOTHING_NAMES[settings.smoothing]
        kind = f"{model.ngram().order}-gram with {smoothing} smoothing"
        return f"A {kind} that counted {corpus}, read as {mode}."
    layers = many(settings.num_layers or 1, "layer")
    network = (
        f"{ARTICLES[settings.cell]} of {layers} with {many(settings.hidden_size or 1, 'unit')}"
    )
    return f"{network} that learnt {corpus}, read as {mode}."


def _status(run: OpenedRun, metrics: record.Metrics) -> str:
    """How far the training has come, and what its figures mean.

    Empty where no checkpoint says so.
    """
    model = run.model
    try:
        checkpoint, _ = load_newest(folder_of(model))
    except CheckpointError:
        return ""
    place = checkpoint.place
    total = checkpoint.plan.total_steps

    # 1. Whether it has ended, and why.
    patience = model.settings.training.patience
    reason = ""
    if patience and place.evaluations_since_best >= patience:
        reason = "stopped improving"
        sentence = f"Stopped at step {place.step:,}"
    elif total is not None and place.step >= total:
        reason = "done" if checkpoint.plan.annealed_from is None else "stopped improving"
        steps = "step" if place.step == 1 else "steps"
        sentence = f"Finished after {place.step:,} {steps}"
    else:
        steps = "" if total is None else f" of {total:,}"
        sentence = f"Not finished: step {place.step:,}{steps} at its newest checkpoint"
    if model.counts or not reason:
        return f"{sentence}."

    # 2. What that means beside counting. The record does not say the order of its n-grams.
    nats = metrics.ngram_nats_per_char
    ngram = Baseline(0, Score(nats[-1], 1)) if nats else None
    keeps_last = patience is None and is_noise(run.own_corpus("name the run"))
    return f"{sentence}: {verdict(place, reason, model.settings, ngram, is_noise=keeps_last)}."


def _key_figures(
    model: ModelFile, metrics: record.Metrics, cards: list[Evaluation]
) -> list[KeyFigure]:
    figures: list[KeyFigure] = [
        {
            "value": f"{card.figures.bits_per_char:.3f}",
            "name": f"bits per {card.figures.noun}, {split_name(card)}",
        }
        for card in cards
    ]
    if not model.counts:
        figures.append({"value": f"{parameters_of(model):,}", "name": "parameters"})
    chars = float(np.nansum(metrics.steps["chars"]))
    if chars:
        figures.append(
            {"value": f"{chars:,.0f}", "name": f"{noun_of(model.vocabulary)}s read in training"}
        )
    elapsed = metrics.steps["elapsed_s"]
    elapsed = elapsed[np.isfinite(elapsed)]
    if len(elapsed):
        figures.append({"value": _duration(float(elapsed.max())), "name": "of training"})
    return figures


def _duration(value_s: float) -> str:
    if value_s < 120:
        return f"{value_s:.0f} s"
    if value_s < 7200:
        return f"{value_s / 60:.0f} min"
    return f"{value_s / 3600:.1f} h"


def _remarks(metrics: record.Metrics) -> list[str]:
    """What somebody should know of the record of the training."""
    remarks = [metrics.missing] if metrics.missing else []
    for event in metrics.rollbacks:
        reason = str(event.reason)[:200]
        remarks.append(
            f"The training diverged at step {event.from_step} ({reason}) "
            f"and went back to step {event.step}, with {event.lr_factor} of the learning rate."
        )
    if metrics.unreadable:
        remarks.append(
            f"Lines of metrics.jsonl that cannot be read, left out: {metrics.unreadable:,}."
        )
    return remarks


# The foot of the page


def _making(model: ModelFile, about: dict[str, Any]) -> Making:
    """about: what run.json says."""
    words = about.get("command")
    command = shlex.join(["charrnn", *words[1:]]) if words else ""
    origins = about.get("origins", {})
    groups: list[SettingsGroup] = []
    for group, values in asdict(model.settings).items():
        rows = [[name, _value(value), origins.get(name, "")] for name, value in values.items()]
        groups.append({"name": group, "rows": rows})
    return {"command": command, "groups": groups}


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "–"


def _files(model: ModelFile) -> list[list[str]]:
    meta = model.meta
    units = "bytes" if model.vocabulary.unit == "byte" else "characters"
    labels = []
    if model.vocabulary.labels:
        labels = [["labels", _labels(model)]]
    return [
        ["model", f"{model.path.name}, of step {model.step}"],
        ["SHA-256 of its weights", weights_sha256(model.tensors)],
        ["SHA-256 of the text, with its options", str(meta.get("fingerprint", ""))],
        ["vocabulary", f"{len(model.vocabulary):,} {units}"],
        *labels,
        ["charrnn that trained it", str(meta.get("charrnn", ""))],
    ]


def _labels(model: ModelFile) -> str:
    """Return the labels with their training lines, the most frequent first."""
    names = model.vocabulary.labels
    counts = model.label_counts.tolist()
    order = sorted(range(len(names)), key=lambda place: -counts[place])
    shown = ", ".join(f"{names[place]} ({counts[place]:,})" for place in order[:MOST_LABELS])
    more = f" and {len(names) - MOST_LABELS:,} more" if len(names) > MOST_LABELS else ""
    return f"{len(names):,}: {shown}{more}"

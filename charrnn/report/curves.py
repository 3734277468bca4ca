"""The charts of a training, as data: series, lines across, and a sentence that says what is to see.

How a chart is drawn is not known here: charts.js does that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from charrnn.report.record import Metrics, thinned

BINS = 240  # points of a series of steps at most
EARLY = 0.06  # the share of a training that is too early to judge by
BITS = 1 / math.log(2)


class Series(TypedDict):
    """A line of points. low, high: the range, where a point stands for several steps.

    points: whether each is marked.
    """

    name: str
    x: list[float]
    y: list[float]
    low: NotRequired[list[float] | None]
    high: NotRequired[list[float] | None]
    points: NotRequired[bool]


class Rule(TypedDict):
    """A line across. side: where its name stands."""

    name: str
    y: float
    side: str


class Chart(TypedDict):
    """A chart. group: charts that are read together. log: whether the axis upwards is logarithmic.

    high: where that axis ends, None where everything is shown. least: where it ends at the lowest.
    digits: those after the point. said: what there is to see. note: how to read it.
    """

    id: str
    group: str
    title: str
    unit: str
    across: str
    log: bool
    tall: bool
    series: list[Series]
    rules: list[Rule]
    said: str
    note: str
    digits: NotRequired[int]
    high: NotRequired[float | None]
    least: NotRequired[float]


def charts(
    metrics: Metrics, clip: float, vocabulary_size: int, noun: str = "character"
) -> list[Chart]:
    """The charts for which the run has data, the most telling first.

    clip: the largest norm of a gradient; 0: they are not clipped.
    noun: what the model predicts, a character or a byte.
    """
    if metrics.orders:
        return [_orders(metrics.orders, vocabulary_size, noun)]
    some = [_loss(metrics, vocabulary_size, noun)]
    if np.isfinite(metrics.steps["lr"]).any():
        some.append(_rate(metrics))
    norms = metrics.steps["grad_norm"]
    if np.isfinite(norms).any():
        some.append(_norm(metrics, clip))
        if clip > 0 and (norms > clip).any():
            some.append(_clipped(metrics, clip))
    return [chart for chart in some if any(series["x"] for series in chart["series"])]


def _loss(metrics: Metrics, vocabulary_size: int, noun: str) -> Chart:
    evaluations = metrics.evaluations
    steps = [float(evaluation.step) for evaluation in evaluations]
    bits = [evaluation.val_nats * BITS for evaluation in evaluations]
    ngram_bits = [nats * BITS for nats in metrics.ngram_nats_per_char]
    training = _binned(
        metrics,
        "train_nats_per_char",
        "training",
        factor=BITS,
        weights="chars",
        reach=(0.1, 0.9),
    )
    validation: Series = {
        "name": "validation",
        "x": steps,
        "y": [short(value) for value in bits],
        "points": True,
    }
    rules = [_uniform(vocabulary_size, side="left")]
    sentences = []
    if bits:
        best = int(np.argmin(bits))
        sentences.append(
            f"Validation begins at {bits[0]:.3f} and is best, {bits[best]:.3f}, "
            f"at step {steps[best]:,.0f}"
        )
    if training["y"]:
        sentences.append(f"training ends near {training['y'][-1]:.3f}")
    if ngram_bits:
        rules.append({"name": "counting, best n-gram", "y": short(ngram_bits[-1]), "side": "left"})
        sentences.append(f"counting reaches {ngram_bits[-1]:.3f}")
    return {
        "id": "loss",
        "group": "steps",
        "title": "Loss",
        "unit": f"bits per {noun}",
        "digits": 3,
        "across": "step",
        "log": False,
        "tall": True,
        "series": [training, validation],
        "rules": rules,
        "high": _high(training, steps, bits, rules[1:]),
        "said": "; ".join(sentences) + ".",
        "note": "Training: the mean of neighbouring updates, with dropout where there is any; "
        "the shaded band holds eight of ten updates. Lower is better.",
    }


def _uniform(vocabulary_size: int, side: str) -> Rule:
    """What a model has that takes every character to be equally likely."""
    return {"name": "uniform", "y": short(math.log2(vocabulary_size)), "side": side}


def _high(
    training: Series, steps: list[float], bits: list[float], rules: list[Rule]
) -> float | None:
    """Where the axis ends; None: where everything is shown.

    The first moments of a training would press all that follows against the bottom.
    """
    points = [*zip(training["x"], training["y"], strict=True), *zip(steps, bits, strict=True)]
    return early_cut(points, rules)


def early_cut(points: Sequence[tuple[float, float]], rules: list[Rule]) -> float | None:
    """Where the axis of some points ends, as _high; the first EARLY of them may stand above it."""
    last = max((x for x, _ in points), default=0.0)
    later = [y for x, y in points if x > EARLY * last] + [rule["y"] for rule in rules]
    if len(later) < 4:
        return None
    return short(max(later) + 0.25 * (max(later) - min(later)))


def _rate(metrics: Metrics) -> Chart:
    series = _binned(metrics, "lr", "learning rate")
    highest = max(series["high"] or [0.0])
    series["low"] = None
    series["high"] = None
    return {
        "id": "rate",
        "group": "steps",
        "title": "Learning rate",
        "unit": "",
        "across": "step",
        "log": False,
        "tall": False,
        "series": [series],
        "rules": [],
        "said": f"Highest at {highest:.3g}.",
        "note": "",
    }


def _norm(metrics: Metrics, clip: float) -> Chart:
    norms = metrics.steps["grad_norm"]
    norms = norms[np.isfinite(norms)]
    rules: list[Rule] = []
    sentence = f"Median {np.median(norms):.3g}, largest {norms.max():.3g}."
    if clip > 0:
        rules.append({"name": "clipped above", "y": clip, "side": "right"})
        if norms.max() <= clip:
            sentence += " No update was clipped."
    return {
        "id": "norm",
        "group": "steps",
        "title": "Gradient norm",
        "unit": "",
        "across": "step",
        "log": bool(norms.min() > 0),
        "tall": False,
        "series": [_binned(metrics, "grad_norm", "norm before clipping")],
        "rules": rules,
        "said": sentence,
        "note": "",
    }


def _clipped(metrics: Metrics, clip: float) -> Chart:
    norms = metrics.steps["grad_norm"]
    series: Series = {"name": "share of updates clipped", "x": [], "y": []}
    for part in thinned(metrics, BINS):
        known = norms[part][np.isfinite(norms[part])]
        if len(known):
            series["x"].append(float(metrics.steps["step"][part][-1]))
            series["y"].append(short(100 * float((known > clip).mean())))
    is_clipped = norms[np.isfinite(norms)] > clip
    return {
        "id": "clipped",
        "group": "steps",
        "title": "Clipped updates",
        "unit": "%",
        "across": "step",
        "log": False,
        "tall": False,
        "series": [series],
        "rules": [],
        "least": 1.0,
        "said": f"{int(is_clipped.sum()):,} of {len(is_clipped):,} updates were clipped, "
        f"{is_clipped.mean():.1%}.",
        "note": "",
    }


def _orders(nats: list[float], vocabulary_size: int, noun: str) -> Chart:
    """The loss by the length of the n-grams: counting has no steps to speak of."""
    bits = [value * BITS for value in nats]
    best = int(np.argmin(bits))
    validation: Series = {
        "name": "validation",
        "x": [float(order) for order in range(1, len(bits) + 1)],
        "y": [short(value) for value in bits],
        "points": True,
    }
    return {
        "id": "orders",
        "group": "orders",
        "title": "Loss by length of the n-grams",
        "unit": f"bits per {noun}",
        "digits": 3,
        "across": f"{noun}s of an n-gram",
        "log": False,
        "tall": True,
        "series": [validation],
        "rules": [_uniform(vocabulary_size, side="right")],
        "said": f"Best, {bits[best]:.3f}, with {best + 1} characters.",
        "note": "Longer n-grams know more of what came before and were seen less often. "
        "Lower is better.",
    }


def _binned(
    metrics: Metrics,
    column: str,
    name: str,
    *,
    factor: float = 1.0,
    weights: str | None = None,
    reach: tuple[float, float] = (0.0, 1.0),
) -> Series:
    """A series of at most BINS points: the mean of each run of steps, and two quantiles of it.

    column, weights: of `metrics.steps`. reach: which quantiles.
    """
    x: list[float] = []
    y: list[float] = []
    lows: list[float] = []
    highs: list[float] = []
    values = metrics.steps[column] * factor
    for part in thinned(metrics, BINS):
        is_known = np.isfinite(values[part])
        if not is_known.any():
            continue
        known = values[part][is_known]
        x.append(float(metrics.steps["step"][part][is_known][-1]))
        weight = None
        if weights is not None:
            weight = metrics.steps[weights][part][is_known]
            weight = np.where(np.isfinite(weight) & (weight > 0), weight, 0.0)
            if not weight.any():
                weight = None
        y.append(short(float(np.average(known, weights=weight))))
        low, high = np.quantile(known, reach).tolist()
        lows.append(short(low))
        highs.append(short(high))
    return {"name": name, "x": x, "y": y, "low": lows, "high": highs}


def short(value: float) -> float:
    """Five digits, which are more than a line can show."""
    return float(f"{value:.5g}")

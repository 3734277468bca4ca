"""The charts of a training, as data: series, lines across, and a sentence that says what there is to see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.report.record import Metrics, number, thinned

BINS = 240  # points of a series of steps at most
EARLY = 0.06  # of a training: what it is too early to judge by
BITS = 1 / math.log(2)


def charts(metrics: Metrics, clip: float, vocabulary_size: int) -> list[dict[str, Any]]:
    """Those for which the run has data, most telling first. clip: the largest gradient norm; 0: not clipped.

    A series has x, y, and low and high where a point stands for several steps. group: charts that are read together.
    """
    if metrics.orders:
        return [_orders(metrics.orders, vocabulary_size)]
    found = [_loss(metrics, vocabulary_size)]
    if np.isfinite(metrics.steps["lr"]).any():
        found.append(_rate(metrics))
    if np.isfinite(metrics.steps["grad_norm"]).any():
        found.append(_norm(metrics, clip))
        if clip > 0 and (metrics.steps["grad_norm"] > clip).any():
            found.append(_clipped(metrics, clip))
    return [chart for chart in found if any(series["x"] for series in chart["series"])]


def _loss(metrics: Metrics, vocabulary_size: int) -> dict[str, Any]:
    evaluations = metrics.evaluations
    steps, bits = (
        [float(each["step"]) for each in evaluations],
        [each["val_nats_per_char"] * BITS for each in evaluations],
    )
    training = _binned(metrics, "train_nats_per_char", BITS, weights="chars", reach=(0.1, 0.9))
    rules = [{"name": "uniform", "y": _short(math.log2(vocabulary_size)), "side": "left"}]
    counted = [number(each.get("ngram_nats_per_char")) for each in evaluations]
    nats = [value for value in counted if value is not None]
    if nats:
        rules.append(
            {"name": "counting, best n-gram", "y": _short(nats[-1] * BITS), "side": "left"}
        )
    said = []
    if bits:
        best = int(np.argmin(bits))
        said.append(
            f"Validation begins at {bits[0]:.3f} and is best, {bits[best]:.3f}, at step {steps[best]:,.0f}"
        )
    if training["y"]:
        said.append(f"training ends near {training['y'][-1]:.3f}")
    if nats:
        said.append(f"counting reaches {nats[-1] * BITS:.3f}")
    return {
        "id": "loss",
        "group": "steps",
        "title": "Loss",
        "unit": "bits per character",
        "digits": 3,
        "across": "step",
        "log": False,
        "tall": True,
        "series": [
            {"name": "training"} | training,
            {
                "name": "validation",
                "x": steps,
                "y": [_short(value) for value in bits],
                "points": True,
            },
        ],
        "rules": rules,
        "high": _high(training, steps, bits, rules[1:]),
        "said": "; ".join(said) + ".",
        "note": "Training: the mean of neighbouring updates, with dropout where there is any; eight of ten "
        "lie in the shade. Lower is better.",
    }


def _high(
    training: dict[str, Any], steps: list[float], bits: list[float], rules: list[dict[str, Any]]
) -> float | None:
    """Where the axis ends: the first moments of a training would press all that follows against the bottom.

    None: where everything is shown.
    """
    points = [*zip(training["x"], training["y"], strict=True), *zip(steps, bits, strict=True)]
    last = max((x for x, _ in points), default=0.0)
    later = [y for x, y in points if x > EARLY * last] + [rule["y"] for rule in rules]
    if len(later) < 4:
        return None
    return _short(max(later) + 0.25 * (max(later) - min(later)))


def _rate(metrics: Metrics) -> dict[str, Any]:
    series = _binned(metrics, "lr", 1.0)
    highest = max(series["high"] or [0.0])
    return {
        "id": "rate",
        "group": "steps",
        "title": "Learning rate",
        "unit": "",
        "across": "step",
        "log": False,
        "tall": False,
        "series": [{"name": "learning rate"} | {**series, "low": None, "high": None}],
        "rules": [],
        "said": f"Highest at {highest:.3g}.",
        "note": "",
    }


def _norm(metrics: Metrics, clip: float) -> dict[str, Any]:
    series = _binned(metrics, "grad_norm", 1.0)
    norms = metrics.steps["grad_norm"][np.isfinite(metrics.steps["grad_norm"])]
    return {
        "id": "norm",
        "group": "steps",
        "title": "Gradient norm",
        "unit": "",
        "across": "step",
        "log": bool(norms.min() > 0),
        "tall": False,
        "series": [{"name": "norm before clipping"} | series],
        "rules": [{"name": "clipped above", "y": clip, "side": "right"}] if clip > 0 else [],
        "said": f"Median {np.median(norms):.3g}, largest {norms.max():.3g}."
        + (" No update was clipped." if clip > 0 and norms.max() <= clip else ""),
        "note": "",
    }


def _clipped(metrics: Metrics, clip: float) -> dict[str, Any]:
    norms = metrics.steps["grad_norm"]
    x, y = [], []
    for part in thinned(metrics, BINS):
        known = norms[part][np.isfinite(norms[part])]
        if len(known):
            x.append(float(metrics.steps["step"][part][-1]))
            y.append(_short(100 * float((known > clip).mean())))
    known = norms[np.isfinite(norms)]
    return {
        "id": "clipped",
        "group": "steps",
        "title": "Clipped updates",
        "unit": "%",
        "across": "step",
        "log": False,
        "tall": False,
        "series": [{"name": "share of updates clipped", "x": x, "y": y}],
        "rules": [],
        "least": 1.0,
        "said": f"{int((known > clip).sum()):,} of {len(known):,} updates were clipped, "
        f"{(known > clip).mean():.1%}.",
        "note": "",
    }


def _orders(nats: list[float], vocabulary_size: int) -> dict[str, Any]:
    """Counting has no steps to speak of: the loss by the length of the n-grams instead."""
    bits = [value * BITS for value in nats]
    best = int(np.argmin(bits))
    return {
        "id": "orders",
        "group": "orders",
        "title": "Loss by length of the n-grams",
        "unit": "bits per character",
        "digits": 3,
        "across": "characters of an n-gram",
        "log": False,
        "tall": True,
        "series": [
            {
                "name": "validation",
                "x": [float(order) for order in range(1, len(bits) + 1)],
                "y": [_short(value) for value in bits],
                "points": True,
            },
        ],
        "rules": [{"name": "uniform", "y": _short(math.log2(vocabulary_size)), "side": "right"}],
        "said": f"Best, {bits[best]:.3f}, with {best + 1} characters.",
        "note": "Longer n-grams know more of what came before and were seen less often. Lower is better.",
    }


def _binned(
    metrics: Metrics,
    name: str,
    factor: float,
    weights: str | None = None,
    reach: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Any]:
    """x, y, low, high of at most BINS points: the mean of each run of steps, and the quantiles `reach` of it."""
    series: dict[str, Any] = {"x": [], "y": [], "low": [], "high": []}
    values = metrics.steps[name] * factor
    for part in thinned(metrics, BINS):
        known = np.isfinite(values[part])
        if not known.any():
            continue
        each = values[part][known]
        weight = metrics.steps[weights][part][known] if weights else np.ones(len(each))
        weight = np.where(np.isfinite(weight) & (weight > 0), weight, 0.0)
        series["x"].append(float(metrics.steps["step"][part][known][-1]))
        series["y"].append(
            _short(float(np.average(each, weights=weight if weight.any() else None)))
        )
        low, high = np.quantile(each, reach).tolist()
        series["low"].append(_short(low))
        series["high"].append(_short(high))
    return series


def _short(value: float) -> float:
    """Five digits are more than a line can show."""
    return float(f"{value:.5g}")

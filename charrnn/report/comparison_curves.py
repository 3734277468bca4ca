"""The curves of a comparison, as data: the mean of each variant, and a line for each training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TypedDict

from charrnn.lab.compared import Measured, Trained, mean_curve
from charrnn.lab.plan import Plan
from charrnn.report.curves import Chart, Rule, early_cut, short

COLOURS = 8  # then they come again
MOST_STRANDS = 400  # trainings with a line of their own; of more the means alone are drawn


class Strand(TypedDict):
    """The line of one training."""

    x: list[float]
    y: list[float]


class Variety(TypedDict):
    """The mean over the seeds of a variant, and the line of each seed."""

    name: str
    x: list[float]
    y: list[float]
    colour: int
    strands: list[Strand]


def charts_of(plan: Plan, found: Measured, noun: str) -> list[Chart]:
    """Return validation by updates, and by time, with counting as a line across."""
    counting = fmean(found.counting)
    rules: list[Rule] = []
    if math.isfinite(counting):
        rules.append({"name": "counting, best n-gram", "y": short(counting), "side": "left"})
    said = f"Best validation of each training, mean over the seeds: {_bests(found)}."
    by_step = [
        _variety(place, name, [run.steps for run in runs], runs, plan)
        for place, (name, runs) in enumerate(found.runs.items())
    ]
    by_time = [
        _variety(place, name, [run.seconds for run in runs], runs, plan)
        for place, (name, runs) in enumerate(found.runs.items())
    ]
    charts = [
        _chart("by-step", "Validation by updates", "step", by_step, rules, said, noun),
        _chart("by-time", "Validation by time", "seconds", by_time, rules, "", noun),
    ]
    return [chart for chart in charts if any(series["x"] for series in chart["series"])]


def _bests(found: Measured) -> str:
    means = [(name, fmean(scores)) for name, scores in found.scores.items()]
    return ", ".join(f"{name} {shown_bits(mean)}" for name, mean in means[:6])


def _chart(
    id: str, title: str, across: str, series: list[Variety], rules: list[Rule], said: str, noun: str
) -> Chart:
    points = [
        point
        for one in series
        for line in (one, *one["strands"])
        for point in zip(line["x"], line["y"], strict=True)
    ]
    return {
        "id": id,
        "group": id,
        "title": title,
        "unit": f"bits per {noun}",
        "digits": 3,
        "across": across,
        "log": False,
        "tall": True,
        "series": series,  # type: ignore[typeddict-item]  # it has what a Series has, and more
        "rules": rules,
        "high": early_cut(points, rules),
        "said": said,
        "note": "A thick line is the mean over the seeds, a thin one a seed. Lower is better.",
    }


def _variety(
    place: int, name: str, x: Sequence[Sequence[float]], runs: Sequence[Trained], plan: Plan
) -> Variety:
    """Return the curves of a variant, without the network that has learnt nothing yet."""
    mean = mean_curve(name, x, runs)
    strands = []
    if len(plan.seeds) > 1 and len(plan.seeds) * len(plan.variants) <= MOST_STRANDS:
        strands = [_points(places[1:], run.bits[1:]) for places, run in zip(x, runs, strict=True)]
    return {
        "name": name,
        "colour": place % COLOURS,
        "strands": strands,
        **_points(mean.x, mean.y),
    }


def _points(x: Sequence[float], y: Sequence[float]) -> Strand:
    """Return those that are finite."""
    points = [point for point in zip(x, y, strict=True) if all(map(math.isfinite, point))]
    return {"x": [short(x) for x, _ in points], "y": [short(y) for _, y in points]}


def shown_bits(bits: float) -> str:
    """Write a score for people."""
    return f"{bits:.3f}" if math.isfinite(bits) else "–"

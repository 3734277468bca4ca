"""What stands on the page of a comparison, gathered from the directory that compare wrote.

Nothing is trained or scored: curves and scores are those of the runs' records. Samples are drawn
with one seed, so that equal runs have equal pages. How a page looks is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from charrnn import __version__
from charrnn.errors import CheckpointError
from charrnn.lab.asked import MOST_SEEDS
from charrnn.lab.compared import (
    Measured,
    at_equal,
    measured,
    remarks,
    seeds_of,
    settings_of,
    verdicts,
)
from charrnn.lab.paired import Interval, difference, interval, seeds_to_tell
from charrnn.lab.plan import PLAN, Plan, plan_from, read_plan
from charrnn.lab.result import shown
from charrnn.modelfile import read_model
from charrnn.report.comparison_curves import COLOURS, charts_of, shown_bits
from charrnn.report.curves import Chart, short
from charrnn.report.shelf import listed
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.terminal import many, one_line

MOST_WRITERS = 12  # variants whose samples are shown
LINES = 12
PASSAGE_CHARS = 500
LINE_CHARS = 120
TEMPERATURE = 0.8
SEED = 1


class Gap(TypedDict):
    """A variant's difference to the reference: mean, 95 % interval if there is one, each seed."""

    name: str
    colour: int
    mean: float
    low: float | None
    high: float | None
    seeds: list[float]


class Writer(TypedDict):
    """What the best run of a variant writes. run: its name."""

    name: str
    colour: int
    run: str
    texts: list[str]


class Comparison(TypedDict):
    """All that the page shows. The page's script (comparison.js) reads it.

    reference: the variant that the others are compared with. tables and facts are in words.
    """

    title: str
    version: str
    noun: str
    summary: str
    verdicts: list[str]
    remarks: list[str]
    reference: str
    key: list[list[str]]
    gaps: list[Gap]
    columns: list[str]
    rows: list[list[str]]
    charts: list[Chart]
    lines: bool
    written: list[Writer]
    unwritten: int
    settings: list[list[str]]
    runs: list[list[str]]


def gather_comparison(folder: Path) -> Comparison:
    """Gather all that the page shows.

    Raises CheckpointError where the comparison is not finished, or a file of it is damaged.
    """
    # 1. What was planned, and whether it was done
    plan = _plan(folder)
    states = {entry.name: entry.state for entry in listed(folder)}
    failed: dict[tuple[str, int], str] = {}
    left = 0
    for variant, seed in plan.runs():
        state = states.get(variant.run(folder, seed).name)
        if state == "diverged":
            failed[variant.name, seed] = "the training diverged"
        left += state not in ("diverged", "finished")
    total = len(list(plan.runs()))
    if left:
        raise CheckpointError(
            f"{one_line(str(folder))} is not finished: {many(left, 'training')} of {total:,} "
            f"{'is' if left == 1 else 'are'} missing; the same charrnn compare goes on"
        )
    found = measured(plan, folder, failed)

    # 2. The page
    reference = plan.variants[0]
    noun = "byte" if reference.settings.text.unit == "byte" else "character"
    names = " against ".join(one_line(variant.name) for variant in plan.variants[:4])
    if len(plan.variants) > 4:
        names = f"{len(plan.variants)} variants, differences to {one_line(reference.name)}"
    lines, written = _written(plan, folder, found)
    columns, rows = _table(plan, found)
    return {
        "title": folder.resolve().name,
        "version": __version__,
        "noun": noun,
        "summary": f"{names}{at_equal(plan)}, on {plan.name}, {_each(plan)}.",
        "verdicts": [f"{one}." for one in verdicts(plan, found.scores)],
        "remarks": remarks(plan, found.scores, failed),
        "reference": reference.name,
        "key": _key(plan, found, noun),
        "gaps": _gaps(plan, found),
        "columns": columns,
        "rows": rows,
        "charts": charts_of(plan, found, noun),
        "lines": lines,
        "written": written,
        "unwritten": len(plan.variants) - len(written),
        "settings": [[name, shown(value)] for name, value in settings_of(plan).items()],
        "runs": _runs(plan, folder, found),
    }


def _plan(folder: Path) -> Plan:
    """Read the plan. Raises CheckpointError.

    Versions up to 0.4.0 did not record how many seeds were asked for, nor the name of the text:
    the seeds are those that have a run.
    """
    recorded = read_plan(folder)
    if recorded is None:
        raise CheckpointError(
            f"{one_line(str(folder))} holds no comparison; name what charrnn compare wrote"
        )
    name = recorded.get("name") or folder.resolve().name.removeprefix("compare-")
    plan = plan_from(recorded, None, name, recorded.get("seeds", MOST_SEEDS), folder / PLAN)
    if "seeds" in recorded:
        return plan
    begun = 0
    for place, seed in enumerate(plan.seeds, 1):
        if any(variant.run(folder, seed).is_dir() for variant in plan.variants):
            begun = place
    return plan_from(recorded, None, name, max(1, begun), folder / PLAN)


def _each(plan: Plan) -> str:
    seeds = f"{seeds_of(plan)} each"
    if plan.split_seed is None:
        return seeds
    return f"{seeds} and one split for all"


def _key(plan: Plan, found: Measured, noun: str) -> list[list[str]]:
    """Return the mean of each of the first variants, for the head of the page."""
    return [
        [f"bits per {noun}, {variant.name}", shown_bits(fmean(found.scores[variant.name]))]
        for variant in plan.variants[:4]
    ]


def _gaps(plan: Plan, found: Measured) -> list[Gap]:
    """Return the differences to the first variant, paired by seed."""
    others = found.scores[plan.variants[0].name]
    gaps: list[Gap] = []
    for place, variant in enumerate(plan.variants[1:], 1):
        scores = found.scores[variant.name]
        gap = difference(scores, others)
        if not math.isfinite(gap.mean):
            continue
        by_seed = [score - other for score, other in zip(scores, others, strict=True)]
        gaps.append(
            {
                "name": variant.name,
                "colour": place % COLOURS,
                "mean": short(gap.mean),
                "low": _known(gap.low),
                "high": _known(gap.high),
                "seeds": [short(value) for value in by_seed],
            }
        )
    return gaps


def _known(value: float) -> float | None:
    return short(value) if math.isfinite(value) else None


def _table(plan: Plan, found: Measured) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: each variant, its score, its difference, and the seeds that tell."""
    heads = ["setting", "score", "± 95 %", "difference", "95 %", "seeds that would tell"]
    heads += ["units", "parameters", "steps", "seconds"]
    others = found.scores[plan.variants[0].name]
    rows = []
    sized = zip(plan.variants, plan.parameters, strict=True)
    for place, (variant, parameters) in enumerate(sized):
        runs = found.runs[variant.name]
        scores = found.scores[variant.name]
        apart = _difference(scores, others) if place else ["–"] * 3
        sizes = [
            shown(variant.settings.model.hidden_size),
            shown(parameters),
            shown(round(fmean(run.last_step for run in runs))),
            shown(fmean(run.last_second for run in runs)),
        ]
        rows.append([variant.name, *_score(interval(scores)), *apart, *sizes])
    if math.isfinite(fmean(found.counting)):
        apart = [*_difference(found.counting, others)[:2], "–"]
        rows.append(["counting", *_score(interval(found.counting)), *apart, *["–"] * 4])
    return heads, rows


def _score(own: Interval) -> list[str]:
    return [shown_bits(own.mean), shown_bits(own.half)]


def _difference(scores: Sequence[float], others: Sequence[float]) -> list[str]:
    gap = difference(scores, others)
    if not math.isfinite(gap.mean):
        return ["–", "–", "–"]
    if not math.isfinite(gap.low):
        return [f"{gap.mean:+.3f}", "–", "–"]
    enough = "these"
    if gap.holds_zero:
        seeds = seeds_to_tell(scores, others)
        enough = f"about {seeds:,}" if seeds is not None else f"over {MOST_SEEDS:,}"
    return [f"{gap.mean:+.3f}", f"{gap.low:+.3f} to {gap.high:+.3f}", enough]


# Samples, and the runs


def _best_seed(plan: Plan, scores: Sequence[float]) -> int | None:
    """Return the seed with the best score; None where every training diverged."""
    known = [
        (score, seed)
        for score, seed in zip(scores, plan.seeds, strict=True)
        if math.isfinite(score)
    ]
    return min(known)[1] if known else None


def _written(plan: Plan, folder: Path, found: Measured) -> tuple[bool, list[Writer]]:
    """Return whether the models write lines, and what the best run of each variant writes."""
    written: list[Writer] = []
    is_lines = False
    for place, variant in enumerate(plan.variants[:MOST_WRITERS]):
        seed = _best_seed(plan, found.scores[variant.name])
        if seed is None:
            continue
        run = variant.run(folder, seed)
        model = read_model(run)
        is_lines = model.mode == "lines"
        samples = Sampler(model).generate(
            LINES if is_lines else 1,
            decoding=Decoding(TEMPERATURE),
            length=LINE_CHARS if is_lines else PASSAGE_CHARS,
            seed=SEED,
        )
        written.append(
            {
                "name": variant.name,
                "colour": place % COLOURS,
                "run": run.name,
                "texts": [sample.text for sample in samples],
            }
        )
    return is_lines, written


def _runs(plan: Plan, folder: Path, found: Measured) -> list[list[str]]:
    """Return a row for each training: its directory, score, steps and seconds."""
    rows = []
    for variant in plan.variants:
        by_seed = zip(plan.seeds, found.runs[variant.name], found.scores[variant.name], strict=True)
        for seed, run, score in by_seed:
            name = variant.run(folder, seed).name
            rows.append([name, shown_bits(score), shown(run.last_step), shown(run.last_second)])
    return rows

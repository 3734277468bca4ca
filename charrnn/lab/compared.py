"""What a comparison found: the runs' own metrics.jsonl as a table with intervals, verdicts and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from charrnn.errors import CheckpointError
from charrnn.lab.compare import Plan
from charrnn.lab.paired import difference, interval, verdict
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.lab.variants import Variant
from charrnn.terminal import one_line

COLUMNS = (
    "variant",
    "units",
    "parameters",
    "steps",
    "seconds",
    "bits/char",
    "± 95 %",
    "difference",
    "low",
    "high",
)
COUNTING = "counting"
MANY = 3  # comparisons from which on chance deserves a word
SHOWN = (
    ("num_layers", "embedding_size", "dropout"),
    ("batch_size", "seq_length", "lr", "weight_decay", "optimizer"),
)


@dataclass(frozen=True)
class Trained:
    """One run. Evaluations: steps, seconds since it began, bits per character of the validation text; best: the least."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    bits: tuple[float, ...]
    end: tuple[int, float]  # steps and seconds
    counting: float  # bits per character of the best n-gram; NaN if the text is too long to count in passing

    @property
    def best(self) -> float:
        return min(filter(math.isfinite, self.bits), default=math.nan)


def read_run(path: Path) -> Trained:
    """Raises CheckpointError where metrics.jsonl is missing or no record of a training."""
    steps, times, bits, elapsed, step, counting = [], [], [], 0.0, 0, math.nan
    try:
        with open(path / "metrics.jsonl", "rb") as file:
            for line in file:
                record = json.loads(line)
                if record.get("event") == "eval":
                    steps.append(int(record["step"]))
                    times.append(elapsed)
                    bits.append(_bits(record["val_nats_per_char"]))
                    counting = _bits(record["ngram_nats_per_char"])
                elif "event" not in record:
                    step, elapsed = int(record["step"]), float(record["elapsed_s"])
    except OSError as error:
        raise CheckpointError(f"cannot read {one_line(str(path))}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(
            f"{one_line(str(path / 'metrics.jsonl'))} makes no sense; remove that run and go on"
        ) from None
    return Trained(tuple(steps), tuple(times), tuple(bits), (step, elapsed), counting)


def compared(plan: Plan, folder: Path, failed: Mapping[tuple[str, int], str]) -> Result:
    """The table, the curves and the verdicts of runs that are all trained, or diverged. Raises CheckpointError."""
    found = {
        variant.name: [read_run(variant.run(folder, seed)) for seed in plan.seeds]
        for variant in plan.variants
    }
    values = {
        name: [
            math.nan if (name, seed) in failed else run.best
            for seed, run in zip(plan.seeds, runs, strict=True)
        ]
        for name, runs in found.items()
    }
    reference = plan.variants[0].name
    rows = [
        _row(variant, numbers, found[variant.name], values[variant.name], values[reference])
        for variant, numbers in zip(plan.variants, plan.parameters, strict=True)
    ]
    counting = [run.counting for run in found[reference]]
    if math.isfinite(fmean(counting)):
        rows.append((COUNTING, None, None, None, None, *_figures(counting, values[reference])))
    verdicts = [
        verdict(each.name, reference, values[each.name], values[reference])
        for each in plan.variants[1:]
    ]
    sentence = "; ".join(verdicts) + "."
    if len(verdicts) >= MANY and len(plan.seeds) > 1:
        sentence += f" Of {len(verdicts)} comparisons at 95 % each, some may be wrong by chance."
    for (name, seed), why in failed.items():
        sentence += f" {name} with seed {seed}: {why}."
    equal = f" at equal {plan.equal}" if plan.equal else ""
    names = ", ".join(each.name for each in plan.variants)
    return Result(
        f"{one_line(plan.name)}: {names}{equal}; best validation, {_seeds(len(plan.seeds))}, differences to {reference}",
        COLUMNS,
        tuple(rows),
        _panels(plan, found, values, counting),
        sentence,
        _settings(plan),
    )


def _row(
    variant: Variant,
    parameters: int,
    runs: Sequence[Trained],
    values: Sequence[float],
    reference: Sequence[float],
) -> tuple[Cell, ...]:
    steps, seconds = (fmean(run.end[place] for run in runs) for place in (0, 1))
    figures = _figures(values, None if values is reference else reference)
    return (
        variant.name,
        variant.settings.model.hidden_size,
        parameters,
        round(steps),
        seconds,
        *figures,
    )


def _figures(values: Sequence[float], reference: Sequence[float] | None) -> tuple[Cell, ...]:
    """Mean, half of its interval; the paired difference to the reference, its low and high. What is not known is None."""
    own = interval(values)
    found = [own.mean, own.half]
    if reference is not None:
        apart = difference(values, reference)
        found += [apart.mean, apart.low, apart.high]
    cells = [value if math.isfinite(value) else None for value in found]
    return tuple([*cells, None, None, None][:5])


def _panels(
    plan: Plan,
    found: Mapping[str, Sequence[Trained]],
    values: Mapping[str, Sequence[float]],
    counting: Sequence[float],
) -> tuple[Panel, ...]:
    by_steps = [_curve(name, [run.steps for run in runs], runs) for name, runs in found.items()]
    by_time = [_curve(name, [run.seconds for run in runs], runs) for name, runs in found.items()]
    panels = []
    for title, label, curves in (
        ("by steps", "optimiser updates", by_steps),
        ("by time", "seconds", by_time),
    ):
        longest, level = max((x for curve in curves for x in curve.x), default=0.0), fmean(counting)
        line = [Series(COUNTING, (0.0, longest), (level, level))] if math.isfinite(level) else []
        title = (
            f"validation {title}, with 95 % intervals"
            if len(plan.seeds) > 1
            else f"validation {title}"
        )
        panels.append(Panel(title, label, "bits per character", (*curves, *line)))
    if len(plan.seeds) > 1:
        seeds = tuple(map(float, plan.seeds))
        dots = tuple(Series(name, seeds, tuple(each)) for name, each in values.items())
        panels.append(Panel("best validation of each run", "seed", "bits per character", dots))
    return tuple(panels)


def _curve(name: str, x: Sequence[Sequence[float]], runs: Sequence[Trained]) -> Series:
    """The mean over seeds, evaluation by evaluation: where the lengths differ, so do the places, and their mean is taken.

    Without the first, of the network that has learnt nothing: it would dwarf the rest.
    """
    places = [fmean(each) for each in zip(*x, strict=False)][1:]
    means = [interval(each) for each in zip(*(run.bits for run in runs), strict=False)][1:]
    bands = (
        (tuple(each.low for each in means), tuple(each.high for each in means))
        if len(runs) > 1
        else (None, None)
    )
    return Series(name, tuple(places), tuple(each.mean for each in means), *bands)


def _settings(plan: Plan) -> dict[str, Cell]:
    """What the figures depend on, where it is the same for all."""
    first = plan.variants[0].settings
    model, training = (
        [getattr(each.settings, part) for each in plan.variants] for part in ("model", "training")
    )
    shown: dict[str, Cell] = {"seeds": f"{plan.seeds[0]} to {plan.seeds[-1]}"}
    for keys, parts, own in ((SHOWN[0], model, first.model), (SHOWN[1], training, first.training)):
        shown |= {
            key: getattr(own, key)
            for key in keys
            if not any(_differ(key, *two) for two in pairwise(parts))
        }
    for key in ("budget", "epochs", "steps"):
        if (value := getattr(first.training, key)) is not None and not any(
            _differ(key, *two) for two in pairwise(training)
        ):
            shown[key] = value
    return shown


def _differ(key: str, first: object, second: object) -> bool:
    return bool(getattr(first, key) != getattr(second, key))


def _bits(nats: float | None) -> float:
    return math.nan if nats is None else float(nats) / math.log(2)


def _seeds(number: int) -> str:
    return f"{number} seeds" if number != 1 else "one seed"

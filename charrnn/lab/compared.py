"""The result of a comparison: metrics.jsonl of its runs as a table, verdicts and curves."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from charrnn.errors import CheckpointError
from charrnn.lab.paired import POWER, difference, interval, verdict
from charrnn.lab.plan import Plan
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.lab.variants import Variant
from charrnn.terminal import one_line
from charrnn.training.metrics import MAX_EVALUATIONS, figure, metrics_lines

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
UNIT = "bits per character"

# The settings that are named under the table, where they are the same for all
OF_MODEL = ("num_layers", "embedding_size", "dropout")
OF_TRAINING = ("batch_size", "seq_length", "lr", "weight_decay", "optimizer")
LENGTHS = ("budget", "epochs", "steps")


@dataclass(frozen=True)
class Trained:
    """The evaluations of one run, and its end."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]  # since it began
    bits: tuple[float, ...]  # per character of the validation text
    last_step: int
    last_second: float
    counting: float  # bits of the best n-gram; NaN if the text is too long to count in passing

    @property
    def best(self) -> float:
        """The least bits per character of all evaluations; NaN if none is finite."""
        return min(filter(math.isfinite, self.bits), default=math.nan)


def read_run(path: Path) -> Trained:
    """Read metrics.jsonl of a run. Raises CheckpointError where it is missing or damaged."""
    steps: list[int] = []
    times: list[float] = []
    bits: list[float] = []
    step = 0
    elapsed_s = 0.0
    counting = math.nan
    file = path / "metrics.jsonl"
    senseless = CheckpointError(f"{one_line(str(file))} is damaged; remove that run and go on")
    for line in metrics_lines(file):
        if line is None or len(steps) >= MAX_EVALUATIONS:
            raise senseless
        if line.event == "eval":
            steps.append(line.step)
            times.append(elapsed_s)
            bits.append(_bits(figure(line.fields.get("val_nats_per_char"))))
            counting = _bits(figure(line.fields.get("ngram_nats_per_char")))
        elif line.event == "":
            step = line.step
            seconds = figure(line.fields.get("elapsed_s"))
            if seconds is None:
                raise senseless
            elapsed_s = seconds
    if not steps:
        raise senseless
    return Trained(tuple(steps), tuple(times), tuple(bits), step, elapsed_s, counting)


@dataclass(frozen=True)
class Measured:
    """What the runs of a comparison reached.

    runs, scores: of each variant by its name, in the order of the seeds. A score is the best bits
    per character on validation, NaN for a training that diverged. counting: of each seed.
    """

    runs: dict[str, list[Trained]]
    scores: dict[str, list[float]]
    counting: list[float]


def measured(plan: Plan, folder: Path, failed: Container[tuple[str, int]]) -> Measured:
    """Read runs that are all trained, or diverged. Raises CheckpointError.

    failed: variant and seed of those that diverged.
    """
    runs: dict[str, list[Trained]] = {}
    scores: dict[str, list[float]] = {}
    for variant in plan.variants:
        name = variant.name
        runs[name] = [read_run(variant.run(folder, seed)) for seed in plan.seeds]
        by_seed = zip(plan.seeds, runs[name], strict=True)
        scores[name] = [math.nan if (name, seed) in failed else run.best for seed, run in by_seed]
    counting = [run.counting for run in runs[plan.variants[0].name]]
    return Measured(runs, scores, counting)


def compared(plan: Plan, folder: Path, failed: Mapping[tuple[str, int], str]) -> Result:
    """Read runs that are all trained, or diverged. Returns table, curves and verdicts.

    failed: why, by variant and seed, a training diverged. Raises CheckpointError.
    """
    # 1. What was measured
    found = measured(plan, folder, failed)
    scores = found.scores

    # 2. The table, with counting beside the networks
    reference = plan.variants[0].name
    rows = []
    for variant, parameters in zip(plan.variants, plan.parameters, strict=True):
        against = None if variant.name == reference else scores[reference]
        own = scores[variant.name]
        rows.append(_row(variant, parameters, found.runs[variant.name], own, against))
    if math.isfinite(fmean(found.counting)):
        figures = _figures(found.counting, scores[reference])
        rows.append((COUNTING, None, None, None, None, *figures))

    # 3. The whole
    names = ", ".join(variant.name for variant in plan.variants)
    title = (
        f"{one_line(plan.name)}: {names}{at_equal(plan)}; best validation, {seeds_of(plan)}, "
        f"differences to {reference}"
    )
    return Result(
        title,
        COLUMNS,
        tuple(rows),
        _panels(plan, found.runs, scores, found.counting),
        " ".join(["; ".join(verdicts(plan, scores)) + ".", *remarks(plan, scores, failed)]),
        settings_of(plan),
    )


def at_equal(plan: Plan) -> str:
    """Say what was made equal, with a space before it; empty where nothing was."""
    return f" at equal {plan.equal}" if plan.equal else ""


def seeds_of(plan: Plan) -> str:
    """Say how many seeds there are."""
    return "one seed" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"


def verdicts(plan: Plan, scores: Mapping[str, Sequence[float]]) -> list[str]:
    """Say of each variant but the first whether it is better, if the seeds can tell."""
    reference = plan.variants[0].name
    return [
        verdict(variant.name, reference, scores[variant.name], scores[reference])
        for variant in plan.variants[1:]
    ]


def remarks(
    plan: Plan, scores: Mapping[str, Sequence[float]], failed: Mapping[tuple[str, int], str]
) -> list[str]:
    """Return sentences about the verdicts: what is an estimate, chance, and what diverged."""
    said = verdicts(plan, scores)
    sentences = []
    if any("would tell" in one for one in said):
        sentences.append(
            "The number of seeds is an estimate: with so many, differences of this size and "
            f"scatter are told from chance in {100 * POWER:.0f} % of comparisons."
        )
    if len(said) >= MANY and len(plan.seeds) > 1:
        sentences.append(f"Of {len(said)} comparisons at 95 % each, some may be wrong by chance.")
    sentences += [f"{name} with seed {seed}: {why}." for (name, seed), why in failed.items()]
    return sentences


def _row(
    variant: Variant,
    parameters: int,
    runs: Sequence[Trained],
    scores: Sequence[float],
    reference: Sequence[float] | None,
) -> tuple[Cell, ...]:
    return (
        variant.name,
        variant.settings.model.hidden_size,
        parameters,
        round(fmean(run.last_step for run in runs)),
        fmean(run.last_second for run in runs),
        *_figures(scores, reference),
    )


def _figures(scores: Sequence[float], reference: Sequence[float] | None) -> tuple[Cell, ...]:
    """Return mean, half of its interval, the paired difference to the reference, its low and high.

    What is not known is None.
    """
    own = interval(scores)
    figures = [own.mean, own.half]
    if reference is not None:
        gap = difference(scores, reference)
        figures += [gap.mean, gap.low, gap.high]
    cells = [value if math.isfinite(value) else None for value in figures]
    return tuple([*cells, None, None, None][:5])


def _panels(
    plan: Plan,
    runs: Mapping[str, Sequence[Trained]],
    scores: Mapping[str, Sequence[float]],
    counting: Sequence[float],
) -> tuple[Panel, ...]:
    # 1. The curves of training, by steps and by time, with counting as a level line
    by_steps = [
        mean_curve(name, [run.steps for run in of_name], of_name) for name, of_name in runs.items()
    ]
    by_time = [
        mean_curve(name, [run.seconds for run in of_name], of_name)
        for name, of_name in runs.items()
    ]
    intervals = ", with 95 % intervals" if len(plan.seeds) > 1 else ""
    level = fmean(counting)
    panels = []
    for title, label, curves in (
        ("validation by steps", "optimiser updates", by_steps),
        ("validation by time", "seconds", by_time),
    ):
        if math.isfinite(level):
            longest = max((x for curve in curves for x in curve.x), default=0.0)
            curves.append(Series(COUNTING, (0.0, longest), (level, level)))
        panels.append(Panel(title + intervals, label, UNIT, tuple(curves)))

    # 2. The score of each run, by seed
    if len(plan.seeds) > 1:
        seeds = tuple(map(float, plan.seeds))
        by_seed = tuple(Series(name, seeds, tuple(values)) for name, values in scores.items())
        panels.append(Panel("best validation of each run", "seed", UNIT, by_seed))
    return tuple(panels)


def mean_curve(name: str, x: Sequence[Sequence[float]], runs: Sequence[Trained]) -> Series:
    """Draw the mean over seeds, evaluation by evaluation.

    Where the lengths of the trainings differ, so do the places of evaluation, and their mean is
    taken. The first evaluation, of a network that has learnt nothing, is left out: it would dwarf
    the rest.
    """
    places = [fmean(of_evaluation) for of_evaluation in zip(*x, strict=False)][1:]
    bits = zip(*(run.bits for run in runs), strict=False)
    means = [interval(of_evaluation) for of_evaluation in bits][1:]
    mean = tuple(value.mean for value in means)
    if len(runs) == 1:
        return Series(name, tuple(places), mean)
    low = tuple(value.low for value in means)
    high = tuple(value.high for value in means)
    return Series(name, tuple(places), mean, low, high)


def settings_of(plan: Plan) -> dict[str, Cell]:
    """Return what the figures depend on, where it is the same for all."""
    models = [variant.settings.model for variant in plan.variants]
    trainings = [variant.settings.training for variant in plan.variants]
    lengths = [key for key in LENGTHS if getattr(trainings[0], key) is not None]
    split: dict[str, Cell] = {}
    if plan.split_seed is not None:
        split = {"split": f"of seed {plan.split_seed} for all"}
    return {
        "seeds": " to ".join(map(str, dict.fromkeys((plan.seeds[0], plan.seeds[-1])))),
        **split,
        **_shared(models, OF_MODEL),
        **_shared(trainings, OF_TRAINING),
        **_shared(trainings, lengths),
    }


def _shared(sections: Sequence[object], keys: Sequence[str]) -> dict[str, Cell]:
    """Return the values that all sections have in common."""
    first = sections[0]
    return {
        key: getattr(first, key)
        for key in keys
        if all(getattr(section, key) == getattr(first, key) for section in sections)
    }


def _bits(nats: float | None) -> float:
    return math.nan if nats is None else float(nats) / math.log(2)

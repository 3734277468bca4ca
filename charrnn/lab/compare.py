"""Settings against each other: trainings that differ in what is varied alone, over several seeds.

    DIR/compare.json            what was asked, and the settings of each variant (lab/plan.py)
    DIR/<variant>-seed-<n>/     one run each, written by training.session

compare.json is written before the first training. A comparison that was stopped goes on from these
files: finished runs are read, an unfinished one resumes exactly. Seeds are the outer loop and each
begins with another variant: a machine that grows slower or warmer does so for all alike.
torch is loaded where something is trained or timed: with --jobs the processes have loaded it.

Where lines are shuffled before they are split, all runs share the split of the first seed. With a
split for each seed, the scores would differ by the lines that happened to be held out, and by far
more than two settings do.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config import Settings, resolve
from charrnn.errors import DivergedError, SettingsError
from charrnn.lab.asked import Asked
from charrnn.lab.plan import PLAN, Plan, plan_from, read_plan, write_plan
from charrnn.lab.variants import READS, Variant, as_layer, variants_of
from charrnn.modelfile import checkpoint_files
from charrnn.scoring.score import Score
from charrnn.storage import claim_directory, json_line, make_directories, storage_error
from charrnn.terminal import one_line
from charrnn.text import building
from charrnn.text.building import Survey
from charrnn.training.listener import Progress, Silent, Step
from charrnn.training.naming import numbered, run_name
from charrnn.training.signals import SIGNALS
from charrnn.values import seconds

PROBE_S = 3.0  # in which the first variant shows its pace


@dataclass(frozen=True)
class Turn:
    """One training of a comparison. title: its number of how many, variant and seed."""

    variant: Variant
    seed: int
    title: str


def turns_of(plan: Plan, part: tuple[int, int] = (1, 1)) -> list[Turn]:
    """Return the trainings in their order; of a part (number, of how many) every such one."""
    number, parts = part
    runs = list(plan.runs())
    return [
        Turn(variant, seed, f"{place}/{len(runs)}  {variant.name}, seed {seed}")
        for place, (variant, seed) in enumerate(runs, 1)
        if (place - number) % parts == 0
    ]


class Stopped(Exception):
    """A signal, named by the argument, ended the comparison. What was trained is saved."""


def prepare(
    asked: Asked, folder: Path | None, runs: Path, progress: Progress, *, jobs: int = 1
) -> tuple[Plan, Path]:
    """Read the recorded plan, or make one and record it. Returns it and its directory.

    jobs: trainings at a time; beside others each has one thread, where nobody chose.
    Raises SettingsError, CorpusError, Stopped.
    """
    settings, _ = resolve(asked.layers)
    survey = building.survey(asked.corpus, settings.text, settings.split_seed)
    identity = json.loads(json_line(asked.to_dict(survey.fingerprint)))
    usual = runs / f"compare-{run_name(survey.name)}"
    place, recorded = _place(folder, usual, identity)
    if recorded is None:
        recorded = _planned(asked, survey, identity, progress, jobs)
        try:
            if folder is not None:
                make_directories(place)
            else:  # another comparison may have taken it while this one was planned
                place = next(filter(claim_directory, numbered(usual)))
        except OSError as error:
            raise storage_error(error, place) from error
        other = read_plan(place)  # of another part of the comparison, which was quicker
        if other is not None and other.get("asked") == identity:
            recorded = other
        else:
            write_plan(place, recorded)
    plan = plan_from(recorded, asked.corpus, survey.name, asked.seeds, place / PLAN)
    if recorded.get("seeds") != asked.seeds:  # more are added, or fewer looked at
        write_plan(place, recorded | {"name": survey.name, "seeds": asked.seeds})
    return plan, place


def _planned(
    asked: Asked, survey: Survey, identity: dict[str, Any], progress: Progress, jobs: int
) -> dict[str, Any]:
    """Decide the settings of every variant. Returns the content of compare.json."""

    def rate(settings: Settings) -> float:
        from charrnn.machine import runtime  # loads torch
        from charrnn.machine.backends import training_rate

        return training_rate(settings, runtime.prepare(settings.runtime))

    variants, parameters = variants_of(asked, survey, rate)
    if jobs > 1:
        variants = [_pinned(variant) for variant in variants]
    if survey.mode == "lines":
        variants = [_with_one_split(variant) for variant in variants]
    variants, equal = _equalised(variants, asked, progress)
    listed = [
        {"name": variant.name, "settings": variant.settings.to_dict()} for variant in variants
    ]
    return {
        "schema": 1,
        "asked": identity,
        "equal": equal,
        "parameters": parameters,
        "variants": listed,
        "name": survey.name,
        "seeds": asked.seeds,
    }


def _pinned(variant: Variant) -> Variant:
    """Return the variant with one thread, unless somebody has chosen how many."""
    threads = variant.settings.runtime.threads or 1
    return Variant(variant.name, variant.settings.with_values("runtime", threads=threads))


def _with_one_split(variant: Variant) -> Variant:
    """Return the variant with the split of the first seed for all, unless somebody chose one."""
    settings = variant.settings
    return Variant(variant.name, settings.with_values("text", split_seed=settings.split_seed))


def train_all(
    plan: Plan,
    folder: Path,
    progress_of: Callable[[], Any],
    say: Callable[[str], None],
    turns: Sequence[Turn] | None = None,
) -> dict[tuple[str, int], str]:
    """Train what is not trained yet. Raises Stopped.

    Returns why a run has no figure, for those that diverged. progress_of: gives a Progress with
    close() for each training. turns: those to train; None: all.
    """
    from charrnn.training.session import Request, train  # loads torch

    repeated: set[str] = set()
    failed: dict[tuple[str, int], str] = {}
    for turn in turns_of(plan) if turns is None else turns:
        # 1. A training from the beginning, or from where it was stopped
        variant = turn.variant
        seed = turn.seed
        path = variant.run(folder, seed)
        if checkpoint_files(path / "checkpoints"):
            request = Request(None, (), run=path, resume=True)
        else:
            layers = ((PLAN, as_layer(variant.with_seed(seed))),)
            request = Request(plan.corpus, layers, run=path)
        progress = progress_of()
        try:
            _, outcome = train(request, Quiet(progress, repeated))
        except DivergedError as error:
            failed[variant.name, seed] = str(error)
            say(f"{turn.title}: diverged")
            continue
        finally:
            progress.close()

        # 2. What became of it
        if outcome.reason in SIGNALS:
            raise Stopped(outcome.reason)
        say_trained(turn, outcome.reason, outcome.place.best_nats, outcome.place.elapsed_s, say)
    return failed


def say_trained(
    turn: Turn, reason: str, nats: float | None, elapsed_s: float, say: Callable[[str], None]
) -> None:
    """Say what became of a training, unless it had been done before."""
    if reason != "already done":
        score = Score(math.inf if nats is None else nats, 1)
        say(f"{turn.title}: {score} after {elapsed_s:.1f} s")


class Quiet(Silent):
    """The progress of a training inside a comparison: its bar, and each warning once."""

    def __init__(self, progress: Progress, repeated: set[str]) -> None:
        """repeated: the warnings given so far, of all trainings."""
        self._progress = progress
        self._repeated = repeated

    def say(self, text: str) -> None:
        """Pass on notes and warnings that nobody has seen yet."""
        if text.startswith(("note:", "warning:")) and text not in self._repeated:
            self._repeated.add(text)
            self._progress.say(text)

    def step(self, update: Step) -> None:
        """Move the bar."""
        self._progress.step(update)


def _equalised(
    variants: list[Variant], asked: Asked, progress: Progress
) -> tuple[list[Variant], str]:
    """Give the variants equal steps, if that was asked for. Returns in words what is equal.

    A budget becomes the passes over the text that the first variant makes in it, timed on a
    training that is thrown away. Raises Stopped.
    """
    # 1. The words
    words = {"params": "parameters", "time": "time", "steps": "steps"}
    if READS & {key for key, _ in asked.vary}:
        words["steps"] = "passes over the text"
    equal = " and ".join(words[word] for word in asked.equal)
    budget = variants[0].settings.training.budget
    if "steps" not in asked.equal or budget is None:
        return variants, equal

    # 2. The pace of the first variant
    from charrnn.training.session import Request, train  # loads torch

    wanted_s = seconds(budget, "--budget")
    probe = variants[0].settings.with_values("training", budget=f"{min(PROBE_S, wanted_s):g}s")
    with tempfile.TemporaryDirectory(prefix="charrnn-compare-") as folder:
        request = Request(asked.corpus, (("compare", as_layer(probe)),), run=Path(folder) / "pace")
        _, outcome = train(request, Quiet(progress, set()))
    if outcome.reason in SIGNALS:
        raise Stopped(outcome.reason)

    # 3. The passes that it makes in the budget, for all
    passes = outcome.epochs * wanted_s / max(1e-3, outcome.place.elapsed_s)
    epochs = float(f"{passes:.3g}")
    equalised = []
    for variant in variants:
        settings = variant.settings.with_values("training", budget=None, epochs=epochs)
        equalised.append(Variant(variant.name, settings))
    return equalised, equal


def _place(
    folder: Path | None, usual: Path, identity: dict[str, Any]
) -> tuple[Path, dict[str, Any] | None]:
    """Choose the directory. Returns it and what is recorded there.

    It is --run, or the first of NAME, NAME-2 ... that is free or holds this comparison.
    """
    if folder is not None:
        return folder, _recorded_in_run(folder, identity)
    for place in numbered(usual):
        recorded = read_plan(place)
        if not place.exists() or (recorded is not None and recorded.get("asked") == identity):
            return place, recorded
    raise AssertionError


def _recorded_in_run(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Read the plan in --run, if there is one. Raises SettingsError if something else is there."""
    recorded = read_plan(folder)
    if recorded is not None and recorded.get("asked") != identity:
        raise SettingsError(
            f"--run {one_line(str(folder))} holds another comparison"
            f"{_what_differs(recorded, identity)}; name another"
        )
    if recorded is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            f"--run {one_line(str(folder))} holds no comparison; name a new directory"
        )
    return recorded


def _what_differs(recorded: dict[str, Any], identity: dict[str, Any]) -> str:
    """Say in which words two comparisons differ, in brackets."""
    before = recorded.get("asked")
    if not isinstance(before, dict):
        return ""
    words = {"text": "the text", "vary": "--vary", "equal": "--equal", "settings": "the settings"}
    different = [words[key] for key in identity if before.get(key) != identity[key]]
    return f" ({' and '.join(different)} differ)"

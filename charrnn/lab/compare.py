"""Settings against each other: the same trainings but for what is varied, over several seeds, by training.session itself.

    DIR/compare.json            what was asked, and the settings of each variant: written before the first training
    DIR/<variant>-seed-<n>/     one run each, as any other

A comparison that was stopped goes on from these: finished runs are read, an unfinished one resumes exactly. Seeds are the
outer loop and each begins with another variant, so that a machine that grows slower or warmer does so for all alike.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config import flatten, resolve
from charrnn.errors import CheckpointError, DivergedError, SettingsError
from charrnn.lab.asked import Asked
from charrnn.lab.variants import READS, Variant, as_layer, variants_of
from charrnn.machine import runtime
from charrnn.machine.backends import training_rate
from charrnn.modelfile import checkpoint_files
from charrnn.storage import (
    json_line,
    make_directories,
    read_bounded,
    storage_error,
    write_atomically,
)
from charrnn.terminal import one_line
from charrnn.text import building
from charrnn.training.listener import Progress
from charrnn.training.naming import run_name
from charrnn.training.session import SIGNALS, Request, train
from charrnn.values import seconds

PLAN = "compare.json"
PROBE_S = 3.0  # in which the first variant shows its pace


@dataclass(frozen=True)
class Plan:
    """variants, the first of which is the reference; parameters of each; equal: in words, what was made so."""

    corpus: str | None
    name: str  # of the text
    variants: tuple[Variant, ...]
    parameters: tuple[int, ...]
    seeds: tuple[int, ...]
    equal: str

    def runs(self) -> Iterator[tuple[Variant, int]]:
        """Every training, in the order in which they are done."""
        for place, seed in enumerate(self.seeds):
            first = place % len(self.variants)
            yield from (
                (variant, seed) for variant in self.variants[first:] + self.variants[:first]
            )


class Stopped(Exception):
    """A signal ended the comparison; its name is the argument. What was trained is saved."""


def prepare(asked: Asked, folder: Path | None, runs: Path, progress: Progress) -> tuple[Plan, Path]:
    """The plan, as recorded or made now and written, and its directory. Raises SettingsError, CorpusError, Stopped."""
    settings, _ = resolve(asked.layers)
    found = building.survey(asked.corpus, settings.text, settings.training.seed)
    identity = json.loads(json_line(asked.to_dict(found.fingerprint)))
    seeds = tuple(range(settings.training.seed, settings.training.seed + asked.seeds))
    place, recorded = _place(folder, runs / f"compare-{run_name(found.name)}", identity)
    if recorded is None:
        made, parameters = variants_of(
            asked, found, lambda each: training_rate(each, runtime.prepare(each.runtime))
        )
        made, equal = _equalised(made, asked, progress)
        recorded = {
            "schema": 1,
            "asked": identity,
            "equal": equal,
            "parameters": parameters,
            "variants": [{"name": each.name, "settings": each.settings.to_dict()} for each in made],
        }
        try:
            make_directories(place)
        except OSError as error:
            raise storage_error(error, place) from error
        write_atomically(place / PLAN, json.dumps(recorded, indent=1, allow_nan=False).encode())
    try:
        variants = [
            Variant(str(each["name"]), resolve([(PLAN, flatten(each["settings"], PLAN))])[0])
            for each in recorded["variants"]
        ]
        plan = Plan(
            asked.corpus,
            found.name,
            tuple(variants),
            tuple(map(int, recorded["parameters"])),
            seeds,
            str(recorded["equal"]),
        )
        if not variants or len(plan.parameters) != len(variants):
            raise ValueError
    except (KeyError, TypeError, ValueError, SettingsError):
        raise CheckpointError(
            f"{one_line(str(place / PLAN))} makes no sense; compare anew in another --run"
        ) from None
    return plan, place


def train_all(
    plan: Plan, folder: Path, progress_of: Callable[[], Any], say: Callable[[str], None]
) -> dict[tuple[str, int], str]:
    """Train what is not trained yet. Returns why a run has no figure, for those that diverged. Raises Stopped.

    progress_of: a Progress with close() for each training.
    """
    total, told = len(plan.variants) * len(plan.seeds), set[str]()
    failed: dict[tuple[str, int], str] = {}
    for number, (variant, seed) in enumerate(plan.runs(), 1):
        path = variant.run(folder, seed)
        going_on = bool(checkpoint_files(path / "checkpoints"))
        layers = () if going_on else ((PLAN, as_layer(variant.with_seed(seed))),)
        progress = progress_of()
        request = Request(plan.corpus if not going_on else None, layers, run=path, resume=going_on)
        try:
            _, outcome = train(request, _Quiet(progress, told))
        except DivergedError as error:
            failed[variant.name, seed] = str(error)
            say(f"{number}/{total}  {variant.name}, seed {seed}: diverged")
            continue
        finally:
            progress.close()
        if outcome.reason in SIGNALS:
            raise Stopped(outcome.reason)
        if outcome.reason != "already done":
            bits = outcome.place.best_nats / math.log(2)
            say(
                f"{number}/{total}  {variant.name}, seed {seed}: {bits:.3f} bits/char after {outcome.place.elapsed_s:.1f} s"
            )
    return failed


class _Quiet:
    """A training inside a comparison: its bar, and each of its warnings once; what it learns is told in one line."""

    def __init__(self, progress: Progress, told: set[str]) -> None:
        self._progress, self._told = progress, told

    def say(self, text: str) -> None:
        if text.startswith(("note:", "warning:")) and text not in self._told:
            self._told.add(text)
            self._progress.say(text)

    def step(
        self,
        step: int,
        total: int | None,
        chars: int,
        bits_per_char: float,
        seconds_left: float | None,
    ) -> None:
        self._progress.step(step, total, chars, bits_per_char, seconds_left)

    def evaluated(self, *_: Any) -> None:
        pass

    def sampled(self, *_: Any) -> None:
        pass


def _equalised(
    variants: list[Variant], asked: Asked, progress: Progress
) -> tuple[list[Variant], str]:
    """The variants with as many steps each, if that was asked for, and in words what is equal. Raises Stopped.

    A budget becomes the passes over the text that the first variant makes in it, timed on a training that is thrown away.
    """
    words = {"params": "parameters", "time": "time", "steps": "steps"}
    if READS & {key for key, _ in asked.vary}:
        words["steps"] = "passes over the text"
    equal = " and ".join(words[word] for word in asked.equal)
    budget = variants[0].settings.training.budget
    if "steps" not in asked.equal or budget is None:
        return variants, equal
    wanted_s = seconds(budget, "--budget")
    probe = variants[0].settings.with_values("training", budget=f"{min(PROBE_S, wanted_s):g}s")
    with tempfile.TemporaryDirectory(prefix="charrnn-compare-") as folder:
        request = Request(asked.corpus, (("compare", as_layer(probe)),), run=Path(folder) / "pace")
        outcome = train(request, _Quiet(progress, set()))[1]
    if outcome.reason in SIGNALS:
        raise Stopped(outcome.reason)
    epochs = float(f"{outcome.epochs * wanted_s / max(1e-3, outcome.place.elapsed_s):.3g}")
    return [
        Variant(each.name, each.settings.with_values("training", budget=None, epochs=epochs))
        for each in variants
    ], equal


def _place(
    folder: Path | None, usual: Path, identity: dict[str, Any]
) -> tuple[Path, dict[str, Any] | None]:
    """The directory and what is recorded there: --run, or the first of NAME, NAME-2 ... that is this comparison's or free."""
    if folder is not None:
        recorded = _recorded(folder)
        if recorded is not None and recorded.get("asked") != identity:
            raise SettingsError(
                f"--run {one_line(str(folder))} holds another comparison{_what_differs(recorded, identity)}; name another"
            )
        if recorded is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SettingsError(
                f"--run {one_line(str(folder))} holds no comparison; name a new directory"
            )
        return folder, recorded
    for number in itertools.count(1):
        place = usual if number == 1 else usual.with_name(f"{usual.name}-{number}")
        recorded = _recorded(place)
        if not place.exists() or (recorded is not None and recorded.get("asked") == identity):
            return place, recorded
    raise AssertionError


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Raises CheckpointError for a plan that cannot be read."""
    if not (folder / PLAN).is_file():
        return None
    try:
        recorded = json.loads(read_bounded(folder / PLAN, 64 << 20, "a comparison of charrnn"))
        if not isinstance(recorded, dict):
            raise ValueError
        return recorded
    except (ValueError, RecursionError):
        raise CheckpointError(
            f"{one_line(str(folder / PLAN))} makes no sense; compare anew in another --run"
        ) from None


def _what_differs(recorded: dict[str, Any], identity: dict[str, Any]) -> str:
    before = recorded.get("asked")
    keys = [
        key for key in identity if not isinstance(before, dict) or before.get(key) != identity[key]
    ]
    words = {"text": "the text", "vary": "--vary", "equal": "--equal", "settings": "the settings"}
    return (
        f" ({' and '.join(words[key] for key in keys)} differ)" if isinstance(before, dict) else ""
    )

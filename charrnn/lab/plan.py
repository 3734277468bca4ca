"""The plan of a comparison, and the file that holds it: DIR/compare.json.

It says what was asked, the settings of each variant, and how many seeds; a comparison is continued
and reported from it. It trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config import flatten, resolve
from charrnn.errors import CheckpointError, SettingsError
from charrnn.lab.asked import MOST_SEEDS
from charrnn.lab.variants import Variant
from charrnn.storage import read_bounded, write_atomically
from charrnn.strictjson import parsed
from charrnn.terminal import one_line
from charrnn.values import MAX_WHOLE, Check, is_list_of, is_text, is_whole, wrong_field

PLAN = "compare.json"
MAX_PLAN_BYTES = 4 << 20
MOST_VARIANTS = 10_000  # that a file may hold


def _is_variant(value: object) -> bool:
    """Whether it is a name with settings, by section; which those are, config.resolve looks at."""
    if not isinstance(value, dict) or not isinstance(value.get("settings"), dict):
        return False
    return is_text()(value.get("name"))


REQUIRED: dict[str, Check] = {
    "schema": is_whole(1, 1),
    "asked": lambda value: isinstance(value, dict),
    "equal": is_text(),
    "parameters": is_list_of(is_whole(0, MAX_WHOLE), MOST_VARIANTS),
    "variants": is_list_of(_is_variant, MOST_VARIANTS),
}
# Versions up to 0.4.0 wrote neither.
FIELDS = REQUIRED | {"name": is_text(), "seeds": is_whole(1, MOST_SEEDS)}


@dataclass(frozen=True)
class Plan:
    """All trainings of a comparison."""

    corpus: str | None
    name: str  # of the text
    variants: tuple[Variant, ...]  # the first is the reference
    parameters: tuple[int, ...]  # of each variant
    seeds: tuple[int, ...]
    equal: str  # in words, what was made equal

    def runs(self) -> Iterator[tuple[Variant, int]]:
        """Yield every training, in the order of their turns."""
        for place, seed in enumerate(self.seeds):
            first = place % len(self.variants)
            for variant in self.variants[first:] + self.variants[:first]:
                yield variant, seed

    @property
    def split_seed(self) -> int | None:
        """Seed of the one split that all runs share; None: each seed draws a split of its own."""
        return self.variants[0].settings.text.split_seed


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Read compare.json, if there is one. Raises CheckpointError if it is damaged."""
    if not (folder / PLAN).is_file():
        return None
    try:
        recorded = parsed(read_bounded(folder / PLAN, MAX_PLAN_BYTES, "a comparison of charrnn"))
        if not isinstance(recorded, dict) or wrong_field(recorded, FIELDS, REQUIRED) is not None:
            raise ValueError
        return recorded
    except (ValueError, RecursionError):
        raise _senseless(folder / PLAN) from None


def write_plan(folder: Path, recorded: dict[str, Any]) -> None:
    """Write compare.json. Raises StorageError."""
    content = json.dumps(recorded, indent=1, allow_nan=False)
    write_atomically(folder / PLAN, content.encode())


def plan_from(
    recorded: dict[str, Any], corpus: str | None, name: str, seeds: int, path: Path
) -> Plan:
    """Make the plan from what compare.json holds, with so many seeds.

    path: of the file. Raises CheckpointError where it holds no plan.
    """
    try:
        variants = []
        for entry in recorded["variants"]:
            settings, _ = resolve([(PLAN, flatten(entry["settings"], PLAN))])
            variants.append(Variant(entry["name"], settings))
        parameters = tuple(recorded["parameters"])
        if not variants or len(parameters) != len(variants):
            raise ValueError
    except (ValueError, SettingsError):
        raise _senseless(path) from None
    first = variants[0].settings.training.seed
    counted = tuple(range(first, first + seeds))
    return Plan(corpus, name, tuple(variants), parameters, counted, recorded["equal"])


def _senseless(path: Path) -> CheckpointError:
    return CheckpointError(f"{one_line(str(path))} is damaged; name another --run")

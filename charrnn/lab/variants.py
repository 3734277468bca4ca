"""What a comparison compares: values of settings, crossed; what all have in common; widths at which parameters are equal.

No training here: lab/compare.py does that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config import LENGTHS, ModelSettings, Settings, flatten, resolve
from charrnn.errors import SettingsError
from charrnn.lab.asked import Asked, Layers, typed
from charrnn.layout import expected_shapes
from charrnn.terminal import one_line
from charrnn.text.building import Survey
from charrnn.training import recipe
from charrnn.training.naming import run_name

TOLERANCE = 0.02  # of the reference's parameters
# Of what nobody set: a comparison to see at once. Where a length was given, the recipe of `charrnn train` decides.
QUICK: dict[str, Any] = {"hidden_size": 64, "dropout": 0.2}
QUICK_LENGTH: dict[bool, dict[str, Any]] = {
    True: {"budget": "6s"},
    False: {"steps": 1500},
}  # of equal time, of all else
EVERYWHERE: dict[str, Any] = {
    "patience": 0
}  # or a training that ends early would have been given less
READS = {
    "batch_size",
    "seq_length",
}  # of what these change, as many passes are compared, not as many updates


@dataclass(frozen=True)
class Variant:
    """One setting of what is varied, complete but for the seed."""

    name: str
    settings: Settings

    def run(self, folder: Path, seed: int) -> Path:
        words = re.sub(r"[ ,=]+", "-", self.name)
        name = run_name(words)
        if name != words:  # cut short or altered, and then perhaps another's too
            name = f"{name[:60]}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
        return folder / f"{name}-seed-{seed}"

    def with_seed(self, seed: int) -> Settings:
        return self.settings.with_values("training", seed=seed)


def variants_of(
    asked: Asked, found: Survey, rate: Callable[[Settings], float]
) -> tuple[list[Variant], list[int]]:
    """Every combination of what is varied, each with all its settings, and its parameters. rate: as of recipe.fill.

    Sizes and rates that the program decides are decided for the first variant, for all: they differ in nothing else.
    """
    origins = resolve(asked.layers)[1]
    keys = [key for key, _ in asked.vary]
    is_quick = not any(key in origins or key in keys for key in LENGTHS)
    usual = QUICK | QUICK_LENGTH["time" in asked.equal] if is_quick else {}
    quick = {key: value for key, value in usual.items() if key not in keys}
    base: Layers = (("compare", EVERYWHERE | quick), *asked.layers)
    combinations = [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(each for _, each in asked.vary))
    ]
    resolved = [
        resolve([*base, ("--vary", each)])[0] for each in combinations
    ]  # what does not go together is told first
    filled = recipe.fill(resolved[0], found, lambda: rate(resolved[0]), {*origins, *keys})[0]
    size, variants = len(found.vocabulary), []
    wanted = count(sized(filled.model, filled.model.hidden_size or 1), size)
    for each in combinations:
        name = ", ".join(_named(key, value) for key, value in each.items())
        made = resolve([("compare", as_layer(filled)), ("--vary", each)])[0]
        model = sized(made.model, made.model.hidden_size or 1)
        if "params" in asked.equal:
            model = sized(model, matched_hidden_size(model, size, wanted))
            if abs(count(model, size) - wanted) > TOLERANCE * wanted:
                raise SettingsError(
                    f"--equal params: no width of {name} comes within {TOLERANCE:.0%} of {wanted:,} parameters (nearest: "
                    f"{count(model, size):,}); take a larger --hidden-size"
                )
        variants.append(Variant(name, dataclasses.replace(made, model=model)))
    return variants, [count(each.settings.model, size) for each in variants]


def matched_hidden_size(settings: ModelSettings, vocabulary_size: int, wanted: int) -> int:
    """The hidden size with which this network has the number of parameters nearest to wanted."""
    low, high = 0, 1
    while high < 65536 and count(sized(settings, high), vocabulary_size) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high)
            if count(sized(settings, middle), vocabulary_size) < wanted
            else (low, middle)
        )
    return min(
        (max(1, low), high),
        key=lambda size: abs(count(sized(settings, size), vocabulary_size) - wanted),
    )


def count(settings: ModelSettings, vocabulary_size: int) -> int:
    """Parameters of a network whose sizes are all named."""
    return sum(math.prod(shape) for shape in expected_shapes(settings, vocabulary_size).values())


def sized(settings: ModelSettings, hidden_size: int) -> ModelSettings:
    """The same network with another width; a tied embedding is as wide."""
    embedding = hidden_size if settings.tie_weights else settings.embedding_size
    return dataclasses.replace(settings, hidden_size=hidden_size, embedding_size=embedding)


def as_layer(settings: Settings) -> dict[str, Any]:
    """Settings as a layer: what is decided, by key."""
    return {
        key: value
        for key, value in flatten(settings.to_dict(), "compare").items()
        if value is not None
    }


def _named(key: str, value: Any) -> str:
    shown = one_line(str(value))
    if (
        isinstance(value, float) and float(f"{value:g}") == value
    ):  # 1 rather than 1.0, but never two values as one
        shown = f"{value:g}"
    return (
        shown
        if key == "cell"
        else f"{typed(key)} {shown.lower() if isinstance(value, bool) else shown}"
    )

"""What a comparison compares: the variants, what they share, and widths with equal parameters.

It trains nothing: lab/compare.py does that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping
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
from charrnn.training.sizing import Card

TOLERANCE = 0.02  # of the reference's parameters

# What nobody chose is small: a comparison to see at once. Where a length was given, the recipe of
# `charrnn train` decides instead.
QUICK: dict[str, Any] = {"hidden_size": 64, "dropout": 0.2}
QUICK_TIME: dict[str, Any] = {"budget": "6s"}  # where the time is equal
QUICK_STEPS: dict[str, Any] = {"steps": 1500}  # elsewhere

# A training must not end early: it would have been given less than the others.
EVERYWHERE: dict[str, Any] = {"patience": 0}

# These change what an update reads: passes over the text are made equal, not updates.
READS = {"batch_size", "seq_length"}


@dataclass(frozen=True)
class Variant:
    """One choice of the varied settings: complete except for the seed."""

    name: str
    settings: Settings

    def run(self, folder: Path, seed: int) -> Path:
        """Name the directory of one training."""
        words = re.sub(r"[ ,=]+", "-", self.name)
        name = run_name(words)
        if name != words:  # cut short or altered: another variant may have got the same name
            name = f"{name[:60]}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
        return folder / f"{name}-seed-{seed}"

    def with_seed(self, seed: int) -> Settings:
        """Return the settings of one training."""
        return self.settings.with_values("training", seed=seed)


def variants_of(
    asked: Asked, survey: Survey, rate: Callable[[Settings], float]
) -> tuple[list[Variant], list[int]]:
    """Return every combination of the varied settings, and the parameters of each.

    Sizes and rates that the program decides are decided for the first variant and used for all, so
    that variants differ in nothing else. rate: as in recipe.fill. Raises SettingsError.
    """
    # 1. What is asked for, and every combination of it. All are resolved before anything is
    #    decided: settings that contradict each other are an error at once.
    _, origins = resolve(asked.layers)
    keys = [key for key, _ in asked.vary]
    base: Layers = (("compare", EVERYWHERE | _quick(asked, keys, origins)), *asked.layers)
    combinations = [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(values for _, values in asked.vary))
    ]
    resolved = [resolve([*base, ("--vary", values)])[0] for values in combinations]

    # 2. What the recipe decides, for the first
    reference = resolved[0]
    filled, *_ = recipe.fill(
        reference,
        survey,
        lambda: rate(reference),
        {*origins, *keys},
        _card(reference, survey),
    )
    vocabulary_size = len(survey.vocabulary)
    model = filled.model
    wanted = count(sized(model, model.hidden_size or 1), vocabulary_size)

    # 3. Each variant
    variants = []
    for values in combinations:
        name = ", ".join(_named(key, value) for key, value in values.items())
        settings, _ = resolve([("compare", as_layer(filled)), ("--vary", values)])
        model = sized(settings.model, settings.model.hidden_size or 1)
        if "params" in asked.equal:
            model = _matched(name, model, vocabulary_size, wanted)
        variants.append(Variant(name, dataclasses.replace(settings, model=model)))
    return variants, [count(variant.settings.model, vocabulary_size) for variant in variants]


def _quick(asked: Asked, keys: list[str], origins: Mapping[str, str]) -> dict[str, Any]:
    """Return small settings for what nobody chose; none if a length is given or varied."""
    if any(key in origins or key in keys for key in LENGTHS):
        return {}
    length = QUICK_TIME if "time" in asked.equal else QUICK_STEPS
    return {key: value for key, value in (QUICK | length).items() if key not in keys}


def _card(settings: Settings, survey: Survey) -> Card | None:
    """Return the GPU that a budget is spent on; None on the CPU. Raises SettingsError."""
    if settings.training.budget is None and settings.runtime.device in ("auto", "cpu"):
        return None
    from charrnn.training.card import card_for  # loads torch

    return card_for(settings, survey)


def _matched(name: str, model: ModelSettings, vocabulary_size: int, wanted: int) -> ModelSettings:
    """Return the network with the width that fits. Raises SettingsError if none fits."""
    model = sized(model, matched_hidden_size(model, vocabulary_size, wanted))
    parameters = count(model, vocabulary_size)
    if abs(parameters - wanted) > TOLERANCE * wanted:
        raise SettingsError(
            f"--equal params: no width of {name} comes within {TOLERANCE:.0%} of {wanted:,} "
            f"parameters (nearest: {parameters:,}); take a larger --hidden-size"
        )
    return model


def matched_hidden_size(settings: ModelSettings, vocabulary_size: int, wanted: int) -> int:
    """Return the hidden size with the number of parameters nearest to wanted."""

    def parameters(size: int) -> int:
        return count(sized(settings, size), vocabulary_size)

    low = 0
    high = 1
    while high < 65536 and parameters(high) < wanted:
        low = high
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if parameters(middle) < wanted:
            low = middle
        else:
            high = middle
    return min((max(1, low), high), key=lambda size: abs(parameters(size) - wanted))


def count(settings: ModelSettings, vocabulary_size: int) -> int:
    """Count the parameters of a network whose sizes are all named."""
    shapes = expected_shapes(settings, vocabulary_size)
    return sum(math.prod(shape) for shape in shapes.values())


def sized(settings: ModelSettings, hidden_size: int) -> ModelSettings:
    """Return the network with another width; a tied embedding is as wide."""
    embedding = hidden_size if settings.tie_weights else settings.embedding_size
    return dataclasses.replace(settings, hidden_size=hidden_size, embedding_size=embedding)


def as_layer(settings: Settings) -> dict[str, Any]:
    """Return the settings that are decided, by key, as a layer."""
    values = flatten(settings.to_dict(), "compare")
    return {key: value for key, value in values.items() if value is not None}


def _named(key: str, value: Any) -> str:
    """Name one choice of a variant: `lstm` for a cell, else `dropout 0.5`."""
    if key == "cell":
        return one_line(str(value))
    text = str(value)
    if isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, float) and float(f"{value:g}") == value:
        text = f"{value:g}"  # 1 rather than 1.0, and never two values as one
    return f"{typed(key)} {one_line(text)}"

"""What a comparison compares: a setting's values, crossed; what they have in common; widths at which parameters are equal.

No training here: lab/compare.py does that.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config import FIELDS, LENGTHS, ModelSettings, Settings, checked, flag, flatten, nearest, resolve
from charrnn.errors import SettingsError
from charrnn.layout import expected_shapes
from charrnn.terminal import one_line
from charrnn.text.corpus import Survey
from charrnn.training import recipe
from charrnn.training.checkpoint import run_name

EQUALS = ("params", "time", "steps")
TOLERANCE = 0.02  # of the reference's parameters
MOST_SEEDS = 1000
# Of what nobody set: a comparison to see at once. Where a length was given, the recipe of `charrnn train` decides.
DEFAULT_CELLS = ("lstm", "gru", "rnn")
QUICK: dict[str, Any] = {"budget": "8s", "hidden_size": 64, "dropout": 0.2}
EVERYWHERE: dict[str, Any] = {"patience": 0}  # or a training that ends early would have been given less
READS = {"batch_size", "seq_length"}  # of what these change, as many passes are compared, not as many updates
REFUSED = {
    "seed": "the seeds are --seed and those after it, as many as --seeds says",
    "init_from": "every run here begins from scratch", "freeze": "every run here begins from scratch",
    "mix": "every run here begins from scratch", "order": "counting stands beside the networks anyway",
    "smoothing": "counting stands beside the networks anyway", "keep": "no figure depends on it",
    "save_every": "no figure depends on it", "sample_every": "no figure depends on it",
}  # fmt: skip

Layers = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Asked:
    """What a person asked for, checked."""

    corpus: str | None
    layers: Layers
    vary: tuple[tuple[str, tuple[Any, ...]], ...]
    equal: tuple[str, ...]
    seeds: int

    def to_dict(self, fingerprint: str) -> dict[str, Any]:
        """What makes a comparison this one: all but how many seeds it has."""
        settings, origins = resolve(self.layers)
        values = settings.to_dict()
        chosen = {key: values[FIELDS[key][0]][key] for key in sorted(origins)}
        return {
            "text": fingerprint, "vary": [[key, list(each)] for key, each in self.vary], "equal": list(self.equal),
            "settings": chosen,
        }  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One setting of what is varied, complete but for the seed."""

    name: str
    settings: Settings

    def run(self, folder: Path, seed: int) -> Path:
        return folder / f"{run_name(re.sub(r'[ ,=]+', '-', self.name))}-seed-{seed}"

    def with_seed(self, seed: int) -> Settings:
        return self.settings.with_values("training", seed=seed)


def ask(corpus: str | None, layers: Layers, vary: Iterable[str], equal: str | None, seeds: int) -> Asked:
    """Raises SettingsError for what cannot be compared."""
    settings, origins = resolve(layers)
    if corpus == "-":
        raise SettingsError(
            "compare reads the text once for each training; save standard input to a file and name that"
        )
    for key in ("init_from", "freeze", "mix"):
        if key in origins:
            raise SettingsError(f"{flag(key)}: {REFUSED[key]}; leave it out")
    if settings.model.cell == "ngram":
        raise SettingsError("--cell ngram: counting stands beside the networks anyway; compare networks")
    if not 1 <= seeds <= MOST_SEEDS:
        raise SettingsError(f"--seeds {seeds}: must be between 1 and {MOST_SEEDS:,}")
    varied = tuple(_varied(each) for each in vary) or (("cell", DEFAULT_CELLS),)
    keys = [key for key, _ in varied]
    for key in keys:
        if keys.count(key) > 1:
            raise SettingsError(f"--vary {_typed(key)} is given twice; put all values into one")
        if key in origins and key not in LENGTHS:
            raise SettingsError(f"{origins[key]} and --vary {_typed(key)} both set it; leave one out")
    return Asked(corpus, layers, varied, _equal(equal, keys, origins), seeds)


def variants_of(asked: Asked, found: Survey, rate: Callable[[Settings], float]) -> tuple[list[Variant], list[int]]:
    """Every combination of what is varied, each with all its settings, and its parameters. rate: as of recipe.fill.

    Sizes and rates that the program decides are decided for the first variant, for all: they differ in nothing else.
    """
    origins = resolve(asked.layers)[1]
    keys = [key for key, _ in asked.vary]
    is_quick = not any(key in origins or key in keys for key in LENGTHS)
    quick = {key: value for key, value in (QUICK if is_quick else {}).items() if key not in keys}
    base: Layers = (("compare", EVERYWHERE | quick), *asked.layers)
    combinations = [
        dict(zip(keys, values, strict=True)) for values in itertools.product(*(each for _, each in asked.vary))
    ]
    resolved = [
        resolve([*base, ("--vary", each)])[0] for each in combinations
    ]  # what does not go together is told first
    filled = recipe.fill(resolved[0], found, lambda: rate(resolved[0]))[0]
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
        low, high = (middle, high) if count(sized(settings, middle), vocabulary_size) < wanted else (low, middle)
    return min((max(1, low), high), key=lambda size: abs(count(sized(settings, size), vocabulary_size) - wanted))


def count(settings: ModelSettings, vocabulary_size: int) -> int:
    """Parameters of a network whose sizes are all named."""
    return sum(math.prod(shape) for shape in expected_shapes(settings, vocabulary_size).values())


def sized(settings: ModelSettings, hidden_size: int) -> ModelSettings:
    """The same network with another width; a tied embedding is as wide."""
    embedding = hidden_size if settings.tie_weights else settings.embedding_size
    return dataclasses.replace(settings, hidden_size=hidden_size, embedding_size=embedding)


def _varied(text: str) -> tuple[str, tuple[Any, ...]]:
    """'cell=rnn,lstm' -> ("cell", ("rnn", "lstm")). Raises SettingsError."""
    name, equals, listed = text.partition("=")
    typed = name.strip().removeprefix("--")
    key = typed.replace("-", "_")
    if not equals or not key:
        raise SettingsError(f"--vary {one_line(text)!r}: write it as setting=value,value, as in cell=lstm,gru")
    if key not in FIELDS:
        raise SettingsError(f"--vary {one_line(typed)}: there is no such setting{nearest(key, map(_typed, FIELDS))}")
    section, item = FIELDS[key]
    if section == "text":
        raise SettingsError(
            f"--vary {_typed(key)}: figures of different texts do not compare; vary the network or its training"
        )
    if key in REFUSED:
        raise SettingsError(f"--vary {_typed(key)}: {REFUSED[key]}; vary something else")
    values = tuple(checked(item, each.strip(), f"--vary {_typed(key)}") for each in listed.split(","))
    if "ngram" in values:
        raise SettingsError("--vary cell: counting (ngram) stands beside the networks anyway; leave it out")
    for each in values:
        if values.count(each) > 1:
            raise SettingsError(f"--vary {_typed(key)}: {one_line(str(each))} is given twice; leave one out")
    if len(values) < 2:
        raise SettingsError(f"--vary {one_line(text)}: one value compares nothing; give two or more, with commas")
    return key, values


def _equal(text: str | None, keys: list[str], origins: Mapping[str, str]) -> tuple[str, ...]:
    """What is made equal, of EQUALS. Raises SettingsError for words that contradict the rest."""
    words = [word.strip() for word in text.split(",")] if text is not None else []
    for word in words:
        if word not in EQUALS:
            raise SettingsError(f"--equal {one_line(word)!r} is not one of {', '.join(EQUALS)}{nearest(word, EQUALS)}")
    lengths = [key for key in LENGTHS if key in keys]
    if "time" in words and "steps" in words:
        raise SettingsError("--equal time,steps: a slower cell takes fewer steps in the same time; give one")
    if "params" in words and "hidden_size" in keys:
        raise SettingsError("--equal params chooses the hidden size; leave --vary hidden-size or --equal params out")
    if lengths and {"time", "steps"} & set(words):
        raise SettingsError(f"--vary {lengths[0]} says how long to train; leave time and steps out of --equal")
    if len(lengths) > 1 or (lengths and any(key in origins for key in LENGTHS)):
        raise SettingsError(f"--vary {lengths[0]} says how long to train; leave the other lengths out")
    unequal = next((origins[key] for key in ("steps", "epochs") if key in origins), None)
    if "time" in words and unequal:
        raise SettingsError(f"--equal time: {unequal} gives each as many steps; give a --budget instead")
    if text is None and "hidden_size" not in keys:
        words = ["params"]
    if not lengths and "time" not in words and "steps" not in words:
        words.append("steps")
    return tuple(word for word in EQUALS if word in words)


def as_layer(settings: Settings) -> dict[str, Any]:
    """Settings as a layer: what is decided, by key."""
    return {key: value for key, value in flatten(settings.to_dict(), "compare").items() if value is not None}


def _named(key: str, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else one_line(str(value))
    return shown if key == "cell" else f"{_typed(key)} {shown.lower() if isinstance(value, bool) else shown}"


def _typed(key: str) -> str:
    return flag(key).removeprefix("--")

"""What a person asks `charrnn compare` for, checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config import FIELDS, LENGTHS, dotted, flag, resolve
from charrnn.errors import SettingsError
from charrnn.terminal import one_line
from charrnn.values import checked, nearest

EQUALS = ("params", "time", "steps")
MOST_SEEDS = 1000
DEFAULT_CELLS = ("lstm", "gru", "rnn")
REFUSED = {
    "seed": "the seeds are training.seed and those after it, as many as --seeds says",
    "init_from": "every run here begins from scratch",
    "freeze": "every run here begins from scratch",
    "mix": "every run here begins from scratch",
    "order": "compare always shows the n-gram",
    "smoothing": "compare always shows the n-gram",
    "keep": "no figure depends on it",
    "save_every": "no figure depends on it",
    "sample_every": "no figure depends on it",
}

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
        """Return what identifies a comparison: everything but the number of seeds."""
        settings, origins = resolve(self.layers)
        values = settings.to_dict()
        chosen = {key: values[FIELDS[key][0]][key] for key in sorted(origins)}
        return {
            "text": fingerprint,
            "vary": [[key, list(listed)] for key, listed in self.vary],
            "equal": list(self.equal),
            "settings": chosen,
        }


def ask(
    corpus: str | None, layers: Layers, vary: Iterable[str], equal: str | None, seeds: int
) -> Asked:
    """Check what a person asked for. Raises SettingsError for what cannot be compared."""
    settings, origins = resolve(layers)
    if corpus == "-":
        raise SettingsError(
            "compare reads the text once for each training; save standard input to a file "
            "and name that"
        )
    for key in ("init_from", "freeze", "mix"):
        if key in origins:
            raise SettingsError(f"{_named(key, origins)}: {REFUSED[key]}; leave it out")
    if settings.model.cell == "ngram":
        raise SettingsError(
            f"{_named('cell', origins)}: compare always shows the n-gram; compare networks"
        )
    if not 1 <= seeds <= MOST_SEEDS:
        raise SettingsError(f"--seeds {seeds}: must be between 1 and {MOST_SEEDS:,}")
    varied = tuple(_varied(text) for text in vary) or (("cell", DEFAULT_CELLS),)
    keys = [key for key, _ in varied]
    for key in keys:
        if keys.count(key) > 1:
            raise SettingsError(f"--vary {typed(key)} is given twice; put all values into one")
        # --vary takes the place of a value in a file, and of any length.
        if origins.get(key) == "--set" and key not in LENGTHS:
            raise SettingsError(
                f"--set {dotted(key)} and --vary {typed(key)} both set it; leave one out"
            )
    return Asked(corpus, layers, varied, _equal(equal, keys, origins), seeds)


def _varied(text: str) -> tuple[str, tuple[Any, ...]]:
    """'cell=rnn,lstm' -> ("cell", ("rnn", "lstm")). Raises SettingsError."""
    name, equals, listed = text.partition("=")
    key = name.strip().removeprefix("--").replace("-", "_")
    if not equals or not key:
        raise SettingsError(
            f"--vary {one_line(text)!r}: write it as setting=value,value, as in cell=lstm,gru"
        )
    if key not in FIELDS:
        hint = nearest(key, map(typed, FIELDS))
        raise SettingsError(f"--vary {one_line(typed(key))}: there is no such setting{hint}")
    section, item = FIELDS[key]
    if section == "text":
        raise SettingsError(
            f"--vary {typed(key)}: figures of different texts do not compare; "
            "vary the network or its training"
        )
    if key in REFUSED:
        raise SettingsError(f"--vary {typed(key)}: {REFUSED[key]}; vary something else")
    where = f"--vary {typed(key)}"
    values = tuple(checked(item, value.strip(), where) for value in listed.split(","))
    if "ngram" in values:
        raise SettingsError("--vary cell: compare always shows the n-gram; leave it out")
    for value in values:
        if values.count(value) > 1:
            raise SettingsError(f"{where}: {one_line(str(value))} is given twice; leave one out")
    if len(values) < 2:
        raise SettingsError(
            f"--vary {one_line(text)}: one value compares nothing; give two or more, with commas"
        )
    return key, values


def _equal(text: str | None, keys: list[str], origins: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is made equal, of EQUALS. Raises SettingsError for words that contradict."""
    words = [word.strip() for word in text.split(",")] if text is not None else []
    for word in words:
        if word not in EQUALS:
            hint = nearest(word, EQUALS)
            raise SettingsError(
                f"--equal {one_line(word)!r} is not one of {', '.join(EQUALS)}{hint}"
            )
    lengths = [key for key in LENGTHS if key in keys]
    if "time" in words and "steps" in words:
        raise SettingsError(
            "--equal time,steps: a slower cell takes fewer steps in the same time; give one"
        )
    if "params" in words and "hidden_size" in keys:
        raise SettingsError(
            "--equal params chooses the hidden size; leave --vary hidden-size or --equal params out"
        )
    if lengths and {"time", "steps"} & set(words):
        raise SettingsError(
            f"--vary {lengths[0]} says how long to train; leave time and steps out of --equal"
        )
    if len(lengths) > 1 or (lengths and any(key in origins for key in LENGTHS)):
        raise SettingsError(
            f"--vary {lengths[0]} says how long to train; leave the other lengths out"
        )
    for key in ("steps", "epochs"):
        if "time" in words and key in origins:
            raise SettingsError(
                f"--equal time: {_named(key, origins)} gives each as many steps; "
                "give a budget instead: --budget 1m"
            )
    if text is None and "hidden_size" not in keys:
        words = ["params"]
    if not lengths and "time" not in words and "steps" not in words:
        words.append("steps")
    return tuple(word for word in EQUALS if word in words)


def _named(key: str, origins: Mapping[str, str]) -> str:
    """A setting as messages name it: `--set model.cell` or `x.toml: cell`."""
    if origins[key] == "--set":
        return f"--set {dotted(key)}"
    return f"{origins[key]}: {key}"


def typed(key: str) -> str:
    """A key as a person types it: hidden_size -> hidden-size."""
    return flag(key).removeprefix("--")

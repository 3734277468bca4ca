"""Settings as frozen dataclasses, made of the sections of sections.py.

The command line and the layers of layers.py (files, environment, `--set`) are all read through
`resolve`, in the order defaults < file < environment < flags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from charrnn.errors import SettingsError
from charrnn.sections import ModelSettings, RuntimeSettings, TextSettings, TrainingSettings
from charrnn.terminal import one_line
from charrnn.values import checked, is_text_encoding, nearest

# Read as part of this file.
__all__ = ["ModelSettings", "RuntimeSettings", "TextSettings", "TrainingSettings"]

LENGTHS = ("budget", "epochs", "steps")  # the three ways to say how long to train; one is given


@dataclass(frozen=True)
class Settings:
    """All settings of a training, by section."""

    text: TextSettings = field(default_factory=TextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return {section: {key: value}}."""
        return dataclasses.asdict(self)

    @property
    def split_seed(self) -> int:
        """Seed that shuffles lines before they are split: a seed of its own, or the training's."""
        own = self.text.split_seed
        return self.training.seed if own is None else own

    def with_values(self, section: str, **values: Any) -> Settings:
        """Return the settings with some values of one section replaced."""
        replaced = dataclasses.replace(getattr(self, section), **values)
        return dataclasses.replace(self, **{section: replaced})


SECTIONS: dict[str, type[Any]] = {
    "text": TextSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "runtime": RuntimeSettings,
}
FIELDS = {item.name: (section, item) for section, kind in SECTIONS.items() for item in fields(kind)}


def flag(key: str) -> str:
    """The option that sets this key: hidden_size -> --hidden-size."""
    return "--" + key.replace("_", "-")


def dotted(key: str) -> str:
    """The name of this key in --set: hidden_size -> model.hidden_size."""
    return f"{FIELDS[key][0]}.{key}"


def settings_from_dict(values: Mapping[str, Any], where: str) -> Settings:
    """Return settings that to_dict wrote, checked as if a person had typed them."""
    flat = flatten(values, where)
    if isinstance(flat.get("budget"), str) and flat["budget"].isdigit():
        flat["budget"] += "s"  # a plain number was one of seconds up to 0.4.0
    resolved, _ = resolve([(where, flat)])
    return resolved


def resolve(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Settings, dict[str, str]]:
    """Apply layers of (origin, {key: value}) in order, later ones winning.

    origin "--" names the flag itself in messages. A None value is not set. Returns the settings
    and, for each key that a layer set, where its value came from. Raises SettingsError.
    """
    chosen: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    origins: dict[str, str] = {}
    for origin, values in layers:
        # A later layer's length replaces an earlier one's, of whatever kind.
        if any(values.get(key) is not None for key in LENGTHS):
            for key in LENGTHS:
                chosen["training"].pop(key, None)
                origins.pop(key, None)
        for key, value in values.items():
            if value is None:
                continue
            where = _named(key, origin)
            if key not in FIELDS:
                raise SettingsError(f"{one_line(where)} is not a setting{nearest(key, FIELDS)}")
            section, item = FIELDS[key]
            chosen[section][key] = checked(item, value, where)
            origins[key] = flag(key) if origin == "--" else origin
    settings = Settings(**{name: kind(**chosen[name]) for name, kind in SECTIONS.items()})
    _check_together(settings)
    return settings, origins


def _named(key: str, origin: str) -> str:
    """How messages name a setting that came from there."""
    if origin == "--":
        return flag(key)
    if origin == "environment":
        return f"CHARRNN_{key.upper()}"
    return f"{origin}: {key}"


def flatten(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """{section: {key: value}} -> {key: value}. Raises SettingsError for what is unknown."""
    flat: dict[str, Any] = {}
    for section, table in values.items():
        if section not in SECTIONS:
            hint = nearest(section, SECTIONS)
            raise SettingsError(f"{where}: there is no section [{one_line(section)}]{hint}")
        if not isinstance(table, Mapping):
            raise SettingsError(
                f"{where}: {section} must be a table: write [{section}] above its settings"
            )
        for key, value in table.items():
            if key not in FIELDS or FIELDS[key][0] != section:
                hint = nearest(key, [item.name for item in fields(SECTIONS[section])])
                raise SettingsError(f"{where}: [{section}] has no setting {one_line(key)!r}{hint}")
            flat[key] = value
    return flat


def _check_together(settings: Settings) -> None:
    """Raises SettingsError for settings that contradict each other."""
    text = settings.text
    model = settings.model
    lengths = [flag(key) for key in LENGTHS if getattr(settings.training, key) is not None]
    if len(lengths) > 1:
        raise SettingsError(f"{' and '.join(lengths)} both say how long to train; give one")
    if model.cell == "gru-before" and settings.runtime.backend == "torch":
        raise SettingsError(
            "--backend torch has no gru-before (nn.GRU resets after the product); use --backend own"
        )
    default = ModelSettings()
    counts_only = (model.order, model.smoothing) != (default.order, default.smoothing)
    if model.cell != "ngram" and counts_only:
        raise SettingsError(
            "--order and --smoothing are for counting; add --cell ngram, "
            f"or leave them out with {model.cell}"
        )
    if text.label and text.mode == "stream":
        raise SettingsError(
            "--label is of items that stand alone, and a stream has none: leave out --mode stream"
        )
    if text.label == "prefix" and not text.delimiter:
        raise SettingsError("--delimiter is empty; name what ends a label, such as '\\t'")
    if text.delimiter != TextSettings().delimiter and text.label != "prefix":
        raise SettingsError("--delimiter is for --label prefix; add that, or leave it out")
    if text.unit == "byte":
        for key in ("encoding", "errors", "normalize", "rare", "column", "strip", "separator"):
            if getattr(text, key) not in (getattr(TextSettings(), key), 0, "none"):
                reason = "is for characters; --unit byte takes bytes as they are: leave it out"
                raise SettingsError(f"{flag(key)} {reason}")
    if text.mode == "records" and text.unit == "byte":
        raise SettingsError("--mode records is for characters; leave out --unit byte")
    if text.separator != "auto" and text.mode not in ("auto", "records"):
        raise SettingsError(f"--separator is for --mode records, not {text.mode}; leave one out")
    if not text.separator.strip() or "\n" in text.separator:
        raise SettingsError("--separator is one line, such as ---, or the word blank")
    if not all(map(is_text_encoding, text.encoding.split(","))):  # one for each text
        raise SettingsError(
            f"--encoding {one_line(text.encoding)!r} is not a text encoding Python knows"
        )

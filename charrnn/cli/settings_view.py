"""`charrnn train --print-config`: every setting as TOML, and where its value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from charrnn import config
from charrnn.terminal import print_line, quoted

if TYPE_CHECKING:
    from charrnn.text.sources import Source


def print_settings(corpus: str | Source | None, layers: tuple[tuple[str, Any], ...]) -> int:
    """Print the settings of a training; of one whose text is named, with the sizes it will have."""
    settings, origins = config.resolve(layers)
    if corpus is not None:
        from charrnn.training.checkup import settings_of

        settings, origins = settings_of(corpus, layers)
    for line in _lines(settings, origins):
        print_line(line)
    return 0


def _lines(settings: config.Settings, origins: dict[str, str]) -> Iterator[str]:
    for section, values in settings.to_dict().items():
        yield f"[{section}]"
        for key, value in values.items():
            if value is None:
                auto = config.FIELDS[key][1].metadata.get("auto", "left to the program")
                yield f"# {key}: {auto}"
            else:
                yield f"{key} = {_toml(value)}  # {origins.get(key, 'default')}"


def _toml(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else str(value).lower()

"""What the tests of this folder share."""

from pathlib import Path

import pytest

from charrnn.config import FIELDS, resolve
from charrnn.errors import SettingsError

CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.toml"))


def one(key, value, origin="--"):
    """The settings after one value, and what became of it."""
    settings, _ = resolve([(origin, {key: value})])
    return getattr(getattr(settings, FIELDS[key][0]), key)


def refusal(*layers):
    with pytest.raises(SettingsError) as caught:
        resolve(layers)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message

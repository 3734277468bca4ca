"""Where settings come from: TOML files and presets, CHARRNN_* variables, `--set`.

config.resolve puts them together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charrnn.config import FIELDS, flatten
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, say
from charrnn.values import checked, nearest

NOT_SETTINGS = {"CHARRNN_DEBUG", "CHARRNN_KERNEL"}  # CHARRNN_* variables that something else reads
MAX_TOML_BYTES = 64 << 10
MAX_TOML_LINE = 1000  # tomllib takes quadratic memory in the length of a dotted key


def in_order(
    config: str | None, environment: Mapping[str, str], *given: tuple[str, Mapping[str, Any]]
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return settings in order of precedence: file < environment < what was given, in its order.

    config: of toml_layer. Raises SettingsError.
    """
    files = [] if config is None else [toml_layer(config)]
    return (*files, ("environment", environment_layer(environment)), *given)


def environment_layer(environment: Mapping[str, str]) -> dict[str, str]:
    """CHARRNN_LR=0.01 -> {"lr": "0.01"}."""
    return {
        name.removeprefix("CHARRNN_").lower(): value
        for name, value in environment.items()
        if name.startswith("CHARRNN_") and name not in NOT_SETTINGS
    }


def set_layer(assignments: Iterable[str]) -> dict[str, str]:
    """["training.lr=0.01"] or ["lr=0.01"] -> {"lr": "0.01"}. Raises SettingsError."""
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not dot and section.replace("-", "_") in FIELDS:
            key = section.replace("-", "_")
            section = FIELDS[key][0]
        elif not dot and equals and section:
            hint = nearest(section, FIELDS)
            raise SettingsError(f"--set {one_line(name)}: there is no such setting{hint}")
        if not equals or not key:
            raise SettingsError(
                f"--set {one_line(assignment)!r}: write it as setting=value, as in lr=0.01"
            )
        values |= flatten({section: {key: value}}, f"--set {one_line(name)}")
    return values


def toml_layer(source: str) -> tuple[str, dict[str, Any]]:
    """Return (origin, values) of a TOML file or of a shipped preset. Raises SettingsError."""
    path = _toml_path(source)
    origin = one_line(path.name)
    text = _toml_text(path, origin)
    try:
        values = flatten(tomllib.loads(text), origin)
    except RecursionError:
        raise SettingsError(f"--config {origin}: too deeply nested") from None
    except ValueError as error:  # TOMLDecodeError is one
        raise SettingsError(f"--config {origin}: {one_line(str(error))}") from None
    except SettingsError as error:
        raise SettingsError(f"--config {error}{_line_of(str(error), text)}") from None
    # Checked here, where the line is known.
    for key, value in values.items():
        try:
            checked(FIELDS[key][1], value, f"--config {origin}: {key}")
        except SettingsError as error:
            raise SettingsError(f"{error}{_line_of(key, text)}") from None
    return origin, values


def _toml_path(source: str) -> Path:
    """Return the file that --config names: a shipped preset, or a file here.

    What stands here under the name of a preset does not hide it: ./NAME is the file.
    """
    path = Path(source)
    try:
        is_here = path.exists()
    except OSError as error:
        raise SettingsError(f"--config {one_line(source)}: {error.strerror}") from None
    preset = shipped("configs", f"{source}.toml")
    if preset is None and is_here:
        return path
    if preset is not None and is_here:
        say(f"note: --config {source}: the preset is taken, not {source} here (./{source})")
    if preset is None:
        known = shipped_names("configs")
        hint = nearest(source, known)
        raise SettingsError(
            f"--config {one_line(source)}: no such file or preset; "
            f"presets: {', '.join(known)}{hint}"
        )
    return preset


def _toml_text(path: Path, origin: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"--config {origin}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"--config {origin}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from None
    longest_line = max(map(len, text.split("\n")))
    if len(data) > MAX_TOML_BYTES or longest_line > MAX_TOML_LINE:
        raise SettingsError(
            f"--config {origin}: larger than {MAX_TOML_BYTES >> 10} KiB "
            f"or a line over {MAX_TOML_LINE} characters"
        )
    return text


def shipped(folder: str, name: str) -> Path | None:
    """Return a file of corpora/ or configs/, or None.

    They stand inside an installed package, or at the top of a source tree.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+\.(txt|toml)", name):
        for place in (Path(__file__).parent, Path(__file__).parent.parent):
            if (place / folder / name).is_file():
                return place / folder / name
    return None


def shipped_names(folder: str) -> list[str]:
    """Return the names of the files in such a folder, without their endings."""
    here = Path(__file__).parent
    place = here / folder if (here / folder).is_dir() else here.parent / folder
    return sorted(path.stem for path in place.glob("*") if path.suffix in (".txt", ".toml"))


def _line_of(key_or_message: str, text: str) -> str:
    """Return ' (line 5)': where a TOML text has the key that a message quotes."""
    key = key_or_message
    quoted = re.search(r"'([^']+)'|section \[([^]]+)\]", key_or_message)
    if quoted:
        key = quoted[1] or quoted[2]
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[]=.]", line):
            return f" (line {number})"
    return ""

"""Where settings come from: TOML files and presets, CHARRNN_* variables, `--set`. config.resolve puts them together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charrnn.config import FIELDS, flatten
from charrnn.errors import SettingsError
from charrnn.terminal import one_line
from charrnn.values import checked, nearest

NOT_SETTINGS = {"CHARRNN_DEBUG", "CHARRNN_KERNEL"}  # CHARRNN_* variables that something else reads
MAX_TOML_BYTES = 64 << 10
MAX_TOML_LINE = 1000  # tomllib takes quadratic memory in the length of a dotted key


def environment_layer(environment: Mapping[str, str]) -> dict[str, str]:
    """CHARRNN_LR=0.01 -> {"lr": "0.01"}."""
    return {
        name.removeprefix("CHARRNN_").lower(): value
        for name, value in environment.items()
        if name.startswith("CHARRNN_") and name not in NOT_SETTINGS
    }


def set_layer(assignments: Iterable[str]) -> dict[str, str]:
    """--set section.key=value, each."""
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise SettingsError(
                f"--set {one_line(assignment)!r}: write it as section.key=value, as in training.lr=0.01"
            )
        values |= flatten({section: {key: value}}, f"--set {one_line(name)}")
    return values


def toml_layer(source: str) -> tuple[str, dict[str, Any]]:
    """(origin, values) of a TOML file or of a preset that comes with charrnn. Raises SettingsError."""
    path = Path(source)
    try:
        exists = path.exists()
    except OSError as error:
        raise SettingsError(f"--config {one_line(source)}: {error.strerror}") from None
    if not exists:
        preset = shipped("configs", f"{source}.toml")
        if preset is None:
            known = ", ".join(shipped_names("configs"))
            hint = nearest(source, shipped_names("configs"))
            raise SettingsError(
                f"--config {one_line(source)}: no such file or preset; presets: {known}{hint}"
            )
        path = preset
    shown = one_line(path.name)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"--config {shown}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"--config {shown}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from None
    if len(data) > MAX_TOML_BYTES or max(map(len, text.split("\n"))) > MAX_TOML_LINE:
        raise SettingsError(
            f"--config {shown}: larger than {MAX_TOML_BYTES >> 10} KiB or a line over {MAX_TOML_LINE} characters"
        )
    try:
        values = flatten(tomllib.loads(text), shown)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else one_line(str(error))
        raise SettingsError(f"--config {shown}: {reason}") from None
    except SettingsError as error:
        raise SettingsError(f"--config {error}{_line_of(str(error), text)}") from None
    for key, value in values.items():  # here, where the line is known
        try:
            checked(FIELDS[key][1], value, f"--config {shown}: {key}")
        except SettingsError as error:
            raise SettingsError(f"{error}{_line_of(key, text)}") from None
    return shown, values


def shipped(folder: str, name: str) -> Path | None:
    """A file of corpora/ or configs/: inside an installed package, or at the top of a source tree."""
    if re.fullmatch(r"[A-Za-z0-9_-]+\.(txt|toml)", name):
        for place in (Path(__file__).parent, Path(__file__).parent.parent):
            if (place / folder / name).is_file():
                return place / folder / name
    return None


def shipped_names(folder: str) -> list[str]:
    """Names of the files that come in a folder, without their endings."""
    here = Path(__file__).parent
    place = here / folder if (here / folder).is_dir() else here.parent / folder
    return sorted(path.stem for path in place.glob("*") if path.suffix in (".txt", ".toml"))


def _line_of(key_or_message: str, text: str) -> str:
    """' (line 5)' of a TOML text, for the key that a message quotes."""
    quoted = re.search(r"'([^']+)'|section \[([^]]+)\]", key_or_message)
    key = (quoted[1] or quoted[2]) if quoted else key_or_message
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[]=.]", line):
            return f" (line {number})"
    return ""

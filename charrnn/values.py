"""One value of a setting or of a file: checked against its type and its limits.

A setting is read from a person's words. A field of a file's metadata may come from a stranger: it
is checked before anything is computed with it, or shown. Each file has one table of its fields.
"""

from __future__ import annotations

import codecs
import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from charrnn.errors import SettingsError
from charrnn.terminal import one_line

MAX_ORDER = 24  # of n-grams
MAX_WHOLE = 1 << 53  # of every other whole number: floats hold it exactly
MAX_DIGITS = 30  # of a whole number in words: Python takes quadratic time in their count

MOST_SECONDS = 1e9  # 31 years
_UNITS_S = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_KIND_NAMES = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text in quotes",
}


def checked(item: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """Return the value in its field's type and within its limits. Raises SettingsError.

    Text is parsed: it comes from a command line. where: how messages name the setting.
    """
    limits = item.metadata
    typed = one_line(str(value))
    try:
        parsed = _parsed(item, value)
    except (ValueError, TypeError, OverflowError):
        raise SettingsError(f"{where}: {typed!r} is not {_KIND_NAMES[limits['kind']]}") from None
    _check_limits(limits, parsed, where, typed)
    _check_grammar(item.name, parsed, where)
    return parsed


def _parsed(item: dataclasses.Field[Any], value: Any) -> Any:
    """Return the value in its field's type. Raises ValueError, TypeError, OverflowError."""
    kind = item.metadata["kind"]
    if kind is bool:
        return _boolean(value)
    if isinstance(value, bool):
        raise ValueError
    if kind is int:
        if isinstance(value, float) or (isinstance(value, str) and len(value) > MAX_DIGITS):
            raise ValueError
        return int(value)
    if kind is float:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    takes_numbers = item.name.endswith("_every") or item.name == "order"
    if takes_numbers and isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise ValueError


def _check_limits(limits: Mapping[str, Any], value: Any, where: str, typed: str) -> None:
    """Raises SettingsError for a value that is no choice, too small or too large."""
    if "choices" in limits and value not in limits["choices"]:
        choices = ", ".join(limits["choices"])
        hint = nearest(typed, limits["choices"])
        raise SettingsError(f"{where}: {typed!r} is not one of {choices}{hint}")
    if "min" in limits and value < limits["min"]:
        raise SettingsError(f"{where}: {typed} is below {limits['min']}")
    most = limits.get("max")
    if most is None and limits["kind"] is int:
        most = MAX_WHOLE
    if most is not None and value > most:
        raise SettingsError(f"{where}: {typed} is above {most}")
    if "below" in limits and value >= limits["below"]:
        raise SettingsError(f"{where}: {typed} must be below {limits['below']:g}")


def _check_grammar(key: str, value: Any, where: str) -> None:
    """Raises SettingsError for a text that is no duration, interval, shares or order."""
    if key == "budget":
        seconds(value, where)
    elif key.endswith("_every"):
        interval(value, where)
    elif key == "split":
        shares(value, where)
    elif key == "order":
        _check_order(value, where)


def _check_order(text: str, where: str) -> None:
    if text == "auto":
        return
    if not re.fullmatch(r"[1-9]\d?", text) or int(text) > MAX_ORDER:
        raise SettingsError(
            f"{where}: {one_line(text)!r} is neither auto nor a number from 1 to {MAX_ORDER}"
        )


def seconds(text: str, where: str) -> float:
    """'90s', '5m', '1.5h' or '1h30m' -> seconds. Raises SettingsError."""
    plain = text.strip().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(sec|min|[smh])", plain)
    units = [_UNITS_S[unit] for _, unit in parts]
    is_whole = plain == "".join(number + unit for number, unit in parts)
    is_falling = all(larger > smaller for larger, smaller in zip(units, units[1:], strict=False))
    value = 0.0
    if is_whole and is_falling:
        value = sum(float(number) * unit for (number, _), unit in zip(parts, units, strict=True))
    if 0 < value < MOST_SECONDS:
        return value
    shown = one_line(text)
    if value >= MOST_SECONDS:
        raise SettingsError(f"{where}: {shown} is over 30 years; write 90s, 5m or 1h30m")
    if re.fullmatch(r"\d{1,8}(\.\d*)?", plain):
        raise SettingsError(f"{where}: {shown} of what? write {plain}s, {plain}m or {plain}h")
    raise SettingsError(f"{where}: {shown!r} is not a duration; write 90s, 5m or 1h30m")


def interval(text: str, where: str) -> tuple[int | None, float | None]:
    """'200' -> (200 steps, None); '30s' -> (None, 30 seconds). Raises SettingsError."""
    if re.fullmatch(r"\d{1,12}", text.strip()) and int(text) > 0:
        return int(text), None
    if text.strip()[-1:].isdigit():
        raise SettingsError(
            f"{where}: {one_line(text)!r} is not a number of steps above 0 "
            "or a duration such as 30s"
        )
    return None, seconds(text, where)


def shares(text: str, where: str = "--split") -> tuple[float, float, float]:
    """'0.9,0.1' -> (0.9, 0.1, 0.0): shares for training, validation, test. Raises SettingsError."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = 2 <= len(values) <= 3 and all(math.isfinite(value) and value >= 0 for value in values)
    if not good or values[0] <= 0 or abs(sum(values) - 1) > 1e-6:
        raise SettingsError(
            f"{where}: {one_line(text)!r} is not two or three shares that add up to 1, "
            "such as 0.9,0.05,0.05"
        )
    test = values[2] if len(values) == 3 else 0.0
    return values[0], values[1], test


def finite(
    value: float,
    where: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Return the value if it is a finite number within its bounds. Raises SettingsError.

    Typer lets inf and nan through.
    """
    if not math.isfinite(value):
        raise SettingsError(f"{where} {value:g}: must be a finite number")
    if value < minimum or value > maximum or value <= above:
        bounds = []
        if minimum > -math.inf:
            bounds.append(f"at least {minimum:g}")
        if above > -math.inf:
            bounds.append(f"above {above:g}")
        if maximum < math.inf:
            bounds.append(f"at most {maximum:g}")
        raise SettingsError(f"{where} {value:g}: must be {' and '.join(bounds)}")
    return value


def is_text_encoding(name: str) -> bool:
    """Return whether Python knows an encoding of text by this name."""
    if name.lower().replace("_", "-") in ("utf-8", "utf8"):
        return True
    try:
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        return False


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean gru?`, or nothing when no known word is near."""
    matches = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


# Fields of files

Check = Callable[[object], bool]  # whether a field may hold this value
MOST_NAME_CHARS = 10_000  # of a text's name, a path, an option


def is_whole(least: int, most: int) -> Check:
    """A whole number in this range: no true, no 1.0."""
    return lambda value: type(value) is int and least <= value <= most


def is_number(most: float) -> Check:
    """A finite number of at most this size."""

    def passes(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return abs(value) <= most  # NaN is not

    return passes


def is_text(most_chars: int = MOST_NAME_CHARS) -> Check:
    """A text of at most so many characters."""
    return lambda value: isinstance(value, str) and len(value) <= most_chars


def is_one_of(*values: str) -> Check:
    """One of these words."""
    return lambda value: isinstance(value, str) and value in values


def is_digest(value: object) -> bool:
    """A SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def is_list_of(check: Check, most: int) -> Check:
    """A list of at most so many values."""
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(check, value))


def is_table_of(check: Check, most: int) -> Check:
    """An object of at most so many keys, each a name, and values."""

    def passes(value: object) -> bool:
        if not isinstance(value, dict) or len(value) > most:
            return False
        return all(map(is_text(), value)) and all(map(check, value.values()))

    return passes


def is_optional(check: Check) -> Check:
    """null, or a value that passes."""
    return lambda value: value is None or check(value)


def wrong_field(
    values: Mapping[str, Any], fields: Mapping[str, Check], required: Iterable[str] = ()
) -> str | None:
    """Return the name of a field that is missing or holds what it may not; None if all is well.

    Fields that are not in the table pass: a later version may write them.
    """
    for name in required:
        if name not in values:
            return name
    return next((key for key in fields if key in values and not fields[key](values[key])), None)

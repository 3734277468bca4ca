"""JSON on its way to standard output: what --json of every command does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from charrnn.terminal import write_stdout


def write_json(objects: Iterable[dict[str, Any]], *, raw: bool = False) -> None:
    """Write a line of strict JSON for each object, as it comes. raw: unescaped on a terminal too.

    Raises StorageError.
    """
    from charrnn.storage import json_line

    lines = (json_line({"schema": 1} | one).encode() + b"\n" for one in objects)
    write_stdout(lines, raw=raw, is_json=True)

"""JSON that a stranger may have written: strict, bounded before it is read, of a known format."""

from __future__ import annotations

import json
from typing import Any

from charrnn import __version__
from charrnn.errors import CheckpointError
from charrnn.terminal import one_line

# JSON takes up to a hundred times its bytes when read. Only a vocabulary is long, and it is commas.
MAX_MARKS = {b",": 1_200_000, b"[": 20_000, b"{": 20_000, b":": 40_000}


def parsed(data: bytes | bytearray | memoryview) -> Any:
    """Parse a stranger's JSON. Raises ValueError, RecursionError, before it takes much memory."""
    text = bytes(data)
    if any(text.count(mark) > most for mark, most in MAX_MARKS.items()):
        raise ValueError("too large for JSON of charrnn")
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    """Refuse NaN and infinities, which Python reads and JSON has not."""
    raise ValueError(name)


def check_format(shown: str, about: dict[str, Any], newest: int) -> None:
    """Raise CheckpointError, which names both versions, for a format that a later charrnn wrote."""
    if about["format"] > newest:
        author = about.get("charrnn")
        version = one_line(author[:40]) if isinstance(author, str) else "a later version"
        raise CheckpointError(
            f"{shown} has format {about['format']}, written by charrnn {version}; "
            f"this is charrnn {__version__}, which reads up to format {newest}: upgrade it"
        )

"""The lines of metrics.jsonl that are read back: what each may hold is checked here, and only here.

records.py and counted.py write them. A file may come from a stranger: it is read line by line, and
whoever reads it keeps numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.storage import read_pieces
from charrnn.strictjson import parsed
from charrnn.values import (
    MAX_ORDER,
    Check,
    is_list_of,
    is_number,
    is_optional,
    is_text,
    is_whole,
    wrong_field,
)

MAX_METRICS_BYTES = 256 << 20  # about two million steps
MAX_EVALUATIONS = 100_000  # that a reader keeps
MAX_STEP = 10**12
LARGEST = 1e40
is_figure = is_number(LARGEST)

# The fields of a line by its event, "" for a step of training. Other events are not read back.
FIELDS: dict[str, dict[str, Check]] = {
    "eval": {
        "val_nats_per_char": is_optional(is_figure),
        "ngram_nats_per_char": is_optional(is_figure),
        "network_nats_per_char": is_optional(is_figure),
        "counting_share": is_figure,
    },
    "orders": {"val_nats_per_char": is_list_of(is_optional(is_figure), MAX_ORDER)},
    "rollback": {
        "from_step": is_whole(0, MAX_STEP),
        "lr_factor": is_figure,
        "reason": is_text(),
    },
}


class Line(NamedTuple):
    """A line of metrics.jsonl. event: "" for a step of training. Its fields are checked."""

    event: str
    step: int
    fields: dict[str, Any]


def metrics_lines(path: Path) -> Iterator[Line | None]:
    """Yield every whole line of metrics.jsonl, None for one that is no line of ours.

    A kill may have cut the last line off: that is left out. Raises CheckpointError where the file
    cannot be read.
    """
    begins = True  # whether the next piece begins a line
    for piece in read_pieces(path, MAX_METRICS_BYTES, "a record of metrics"):
        ends = piece.endswith(b"\n")
        if ends:
            yield _line(piece) if begins else None
        begins = ends


def _line(data: bytes) -> Line | None:
    try:
        fields = parsed(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not is_whole(0, MAX_STEP)(fields.get("step")):
        return None
    event = fields.get("event", "")
    if not isinstance(event, str) or wrong_field(fields, FIELDS.get(event, {})) is not None:
        return None
    return Line(event, fields["step"], fields)


def figure(value: object) -> float | None:
    """Return a number of a size that sums can bear; None for anything else that a line may hold."""
    return float(value) if is_figure(value) else None  # type: ignore[arg-type]

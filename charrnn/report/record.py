"""What a training wrote down while it ran: metrics.jsonl, samples.txt and run.json.

A training may still be going on, or may have been killed in the middle of a line. So what cannot
be read is left out and counted. How it will look is not known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.storage import read_bounded

MAX_METRICS_BYTES = 256 << 20  # about two million steps
MAX_SAMPLES_BYTES = 64 << 20
MAX_ABOUT_BYTES = 16 << 20
MAX_STEP = 1e12
LARGEST = 1e40
COLUMNS = ("step", "chars", "train_nats_per_char", "grad_norm", "lr", "elapsed_s")
_HEADING = re.compile(
    r"^--- step (\d{1,15}), (-?\d{1,9}\.\d{3}|nan|inf) bits per character ---$", re.MULTILINE
)


@dataclass
class Metrics:
    """The record of a training. Evaluations and rollbacks are as they were written.

    steps: COLUMNS by name, (S,) float64, NaN where a step has no such value.
    orders: of a counting model, nats per character on validation of n-grams of 1, 2, ...
    unreadable: the lines that are not JSON of ours. A last line that is cut off is not counted.
    missing: why there is nothing.
    """

    steps: dict[str, np.ndarray]
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    orders: list[float] = field(default_factory=list)
    unreadable: int = 0
    missing: str | None = None

    @property
    def ngram_nats_per_char(self) -> list[float]:
        """What counting reaches on the validation text, by the evaluations that say so."""
        values = (number(event.get("ngram_nats_per_char")) for event in self.evaluations)
        return [value for value in values if value is not None]


class Sample(NamedTuple):
    """What the model wrote at a step, and its bits per character on the validation text then."""

    step: int
    bits_per_char: float
    text: str


def read_metrics(path: Path) -> Metrics:
    """Read metrics.jsonl, MAX_METRICS_BYTES at most. Never raises for what the file holds."""
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    metrics = Metrics({})
    try:
        data = read_bounded(path, MAX_METRICS_BYTES, "a record of metrics")
    except CheckpointError as error:
        data = bytearray()
        metrics.missing = str(error)
    whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line off
    for line in whole.splitlines():
        record = _object(line)
        event = record.get("event") if record else None
        step = number(record.get("step")) if record else None
        if record is None or step is None or not 0 <= step <= MAX_STEP:
            metrics.unreadable += 1
        elif event is None:
            for name, column in columns.items():
                value = number(record.get(name))
                if value is None:
                    value = np.nan
                column.append(value)
        elif event == "eval" and number(record.get("val_nats_per_char")) is not None:
            metrics.evaluations.append(record)
        elif event == "rollback":
            metrics.rollbacks.append(record)
        elif event == "orders" and isinstance(record.get("val_nats_per_char"), list):
            values = map(number, record["val_nats_per_char"])
            metrics.orders = [value for value in values if value is not None]
    order = np.argsort(np.array(columns["step"], np.float64), kind="stable")
    metrics.steps = {name: np.array(column, np.float64)[order] for name, column in columns.items()}
    metrics.evaluations.sort(key=lambda event: float(event["step"]))
    return metrics


def read_samples(path: Path) -> list[Sample]:
    """What the model wrote at some steps. Empty if that was not kept."""
    try:
        data = read_bounded(path, MAX_SAMPLES_BYTES, "a record of samples")
    except CheckpointError:
        return []
    return list(_samples(data.decode("utf-8", "replace")))


def _samples(text: str) -> Iterator[Sample]:
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=False):
        body = text[heading.end() : end]
        yield Sample(int(heading[1]), float(heading[2]), body.removeprefix("\n").removesuffix("\n"))


def read_about(path: Path) -> dict[str, Any]:
    """What run.json says; empty if it cannot be read."""
    try:
        return _object(read_bounded(path, MAX_ABOUT_BYTES, "a record of a run")) or {}
    except CheckpointError:
        return {}


def thinned(metrics: Metrics, most: int) -> list[slice]:
    """The places of the steps, cut into at most `most` runs of equal length."""
    steps = len(metrics.steps["step"])
    edges = np.linspace(0, steps, min(most, steps) + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def _object(line: bytes | bytearray) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number(value: object) -> float | None:
    """A finite number of a size that sums can bear; None for anything else that a file may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        size = float(value)
    except OverflowError:
        return None
    return size if abs(size) <= LARGEST else None

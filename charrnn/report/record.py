"""What a training wrote down while it ran: metrics.jsonl, samples.txt and run.json.

A training may still be going on, or may have been killed in the middle of a line. So what cannot
be read is left out and counted. How it will look is not known here.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.storage import read_bounded, read_pieces
from charrnn.strictjson import parsed
from charrnn.training.metrics import MAX_EVALUATIONS, Line, figure, metrics_lines
from charrnn.values import is_list_of, is_table_of, is_text

MAX_STEPS = 2_000_000  # of which numbers are kept
MAX_ROLLBACKS = 100
MAX_SAMPLES_BYTES = 64 << 20
MAX_SAMPLE_BYTES = 16 << 10
MAX_ABOUT_BYTES = 4 << 20
COLUMNS = ("step", "chars", "train_nats_per_char", "grad_norm", "lr", "elapsed_s")
_HEADING = re.compile(
    rb"--- step (\d{1,15}), "
    rb"(?:(-?\d{1,9}\.\d{3}|nan|inf) bits per (character|byte)|not scored) ---\n?"
)
# What is shown of run.json.
ABOUT = {
    "command": is_list_of(is_text(), 10_000),
    "origins": is_table_of(is_text(), 1000),
}


class Evaluated(NamedTuple):
    """An evaluation: nats per character on validation, and what counting reaches there."""

    step: int
    val_nats: float
    ngram_nats: float | None


class Rollback(NamedTuple):
    """A return to an earlier step, after a divergence. None: the record does not say."""

    step: int
    from_step: int | None
    reason: str | None
    lr_factor: float | None


@dataclass
class Metrics:
    """The record of a training.

    steps: COLUMNS by name, (S,) float64, NaN where a step has no such value.
    orders: of a counting model, nats per character on validation of n-grams of 1, 2, ...
    unreadable: the lines that are not JSON of ours. A last line that is cut off is not counted.
    missing: why there is nothing.
    """

    steps: dict[str, np.ndarray]
    evaluations: list[Evaluated] = field(default_factory=list)
    rollbacks: list[Rollback] = field(default_factory=list)
    orders: list[float] = field(default_factory=list)
    unreadable: int = 0
    missing: str | None = None

    @property
    def ngram_nats_per_char(self) -> list[float]:
        """What counting reaches on the validation text, by the evaluations that say so."""
        values = [evaluation.ngram_nats for evaluation in self.evaluations]
        return [value for value in values if value is not None]


class Sample(NamedTuple):
    """What the model wrote at a step, and its bits per character on the validation text then."""

    step: int
    bits_per_char: float
    text: str
    noun: str = "character"  # or "byte": what the bits are per


def read_metrics(path: Path) -> Metrics:
    """Read metrics.jsonl, line by line. Never raises for what the file holds."""
    columns = {name: array("d") for name in COLUMNS}
    metrics = Metrics({})
    try:
        for line in metrics_lines(path):
            _take_in(line, metrics, columns)
    except CheckpointError as error:
        metrics.missing = str(error)
    order = np.argsort(np.array(columns["step"]), kind="stable")
    metrics.steps = {name: np.array(column)[order] for name, column in columns.items()}
    metrics.evaluations.sort(key=lambda evaluation: evaluation.step)
    return metrics


def _take_in(line: Line | None, metrics: Metrics, columns: dict[str, array[float]]) -> None:
    """Keep what a page shows of a line: numbers, of a bounded count of lines."""
    is_full = len(columns["step"]) >= MAX_STEPS or len(metrics.evaluations) >= MAX_EVALUATIONS
    if line is None or is_full:
        metrics.unreadable += 1
    elif line.event == "":
        for name, column in columns.items():
            value = figure(line.fields.get(name))
            if value is None:
                value = np.nan
            column.append(value)
    elif line.event == "eval":
        val_nats = figure(line.fields.get("val_nats_per_char"))
        if val_nats is not None:
            ngram_nats = figure(line.fields.get("ngram_nats_per_char"))
            metrics.evaluations.append(Evaluated(line.step, val_nats, ngram_nats))
    elif line.event == "rollback" and len(metrics.rollbacks) < MAX_ROLLBACKS:
        fields = [line.fields.get(name) for name in ("from_step", "reason", "lr_factor")]
        metrics.rollbacks.append(Rollback(line.step, *fields))
    elif line.event == "orders":
        values = map(figure, line.fields.get("val_nats_per_char", []))
        metrics.orders = [value for value in values if value is not None]


def are_samples_too_large(path: Path) -> bool:
    """Say whether samples.txt has more bytes than are read."""
    try:
        return path.stat().st_size > MAX_SAMPLES_BYTES
    except OSError:
        return False


def count_samples(path: Path) -> int:
    """Return how many samples were kept while the model learnt; 0 if they cannot be read."""
    try:
        return sum(heading is not None for heading, _ in _sample_pieces(path))
    except CheckpointError:
        return 0


def read_samples(path: Path, places: Collection[int] | None = None) -> list[Sample]:
    """Return the samples at these places, or all, each cut after MAX_SAMPLE_BYTES.

    The rest of the file is read and not held. Empty if it cannot be read.
    """
    texts: list[tuple[re.Match[bytes], bytearray]] = []
    place = -1
    try:
        for heading, piece in _sample_pieces(path):
            place += heading is not None
            if place < 0 or (places is not None and place not in places):
                continue
            if heading is not None:
                texts.append((heading, bytearray()))
            else:
                text = texts[-1][1]
                text += piece[: MAX_SAMPLE_BYTES - len(text)]
    except CheckpointError:
        return []
    return [_sample(heading, text) for heading, text in texts]


def _sample(heading: re.Match[bytes], text: bytearray) -> Sample:
    written = text.decode("utf-8", "replace").removesuffix("\n")
    bits_per_char = float(heading[2] or math.nan)
    noun = (heading[3] or b"character").decode()
    return Sample(int(heading[1]), bits_per_char, written, noun)


def _sample_pieces(path: Path) -> Iterator[tuple[re.Match[bytes] | None, bytes]]:
    """Yield the lines of samples.txt, each with its match where it is a heading."""
    begins = True  # whether the next piece begins a line
    for piece in read_pieces(path, MAX_SAMPLES_BYTES, "a record of samples"):
        yield (_HEADING.fullmatch(piece) if begins else None), piece
        begins = piece.endswith(b"\n")


def read_about(path: Path) -> dict[str, Any]:
    """Return what run.json says, as far as it makes sense; empty if it cannot be read."""
    try:
        about = parsed(read_bounded(path, MAX_ABOUT_BYTES, "a record of a run"))
    except (CheckpointError, ValueError, RecursionError):
        return {}
    if not isinstance(about, dict):
        return {}
    return {name: about[name] for name, check in ABOUT.items() if check(about.get(name))}


def thinned(metrics: Metrics, most: int) -> list[slice]:
    """The places of the steps, cut into at most `most` runs of equal length."""
    steps = len(metrics.steps["step"])
    edges = np.linspace(0, steps, min(most, steps) + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in zip(edges[:-1], edges[1:], strict=True)]

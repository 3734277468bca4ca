"""Memory of a training: what it will take, known beforehand."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from charrnn import storage
from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.layout import expected_shapes, sizes
from charrnn.scoring.validation import CHUNK, LANES, MAX_SCORES

# Numbers per character and hidden unit, measured (tests/training/test_memory.py): what each layer
# keeps for its backward pass, and what one layer at a time needs beside that.
KEPT_AND_WORKING = {
    ("kernel", "rnn"): (2, 2),
    ("kernel", "lstm"): (7, 7),
    ("kernel", "gru"): (6, 7),
    ("kernel", "gru-before"): (6, 6),
    ("func", "rnn"): (2, 7),
    ("func", "lstm"): (9, 19),
    ("func", "gru"): (6, 18),
    ("func", "gru-before"): (6, 15),
    ("torch", "rnn"): (2, 8),
    ("torch", "lstm"): (15, 9),
    ("torch", "gru"): (10, 8),
}
KEPT_BY_DROPOUT = 2  # more, by each layer
# Numbers per character of text and of alphabet: logits, their logarithms and gradients.
# The kernel has gradients only.
KEPT_BY_SCORES = {"kernel": 2, "func": 4, "torch": 4}
FLOAT_BYTES = 4

CGROUP = Path("/sys/fs/cgroup")  # as a container sees its own limit: version 2, or 1
LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Expected:
    """Bytes that a training takes beyond the program.

    weights: with gradients. optimizer: its moments.
    """

    weights: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.activations


def expected_memory(
    settings: Settings,
    vocabulary_size: int,
    shape: tuple[int, int],
    backend: str,
    validation_chars: int,
) -> Expected:
    """Return what training will take, to a third or so.

    shape: lines or lanes, and characters, of a batch.
    """
    # 1. Numbers for each character
    batch_size, length = shape
    model = settings.model
    hidden, layers, embedding = sizes(model)
    kept, working = KEPT_AND_WORKING[backend, model.cell]
    kept += {"none": 0, "residual": 1, "dense": layers}[model.skip]
    if model.dropout:
        kept += KEPT_BY_DROPOUT
    scores = KEPT_BY_SCORES[backend] * vocabulary_size

    # 2. A batch. Of a window computed in pieces one piece is held, and the states between them.
    piece = min(length, settings.training.checkpoint_every_chars or length)
    training = batch_size * piece * ((layers * kept + working) * hidden + scores)
    if model.conv:
        training += 3 * batch_size * piece * embedding
    training += 2 * layers * batch_size * hidden * (length // piece)

    # 3. Validation takes turns with training. It has no backward pass, and no more than MAX_SCORES
    # at once.
    chars = min(validation_chars, LANES * CHUNK, MAX_SCORES // vocabulary_size)
    validation = chars * (working * hidden + scores) // 2

    # 4. The network
    shapes = expected_shapes(model, vocabulary_size)
    parameters = sum(int(np.prod(size, dtype=object)) for size in shapes.values())
    moments = 2 if settings.training.optimizer == "adamw" else 0
    return Expected(
        weights=FLOAT_BYTES * _copies(settings) * parameters,
        optimizer=FLOAT_BYTES * moments * parameters,
        activations=FLOAT_BYTES * max(training, validation),
    )


def check_memory(
    expected: Expected, settings: Settings, shape: tuple[int, int], device: torch.device
) -> None:
    """Refuse a training that cannot fit, before anything is allocated.

    Raises SettingsError with a smaller size.
    """
    free = free_memory_bytes(device)
    if free is None or expected.total <= free:
        return
    hidden, _, _ = sizes(settings.model)
    smaller = max(1, int(hidden * (free / expected.total) ** 0.5 / 2))
    parameters = expected.weights // (FLOAT_BYTES * _copies(settings))
    raise SettingsError(
        f"a network of {parameters:,} parameters with batches of {shape[0]} x {shape[1]} "
        f"needs about {expected.total / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; "
        f"try --hidden-size {smaller}, or a smaller --batch-size"
    )


def too_large(shape: tuple[int | None, int] | None, device: torch.device, is_kept: bool) -> str:
    """Return what to say when memory ran out.

    shape: of the batches, at a step or its recording; None: at an evaluation. is_kept: whether
    there is a checkpoint.
    """
    what = "validation does"
    advice = "a smaller --hidden-size"
    if shape is not None:
        what = f"batches of {shape[0]} x {shape[1]} do"
        advice = "a smaller --batch-size or, for a stream, --checkpoint-every-chars"
    if is_kept:  # a resume may change no size
        return (
            f"{what} not fit the memory of {device}; the last checkpoint is kept: go on with "
            f"--precision bfloat16 or where there is more memory, or start a new run with {advice}"
        )
    return f"{what} not fit the memory of {device}: try --precision bfloat16, or {advice}"


def _copies(settings: Settings) -> int:
    """Return how many copies of the weights there are: themselves and gradients.

    With --ema also their mean, and themselves again while it stands in their place.
    """
    return 4 if settings.training.ema else 2


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the memory this process could still take on a device; None: unknown."""
    if device.type == "cuda":
        free_on_gpu, _ = torch.cuda.mem_get_info(device)
        return int(free_on_gpu)
    free = storage.free_memory_bytes()
    if free is None:
        return None
    return min([free, *_left_by_limits(CGROUP)])


def _left_by_limits(folder: Path) -> list[int]:
    """Return the bytes that a container's limit leaves, where there is one.

    What only caches files is given back when needed.
    """
    left = []
    for limit_name, used_name in LIMITS:
        limit_file = folder / limit_name
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max": no limit
            lines = limit_file.with_name("memory.stat").read_text().splitlines()
            stat = dict(line.split() for line in lines)
            cached = int(stat["active_file"]) + int(stat["inactive_file"])
            limit = int(limit_file.read_text())
            used = int((folder / used_name).read_text())
            left.append(max(0, limit - used + cached))
    return left

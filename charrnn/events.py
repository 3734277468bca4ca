"""What callbacks are told, in the order in which it happens.

A callback is an object with any of the methods `on_start(event: Start)`, `on_step(event: Step)`,
`on_evaluation(event: Evaluation)`, `on_samples(event: Samples)`, `on_checkpoint(event: Checkpoint)`
and `on_end(event: End)`. Scores are in nats per character.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.training.listener import Step as Step


@dataclass(frozen=True)
class Start:
    """A training begins, or goes on after a step.

    settings: all of them by name, every size decided. step: 0 for one that begins.
    """

    run: Path
    settings: dict[str, Any]
    step: int


@dataclass(frozen=True)
class Evaluation:
    """The validation text was scored. train_nats_per_char: of the updates since the one before."""

    step: int
    total_steps: int | None
    train_nats_per_char: float | None
    val_nats_per_char: float
    is_best: bool


@dataclass(frozen=True)
class Samples:
    """The network wrote a text as it stands."""

    step: int
    text: str


@dataclass(frozen=True)
class Checkpoint:
    """A file was written from which a resume goes on."""

    step: int
    path: Path


@dataclass(frozen=True)
class End:
    """The training is over, whatever ended it, and what it saved is on disk.

    reason: "done", "stopped improving", "stopped by a callback", or a signal such as "SIGINT".
    "diverged", or "failed" for another exception: charrnn.train raises it then.
    best_val_nats_per_char: of the weights that are kept, those of best_step.
    """

    run: Path
    reason: str
    step: int
    best_step: int
    best_val_nats_per_char: float

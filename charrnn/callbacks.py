"""Ready-made callbacks of charrnn.train: the scores in TensorBoard, or in Weights & Biases.

Each needs a package of its own: `pip install charrnn-torch[tensorboard]` or `[wandb]`. They are
also `charrnn train --log tensorboard:DIR` and `--log wandb:PROJECT`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import SettingsError
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.api import events

STEPS_BETWEEN = 10  # updates between two points of the training curve


class TensorBoard:
    """Writes scores in nats per character, samples and settings to a directory of TensorBoard."""

    def __init__(self, directory: str | Path) -> None:
        """Raises SettingsError without the package tensorboard."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise SettingsError("TensorBoard needs its package: pip install tensorboard") from None
        self._writer = SummaryWriter(str(directory))

    def on_start(self, event: events.Start) -> None:
        """Write the settings as a text."""
        rows = "\n".join(f"    {name} = {value}" for name, value in event.settings.items())
        self._writer.add_text("settings", rows)

    def on_step(self, event: events.Step) -> None:
        """Write the training score of every tenth step."""
        if event.step % STEPS_BETWEEN == 0 and math.isfinite(event.train_nats_per_char):
            self._writer.add_scalar("train/nats_per_char", event.train_nats_per_char, event.step)

    def on_evaluation(self, event: events.Evaluation) -> None:
        """Write the validation score."""
        self._writer.add_scalar("val/nats_per_char", event.val_nats_per_char, event.step)
        self._writer.flush()

    def on_samples(self, event: events.Samples) -> None:
        """Write what the network wrote, as a block of code: its text is no markup."""
        block = "\n".join(f"    {one_line(line)}" for line in event.text.split("\n"))
        self._writer.add_text("samples", block, event.step)

    def on_end(self, event: events.End) -> None:
        """Close the files."""
        self._writer.close()


class WandB:
    """Logs scores in nats per character and samples to a run of Weights & Biases."""

    def __init__(self, **options: Any) -> None:
        """options: of wandb.init. Raises SettingsError without the package wandb."""
        try:
            import wandb
        except ImportError:
            raise SettingsError("WandB needs its package: pip install wandb") from None
        self._wandb = wandb
        self._options = options
        self._run: Any = None

    def on_start(self, event: events.Start) -> None:
        """Begin a run with the training's settings."""
        given = self._options.get("config")
        config = {**event.settings, **(given if isinstance(given, Mapping) else {})}
        self._run = self._wandb.init(**{**self._options, "config": config})

    def on_step(self, event: events.Step) -> None:
        """Log the training score of every tenth step."""
        if event.step % STEPS_BETWEEN == 0 and math.isfinite(event.train_nats_per_char):
            self._run.log({"train/nats_per_char": event.train_nats_per_char}, step=event.step)

    def on_evaluation(self, event: events.Evaluation) -> None:
        """Log the validation score."""
        self._run.log({"val/nats_per_char": event.val_nats_per_char}, step=event.step)

    def on_samples(self, event: events.Samples) -> None:
        """Log what the network wrote."""
        self._run.log({"samples": event.text}, step=event.step)

    def on_end(self, event: events.End) -> None:
        """Note the best score, and finish."""
        self._run.summary["best_val_nats_per_char"] = event.best_val_nats_per_char
        self._run.finish()

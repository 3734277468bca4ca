"""Ready-made callbacks of charrnn.train: the scores in TensorBoard, or in Weights & Biases.

Each needs a package of its own: `pip install -e '.[tensorboard]'` or `'.[wandb]'` in the clone.
They are also `charrnn train --log tensorboard:DIR` and `--log wandb:PROJECT`. A resume goes on in
the same curves.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import SettingsError
from charrnn.storage import write_atomically
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn import events

STEPS_BETWEEN = 10  # updates between two points of the training curve
TRAIN = "train/nats_per_char"
VAL = "val/nats_per_char"
WANDB_ID = "wandb-id.txt"  # in a run: which run of Weights & Biases a resume goes on with
INSTALL = "in the clone: pip install -c constraints.txt -e '.[{}]'"


class TensorBoard:
    """Writes scores in nats per character, samples and settings for TensorBoard.

    The files of a run lie in directory/NAME, where NAME is the name of the run's directory.
    """

    def __init__(self, directory: str | Path) -> None:
        """Raises SettingsError without the package tensorboard."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            advice = INSTALL.format("tensorboard")
            raise SettingsError(f"TensorBoard needs tensorboard; {advice}") from None
        self._kind = SummaryWriter
        self._directory = Path(directory)
        self._writer: Any = None

    def on_start(self, event: events.Start) -> None:
        """Begin a file, and write the settings as a text."""
        place = self._directory / event.run.resolve().name
        # What a killed training wrote after its last checkpoint comes again, and so does every step
        # of a training that starts over.
        self._writer = self._kind(str(place), purge_step=event.step + 1 if event.step else 0)
        rows = "\n".join(f"    {name} = {value}" for name, value in event.settings.items())
        self._writer.add_text("settings", rows, event.step)

    def on_step(self, event: events.Step) -> None:
        """Write the training score of every tenth step."""
        if event.step % STEPS_BETWEEN == 0 and math.isfinite(event.train_nats_per_char):
            self._writer.add_scalar(TRAIN, event.train_nats_per_char, event.step)

    def on_evaluation(self, event: events.Evaluation) -> None:
        """Write the validation score."""
        self._writer.add_scalar(VAL, event.val_nats_per_char, event.step)
        self._writer.flush()

    def on_samples(self, event: events.Samples) -> None:
        """Write what the network wrote, as a block of code: its text is no markup."""
        block = "\n".join(f"    {one_line(line)}" for line in event.text.split("\n"))
        self._writer.add_text("samples", block, event.step)

    def on_end(self, event: events.End) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class WandB:
    """Logs scores in nats per character and samples to a run of Weights & Biases.

    The run has the name of the training's directory, which keeps its id for a resume.
    """

    def __init__(self, **options: Any) -> None:
        """options: of wandb.init. Raises SettingsError without the package wandb."""
        try:
            import wandb
        except ImportError:
            raise SettingsError(f"WandB needs wandb; {INSTALL.format('wandb')}") from None
        self._wandb = wandb
        self._options = options
        self._run: Any = None

    def on_start(self, event: events.Start) -> None:
        """Begin a run with the training's settings, or go on with it."""
        usual = {"name": event.run.resolve().name, "id": _wandb_id(event), "resume": "allow"}
        given = self._options.get("config")
        config = {**event.settings, **(given if isinstance(given, Mapping) else {})}
        self._run = self._wandb.init(**{**usual, **self._options, "config": config})

    def on_step(self, event: events.Step) -> None:
        """Log the training score of every tenth step."""
        if event.step % STEPS_BETWEEN == 0 and math.isfinite(event.train_nats_per_char):
            self._run.log({TRAIN: event.train_nats_per_char}, step=event.step)

    def on_evaluation(self, event: events.Evaluation) -> None:
        """Log the validation score."""
        self._run.log({VAL: event.val_nats_per_char}, step=event.step)

    def on_samples(self, event: events.Samples) -> None:
        """Log what the network wrote."""
        self._run.log({"samples": event.text}, step=event.step)

    def on_end(self, event: events.End) -> None:
        """Note the best score, and finish; as failed where the training was."""
        if self._run is None:
            return
        if math.isfinite(event.best_val_nats_per_char):
            self._run.summary["best_val_nats_per_char"] = event.best_val_nats_per_char
        self._run.finish(exit_code=int(event.reason in ("diverged", "failed")))


def _wandb_id(event: events.Start) -> str:
    """Return the id that the run has, or give a training that begins a new one."""
    place = event.run / WANDB_ID
    if event.step:
        try:
            kept = place.read_bytes()[:64].decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            kept = ""
        if kept.isalnum():
            return kept
    made = secrets.token_hex(8)
    write_atomically(place, made.encode() + b"\n")
    return made

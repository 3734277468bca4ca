"""How a run learnt: the figures of its metrics.jsonl, as lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import SettingsError
from charrnn.training.metrics import figure, metrics_lines

Column = list[float | None]

STEPS = ("epoch", "chars", "train_nats_per_char", "grad_norm", "lr", "elapsed_s")
EVALUATIONS = ("val_nats_per_char", "network_nats_per_char", "ngram_nats_per_char")


@dataclass(frozen=True)
class History:
    """Columns by name, all of one length: "step" and figures, None where a line has none.

    steps: a row for each update: epoch, chars of its batch, train_nats_per_char, grad_norm before
    clipping, lr, elapsed_s.
    evaluations: a row for each score on validation: val_nats_per_char of what is kept,
    network_nats_per_char without counting beside it, ngram_nats_per_char of counting alone.
    """

    steps: dict[str, Column]
    evaluations: dict[str, Column]

    def frame(self, table: str = "evaluations") -> Any:
        """Return "evaluations" or "steps" as a frame of pandas.

        Raises SettingsError without pandas.
        """
        if table not in ("evaluations", "steps"):
            raise SettingsError(f"history has no table {table!r}: choose evaluations or steps")
        try:
            import pandas
        except ImportError:
            raise SettingsError("a frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(getattr(self, table))


def read_history(run: Path) -> History:
    """Return the history of a run directory. Raises CheckpointError if it cannot be read."""
    steps: dict[str, Column] = {name: [] for name in ("step", *STEPS)}
    evaluations: dict[str, Column] = {name: [] for name in ("step", *EVALUATIONS)}
    for line in metrics_lines(run / "metrics.jsonl"):
        if line is None or line.event not in ("", "eval"):
            continue
        table = evaluations if line.event else steps
        table["step"].append(line.step)
        for name in table.keys() - {"step"}:
            table[name].append(figure(line.fields.get(name)))
    return History(steps, evaluations)

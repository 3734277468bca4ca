"""The model that a command works with, and a word about which one it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.terminal import one_line, say

if TYPE_CHECKING:
    from charrnn.modelfile import ModelFile


def read_chosen(run: Path | None) -> ModelFile:
    """Read the model of a run, of the newest where none is named. Raises CheckpointError."""
    from charrnn.modelfile import RUNS, read_model
    from charrnn.newest import newest_run

    return read_model(run or newest_run(RUNS))


def say_chosen(run: Path | None, model: ModelFile) -> None:
    """Say on standard error which run was taken, unless the person named its very path."""
    if model.is_pretrained:
        say(f"taking {model.path.parent.name}, a model that comes with charrnn")
    elif run is None or not run.exists():
        say(f"taking {one_line(str(model.run or model.path))}")

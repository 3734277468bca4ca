"""What the shell completes beside commands and options: runs, corpora, presets, cells.

It runs at every press of the tab key, so that it loads neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

RUNS = Path("runs")
PRETRAINED = Path(__file__).parent.parent / "pretrained"  # models that come with charrnn
PARTS = ("model.safetensors", "checkpoints")  # of a run: one of them is there


def completer(words: Iterable[str]) -> Callable[[], list[str]]:
    """Return what completes an option that takes one of these words."""
    choices = list(words)
    return lambda: choices


def run_names() -> list[str]:
    """Return the names of the runs under runs/, and of the models that come with charrnn.

    The shell completes paths itself."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        for folder in sorted(RUNS.iterdir()):
            if any((folder / part).exists() for part in PARTS):
                names.append(folder.name)
    names += sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())
    return list(dict.fromkeys(names))


def corpus_names() -> list[str]:
    """Return the names of the corpora that come with charrnn."""
    from charrnn.layers import shipped_names

    return shipped_names("corpora")


def cell_and_run_names() -> list[str]:
    """Return what `charrnn explain` explains."""
    from charrnn.config import FIELDS

    cells: tuple[str, ...] = FIELDS["cell"][1].metadata["choices"]
    return [*(cell for cell in cells if cell != "ngram"), *run_names()]

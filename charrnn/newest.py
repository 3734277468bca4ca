"""Which run, and which of some files, was written to last."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from charrnn.errors import CheckpointError
from charrnn.modelfile import MODEL_FILE, checkpoint_files
from charrnn.terminal import one_line


def newest_run(runs: Path) -> Path:
    """Return the run under runs/ that was written to last. Raises CheckpointError without one."""
    dated_runs = []
    for run in filter(Path.is_dir, runs.glob("*")):
        written_ns = last_write_ns(partial(_model_files, run))
        if written_ns is not None:
            dated_runs.append((written_ns, run))
    if not dated_runs:
        raise CheckpointError(
            f"no run under {one_line(str(runs))}/; train one first: charrnn train names; "
            "or name a model that comes with charrnn: charrnn sample names"
        )
    return max(dated_runs)[1]


def last_write_ns(find: Callable[[], list[Path]]) -> int | None:
    """Return when one of the files was written last; None where there is none.

    They are looked for again where all of them vanish meanwhile, as checkpoints do.
    """
    missing: list[Path] = []
    while (files := find()) and files != missing:
        times = []
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                times.append(file.stat().st_mtime_ns)
        if times:
            return max(times)
        missing = files
    return None


def _model_files(run: Path) -> list[Path]:
    files = checkpoint_files(run / "checkpoints")
    if (run / MODEL_FILE).exists():
        files.append(run / MODEL_FILE)
    return files

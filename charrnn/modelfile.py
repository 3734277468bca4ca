"""The model file: weights, vocabulary and settings, for sampling, evaluating and sharing. No torch here.

A run's `model.safetensors` holds the best weights. A checkpoint holds a model too, under the prefix "model.", beside
everything that training needs to go on; both are read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn import __version__
from charrnn.config import ModelSettings, Settings, settings_from_dict
from charrnn.errors import CheckpointError, DamagedError, SettingsError
from charrnn.layout import expected_shapes, sizes
from charrnn.storage import read_tensors
from charrnn.terminal import one_line
from charrnn.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from charrnn.text.ngram import NGram

# With the newest format that this program reads and writes. 2: precision may be "auto".
KINDS = {"charrnn-model": 2, "charrnn-checkpoint": 2}
MODEL_FILE = "model.safetensors"
CHECKPOINT_NAME = re.compile(r"step-(\d{8,12})\.safetensors")


@dataclass(frozen=True)
class ModelFile:
    """A model as it lies on disk, checked. tensors: float32, named as in CharModel.tensors(); of a counting model, as in
    NGram.tensors()."""

    path: Path
    settings: Settings
    vocabulary: Vocabulary
    mode: str  # "lines" or "stream"
    start: int  # the id that stands before a text without a prompt
    tensors: dict[str, np.ndarray]
    meta: dict[str, Any]

    @property
    def counts(self) -> bool:
        """Is it a counting model, and no network?"""
        return self.settings.model.cell == "ngram"

    def ngram(self) -> NGram:
        """The counting model in it."""
        from charrnn.text.ngram import NGram, levels_of  # a network need not wait for it

        boundary = self.vocabulary.newline if self.mode == "lines" else None
        levels = levels_of(self.tensors, len(self.vocabulary))
        return NGram(levels, len(self.vocabulary), boundary, self.settings.model.smoothing)

    @property
    def run(self) -> Path | None:
        """The run directory this file lies in, if it does."""
        place = (
            self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent
        )
        return place if (place / "corpus").is_dir() else None


def model_meta(
    kind: str, settings: Settings, vocabulary: Vocabulary, mode: str, start: int, **more: Any
) -> dict[str, Any]:
    """The metadata every model and checkpoint file begins with."""
    return {
        "kind": kind,
        "format": KINDS[kind],
        "charrnn": __version__,
        "settings": settings.to_dict(),
        "vocabulary": vocabulary.to_dict(),
        "mode": mode,
        "start": start,
        **more,
    }


def read_model(path: Path) -> ModelFile:
    """The model of a run directory, a model file or a checkpoint file. Raises CheckpointError."""
    file = model_path(path)
    tensors, meta = read_tensors(file, KINDS)
    return parse_model(file, tensors, meta)


def parse_model(file: Path, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> ModelFile:
    """Check a file's tensors against its settings: names, shapes, type, finiteness. Raises CheckpointError."""
    shown = one_line(str(file))
    try:
        settings = settings_from_dict(meta["settings"], "settings")
        vocabulary = Vocabulary.from_dict(meta["vocabulary"])
        mode, start = meta["mode"], meta["start"]
        if (
            mode not in ("lines", "stream")
            or type(start) is not int
            or not 0 <= start < len(vocabulary)
        ):
            raise ValueError
        if mode == "lines" and vocabulary.newline is None:
            raise ValueError
        _check_sizes(settings.model)
    except (KeyError, TypeError, ValueError, AttributeError, SettingsError, OverflowError):
        raise DamagedError(
            f"{shown}: its settings or vocabulary make no sense; use another copy"
        ) from None
    if meta["kind"] == "charrnn-checkpoint":
        tensors = {
            name.removeprefix("model."): value
            for name, value in tensors.items()
            if name.startswith("model.")
        }
    if settings.model.cell == "ngram":
        from charrnn.text.ngram import levels_of

        try:
            levels_of(tensors, len(vocabulary))
        except ValueError:
            raise DamagedError(f"{shown}: its n-grams make no sense; use another copy") from None
        return ModelFile(file, settings, vocabulary, mode, start, tensors, meta)
    shapes = expected_shapes(settings.model, len(vocabulary))
    if {name: value.shape for name, value in tensors.items()} != shapes:
        wrong = sorted(set(shapes) ^ set(tensors)) or [
            name for name in shapes if tensors[name].shape != shapes[name]
        ]
        raise DamagedError(
            f"{shown}: {one_line(wrong[0])} does not fit the settings in the file; use another copy"
        )
    if any(value.dtype != np.float32 or not np.isfinite(value).all() for value in tensors.values()):
        raise DamagedError(f"{shown}: its weights are not finite float32 numbers; use another copy")
    return ModelFile(file, settings, vocabulary, mode, start, tensors, meta)


def _check_sizes(settings: ModelSettings) -> None:
    """Raises ValueError for a network without its sizes, or whose embedding cannot be its output matrix."""
    if settings.cell != "ngram":
        hidden, _, embedding = sizes(settings)
        if settings.tie_weights and (settings.skip == "dense" or hidden != embedding):
            raise ValueError


def model_path(path: Path) -> Path:
    """The file that RUN names: a run directory's best model, its newest checkpoint, or the file itself."""
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise CheckpointError(f"cannot read {one_line(str(path))}: {error.strerror}") from None
    if not is_folder:
        if not exists:
            raise CheckpointError(
                f"no run or checkpoint {one_line(str(path))}; `charrnn train` makes one under runs/"
            )
        return path
    if (path / MODEL_FILE).exists():
        return path / MODEL_FILE
    found = checkpoint_files(path / "checkpoints") or checkpoint_files(path)
    if not found:
        raise CheckpointError(
            f"{one_line(str(path))} holds no model yet; train it first, or name another run"
        )
    return found[-1]


def checkpoint_files(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first."""
    return sorted(
        (
            path
            for path in folder.glob("step-*.safetensors")
            if CHECKPOINT_NAME.fullmatch(path.name)
        ),
        key=step_of,
    )


def step_of(checkpoint: Path) -> int:
    match = CHECKPOINT_NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def newest_run(runs: Path) -> Path:
    """The run under runs/ that was written to last. Raises CheckpointError if there is none."""
    found = [
        (file.stat().st_mtime_ns, run)
        for run in runs.glob("*")
        if run.is_dir()
        for file in _model_files(run)
    ]
    if not found:
        raise CheckpointError(
            f"no run under {one_line(str(runs))}/; train one first: charrnn train names"
        )
    return max(found)[1]


def _model_files(run: Path) -> list[Path]:
    best = run / MODEL_FILE
    return ([best] if best.exists() else []) + checkpoint_files(run / "checkpoints")

"""The model file: weights, vocabulary and settings, to sample, evaluate and share. No torch here.

A run's `model.safetensors` holds the best weights. A checkpoint holds a model too, under the prefix
"model.", beside everything that training needs to go on. Both are read here. Nothing here knows who
asks.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn import __version__
from charrnn.config import ModelSettings, Settings, TextSettings, settings_from_dict
from charrnn.errors import CheckpointError, DamagedError, MissingError, SettingsError
from charrnn.layout import expected_shapes, sizes
from charrnn.storage import read_tensors
from charrnn.terminal import one_line
from charrnn.text.vocabulary import MOST_LABELS, RETURN, Vocabulary
from charrnn.values import (
    MAX_WHOLE,
    is_list_of,
    is_number,
    is_optional,
    is_text,
    is_whole,
    wrong_field,
)

if TYPE_CHECKING:
    from charrnn.text.gate import Ally
    from charrnn.text.labelgrams import LabelGrams
    from charrnn.text.ngram import NGram

# With the newest format that this program reads and writes. 2: precision may be "auto".
# 3: a network may have n-grams beside it, and rare characters may be bytes. 4: it knows labels.
KINDS = {"charrnn-model": 4, "charrnn-checkpoint": 4}
FORMAT_OF_ALLIES = 3
FORMAT_OF_LABELS = 4
MOST_STEPS = 10**12
MOST_NATS = 1e6  # a character
# What a file may say beside its settings, vocabulary, mode and start. open_corpus looks closer at
# the fingerprints.
FIELDS = {
    "charrnn": is_text(100),
    "corpus": is_text(),
    "fingerprint": is_text(64),
    "mixed": is_text(64),
    "step": is_whole(0, MOST_STEPS - 1),
    "label_counts": is_list_of(is_whole(0, MAX_WHOLE), MOST_LABELS),
    "val_nats_per_char": is_optional(is_number(MOST_NATS)),
}
MODEL_FILE = "model.safetensors"
MISCOUNTED = (
    "this model was counted by an earlier charrnn, with an error in the lowest order; "
    "train it again"
)
RUNS = Path("runs")  # where a training puts its run when nobody says
PRETRAINED = Path(__file__).parent / "pretrained"  # runs that come with charrnn
CHECKPOINT_NAME = re.compile(r"step-(\d{8,12})\.safetensors")


@dataclass(frozen=True)
class ModelFile:
    """A model as it lies on disk, checked."""

    path: Path
    settings: Settings
    vocabulary: Vocabulary
    mode: str  # "lines" or "stream"
    start: int  # the id that stands before a text without a prompt
    tensors: dict[str, np.ndarray]  # CharModel.tensors() in float32, or NGram.tensors()
    meta: dict[str, Any]  # of the file: model_meta, and more in a checkpoint
    ally: Ally | None = None  # the n-grams beside a network, and their gate

    @property
    def counts(self) -> bool:
        """Say whether it is a counting model, and no network."""
        return self.settings.model.cell == "ngram"

    def ngram(self) -> NGram:
        """Return the counting model in it."""
        from charrnn.text.ngram import NGram, levels_of  # a network need not wait for it

        boundary = self.vocabulary.newline if self.mode == "lines" else None
        levels = levels_of(_without_labels(self.tensors), len(self.vocabulary))
        ngram = NGram(levels, len(self.vocabulary), boundary, self.settings.model.smoothing)
        ngram.spelling = self.vocabulary.spelling
        return ngram

    def label_grams(self, ngram: NGram) -> LabelGrams | None:
        """Return the n-grams of labels over those of all, in a counting model that knows some."""
        return _label_grams(self.tensors, ngram, len(self.vocabulary.labels))

    @property
    def is_miscounted(self) -> bool:
        """Say whether an earlier version counted it, with an error in the lowest order."""
        if not self.counts or self.mode != "lines":
            return False
        if self.settings.model.smoothing != "kneser-ney":
            return False
        from charrnn.text.ngram import are_line_ends_miscounted, levels_of

        assert self.vocabulary.newline is not None  # _check_start
        size = len(self.vocabulary)
        levels = levels_of(_without_labels(self.tensors), size)
        return are_line_ends_miscounted(levels, size, self.vocabulary.newline)

    @cached_property
    def reading(self) -> TextSettings:
        """How a text is read for it.

        A carriage return ends a line where it has learnt lines and has not met one. Where several
        texts had encodings of their own, the first one's.
        """
        text = self.settings.text
        text = dataclasses.replace(text, encoding=text.encoding.partition(",")[0])
        if self.mode == "lines" and RETURN not in self.vocabulary.symbols:
            return dataclasses.replace(text, newlines="lf")
        return text

    @property
    def open_reading(self) -> TextSettings:
        """How another text is read that it is to learn.

        Its line ends are open where the model has met no carriage return.
        """
        text = self.settings.text
        if text.newlines == "keep" and RETURN not in self.vocabulary.symbols:
            return dataclasses.replace(text, newlines="auto")
        return text

    @property
    def step(self) -> int | None:
        """The step that it was written at; None where the file does not say."""
        return self.meta.get("step")

    def without_labels(self) -> ModelFile:
        """Return the model for programs that know no labels: it writes without one."""
        vocabulary = dataclasses.replace(self.vocabulary, labels=())
        tensors = {
            name: part
            for name, part in self.tensors.items()
            if name != "labels.weight" and not _is_of_labels(name)
        }
        ally = self.ally
        if ally is not None:
            ally = dataclasses.replace(ally, by_label=None)
        return dataclasses.replace(self, vocabulary=vocabulary, tensors=tensors, ally=ally)

    @property
    def label_counts(self) -> np.ndarray:
        """(K,) the training lines of each label; ones where the file does not say."""
        counts = self.meta.get("label_counts", ())
        size = len(self.vocabulary.labels)
        return np.array(counts if len(counts) == size else [1] * size, np.int64)

    @property
    def val_nats_per_char(self) -> float | None:
        """What it reached on validation; None where the file does not say."""
        return self.meta.get("val_nats_per_char")

    @property
    def is_pretrained(self) -> bool:
        """Say whether it is a model that comes with charrnn."""
        return self.path.parent.parent == PRETRAINED

    @property
    def run(self) -> Path | None:
        """The run directory that this file lies in, or None: a run has a folder for its text."""
        folder = self.path.parent
        if folder.name == "checkpoints":
            folder = folder.parent
        return folder if (folder / "corpus").is_dir() else None


def model_meta(
    kind: str, settings: Settings, vocabulary: Vocabulary, mode: str, start: int, **more: Any
) -> dict[str, Any]:
    """Return the metadata that every model and checkpoint file begins with."""
    return {
        "kind": kind,
        "format": FORMAT_OF_LABELS if vocabulary.labels else FORMAT_OF_ALLIES,
        "charrnn": __version__,
        "settings": settings.to_dict(),
        "vocabulary": vocabulary.to_dict(),
        "mode": mode,
        "start": start,
        **more,
    }


def read_model(path: Path) -> ModelFile:
    """Read the model of a run directory, a model file or a checkpoint. Raises CheckpointError."""
    file = model_path(path)
    while True:
        try:
            tensors, meta = read_tensors(file, KINDS)
            return parse_model(file, tensors, meta)
        except MissingError:  # a training that goes on has removed it, after it wrote another
            missing = file
            file = model_path(path)
            if file == missing:
                raise


def parse_model(file: Path, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> ModelFile:
    """Return what a file's tensors and meta hold, checked. Raises CheckpointError.

    Its settings make sense; its tensors have their names, shapes and type, and are finite.
    """
    shown = one_line(str(file))
    try:
        settings = settings_from_dict(meta["settings"], "settings")
        vocabulary = Vocabulary.from_dict(meta["vocabulary"])
        mode = meta["mode"]
        start = meta["start"]
        _check_start(mode, start, vocabulary)
        _check_sizes(settings.model)
        if settings.text.rare is None:  # written before rare characters could be bytes
            settings = settings.with_values("text", rare=0)
        if (
            meta.get("format", FORMAT_OF_ALLIES) < FORMAT_OF_ALLIES
        ):  # its training knew of none, and goes on so
            settings = settings.with_values("training", counting="off")
    except (KeyError, TypeError, ValueError, AttributeError, SettingsError, OverflowError):
        raise DamagedError(
            f"{shown}: its settings or vocabulary make no sense; use another copy"
        ) from None
    _check_record(shown, meta)
    if meta["kind"] == "charrnn-checkpoint":
        tensors = {
            name.removeprefix("model."): value
            for name, value in tensors.items()
            if name.startswith("model.")
        }
    model = ModelFile(file, settings, vocabulary, mode, start, tensors, meta)
    if model.counts:
        _check_counts(model)
        return model
    counted = {
        name: tensors[name]
        for name in tensors
        if name.startswith(("ngram.", "gate.")) or _is_of_labels(name)
    }
    weights = {name: value for name, value in tensors.items() if name not in counted}
    model = dataclasses.replace(model, tensors=weights)
    _check_weights(model)
    if counted:
        model = dataclasses.replace(model, ally=_ally(model, counted))
    return model


def _check_record(shown: str, meta: dict[str, Any]) -> None:
    """Raise DamagedError for a field that no training writes."""
    wrong = wrong_field(meta, FIELDS)
    if wrong in ("fingerprint", "mixed"):
        raise DamagedError(f"{shown}: its run names no text of charrnn; use another copy")
    if wrong is not None:
        raise DamagedError(
            f"{shown}: its record of the training is damaged ({wrong}); use another copy"
        )


def _check_start(mode: object, start: object, vocabulary: Vocabulary) -> None:
    """Raise ValueError for an unknown mode, lines without a newline, or a start that is no id."""
    if mode not in ("lines", "stream") or (mode == "lines" and vocabulary.newline is None):
        raise ValueError
    if vocabulary.labels and (mode != "lines" or start != vocabulary.newline):
        raise ValueError
    if type(start) is not int or not 0 <= start < len(vocabulary):
        raise ValueError


def _check_sizes(settings: ModelSettings) -> None:
    """Raise ValueError for a network without its sizes, or whose embedding cannot be tied."""
    if settings.cell != "ngram":
        hidden, _, embedding = sizes(settings)
        if settings.tie_weights and (settings.skip == "dense" or hidden != embedding):
            raise ValueError


def _check_counts(model: ModelFile) -> None:
    """Raise DamagedError for tensors that are no counting model."""
    from charrnn.text.ngram import levels_of

    try:
        levels_of(_without_labels(model.tensors), len(model.vocabulary))
        model.label_grams(model.ngram())
    except ValueError:
        shown = one_line(str(model.path))
        raise DamagedError(f"{shown}: its n-grams make no sense; use another copy") from None


def _ally(model: ModelFile, tensors: dict[str, np.ndarray]) -> Ally:
    """Return what tensors hold beside a network. Raises DamagedError where it is nothing."""
    from charrnn.text.compact import unpacked_levels
    from charrnn.text.contexts import Contexts
    from charrnn.text.gate import Ally, checked_theta
    from charrnn.text.ngram import NGram

    size = len(model.vocabulary)
    boundary = model.vocabulary.newline if model.mode == "lines" else None
    try:
        theta = checked_theta(tensors.pop("gate.theta", None))
        levels = unpacked_levels(_without_labels(tensors), size)
        ngram = NGram(levels, size, boundary, "kneser-ney")
        ngram.spelling = model.vocabulary.spelling
        by_label = _label_grams(tensors, ngram, len(model.vocabulary.labels))
        return Ally(Contexts(ngram), theta, by_label)
    except ValueError:
        shown = one_line(str(model.path))
        raise DamagedError(f"{shown}: its n-grams make no sense; use another copy") from None


def _label_grams(tensors: dict[str, np.ndarray], ngram: NGram, labels: int) -> LabelGrams | None:
    """Return the n-grams of labels, `labels` of them, over those of all lines; None: no tensors."""
    of_labels = {name: part for name, part in tensors.items() if _is_of_labels(name)}
    if not of_labels:  # most models; they need not wait for it
        return None
    from charrnn.text.labelgrams import label_grams

    return label_grams(of_labels, ngram, labels)


def _is_of_labels(name: str) -> bool:
    """Say whether a tensor holds n-grams of labels."""
    return name.startswith("bylabel.")


def _without_labels(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors that are not of labels."""
    return {name: part for name, part in tensors.items() if not _is_of_labels(name)}


def _check_weights(model: ModelFile) -> None:
    """Raise DamagedError for tensors that are not the network of the settings."""
    shown = one_line(str(model.path))
    tensors = model.tensors
    vocabulary = model.vocabulary
    shapes = expected_shapes(model.settings.model, len(vocabulary), len(vocabulary.labels))
    if {name: value.shape for name, value in tensors.items()} != shapes:
        wrong = sorted(set(shapes) ^ set(tensors))
        if not wrong:
            wrong = [name for name in shapes if tensors[name].shape != shapes[name]]
        raise DamagedError(
            f"{shown}: {one_line(wrong[0])} does not fit the settings in the file; use another copy"
        )
    if any(value.dtype != np.float32 or not np.isfinite(value).all() for value in tensors.values()):
        raise DamagedError(f"{shown}: its weights are not finite float32 numbers; use another copy")


def model_path(path: Path) -> Path:
    """Return the file that a path names: a run's best model, its newest checkpoint, or itself.

    A name that is no path here is looked for under runs/, then among the models that come with
    charrnn. Raises CheckpointError.
    """
    shown = one_line(str(path))
    try:
        if not path.exists() and path.name == str(path):
            path = RUNS / path
            if not path.exists() and (PRETRAINED / path.name / MODEL_FILE).exists():
                path = PRETRAINED / path.name
        is_folder = path.is_dir()
        exists = path.exists()
    except OSError as error:
        raise CheckpointError(f"cannot read {shown}: {error.strerror}") from None
    if not exists:
        raise CheckpointError(
            f"no run or checkpoint {shown}; `charrnn train` makes one under runs/"
        )
    if not is_folder:
        return path
    if (path / MODEL_FILE).exists():
        return path / MODEL_FILE
    checkpoints = checkpoint_files(path / "checkpoints") or checkpoint_files(path)
    if not checkpoints:
        raise CheckpointError(f"{shown} holds no model yet; train it first, or name another run")
    return checkpoints[-1]


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    files = folder.glob("step-*.safetensors")
    checkpoints = [file for file in files if CHECKPOINT_NAME.fullmatch(file.name)]
    return sorted(checkpoints, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step that a checkpoint's name tells."""
    match = CHECKPOINT_NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])

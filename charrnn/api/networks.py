"""The network of a model file as a module of PyTorch, and back.

Shapes: B rows, T time, V vocabulary, L layers, H hidden size.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from torch import Tensor

from charrnn.errors import CheckpointError, SettingsError
from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import State
from charrnn.modelfile import MODEL_FILE, ModelFile, model_meta, parse_model, read_model
from charrnn.storage import write_tensors
from charrnn.terminal import one_line
from charrnn.text.reading import encode_text
from charrnn.training.assembly import to_numpy, to_torch


class Network(CharModel):
    """A network in plain PyTorch operations, on any device, differentiable in everything.

    Parameters have the names, the shapes and the gate order of torch.nn: embedding.weight,
    recurrent.weight_ih_l0, ..., head.weight. `eval()` and `train()` switch dropout, as the settings
    have it; it begins in eval().
    """

    def __init__(self, file: ModelFile) -> None:
        """file: of a network. Counting that may stand beside it is left out."""
        cell = file.settings.model.cell
        backend = "func" if cell == "gru-before" else "torch"
        vocabulary = file.vocabulary
        labels = len(vocabulary.labels)
        newline = vocabulary.newline or 0
        super().__init__(
            file.settings.model, len(vocabulary), backend, labels=labels, newline=newline
        )
        self.file = file
        self.load_tensors(to_torch({name: value.copy() for name, value in file.tensors.items()}))
        self.eval()

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits (B, T, V) and the state after the last character.

        ids (B, T) of `encode`. state: (h,) or (h, c), each (L, B, H); None: before any character.
        Before a line the model has read file.start, the newline, or a label's id
        (file.vocabulary.label_ids).
        """
        return super().forward(ids, self.zero_state(len(ids)) if state is None else state)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text. Raises VocabularyError for characters it does not know."""
        file = self.file
        reading = file.open_reading
        ids, *_ = encode_text(text, reading, file.vocabulary, "error", "text")
        return [int(index) for index in ids]

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids."""
        return self.file.vocabulary.to_bytes(np.asarray(ids)).decode("utf-8", "replace")


def load_torch(path: str | Path) -> Network:
    """Return the network of a run, a model file or a checkpoint. Raises CheckpointError."""
    file = read_model(Path(path))
    if file.counts:
        raise CheckpointError(f"{one_line(str(file.path))} counts n-grams and has no network")
    return Network(file)


def save_torch(module: Network, path: str | Path) -> Path:
    """Write a network as a model file that sample and eval take, and return where.

    path: a new file, or a new directory for it. Its scores are unknown, so it carries none.
    Raises SettingsError where something is there already, StorageError where it cannot be written.
    """
    place = Path(path)
    if place.suffix != ".safetensors":
        place = place / MODEL_FILE
    if place.exists():
        raise SettingsError(f"{one_line(str(place))} is there already; name a new file")
    file = module.file
    training = dataclasses.replace(file.settings.training, counting="off")
    settings = dataclasses.replace(file.settings, training=training)
    meta = model_meta("charrnn-model", settings, file.vocabulary, file.mode, file.start)
    tensors = {name: np.ascontiguousarray(part) for name, part in _tensors(module).items()}
    parse_model(place, tensors, meta)  # what is no model is refused before it is written
    place.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(place, tensors, meta)
    return place


def _tensors(module: Network) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in to_numpy(module.tensors()).items()}

"""A folder as model hubs take it: weights, configuration, vocabulary, and a card about them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.export.card import HUB_USE, card, front
from charrnn.export.facts import Facts
from charrnn.modelfile import FIELDS, KINDS, MODEL_FILE, ModelFile, model_meta
from charrnn.storage import make_directories, read_tensors, storage_error, write_atomically
from charrnn.storage import write_tensors as write_tensor_file
from charrnn.text.spelling import MAX_CODE

CONFIG_FILE = "config.json"
VOCABULARY_FILE = "vocabulary.json"
CARD_FILE = "README.md"
FILES = (MODEL_FILE, CONFIG_FILE, VOCABULARY_FILE, CARD_FILE)


def write_folder(folder: Path, facts: Facts) -> list[Path]:
    """Write the folder, the card last, and return its files. Raises StorageError."""
    model = facts.model
    try:
        make_directories(folder)
    except OSError as error:
        raise storage_error(error, folder, option="--hub") from error
    tensors, meta = _whole_model(model)
    write_tensor_file(folder / MODEL_FILE, tensors, meta)
    texts = {
        CONFIG_FILE: _as_json(_config(model)),
        VOCABULARY_FILE: _as_json(_vocabulary(model)),
        CARD_FILE: front(model) + card(facts, HUB_USE),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode(), "--hub")
    return [folder / name for name in FILES]


def _whole_model(model: ModelFile) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the metadata of a model file, n-grams beside a network included.

    A checkpoint holds more, which is left out.
    """
    tensors, meta = read_tensors(model.path, KINDS)
    if meta["kind"] == "charrnn-model":
        return tensors, {name: value for name, value in meta.items() if name != "sha256"}
    more = {name: meta[name] for name in FIELDS if name in meta and name != "charrnn"}
    meta = model_meta(
        "charrnn-model", model.settings, model.vocabulary, model.mode, model.start, **more
    )
    prefix = "model."
    own = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
    return own, meta


def _config(model: ModelFile) -> dict[str, Any]:
    """Return the network's settings under charrnn's names."""
    settings = dataclasses.asdict(model.settings.model)
    return {
        "model_type": "charrnn",
        **settings,
        "vocab_size": len(model.vocabulary),
        "mode": model.mode,
        "start": model.start,
        "has_ngrams": model.ally is not None or model.counts,
    }


def _vocabulary(model: ModelFile) -> dict[str, Any]:
    """Return the symbols by id: code points with their characters, or bytes."""
    vocabulary = model.vocabulary
    about: dict[str, Any] = {**vocabulary.to_dict(), "start": model.start}
    if vocabulary.unit == "char":
        about["characters"] = [_shown(code) for code in vocabulary.symbols]
    return about


def _shown(code: int) -> str:
    """Return the character of a symbol; <0x80> for a byte of rare characters."""
    return chr(code) if code < MAX_CODE else f"<0x{code - MAX_CODE:02X}>"


def _as_json(about: dict[str, Any]) -> str:
    return json.dumps(about, ensure_ascii=False, indent=1, allow_nan=False) + "\n"

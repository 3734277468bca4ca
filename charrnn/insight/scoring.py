"""The score of a stored model on its own text, a file or a text somebody typed: what `charrnn eval` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.config import RuntimeSettings, TextSettings
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.insight.evaluate import Score, baselines, evaluate_ids, evaluate_lines
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.text.corpus import open_corpus
from charrnn.text.reading import encode_file, encode_text
from charrnn.training import backends, runtime


@dataclass(frozen=True)
class How:
    """protocol: "stateful" or "windowed" (window characters each); unknown: "error", "skip" or "replace"."""

    protocol: str = "stateful"
    window: int = 256
    unknown: str = "error"
    device: str = "auto"


def score_split(
    model_file: ModelFile, split: str | None, how: How, with_baselines: bool, note: Callable[[str], None]
) -> dict[str, Any]:
    """The figures of "train", "val" or "test" (None: test if there is one, else val) of the run's own text.

    Raises CheckpointError if the model lies in no run with its text, CorpusError if that part is empty.
    """
    if model_file.run is None or "fingerprint" not in model_file.meta:
        raise CheckpointError(f"{model_file.path} lies in no run directory with its text; pass --file or --text")
    corpus = open_corpus(model_file.run / "corpus", model_file.meta["fingerprint"])
    if corpus.vocabulary != model_file.vocabulary:
        raise CheckpointError(f"{model_file.run}/corpus is not the text of this model; pass --file or --text")
    chosen = split or ("test" if len(corpus.split("test")) else "val")
    ids = corpus.split(chosen)
    if len(ids) < 2:
        raise CorpusError(f"this run has no {chosen} text to score; choose another --split or pass --file")
    figures = _score(model_file, ids, how)
    against = baselines(corpus, chosen, note) if with_baselines else {}
    return figures | {
        "split": chosen, "baselines": against, "corpus": corpus.name, "fingerprint": corpus.fingerprint
    }  # fmt: skip


def score_given(
    model_file: ModelFile, file: Path | None, text: str | None, settings: TextSettings, how: How
) -> dict[str, Any]:
    """The figures of a file, or of a text. Raises CorpusError, VocabularyError."""
    if file is not None:
        ids = encode_file(file, settings, model_file.vocabulary, how.unknown)
    else:
        ids = encode_text(text or "", settings, model_file.vocabulary, how.unknown, "--text")
    newline = int(model_file.vocabulary.newline or 0)
    if model_file.mode == "lines" and len(ids) and ids[-1] != newline:
        ids = np.append(ids, newline).astype(ids.dtype)
    figures = _score(model_file, ids, how)
    if not figures["chars"]:
        raise CorpusError("nothing to score: a stream needs two characters that the model knows, lines need one")
    return figures | {"split": None, "file": str(file) if file else None, "baselines": {}}


def load_model(model_file: ModelFile, device_name: str) -> tuple[CharModel, torch.device]:
    """The stored model on a device, ready to score. Raises SettingsError for a device that is not there."""
    settings = dataclasses.replace(
        model_file.settings, runtime=dataclasses.replace(RuntimeSettings(), device=device_name)
    )
    device = runtime.prepare(settings.runtime)
    backend = backends.expected_backend(settings, device)
    model = CharModel(model_file.settings.model, len(model_file.vocabulary), backend)
    model.load_tensors({name: torch.from_numpy(value) for name, value in model_file.tensors.items()})
    return model.to(device).eval(), device


def _score(model_file: ModelFile, ids: np.ndarray, how: How) -> dict[str, Any]:
    protocol, window = how.protocol, how.window if how.protocol == "windowed" else None
    model, device = load_model(model_file, how.device)
    if model_file.mode == "lines":
        if protocol == "windowed":
            raise SettingsError("--protocol windowed is for streams; this model knows lines, each from an empty state")
        protocol = "lines"
        score = evaluate_lines(model, ids, int(model_file.vocabulary.newline or 0), device)
    else:
        score = evaluate_ids(model, ids, device, protocol=protocol, window=how.window)
    return _figures(score) | {"protocol": protocol, "window": window}


def _figures(score: Score) -> dict[str, Any]:
    names = ("nats_per_char", "bits_per_char", "perplexity", "chars")
    return {name: getattr(score, name) for name in names}

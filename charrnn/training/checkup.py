"""`charrnn train --check`: what a text is like, and the training it would get. Writes nothing, builds no network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from charrnn.config import resolve
from charrnn.insight.counting import MAX_VALIDATION_CHARS
from charrnn.layout import expected_shapes
from charrnn.text import corpus as corpora
from charrnn.text import doctor
from charrnn.training import backends, memory, recipe, runtime


def check(corpus: str | None, layers: tuple[tuple[str, Mapping[str, Any]], ...]) -> dict[str, Any]:
    """Findings, suggested size and expected memory, ready for JSON. Raises CorpusError when the text cannot be read."""
    settings, _ = resolve(layers)
    if settings.model.cell == "ngram":  # whatever counts has no size to suggest: that of the network instead
        settings = settings.with_values("model", cell="lstm", order="auto", smoothing="kneser-ney")
    device = runtime.choose_device(settings.runtime.device)
    found = corpora.survey(corpus, settings.text, settings.training.seed)
    findings = doctor.examine(found, settings.text, settings.training.seed)
    filled, network = recipe.fill(
        settings, found, lambda: backends.training_rate(settings, runtime.prepare(settings.runtime))
    )
    model, training, size = filled.model, filled.training, len(found.vocabulary)
    assert training.batch_size is not None
    assert training.seq_length is not None
    is_lines = found.mode == "lines"
    shape = (training.batch_size, findings.longest_line + 1 if is_lines else training.seq_length)
    train_chars = corpora.training_chars(found, settings.text)
    val_chars = found.censuses["val"].chars if "val" in found.censuses else findings.chars - train_chars
    looked_at = val_chars if is_lines else min(val_chars, MAX_VALIDATION_CHARS)
    expected = memory.expected_memory(filled, size, shape, backends.expected_backend(filled, device), looked_at)
    parameters = sum(math.prod(each) for each in expected_shapes(model, size).values())
    return dataclasses.asdict(findings) | {
        "corpus": found.name,
        "shown": found.sources["train"].shown,
        "network": network,
        "vocabulary": size,
        "cell": model.cell,
        "hidden_size": model.hidden_size,
        "num_layers": model.num_layers,
        "dropout": model.dropout,
        "batch_size": training.batch_size,
        "seq_length": None if is_lines else training.seq_length,
        "train_chars": train_chars,
        "parameters": parameters,
        "expected_memory_bytes": expected.total,
    }

"""`charrnn train --check`: what a text is like, and the training, or counting, it would get. Writes and learns nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from charrnn.config import Settings
from charrnn.layout import expected_shapes
from charrnn.machine import backends, runtime
from charrnn.scoring.counting import MAX_VALIDATION_CHARS
from charrnn.text import building, doctor
from charrnn.text.counting import most_orders
from charrnn.training import finetune, memory, recipe
from charrnn.training.checkpoint import fresh_run
from charrnn.training.counted import check_flags, order_asked

NETWORK = (
    "network",
    "fine_tuning",
    "hidden_size",
    "num_layers",
    "dropout",
    "batch_size",
    "seq_length",
    "parameters",
    "expected_memory_bytes",
)
COUNTING = ("order", "longest_order", "smoothing")


def check(corpus: str | None, layers: tuple[tuple[str, Mapping[str, Any]], ...]) -> dict[str, Any]:
    """Findings, and what would be trained or counted, ready for JSON: what only the other has is None.

    Raises what a start of that training would: CorpusError, SettingsError, CheckpointError.
    """
    settings, origins, old = finetune.begin(layers)
    device = runtime.choose_device(settings.runtime.device)
    found = building.survey(corpus, settings.text, settings.training.seed)
    if settings.model.cell == "ngram":
        check_flags(origins)
        planned = _counting(settings, len(found.vocabulary))
        source = None
    else:
        filled, network = recipe.fill(
            settings,
            found,
            lambda: backends.training_rate(settings, runtime.prepare(settings.runtime)),
            origins,
        )
        # Into a run that is not there yet: --overwrite, which could remove the old one, is not for a check.
        source = (
            finetune.prepare(old, filled, found, fresh_run(found.name, Path("runs")))
            if old is not None
            else None
        )
    vocabulary = source.vocabulary if source is not None else found.vocabulary
    findings = doctor.examine(found, settings.text, settings.training.seed)
    train_chars = building.training_chars(found, settings.text)
    if settings.model.cell != "ngram":
        val_chars = (
            found.censuses["val"].chars if "val" in found.censuses else findings.chars - train_chars
        )
        length = findings.longest_line + 1 if found.mode == "lines" else None
        planned = {"network": network, "fine_tuning": source.note if source is not None else None}
        planned |= _training(filled, len(vocabulary), length, val_chars, device)
    about = {
        "corpus": found.name,
        "shown": found.sources["train"].shown,
        "vocabulary": len(vocabulary),
        "train_chars": train_chars,
        "cell": settings.model.cell,
    }
    return dataclasses.asdict(findings) | about | dict.fromkeys((*NETWORK, *COUNTING)) | planned


def _training(
    filled: Settings, size: int, line_length: int | None, val_chars: int, device: torch.device
) -> dict[str, Any]:
    """Of a network. size: of its alphabet; line_length: of the longest line with its end, in lines mode."""
    model, training = filled.model, filled.training
    assert training.batch_size is not None
    assert training.seq_length is not None
    shape = (training.batch_size, line_length or training.seq_length)
    looked_at = val_chars if line_length else min(val_chars, MAX_VALIDATION_CHARS)
    expected = memory.expected_memory(
        filled, size, shape, backends.expected_backend(filled, device), looked_at
    )
    return {
        "hidden_size": model.hidden_size,
        "num_layers": model.num_layers,
        "dropout": model.dropout,
        "batch_size": training.batch_size,
        "seq_length": None if line_length else training.seq_length,
        "parameters": sum(math.prod(each) for each in expected_shapes(model, size).values()),
        "expected_memory_bytes": expected.total,
    }


def _counting(settings: Settings, size: int) -> dict[str, Any]:
    """Of n-grams. Raises SettingsError for an order that CountingTrainer would refuse."""
    order_asked(settings, size)
    model = settings.model
    return {"order": model.order, "longest_order": most_orders(size), "smoothing": model.smoothing}

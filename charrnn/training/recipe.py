"""What a person did not set: a network and a training sized from the corpus, and the sentence that says so."""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn.config import Settings
from charrnn.terminal import one_line
from charrnn.text.corpus import Survey, training_chars

DEFAULT_BUDGET = "5m"


def fill(settings: Settings, found: Survey) -> tuple[Settings, str]:
    """Settings with every None of the network and the training decided, and why in one line.

    Bigger texts carry bigger networks, and small texts want more regularisation and a fixed number of passes: in five
    minutes a network reads five thousand names two thousand times. Figures from trials on two cores (README, Decisions).
    """
    chars = training_chars(found, settings.text)
    model, training = settings.model, settings.training
    hidden, dropout, weight_decay, lr, epochs = next(row[1:] for row in _SIZES if chars < row[0])
    hidden = model.hidden_size or hidden
    sized: dict[str, Any] = {
        "hidden_size": hidden,
        "num_layers": model.num_layers or 1,
        "embedding_size": model.embedding_size
        or (hidden if model.tie_weights else min(64, max(8, len(found.vocabulary)))),
        "dropout": dropout if model.dropout is None else model.dropout,
    }
    if model.tie_weights and model.hidden_size is None and model.embedding_size is not None:
        sized["hidden_size"] = model.embedding_size
    seq_length = training.seq_length or 64
    batch_size = training.batch_size or (64 if found.mode == "lines" else 32)
    if found.mode == "stream" and training.seq_length is None:
        seq_length = max(1, min(seq_length, (chars - 1) // (training.batch_size or 1)))
    if found.mode == "stream" and training.batch_size is None:
        batch_size = max(1, min(batch_size, (chars - 1) // seq_length))
    decided: dict[str, Any] = {"seq_length": seq_length, "batch_size": batch_size}
    for key, value in (("lr", lr), ("weight_decay", weight_decay)):
        if getattr(training, key) is None:
            decided[key] = value
    if training.epochs is None and training.steps is None and training.budget is None:
        decided |= {"epochs": epochs} if epochs else {"budget": DEFAULT_BUDGET}
    filled = dataclasses.replace(
        settings, model=dataclasses.replace(model, **sized), training=dataclasses.replace(training, **decided)
    )
    made = filled.model
    reason = f"sized for {chars:,} characters" if model.hidden_size is None else "as asked"
    if training.init_from:
        reason = f"from {one_line(training.init_from)}"
    return filled, f"{made.cell} {made.num_layers} x {made.hidden_size}, dropout {made.dropout:g} ({reason})"


# Up to so many characters: hidden size, dropout, weight decay, learning rate, epochs (None: the default budget).
_SIZES: tuple[tuple[int, int, float, float, float, float | None], ...] = (
    (20_000, 96, 0.6, 0.4, 0.005, 60.0),
    (200_000, 256, 0.6, 0.4, 0.005, 60.0),
    (700_000, 256, 0.3, 0.03, 0.005, None),
    (3_000_000, 320, 0.2, 0.01, 0.005, None),
    (1 << 62, 512, 0.1, 0.01, 0.003, None),
)

"""What a person did not set: a network and a training sized from the corpus, and the sentence that says so."""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn.config import Settings, shares
from charrnn.text.corpus import Survey

DEFAULT_BUDGET = "5m"


def fill(settings: Settings, found: Survey) -> tuple[Settings, str]:
    """Settings with every None of the network and the batch decided, and why in one line.

    Bigger texts carry bigger networks: about one parameter a character is the old rule of thumb (Karpathy), and small
    texts want more dropout. The figures are from trials on two cores (README, Decisions).
    """
    chars = found.censuses["train"].chars
    chars = chars if len(found.sources) > 1 else round(chars * shares(settings.text.split)[0])
    model, training = settings.model, settings.training
    hidden, dropout = next((hidden, dropout) for limit, hidden, dropout in _SIZES if chars < limit)
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
    batch_size = training.batch_size or 32
    if found.mode == "stream" and training.seq_length is None:
        seq_length = max(1, min(seq_length, (chars - 1) // (training.batch_size or 1)))
    if found.mode == "stream" and training.batch_size is None:
        batch_size = max(1, min(batch_size, (chars - 1) // seq_length))
    lr = training.lr if training.lr is not None else min(5e-3, 1.0 / sized["hidden_size"])
    asked = training.epochs is not None or training.steps is not None or training.budget is not None
    filled = dataclasses.replace(
        settings,
        model=dataclasses.replace(model, **sized),
        training=dataclasses.replace(
            training,
            seq_length=seq_length,
            batch_size=batch_size,
            lr=lr,
            budget=training.budget if asked else DEFAULT_BUDGET,
        ),
    )
    made = filled.model
    reason = f"sized for {chars:,} characters" if model.hidden_size is None else "as asked"
    return filled, f"{made.cell} {made.num_layers} x {made.hidden_size}, dropout {made.dropout:g} ({reason})"


_SIZES = ((20_000, 64, 0.3), (200_000, 128, 0.4), (700_000, 192, 0.3), (3_000_000, 320, 0.2), (1 << 62, 512, 0.1))

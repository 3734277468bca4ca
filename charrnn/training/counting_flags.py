"""What a person may ask of a counting (`--cell ngram`), and what is only for networks."""

from __future__ import annotations

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.text.counting import most_orders

NOT_FOR_COUNTING = (
    "hidden_size",
    "num_layers",
    "embedding_size",
    "dropout",
    "weight_drop",
    "skip",
    "conv",
    "tie_weights",
    "forget_bias",
    "budget",
    "epochs",
    "steps",
    "batch_size",
    "seq_length",
    "state_reset",
    "checkpoint_every_chars",
    "lr",
    "clip",
    "optimizer",
    "schedule",
    "warmup",
    "weight_decay",
    "ema",
    "init_from",
    "freeze",
    "mix",
    "patience",
    "counting",
    "eval_every",
    "backend",
    "precision",
    "watch",
)


def check_flags(origins: dict[str, str]) -> None:
    """Raise SettingsError for a flag that only a network has.

    A preset's settings for networks are passed over.
    """
    for key in NOT_FOR_COUNTING:
        origin = origins.get(key, "")
        if origin.startswith("--") and origin != "--set":
            raise SettingsError(f"{origin} is for networks, not for --cell ngram; leave it out")


def order_asked(settings: Settings, vocabulary_size: int) -> int | None:
    """Return the order that was asked for; None: it is to be picked.

    Raises SettingsError where the alphabet is too large for it.
    """
    if settings.model.order == "auto":
        return None
    order = int(settings.model.order)
    longest = most_orders(vocabulary_size)
    if order > longest:
        raise SettingsError(
            f"--order {order}: with {vocabulary_size:,} different characters "
            f"n-grams of at most {longest} can be counted"
        )
    return order

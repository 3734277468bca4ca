"""Training, validation and test: the share each split gets, in characters or lines."""

from __future__ import annotations

import math
from collections.abc import Collection

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.terminal import many
from charrnn.values import shares

SPLITS = ("train", "val", "test")


def shares_of(own: Collection[str], settings: TextSettings) -> dict[str, float]:
    """Return the share of a corpus that each split gets.

    own: the splits that have a file of their own; they get none of the corpus.
    """
    wanted = dict(zip(SPLITS, shares(settings.split), strict=True))
    if own:
        # With --test alone, the validation text still comes out of the corpus.
        wanted["test"] = 0.0
        if "val" in own:
            wanted["val"] = 0.0
        wanted["train"] = 1.0 - wanted["val"]
    return wanted


def divided(total: int, own: Collection[str], settings: TextSettings) -> dict[str, int]:
    """Return how many of a corpus's `total` characters or lines each split gets."""
    wanted = shares_of(own, settings)
    # Cumulative and rounded down, as nanoGPT's int(n * 0.9): figures on a published split stay so.
    after_train = int(total * wanted["train"] + 1e-9)
    after_val = total
    if wanted["test"]:
        after_val = int(total * (wanted["train"] + wanted["val"]) + 1e-9)
    edges = [0, after_train, after_val, total]
    return {name: edges[index + 1] - edges[index] for index, name in enumerate(SPLITS)}


def allot(
    lengths: dict[str, int],
    settings: TextSettings,
    least: int,
    unit: str,
    *,
    shown: str = "the text",
) -> dict[str, int]:
    """Return how many characters or lines each split gets.

    Of a few lines each split gets one at least, which training goes without.
    lengths: of the corpus ("train"), and of files of their own ("val", "test").
    Raises CorpusError when a split would get fewer than `least`. unit, shown: for its message.
    """
    own = set(lengths) - {"train"}
    noun = unit.removesuffix("s")
    total = lengths["train"]
    wanted = shares_of(own, settings)
    counts = divided(total, own, settings)
    for name in own:
        counts[name] = lengths[name]
        if counts[name] < least:
            raise CorpusError(
                f"the --{name} file has {many(counts[name], noun)}: too few; "
                f"it needs at least {least}"
            )
    wanted_splits = [name for name in SPLITS if name == "train" or wanted[name] > 0]
    fewest = len(wanted_splits)
    if least == 1 and total >= fewest:
        for name in wanted_splits:
            if not counts[name]:
                counts[name] = 1
                counts["train"] -= 1
    for name in SPLITS:
        if (name == "train" or wanted[name] > 0) and counts[name] < least:
            share = min(value for value in wanted.values() if value > 0)
            minimum = fewest if least == 1 else math.ceil(least / share)
            raise CorpusError(
                f"{shown} has {many(total, noun)}, {counts[name]} of them for {name}: too few; "
                f"with --split {settings.split} it needs at least {minimum:,}"
            )
    return counts

"""Training, validation and test: which share of a text each gets, and how many characters or lines that makes."""

from __future__ import annotations

import math
from collections.abc import Collection

from charrnn.config import TextSettings, shares
from charrnn.errors import CorpusError

SPLITS = ("train", "val", "test")


def shares_of(own: Collection[str], settings: TextSettings) -> dict[str, float]:
    """Of a corpus, by split. own: the splits that have a file of their own get none of it."""
    wanted = dict(zip(SPLITS, shares(settings.split), strict=True))
    if own:  # --val or --test given: without a file of its own a validation text still comes out of the corpus
        wanted["test"] = 0.0
        wanted["val"] = 0.0 if "val" in own else wanted["val"]
        wanted["train"] = 1.0 - wanted["val"]
    return wanted


def divided(total: int, own: Collection[str], settings: TextSettings) -> dict[str, int]:
    """How many of so many characters or lines of a corpus each split gets."""
    wanted = shares_of(own, settings)
    # Cumulative and rounded down, as nanoGPT's int(n * 0.9), so that figures on a published split are on that split.
    before_test = (
        total if not wanted["test"] else int(total * (wanted["train"] + wanted["val"]) + 1e-9)
    )
    edges = [0, int(total * wanted["train"] + 1e-9), before_test, total]
    return {name: edges[index + 1] - edges[index] for index, name in enumerate(SPLITS)}


def allot(lengths: dict[str, int], settings: TextSettings, least: int, unit: str) -> dict[str, int]:
    """How many characters or lines each split gets. lengths: of the corpus ("train"), and of files of their own.

    Raises CorpusError when one would get fewer than least.
    """
    own, total = set(lengths) - {"train"}, lengths["train"]
    wanted, counts = shares_of(own, settings), divided(total, own, settings)
    for name in own:
        counts[name] = lengths[name]
        if counts[name] < least:
            raise CorpusError(
                f"the --{name} file has {counts[name]} {unit}: too few; it needs at least {least}"
            )
    for name in SPLITS:
        if (name == "train" or wanted[name] > 0) and counts[name] < least:
            share = min(value for value in wanted.values() if value > 0)
            raise CorpusError(
                f"the text has {total:,} {unit}, {counts[name]} of them for {name}: too few; with --split "
                f"{settings.split} it needs at least {math.ceil(least / share):,}"
            )
    return counts

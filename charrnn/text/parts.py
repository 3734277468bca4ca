"""Which pieces of a corpus are of which of several texts.

train   a a a a b b b          each text is split by itself
val     a b a a b              the beginnings first: a reader who takes only the beginning of
test    a b                    a long split takes some of every text
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.text.splits import SPLITS
from charrnn.values import (
    MAX_WHOLE,
    Check,
    is_list_of,
    is_number,
    is_table_of,
    is_text,
    is_whole,
    wrong_field,
)

# Ids of a held-out split: each round has some of every text.
ROUNDS = (1 << 12, 1 << 14, 1 << 16, 1 << 18)
MOST_TEXTS = 100_000

Segment = tuple[int, int]  # the number of a text, and ids of it

FIELDS: dict[str, Check] = {
    "names": is_list_of(is_text(), MOST_TEXTS),
    "shares": is_list_of(is_number(1), MOST_TEXTS),
    "segments": is_table_of(
        is_list_of(is_list_of(is_whole(0, MAX_WHOLE), 2), 2 * MOST_TEXTS), len(SPLITS)
    ),
}


@dataclass(frozen=True)
class Parts:
    """The texts of a corpus; none where it is of one text.

    shares: of the training, which add up to 1; (): each as long as it is. segments: of each split,
    in its order; none of a split that is a file of its own.
    """

    names: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    segments: Mapping[str, Sequence[Segment]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names)

    def spans(self, split: str) -> list[tuple[int, int]]:
        """Return where each text stands in a split in which it is one piece, and its length."""
        spans = [(0, 0)] * len(self.names)
        start = 0
        for text, length in self.segments.get(split, ()):
            spans[text] = (start, length)
            start += length
        return spans

    def texts_at(self, split: str, places: np.ndarray) -> np.ndarray:
        """Return the number of the text at each place of a split."""
        texts = np.array([text for text, _ in self.segments[split]], np.int64)
        ends = np.cumsum([length for _, length in self.segments[split]])
        numbers: np.ndarray = texts[np.searchsorted(ends, places, side="right")]
        return numbers

    def to_dict(self) -> dict[str, Any]:
        """Return the parts as the description of a corpus says them."""
        return {"names": self.names, "shares": self.shares, "segments": dict(self.segments)}


ONE_TEXT = Parts()


def parts_of(values: Any, lengths: Mapping[str, int]) -> Parts:
    """Return the parts that `to_dict` wrote. lengths: of the splits, in ids.

    values: None where a corpus is of one text. Raises ValueError for what cannot be.
    """
    if values is None:
        return ONE_TEXT
    if not isinstance(values, dict) or wrong_field(values, FIELDS, FIELDS) is not None:
        raise ValueError
    names = values["names"]
    shares = values["shares"]
    segments = {split: [tuple(pair) for pair in values["segments"][split]] for split in SPLITS}
    are_shares = not shares
    if len(shares) == len(names) and min(shares) > 0:
        are_shares = math.isclose(sum(shares), 1, abs_tol=1e-6)
    learnt = [text for text, _ in segments["train"]]
    if not names or not are_shares or learnt != list(range(len(names))):
        raise ValueError
    for split, pairs in segments.items():
        if pairs and sum(length for _, length in pairs) != lengths[split]:
            raise ValueError
        if any(text >= len(names) for text, _ in pairs):
            raise ValueError
    return Parts(tuple(names), tuple(shares), segments)


def rounds(total: int) -> list[int]:
    """Return after how much of a split each round of its texts ends. total: ids, or characters."""
    return [mark for mark in ROUNDS if mark < total] + [total]


def reached(length: int, mark: int, total: int) -> int:
    """Return how much of a text of this length has come when a round of all ends."""
    return -(-length * mark // max(1, total))

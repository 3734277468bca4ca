"""What training looks at of a held-out text: all of it, or of a large one a part that is its like.

No torch here. Shapes: N characters of the part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charrnn.text.corpus import Corpus

MOST_OF_STREAM = 1 << 18  # characters
MOST_OF_LINES = 1 << 20


class HeldOut(NamedTuple):
    """ids (N,); first (lines,): what stands before each line; None: newlines, or a stream."""

    ids: np.ndarray
    first: np.ndarray | None = None


def held_out(corpus: Corpus, split: str) -> HeldOut:
    """Return what training looks at of a split.

    Of a stream that is the beginning, at most MOST_OF_STREAM characters after the first. Of lines
    it is every line, or each k-th where there are more than MOST_OF_LINES characters, about.
    """
    ids = corpus.split(split)
    if corpus.mode != "lines":
        return HeldOut(ids[: MOST_OF_STREAM + 1])
    first = corpus.first_ids(split)
    step = -(-len(ids) // MOST_OF_LINES)
    if step <= 1:
        return HeldOut(ids, first)
    starts, lengths = corpus.lines(split)
    starts, lengths = starts[::step], lengths[::step] + 1
    ends = lengths.cumsum()
    places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    return HeldOut(ids[places], None if first is None else first[::step])

"""The section of the cache: where it would look back as the model reads held-out text.

It asks `insight` for the glances over a short text. It draws nothing.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from charrnn.errors import CorpusError, SettingsError
from charrnn.insight.lookback import (
    Characters,
    CharacterSeen,
    Glance,
    glances,
    in_words,
    shares_between,
)
from charrnn.report.results import SPLIT_NAMES, Say
from charrnn.sampling.cache import check
from charrnn.scoring.text import text_of_split
from charrnn.terminal import many, one_line
from charrnn.text.vocabulary import noun_of
from charrnn.texts import OpenedRun

READ_CHARS = 2000  # also what the cache remembers
MOST_ROWS = 10  # of the table
LINES = 48  # characters to come in the picture
COLUMNS = 110  # places that the picture has
LEAST_SHARE = 0.01  # of the probability: less is not drawn


class Lookback(TypedDict):
    """The section. rows: of the table, the characters that gained most.

    lines, columns: characters of the picture; cells: line, column, share in thousandths, and 1
    where what followed there is what came.
    """

    said: str
    rows: list[list[str]]
    lines: list[str]
    columns: list[str]
    cells: list[list[int]]


def lookback_of(run: OpenedRun, say: Say, device: str = "cpu") -> Lookback | None:
    """Where a cache would look. None for a run without held-out text, or whose model has none."""
    model = run.model
    try:
        text = text_of_split(run, None)
        ids = text.ids[:READ_CHARS]
        check(READ_CHARS, model)
        say(f"looking back over {many(len(ids), 'character')} of the {text.split} text")
        seen = list(glances(model, ids, READ_CHARS, device))
    except (CorpusError, SettingsError):
        return None
    if not seen:
        return None

    # 1. The characters that gained most.
    gains = np.array([glance.nats - glance.cached_nats for glance in seen])
    order = np.argsort(-gains, kind="stable")[:MOST_ROWS]
    read = Characters(model.vocabulary, ids)
    words = [in_words(seen[index], read) for index in order]
    characters = [_row(one, read) for one in words if one.gain_bits > 0 and one.places]

    # 2. The lines of the picture, where the cache gains most.
    sums = np.convolve(gains, np.ones(min(LINES, len(gains))), "valid")
    stop = int(sums.argmax()) + min(LINES, len(gains))
    picture = _picture(seen[:stop], read)
    bits = gains.mean() / np.log(2)
    verb = "saves" if bits >= 0 else "costs"
    return {
        "said": (
            "The figures above are without a cache. It compares the network's state with those of "
            f"the last {READ_CHARS:,} characters, and expects what followed where they were alike. "
            f"On the first {len(ids):,} characters of the {SPLIT_NAMES[str(text.split)]} it {verb} "
            f"{abs(bits):.3f} bits per {noun_of(run.model.vocabulary)}."
        ),
        "rows": characters,
        **picture,
    }


def _row(seen: CharacterSeen, read: Characters) -> list[str]:
    """What stood before a character, where the model looked, and what that saved."""
    best = seen.places[0]
    before = read.text(max(0, seen.place - 12), seen.place)
    return [
        one_line(f"{before}[{seen.char}]"),
        one_line(f"{best.before}[{best.char}]"),
        f"{seen.place - best.place:,}",
        f"{best.share:.0%}",
        f"{seen.bits:.2f}",
        f"{seen.gain_bits:.2f}",
    ]


class _Picture(TypedDict):
    lines: list[str]
    columns: list[str]
    cells: list[list[int]]


def _picture(seen: list[Glance], read: Characters) -> _Picture:
    lines, columns, shares = shares_between(seen, LINES, COLUMNS)
    is_right = read.are_same(lines, columns)
    cells = []
    for line, column in np.argwhere(shares >= LEAST_SHARE).tolist():
        thousandths = round(1000 * float(shares[line, column]))
        cells.append([line, column, thousandths, int(is_right[line, column])])
    named = [[one_line(char) for char in read.each(places)] for places in (lines, columns)]
    return {"lines": named[0], "columns": named[1], "cells": cells}

"""What the census of a text says: whether it is lines or one stream, and what a person should hear of it."""

from __future__ import annotations

import numpy as np

from charrnn.config import TextSettings
from charrnn.text.reading import Census
from charrnn.text.vocabulary import Vocabulary

AUTO_LINES_BYTES = 32 << 20  # lines are held in memory while they are deduplicated and shuffled


def choose_mode(census: Census, settings: TextSettings) -> tuple[str, str]:
    """ "lines" or "stream", and why."""
    if settings.mode != "auto":
        return settings.mode, "as asked"
    facts = (
        (
            census.lines >= 20,
            f"{census.lines} {'line is' if census.lines == 1 else 'lines are'} too few to stand alone",
        ),
        (
            census.blank_share < 0.01,
            f"{census.blank_share:.0%} of the lines are blank, as between paragraphs",
        ),
        (
            census.median_line <= 32,
            f"half of the lines have {census.median_line} characters or more",
        ),
        (census.long_share < 0.05, f"{census.long_share:.0%} of the lines are long"),
        (
            census.indented < 0.05 * census.lines,
            f"{census.indented / max(1, census.lines):.0%} of the lines are indented",
        ),
        (census.chars <= AUTO_LINES_BYTES, "the text is large"),
    )
    for holds, otherwise in facts:
        if not holds:
            return "stream", otherwise
    return (
        "lines",
        f"{census.lines:,} short lines, half of at most {census.median_line} characters, none blank to speak of",
    )


def notes_of(censuses: dict[str, Census], vocabulary: Vocabulary) -> list[str]:
    """What a person should hear of the texts of the splits before they are learnt."""
    notes = []
    for census in (
        censuses.values() if vocabulary.unit == "char" else ()
    ):  # bytes are taken as they are
        if census.carriage_returns:
            returns = "carriage return" if census.carriage_returns == 1 else "carriage returns"
            notes.append(
                f"{census.shown} has {census.carriage_returns:,} {returns}, kept; --newlines lf makes newlines of them"
            )
        if census.counts[0]:
            nuls = "NUL character" if census.counts[0] == 1 else "NUL characters"
            notes.append(
                f"{census.shown} has {int(census.counts[0]):,} {nuls}, kept; is it a text?"
            )
    only = np.flatnonzero(
        (censuses["train"].counts == 0)
        & np.sum([c.counts for c in censuses.values()], axis=0).astype(bool)
    )
    if len(only):
        notes.append(
            f"{len(only)} characters occur only in the validation or test text; they cannot be learnt"
        )
    if len(vocabulary) == 1:
        notes.append("the text has one distinct character: there is nothing to learn")
    if len(vocabulary) > 20_000:
        notes.append(
            f"{len(vocabulary):,} distinct characters: {4 * len(vocabulary) / 1e3:,.0f} kB of scores for each character "
            "of a batch; --unit byte has at most 256"
        )
    return notes

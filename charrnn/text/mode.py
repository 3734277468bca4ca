"""What the census of a text says: lines or one stream, and notes for the person."""

from __future__ import annotations

import dataclasses

import numpy as np

from charrnn.config import TextSettings
from charrnn.terminal import many
from charrnn.text.census import Census, take_census
from charrnn.text.entries import is_records, is_table
from charrnn.text.records import words_of
from charrnn.text.sources import Source
from charrnn.text.vocabulary import RETURN, Vocabulary

AUTO_LINES_BYTES = 32 << 20  # lines are held in memory while they are deduplicated and shuffled
FEWEST_LINES = 8  # that stand alone: a list of names, not the lines of a note
LARGE_VOCABULARY = 20_000


def choose_mode(census: Census, settings: TextSettings) -> tuple[str, str]:
    """Return the mode of a text, "lines" or "stream", and the reason."""
    if is_records(settings):
        between = "of a table" if is_table(settings) else f"between {words_of(settings.separator)}"
        return "lines", f"{many(census.lines, 'record')} {between}"
    if settings.mode != "auto":
        return settings.mode, "as asked"
    if settings.label:
        return "lines", "each line has a label"
    if is_table(settings):
        if census.chars > AUTO_LINES_BYTES:
            return "stream", "the table is large"
        return (
            "lines",
            f"{many(census.lines, 'entry' if census.lines == 1 else 'entrie')} of a table",
        )
    objection = _objection_to_lines(census)
    if objection:
        return "stream", objection
    return "lines", (
        f"{many(census.lines, 'short line')}, half of at most "
        f"{many(census.median_line, 'character')}, "
        "almost none blank"
    )


def settle_line_ends(
    settings: TextSettings, sources: dict[str, Source], censuses: dict[str, Census]
) -> tuple[TextSettings, dict[str, Census]]:
    """Decide if a carriage return ends a line (newlines "lf") or is a character ("keep").

    It ends one where lines stand alone. Returns the settings and the censuses of what is read so.
    """
    kept = dataclasses.replace(settings, newlines="keep")
    if settings.mode == "stream" or not any(part.carriage_returns for part in censuses.values()):
        return kept, censuses
    # UTF-16 read as bytes has lines of its own: a carriage return is half a character there.
    if settings.unit == "byte" and any(census.counts[0] for census in censuses.values()):
        return kept, censuses
    ended = dataclasses.replace(settings, newlines="lf")
    if not censuses["train"].lone_cr and choose_mode(censuses["train"], kept)[0] != "lines":
        return kept, censuses
    retaken = {}
    for name, source in sources.items():
        retaken[name] = take_census(source, ended)
        retaken[name].keep_line_ends_of(censuses[name])
    if choose_mode(retaken["train"], ended)[0] != "lines":
        return kept, censuses
    return ended, retaken


def _objection_to_lines(census: Census) -> str:
    """Return why the lines of a text do not stand alone; "" if they do."""
    if census.lines < FEWEST_LINES:
        verb = "line is" if census.lines == 1 else "lines are"
        return f"{census.lines} {verb} too few to stand alone"
    if census.blank_share >= 0.01:
        return f"{census.blank_share:.0%} of the lines are blank, as between paragraphs"
    if census.median_line > 32:
        return f"half of the lines have {census.median_line} characters or more"
    if census.long_share >= 0.05:
        return f"{census.long_share:.0%} of the lines are long"
    if census.indented >= 0.05 * census.lines:
        return f"{census.indented / census.lines:.0%} of the lines are indented"
    if census.chars > AUTO_LINES_BYTES:
        return "the text is large"
    return ""


def notes_of(censuses: dict[str, Census], vocabulary: Vocabulary) -> list[str]:
    """Return what a person should know of the texts of the splits before they are learnt."""
    notes: list[str] = []
    if vocabulary.unit == "char":  # bytes are taken as they are
        for census in censuses.values():
            notes += _notes_of_controls(census)
    all_counts = np.sum([census.counts for census in censuses.values()], axis=0)
    only = np.flatnonzero((censuses["train"].counts == 0) & all_counts.astype(bool))
    if len(only):
        occur, they = ("occurs", "it") if len(only) == 1 else ("occur", "they")
        notes.append(
            f"{many(len(only), 'character')} {occur} only in the validation or test text; "
            f"{they} cannot be learnt"
        )
    if len(vocabulary) == 1:
        notes.append("the text has one distinct character: there is nothing to learn")
    if len(vocabulary) > LARGE_VOCABULARY:
        notes.append(
            f"{len(vocabulary):,} distinct characters: {4 * len(vocabulary) / 1e3:,.0f} kB of "
            "scores for each character of a batch; --unit byte has at most 256"
        )
    return notes


def _notes_of_controls(census: Census) -> list[str]:
    """Return notes on the carriage returns and NULs of a text."""
    notes: list[str] = []
    if census.counts[RETURN]:
        noun = "carriage return" if census.carriage_returns == 1 else "carriage returns"
        notes.append(
            f"{census.shown} has {census.carriage_returns:,} {noun}, kept; "
            "--newlines lf makes newlines of them"
        )
    nuls = int(census.counts[0])
    if nuls:
        noun = "NUL character" if nuls == 1 else "NUL characters"
        advice = "is it a text?"
        if census.wide:
            advice = f"they stand as in {census.wide}: --encoding {census.wide}"
        notes.append(f"{census.shown} has {nuls:,} {noun}, kept; {advice}")
    return notes

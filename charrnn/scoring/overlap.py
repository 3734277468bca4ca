"""What a scored text has in common with the training text, and whether that flatters the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from charrnn.terminal import one_line
from charrnn.text.corpus import line_bounds
from charrnn.text.linehash import SENTENCE, common, every_line, hash_lines
from charrnn.text.matching import longest_run
from charrnn.text.novelty import DOUBT, NoveltyFilter, lines_held
from charrnn.text.vocabulary import Vocabulary

PIECE = 1 << 20  # characters at a time
FLATTERING_SHARE = 0.01  # of lines that are in the training text too
FLATTERING_RUN = 50  # characters
MAX_RUN_CHARS = 1_000_000  # of the scored text are searched for the longest run: 500 MB if all of it is copied, else less


class Known(NamedTuple):
    """Of each line of a text (bool): is it known from another, and is it long enough to count."""

    known: np.ndarray
    counted: np.ndarray


def known_lines(
    texts: Sequence[np.ndarray], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> Known:
    """Which lines of ids (N,) are lines of one of the texts too, all of the same vocabulary (linehash.py)."""
    hashes, lengths = every_line(_codes(ids, vocabulary))
    counted = lengths >= least_line(mode)
    known = np.zeros(len(hashes), bool)
    for text in texts:
        learnt = hash_lines(
            _codes(text, vocabulary), int((text == vocabulary.newline).sum()) + 1
        ).hashes
        learnt.sort()
        known |= common(hashes, learnt)
    return Known(known & counted, counted)


def least_line(mode: str) -> int:
    """Characters of a line that says something when it is found again; of a stream, shorter ones ("}", "END") do not."""
    return 1 if mode == "lines" else SENTENCE


def overlap(
    texts: Sequence[np.ndarray],
    ids: np.ndarray,
    vocabulary: Vocabulary,
    mode: str,
    known: Known | None,
) -> dict[str, Any]:
    """Lines that occur in ids and in the texts, and the longest run of characters that does. known: of an alphabet
    with a newline. train_at: in the text number train_text.
    """
    found: dict[str, Any] = {"lines": None, "duplicate_lines": None, "duplicate_share": None}
    if known is not None:
        lines, duplicates = int(known.counted.sum()), int(known.known.sum())
        share = duplicates / lines if lines else None
        found = {"lines": lines, "duplicate_lines": duplicates, "duplicate_share": share}
    found["least_line"] = least_line(mode)
    sought = ids[:MAX_RUN_CHARS]
    starts, lengths = np.zeros(1, np.int64), np.array([len(sought)])
    if mode == "lines":  # a run across lines says nothing: their order is by chance
        starts, lengths = line_bounds(sought, int(vocabulary.newline or 0))
    pieces = [sought[a : a + n] for a, n in zip(starts, lengths, strict=True)]
    runs = [
        (run.length, -number, run)
        for number, text in enumerate(texts)
        if (run := longest_run(pieces, text))
    ]
    found |= {"searched_chars": len(sought), "longest_run": None}
    if runs:
        _, number, run = max(runs, key=lambda each: each[:2])
        at = int(starts[run.piece]) + run.start
        text = vocabulary.decode(ids[at : at + run.length])
        found["longest_run"] = {
            "chars": run.length,
            "text": text,
            "at": at,
            "train_at": run.place,
            "train_text": -number,
        }
    return found


def warnings(found: dict[str, Any], mode: str) -> list[str]:
    """What flatters the score, in words."""
    said = []
    share, run = found["duplicate_share"], found["longest_run"]
    if share is not None and share > (0 if mode == "lines" else FLATTERING_SHARE):
        kind = "lines" if mode == "lines" else f"lines of {SENTENCE} or more characters"
        said.append(
            f"{found['duplicate_lines']:,} of {found['lines']:,} {kind} ({share:.1%}) are in the training text too: "
            "that flatters the score"
        )
    if run is not None and run["chars"] >= FLATTERING_RUN:
        said.append(
            f"{run['chars']:,} characters in a row are in the training text too: that flatters the score"
        )
    return said


def inherited(
    filters: list[NoveltyFilter], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> list[str]:
    """What flatters a score because the model that a fine-tuning started from learnt it, in words."""
    held, asked = lines_held(filters, ids, vocabulary, mode) if filters else (0, 0)
    if not asked or held <= DOUBT * asked:
        return []
    return [
        f"{held:,} of {asked:,} lines seem to be in what the model it began with learnt (a filter says so; it is wrong "
        "for 1 or 2 in a hundred): that flatters the score"
    ]


def described(found: dict[str, Any]) -> str:
    """One line for a person."""
    parts = []
    if found["lines"]:
        kind = (
            "lines" if found["least_line"] == 1 else f"lines of {found['least_line']}+ characters"
        )
        parts.append(
            f"{found['duplicate_lines']:,} of {found['lines']:,} {kind} are in the training text"
        )
    run = found["longest_run"]
    if run:
        where = (
            f", of the first {MAX_RUN_CHARS:,} characters"
            if found["searched_chars"] == MAX_RUN_CHARS
            else ""
        )
        shown = one_line(run["text"] if run["chars"] <= 40 else run["text"][:37] + "...")
        parts.append(f"longest run shared with it{where}: {run['chars']:,} characters, '{shown}'")
    return "; ".join(parts) or "none"


def _codes(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    symbols = np.array(vocabulary.symbols, np.uint32)
    return (symbols[ids[at : at + PIECE]] for at in range(0, len(ids), PIECE))

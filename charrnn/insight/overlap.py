"""What a scored text has in common with the training text, and whether that flatters the score."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.terminal import one_line
from charrnn.text.corpus import line_bounds
from charrnn.text.matching import longest_run
from charrnn.text.vocabulary import Vocabulary

LEAST_LINE = 20  # characters of a stream's line; shorter ones ("}", "END") say nothing
FLATTERING_SHARE = 0.01  # of lines that are in the training text too
FLATTERING_RUN = 50  # characters
MAX_RUN_CHARS = (
    1_000_000  # of the scored text are searched for the longest run: 500 MB if all of it is copied, else less
)


def known_lines(train: np.ndarray, ids: np.ndarray, newline: int, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Of each line of ids: is it a line of the training text too, and has it at least `least` characters (both bool).

    Lines are told apart by 64-bit hashes. A last line without a newline is left out.
    """
    hashes, lengths = _line_hashes(ids.astype(train.dtype, copy=False), newline)
    learnt, learnt_lengths = _line_hashes(train, newline)
    counted = lengths >= least
    return np.isin(hashes, learnt[learnt_lengths >= least]), counted


def overlap(train: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary, mode: str) -> dict[str, Any]:
    """Lines that occur in both texts, and the longest run of characters that does."""
    found: dict[str, Any] = {"lines": None, "duplicate_lines": None, "duplicate_share": None}
    least = 1 if mode == "lines" else LEAST_LINE
    if vocabulary.newline is not None:
        known, counted = known_lines(train, ids, vocabulary.newline, least)
        lines, duplicates = int(counted.sum()), int(known.sum())
        share = duplicates / lines if lines else None
        found = {"lines": lines, "duplicate_lines": duplicates, "duplicate_share": share}
    found["least_line"] = least
    sought = ids[:MAX_RUN_CHARS].astype(train.dtype, copy=False)
    starts, lengths = np.zeros(1, np.int64), np.array([len(sought)])
    if mode == "lines":  # a run across lines says nothing: their order is by chance
        starts, lengths = line_bounds(sought, int(vocabulary.newline or 0))
    run = longest_run([sought[a : a + n] for a, n in zip(starts, lengths, strict=True)], train)
    found |= {"searched_chars": len(sought), "longest_run": None}
    if run is not None:
        at = int(starts[run.piece]) + run.start
        text = vocabulary.decode(ids[at : at + run.length])
        found["longest_run"] = {"chars": run.length, "text": text, "at": at, "train_at": run.place}
    return found


def warnings(found: dict[str, Any], mode: str) -> list[str]:
    """What flatters the score, in words."""
    said = []
    share, run = found["duplicate_share"], found["longest_run"]
    if share is not None and share > (0 if mode == "lines" else FLATTERING_SHARE):
        kind = "lines" if mode == "lines" else f"lines of {LEAST_LINE} or more characters"
        said.append(
            f"{found['duplicate_lines']:,} of {found['lines']:,} {kind} ({share:.1%}) are in the training text too: "
            "that flatters the score"
        )
    if run is not None and run["chars"] >= FLATTERING_RUN:
        said.append(f"{run['chars']:,} characters in a row are in the training text too: that flatters the score")
    return said


def described(found: dict[str, Any]) -> str:
    """One line for a person."""
    parts = []
    if found["lines"]:
        kind = "lines" if found["least_line"] == 1 else f"lines of {found['least_line']}+ characters"
        parts.append(f"{found['duplicate_lines']:,} of {found['lines']:,} {kind} are in the training text")
    run = found["longest_run"]
    if run:
        where = f", of the first {MAX_RUN_CHARS:,} characters" if found["searched_chars"] == MAX_RUN_CHARS else ""
        shown = one_line(run["text"] if run["chars"] <= 40 else run["text"][:37] + "...")
        parts.append(f"longest run shared with it{where}: {run['chars']:,} characters, '{shown}'")
    return "; ".join(parts) or "none"


def _line_hashes(ids: np.ndarray, newline: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash (int64) and length of each line."""
    starts, lengths = line_bounds(ids, newline)
    data, size = ids.tobytes(), ids.itemsize
    bounds = zip((starts * size).tolist(), ((starts + lengths) * size).tolist(), strict=True)
    return np.fromiter((hash(data[a:b]) for a, b in bounds), np.int64, len(starts)), lengths

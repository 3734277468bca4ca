"""What a scored text has in common with the training text, and whether that flatters the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.terminal import one_line
from charrnn.text.corpus import line_bounds
from charrnn.text.folding import WORDS, fold_lines
from charrnn.text.linehash import SENTENCE, common, every_line, hash_lines, least_line
from charrnn.text.matching import longest_run
from charrnn.text.novelty import DOUBT, NoveltyFilter, lines_held
from charrnn.text.vocabulary import Vocabulary

PIECE = 1 << 20  # characters at a time
FLATTERING_SHARE = 0.01  # of lines that are in the training text too
FLATTERING_RUN = 50  # characters
# Characters of the scored text that are searched for the longest run: 500 MB if all are copied.
MAX_RUN_CHARS = 1_000_000
SHOWN_RUN = 40  # characters


class Known(NamedTuple):
    """For each line of a text (bool): whether another text has it, and whether it counts.

    least: characters of the shortest line that counts.
    """

    known: np.ndarray
    counted: np.ndarray
    least: int


@dataclass(frozen=True)
class SharedRun:
    """Characters in a row that two texts share.

    at: where they stand in the scored text.
    train_at: where they stand in the training text number train_text.
    """

    chars: int
    text: str
    at: int
    train_at: int
    train_text: int


@dataclass(frozen=True)
class Overlap:
    """What a text shares with the training texts.

    lines: the number that count; None for an alphabet without a newline.
    least_line: characters of the shortest line that counts.
    searched_chars: characters that were searched for the longest run.
    alike_lines: lines that are no duplicates but differ from a training line in form alone
    (folding.py).
    """

    lines: int | None
    duplicate_lines: int | None
    duplicate_share: float | None
    least_line: int
    searched_chars: int
    longest_run: SharedRun | None
    alike_lines: int | None = None

    def __str__(self) -> str:
        """One line for a person."""
        parts = []
        if self.lines:
            kind = "lines" if self.least_line == 1 else f"lines of {self.least_line}+ characters"
            parts.append(
                f"{self.duplicate_lines:,} of {self.lines:,} {kind} are in the training text"
            )
        if self.alike_lines:
            parts.append(f"{self.alike_lines:,} more except for {WORDS}")
        run = self.longest_run
        if run is not None:
            where = "longest run shared with it"
            if self.searched_chars == MAX_RUN_CHARS:
                where += f", of the first {MAX_RUN_CHARS:,} characters"
            text = run.text
            if run.chars > SHOWN_RUN:
                text = text[: SHOWN_RUN - 3] + "..."
            parts.append(f"{where}: {run.chars:,} characters, '{one_line(text)}'")
        return "; ".join(parts) or "none"


def known_lines(
    texts: Sequence[np.ndarray], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> Known:
    """Which lines of ids (N,) are lines of one of the texts too (linehash.py).

    All have the same vocabulary, with a newline.
    """
    hashes, lengths = every_line(_codes(ids, vocabulary))
    text_hashes = [np.zeros(0, np.uint64)]
    for text in texts:
        lines = int((text == vocabulary.newline).sum()) + 1
        text_hashes.append(hash_lines(_codes(text, vocabulary), lines).hashes)
    learnt = np.sort(np.concatenate(text_hashes))
    least = least_line(learnt, mode)
    counted = lengths >= least
    return Known(common(hashes, learnt) & counted, counted, least)


def overlap(
    texts: Sequence[np.ndarray],
    ids: np.ndarray,
    vocabulary: Vocabulary,
    mode: str,
    known: Known | None,
) -> Overlap:
    """What ids (N,) share with the texts. known: of known_lines; None without a newline."""
    lines = duplicates = share = alike = None
    least = 1 if mode == "lines" else SENTENCE
    if known is not None:
        least = known.least
        alike = _alike_lines(texts, ids, vocabulary, known)
        lines = int(known.counted.sum())
        duplicates = int(known.known.sum())
        share = duplicates / lines if lines else None
    searched = ids[:MAX_RUN_CHARS]
    run = _longest_shared_run(texts, searched, vocabulary, mode)
    return Overlap(lines, duplicates, share, least, len(searched), run, alike)


def _alike_lines(
    texts: Sequence[np.ndarray], ids: np.ndarray, vocabulary: Vocabulary, known: Known
) -> int:
    """How many lines of ids (N,) that are not known differ from a line of a text in form alone."""
    folded = fold_lines(_codes(ids, vocabulary), vocabulary.unit)
    learnt = [fold_lines(_codes(text, vocabulary), vocabulary.unit).hashes for text in texts]
    parts = np.sort(np.concatenate(learnt))
    is_alike = folded.within(parts, len(known.known), known.least)
    return int((is_alike & known.counted & ~known.known).sum())


def _longest_shared_run(
    texts: Sequence[np.ndarray], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> SharedRun | None:
    """The longest run of ids (N,) that one of the texts has.

    Of texts that have runs of the same length, the first counts.
    """
    # A run across lines says nothing: their order is by chance.
    starts = np.zeros(1, np.int64)
    lengths = np.array([len(ids)])
    if mode == "lines":
        starts, lengths = line_bounds(ids, int(vocabulary.newline or 0))
    pieces = [ids[start : start + size] for start, size in zip(starts, lengths, strict=True)]
    longest = None
    for number, text in enumerate(texts):
        run = longest_run(pieces, text)
        if run is None or (longest is not None and run.length <= longest.chars):
            continue
        at = int(starts[run.piece]) + run.start
        words = vocabulary.decode(ids[at : at + run.length])
        longest = SharedRun(run.length, words, at, run.place, number)
    return longest


def warnings(shared: Overlap, mode: str) -> list[str]:
    """What flatters the score, in words."""
    lines = []
    share = shared.duplicate_share
    kind = "lines"
    harmless_share = 0.0
    if mode != "lines":
        if shared.least_line > 1:
            kind = f"lines of {shared.least_line} or more characters"
        harmless_share = FLATTERING_SHARE
    if share is not None and share > harmless_share:
        lines.append(
            f"{shared.duplicate_lines:,} of {shared.lines:,} {kind} ({share:.1%}) "
            "are in the training text too: that flatters the score"
        )
    if shared.lines and (shared.alike_lines or 0) > harmless_share * shared.lines:
        verb = "is a training line" if shared.alike_lines == 1 else "are training lines"
        lines.append(
            f"{shared.alike_lines:,} of {shared.lines:,} {kind} {verb} "
            f"except for {WORDS}: that flatters the score"
        )
    run = shared.longest_run
    if run is not None and run.chars >= FLATTERING_RUN:
        lines.append(
            f"{run.chars:,} characters in a row are in the training text too: "
            "that flatters the score"
        )
    return lines


def inherited(
    filters: list[NoveltyFilter], ids: np.ndarray, vocabulary: Vocabulary, mode: str
) -> list[str]:
    """A warning if the model that a fine-tuning started from seems to have learnt the text."""
    if not filters:
        return []
    held, asked = lines_held(filters, ids, vocabulary, mode)
    if not asked or held <= DOUBT * asked:
        return []
    return [
        f"{held:,} of {asked:,} lines seem to be in what the model it began with learnt "
        "(a filter says so; it is wrong for 1 or 2 in a hundred): that flatters the score"
    ]


def _codes(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    """Yield the code points or bytes of ids, PIECE at a time."""
    return vocabulary.code_pieces(ids, PIECE)

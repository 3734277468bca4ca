"""Leaks: lines of a held-out text that are in the training text too. Scores on them flatter.

Lines are compared by 64-bit hashes (linehash.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.config import TextSettings
from charrnn.text import linehash
from charrnn.text.building import Survey, training_part
from charrnn.text.reading import pieces
from charrnn.text.splits import SPLITS

EXAMPLES = 5  # lines shown


@dataclass(frozen=True)
class Leak:
    """How many lines of a held-out text are in the training text."""

    where: str  # "--val", "--test", "what --split holds out"
    lines: int  # compared: not blank, of at least `least` characters
    known: int  # of them in the training text
    least: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        noun = "line" if self.lines == 1 else "lines"
        size = f" of {self.least} characters or more" if self.least > 1 else ""
        verb = "is" if self.known == 1 else "are"
        return (
            f"{self.known:,} of {self.lines:,} {noun}{size} of {self.where} {verb} "
            "in the training text"
        )


def held_out_leak(
    survey: Survey, settings: TextSettings, lines: linehash.Lines, seed: int
) -> Leak | None:
    """Return the leak between the sides into which the corpus itself is split.

    lines: of the corpus, in order. In stream mode, those before its edge are sorted in place.
    None: the split has one side, or takes out repeats.
    """
    if survey.mode == "lines":
        if settings.deduplicate:
            return None
        least = 1
        order = np.random.default_rng(seed).permutation(len(lines.hashes))  # as building.py
        size = training_part(len(order), survey, settings)
        training = lines.hashes[order[:size]]
        held_out = lines.hashes[order[size:]]
    else:
        least = linehash.SENTENCE
        training = lines.hashes[: lines.before]
        held_out = linehash.sentences(lines.hashes[lines.before :])
    if not len(held_out):
        return None
    training.sort()  # in a stream a view of lines.hashes: their order is no longer needed
    return _leak("what --split holds out", held_out, training, least, survey, settings, "train")


def given_leaks(survey: Survey, settings: TextSettings, hashes: np.ndarray) -> list[Leak]:
    """Return the leak of each text given with --val and --test.

    hashes (N,) uint64: of the lines of the training text, sorted.
    """
    leaks = []
    for name in SPLITS[1:]:
        if name not in survey.sources:
            continue
        text = pieces(survey.sources[name], settings)
        lines = linehash.hash_lines(text, survey.censuses[name].lines).hashes
        least = 1
        if survey.mode == "stream":
            least = linehash.SENTENCE
            lines = linehash.sentences(lines)
        leaks.append(_leak(f"--{name}", lines, hashes, least, survey, settings, name))
    return leaks


def _leak(
    where: str,
    lines: np.ndarray,
    hashes: np.ndarray,
    least: int,
    survey: Survey,
    settings: TextSettings,
    name: str,
) -> Leak:
    """Compare lines with the sorted hashes of the training text.

    name: of the source that holds the lines, read once more for examples.
    """
    known = lines[linehash.common(lines, hashes)]
    wanted = list(dict.fromkeys(known[: 8 * EXAMPLES].tolist()))[:EXAMPLES]
    examples = linehash.show_lines(pieces(survey.sources[name], settings), wanted)
    return Leak(where, len(lines), len(known), least, tuple(examples))

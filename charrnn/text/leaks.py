"""Leaks: lines of a held-out text that are in the training text too. Scores on them flatter.

Lines are compared by 64-bit hashes (linehash.py). Lines that differ in form alone, such as by a
space, are counted beside those that are equal (folding.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.config import TextSettings
from charrnn.text import folding, linehash
from charrnn.text.building import Survey, training_part
from charrnn.text.corpus import Corpus
from charrnn.text.reading import pieces
from charrnn.text.sources import Source
from charrnn.text.splits import SPLITS

EXAMPLES = 5  # lines shown
PIECE_IDS = 1 << 20  # turned into codes at a time
START_CHARS = 8_000_000  # up to here a start folds its text: under a second
# Of the long lines of a stream, so many may be alike by chance: running text repeats itself.
STREAM_SHARE = 0.05


@dataclass(frozen=True)
class Leak:
    """How many lines of a held-out text are in the training text.

    alike: further ones that differ from training lines in form alone; None: not looked for.
    """

    where: str  # "--val", "--test", "what --split holds out"
    lines: int  # compared: not blank, of at least `least` characters
    known: int  # of them in the training text
    least: int
    examples: tuple[str, ...] = ()
    alike: int | None = 0
    alike_examples: tuple[str, ...] = ()
    item: str = "line"  # or "record"

    def __str__(self) -> str:
        noun = self.item if self.lines == 1 else f"{self.item}s"
        size = f" of {self.least} characters or more" if self.least > 1 else ""
        verb = "is" if self.known == 1 else "are"
        text = (
            f"{self.known:,} of {self.lines:,} {noun}{size} of {self.where} {verb} "
            "in the training text"
        )
        if self.alike:
            text += f", and {self.alike:,} more except for {folding.WORDS}"
        return text


class _Hashed(NamedTuple):
    """The N lines of a text, as they are and folded. Blank ones have a length of 0."""

    hashes: np.ndarray  # (N,) uint64
    lengths: np.ndarray  # (N,)
    folded: folding.Folded | None  # None of a text that is too long


def held_out_leak(survey: Survey, settings: TextSettings, before: int, seed: int) -> Leak | None:
    """Return the leak between the sides into which the corpus itself is split.

    before: in a stream, how many lines that are not blank begin before the split.
    None: nothing is held out, or the split takes out repeats and no two lines are alike.
    """
    # 1. Which lines stand on either side, by their numbers.
    source = survey.sources["train"]
    hashed = _hashed(survey, "train", settings)
    if source.parts:
        training, held_out = _sides_of_several(survey, settings, hashed.lengths, seed)
    elif survey.mode == "lines":
        numbers = _items(source, settings)
        size = training_part(len(numbers), survey, settings)
        order = np.random.default_rng(seed).permutation(len(numbers))  # as writing.py
        training = numbers[order[:size]]
        held_out = numbers[order[size:]]
    else:
        numbers = np.flatnonzero(hashed.lengths)
        training = numbers[:before]
        held_out = numbers[before:]

    # 2. What they share.
    is_training = np.zeros(len(hashed.hashes), bool)
    is_training[training] = True
    is_held_out = np.zeros(len(hashed.hashes), bool)
    is_held_out[held_out] = True
    parts = hashed.folded.parts_of(is_training) if hashed.folded is not None else None
    learnt = np.sort(hashed.hashes[is_training])
    name = "what --split holds out"
    leak = _leak(name, hashed, is_held_out, learnt, parts, survey, settings, "train")
    if not leak.lines:
        return None
    is_made_distinct = survey.mode == "lines" and settings.deduplicate
    if is_made_distinct and not leak.known and not leak.alike:
        return None
    return leak


def _sides_of_several(
    survey: Survey, settings: TextSettings, lengths: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the lines on either side, where each of several texts is split.

    lengths (N,): of the lines of all texts, one after the other. As dividing.py.
    """
    source = survey.sources["train"]
    numbers = np.flatnonzero(lengths)
    if survey.mode == "lines":
        numbers = _items(source, settings)
    first = 0  # line of a text
    training = []
    held_out = []
    parts = zip(source.parts, survey.censuses["train"].parts, strict=True)
    for place, (part, census) in enumerate(parts):
        own = numbers[(first <= numbers) & (numbers < first + census.lines)]
        first += census.lines
        if survey.mode == "lines":
            own = np.random.default_rng([seed, place]).permutation(own)
            size = training_part(len(own), survey, settings)
        else:
            edge = training_part(census.chars, survey, settings)
            text = pieces(part.source, part.read(settings))
            size = linehash.hash_lines(text, census.lines, edge).before
        training.append(own[:size])
        held_out.append(own[size:])
    return np.concatenate(training), np.concatenate(held_out)


def given_leaks(
    survey: Survey, settings: TextSettings, hashes: np.ndarray, *, folds: bool = False
) -> list[Leak]:
    """Return the leak of each text given with --val and --test.

    hashes (N,) uint64: of the lines of the training text, sorted. folds: look for lines that are
    alike, too.
    """
    parts = None
    if folds and len(survey.sources) > 1:
        folded = _folded(survey, "train", settings)
        parts = np.sort(folded.hashes) if folded is not None else None
    leaks = []
    for name in SPLITS[1:]:
        if name not in survey.sources:
            continue
        hashed = _hashed(survey, name, settings, folds=folds)
        is_full = hashed.lengths > 0
        leak = _leak(f"--{name}", hashed, is_full, hashes, parts, survey, settings, name)
        leaks.append(leak)
    return leaks


def alike_warnings(corpus: Corpus) -> list[str]:
    """Return warnings for held-out lines that differ from training lines in form alone.

    Of a list that is read as a stream, also for those that are equal. A corpus of over START_CHARS
    is not looked at.
    """
    if len(corpus.ids) > START_CHARS:
        return []
    held_out = [name for name in SPLITS[1:] if len(corpus.split(name))]
    if not held_out:
        return []
    tolerated_share = STREAM_SHARE if corpus.mode == "stream" else 0.0
    unit = corpus.vocabulary.unit
    parts = np.sort(folding.fold_lines(_codes(corpus, "train"), unit).hashes)
    train_hashes, train_lengths = linehash.every_line(_codes(corpus, "train"), keeps_returns=True)
    learnt = np.sort(train_hashes[train_lengths > 0])
    least = linehash.least_line(learnt, corpus.mode)
    is_list = corpus.mode == "stream" and least == 1
    warnings = []
    for name in held_out:
        hashes, lengths = linehash.every_line(_codes(corpus, name), keeps_returns=True)
        folded = folding.fold_lines(_codes(corpus, name), unit)
        is_counted = lengths >= least
        is_alike = is_counted & folded.within(parts, len(hashes), least)
        is_known = linehash.common(hashes, learnt)
        known = int((is_counted & is_known).sum())
        alike = int((is_alike & ~is_known).sum())
        lines = int(is_counted.sum())
        if is_list and known > tolerated_share * lines:
            verb = "is a training line" if known == 1 else "are training lines"
            warnings.append(
                f"{known:,} of {lines:,} lines of the {name} text {verb}: scores on them flatter; "
                "--mode lines uses each once"
            )
        if alike > tolerated_share * lines:
            verb = "is a training line" if alike == 1 else "are training lines"
            warnings.append(
                f"{alike:,} of {lines:,} lines of the {name} text {verb} "
                f"except for {folding.WORDS}: scores on them flatter; make such lines equal"
            )
    corpus.release()
    return warnings


def _codes(corpus: Corpus, name: str) -> Iterator[np.ndarray]:
    """Yield the code points or bytes of a split, PIECE_IDS at a time."""
    return corpus.vocabulary.code_pieces(corpus.split(name), PIECE_IDS)


def _items(source: Source, settings: TextSettings) -> np.ndarray:
    """Return the numbers of the lines that a split of lines divides, in their order.

    The same line is the one of the split itself (writing.py): a carriage return counts.
    """
    hashes, lengths = linehash.every_line(pieces(source, settings), keeps_returns=True)
    numbers = np.flatnonzero(lengths)
    if settings.deduplicate:
        _, first = np.unique(hashes[numbers], return_index=True)
        numbers = numbers[np.sort(first)]
    return numbers


def _hashed(survey: Survey, name: str, settings: TextSettings, *, folds: bool = True) -> _Hashed:
    hashes, lengths = linehash.every_line(pieces(survey.sources[name], settings))
    folded = _folded(survey, name, settings) if folds else None
    return _Hashed(hashes, lengths, folded)


def _folded(survey: Survey, name: str, settings: TextSettings) -> folding.Folded | None:
    """Return the folded lines of a text; None if it is too long."""
    if survey.censuses[name].chars > folding.MAX_CHARS:
        return None
    return folding.fold_lines(pieces(survey.sources[name], settings), settings.unit)


def _leak(
    where: str,
    hashed: _Hashed,
    is_held_out: np.ndarray,
    learnt: np.ndarray,
    parts: np.ndarray | None,
    survey: Survey,
    settings: TextSettings,
    name: str,
) -> Leak:
    """Compare the held-out lines of a text (N,) with a training text.

    learnt, parts: the sorted hashes of its lines, and of their parts once folded.
    name: of the source that holds the text, read once more for examples.
    """
    least = linehash.least_line(learnt, survey.mode)
    if survey.mode == "stream":
        is_held_out = is_held_out & (hashed.lengths >= least)
    is_known = is_held_out & linehash.common(hashed.hashes, learnt)
    is_alike = np.zeros(len(is_held_out), bool)
    alike = None
    if hashed.folded is not None and parts is not None:
        is_alike = hashed.folded.within(parts, len(is_held_out), least)
        is_alike &= is_held_out & ~is_known
        alike = int(is_alike.sum())
    return Leak(
        where=where,
        lines=int(is_held_out.sum()),
        known=int(is_known.sum()),
        least=least,
        examples=_examples(hashed.hashes[is_known], survey.sources[name], settings),
        alike=alike,
        alike_examples=_examples(hashed.hashes[is_alike], survey.sources[name], settings),
        item="record" if survey.form == "records" else "line",
    )


def _examples(hashes: np.ndarray, source: Source, settings: TextSettings) -> tuple[str, ...]:
    """Return the beginnings of the first different lines of these, from their text."""
    wanted = list(dict.fromkeys(hashes[: 8 * EXAMPLES].tolist()))[:EXAMPLES]
    return tuple(linehash.show_lines(pieces(source, settings), wanted))

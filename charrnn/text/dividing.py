"""Several texts as one corpus: each is split by itself, so that each has a score of its own.

a.txt  AAAAAAAAAa        train  AAAAAAAA BBBB
b.txt  BBBBBb            val    A B          (in rounds, see parts.py)
                         test   a b
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from charrnn.config import TextSettings
from charrnn.storage import Output
from charrnn.terminal import many
from charrnn.text.corpus import Written
from charrnn.text.parts import Parts, Segment, reached, rounds
from charrnn.text.reading import PIECE_BYTES
from charrnn.text.shares import divided
from charrnn.text.splits import SPLITS, allot
from charrnn.text.survey import Survey
from charrnn.text.vocabulary import Vocabulary
from charrnn.text.writing import (
    Items,
    bounds_of,
    encoded,
    item_of,
    items_of,
    labels_in,
    taken,
    unit_of,
    write_items,
)

HELD_OUT = SPLITS[1:]


def write_texts_of_streams(
    file: Output, survey: Survey, settings: TextSettings, vocabulary: Vocabulary, folder: Path
) -> Written:
    """Write the ids of several texts, each split by itself. Raises CorpusError.

    folder: what is held out of a text lies there, without a name, until its turn comes.
    """
    source = survey.sources["train"]
    own = {name: census.chars for name, census in survey.censuses.items() if name != "train"}
    lengths: dict[str, list[int]] = {name: [] for name in SPLITS}  # of each text, in ids
    with contextlib.ExitStack() as stack:
        waiting = {
            name: stack.enter_context(tempfile.TemporaryFile(dir=folder)) for name in HELD_OUT
        }

        # 1. The training part of each text; what is held out waits.
        for part, census in zip(source.parts, survey.censuses["train"].parts, strict=True):
            sizes = {"train": census.chars} | own
            counts = allot(sizes, settings, 2, "characters", shown=part.source.shown)
            counts |= dict.fromkeys(own, 0)
            edges = np.cumsum([counts[name] for name in SPLITS])
            text = encoded(part.source, part.read(settings), vocabulary, census.sha256)
            written = dict.fromkeys(SPLITS, 0)
            for number, ids in _cut(text, edges, vocabulary):
                name = SPLITS[number]
                written[name] += len(ids)
                if name == "train":
                    file.write(ids.data)
                else:
                    waiting[name].write(ids.data)
            for name in SPLITS:
                lengths[name].append(written[name])

        # 2. What is held out
        segments: dict[str, list[Segment]] = {"train": list(enumerate(lengths["train"]))}
        totals = {"train": sum(lengths["train"])}
        for name in HELD_OUT:
            if name not in own:
                segments[name] = _put(file, waiting[name], lengths[name], vocabulary)
                totals[name] = sum(lengths[name])
                continue
            segments[name] = []
            totals[name] = 0
            digest = survey.censuses[name].sha256
            for ids in encoded(survey.sources[name], settings, vocabulary, digest):
                file.write(ids.data)
                totals[name] += len(ids)
    return Written(bounds_of(totals), parts=_parts(survey, segments, lengths["train"]))


def _put(
    file: Output, waiting: IO[bytes], lengths: Sequence[int], vocabulary: Vocabulary
) -> list[Segment]:
    """Write what is held out, in rounds of all texts.

    waiting: holds all of it, text by text. lengths: of each, in ids. Returns the segments.
    """
    itemsize = np.dtype(vocabulary.dtype).itemsize
    starts = np.cumsum([0, *lengths])[:-1].tolist()
    total = sum(lengths)
    segments: list[Segment] = []
    done = [0] * len(lengths)
    for mark in rounds(total):
        for number, length in enumerate(lengths):
            waiting.seek((starts[number] + done[number]) * itemsize)
            left = reached(length, mark, total) - done[number]
            began = done[number]
            while left > 0:
                ids = np.frombuffer(
                    waiting.read(min(left, PIECE_BYTES) * itemsize), vocabulary.dtype
                )
                left -= len(ids)
                if vocabulary.spelling is not None and not left and mark < total:
                    starting = np.flatnonzero(vocabulary.spelling.is_start[ids])
                    ids = ids[: starting[-1] if len(starting) else 0]
                file.write(ids.data)
                done[number] += len(ids)
            if done[number] > began:
                segments.append((number, done[number] - began))
    return segments


def _cut(
    text: Iterable[np.ndarray], edges: np.ndarray, vocabulary: Vocabulary
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield pieces of ids, cut at the edges, each with the number of its split.

    edges: characters after which each split ends. A piece begins with a character.
    """
    position = 0  # characters so far
    for ids in text:
        starts = np.arange(len(ids))
        if vocabulary.spelling is not None:
            starts = np.flatnonzero(vocabulary.spelling.is_start[ids])
        places = np.append(starts, len(ids))[np.clip(edges - position, 0, len(starts))]
        begin = 0
        for number, end in enumerate(places.tolist()):
            if end > begin:
                yield number, ids[begin:end]
            begin = max(begin, end)
        position += len(starts)


def write_texts_of_lines(
    file: Output,
    survey: Survey,
    settings: TextSettings,
    vocabulary: Vocabulary,
    seed: int,
    notes: list[str],
) -> Written:
    """Write the lines of several texts, each text shuffled and split by itself.

    A line that several texts have stays in one split; without labels it is used once, in the first
    of them. Adds to notes. Raises CorpusError.
    """
    source = survey.sources["train"]
    groups: dict[str, list[Items]] = {name: [] for name in SPLITS}  # of each text
    own: dict[str, int] = {}
    for name in HELD_OUT:
        if name in survey.sources:
            digest = survey.censuses[name].sha256
            labels = survey.labels.get(name)
            items = items_of(survey.sources[name], settings, vocabulary, digest, labels, notes)
            groups[name] = [items]
            own[name] = len(items.lines)

    # 1. The lines of each text, divided; those that stand in an earlier one go where they are.
    homes: dict[bytes, tuple[str, set[int]]] = {}  # of each line: its split, its labels
    first_line = 0
    for number, part in enumerate(source.parts):
        census = survey.censuses["train"].parts[number]
        reading = part.read(settings)
        labels = None
        if survey.labels:
            labels = survey.labels["train"][first_line : first_line + census.lines]
            first_line += census.lines
        count = len(notes)
        items = items_of(part.source, reading, vocabulary, census.sha256, labels, notes)
        unit = unit_of(notes[count:], vocabulary)
        free, known = _known(items, homes, is_used_once=settings.deduplicate)
        left_out = len(items.lines) - len(free) - len(known)
        if left_out:
            noun = many(left_out, item_of(vocabulary))
            verb = "is" if left_out == 1 else "are"
            notes.append(
                f"{noun} of {part.source.shown} {verb} in an earlier text, and used once "
                "(--no-deduplicate keeps them)"
            )
        sizes = {"train": len(free)} | own
        shown = part.source.shown
        if left_out:
            shown = f"{shown}, without what an earlier text has,"
        counts = allot(sizes, settings, 1, unit, shown=shown)
        order = np.random.default_rng([seed, number]).permutation(free)
        start = 0
        for name in SPLITS:
            if name in own:
                continue
            stop = start + counts[name]
            chosen = order[start:stop].tolist()
            start = stop
            chosen += [line for line, home in known if home == name]
            groups[name].append(taken(items, chosen))
            for line in chosen:
                tags = items.tags[line] if items.tags is not None else []
                homes.setdefault(items.lines[line], (name, set()))[1].update(tags)

    # 2. Write them.
    segments: dict[str, list[Segment]] = {name: [] for name in SPLITS}
    lengths: dict[str, int] = {}
    in_order: list[Items] = []
    for name in SPLITS:
        pieces = list(enumerate(groups[name]))
        if name != "train":
            pieces = _in_rounds(groups[name])
        lengths[name] = 0
        for number, items in pieces:
            size = write_items(file, items, vocabulary)
            lengths[name] += size
            if name not in own:
                segments[name].append((number, size))
        in_order += [items for _, items in pieces]
    counts_of_lines = [
        len(items.lines) if items.tags is None else sum(map(len, items.tags))
        for items in groups["train"]
    ]
    parts = _parts(survey, segments, counts_of_lines)
    return Written(bounds_of(lengths), labels_in(in_order, vocabulary), parts)


def _known(
    items: Items, homes: dict[bytes, tuple[str, set[int]]], *, is_used_once: bool
) -> tuple[list[int], list[tuple[int, str]]]:
    """Return which lines stand in no earlier text, and which do, each with the split it is in.

    is_used_once: leave out what an earlier text has, with the same labels.
    """
    free: list[int] = []
    known: list[tuple[int, str]] = []
    for number, line in enumerate(items.lines):
        home = homes.get(line)
        if home is None:
            free.append(number)
            continue
        split, tags = home
        if is_used_once and items.tags is None:
            continue
        if is_used_once and items.tags is not None:
            items.tags[number] = [tag for tag in items.tags[number] if tag not in tags]
            if not items.tags[number]:
                continue
        known.append((number, split))
    return free, known


def _in_rounds(groups: Sequence[Items]) -> list[tuple[int, Items]]:
    """Return the lines of a split in rounds, each time with the number of their text."""
    total = sum(len(line) + 1 for items in groups for line in items.lines)
    done = [0] * len(groups)
    pieces = []
    for mark in rounds(total):
        for number, items in enumerate(groups):
            stop = reached(len(items.lines), mark, total)
            if stop > done[number]:
                pieces.append((number, taken(items, range(done[number], stop))))
            done[number] = stop
    return pieces


def _parts(survey: Survey, segments: dict[str, list[Segment]], sizes: Sequence[int]) -> Parts:
    """Return the parts of a corpus. sizes: of the texts in training, in characters or lines."""
    parts = survey.sources["train"].parts
    shares = divided([part.share for part in parts], sizes)
    return Parts(tuple(part.source.name for part in parts), shares, segments)

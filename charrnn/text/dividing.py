"""Several texts as one corpus: each is split by itself, so that each has a score of its own.

a.txt  AAAAAAAAAa        train  AAAAAAAA BBBB
b.txt  BBBBBb            val    A B          (the beginnings of all texts first, see parts.py)
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
from charrnn.text.parts import Parts, Segment, heads
from charrnn.text.reading import PIECE_BYTES
from charrnn.text.shares import divided
from charrnn.text.splits import SPLITS, allot
from charrnn.text.survey import Survey
from charrnn.text.vocabulary import Vocabulary
from charrnn.text.writing import (
    Items,
    bounds_of,
    encoded,
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
    """Write what is held out: the beginnings of all texts, then the rest of each.

    waiting: holds all of it, text by text. lengths: of each, in ids. Returns the segments.
    """
    itemsize = np.dtype(vocabulary.dtype).itemsize
    starts = np.cumsum([0, *lengths])[:-1].tolist()
    segments: list[Segment] = []
    firsts = []
    for number, most in enumerate(heads(lengths)):
        waiting.seek(starts[number] * itemsize)
        head = np.frombuffer(waiting.read(most * itemsize), vocabulary.dtype)
        if vocabulary.spelling is not None and len(head) < lengths[number]:
            head = head[: np.flatnonzero(vocabulary.spelling.is_start[head])[-1]]
        file.write(head.data)
        segments.append((number, len(head)))
        firsts.append(len(head))
    for number, first in enumerate(firsts):
        left = lengths[number] - first
        if left:
            segments.append((number, left))
        waiting.seek((starts[number] + first) * itemsize)
        while left:
            data = waiting.read(min(left * itemsize, PIECE_BYTES))
            file.write(data)
            left -= len(data) // itemsize
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
        unit = unit_of(notes[count:])
        free, known = _known(items, homes, is_used_once=settings.deduplicate)
        left_out = len(items.lines) - len(free) - len(known)
        if left_out:
            verb = "is" if left_out == 1 else "are"
            notes.append(
                f"{many(left_out, 'line')} of {part.source.shown} {verb} in an earlier text, and "
                "used once (--no-deduplicate keeps them)"
            )
        sizes = {"train": len(free)} | own
        counts = allot(sizes, settings, 1, unit, shown=part.source.shown)
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
            pieces = _heads_first(groups[name])
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


def _heads_first(groups: Sequence[Items]) -> list[tuple[int, Items]]:
    """Return the beginnings of all texts' lines, then the rests, each with its text's number."""
    sizes = [sum(map(len, items.lines)) + len(items.lines) for items in groups]
    counts = [len(items.lines) for items in groups]
    firsts = [
        -(-count * head // max(1, size))
        for count, head, size in zip(counts, heads(sizes), sizes, strict=True)
    ]
    beginnings = [
        (number, taken(items, range(firsts[number]))) for number, items in enumerate(groups)
    ]
    rests = [
        (number, taken(items, range(firsts[number], counts[number])))
        for number, items in enumerate(groups)
        if firsts[number] < counts[number]
    ]
    return beginnings + rests


def _parts(survey: Survey, segments: dict[str, list[Segment]], sizes: Sequence[int]) -> Parts:
    """Return the parts of a corpus. sizes: of the texts in training, in characters or lines."""
    parts = survey.sources["train"].parts
    shares = divided([part.share for part in parts], sizes)
    return Parts(tuple(part.source.name for part in parts), shares, segments)

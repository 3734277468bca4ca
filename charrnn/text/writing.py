"""The second pass over a text: its ids, divided into train, val and test. Several: dividing.py."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.storage import Output
from charrnn.terminal import many
from charrnn.text.corpus import Bounds, Written
from charrnn.text.labelled import tags_of
from charrnn.text.labels import numbered
from charrnn.text.reading import pieces
from charrnn.text.records import longest_item
from charrnn.text.sources import Source
from charrnn.text.splits import SPLITS, allot
from charrnn.text.survey import Survey
from charrnn.text.vocabulary import Vocabulary

REPEATS = "were repeats and are used once"


class Items(NamedTuple):
    """Lines as bytes of their ids without the newline, and the labels of each; None: no labels."""

    lines: list[bytes]
    tags: list[list[int]] | None


def write_stream(
    file: Output, survey: Survey, settings: TextSettings, vocabulary: Vocabulary
) -> Written:
    """Write the ids of all texts as they stand. Raises CorpusError."""
    lengths = {name: census.chars for name, census in survey.censuses.items()}
    bounds = bounds_of(allot(lengths, settings, 2, "characters"))
    # A character may have several ids: the splits begin and end with the same characters.
    edges = np.array(sorted({edge for span in bounds.values() for edge in span}))
    places = edges.copy()  # of these characters, in ids
    position = 0  # characters written
    for name, source in survey.sources.items():
        for ids in encoded(source, settings, vocabulary, survey.censuses[name].sha256):
            file.write(ids.data)
            if vocabulary.spelling is None:
                continue
            inside = np.flatnonzero(~vocabulary.spelling.is_start[ids])
            before = inside - np.arange(len(inside))  # characters that begin before each
            places += np.searchsorted(position + before, edges, side="right")
            position += len(ids) - len(inside)
    place_of = dict(zip(edges.tolist(), places.tolist(), strict=True))
    return Written(
        {name: (place_of[start], place_of[stop]) for name, (start, stop) in bounds.items()}
    )


def write_lines(
    file: Output,
    survey: Survey,
    settings: TextSettings,
    vocabulary: Vocabulary,
    seed: int,
    notes: list[str],
) -> Written:
    """Write the lines of all splits, each line with its newline. Adds to notes. Raises CorpusError.

    The lines of the corpus are shuffled before they are divided. Lines that differ in their labels
    alone stay in one split, unless repeats are kept.
    """
    # 1. Read the lines of each text. A repeat that is used once cannot stand in two splits.
    groups: dict[str, Items] = {}
    count = len(notes)
    for name, source in survey.sources.items():
        digest = survey.censuses[name].sha256
        labels = survey.labels.get(name)
        groups[name] = items_of(source, settings, vocabulary, digest, labels, notes)
    unit = unit_of(notes[count:], vocabulary)

    # 2. Divide the shuffled lines of the corpus between the splits without a file of their own.
    counts = allot({name: len(part.lines) for name, part in groups.items()}, settings, 1, unit)
    corpus = groups["train"]
    order = np.random.default_rng(seed).permutation(len(corpus.lines))
    start = 0
    for name in SPLITS:
        if name == "train" or name not in groups:
            stop = start + counts[name]
            groups[name] = taken(corpus, order[start:stop].tolist())
            start = stop

    # 3. Write them.
    lengths = {name: write_items(file, groups[name], vocabulary) for name in SPLITS}
    return Written(bounds_of(lengths), labels_in(map(groups.get, SPLITS), vocabulary))


def items_of(
    source: Source,
    settings: TextSettings,
    vocabulary: Vocabulary,
    sha256: str,
    labels: Sequence[str] | None,
    notes: list[str],
) -> Items:
    """Return the lines of a text that are not blank, each once if repeats are used once.

    sha256: of the text that was surveyed. labels: of each line, blank ones too. Adds to notes.
    """
    lines = read_lines(source, settings, vocabulary, sha256)
    full = [line for line in lines if line]
    distinct = list(dict.fromkeys(full)) if settings.deduplicate else full
    used = len(distinct)
    tags = None
    if labels is not None:
        numbers = numbered(labels, vocabulary.labels).tolist()
        pairs = [pair for pair in zip(lines, numbers, strict=True) if pair[0]]
        tags = tags_of(pairs, distinct=settings.deduplicate)
        used = sum(map(len, tags))
    item = item_of(vocabulary)
    shown = f" of {source.shown}" if source.place[1] > 1 else ""
    if used < len(full):
        notes.append(
            f"{len(full) - used:,} of {len(full):,} {item}s{shown} {REPEATS} "
            "(--no-deduplicate keeps them)"
        )
    if len(full) < len(lines):
        notes.append(f"{many(len(lines) - len(full), 'blank line')}{shown} left out")
    return Items(distinct, tags)


def item_of(vocabulary: Vocabulary) -> str:
    """Return what a text is made of, for a message: "line" or "record"."""
    return "record" if vocabulary.has_breaks else "line"


def unit_of(notes: Sequence[str], vocabulary: Vocabulary) -> str:
    """Return what a text is divided into, for a message. notes: on its lines."""
    items = f"{item_of(vocabulary)}s"
    has_repeats = any(REPEATS in note for note in notes)
    return f"distinct {items} (--no-deduplicate keeps repeats)" if has_repeats else items


def taken(items: Items, numbers: Sequence[int]) -> Items:
    """Return the items with these numbers."""
    tags = None if items.tags is None else [items.tags[number] for number in numbers]
    return Items([items.lines[number] for number in numbers], tags)


def write_items(file: Output, items: Items, vocabulary: Vocabulary) -> int:
    """Write items, each as often as it has labels. Returns how many ids they are."""
    newline = np.array([vocabulary.newline], vocabulary.dtype).tobytes()
    if items.tags is None:
        data = b"".join(line + newline for line in items.lines)
    else:
        pairs = zip(items.lines, items.tags, strict=True)
        data = b"".join((line + newline) * len(labels) for line, labels in pairs)
    file.write(data)
    return len(data) // len(newline)


def labels_in(groups: Iterable[Items | None], vocabulary: Vocabulary) -> np.ndarray | None:
    """Return the label of each line of these items, in their order; None where there are none."""
    if not vocabulary.labels:
        return None
    flat: list[int] = []
    for group in groups:
        assert group is not None
        if group.tags is None:  # of a model that knows labels, which this text has not
            flat += [0] * len(group.lines)
        else:
            flat += itertools.chain.from_iterable(group.tags)
    return np.array(flat, np.uint32)


def read_lines(
    source: Source, settings: TextSettings, vocabulary: Vocabulary, sha256: str
) -> list[bytes]:
    """Return the lines of a text, blank ones too, as bytes of their ids without the newline.

    A last line that has no newline counts too. Raises CorpusError if a line is too long.
    """
    data = b"".join(ids.tobytes() for ids in encoded(source, settings, vocabulary, sha256))
    ids = np.frombuffer(data, vocabulary.dtype)
    ends = np.flatnonzero(ids == int(vocabulary.newline or 0)).tolist()
    if len(ids) and (not ends or ends[-1] != len(ids) - 1):
        ends.append(len(ids))
    starts = [0, *(end + 1 for end in ends[:-1])]
    spans = list(zip(starts, ends, strict=True))
    for number, (start, end) in enumerate(spans, 1):
        if end - start > longest_item(vocabulary):
            raise CorpusError(
                f"{source.shown}: line {number:,} has {end - start:,} characters; "
                f"--mode lines learns whole lines of at most {longest_item(vocabulary):,}: shorten "
                "it, or use --mode stream"
            )
    return [ids[start:end].tobytes() for start, end in spans]


def encoded(
    source: Source, settings: TextSettings, vocabulary: Vocabulary, sha256: str
) -> Iterator[np.ndarray]:
    """Yield the ids of a surveyed text, of type vocabulary.dtype, in pieces.

    Raises CorpusError if it is not the text that was surveyed, whose digest was sha256.
    """
    digest = hashlib.sha256()
    for codes in pieces(source, settings, digest):
        yield vocabulary.spelled(codes).astype(vocabulary.dtype)
    if digest.hexdigest() != sha256:
        raise CorpusError(
            f"{source.shown} changed while it was read; try again when nothing writes to it"
        )


def bounds_of(lengths: dict[str, int]) -> Bounds:
    """Return where each split starts and stops, one after the other."""
    edges = np.cumsum([0, *(lengths[name] for name in SPLITS)]).tolist()
    return {name: (edges[index], edges[index + 1]) for index, name in enumerate(SPLITS)}

"""Building a corpus: survey a text, then write its ids.

The first pass over a text finds its characters (census.py), the second writes one id per character
into the run (corpus.py), and divides them into train, val and test (splits.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, VocabularyError
from charrnn.storage import Output
from charrnn.terminal import many
from charrnn.text.census import Census, take_census
from charrnn.text.corpus import FORMAT, Bounds, Corpus, Written, described, longest_item, store
from charrnn.text.entries import is_records, is_table
from charrnn.text.labelled import check_known, tags_of, with_names
from charrnn.text.labels import numbered
from charrnn.text.linehash import every_line
from charrnn.text.looks import MOST_CHARS, looks_of
from charrnn.text.mode import choose_mode, notes_of, settle_line_ends
from charrnn.text.noticing import settle
from charrnn.text.rare import alphabet, note_of
from charrnn.text.reading import PIECE_BYTES, pieces
from charrnn.text.sources import Source, find_source
from charrnn.text.splits import SPLITS, allot, divided
from charrnn.text.vocabulary import BREAK, NEWLINE, Vocabulary

# These settings change no ids of texts whose digests and mode are known.
NOT_IN_FINGERPRINT = (
    *("val", "test", "max_bytes", "glob", "headings", "mode", "rare", "split_seed"),
    *("label", "delimiter"),  # without labels; the labels themselves are in it
)


@dataclass(frozen=True)
class Survey:
    """The result of the first pass: enough to size a network, before anything is written."""

    name: str
    sources: dict[str, Source]  # "train", and files of their own for "val" and "test"
    censuses: dict[str, Census]  # of each source
    vocabulary: Vocabulary
    mode: str
    reason: str  # of the mode
    notes: tuple[str, ...]  # for the person
    fingerprint: str
    newlines: str  # "keep" or "lf": what --newlines auto means for this text
    rare: int = 0  # characters that occur fewer times are written as bytes
    asked_mode: str = "auto"  # "records" where items may have several lines
    separator: str = "auto"  # of records
    column: str = "none"  # of a table that is learnt
    strip: str = "none"  # what is taken from each line
    # Of each source, where items have labels: the label of each line, "" for none.
    labels: dict[str, list[str]] = field(default_factory=dict)

    @property
    def form(self) -> str:
        """What the text is read as, in a word: "lines", "records" or "stream"."""
        return self.asked_mode if self.asked_mode == "records" else self.mode

    def as_read(self, settings: TextSettings) -> TextSettings:
        """Return the settings that the texts are read with: what was open is decided."""
        return dataclasses.replace(
            settings,
            newlines=self.newlines,
            rare=self.rare,
            mode=self.asked_mode,
            separator=self.separator,
            column=self.column,
            strip=self.strip,
        )


def survey(corpus: str | Source | None, settings: TextSettings, seed: int) -> Survey:
    """Make the first pass over all texts of a training. Writes nothing. Raises CorpusError."""
    # 1. Read them.
    source, note = find_source(corpus, settings)
    settings, notes = settle(settings, source)
    notes = [note, *notes] if note else notes
    sources = {"train": source}
    for name, path in (("val", settings.val), ("test", settings.test)):
        if path:
            sources[name], _ = find_source(path, settings)
    censuses = {name: take_census(part, settings) for name, part in sources.items()}
    if is_table(settings) and settings.mode == "auto" and not settings.label:
        found = censuses["train"].faults.found
        if found["line breaks"] or found["long"]:  # they are no lines
            settings = dataclasses.replace(settings, mode="records")
            censuses = {name: take_census(part, settings) for name, part in sources.items()}

    # 2. Decide on line ends, mode and alphabet.
    if settings.newlines == "auto":
        settings, censuses = settle_line_ends(settings, sources, censuses)
    mode, reason = choose_mode(censuses["train"], settings)
    counts = sum((census.counts for census in censuses.values()), np.zeros(1, np.int64))
    if is_records(settings):
        counts[BREAK] = max(1, counts[BREAK])
    if mode == "lines" and not counts[NEWLINE]:
        counts[NEWLINE] = 1  # the boundary, even of a text of one line
    vocabulary, rare = alphabet(counts, settings, mode)
    vocabulary = dataclasses.replace(vocabulary, has_breaks=is_records(settings))
    for census in censuses.values():
        notes += census.faults.notes()
    labels: dict[str, list[str]] = {}
    if settings.label:
        labels = {name: labels_of(part, settings) for name, part in sources.items()}
        vocabulary = with_names(vocabulary, labels.values(), source.shown)
    notes += notes_of(censuses, vocabulary)
    if rare:
        notes.append(note_of(counts, rare))
    if mode == "lines" and source.separators and settings.headings and not labels:
        notes.append("each file has a heading, a line like others; --no-headings leaves them out")
    is_plain = not is_table(settings) and not is_records(settings)
    if settings.unit == "char" and not source.separators and is_plain:
        notes += _looks(source, censuses["train"], mode, settings)

    # 3. Digest all that the ids depend on. The seed counts only where lines are shuffled.
    options = dataclasses.asdict(settings)
    for key in NOT_IN_FINGERPRINT:
        del options[key]
    for key in ("column", "strip"):  # earlier versions had none
        if options[key] == "none":
            del options[key]
    if not is_records(settings):
        del options["separator"]
    if vocabulary.spelling is not None:
        options["rare"] = rare
    digests = {name: census.sha256 for name, census in censuses.items()}
    shuffle_seed = seed if mode == "lines" else 0
    identity = [FORMAT, digests, options, mode, shuffle_seed]
    if labels:
        identity.append(labels)
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Survey(
        source.name,
        sources,
        censuses,
        vocabulary,
        mode,
        reason,
        tuple(notes),
        fingerprint,
        settings.newlines,
        rare,
        settings.mode,
        settings.separator,
        settings.column,
        settings.strip,
        labels,
    )


def labels_of(source: Source, settings: TextSettings) -> list[str]:
    """Return the label of each line of a text, blank ones too; "" for none. Raises CorpusError."""
    labels: list[str] = []
    for _ in pieces(source, settings, labels=labels):
        pass
    return labels


def learnt_chars(survey: Survey, settings: TextSettings) -> int:
    """Return the characters of a corpus, of its distinct lines where each is used once.

    Lines are read again for it.
    """
    if survey.mode != "lines" or not settings.deduplicate:
        return survey.censuses["train"].chars
    text = pieces(survey.sources["train"], survey.as_read(settings))
    hashes, lengths = every_line(text, keeps_returns=True)
    _, first = np.unique(hashes[lengths > 0], return_index=True)
    distinct_lengths = lengths[lengths > 0][first].astype(np.int64)
    return int(distinct_lengths.sum()) + len(distinct_lengths)


def _looks(source: Source, census: Census, mode: str, settings: TextSettings) -> list[str]:
    """Return notes on a text that does not look like plain text."""
    codes = next(pieces(source, settings))[:MOST_CHARS]
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    file = str(source.paths[0]) if source.paths else ""
    return looks_of(text, file, census, mode, is_asked=settings.mode != "auto")


def training_chars(survey: Survey, settings: TextSettings) -> int:
    """Return the characters of the training split: exact in stream mode, an estimate for lines."""
    return training_part(learnt_chars(survey, settings), survey, settings)


def training_part(total: int, survey: Survey, settings: TextSettings) -> int:
    """Return how many of a corpus's `total` characters or lines its training split gets."""
    return divided(total, set(survey.censuses) - {"train"}, settings)["train"]


def build(
    survey: Survey,
    settings: TextSettings,
    seed: int,
    folder: Path,
    vocabulary: Vocabulary | None = None,
) -> tuple[Corpus, list[str]]:
    """Make the second pass: write the ids into folder. Return the corpus, and notes for the person.

    vocabulary: the one to use instead of the text's own (a resumed run's).
    Raises CorpusError, StorageError, VocabularyError.
    """
    settings = survey.as_read(settings)
    vocabulary = vocabulary or survey.vocabulary
    for census in survey.censuses.values():
        codes = np.flatnonzero(census.counts).astype(np.uint32)
        missing = codes[vocabulary.lookup(codes) < 0]
        if vocabulary.spelling is not None:  # it has bytes for them
            missing = missing[:0]
        if len(missing):
            raise VocabularyError(
                vocabulary.explain_unknown(missing, census.counts[missing], census.shown)
            )
    check_known(survey.labels, vocabulary)
    notes: list[str] = []

    def write(file: Output) -> Written:
        if survey.mode == "lines":
            return _write_lines(file, survey, settings, vocabulary, seed, notes)
        return _write_stream(file, survey, settings, vocabulary), None

    digests = {name: census.sha256 for name, census in survey.censuses.items()}
    corpus = store(folder, survey.name, survey.fingerprint, survey.mode, digests, vocabulary, write)
    return corpus, notes


def translate(old: Corpus, vocabulary: Vocabulary, folder: Path) -> Corpus:
    """Write a corpus into folder in the ids of another vocabulary.

    vocabulary: must hold all characters of the old one. Raises StorageError.
    """
    new_ids = vocabulary.lookup(np.array(old.vocabulary.symbols))

    def write(file: Output) -> Written:
        for start in range(0, len(old.ids), PIECE_BYTES):
            ids = new_ids[old.ids[start : start + PIECE_BYTES]]
            file.write(ids.astype(vocabulary.dtype).data)
        if old.labels is None:
            return old.bounds, None
        places = np.append(
            np.zeros(1, np.uint32), numbered(old.vocabulary.labels, vocabulary.labels)
        )
        return old.bounds, places[old.labels]

    digests = described(old.path).get("text_sha256", {})
    return store(folder, old.name, old.fingerprint, old.mode, digests, vocabulary, write)


def _write_stream(
    file: Output, survey: Survey, settings: TextSettings, vocabulary: Vocabulary
) -> Bounds:
    """Write the ids of all texts as they stand. Raises CorpusError."""
    lengths = {name: census.chars for name, census in survey.censuses.items()}
    bounds = _bounds(allot(lengths, settings, 2, "characters"))
    # A character may have several ids: the splits begin and end with the same characters.
    edges = np.array(sorted({edge for span in bounds.values() for edge in span}))
    places = edges.copy()  # of these characters, in ids
    position = 0  # characters written
    for name in survey.sources:
        for ids in _encoded(survey, name, settings, vocabulary):
            file.write(ids.data)
            if vocabulary.spelling is None:
                continue
            inside = np.flatnonzero(~vocabulary.spelling.is_start[ids])
            before = inside - np.arange(len(inside))  # characters that begin before each
            places += np.searchsorted(position + before, edges, side="right")
            position += len(ids) - len(inside)
    place_of = dict(zip(edges.tolist(), places.tolist(), strict=True))
    return {name: (place_of[start], place_of[stop]) for name, (start, stop) in bounds.items()}


def _write_lines(
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
    groups: dict[str, list[bytes]] = {}
    tags: dict[str, list[list[int]]] = {}  # the labels of each of these lines
    has_repeats = False
    for name in survey.sources:
        lines = _read_lines(survey, name, settings, vocabulary)
        full = [line for line in lines if line]
        distinct = list(dict.fromkeys(full)) if settings.deduplicate else full
        used = len(distinct)
        if survey.labels:
            numbers = numbered(survey.labels[name], vocabulary.labels).tolist()
            pairs = [pair for pair in zip(lines, numbers, strict=True) if pair[0]]
            tags[name] = tags_of(pairs, distinct=settings.deduplicate)
            used = sum(map(len, tags[name]))
        if used < len(full):
            has_repeats = True
            notes.append(
                f"{len(full) - used:,} of {len(full):,} lines were repeats and are used "
                "once (--no-deduplicate keeps them)"
            )
        if len(full) < len(lines):
            notes.append(f"{many(len(lines) - len(full), 'blank line')} left out")
        groups[name] = distinct

    # 2. Divide the shuffled lines of the corpus between the splits without a file of their own.
    unit = "distinct lines (--no-deduplicate keeps repeats)" if has_repeats else "lines"
    counts = allot({name: len(lines) for name, lines in groups.items()}, settings, 1, unit)
    corpus_lines = groups["train"]
    corpus_tags = tags.get("train")
    order = np.random.default_rng(seed).permutation(len(corpus_lines))
    start = 0
    for name in SPLITS:
        if name == "train" or name not in groups:
            stop = start + counts[name]
            groups[name] = [corpus_lines[i] for i in order[start:stop]]
            if corpus_tags is not None:
                tags[name] = [corpus_tags[i] for i in order[start:stop]]
            start = stop

    # 3. Write them.
    newline = np.array([vocabulary.newline], vocabulary.dtype).tobytes()
    lengths: dict[str, int] = {}
    for name in SPLITS:
        if survey.labels:
            lines_of_split = zip(groups[name], tags[name], strict=True)
            data = b"".join((line + newline) * len(labels) for line, labels in lines_of_split)
        else:
            data = b"".join(line + newline for line in groups[name])
        lengths[name] = len(data) // len(newline)
        file.write(data)
    if not survey.labels:
        count = sum(map(len, groups.values()))
        return _bounds(lengths), np.zeros(count, np.uint32) if vocabulary.labels else None
    flat = itertools.chain.from_iterable(itertools.chain(*(tags[name] for name in SPLITS)))
    return _bounds(lengths), np.fromiter(flat, np.uint32)


def _read_lines(
    survey: Survey, name: str, settings: TextSettings, vocabulary: Vocabulary
) -> list[bytes]:
    """Return the lines of a text, blank ones too, as bytes of their ids without the newline.

    A last line that has no newline counts too. Raises CorpusError if a line is too long.
    """
    data = b"".join(ids.tobytes() for ids in _encoded(survey, name, settings, vocabulary))
    ids = np.frombuffer(data, vocabulary.dtype)
    ends = np.flatnonzero(ids == int(vocabulary.newline or 0)).tolist()
    if len(ids) and (not ends or ends[-1] != len(ids) - 1):
        ends.append(len(ids))
    starts = [0, *(end + 1 for end in ends[:-1])]
    spans = list(zip(starts, ends, strict=True))
    for number, (start, end) in enumerate(spans, 1):
        if end - start > longest_item(vocabulary):
            raise CorpusError(
                f"{survey.sources[name].shown}: line {number:,} has {end - start:,} characters; "
                f"--mode lines learns whole lines of at most {longest_item(vocabulary):,}: shorten "
                "it, or use --mode stream"
            )
    return [ids[start:end].tobytes() for start, end in spans]


def _encoded(
    survey: Survey, name: str, settings: TextSettings, vocabulary: Vocabulary
) -> Iterator[np.ndarray]:
    """Yield the ids of a surveyed text, of type vocabulary.dtype, in pieces.

    Raises CorpusError if it is not the text that was surveyed.
    """
    source = survey.sources[name]
    digest = hashlib.sha256()
    for codes in pieces(source, settings, digest):
        yield vocabulary.spelled(codes).astype(vocabulary.dtype)
    if digest.hexdigest() != survey.censuses[name].sha256:
        raise CorpusError(
            f"{source.shown} changed while it was read; try again when nothing writes to it"
        )


def _bounds(lengths: dict[str, int]) -> Bounds:
    """Return where each split starts and stops, one after the other."""
    edges = np.cumsum([0, *(lengths[name] for name in SPLITS)]).tolist()
    return {name: (edges[index], edges[index + 1]) for index, name in enumerate(SPLITS)}

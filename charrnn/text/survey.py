"""The first pass over the texts of a training: characters, mode, labels and a fingerprint.

Enough to size a network, before anything is written (building.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import SettingsError
from charrnn.terminal import one_line
from charrnn.text.census import Census, take_census
from charrnn.text.corpus import FORMAT
from charrnn.text.entries import is_records, is_table
from charrnn.text.labelled import with_names
from charrnn.text.linehash import every_line
from charrnn.text.looks import MOST_CHARS, looks_of
from charrnn.text.mode import choose_mode, notes_of, settle_line_ends
from charrnn.text.noticing import settle_all
from charrnn.text.rare import alphabet, note_of
from charrnn.text.reading import pieces
from charrnn.text.sources import Source, find_source, with_encoding
from charrnn.text.splits import divided
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
    if "," in settings.encoding and not source.parts:
        raise SettingsError(
            f"--encoding {one_line(settings.encoding)} is for several texts; name one encoding"
        )
    settings, source, notes = settle_all(settings, source)
    notes = [note, *notes] if note else notes
    sources = {"train": source}
    for name, path in (("val", settings.val), ("test", settings.test)):
        if path:
            sources[name], _ = find_source(path, settings)
            if "," in settings.encoding:
                sources[name] = with_encoding(sources[name], settings.encoding.split(",")[0])
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
    if mode == "lines" and source.has_directory and settings.headings and not labels:
        notes.append("each file has a heading, a line like others; --no-headings leaves them out")
    censuses_of_texts = censuses["train"].parts or (censuses["train"],)
    for text, census in zip(source.texts, censuses_of_texts, strict=True):
        own = source.reading_of(text, settings)
        is_plain = not is_table(own) and not is_records(own)
        if settings.unit == "char" and not text.separators and is_plain:
            looks = _looks(text, census, mode, own)
            is_told = [look.startswith(text.shown) or not source.parts for look in looks]
            pairs = zip(looks, is_told, strict=True)
            notes += [look if told else f"{text.shown}: {look}" for look, told in pairs]

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
    if source.parts:
        identity.append([(part.share, part.reading) for part in source.parts])
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

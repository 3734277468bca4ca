"""Corpus: ids of a text, split into train, val and test, in a memory-mapped file of the run.

The first pass over a text finds its characters (reading.take_census), the second writes one uint8, uint16 or uint32
per character. The file's name is a digest of content and options, so that it is found again and never confused. Beside
it lie its description (.json) and a filter of the training split (.novel, see novelty.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError, VocabularyError
from charrnn.storage import (
    Output,
    make_directories,
    read_json,
    replacing,
    storage_error,
    write_atomically,
)
from charrnn.terminal import one_line
from charrnn.text.mode import choose_mode, notes_of
from charrnn.text.novelty import write_filter
from charrnn.text.reading import PIECE_BYTES, Census, Source, find_source, pieces, take_census
from charrnn.text.splits import SPLITS, allot, divided
from charrnn.text.vocabulary import NEWLINE, Vocabulary

MAX_LINE = 4096  # lines mode learns whole lines
FORMAT = 1


@dataclass(frozen=True)
class Survey:
    """What the first pass found: enough to size a network, before anything is written."""

    name: str
    sources: dict[str, Source]
    censuses: dict[str, Census]
    vocabulary: Vocabulary
    mode: str
    reason: str
    notes: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Corpus:
    """ids of all splits, one after the other; lines mode: every line ends in the newline's id."""

    name: str
    path: Path
    dtype: str
    bounds: dict[str, tuple[int, int]]  # of each split, in ids
    vocabulary: Vocabulary
    mode: str
    fingerprint: str

    @cached_property
    def _map(self) -> mmap.mmap:
        with open(self.path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) of the smallest unsigned type, mapped from the file."""
        return np.frombuffer(self._map, self.dtype)

    def split(self, name: str) -> np.ndarray:
        """The ids of "train", "val" or "test" (possibly none), a view of the file."""
        start, stop = self.bounds[name]
        return self.ids[start:stop]

    def lines(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Lines mode: start of each line within its split, and its length without the newline."""
        return line_bounds(self.split(name), int(self.vocabulary.newline or 0))

    def release(self) -> None:
        """Give back the memory of the pages read so far; they are read again from the file when needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def contains(self, ids: np.ndarray, *, whole_line: bool) -> bool:
        """Does the training text hold these ids, anywhere or (whole_line) as one line of its own?"""
        start, stop = (bound * self.ids.itemsize for bound in self.bounds["train"])
        if whole_line:
            newline = np.array([self.vocabulary.newline])
            ids = np.concatenate([newline, ids, newline])
        needle = ids.astype(self.dtype).tobytes()
        if (
            whole_line
            and self._map[start : start + len(needle) - self.ids.itemsize]
            == needle[self.ids.itemsize :]
        ):
            return True  # the first line has no newline before it
        at = self._map.find(needle, start, stop)
        while at >= 0 and at % self.ids.itemsize:
            at = self._map.find(needle, at + 1, stop)
        return at >= 0


def survey(corpus: str | None, settings: TextSettings, seed: int) -> Survey:
    """The first pass over all texts of a training. Writes nothing. Raises CorpusError."""
    source, note = find_source(corpus, settings)
    sources = {"train": source}
    for name, path in (("val", settings.val), ("test", settings.test)):
        if path:
            sources[name] = find_source(path, settings)[0]
    censuses = {name: take_census(item, settings) for name, item in sources.items()}
    counts = sum((census.counts for census in censuses.values()), np.zeros(1, np.int64))
    mode, reason = choose_mode(censuses["train"], settings)
    notes = [note] if note else []
    if mode == "lines" and not counts[NEWLINE]:
        counts[NEWLINE] = 1  # the boundary, even of a text of one line
    vocabulary = Vocabulary(settings.unit, tuple(int(code) for code in np.flatnonzero(counts)))
    notes += notes_of(censuses, vocabulary)
    options = {
        key: value
        for key, value in dataclasses.asdict(settings).items()
        if key not in ("val", "test", "max_bytes", "glob", "mode")
    }
    identity = [
        FORMAT,
        {name: census.sha256 for name, census in censuses.items()},
        options,
        mode,
        seed * (mode == "lines"),
    ]
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Survey(
        source.name, sources, censuses, vocabulary, mode, reason, tuple(notes), fingerprint
    )


def build(
    found: Survey,
    settings: TextSettings,
    seed: int,
    folder: Path,
    vocabulary: Vocabulary | None = None,
) -> tuple[Corpus, list[str]]:
    """The second pass: write the ids into folder and return them mapped, with notes for the person.

    vocabulary: use this one instead of the text's own (a resumed run's). Raises CorpusError, StorageError,
    VocabularyError.
    """
    vocabulary = vocabulary or found.vocabulary
    for census in found.censuses.values():
        codes = np.flatnonzero(census.counts).astype(np.uint32)
        missing = codes[vocabulary.lookup(codes) < 0]
        if len(missing):
            raise VocabularyError(
                vocabulary.explain_unknown(missing, census.counts[missing], census.shown)
            )
    notes: list[str] = []

    def write(file: Output, dtype: str) -> dict[str, tuple[int, int]]:
        writer = _write_lines if found.mode == "lines" else _write_stream
        bounds, said = writer(file, found, settings, vocabulary, dtype, seed)
        notes.extend(said)
        return bounds

    digests = {key: census.sha256 for key, census in found.censuses.items()}
    return _store(
        folder, found.name, found.fingerprint, found.mode, digests, vocabulary, write
    ), notes


def translate(old: Corpus, vocabulary: Vocabulary, folder: Path) -> Corpus:
    """The same text in the ids of another vocabulary, which must hold all its characters, written into folder.

    Raises StorageError.
    """
    new_ids = vocabulary.lookup(np.array(old.vocabulary.symbols))

    def write(file: Output, dtype: str) -> dict[str, tuple[int, int]]:
        for start in range(0, len(old.ids), PIECE_BYTES):
            file.write(new_ids[old.ids[start : start + PIECE_BYTES]].astype(dtype).data)
        return old.bounds

    digests = described(old.path).get("text_sha256", {})
    return _store(folder, old.name, old.fingerprint, old.mode, digests, vocabulary, write)


def _store(
    folder: Path,
    title: str,
    fingerprint: str,
    mode: str,
    text_sha256: dict[str, str],
    vocabulary: Vocabulary,
    write: Callable[[Output, str], dict[str, tuple[int, int]]],
) -> Corpus:
    """The three files of a corpus. write puts the ids of all splits into a file, as the type named, and returns their bounds."""
    dtype = next(
        kind for kind in ("uint8", "uint16", "uint32") if len(vocabulary) <= np.iinfo(kind).max + 1
    )
    name = f"{fingerprint[:16]}.ids"
    try:
        make_directories(folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    with replacing(folder / name) as file:
        bounds = write(file, dtype)
    digest = _file_sha256(folder / name)
    made = Corpus(title, folder / name, dtype, bounds, vocabulary, mode, fingerprint)
    about = {
        "format": FORMAT,
        "charrnn": __version__,
        "name": title,
        "fingerprint": fingerprint,
        "mode": mode,
        "dtype": dtype,
        "bounds": bounds,
        "sha256": digest,
        "text_sha256": text_sha256,
        "vocabulary": vocabulary.to_dict(),
    }
    write_atomically(
        made.path.with_suffix(".json"), json.dumps(about | {"digest": _digest(about)}).encode()
    )
    # Last: whatever a kill leaves is true. Equal fingerprints have equal filters; without one, sampling searches the ids.
    write_filter(
        made.path.with_suffix(".novel"),
        made.split("train"),
        vocabulary,
        made.mode,
        made.fingerprint,
    )
    made.release()
    return made


def described(ids: Path) -> dict[str, Any]:
    """The description that lies beside a file of ids. Raises CheckpointError: missing, damaged, or newer."""
    return read_json(ids.with_suffix(".json"), "a corpus of charrnn", FORMAT)


def open_corpus(folder: Path, fingerprint: Any, *, verify: bool = True) -> Corpus:
    """The corpus that build left in a run's folder. Raises CheckpointError if it is missing, damaged or newer.

    fingerprint: as a model or checkpoint names it, which is not to be trusted: it could name a file elsewhere.
    """
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{64}", fingerprint):
        raise CheckpointError(
            f"{one_line(str(folder))}: its run names no text of charrnn; use another copy of the run"
        )
    path = folder / f"{fingerprint[:16]}.ids"
    shown = one_line(str(path))
    about = described(path)
    try:
        said = about.pop("digest", None)  # absent: of a charrnn that wrote none
        if said is not None and said != _digest(about):
            raise ValueError
        vocabulary = Vocabulary.from_dict(about["vocabulary"])
        bounds = {
            name: (int(about["bounds"][name][0]), int(about["bounds"][name][1])) for name in SPLITS
        }
        dtype, ends = str(about["dtype"]), [0, *(edge for name in SPLITS for edge in bounds[name])]
        title, digest, mode = str(about["name"]), str(about["sha256"]), str(about["mode"])
        fine = (
            about["fingerprint"] == fingerprint
            and dtype in ("uint8", "uint16", "uint32")
            and mode in ("lines", "stream")
        )
        size = path.stat().st_size
    except (
        OSError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
        RecursionError,
    ):
        raise CheckpointError(
            f"{shown} is missing or damaged; start the run anew with its text"
        ) from None
    fine = (
        fine and ends == sorted(ends) and ends[::2] == [*ends[1::2], ends[-1]]
    )  # no split hides a piece of another
    if not fine or size != ends[-1] * np.dtype(dtype).itemsize or size == 0:
        raise CheckpointError(
            f"{shown} does not fit its description; start the run anew with its text"
        )
    if verify and _file_sha256(path) != digest:
        raise CheckpointError(
            f"{shown} is damaged (its SHA-256 differs); start the run anew with its text"
        )
    found = Corpus(title, path, dtype, bounds, vocabulary, mode, fingerprint)
    if verify and not _makes_sense(found):
        raise CheckpointError(
            f"{shown} does not fit its alphabet; start the run anew with its text"
        )
    return found


def _makes_sense(corpus: Corpus) -> bool:
    """Whether every id is a character's, and every line of a corpus of lines ends and is no longer than lines may be."""
    size, newline, longest = len(corpus.vocabulary), corpus.vocabulary.newline, 0
    lines = corpus.mode == "lines"
    if lines and not all(
        start == stop or corpus.ids[stop - 1] == newline for start, stop in corpus.bounds.values()
    ):
        return False
    for start in range(0, len(corpus.ids), 1 << 18):
        piece = corpus.ids[start : start + (1 << 18)]
        if int(piece.max()) >= size:
            return False
        if lines:
            ends = np.flatnonzero(piece == newline)
            edges = np.concatenate([[-1 - longest], ends, [len(piece)]])
            longest = len(piece) - 1 - int(ends[-1]) if len(ends) else longest + len(piece)
            if int(np.diff(edges).max()) - 1 > MAX_LINE:
                return False
    corpus.release()
    return True


def line_bounds(ids: np.ndarray, newline: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and length, without its newline, of each line of ids; every line ends in a newline."""
    ends = np.flatnonzero(ids == newline)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    return starts, ends - starts


def _write_stream(
    file: Output,
    found: Survey,
    settings: TextSettings,
    vocabulary: Vocabulary,
    dtype: str,
    seed: int,
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    for name, source in found.sources.items():
        for ids in _encoded(found, name, source, settings, vocabulary):
            file.write(ids.astype(dtype).data)
    lengths = {name: census.chars for name, census in found.censuses.items()}
    return _bounds(allot(lengths, settings, 2, "characters")), []


def _write_lines(
    file: Output,
    found: Survey,
    settings: TextSettings,
    vocabulary: Vocabulary,
    dtype: str,
    seed: int,
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    groups: dict[str, list[bytes]] = {}
    notes = []
    newline = np.array([vocabulary.newline], dtype).tobytes()
    for name, source in found.sources.items():
        data = b"".join(
            ids.astype(dtype).tobytes()
            for ids in _encoded(found, name, source, settings, vocabulary)
        )
        lines = _split_lines(np.frombuffer(data, dtype), int(vocabulary.newline or 0))
        full = [line for line in lines if line]
        longest = max(map(len, full), default=0) // len(newline)
        if longest > MAX_LINE:
            raise CorpusError(
                f"{source.shown} has a line of {longest:,} characters; --mode lines learns whole lines of at most "
                f"{MAX_LINE:,}: use --mode stream"
            )
        distinct = list(dict.fromkeys(full)) if settings.deduplicate else full
        if len(distinct) < len(full):
            notes.append(
                f"{len(full) - len(distinct):,} of {len(full):,} lines were repeats and are used once "
                "(--no-deduplicate keeps them)"
            )
        if len(full) < len(lines):
            notes.append(f"{len(lines) - len(full):,} blank lines left out")
        groups[name] = distinct
    unit = (
        "distinct lines (--no-deduplicate keeps repeats)"
        if any("repeats" in note for note in notes)
        else "lines"
    )
    counts = allot({name: len(lines) for name, lines in groups.items()}, settings, 1, unit)
    if "train" in groups:
        lines = groups["train"]
        order = np.random.default_rng(seed).permutation(len(lines))
        edges = np.cumsum(
            [0, *(0 if name in groups and name != "train" else counts[name] for name in SPLITS)]
        )
        for index, name in enumerate(SPLITS):
            if name == "train" or name not in groups:
                groups[name] = [lines[i] for i in order[edges[index] : edges[index + 1]]]
    lengths = {}
    for name in SPLITS:
        data = b"".join(line + newline for line in groups[name])
        lengths[name] = len(data) // len(newline)
        file.write(data)
    return _bounds(lengths), notes


def _split_lines(ids: np.ndarray, newline: int) -> list[bytes]:
    """Lines as bytes of their ids, without the newline; a last line that has none counts too."""
    ends = np.flatnonzero(ids == newline).tolist()
    if len(ids) and (not ends or ends[-1] != len(ids) - 1):
        ends.append(len(ids))
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [ids[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]


def _encoded(
    found: Survey, name: str, source: Source, settings: TextSettings, vocabulary: Vocabulary
) -> Iterator[np.ndarray]:
    digest = hashlib.sha256()
    for codes in pieces(source, settings, digest):
        yield vocabulary.lookup(codes)
    if digest.hexdigest() != found.censuses[name].sha256:
        raise CorpusError(
            f"{source.shown} changed while it was read; try again when nothing writes to it"
        )


def training_chars(found: Survey, settings: TextSettings) -> int:
    """Characters the training split will have: exactly in stream mode, about so many in lines mode."""
    return training_part(found.censuses["train"].chars, found, settings)


def training_part(total: int, found: Survey, settings: TextSettings) -> int:
    """Of so many characters or lines of a corpus, how many its training split gets."""
    return divided(total, set(found.censuses) - {"train"}, settings)["train"]


def _bounds(lengths: dict[str, int]) -> dict[str, tuple[int, int]]:
    edges = np.cumsum([0, *(lengths[name] for name in SPLITS)]).tolist()
    return {name: (edges[index], edges[index + 1]) for index, name in enumerate(SPLITS)}


def _digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()

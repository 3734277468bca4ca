"""Corpus: the ids of a text, split into train, val and test, in a memory-mapped file of a run.

    3d1acd1cbd0a86f2.ids      train | val | test: one uint8, uint16 or uint32 a character
    3d1acd1cbd0a86f2.json     the description: alphabet, bounds of the splits, digests
    3d1acd1cbd0a86f2.novel    a filter of the training split, see novelty.py
    3d1acd1cbd0a86f2.labels   where items have labels: a uint32 for each line, 0 for none

The name is the beginning of the fingerprint, a digest of content and options: a text is found again
and never confused with another. building.py makes the ids from a text.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import __version__
from charrnn.errors import CheckpointError
from charrnn.storage import (
    Output,
    make_directories,
    read_json,
    replacing,
    storage_error,
    write_atomically,
)
from charrnn.terminal import one_line
from charrnn.text.labels import first_ids
from charrnn.text.mapped import cut_short, is_shorter, mapped
from charrnn.text.novelty import write_filter
from charrnn.text.parts import ONE_TEXT, Parts, parts_of
from charrnn.text.records import longest_item
from charrnn.text.splits import SPLITS
from charrnn.text.vocabulary import Vocabulary
from charrnn.values import (
    MAX_WHOLE,
    Check,
    is_digest,
    is_list_of,
    is_one_of,
    is_table_of,
    is_text,
    is_whole,
    wrong_field,
)

FORMAT = 1
WITH_BYTES = 2  # the format of a corpus whose rare characters are bytes
WITH_SHARES = 3  # of one of several texts with shares, which older versions would not keep
PIECE_BYTES = 1 << 22  # hashed at a time
PIECE_IDS = 1 << 18  # checked at a time

# What the description of a corpus says, and must say.
FIELDS: dict[str, Check] = {
    "name": is_text(),
    "fingerprint": is_digest,
    "mode": is_one_of("lines", "stream"),
    "dtype": is_one_of("uint8", "uint16", "uint32"),
    "bounds": is_table_of(is_list_of(is_whole(0, MAX_WHOLE), 2), len(SPLITS)),
    "sha256": is_digest,
    "charrnn": is_text(),
    "text_sha256": is_table_of(is_digest, len(SPLITS)),
    "digest": is_digest,
    "labels_sha256": is_digest,  # of the labels of its lines, if they have some
}
REQUIRED = ("name", "fingerprint", "mode", "dtype", "bounds", "sha256")

Bounds = dict[str, tuple[int, int]]  # by split: where it starts and stops, in ids


class Written(NamedTuple):
    """What was written. labels: of every line, from 1 on; 0: none. None: the text has none."""

    bounds: Bounds
    labels: np.ndarray | None = None
    parts: Parts = ONE_TEXT


@dataclass(frozen=True)
class Corpus:
    """The ids of all splits, one after the other; in lines mode every line ends in a newline."""

    name: str
    path: Path
    dtype: str
    bounds: Bounds
    vocabulary: Vocabulary
    mode: str
    fingerprint: str
    parts: Parts = ONE_TEXT  # where it is of several texts

    @cached_property
    def _map(self) -> mmap.mmap:
        return mapped(self.path)

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) of the smallest unsigned type, mapped from the file."""
        return np.frombuffer(self._map, self.dtype)

    @cached_property
    def ids_per_char(self) -> float:
        """How many ids a character of the training text has: over 1 where rare ones are bytes."""
        return len(self.split("train")) / max(1, self.chars("train"))

    def chars(self, name: str) -> int:
        """Return how many characters a split has."""
        ids = self.split(name)
        if self.vocabulary.spelling is None:
            return len(ids)
        pieces = (ids[at : at + PIECE_IDS] for at in range(0, len(ids), PIECE_IDS))
        return sum(map(self.vocabulary.chars, pieces))

    def split(self, name: str) -> np.ndarray:
        """Return the ids of "train", "val" or "test" (possibly none), a view of the file."""
        start, stop = self.bounds[name]
        return self.ids[start:stop]

    @cached_property
    def labels(self) -> np.ndarray | None:
        """(lines,) uint32: 1 + the place of each line's label in the vocabulary; 0: it has none.

        None where the vocabulary has no labels.
        """
        if not self.vocabulary.labels:
            return None
        return np.fromfile(self.path.with_suffix(".labels"), "<u4")

    def labels_of(self, name: str) -> np.ndarray | None:
        """Return the labels of the lines of a split; None where the vocabulary has none."""
        if self.labels is None:
            return None
        start, stop = self.bounds[name]
        newline = self.vocabulary.newline
        before = int((self.ids[:start] == newline).sum())
        return self.labels[before : before + int((self.ids[start:stop] == newline).sum())]

    def first_ids(self, name: str) -> np.ndarray | None:
        """Return (lines,) int64: what stands before each line of a split; None: newlines."""
        labels = self.labels_of(name)
        return None if labels is None else first_ids(labels, self.vocabulary)

    def check_size(self) -> None:
        """Raise CheckpointError if the file was cut short since it was opened.

        What a page still holds behind the new end reads as zeros, in silence.
        """
        if is_shorter(self._map):
            raise cut_short(self.path)

    def lines(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return where each line of a split starts, and its length without the newline."""
        return line_bounds(self.split(name), int(self.vocabulary.newline or 0))

    def release(self) -> None:
        """Give back the memory of the pages read so far; the file is read again when needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def contains(self, ids: np.ndarray, *, whole_line: bool) -> bool:
        """Return whether the training text holds these ids, anywhere or as a line of its own."""
        size = self.ids.itemsize
        start, stop = (bound * size for bound in self.bounds["train"])
        if whole_line:
            newline = np.array([self.vocabulary.newline])
            ids = np.concatenate([newline, ids, newline])
        needle = ids.astype(self.dtype).tobytes()
        if whole_line:
            # The first line has no newline before it.
            first_line = needle[size:]
            if self._map[start : start + len(first_line)] == first_line:
                return True
        at = self._map.find(needle, start, stop)
        while at >= 0 and at % size:  # bytes of two ids side by side, not an id
            at = self._map.find(needle, at + 1, stop)
        return at >= 0


def line_bounds(ids: np.ndarray, newline: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each line of ids starts, and its length without its newline.

    Every line ends in a newline.
    """
    ends = np.flatnonzero(ids == newline)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    return starts, ends - starts


def store(
    folder: Path,
    name: str,
    fingerprint: str,
    mode: str,
    text_sha256: dict[str, str],
    vocabulary: Vocabulary,
    write: Callable[[Output], Written],
) -> Corpus:
    """Write the files of a corpus and return it.

    write: puts the ids of all splits into a file, as vocabulary.dtype, and returns their bounds,
    with the labels of their lines. Raises StorageError.
    """
    path = folder / f"{fingerprint[:16]}.ids"
    try:
        make_directories(folder)
    except OSError as error:
        raise storage_error(error, folder) from error

    # 1. The ids.
    with replacing(path) as file:
        bounds, labels, parts = write(file)
    corpus = Corpus(name, path, vocabulary.dtype, bounds, vocabulary, mode, fingerprint, parts)

    # 2. The description, in the oldest format that says all.
    plain = WITH_BYTES if vocabulary.spelling is not None else FORMAT
    about = {
        "format": WITH_SHARES if parts.shares else plain,
        "charrnn": __version__,
        "name": name,
        "fingerprint": fingerprint,
        "mode": mode,
        "dtype": corpus.dtype,
        "bounds": bounds,
        "sha256": _file_sha256(path),
        "text_sha256": text_sha256,
        "vocabulary": vocabulary.to_dict(),
    }
    if labels is not None:
        labels_path = path.with_suffix(".labels")
        write_atomically(labels_path, labels.astype("<u4").tobytes())
        about["labels_sha256"] = _file_sha256(labels_path)
    if parts:
        about["parts"] = parts.to_dict()
    description = json.dumps(about | {"digest": _digest(about)})
    write_atomically(path.with_suffix(".json"), description.encode())

    # 3. The filter, last: whatever a kill leaves is true. Equal fingerprints have equal filters;
    # without a filter, sampling searches the ids.
    write_filter(path.with_suffix(".novel"), corpus.split("train"), vocabulary, mode, fingerprint)
    corpus.release()
    return corpus


def described(ids: Path) -> dict[str, Any]:
    """Return the description that lies beside a file of ids.

    Raises CheckpointError if it is missing, damaged or newer.
    """
    return read_json(ids.with_suffix(".json"), "a corpus of charrnn", WITH_SHARES)


def open_corpus(folder: Path, fingerprint: Any, *, verify: bool = True) -> Corpus:
    """Open the corpus that `store` left in a run's folder.

    fingerprint: from a model or a checkpoint. It is not to be trusted: it could name a file
    elsewhere. verify: read all ids and check them.
    Raises CheckpointError if the corpus is missing, damaged or newer.
    """
    # 1. The names of its files.
    if not is_digest(fingerprint):
        raise CheckpointError(
            f"{one_line(str(folder))}: its run names no text of charrnn; "
            "use another copy of the run"
        )
    path = folder / f"{fingerprint[:16]}.ids"
    shown = one_line(str(path))

    # 2. Its description.
    about = described(path)
    try:
        stored_digest = about.pop("digest", None)  # early versions wrote none
        if stored_digest is not None and stored_digest != _digest(about):
            raise ValueError
        corpus = _from_description(about, path)
        ids_sha256 = about["sha256"]
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
            f"{shown} is missing or damaged; start a new run with its text"
        ) from None
    if corpus.fingerprint != fingerprint or not _fits_size(corpus, size):
        raise CheckpointError(
            f"{shown} does not fit its description; start a new run with its text"
        )

    # 3. Its ids, and the labels of its lines.
    if verify and _file_sha256(path) != ids_sha256:
        raise CheckpointError(
            f"{shown} is damaged (its SHA-256 differs); start a new run with its text"
        )
    if verify and not _makes_sense(corpus):
        raise CheckpointError(f"{shown} does not fit its alphabet; start a new run with its text")
    if corpus.vocabulary.labels and not _has_labels(corpus, about.get("labels_sha256")):
        raise CheckpointError(
            f"{one_line(str(path.with_suffix('.labels')))} is missing or damaged; "
            "start a new run with its text"
        )
    return corpus


def _from_description(about: dict[str, Any], path: Path) -> Corpus:
    """Return the corpus that a description tells of. Raises whatever a damaged one may raise."""
    if wrong_field(about, FIELDS, REQUIRED) is not None:
        raise ValueError
    bounds = about["bounds"]
    lengths = {name: bounds[name][1] - bounds[name][0] for name in SPLITS}
    return Corpus(
        name=about["name"],
        path=path,
        dtype=about["dtype"],
        bounds={name: (bounds[name][0], bounds[name][1]) for name in SPLITS},
        vocabulary=Vocabulary.from_dict(about["vocabulary"]),
        mode=about["mode"],
        fingerprint=about["fingerprint"],
        parts=parts_of(about.get("parts"), lengths),
    )


def _fits_size(corpus: Corpus, size: int) -> bool:
    """Return whether the description of a corpus is possible for a file of `size` bytes."""
    edges = [edge for name in SPLITS for edge in corpus.bounds[name]]
    starts = edges[::2]
    stops = edges[1::2]
    # Each split begins where the one before ends: none hides a piece of another.
    if edges != sorted(edges) or starts != [0, *stops[:-1]]:
        return False
    return size > 0 and size == stops[-1] * np.dtype(corpus.dtype).itemsize


def _makes_sense(corpus: Corpus) -> bool:
    """Return whether every id is a character's and every line of a corpus of lines is a line.

    A line ends in a newline, and is no longer than MAX_LINE.
    """
    newline = corpus.vocabulary.newline
    has_lines = corpus.mode == "lines"
    if has_lines:
        for start, stop in corpus.bounds.values():
            if start < stop and corpus.ids[stop - 1] != newline:
                return False
    open_line = 0  # ids since the last newline
    for start in range(0, len(corpus.ids), PIECE_IDS):
        piece = corpus.ids[start : start + PIECE_IDS]
        if int(piece.max()) >= len(corpus.vocabulary):
            return False
        if has_lines:
            ends = np.flatnonzero(piece == newline)
            edges = np.concatenate([[-1 - open_line], ends, [len(piece)]])
            if int(np.diff(edges).max()) - 1 > longest_item(corpus.vocabulary):
                return False
            open_line = len(piece) - 1 - int(edges[-2])
    corpus.release()
    return True


def _has_labels(corpus: Corpus, sha256: object) -> bool:
    """Return whether the file of labels is there, whole, and fits the lines and the vocabulary."""
    path = corpus.path.with_suffix(".labels")
    try:
        lines = int((corpus.ids == corpus.vocabulary.newline).sum())
        if corpus.mode != "lines" or path.stat().st_size != 4 * lines:
            return False
        if _file_sha256(path) != sha256:
            return False
    except OSError:
        return False
    assert corpus.labels is not None
    return int(corpus.labels.max(initial=0)) <= len(corpus.vocabulary.labels)


def _digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(PIECE_BYTES):
            digest.update(data)
    return digest.hexdigest()

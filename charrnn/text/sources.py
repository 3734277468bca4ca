"""Where a text comes from: a file, a folder, a stream, or a corpus that comes with charrnn.

Several texts are one source, with a part for each.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import os
import re
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, SettingsError
from charrnn.layers import shipped, shipped_names
from charrnn.terminal import one_line
from charrnn.text.containers import unpacked
from charrnn.text.shares import check_shares, note_of

PIECE_BYTES = 1 << 22
MOST_NAMED = 3  # texts that the name of a run, or a message, names


@dataclass(frozen=True)
class Source:
    """Where a text comes from: a file, a directory's files in name order, or a spooled stream."""

    name: str  # of the corpus, and so of the run
    shown: str  # in messages
    paths: tuple[Path, ...] = ()
    spooled: BinaryIO | None = None
    separators: tuple[str, ...] = ()  # one before each file of a directory, to show the joints
    parts: tuple[Part, ...] = ()  # of several texts
    notes: tuple[str, ...] = ()  # for the person
    place: tuple[int, int] = (0, 1)  # among several texts: its number, and how many they are

    @property
    def texts(self) -> list[Source]:
        """The texts that this one is made of: itself, where it is one."""
        return [part.source for part in self.parts] or [self]

    @property
    def has_directory(self) -> bool:
        """Whether a text is the files of a directory."""
        return any(source.separators for source in self.texts)

    def reading_of(self, text: Source, settings: TextSettings) -> TextSettings:
        """Return the settings that one of the texts is read with."""
        return next((part.read(settings) for part in self.parts if part.source is text), settings)

    def open(self, *, as_is: bool = False) -> Iterator[tuple[str, bytes, BinaryIO]]:
        """Yield the shown name, the separator and the opened stream of each part.

        as_is: gzip is not unpacked.
        """
        if self.parts:
            for part in self.parts:
                yield from part.source.open(as_is=as_is)
            return
        if self.spooled is not None:
            self.spooled.seek(0)
            yield self.shown, b"", self.spooled if as_is else unpacked(self.spooled)
            return
        for index, path in enumerate(self.paths):
            shown = one_line(str(path))
            separator = self.separators[index].encode() if self.separators else b""
            try:
                with open(path, "rb") as file:
                    yield shown, separator, file if as_is else unpacked(file)
            except OSError as error:
                raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None


@dataclass(frozen=True)
class Part:
    """One of several texts. share: as it was asked for; None: what it has.

    reading: settings of its own, in place of those of all.
    """

    source: Source
    share: float | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    def read(self, settings: TextSettings) -> TextSettings:
        """Return the settings that this text is read with."""
        return replace(settings, **self.reading)


def digest_of(source: Source) -> str:
    """Return the SHA-256 of a text's bytes, as reading.pieces feeds them to its digest."""
    if source.parts:
        return joined_digest([digest_of(part.source) for part in source.parts])
    digest = hashlib.sha256()
    for shown, separator, stream in source.open():
        digest.update(separator)
        try:
            while data := stream.read(PIECE_BYTES):
                digest.update(data)
        except OSError as error:
            raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None
    return digest.hexdigest()


def joined_digest(digests: Sequence[str]) -> str:
    """Return the SHA-256 of several texts, from theirs."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def find_source(corpus: str | Source | None, settings: TextSettings) -> tuple[Source, str]:
    """Return the text that CORPUS names, and a note for the person ("" if there is none).

    corpus: None (the shipped names), "-" (standard input), a file, a directory, the name of a
    shipped corpus, or a text that has been found already. Raises CorpusError; SettingsError where
    standard input is closed.
    """
    if isinstance(corpus, Source):
        return corpus, ""
    if corpus == "-":
        if sys.stdin is None:  # the shell's <&-
            raise SettingsError("- reads standard input, but it is closed; name a file")
        return _spool(sys.stdin.buffer, "standard input", settings.max_bytes, "stdin"), ""
    if corpus is None:
        return _shipped_source(Path("names"), None)
    if re.match(r"[a-z][a-z0-9+.-]*://", corpus, re.IGNORECASE):
        raise CorpusError(_no_address(corpus))
    path = Path(corpus)
    shown = one_line(str(path))
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"cannot read {shown}: {reason}") from None
    if not mode:
        return _shipped_source(path, corpus)
    if stat.S_ISDIR(mode):
        if is_run(path):
            raise CorpusError(
                f"{shown} is a run, and no text; to go on with it: "
                f"charrnn train --resume --run {shlex.quote(shown)}"
            )
        return _directory(path, settings), ""
    if not stat.S_ISREG(mode):
        try:
            with open(path, "rb") as stream:
                return _spool(stream, shown, settings.max_bytes, _pipe_name(path)), ""
        except OSError as error:  # a socket, or no permission
            raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None
    return Source(Path(path.name.removesuffix(".gz")).stem, shown, (path,)), ""


def find_several(texts: Sequence[tuple[str, float | None]], settings: TextSettings) -> Source:
    """Return several texts as one. texts: each as find_source takes it, and its share.

    Raises CorpusError; SettingsError for shares that cannot be, or encodings of another number.
    """
    # 1. What was typed
    check_shares([share for _, share in texts])
    encodings = settings.encoding.split(",")
    if len(encodings) not in (1, len(texts)):
        raise SettingsError(
            f"--encoding {one_line(settings.encoding)} names {len(encodings)} encodings for "
            f"{len(texts)} texts; give one for each, in their order"
        )

    # 2. The texts
    notes: list[str] = []
    parts: list[Part] = []
    for number, (corpus, share) in enumerate(texts):
        source, note = find_source(corpus, settings)
        notes += [note] if note else []
        encoding = encodings[min(number, len(encodings) - 1)]
        source = replace(source, place=(number, len(texts)))
        parts.append(Part(source, share, {"encoding": encoding}))
    known: set[tuple[Path, ...]] = set()
    for part in parts:
        files = tuple(path.resolve() for path in part.source.paths)
        if files and files in known:
            name = part.source.shown
            raise SettingsError(f"{name} is named twice; name it once, with a share: {name}:2")
        known.add(files)

    # 3. Their names
    stems = [part.source.name for part in parts]
    for index, part in enumerate(parts):
        if stems.count(stems[index]) > 1:  # input.txt of two folders
            parts[index] = replace(part, source=replace(part.source, name=part.source.shown))
    shares = [part.share for part in parts]
    note = note_of([part.source.name for part in parts], shares)
    return Source(
        _listed(stems, "-", "-and-{}-more"),
        _listed([part.source.shown for part in parts], ", ", " and {} more"),
        tuple(path for part in parts for path in part.source.paths),
        parts=tuple(parts),
        notes=(*notes, *([note] if note else [])),
    )


def with_encoding(source: Source, encoding: str) -> Source:
    """Return a text that is read with this encoding, whatever that of the others is."""
    return replace(source, parts=(Part(source, reading={"encoding": encoding}),), spooled=None)


def _listed(names: Sequence[str], between: str, more: str) -> str:
    """Return the names of some texts, the first of many."""
    if len(names) <= MOST_NAMED:
        return between.join(names)
    return names[0] + more.format(len(names) - 1)


def is_read_once(corpus: str | None) -> bool:
    """Return whether CORPUS names standard input, a pipe or a device: its text comes only once."""
    if corpus is None or corpus == "-":
        return corpus == "-"
    path = Path(corpus)
    return path.exists() and not path.is_file() and not path.is_dir()


def _pipe_name(path: Path) -> str:
    """Return the name of a pipe's text: of the shell's <(...) only a number is known."""
    return "pipe" if path.parent.name == "fd" else path.stem


def _shipped_source(path: Path, corpus: str | None) -> tuple[Source, str]:
    """Return the shipped corpus that a missing path names, and a note. Raises CorpusError."""
    stem = path.name.removesuffix(".txt")
    file = shipped("corpora", f"{stem}.txt")
    if file is None or (path.parent != Path(".") and path.suffix != ".txt"):
        raise CorpusError(missing_file(path))
    note = ""
    if corpus not in (None, stem):
        note = f"no file {one_line(str(path))} here: training on the {stem} that come with charrnn"
    return Source(stem, f"{stem} (shipped)", (file,)), note


def _no_address(corpus: str) -> str:
    """Say how to get a text that lies behind an address."""
    shown = one_line(corpus)
    name = re.sub(r"[^\w.-]+", "-", corpus.split("://")[1].rstrip("/").rpartition("/")[2]) or "text"
    if corpus.lower().startswith("file://"):
        return f"{shown} is an address; name the file itself"
    return (
        f"{shown} is an address, and charrnn opens no connections; fetch the text first: "
        f"curl -L -o {name} {shlex.quote(shown)}"
    )


def missing_file(path: Path) -> str:
    """Say that a file is missing, with the names most like it."""
    near: list[str] = []
    with contextlib.suppress(OSError):
        names = [entry.name for entry in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, names[:10_000], 3, 0.6)
    hint = f"; near it: {', '.join(map(one_line, near))}" if near else ""
    known = ", ".join(shipped_names("corpora"))
    return f"no file {one_line(str(path))}{hint}; corpora that come with charrnn: {known}"


def _directory(path: Path, settings: TextSettings) -> Source:
    """Return the files of a directory that match the pattern, hidden ones left out."""
    pattern = settings.glob
    shown = one_line(str(path))
    try:
        matches = (item for item in path.glob(pattern) if item.is_file())
        visible = sorted(item for item in matches if not _is_hidden(item.relative_to(path)))
    except (ValueError, NotImplementedError, OSError) as error:
        raise CorpusError(f"--glob {one_line(pattern)!r}: {error}") from None
    files = _outside_runs(visible, path)
    if not files:
        raise CorpusError(
            f"no file in {shown} matches --glob {one_line(pattern)!r}; '**/*' takes all below it"
        )
    headings: list[str] = []
    for file in files:
        name = one_line(file.relative_to(path).as_posix()).encode("utf-8", "replace").decode()
        headings.append(f"==> {name} <==\n")
    if not settings.headings or settings.label:  # a heading is no item
        headings = [""] * len(files)
    separators = [headings[0], *(f"\n{heading}" for heading in headings[1:])]
    return Source(
        path.resolve().name or "corpus",
        f"{shown} ({len(files)} files)",
        tuple(files),
        separators=tuple(separators),
    )


def is_run(folder: Path) -> bool:
    """Return whether a directory is a run of charrnn: what it wrote is no text to learn."""
    return (folder / "checkpoints").is_dir() and (folder / "corpus").is_dir()


def _outside_runs(files: list[Path], root: Path) -> list[Path]:
    """Return the files that lie in no run below root: samples.txt is no text of a person."""
    runs: dict[Path, bool] = {root: False}

    def in_run(folder: Path) -> bool:
        if folder not in runs:
            runs[folder] = is_run(folder) or in_run(folder.parent)
        return runs[folder]

    return [file for file in files if not in_run(file.parent)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def typed_source(text: str, name: str) -> Source:
    """Return a text that stands in memory, under a name for its run."""
    return Source(name, name, spooled=io.BytesIO(text.encode("utf-8", "surrogatepass")))


def _spool(stream: BinaryIO, shown: str, limit: int, name: str) -> Source:
    """Put a stream that can be read only once in a temporary file."""
    spooled = tempfile.TemporaryFile()
    size = 0
    try:
        while data := stream.read(PIECE_BYTES):
            size += len(data)
            if size > limit:
                raise CorpusError(
                    f"{shown} has more than {limit:,} bytes; save it to a file, "
                    "or raise --max-bytes"
                )
            spooled.write(data)
    except OSError as error:
        raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None
    return Source(name, shown, spooled=spooled)

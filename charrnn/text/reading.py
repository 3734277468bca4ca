"""Text files -> codes (code points or bytes), in pieces of flat memory.

Decodes, translates line ends and normalises. It knows no splits and counts nothing: see census.py.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import hashlib
import io
import os
import shlex
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, SettingsError, VocabularyError
from charrnn.layers import shipped, shipped_names
from charrnn.terminal import one_line
from charrnn.text.encodings import advice
from charrnn.text.vocabulary import Vocabulary

PIECE_BYTES = 1 << 22
MAX_CODE = 0x110000


@dataclass(frozen=True)
class Source:
    """Where a text comes from: a file, a directory's files in name order, or a spooled stream."""

    name: str  # of the corpus, and so of the run
    shown: str  # in messages
    paths: tuple[Path, ...] = ()
    spooled: BinaryIO | None = None
    separators: tuple[str, ...] = ()  # one before each file of a directory, to show the joints

    def open(self) -> Iterator[tuple[str, bytes, BinaryIO]]:
        """Yield the shown name, the separator and the opened stream of each part."""
        if self.spooled is not None:
            self.spooled.seek(0)
            yield self.shown, b"", self.spooled
            return
        for index, path in enumerate(self.paths):
            shown = one_line(str(path))
            separator = self.separators[index].encode() if self.separators else b""
            try:
                with open(path, "rb") as file:
                    yield shown, separator, file
            except OSError as error:
                raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None


def find_source(corpus: str | None, settings: TextSettings) -> tuple[Source, str]:
    """Return the text that CORPUS names, and a note for the person ("" if there is none).

    corpus: None (the shipped names), "-" (standard input), a file, a directory, or the name of a
    shipped corpus. Raises CorpusError; SettingsError where standard input is closed.
    """
    if corpus == "-":
        if sys.stdin is None:  # the shell's <&-
            raise SettingsError("- reads standard input, but it is closed; name a file")
        return _spool(sys.stdin.buffer, "standard input", settings.max_bytes, "stdin"), ""
    if corpus is None:
        return _shipped_source(Path("names"), None)
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
        return _directory(path, settings.glob), ""
    if not stat.S_ISREG(mode):
        try:
            with open(path, "rb") as stream:
                return _spool(stream, shown, settings.max_bytes, path.stem), ""
        except OSError as error:  # a socket, or no permission
            raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None
    return Source(path.stem, shown, (path,)), ""


def pieces(
    source: Source, settings: TextSettings, digest: hashlib._Hash | None = None
) -> Iterator[np.ndarray]:
    """Yield the text's codes (uint8 or uint32), a few megabytes at a time.

    digest: is fed the bytes that the codes come from.
    Raises CorpusError, which names the first byte that does not decode.
    """
    for shown, separator, stream in source.open():
        if digest is not None:
            digest.update(separator)
        if settings.unit == "byte":
            if separator:
                yield np.frombuffer(separator, np.uint8)
            for data in _byte_line_ends(_raw(stream, shown, digest), settings):
                yield np.frombuffer(data, np.uint8)
            continue
        if separator:
            yield _codes(separator.decode(), shown)
        texts = _decoded(_raw(stream, shown, digest), shown, settings, stream)
        for text in _normalized(_line_ends(texts, settings), settings):
            if text:
                yield _codes(text, shown)


def digest_of(source: Source) -> str:
    """Return the SHA-256 of a text's bytes, as `pieces` feeds them to its digest."""
    digest = hashlib.sha256()
    for shown, separator, stream in source.open():
        digest.update(separator)
        for _ in _raw(stream, shown, digest):
            pass
    return digest.hexdigest()


def prepare(text: str, settings: TextSettings) -> str:
    """Give a prompt or a text to score the line ends and the normalisation of the corpus."""
    if settings.unit == "byte":
        data = text.encode("utf-8", "surrogateescape")
        return prepare_bytes(data, settings).decode("utf-8", "surrogateescape")
    return "".join(_normalized(_line_ends(iter([text]), settings), settings))


def prepare_bytes(data: bytes, settings: TextSettings) -> bytes:
    """Give the bytes of a prompt the line ends of the corpus."""
    return b"".join(_byte_line_ends(iter([data]), settings))


def encode_text(
    text: str, settings: TextSettings, vocabulary: Vocabulary, unknown: str, where: str
) -> tuple[np.ndarray, int]:
    """Return the ids of a typed text, and how many characters were left out or replaced.

    Raises VocabularyError.
    """
    prepared = prepare(text, settings)
    missing = int((vocabulary.lookup(vocabulary.codes(prepared)) < 0).sum())
    return vocabulary.encode(prepared, unknown=unknown, where=where), missing


def encode_file(
    path: Path, settings: TextSettings, vocabulary: Vocabulary, unknown: str
) -> tuple[np.ndarray, int]:
    """Return the ids of a file, and how many of its characters were left out or replaced.

    The ids have the vocabulary's smallest type: about one byte a character. "-" is standard input.
    Raises CorpusError and VocabularyError.
    """
    # 1. Find the text. A path that is not there is never taken for a shipped corpus of that name.
    with contextlib.suppress(OSError):  # find_source reports it
        if str(path) != "-" and not path.exists():
            raise CorpusError(_missing(path).partition("; corpora that come")[0])
    source, _ = find_source(str(path), settings)

    # 2. Look up its codes; count unknown ones, and note where the first stands.
    refuses = unknown == "error" or (unknown == "replace" and vocabulary.substitute is None)
    parts: list[np.ndarray] = []
    missing = np.zeros(MAX_CODE, np.int64)  # by code
    first = -1
    position = 0
    for codes in pieces(source, settings):
        ids = vocabulary.lookup(codes)
        is_unknown = ids < 0
        if is_unknown.any():
            counts = np.bincount(codes[is_unknown])
            missing[: len(counts)] += counts
            if first < 0:
                first = position + int(np.argmax(is_unknown))
            if not refuses:
                ids = vocabulary.replaced(ids, unknown)
        position += len(codes)
        if not (refuses and first >= 0):
            parts.append(ids.astype(vocabulary.dtype))

    # 3. Refuse them, or hand the ids over.
    if refuses and first >= 0:
        distinct = np.flatnonzero(missing)
        explained = vocabulary.explain_unknown(distinct, missing[distinct], source.shown, first)
        raise VocabularyError(f"{explained}; pass --unknown skip")
    ids = np.concatenate(parts) if parts else np.zeros(0, vocabulary.dtype)
    return ids, int(missing.sum())


def _shipped_source(path: Path, corpus: str | None) -> tuple[Source, str]:
    """Return the shipped corpus that a missing path names, and a note. Raises CorpusError."""
    stem = path.name.removesuffix(".txt")
    file = shipped("corpora", f"{stem}.txt")
    if file is None or (path.parent != Path(".") and path.suffix != ".txt"):
        raise CorpusError(_missing(path))
    note = ""
    if corpus not in (None, stem):
        note = f"no file {one_line(str(path))} here: training on the {stem} that come with charrnn"
    return Source(stem, f"{stem} (shipped)", (file,)), note


def _missing(path: Path) -> str:
    """Say that a file is missing, with the names most like it."""
    near: list[str] = []
    with contextlib.suppress(OSError):
        names = [entry.name for entry in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, names[:10_000], 3, 0.6)
    hint = f"; near it: {', '.join(map(one_line, near))}" if near else ""
    known = ", ".join(shipped_names("corpora"))
    return f"no file {one_line(str(path))}{hint}; corpora that come with charrnn: {known}"


def _directory(path: Path, pattern: str) -> Source:
    """Return the files of a directory that match a pattern, hidden ones left out."""
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


def _raw(stream: BinaryIO, shown: str, digest: hashlib._Hash | None) -> Iterator[bytes]:
    """Yield the bytes of a stream in pieces, and feed them to the digest."""
    try:
        while data := stream.read(PIECE_BYTES):
            if digest is not None:
                digest.update(data)
            yield data
    except OSError as error:
        raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None


def _decoded(
    raw: Iterator[bytes], shown: str, settings: TextSettings, stream: BinaryIO
) -> Iterator[str]:
    """Yield decoded text. One byte order mark at the very start is dropped, later ones are kept.

    stream: where raw comes from. It is read once more when it does not decode, for advice.
    """
    decoder = codecs.getincrementaldecoder(settings.encoding)(settings.errors)
    # These encodings drop the mark themselves.
    drops_mark = codecs.lookup(settings.encoding).name in ("utf-16", "utf-32", "utf-8-sig")
    at_start = not drops_mark
    consumed = 0  # bytes before this piece
    pending = 0  # of them, bytes of a character that is not complete
    newlines = 0
    for data in _then_none(raw):
        try:
            text = decoder.decode(data or b"", final=data is None)
        except UnicodeDecodeError as error:
            offset = consumed - pending + error.start
            line = newlines + error.object[: error.start].count(b"\n") + 1
            byte = error.object[error.start]
            raise CorpusError(
                f"{shown}: byte 0x{byte:02x} at offset {offset}, line {line}, "
                f"is not {settings.encoding}; pass {advice(stream, settings.encoding)}"
            ) from None
        except (UnicodeError, ValueError) as error:
            raise CorpusError(
                f"{shown} is not {settings.encoding}: {one_line(str(error))}"
            ) from None
        state = decoder.getstate()[0]
        pending = len(state) if isinstance(state, bytes) else 0
        consumed += len(data or b"")
        newlines += text.count("\n")
        if at_start and text:
            text = text.removeprefix("\ufeff")
            at_start = False
        yield text


def _then_none(raw: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from raw
    yield None


def _line_ends(texts: Iterator[str], settings: TextSettings) -> Iterator[str]:
    """Yield the texts with CR and CRLF turned into LF, where the settings say so."""
    if settings.newlines != "lf":
        yield from texts
        return
    # The decoder holds a CR back until it sees what follows.
    translator = io.IncrementalNewlineDecoder(None, translate=True)
    for text in texts:
        yield translator.decode(text)
    yield translator.decode("", final=True)


def _byte_line_ends(raw: Iterator[bytes], settings: TextSettings) -> Iterator[bytes]:
    """Yield the bytes with CR and CRLF turned into LF, where the settings say so."""
    if settings.newlines != "lf":
        yield from raw
        return
    texts = (data.decode("latin-1") for data in raw)
    for text in _line_ends(texts, settings):
        if text:
            yield text.encode("latin-1")


def _normalized(texts: Iterator[str], settings: TextSettings) -> Iterator[str]:
    """Yield the texts in the normal form of the settings."""
    if settings.normalize == "none":
        yield from texts
        return
    form: Literal["NFC", "NFD"] = "NFC" if settings.normalize == "nfc" else "NFD"
    held = ""
    for text in texts:
        held += text
        # A newline or a space never composes with what stands before it: a cut is safe there.
        cut = max(held.rfind("\n"), held.rfind(" "))
        if cut > 0:
            yield unicodedata.normalize(form, held[:cut])
            held = held[cut:]
    yield unicodedata.normalize(form, held)


def _codes(text: str, shown: str) -> np.ndarray:
    """Return the code points of a text: uint8 if it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    try:
        return np.frombuffer(text.encode("utf-32-le"), np.uint32)
    except UnicodeEncodeError as error:  # some encodings, such as utf-7, let surrogates through
        code = ord(text[error.start])
        raise CorpusError(
            f"{shown} has a lone surrogate U+{code:04X}, which is no character; "
            "is --encoding right?"
        ) from None

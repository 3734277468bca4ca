"""Text files -> codes (code points or bytes), in pieces of flat memory: decoding, line ends, normalisation.

Knows nothing of vocabularies and splits: see corpus.py.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import hashlib
import io
import os
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, VocabularyError
from charrnn.layers import shipped, shipped_names
from charrnn.terminal import one_line
from charrnn.text.encodings import advice
from charrnn.text.vocabulary import NEWLINE, Vocabulary

PIECE_BYTES = 1 << 22
MAX_CODE = 0x110000
RETURN = 13
_LONG_LINE = 1024  # line lengths are counted up to here


@dataclass(frozen=True)
class Source:
    """Where a text comes from: one file, or a directory's files in name order, or a spooled stream."""

    name: str  # of the corpus, and so of the run
    shown: str  # in messages
    paths: tuple[Path, ...] = ()
    spooled: BinaryIO | None = None
    separators: tuple[
        str, ...
    ] = ()  # before each file of a directory, so that the joints can be seen

    def open(self) -> Iterator[tuple[str, bytes, BinaryIO]]:
        """(shown name, separator, stream at its start) of each part."""
        if self.spooled is not None:
            self.spooled.seek(0)
            yield self.shown, b"", self.spooled
            return
        for index, path in enumerate(self.paths):
            shown = one_line(str(path))
            try:
                with open(path, "rb") as file:
                    yield shown, self.separators[index].encode() if self.separators else b"", file
            except OSError as error:
                raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None


@dataclass
class Census:
    """What one pass over a text found."""

    shown: str
    counts: np.ndarray = field(default_factory=lambda: np.zeros(MAX_CODE, np.int64))  # by code
    chars: int = 0
    carriage_returns: int = 0
    crlf: int = 0  # of them stand before a newline
    lines: int = 0  # newlines, and a last line without one
    last: int = 0  # the last code
    line_lengths: np.ndarray = field(default_factory=lambda: np.zeros(_LONG_LINE + 1, np.int64))
    indented: int = 0  # lines that begin with a space or a tab
    sha256: str = ""

    @property
    def blank_share(self) -> float:
        return float(self.line_lengths[0]) / max(1, self.lines)

    @property
    def median_line(self) -> int:
        return int(np.searchsorted(np.cumsum(self.line_lengths), self.line_lengths.sum() / 2))

    @property
    def long_share(self) -> float:
        """Share of lines of more than 64 characters."""
        return float(self.line_lengths[65:].sum()) / max(1, self.lines)


def find_source(corpus: str | None, settings: TextSettings) -> tuple[Source, str]:
    """The text that CORPUS names, and a note for the person ("" if it is just what they typed).

    None: the shipped names; "-": standard input; a file or a directory; or a shipped corpus by name.
    Raises CorpusError.
    """
    if corpus == "-":
        return _spool(sys.stdin.buffer, "standard input", settings.max_bytes, "stdin"), ""
    path = Path("names" if corpus is None else corpus)
    shown = one_line(str(path))
    try:
        mode = 0 if corpus is None else os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"cannot read {shown}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if not mode:
        stem = path.name.removesuffix(".txt")
        known = shipped("corpora", f"{stem}.txt")
        if known is None or (path.parent != Path(".") and path.suffix != ".txt"):
            raise CorpusError(_missing(path))
        note = (
            ""
            if corpus in (None, stem)
            else f"no file {shown} here: training on the {stem} that come with charrnn"
        )
        return Source(stem, f"{stem} (shipped)", (known,)), note
    if stat.S_ISDIR(mode):
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
    """The text's codes (uint8 or uint32), a few megabytes at a time. digest is fed what the codes come from.

    Raises CorpusError naming the first byte that does not decode.
    """
    for shown, separator, stream in source.open():
        if digest is not None:
            digest.update(separator)
        if settings.unit == "byte":
            raw = _raw(stream, shown, digest)
            yield from (np.frombuffer(piece, np.uint8) for piece in _with_separator(separator, raw))
            continue
        if separator:
            yield _codes(separator.decode(), shown)
        texts = _decoded(_raw(stream, shown, digest), shown, settings, stream)
        for text in _normalized(_line_ends(texts, settings), settings):
            if text:
                yield _codes(text, shown)


def take_census(source: Source, settings: TextSettings) -> Census:
    """Read a text once: its characters, line lengths and SHA-256. Memory does not grow with the text."""
    census = Census(source.shown)
    digest = hashlib.sha256()
    open_line = 0  # characters since the last newline
    previous = NEWLINE
    for codes in pieces(source, settings, digest):
        counts = np.bincount(codes)
        census.counts[: len(counts)] += counts
        census.chars += len(codes)
        ends = np.flatnonzero(codes == NEWLINE)
        if len(ends):
            lengths = np.diff(ends, prepend=-1) - 1
            lengths[0] += open_line
            crlf = codes[ends - 1] == RETURN  # not counted: a line of CRLF alone is blank
            if ends[0] == 0:
                crlf[0] = previous == RETURN
            lengths -= crlf
            census.crlf += int(crlf.sum())
            census.line_lengths += np.bincount(
                np.minimum(lengths, _LONG_LINE), minlength=_LONG_LINE + 1
            )
            open_line = len(codes) - int(ends[-1]) - 1
        else:
            open_line += len(codes)
        census.lines += len(ends)
        starts = ends[ends + 1 < len(codes)] + 1
        first = [codes[0]] if previous == NEWLINE else []
        census.indented += int(np.isin(np.concatenate([codes[starts], first]), (0x20, 0x09)).sum())
        previous = int(codes[-1])
    if open_line:
        census.lines += 1
        census.line_lengths[min(open_line, _LONG_LINE)] += 1
    census.carriage_returns, census.last = int(census.counts[RETURN]), previous
    census.sha256 = digest.hexdigest()
    if census.chars == 0:
        raise CorpusError(
            f"{source.shown} is empty; give a text with at least a few hundred characters"
        )
    return census


def prepare(text: str, settings: TextSettings) -> str:
    """A prompt or a text to score, with the line ends and the normalisation of the corpus."""
    return "".join(_normalized(_line_ends(iter([text]), settings), settings))


def encode_text(
    text: str, settings: TextSettings, vocabulary: Vocabulary, unknown: str, where: str
) -> tuple[np.ndarray, int]:
    """Ids of a text somebody typed, and how many of its characters were left out or replaced. Raises VocabularyError."""
    prepared = prepare(text, settings)
    missing = int((vocabulary.lookup(vocabulary.codes(prepared)) < 0).sum())
    return vocabulary.encode(prepared, unknown=unknown, where=where), missing


def encode_file(
    path: Path, settings: TextSettings, vocabulary: Vocabulary, unknown: str
) -> tuple[np.ndarray, int]:
    """Ids of a file, in the vocabulary's smallest type, about one byte a character; and how many characters were left out
    or replaced. "-" is standard input. Raises CorpusError.
    """
    with contextlib.suppress(OSError):  # of which find_source tells
        if str(path) != "-" and not path.exists():
            raise CorpusError(
                _missing(path).partition("; corpora that come")[0]
            )  # never a shipped corpus of that name
    source, _ = find_source(str(path), settings)
    dtype = next(
        kind for kind in ("uint8", "uint16", "uint32") if len(vocabulary) <= np.iinfo(kind).max + 1
    )
    parts, missing = [], np.zeros(MAX_CODE, np.int64)
    first, position = -1, 0
    refused = unknown == "error" or (unknown == "replace" and vocabulary.substitute is None)
    for codes in pieces(source, settings):
        ids = vocabulary.lookup(codes)
        unknown_here = ids < 0
        if unknown_here.any():
            counts = np.bincount(codes[unknown_here])
            missing[: len(counts)] += counts
            first = position + int(np.argmax(unknown_here)) if first < 0 else first
            if not refused:
                ids = vocabulary.replaced(ids, unknown)
        position += len(codes)
        if not (refused and first >= 0):
            parts.append(ids.astype(dtype))
    if refused and first >= 0:
        distinct = np.flatnonzero(missing)
        explained = vocabulary.explain_unknown(distinct, missing[distinct], source.shown, first)
        raise VocabularyError(f"{explained}; pass --unknown skip")
    return np.concatenate(parts) if parts else np.zeros(0, dtype), int(missing.sum())


def _missing(path: Path) -> str:
    near: list[str] = []
    with contextlib.suppress(OSError):
        near = difflib.get_close_matches(
            path.name, [entry.name for entry in path.parent.iterdir()][:10_000], 3, 0.6
        )
    hint = f"; near it: {', '.join(map(one_line, near))}" if near else ""
    return f"no file {one_line(str(path))}{hint}; corpora that come with charrnn: {', '.join(shipped_names('corpora'))}"


def _directory(path: Path, pattern: str) -> Source:
    shown = one_line(str(path))
    try:
        files = (item for item in path.glob(pattern) if item.is_file())
        found = sorted(
            item
            for item in files
            if not any(part.startswith(".") for part in item.relative_to(path).parts)
        )
    except (ValueError, NotImplementedError, OSError) as error:
        raise CorpusError(f"--glob {one_line(pattern)!r}: {error}") from None
    if not found:
        raise CorpusError(
            f"no file in {shown} matches --glob {one_line(pattern)!r}; '**/*' takes all below it"
        )
    names = [
        one_line(item.relative_to(path).as_posix()).encode("utf-8", "replace").decode()
        for item in found
    ]
    separators = tuple(
        f"{chr(10) if index else ''}==> {name} <==\n" for index, name in enumerate(names)
    )
    return Source(
        path.resolve().name or "corpus",
        f"{shown} ({len(found)} files)",
        tuple(found),
        separators=separators,
    )


def _spool(stream: BinaryIO, shown: str, limit: int, name: str) -> Source:
    """A stream that can be read only once, put in a temporary file."""
    spooled = tempfile.TemporaryFile()
    size = 0
    try:
        while piece := stream.read(PIECE_BYTES):
            size += len(piece)
            if size > limit:
                raise CorpusError(
                    f"{shown} has more than {limit:,} bytes; save it to a file, or raise --max-bytes"
                )
            spooled.write(piece)
    except OSError as error:
        raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None
    return Source(name, shown, spooled=spooled)


def _raw(stream: BinaryIO, shown: str, digest: hashlib._Hash | None) -> Iterator[bytes]:
    try:
        while piece := stream.read(PIECE_BYTES):
            if digest is not None:
                digest.update(piece)
            yield piece
    except OSError as error:
        raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None


def _with_separator(separator: bytes, raw: Iterator[bytes]) -> Iterator[bytes]:
    if separator:
        yield separator
    yield from raw


def _decoded(
    raw: Iterator[bytes], shown: str, settings: TextSettings, stream: BinaryIO
) -> Iterator[str]:
    """Decoded text; one byte order mark at the very start is dropped, later ones are kept.

    stream: what raw comes from, read once more when it does not decode, for advice.
    """
    decoder = codecs.getincrementaldecoder(settings.encoding)(settings.errors)
    at_start = codecs.lookup(settings.encoding).name not in (
        "utf-16",
        "utf-32",
        "utf-8-sig",
    )  # they drop it themselves
    consumed, lines = 0, 0
    pending = 0  # bytes of a character begun in the piece before
    for piece in _then_none(raw):
        try:
            text = decoder.decode(piece or b"", final=piece is None)
        except UnicodeDecodeError as error:
            offset = consumed - pending + error.start
            line = lines + error.object[: error.start].count(b"\n") + 1
            byte = error.object[error.start]
            raise CorpusError(
                f"{shown}: byte 0x{byte:02x} at offset {offset}, line {line}, is not {settings.encoding}; "
                f"pass {advice(stream, settings.encoding)}"
            ) from None
        except (UnicodeError, ValueError) as error:
            raise CorpusError(
                f"{shown} is not {settings.encoding}: {one_line(str(error))}"
            ) from None
        state = decoder.getstate()[0]
        pending = len(state) if isinstance(state, bytes) else 0
        consumed += len(piece or b"")
        lines += text.count("\n")
        if at_start and text:
            text, at_start = text.removeprefix("\ufeff"), False
        yield text


def _then_none(items: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from items
    yield None


def _line_ends(texts: Iterator[str], settings: TextSettings) -> Iterator[str]:
    if settings.newlines == "keep":
        yield from texts
        return
    translator = io.IncrementalNewlineDecoder(
        None, translate=True
    )  # holds a CR back until it sees what follows
    for text in texts:
        yield translator.decode(text)
    yield translator.decode("", final=True)


def _normalized(texts: Iterator[str], settings: TextSettings) -> Iterator[str]:
    if settings.normalize == "none":
        yield from texts
        return
    form: Literal["NFC", "NFD"] = "NFC" if settings.normalize == "nfc" else "NFD"
    held = ""
    for text in texts:
        held += text
        # A newline or a space never composes with what stands before it, so a cut there changes nothing.
        cut = max(held.rfind("\n"), held.rfind(" "))
        if cut > 0:
            yield unicodedata.normalize(form, held[:cut])
            held = held[cut:]
    yield unicodedata.normalize(form, held)


def _codes(text: str, shown: str) -> np.ndarray:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    try:
        return np.frombuffer(text.encode("utf-32-le"), np.uint32)
    except UnicodeEncodeError as error:  # some encodings, such as utf-7, let them through
        code = ord(text[error.start])
        raise CorpusError(
            f"{shown} has a lone surrogate U+{code:04X}, which is no character; is --encoding right?"
        ) from None

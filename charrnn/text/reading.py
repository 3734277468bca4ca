"""Text files -> codes (code points or bytes), in pieces of flat memory.

Decodes, translates line ends and normalises. It knows no splits and counts nothing: see census.py.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, VocabularyError
from charrnn.terminal import one_line
from charrnn.text.containers import not_a_text
from charrnn.text.encodings import advice, decodes
from charrnn.text.entries import as_lines, is_records, is_table, one, preparing
from charrnn.text.faults import Faults
from charrnn.text.labelled import with_file_labels, without_prefixes
from charrnn.text.labels import column_of
from charrnn.text.normalizing import byte_line_ends, line_ends, normalized, prepare
from charrnn.text.records import BLANK, as_codes_text, records, separator_of
from charrnn.text.sources import Source, find_source, missing_file
from charrnn.text.spelling import MAX_CODE
from charrnn.text.stripping import strip_lines, stripper
from charrnn.text.tables import Item, beginning, cells_of, layout_of, peeked, rows
from charrnn.text.vocabulary import NEWLINE, Vocabulary
from charrnn.text.words import codes_in_known_form, in_known_form

PIECE_BYTES = 1 << 22


def pieces(
    source: Source,
    settings: TextSettings,
    digest: hashlib._Hash | None = None,
    faults: Faults | None = None,
    labels: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the text's codes (uint8 or uint32), a few megabytes at a time, without its labels.

    Of a table, the items of its column, each with a newline; of records, each with BREAK for its
    line breaks, and a newline. digest: is fed the bytes. faults: counts wrong rows. labels: gets
    the label of each line.
    Raises CorpusError, which names the first byte that does not decode.
    """
    if source.parts:
        yield from _of_several(source, settings, digest, faults, labels)
        return
    parts = _parts(source, settings, digest, faults, labels)
    if settings.label == "prefix":
        yield from without_prefixes((codes for _, codes in parts), settings, labels)
    elif settings.label == "file":
        yield from with_file_labels(parts, source, labels)
    else:
        for _, codes in parts:
            yield codes


def _of_several(
    source: Source,
    settings: TextSettings,
    digest: hashlib._Hash | None,
    faults: Faults | None,
    labels: list[str] | None,
) -> Iterator[np.ndarray]:
    """Yield the codes of several texts, one after the other, each on lines of its own."""
    for number, part in enumerate(source.parts):
        own = part.read(settings)
        last = NEWLINE
        lines = 0
        for codes in pieces(part.source, own, digest, faults, labels):
            if len(codes):
                last = int(codes[-1])
                lines += int((codes == NEWLINE).sum())
                yield codes
        if labels is not None and not own.label:
            labels += [""] * (lines + (last != NEWLINE))
        if last != NEWLINE and number < len(source.parts) - 1:
            yield np.array([NEWLINE], np.uint8)


def _parts(
    source: Source,
    settings: TextSettings,
    digest: hashlib._Hash | None,
    faults: Faults | None,
    labels: list[str] | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield codes, each with the number of its file. labels: gets those of a table's column."""
    as_is = settings.unit == "byte"
    for number, (shown, separator, stream) in enumerate(source.open(as_is=as_is)):
        if digest is not None:
            digest.update(separator)
        if settings.unit == "byte":
            if separator:
                yield number, np.frombuffer(separator, np.uint8)
            for data in byte_line_ends(_raw(stream, shown, digest), settings):
                yield number, np.frombuffer(data, np.uint8)
            continue
        texts = _checked(stream, shown, source, settings, digest)
        if is_table(settings):
            faults = _new_faults(settings) if faults is None else faults
            entries = cells_of(texts, shown, settings.column, column_of(settings), faults)
            texts = as_lines(entries, settings, faults, shown, labels)
        elif is_records(settings):
            texts = _records(texts, shown, settings)
        else:
            if separator:
                yield number, _codes(separator.decode(), shown)
            texts = strip_lines(line_ends(texts, settings), settings.strip)
        for text in normalized(texts, settings):
            if text:
                yield number, _codes(text, shown)


def items(
    source: Source,
    settings: TextSettings,
    label_column: str = "",
    faults: Faults | None = None,
) -> Iterator[Item]:
    """Yield the items of a table's column (settings.column), each with its label.

    Texts are stripped and normalised as in `pieces`, which yields them without labels, in the same
    order. label_column: "" for none, and Item.label is None. Raises CorpusError, SettingsError.
    """
    faults = _new_faults(settings) if faults is None else faults
    prepared = preparing(settings)
    for shown, _, stream in source.open():
        texts = _checked(stream, shown, source, settings, None)
        for item in rows(texts, shown, settings.column, label_column, faults):
            if text := prepared(item.text):
                text = text if is_records(settings) else one(text)
                yield item._replace(text="".join(normalized(iter([text]), settings)))


def _records(texts: Iterator[str], shown: str, settings: TextSettings) -> Iterator[str]:
    """Yield the records of a text as lines. Raises CorpusError where nothing separates them."""
    head, texts = peeked(texts)
    separator = settings.separator
    if separator == "auto":
        separator = separator_of(head) or BLANK
    lf = dataclasses.replace(settings, newlines="lf")
    stripped = stripper(settings.strip)
    found = records(line_ends(texts, lf), separator, shown)
    return as_codes_text(filter(None, map(stripped, found)))


def _new_faults(settings: TextSettings) -> Faults:
    return Faults(skips=settings.errors == "skip")


def _checked(
    stream: BinaryIO,
    shown: str,
    source: Source,
    settings: TextSettings,
    digest: hashlib._Hash | None,
) -> Iterator[str]:
    """Yield the decoded text of a part of a source. Raises CorpusError for what is no text."""
    try:
        kind = not_a_text(stream, shown, is_file=bool(source.paths))
    except OSError as error:  # of damaged gzip
        raise CorpusError(f"cannot read {shown}: {error.strerror or error}") from None
    if kind:
        more = "; --glob '*.txt' leaves it out" if source.separators else ""
        raise CorpusError(f"{kind}{more}")
    yield from _decoded(_raw(stream, shown, digest), source, shown, settings, stream)


def head_of(source: Source, settings: TextSettings) -> tuple[str, str, bool]:
    """Return a text's beginning, the name of its first file, and whether that is all of it."""
    for shown, _, stream in source.open():
        head, is_whole = beginning(_checked(stream, shown, source, settings, None))
        return head, shown, is_whole
    return "", source.shown, True


def fitting(settings: TextSettings, source: Source) -> TextSettings:
    """Return how a text is read for a model of a table's column: as such a table, or as it is."""
    if not is_table(settings):
        return settings
    head, shown, is_whole = head_of(source, settings)
    layout = layout_of(head, shown, (settings.column,), is_whole=is_whole)
    if settings.column in layout.header and layout.width != 1:
        return settings
    label = settings.label if not column_of(settings) else ""
    return dataclasses.replace(settings, column="none", label=label)


class Encoded(NamedTuple):
    """The ids (N,) of a text that a model did not learn from.

    unknown: characters that were left out or replaced. respelt: characters in another Unicode form
    than in the text, because the model knows that one.
    """

    ids: np.ndarray
    unknown: int
    respelt: int


def encode_text(
    text: str, settings: TextSettings, vocabulary: Vocabulary, unknown: str, where: str
) -> Encoded:
    """Return the ids of a typed text. Raises VocabularyError."""
    prepared, respelt = in_known_form(prepare(text, settings), vocabulary)
    missing = int((vocabulary.spelled(vocabulary.codes(prepared)) < 0).sum())
    return Encoded(vocabulary.encode(prepared, unknown=unknown, where=where), missing, respelt)


def encode_file(
    path: Path,
    settings: TextSettings,
    vocabulary: Vocabulary,
    unknown: str,
    labels: list[str] | None = None,
) -> Encoded:
    """Return the ids of a file.

    The ids have the vocabulary's smallest type: about one byte a character. "-" is standard input.
    labels: gets the label of each line. Raises CorpusError and VocabularyError.
    """
    # 1. Find the text. A path that is not there is never taken for a shipped corpus of that name.
    with contextlib.suppress(OSError):  # find_source reports it
        if str(path) != "-" and not path.exists():
            raise CorpusError(missing_file(path).partition("; corpora that come")[0])
    source, _ = find_source(str(path), settings)
    settings = fitting(settings, source)

    # 2. Look up its codes; count unknown ones, and note where the first stands.
    refuses = unknown == "error" or (unknown == "replace" and vocabulary.substitute is None)
    parts: list[np.ndarray] = []
    missing = np.zeros(MAX_CODE, np.int64)  # by code
    first = -1
    position = 0
    respelt = 0
    codes_of_file = pieces(source, settings, labels=labels)
    for codes, count in codes_in_known_form(codes_of_file, vocabulary):
        respelt += count
        ids = vocabulary.spelled(codes)
        is_unknown = ids < 0  # with bytes none is: then ids and codes are not as many
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
    return Encoded(ids, int(missing.sum()), respelt)


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
    raw: Iterator[bytes], source: Source, shown: str, settings: TextSettings, stream: BinaryIO
) -> Iterator[str]:
    """Yield decoded text. One byte order mark at the very start is dropped, later ones are kept.

    stream: where raw comes from. It is read once more when it does not decode, for advice.
    """
    decoder = codecs.getincrementaldecoder(settings.encoding)(
        "strict" if settings.errors == "skip" else settings.errors
    )
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
                f"is not {settings.encoding}; {_advice(source, shown, settings, stream)}"
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


def _advice(source: Source, shown: str, settings: TextSettings, stream: BinaryIO) -> str:
    """Say what to do with a file that does not decode."""
    likely = advice(stream, settings.encoding)
    encoding = likely.removeprefix("--encoding ").split(" ")[0].rstrip(",:")
    if not likely.startswith("--encoding ") or encoding == "latin-1":
        return f"pass {likely}"
    if source.separators:
        wrong = [path for path in source.paths if not _decodes(path, settings.encoding)]
        if any(not _is_ascii(path) for path in source.paths if path not in wrong):
            convert = f"iconv -f {encoding} -t {settings.encoding}"
            return (
                f"{len(wrong):,} of the {len(source.paths):,} files are not; convert this one: "
                f"{convert} {shlex.quote(shown)}; it seems to be {likely.partition(' ')[2]}"
            )
        return f"pass {likely}"
    if source.place[1] > 1:
        number, count = source.place
        encodings = [settings.encoding] * count
        encodings[number] = encoding
        return (
            f"pass --encoding {','.join(encodings)}, one for each text; "
            f"it seems to be {likely.partition(' ')[2]}"
        )
    if source.paths:
        check = f"charrnn train {shlex.quote(shown)} --check --encoding {encoding}"
        return f"pass {likely}; to look first: {check}"
    return f"pass {likely}"


def _decodes(path: Path, encoding: str) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return decodes(file, encoding)
    return False


def _is_ascii(path: Path) -> bool:
    return _decodes(path, "ascii")


def _then_none(raw: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from raw
    yield None


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

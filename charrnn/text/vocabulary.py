"""The ordered characters a model knows: characters <-> ids, and what unknown ones become."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.errors import VocabularyError
from charrnn.terminal import many
from charrnn.text.spelling import ASCII, BYTE_SYMBOLS, MAX_CODE, Spelling, bytes_of

NEWLINE = 10
RETURN = 13
# A line break inside a record, where the newline ends it. Unicode gives this code to no character.
BREAK = 0xFFFF
REPLACEMENT = 0xFFFD
NAMED = 5  # unknown characters that a message names
MOST_LABELS = 1 << 20
MOST_LABEL_CHARS = 200


@dataclass(frozen=True)
class Vocabulary:
    """The characters a model knows; an id is a place in `symbols`.

    symbols: ascending code points (unit "char") or byte values (unit "byte"). Code points may be
    followed by BYTE_SYMBOLS: then all other characters are written as their bytes (spelling.py).
    labels: names that may stand before an item in place of the newline (labels.py). They are never
    predicted: a network reads V + K ids, and writes V.
    has_breaks: items may have several lines, and BREAK is a line break inside one.
    """

    unit: str
    symbols: tuple[int, ...]
    labels: tuple[str, ...] = ()
    has_breaks: bool = False

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def spelling(self) -> Spelling | None:
        """How rare characters are written as bytes; None where no character is."""
        return Spelling(self._symbol_array) if self.symbols[-1] >= MAX_CODE else None

    @property
    def characters(self) -> int:
        """The number of characters that are a symbol of their own."""
        return len(self) if self.spelling is None else self.spelling.first

    @property
    def newline(self) -> int | None:
        """The id of the newline, the boundary of lines; None if this text has none."""
        return self.symbols.index(NEWLINE) if NEWLINE in self.symbols else None

    @property
    def inputs(self) -> int:
        """The number of ids that a network may read: of symbols, then of labels."""
        return len(self.symbols) + len(self.labels)

    @cached_property
    def label_ids(self) -> dict[str, int]:
        """The id of each label."""
        return {name: id for id, name in enumerate(self.labels, len(self.symbols))}

    @property
    def dtype(self) -> str:
        """The smallest unsigned type that holds every id: "uint8", "uint16" or "uint32"."""
        kinds = ("uint8", "uint16", "uint32")
        return next(kind for kind in kinds if len(self) <= np.iinfo(kind).max + 1)

    @cached_property
    def table(self) -> np.ndarray:
        """(largest symbol + 2,) int32: id of each code, -1 where unknown. The last entry is -1."""
        table = np.full(max(self.symbols, default=0) + 2, -1, dtype=np.int32)
        table[list(self.symbols)] = np.arange(len(self.symbols), dtype=np.int32)
        return table

    def codes(self, text: str | bytes) -> np.ndarray:
        """Return code points, or bytes, of a text. A text for a byte model is taken as UTF-8.

        A newline is one inside an item where items may have several lines.
        """
        if self.unit == "byte":
            data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
            return np.frombuffer(data, np.uint8)
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return np.where(codes == NEWLINE, np.uint32(BREAK), codes) if self.has_breaks else codes

    def breaking(self, text: str) -> str:
        """Return the text of an item with BREAK for its line breaks, where it may have some."""
        return text.replace("\n", chr(BREAK)) if self.has_breaks else text

    def lookup(self, codes: np.ndarray) -> np.ndarray:
        """Return the ids of codes, -1 where they are no symbol."""
        return self.table.take(codes, mode="clip")

    def spelled(self, codes: np.ndarray) -> np.ndarray:
        """Return the ids of codes; rare characters have one for each byte. -1 where unknown."""
        ids = self.lookup(codes)
        return ids if self.spelling is None else self.spelling.spelled(ids, codes)

    def codes_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the codes (uint32) of ids: one for each character."""
        if self.spelling is None:
            codes: np.ndarray = self._symbol_array[ids]
            return codes
        return self.spelling.codes(ids)

    def code_pieces(self, ids: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield the codes of ids (N,) in pieces of whole characters, of about `size` ids each."""
        start = 0
        while start < len(ids):
            stop = min(start + size, len(ids))
            while self.spelling is not None and stop < len(ids):
                if self.spelling.is_start[ids[stop]]:
                    break
                stop += 1
            yield self.codes_of(ids[start:stop])
            start = stop

    def edges(self, ids: np.ndarray) -> np.ndarray:
        """Return (chars + 1,) where each character of ids (N,) begins, and N."""
        if self.spelling is None:
            return np.arange(len(ids) + 1)
        return np.append(np.flatnonzero(self.spelling.is_start[ids]), len(ids))

    def chars(self, ids: np.ndarray) -> int:
        """Return how many characters begin in ids."""
        return len(ids) if self.spelling is None else int(self.spelling.is_start[ids].sum())

    def encode(
        self, text: str | bytes, *, unknown: str = "error", where: str = "the text"
    ) -> np.ndarray:
        """Return the ids (N,) int32 of a text.

        unknown: "error" raises VocabularyError, which names the characters. "skip" leaves them out.
        "replace" puts U+FFFD (a question mark in byte models) where the model knows it, and is an
        error where it does not.
        """
        codes = self.codes(text)
        ids = self.spelled(codes)
        missing = ids < 0
        if not missing.any():
            return ids
        if unknown == "skip" or (unknown == "replace" and self.substitute is not None):
            return self.replaced(ids, unknown)
        if self.spelling is not None:  # what has no bytes either, such as a lone surrogate
            missing = (codes >= 0xD800) & (codes < 0xE000)
        distinct, counts = np.unique(codes[missing], return_counts=True)
        explained = self.explain_unknown(distinct, counts, where, int(np.argmax(missing)))
        raise VocabularyError(f"{explained}; retype it, or pass --unknown skip")

    @property
    def substitute(self) -> int | None:
        """The id that replaces unknown characters: of U+FFFD, or of "?" in byte models.

        None if the model does not know it either.
        """
        code = REPLACEMENT if self.unit == "char" else ord("?")
        index = int(self.lookup(np.array([code]))[0])
        return index if index >= 0 else None

    def replaced(self, ids: np.ndarray, unknown: str) -> np.ndarray:
        """Return ids without the unknown ones (-1): left out ("skip") or replaced ("replace")."""
        if unknown == "skip":
            return ids[ids >= 0]
        return np.where(ids < 0, np.int32(self.substitute or 0), ids)

    def explain_unknown(
        self, codes: np.ndarray, counts: np.ndarray, where: str, first: int | None = None
    ) -> str:
        """Name the unknown characters on one line, the most frequent first.

        codes, counts (N,): the distinct characters and how often each occurs.
        first: the position in the text of the first unknown character.
        """
        order = np.argsort(-counts, kind="stable")
        names = [f"{describe(int(codes[i]), self.unit)} x{counts[i]:,}" for i in order[:NAMED]]
        more = f" and {len(codes) - NAMED} more" if len(codes) > NAMED else ""
        place = f", the first at position {first:,}," if first is not None else ""
        unknown = int(counts.sum())
        verb = "is" if unknown == 1 else "are"
        return (
            f"{where} has {many(unknown, 'character')}{place} that {verb} not among the "
            f"{len(self)} this model knows: {', '.join(names)}{more}"
        )

    def first_length(self, ids: np.ndarray) -> int:
        """Return how many ids the first character of a text has."""
        return 1 if self.spelling is None else self.spelling.first_length(ids)

    def to_bytes(self, ids: np.ndarray) -> bytes:
        """Return the UTF-8 of these ids (raw bytes for a byte model)."""
        if self.spelling is not None:
            used = np.arange(4) < self.byte_lengths[ids][:, None]
            spelled: bytes = self._byte_table[ids][used].tobytes()
            return spelled
        codes = self._symbol_array[ids]
        if self.unit == "byte":
            data: bytes = codes.astype(np.uint8).tobytes()
            return data
        if self.has_breaks:
            codes = np.where(codes == BREAK, np.uint32(NEWLINE), codes)
        text: str = codes.astype("<u4").tobytes().decode("utf-32-le")
        return text.encode("utf-8")

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of these ids; bytes that are not UTF-8 become U+FFFD."""
        return self.to_bytes(ids).decode("utf-8", "replace")

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """(V,) how many bytes of UTF-8 each symbol stands for."""
        lengths = bytes_of(self._symbol_array)
        if self.has_breaks:
            lengths = np.where(self._symbol_array == BREAK, 1, lengths)
        return np.where(self._symbol_array >= MAX_CODE, 1, lengths)

    @cached_property
    def _byte_table(self) -> np.ndarray:
        """(V, 4) uint8: the bytes of each symbol, from the left."""
        table = np.zeros((len(self), 4), np.uint8)
        for index, symbol in enumerate(self.symbols):
            data = bytes([symbol - MAX_CODE]) if symbol >= MAX_CODE else chr(symbol).encode()
            data = b"\n" if symbol == BREAK and self.has_breaks else data
            table[index, : len(data)] = list(data)
        return table

    @cached_property
    def _symbol_array(self) -> np.ndarray:
        return np.array(self.symbols, dtype=np.uint32)

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as a file holds it."""
        about: dict[str, Any] = {"unit": self.unit, "symbols": list(self.symbols)}
        if self.labels:
            about["labels"] = list(self.labels)
        if self.has_breaks:
            about["has_breaks"] = True
        return about

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Vocabulary:
        """Return the vocabulary of a file. Raises ValueError if it could not be one."""
        unit = values["unit"]
        symbols = values["symbols"]
        if unit not in ("char", "byte") or not isinstance(symbols, list):
            raise ValueError("not a vocabulary")
        if unit == "char" and tuple(symbols[-len(BYTE_SYMBOLS) :]) == BYTE_SYMBOLS:
            if tuple(symbols[: len(ASCII)]) != ASCII:
                raise ValueError("vocabulary with bytes, but without ASCII")
            codes = symbols[: -len(BYTE_SYMBOLS)]
        else:
            codes = symbols
        limit = 256 if unit == "byte" else MAX_CODE
        fits = 0 < len(codes) <= limit
        if not fits or not all(type(code) is int and 0 <= code < limit for code in codes):
            raise ValueError("not a vocabulary")
        if any(later <= earlier for earlier, later in zip(codes, codes[1:], strict=False)):
            raise ValueError("vocabulary out of order")
        if unit == "char" and any(0xD800 <= code < 0xE000 for code in codes):
            raise ValueError("vocabulary with surrogates")
        labels = values.get("labels", [])
        if not is_names(labels):
            raise ValueError("vocabulary with labels that are none")
        has_breaks = values.get("has_breaks", False)
        if type(has_breaks) is not bool or (has_breaks and BREAK not in symbols):
            raise ValueError("vocabulary of records without line breaks")
        return Vocabulary(unit, tuple(symbols), tuple(labels), has_breaks)

    @staticmethod
    def with_bytes(codes: Iterable[int]) -> Vocabulary:
        """Return the vocabulary of these characters, and of the bytes of all others."""
        return Vocabulary("char", (*sorted({*ASCII, *codes}), *BYTE_SYMBOLS))


def is_names(labels: Any) -> bool:
    """Return whether these could be the labels of a vocabulary: different names of some length."""
    if not isinstance(labels, list) or len(labels) > MOST_LABELS:
        return False
    if not all(isinstance(name, str) and 0 < len(name) <= MOST_LABEL_CHARS for name in labels):
        return False
    return len(set(labels)) == len(labels)


def noun_of(vocabulary: Vocabulary) -> str:
    """What a model with this vocabulary predicts, in a word."""
    return "byte" if vocabulary.unit == "byte" else "character"


def describe(code: int, unit: str = "char") -> str:
    """Name a character in a message: 'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE; byte 0x92."""
    if unit == "byte":
        return f"byte 0x{code:02X}"
    if code >= MAX_CODE:
        return f"byte 0x{code - MAX_CODE:02X}"
    if code == BREAK:
        return "a line break inside a record"
    character = chr(code)
    parts = [f"U+{code:04X}"]
    if character.isprintable() and not unicodedata.combining(character):
        parts.insert(0, repr(character))
    name = unicodedata.name(character, "")
    if name:
        parts.append(name)
    return " ".join(parts)

"""The ordered characters a model knows: characters <-> ids, and what happens to characters it does not know."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.errors import VocabularyError

NEWLINE = 10
REPLACEMENT = 0xFFFD


@dataclass(frozen=True)
class Vocabulary:
    """symbols: ascending code points (unit "char") or byte values (unit "byte"); an id is a place in this tuple."""

    unit: str
    symbols: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def newline(self) -> int | None:
        """The id of the newline, the boundary of lines; None if this text has none."""
        return self.symbols.index(NEWLINE) if NEWLINE in self.symbols else None

    @cached_property
    def table(self) -> np.ndarray:
        """(largest symbol + 2,) int32: id of each code, -1 where unknown. The last entry is always -1."""
        table = np.full(max(self.symbols, default=0) + 2, -1, dtype=np.int32)
        table[list(self.symbols)] = np.arange(len(self.symbols), dtype=np.int32)
        return table

    def codes(self, text: str | bytes) -> np.ndarray:
        """Code points, or bytes, of a text. A text for a byte model is taken as UTF-8."""
        if self.unit == "byte":
            data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
            return np.frombuffer(data, np.uint8)
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)

    def lookup(self, codes: np.ndarray) -> np.ndarray:
        """Ids of codes, -1 where unknown."""
        return self.table.take(codes, mode="clip")

    def encode(
        self, text: str | bytes, *, unknown: str = "error", where: str = "the text"
    ) -> np.ndarray:
        """Ids (N,) int32 of a text.

        unknown: "error" raises VocabularyError and names the characters; "skip" leaves them out; "replace" puts
        U+FFFD (a question mark in byte models) where the model knows it, and is an error where it does not.
        """
        codes = self.codes(text)
        ids = self.lookup(codes)
        missing = ids < 0
        if not missing.any():
            return ids
        if unknown == "skip" or (unknown == "replace" and self.substitute is not None):
            return self.replaced(ids, unknown)
        distinct, counts = np.unique(codes[missing], return_counts=True)
        explained = self.explain_unknown(distinct, counts, where, int(np.argmax(missing)))
        raise VocabularyError(f"{explained}; retype it, or pass --unknown skip")

    @property
    def substitute(self) -> int | None:
        """The id that stands for unknown characters: U+FFFD, or a question mark in byte models; None if unknown too."""
        found = int(self.lookup(np.array([REPLACEMENT if self.unit == "char" else ord("?")]))[0])
        return found if found >= 0 else None

    def replaced(self, ids: np.ndarray, unknown: str) -> np.ndarray:
        """ids with the unknown ones (-1) left out ("skip") or replaced by `substitute` ("replace")."""
        return (
            ids[ids >= 0]
            if unknown == "skip"
            else np.where(ids < 0, np.int32(self.substitute or 0), ids)
        )

    def explain_unknown(
        self, codes: np.ndarray, counts: np.ndarray, where: str, first: int | None = None
    ) -> str:
        """What is unknown, on one line: distinct codes and how often each occurs, the most frequent named first.

        first: where in the text the first of them stands.
        """
        order = np.argsort(-counts, kind="stable")
        named = [f"{describe(int(codes[i]), self.unit)} x{counts[i]:,}" for i in order[:5]]
        more = f" and {len(codes) - 5} more" if len(codes) > 5 else ""
        place = f", the first at position {first:,}," if first is not None else ""
        return (
            f"{where} has {int(counts.sum()):,} characters{place} that are not among the {len(self)} this model knows: "
            f"{', '.join(named)}{more}"
        )

    def to_bytes(self, ids: np.ndarray) -> bytes:
        """UTF-8 of these ids (raw bytes for a byte model)."""
        codes = self._symbol_array[ids]
        if self.unit == "byte":
            return codes.astype(np.uint8).tobytes()
        return codes.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8")

    def decode(self, ids: np.ndarray) -> str:
        """The text of these ids; bytes that are not UTF-8 show as U+FFFD."""
        return self.to_bytes(ids).decode("utf-8", "replace")

    @cached_property
    def _symbol_array(self) -> np.ndarray:
        return np.array(self.symbols, dtype=np.uint32)

    def to_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "symbols": list(self.symbols)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Vocabulary:
        """The vocabulary of a file. Raises ValueError if it could not be one."""
        unit, symbols = values["unit"], values["symbols"]
        limit = 256 if unit == "byte" else 0x110000
        fine = unit in ("char", "byte") and isinstance(symbols, list) and 0 < len(symbols) <= limit
        if not fine or not all(type(code) is int and 0 <= code < limit for code in symbols):
            raise ValueError("not a vocabulary")
        if any(later <= earlier for earlier, later in zip(symbols, symbols[1:], strict=False)):
            raise ValueError("vocabulary out of order")
        if unit == "char" and any(0xD800 <= code < 0xE000 for code in symbols):
            raise ValueError("vocabulary with surrogates")
        return Vocabulary(unit, tuple(symbols))


def describe(code: int, unit: str = "char") -> str:
    """A character in a message: 'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE; byte 0x92."""
    if unit == "byte":
        return f"byte 0x{code:02X}"
    character = chr(code)
    name = unicodedata.name(character, "")
    shown = (
        f"{character!r} "
        if character.isprintable() and not unicodedata.combining(character)
        else ""
    )
    return f"{shown}U+{code:04X}{' ' + name if name else ''}"

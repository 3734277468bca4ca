"""Line ends and Unicode forms: what a text gets before its characters become ids."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from typing import Literal

from charrnn.config import TextSettings


def prepare(text: str, settings: TextSettings) -> str:
    """Give a prompt or a text to score the line ends and the normalisation of the corpus."""
    if settings.unit == "byte":
        data = text.encode("utf-8", "surrogateescape")
        return prepare_bytes(data, settings).decode("utf-8", "surrogateescape")
    return "".join(normalized(line_ends(iter([text]), settings), settings))


def prepare_bytes(data: bytes, settings: TextSettings) -> bytes:
    """Give the bytes of a prompt the line ends of the corpus."""
    return b"".join(byte_line_ends(iter([data]), settings))


def line_ends(texts: Iterator[str], settings: TextSettings) -> Iterator[str]:
    """Yield the texts with CR and CRLF turned into LF, where the settings say so."""
    if settings.newlines != "lf":
        yield from texts
        return
    # The decoder holds a CR back until it sees what follows.
    translator = io.IncrementalNewlineDecoder(None, translate=True)
    for text in texts:
        yield translator.decode(text)
    yield translator.decode("", final=True)


def byte_line_ends(raw: Iterator[bytes], settings: TextSettings) -> Iterator[bytes]:
    """Yield the bytes with CR and CRLF turned into LF, where the settings say so."""
    if settings.newlines != "lf":
        yield from raw
        return
    texts = (data.decode("latin-1") for data in raw)
    for text in line_ends(texts, settings):
        if text:
            yield text.encode("latin-1")


def normalized(texts: Iterator[str], settings: TextSettings) -> Iterator[str]:
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

"""Which encoding a text could be in, when it is not in the named one: advice, never a guess."""

from __future__ import annotations

import codecs
from typing import BinaryIO

PIECE_BYTES = 1 << 22


def advice(stream: BinaryIO, encoding: str) -> str:
    """Return what to pass for a stream whose bytes do not decode as `encoding`.

    Reads the whole stream; memory does not grow with it.
    """
    stream.seek(0)
    head = stream.read(4096)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        wide = "utf-32" if head[:4] == b"\xff\xfe\0\0" else "utf-16"
        if codecs.lookup(encoding).name.startswith(wide):
            return "--errors replace: it is damaged there"
        return f"--encoding {wide}: that is how it begins"
    if b"\0" in head:
        return "--unit byte to train, which takes any bytes: it has NULs, so is it a text?"
    if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
        sound, damaged = _utf8_places(stream)
        if sound > damaged:
            return (
                f"--errors replace: damaged places: {damaged:,}, "
                f"sound characters beyond ASCII: {sound:,}"
            )
    elif decodes(stream, "utf-8"):
        return "--encoding utf-8, as which all of it decodes"
    if decodes(stream, "cp1252"):
        return (
            "--encoding cp1252 (Windows, Western Europe), as which all of it decodes, "
            "or --errors replace"
        )
    return "--encoding latin-1 or --errors replace"


def decodes(stream: BinaryIO, encoding: str) -> bool:
    """Return whether the whole stream is text of this encoding."""
    stream.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while piece := stream.read(PIECE_BYTES):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _utf8_places(stream: BinaryIO) -> tuple[int, int]:
    """Count the characters beyond ASCII that are proper UTF-8, and the places that are not."""
    stream.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    sound = 0
    damaged = 0
    while True:
        piece = stream.read(PIECE_BYTES)
        text = decoder.decode(piece, final=not piece)
        if not text.isascii():
            # A U+FFFD that stood in the text already counts as damage too, and rightly.
            replaced = text.count("\ufffd")
            damaged += replaced
            sound += sum(1 for char in text if char > "\x7f") - replaced
        if not piece:
            return sound, damaged

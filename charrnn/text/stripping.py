"""Taking from a line what is no part of its text: numbering, bullets, quotation marks, entities."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from charrnn.errors import SettingsError
from charrnn.terminal import one_line
from charrnn.values import nearest

NUMBERED = re.compile(r"\s*[(\[]?(\d{1,7})(?:[.):\]]\s*|\t+| {1,4})(?=\S)")
BULLETED = re.compile(r"\s*[-*•‣–]\s+(?=\S)")
QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "„": "“", "‘": "’"}


def _without_quotes(line: str) -> str:
    """Return a line without a pair of quotation marks around it."""
    text = line.strip()
    bare = text.removesuffix(",").rstrip()
    closing = QUOTES.get(bare[:1])
    if closing is not None and len(bare) > 1 and bare.endswith(closing):
        return bare[1:-1]
    return line


def _without_entities(line: str) -> str:
    """Return a line with its HTML entities as characters; one for a line's end is a space."""
    return re.sub(r"[\r\n]+", " ", html.unescape(line)) if "&" in line else line


# In the order that they are done: an entity may be a quotation mark, and a number stands before it.
WHAT: dict[str, Callable[[str], str]] = {
    "entities": _without_entities,
    "spaces": str.strip,
    "numbering": lambda line: NUMBERED.sub("", line, count=1),
    "bullets": lambda line: BULLETED.sub("", line, count=1),
    "quotes": _without_quotes,
}
NOTHING = ("auto", "none", "")


def names_of(strip: str) -> list[str]:
    """Return what is stripped, as --strip lists it: "numbering,quotes". Raises SettingsError."""
    if strip in NOTHING:
        return []
    names = [name.strip() for name in strip.split(",")]
    for name in names:
        if name not in WHAT:
            known = ", ".join(WHAT)
            raise SettingsError(
                f"--strip {one_line(name)!r} is not one of {known}{nearest(name, WHAT)}"
            )
    return [name for name in WHAT if name in names]


def stripper(strip: str) -> Callable[[str], str]:
    """Return what strips a line."""
    steps = [WHAT[name] for name in names_of(strip)]

    def stripped(line: str) -> str:
        for step in steps:
            line = step(line)
        return line

    return stripped


def strip_lines(texts: Iterator[str], strip: str) -> Iterator[str]:
    """Yield texts with each line stripped; a CR before a newline stays."""
    if strip in NOTHING:
        yield from texts
        return
    stripped = stripper(strip)
    held = ""
    for text in texts:
        *lines, held = (held + text).split("\n")
        if lines:
            yield "\n".join(map(_keeping_return(stripped), lines)) + "\n"
    if held:
        yield _keeping_return(stripped)(held)


def _keeping_return(stripped: Callable[[str], str]) -> Callable[[str], str]:
    def kept(line: str) -> str:
        if line.endswith("\r"):
            return stripped(line[:-1]) + "\r"
        return stripped(line)

    return kept

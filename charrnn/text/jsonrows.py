"""JSON as rows: one value a line, an array of values, or one object that holds the rows.

An array is read value by value, so memory does not grow with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from charrnn.errors import CorpusError
from charrnn.text.faults import Faults

MOST_VALUE = 64_000_000  # characters of one value
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

Value = tuple[int, Any]  # the line that it begins on, and what it holds


def read_lines(texts: Iterator[str], shown: str, faults: Faults) -> Iterator[Value]:
    """Yield the values of JSON Lines, blank lines left out. Raises CorpusError."""
    number = 0
    for line in _lines(texts, shown):
        number += 1
        if not line.strip():
            continue
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            faults.meet(f"{shown}: line {number:,}", f"not JSON ({_reason(error)})")
            continue
        yield number, value


def read_values(texts: Iterator[str], shown: str) -> Iterator[Value]:
    """Yield the values of a JSON array, or a JSON text's one value. Raises CorpusError.

    What is wrong in it cannot be skipped: nobody knows where the next value begins.
    """
    yield from _values(_Buffer(texts, shown))


def sample_values(head: str, most: int, *, is_whole: bool) -> list[Any]:
    """Return the first values of JSON by its beginning; none of a text that is no JSON."""
    buffer = _Buffer(iter([head]), "")
    found: list[Any] = []
    try:
        for _, value in _values(buffer):
            found.append(value)
            if len(found) >= most:
                break
    except CorpusError:
        if is_whole or not buffer.is_cut:
            return []
    return found


def _values(buffer: _Buffer) -> Iterator[Value]:
    """Yield the values of an array, or the one value. Raises CorpusError."""
    first = buffer.peek()
    if first != "[":
        yield buffer.line, buffer.value()
        buffer.check_end()
        return
    buffer.take()
    if buffer.peek() == "]":
        buffer.take()
        buffer.check_end()
        return
    while True:
        buffer.peek()
        yield buffer.line, buffer.value()
        mark = buffer.peek()
        if mark not in (",", "]"):
            raise buffer.wrong(f"a comma or ] is missing, there is {mark!r}")
        buffer.take()
        if mark == "]":
            buffer.check_end()
            return


class _Buffer:
    """A text that is read from the left, value by value.

    line: of what is read next. is_cut: whether something was sought behind the end.
    """

    def __init__(self, texts: Iterator[str], shown: str) -> None:
        self._texts = texts
        self._shown = shown
        self._text = ""
        self._place = 0
        self._is_whole = False
        self.is_cut = False
        self.line = 1

    def wrong(self, what: str) -> CorpusError:
        return CorpusError(f"{self._shown}: line {self.line:,}: not JSON ({what})")

    def peek(self) -> str:
        """Return the next sign that is no white space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            assert match is not None
            self._move(match.end())
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._fill():
                return ""

    def take(self) -> None:
        """Step over the sign that peek returned."""
        self._move(self._place + 1)

    def value(self) -> Any:
        """Return the value that begins here. Raises CorpusError."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
                # A number may go on in the next piece: 1 as 1.5e+3.
                if end + 3 <= len(self._text) or not self._fill():
                    self._move(end)
                    return value
            except (ValueError, RecursionError) as error:
                cut = getattr(error, "pos", self._place)
                is_open = cut >= len(self._text) - 16 or "Unterminated" in str(error)
                if not is_open or not self._fill():
                    raise self.wrong(_reason(error)) from None

    def check_end(self) -> None:
        """Raise CorpusError where something follows the last value."""
        if mark := self.peek():
            raise self.wrong(f"{mark!r} after its end")

    def _move(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _fill(self) -> bool:
        """Read on; return whether there was more."""
        if self._is_whole:
            self.is_cut = True
            return False
        self._text = self._text[self._place :]
        self._place = 0
        if len(self._text) > MOST_VALUE:
            raise CorpusError(
                f"{self._shown}: line {self.line:,}: one JSON value of more than {MOST_VALUE:,} "
                "characters; write one object a line"
            )
        # At least as much again, so that a long value is not read over and over.
        wanted = len(self._text)
        while wanted >= 0:
            text = next(self._texts, None)
            if text is None:
                self._is_whole = True
                break
            self._text += text
            wanted -= max(1, len(text))
        return True


def _lines(texts: Iterator[str], shown: str) -> Iterator[str]:
    held = ""
    for text in texts:
        *lines, held = (held + text).split("\n")
        yield from lines
        if len(held) > MOST_VALUE:
            raise CorpusError(f"{shown}: a line has more than {MOST_VALUE:,} characters")
    if held:
        yield held


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.rstrip(':').lower()} at character {error.colno:,}"
    return str(error)


def texts_at(value: Any, path: str) -> Iterator[str]:
    """Yield the texts that a value holds at a path such as "title" or "data.title".

    A list stands for all its values. null is no text. Raises ValueError for what is none.
    """
    if isinstance(value, list):
        for inner in value:
            yield from texts_at(inner, path)
    elif isinstance(value, dict) and path:
        name = path
        rest = ""
        if path not in value:
            name, _, rest = path.partition(".")
        if name not in value:
            raise ValueError(f"has no {name!r}")
        yield from texts_at(value[name], rest)
    elif path and value is not None:
        raise ValueError(f"has no {path!r}")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, bool | dict):
        raise ValueError("is no text")
    elif value is not None:
        yield str(value)

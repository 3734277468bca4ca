"""Text on its way to a person or a pipe: what is shown, what is escaped, what may be lost.

Standard output carries data: what cannot be written is an error. Standard error carries messages:
they are optional, and what cannot be written is lost in silence. No colours and no progress bars:
those are in progress.py.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

from charrnn.errors import StorageError

# Generated text is untrusted. Escaped are C0 (except for newline and tab), DEL, C1, bidi controls,
# line separators and surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
LEAST_COLUMNS = 20  # of a terminal: a narrower one wraps by itself
USUAL_COLUMNS = 80
_NOT_ASCII = re.compile("[^\x00-\x7f]")


def visible(text: str) -> str:
    """Return the text with an escape such as `\\x1b` for each character that steers a terminal."""
    return _UNSAFE.sub(
        lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text
    )


def many(count: int, noun: str, nouns: str = "") -> str:
    """Return `1 line`, or `2,383 lines`. nouns: of several, where an s is not enough."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {nouns or noun + 's'}"


# What stands for a sign of our own tables where an encoding lacks it.
_PLAIN = {
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "·": ".",
    "×": "x",
    "±": "+-",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "␣": "' '",
    "⏎": "\\n",
    "∘": "*",
    "σ": "sigma",
}


def size_of(value_bytes: int) -> str:
    """Return a size for people, such as 49 kB."""
    if value_bytes < 1_000_000:
        return f"{value_bytes / 1e3:.0f} kB"
    if value_bytes < 1_000_000_000:
        return f"{value_bytes / 1e6:.1f} MB"
    return f"{value_bytes / 1e9:.1f} GB"


def writable(text: str, stream: Any) -> str:
    """Return the text as a stream of any encoding can write it: plain signs, else escapes.

    The stream would write the same escapes, but a table must know how wide they are.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_written(char, encoding) for char in text)
    except LookupError:
        pass
    return text


def _written(char: str, encoding: str) -> str:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode("ascii")
    return char


def one_line(text: str) -> str:
    """Return `visible(text)` with newlines and tabs as escapes too, for a value in a message."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def quoted(text: str) -> str:
    """Return the text in quotes, as JSON and TOML write it, with `\\u009b` for escapes."""
    return _UNSAFE.sub(_json_escape, json.dumps(text, ensure_ascii=False))


def prepare_streams() -> None:
    """Make standard error optional, and standard output able to show every character.

    For the program, before its first word. Streams that somebody put in their place (a test, a
    notebook) are left alone, except that stdout escapes what its encoding lacks.
    """
    if sys.stderr is sys.__stderr__:
        sys.stderr = _optional_stderr()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _optional_stderr() -> io.TextIOWrapper:
    """Return a stream to standard error whose writes and flushes never fail."""
    raw: Any
    if sys.stderr is None:  # the shell's 2>&-
        encoding = "utf-8"
        raw = io.FileIO(_nowhere_for_stderr(), "w")
    else:
        encoding = sys.stderr.encoding
        buffer: Any = sys.stderr.buffer
        raw = getattr(buffer, "raw", buffer)  # with python -u there is no buffer between
    return io.TextIOWrapper(
        io.BufferedWriter(_Optional(raw)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _nowhere_for_stderr() -> int:
    """Return a descriptor of the null device, with descriptor 2 taken.

    A file of a run must not get descriptor 2: C code writes its messages there.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.fstat(2)
    except OSError:
        os.dup2(nowhere, 2)
    return nowhere


class _Optional(io.RawIOBase):
    """A file that accepts everything: what cannot be written is lost."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def write(self, data: Any, /) -> int:
        try:
            written = self._raw.write(data)
        except (OSError, ValueError):  # no reader, no room, a closed terminal, a closed file
            written = None
        return len(data) if written is None else written

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._raw.isatty()

    def fileno(self) -> int:
        return self._raw.fileno()


def say(text: str) -> None:
    """Print a message for people on standard error, with unsafe characters as escapes.

    On a terminal a long one goes on below itself: no word is cut at the edge.
    """
    if sys.stderr is not None:  # print() would choose standard output
        print(fitted(visible(text), sys.stderr), file=sys.stderr, flush=True)


def columns_of(stream: TextIO | None) -> int | None:
    """Return the columns of a terminal; None for a stream that is no terminal."""
    if stream is None or not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(LEAST_COLUMNS, int(columns))
    try:
        return max(LEAST_COLUMNS, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):  # a stream of a test, or a terminal that does not say
        return USUAL_COLUMNS


def fitted(text: str, stream: TextIO | None, indent: str = "  ") -> str:
    """Return lines that are no wider than the stream's terminal, if it is one.

    What does not fit a line goes on under `indent`. A path that is wider than a terminal stays
    whole, so that it can be copied.
    """
    columns = columns_of(stream)
    if columns is None:
        return text
    lines = text.split("\n")
    return "\n".join(part for line in lines for part in wrapped(line, columns + 1, indent))


def wrapped(line: str, columns: int, indent: str, *, cuts_words: bool = False) -> list[str]:
    """Return a line in pieces that are narrower than so many columns, the later ones indented."""
    width = width_of(line)
    if width < columns:
        return [line]
    chars = (columns - 1) * len(line) // width  # fewer where characters are wide
    return textwrap.wrap(
        line,
        max(LEAST_COLUMNS - 1, chars),
        subsequent_indent=indent,
        replace_whitespace=False,
        break_long_words=cuts_words,
        break_on_hyphens=False,
    )


def write_stdout(pieces: Iterable[bytes], *, raw: bool = False, is_json: bool = False) -> None:
    """Write UTF-8 as it comes: exact bytes into a pipe, escaped text on a terminal.

    raw: exact bytes on a terminal too. is_json: the pieces are JSON, and stay so when escaped. Ends
    quietly when the reader has left (| head). Raises StorageError when the rest cannot be written.
    """
    if sys.stdout is None:  # the shell's >&-
        raise StorageError("cannot write to standard output: it is closed")
    out = sys.stdout.buffer
    is_escaped = sys.stdout.isatty() and not raw
    encoding = sys.stdout.encoding or "utf-8"
    escape = _escaped_json if is_json else _escaped
    try:
        for piece in pieces:
            if is_escaped:
                out.write(escape(piece.decode("utf-8", "replace"), encoding))
                out.flush()
            else:
                out.write(piece)
        out.flush()
    except BrokenPipeError:
        forget_stdout()
    except OSError as error:
        forget_stdout()
        name = errno.errorcode.get(error.errno or 0, "")
        raise StorageError(f"cannot write to standard output: {error.strerror} ({name})") from None


def _escaped(text: str, encoding: str) -> bytes:
    """Return a text for a terminal of this encoding."""
    return visible(text).encode(encoding, "backslashreplace")


def _escaped_json(text: str, encoding: str) -> bytes:
    """Return JSON for a terminal of this encoding: the same values, with `\\u009b` for escapes."""
    text = _UNSAFE.sub(_json_escape, text)
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return _NOT_ASCII.sub(_json_escape, text).encode(encoding)


def _json_escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def print_line(text: str) -> None:
    """Print a line for people on stdout, fitted to its terminal.

    Prints nothing once the reader has left (| head).
    """
    try:
        print(fitted(writable(text, sys.stdout), sys.stdout), flush=True)
    except BrokenPipeError:
        forget_stdout()


def write_lines(lines: Iterable[str], indent: str = "  ") -> None:
    """Write lines for people on stdout, in characters that it has, fitted to its terminal."""
    shown = (fitted(writable(line, sys.stdout), sys.stdout, indent) for line in lines)
    write_stdout(f"{line}\n".encode("utf-8", "replace") for line in shown)


def forget_stdout() -> None:
    """Send everything that is still written to nowhere.

    Python flushes stdout again as it ends, and would complain a second time.
    """
    # A stdout that is no file needs nothing.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def width_of(text: str) -> int:
    """Return the columns that a text takes, where wide characters (CJK) take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)

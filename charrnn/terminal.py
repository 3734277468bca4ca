"""Text on its way to a person or a pipe: what is shown, what is escaped.

No colours and no progress bars: those are in progress.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import unicodedata
from collections.abc import Iterable

from charrnn.errors import StorageError

# Generated text is untrusted. Escaped are C0 (but for newline and tab), DEL, C1, bidi controls,
# line separators and surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return the text with an escape such as `\\x1b` for each character that steers a terminal."""
    return _UNSAFE.sub(
        lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text
    )


def one_line(text: str) -> str:
    """Return `visible(text)` with newlines and tabs as escapes too, for a value in a message."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def write_stdout(pieces: Iterable[bytes], *, raw: bool = False) -> None:
    """Write generated UTF-8 as it comes: exact bytes into a pipe, escaped text on a terminal.

    raw: exact bytes on a terminal too. Ends quietly when the reader has left (| head). Raises
    StorageError when the rest cannot be written.
    """
    if sys.stdout is None:  # the shell's >&-
        raise StorageError("cannot write to standard output: it is closed")
    out = sys.stdout.buffer
    escape = sys.stdout.isatty() and not raw
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for piece in pieces:
            if escape:
                text = visible(piece.decode("utf-8", "replace"))
                out.write(text.encode(encoding, "backslashreplace"))
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


def print_line(text: str) -> None:
    """Print a line for people on stdout; nothing once the reader has left (| head)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        forget_stdout()


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

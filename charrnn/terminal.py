"""Text on its way to a person or a pipe: what is shown, what is escaped. No colours and no bars: see progress.py."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterable

from charrnn.errors import StorageError

# Generated text is untrusted: C0 (but newline and tab), DEL, C1, bidi controls, line separators, surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with every character that could steer a terminal written as an escape such as `\\x1b`."""
    return _UNSAFE.sub(
        lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text
    )


def one_line(text: str) -> str:
    """`visible`, and newlines and tabs written as escapes too: for names and values inside a message."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def write_stdout(pieces: Iterable[bytes], *, raw: bool = False) -> None:
    """Write generated UTF-8 as it comes: exact bytes into a pipe or with raw, escaped text on a terminal.

    Ends quietly when the reader has left (| head). Raises StorageError when the rest cannot be written.
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
                piece = text.encode(encoding, "backslashreplace")
            out.write(piece)
            if escape:
                out.flush()
        out.flush()
    except BrokenPipeError:
        forget_stdout()
    except OSError as error:
        forget_stdout()
        name = errno.errorcode.get(error.errno or 0, "")
        raise StorageError(f"cannot write to standard output: {error.strerror} ({name})") from None


def print_line(text: str) -> None:
    """A line on stdout, for people; nothing once the reader has left (| head)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        forget_stdout()


def forget_stdout() -> None:
    """What is still written goes nowhere. Python flushes stdout again as it ends, and would complain a second time."""
    with contextlib.suppress(
        OSError, ValueError, AttributeError
    ):  # a stdout that is no file needs nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

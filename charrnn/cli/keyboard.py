"""A person at a keyboard, or a script in their place: lines are read, and notes are shown."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from charrnn.terminal import say

MAX_LINE_BYTES = 16 << 20


def ask(prompt: str) -> str:
    """Read a line from stdin. Raises EOFError, UnicodeDecodeError, KeyboardInterrupt."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        try:
            return input(prompt)
        except EOFError:
            print()  # the shell's prompt gets a line of its own
            raise
    if sys.stdin.isatty():
        print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.buffer.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        say(f"standard input has a line of more than {MAX_LINE_BYTES >> 20} MiB: stopped")
    if not 0 < len(line) <= MAX_LINE_BYTES:
        raise EOFError
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into a question to ask between two pieces (30 ms): was it pressed?

    An exception could fall between a state and its scores.
    """
    signals: list[int] = []
    if not sys.stdin.isatty():  # a script ends as any other
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
    try:
        yield lambda: bool(signals)
    finally:
        signal.signal(signal.SIGINT, before)


def edit_lines(words_after: Callable[[str], list[str]]) -> Callable[[], str]:
    """Switch on line editing, history and completion for input(), where Python has them.

    words_after: the words that may complete a line. Nothing is written to disk. Returns a function
    that gives the line as typed so far, which Ctrl-C clears.
    """
    try:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return str
        import readline
    except ImportError:
        return str

    def complete(word: str, number: int) -> str | None:
        words = words_after(readline.get_line_buffer())
        matches = [known for known in words if known.startswith(word)]
        return matches[number] if number < len(matches) else None

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    if "libedit" in (readline.__doc__ or ""):
        readline.parse_and_bind("bind ^I rl_complete")
    else:
        readline.parse_and_bind("tab: complete")
    return readline.get_line_buffer

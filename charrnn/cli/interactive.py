"""charrnn sample --interactive: a person and a model write a text by turns.

Text goes to stdout and all notes to stderr, so that a script can take the person's place.
"""

from __future__ import annotations

import difflib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from charrnn.cli.keyboard import ask, edit_lines, stoppable
from charrnn.cli.prompt import in_session, number_of
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, say, write_stdout

if TYPE_CHECKING:
    from charrnn.sampling.decode import Decoding
    from charrnn.sampling.engine import Sampler, Writer

REMEMBERED = 100  # turns that /back can undo
REMEMBERED_BYTES = 256 << 20  # fewer where each is large, as with a cache
MOST_TURN_CHARS = 10**9  # they are kept, to go on from
SHOWN_LABELS = 20
END_CHARS = 40  # of the text before a point, shown by /back
HOW_STREAM = """What you type is read as it stands, and the model goes on from there.
With Enter alone, the model just goes on. A line that ends in a backslash goes
on in the next line (two backslashes: one backslash)."""
HOW_LINES = """What you type is the beginning of a line, and the model ends it.
With Enter alone, it writes a whole line. Every line is drawn with the next
seed, and knows nothing of those before it."""
KEYS = """A text that begins with a slash: //text. Ctrl-C: stop writing, or clear the line.
Ctrl-D: leave."""

# What was before, and a piece: points share their past.
Text: TypeAlias = "tuple[Text, bytes] | None"


class Point(NamedTuple):
    """A place in the text to return to. Its writer never moves: who goes on takes a copy."""

    writer: Writer
    text: Text


def converse(
    sampler: Sampler,
    *,
    decoding: Decoding,
    length: int | None = None,
    until: str = "",
    seed: int | None = None,
    prime: str = "",
    unknown: str = "error",
    raw: bool = False,
    threads: int | None = None,
) -> None:
    """Write by turns until /quit or the end of stdin. Raises SettingsError before the first turn.

    prime: the beginning of the text; for a model of lines, of every line. seed None: a random one,
    which is shown.
    """
    if sys.stdin is None:  # the shell's <&-
        raise SettingsError("--interactive reads standard input, but it is closed")
    write_stdout(())  # raises if standard output is closed
    session = Session(sampler, decoding, length, until, seed, prime, unknown, raw, threads)
    is_terminal = sys.stdin.isatty()
    if seed is None and decoding.temperature > 0:
        say(f"seed {session.seed} (--seed {session.seed} draws the same again)")
    if is_terminal:
        what = "text, or Enter alone to go on"
        if session.is_lines:
            what = "the beginning of a line, or Enter alone"
        say(f"type {what}; /help lists the commands, /quit leaves")
    line_so_far = edit_lines(session.words_after)
    is_hinted = False
    while True:
        line = None
        try:
            line = ask("> ")
            is_hinted = False
            session.obey(line)
        except EOFError:
            return
        except SettingsError as error:
            say(one_line(in_session(str(error))))
        except UnicodeDecodeError:
            say("this line is not UTF-8, and was not read")
        except KeyboardInterrupt:
            if not is_terminal:
                raise
            out = sys.stdout if sys.stdout.isatty() else sys.stderr
            print(file=out)
            is_idle = line is None and not line_so_far()
            if is_idle and is_hinted:
                raise
            is_hinted = is_idle
            if is_idle:
                say("Ctrl-C once more, Ctrl-D or /quit leaves; /help lists the commands")


class Session:
    """What outlives a turn."""

    def __init__(
        self,
        sampler: Sampler,
        decoding: Decoding,
        length: int | None,
        until: str,
        seed: int | None,
        prime: str,
        unknown: str,
        raw: bool,
        threads: int | None,
    ) -> None:
        from charrnn.sampling.bounds import checked_length, default_length
        from charrnn.sampling.decode import checked_seed

        self.sampler = sampler
        self.is_lines = sampler.mode == "lines"
        self.decoding = decoding
        if length is None:
            length = default_length(sampler.mode, sampler.vocabulary)
        self.length = min(checked_length(length), MOST_TURN_CHARS)
        self.until = until
        self.prime = prime
        self.unknown = unknown
        self.raw = raw
        self.threads = threads
        self.seed = checked_seed(seed)  # of the next draws that do not follow the last ones
        self.takes_seed = True  # the next turn begins with that seed
        begin = self._as_read(prime)  # raises at once for what is wrong with it
        text = None if self.is_lines else (None, begin)
        self.start = Point(sampler.begin(prime, seed=0, unknown=unknown), text)
        self.now = self.start
        self.asked: Point | None = None  # after what was typed last, before what was written
        most_points = min(REMEMBERED, REMEMBERED_BYTES // self.now.writer.size_bytes)
        self.past: deque[Point] = deque(maxlen=max(1, most_points))  # before each turn
        self.marks: dict[str, Point] = {}  # the newest last

    def obey(self, line: str) -> None:
        """Do what a line says. Raises SettingsError, with nothing changed, or EOFError to leave."""
        if not line.startswith("/") or line.startswith("//"):
            self.turn(self._whole(line.removeprefix("/")))
            return
        name, _, argument = line[1:].partition(" ")
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
            advice = f"did you mean /{near[0]}?" if near else "/help lists the commands"
            raise SettingsError(f"/{name} is no command; {advice} (a text with a slash first: //)")
        COMMANDS[name].do(self, argument.strip())

    def turn(self, typed: str) -> None:
        """Read what was typed, then write."""
        beginning = self.prime + typed if self.is_lines else typed
        piece = self._as_read(beginning)
        if self.is_lines:
            writer = self.sampler.begin(beginning, seed=0, unknown=self.unknown)
        else:
            writer = self.now.writer.copy()
            writer.read(beginning, unknown=self.unknown)
        self.past.append(self.now)
        self.asked = Point(writer, (self.now.text, piece))
        self.write(self.asked)

    def write(self, point: Point) -> None:
        """Go on from a point. On a terminal, a line is shown with its beginning."""
        from charrnn.sampling.decode import MAX_SEED

        writer = point.writer.copy()
        written = bytearray()
        if self.takes_seed:
            writer.reseed(self.seed)
            self.seed = (self.seed + 1) % (MAX_SEED + 1)
        self.takes_seed = self.is_lines

        def pieces(is_stopped: Callable[[], bool]) -> Iterator[bytes]:
            if self.is_lines and point.text and sys.stdout.isatty():
                yield point.text[1]
            continuation = writer.write(
                self.length, decoding=self.decoding, until=self.until, threads=self.threads
            )
            for piece in continuation:
                written.extend(piece)
                yield piece
                if is_stopped():
                    break
            if self.is_lines:
                written.extend(b"\n")
                yield b"\n"

        with stoppable() as is_stopped:
            try:
                self._show(pieces(is_stopped))
            finally:
                self.now = Point(writer, (point.text, bytes(written)))

    def words_after(self, line: str) -> list[str]:
        """Return the words that may complete a line: names of commands, and marks after /back."""
        if line.startswith("/back "):
            return list(self.marks)
        return [] if " " in line else [f"/{name}" for name in COMMANDS]

    def _as_read(self, text: str) -> bytes:
        """Return the text as the model reads it. Raises SettingsError if it cannot."""
        samples = self.sampler.generate(
            1, length=0, seed=0, prime=text, until=self.until, unknown=self.unknown
        )
        return next(samples).data

    def _whole(self, line: str) -> str:
        """Return the text that begins with this line.

        In a stream, a backslash at the end of a line joins the next one.
        """
        lines = [line]
        while not self.is_lines and lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            if lines[-1].endswith("\\"):
                break
            try:
                lines.append(ask("... "))
            except EOFError:
                lines.append("")
        return "\n".join(lines)

    def _show(self, pieces: Iterable[bytes]) -> None:
        """Write to stdout; on a terminal, end the line. Raises EOFError if the reader has left."""
        is_complete = False

        def watched() -> Iterator[bytes]:
            nonlocal is_complete
            last = b"\n"
            for piece in pieces:
                last = piece or last
                yield piece
            if sys.stdout.isatty() and not last.endswith(b"\n"):
                yield b"\n"
            # If the reader has left, it is here at the latest that write_stdout ends early.
            sys.stdout.flush()
            is_complete = True

        write_stdout(watched(), raw=self.raw)
        if not is_complete:
            raise EOFError

    def _go(self, point: Point) -> None:
        self.now = point
        self.asked = None
        self.takes_seed = True
        # Four bytes a character at most.
        end = _joined(point.text)[-4 * END_CHARS :].decode("utf-8", "replace")[-END_CHARS:]
        say(f"back after {one_line(end)!r}" if end else "back at the beginning")

    # Commands

    def set_length(self, argument: str) -> None:
        """Set the most characters of a turn, or tell them."""
        from charrnn.sampling.bounds import checked_length

        if argument:
            length = min(number_of("length", int, argument), MOST_TURN_CHARS)
            self.length = checked_length(length)
        bound = ", the most of a turn" if self.length == MOST_TURN_CHARS else ""
        say(f"length {self.length}{bound}")

    def set_seed(self, argument: str) -> None:
        """Set the seed of the next turn, or tell the one that is in use."""
        from charrnn.sampling.decode import checked_seed

        if argument:
            self.seed = checked_seed(number_of("seed", int, argument))
            self.takes_seed = True
        seed = self.seed if self.takes_seed else self.now.writer.seed
        say(f"seed {seed}")

    def set_label(self, name: str) -> None:
        """Write with this label from the next line on, or tell the labels."""
        labels = self.sampler.vocabulary.labels
        if name or not labels:
            self.sampler = self.sampler.labelled("" if name == "none" else name)
        known = ", ".join(map(one_line, labels[:SHOWN_LABELS]))
        more = f" and {len(labels) - SHOWN_LABELS:,} more" if len(labels) > SHOWN_LABELS else ""
        say(f"label {one_line(self.sampler.label or 'none')} (/label none, {known}{more})")

    def fork(self, name: str) -> None:
        """Mark this point."""
        name = name or next(free for free in map(str, itertools.count(1)) if free not in self.marks)
        self.marks.pop(name, None)
        self.marks[name] = self.now
        say(f"marked: /back {name} returns here")

    def back(self, name: str) -> None:
        """Return to a mark, or before the last turn."""
        if name and name not in self.marks:
            marks = ", ".join(self.marks) or "none: /fork makes one"
            raise SettingsError(f"/back {name}: no such mark; there is {marks}")
        if self.marks:
            self._go(self.marks[name or list(self.marks)[-1]])
        elif self.past:
            self._go(self.past.pop())
        else:
            raise SettingsError("/back: there is nothing before this")

    def again(self, _: str) -> None:
        """Write the last turn with the next seed."""
        if self.asked is None:
            raise SettingsError(
                "/again: nothing has been written since the beginning or the last /back"
            )
        self.takes_seed = True
        self.write(self.asked)

    def text(self, _: str) -> None:
        """Show the whole text."""
        self._show([_joined(self.now.text)])

    def reset(self, _: str) -> None:
        """Return to the beginning."""
        self.past.append(self.now)
        self._go(self.start)

    def help(self, _: str) -> None:
        """List the commands."""
        how = HOW_LINES if self.is_lines else HOW_STREAM
        rows = [
            f"  {f'/{name} {command.argument}':24}{command.help}"
            for name, command in COMMANDS.items()
        ]
        say("\n".join([how, *rows, KEYS]))

    def quit(self, _: str) -> None:
        """End the session."""
        raise EOFError


class Command(NamedTuple):
    """A command of the session."""

    argument: str
    do: Callable[[Session, str], None]
    help: str


def _knob(name: str, field: str, kind: type, help: str) -> Command:
    """The command that sets a field of Decoding, or tells it."""

    def do(session: Session, argument: str) -> None:
        if argument:
            session.decoding = replace(session.decoding, **{field: number_of(name, kind, argument)})
        say(f"{name} {getattr(session.decoding, field)}")

    return Command("X", do, help)


COMMANDS = {
    "temp": _knob(
        "temp", "temperature", float, "0: always the likeliest; 1: as learnt; without X, it is told"
    ),
    "top-k": _knob("top-k", "top_k", int, "only the X likeliest characters; 0: all"),
    "top-p": _knob("top-p", "top_p", float, "only the fewest that reach this probability; 1: all"),
    "min-p": _knob(
        "min-p", "min_p", float, "only those with this share of the likeliest's; 0: all"
    ),
    "repetition-penalty": _knob(
        "repetition-penalty", "repetition_penalty", float, "above 1: fewer of the last 64"
    ),
    "length": Command("X", Session.set_length, "write at most so many characters a turn"),
    "seed": Command("X", Session.set_seed, "draw from this seed on"),
    "label": Command("X", Session.set_label, "write with this label; none: without one"),
    "fork": Command("[NAME]", Session.fork, "mark this point"),
    "back": Command(
        "[NAME]", Session.back, "return to a mark (the newest), or before the last turn"
    ),
    "again": Command(
        "", Session.again, "write the last turn differently (as after /back: from the next seed)"
    ),
    "text": Command("", Session.text, "all text so far, and what you typed"),
    "reset": Command("", Session.reset, "begin again; marks and settings stay"),
    "help": Command("", Session.help, "this"),
    "quit": Command("", Session.quit, "leave"),
}


def _joined(text: Text) -> bytes:
    pieces = []
    while text is not None:
        text, piece = text
        pieces.append(piece)
    return b"".join(reversed(pieces))

"""charrnn sample --interactive: a person and a model write a text by turns. Lines typed -> calls of sampling.engine.

Text goes to stdout, everything that is said about it to stderr, so that a script can take the person's place.
"""

from __future__ import annotations

import difflib
import itertools
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from charrnn.errors import SettingsError
from charrnn.terminal import one_line, visible, write_stdout

if TYPE_CHECKING:
    from charrnn.sampling.decode import Decoding
    from charrnn.sampling.engine import Sampler, Writer

MAX_LINE_BYTES = 16 << 20
REMEMBERED = 100  # turns that /back can undo
REMEMBERED_BYTES = 256 << 20  # fewer where each is large, as with a cache
HOW_STREAM = """What you type is read as it stands, and the model goes on from there; Enter alone: it just goes on.
A backslash at the end of a line: a newline follows, and you go on typing (two: one backslash)."""
HOW_LINES = """What you type is the beginning of a line, and the model ends it; Enter alone: a line of its own.
Every line is drawn with the next seed, and knows nothing of those before it."""
KEYS = "//text: a text that begins with a slash. Ctrl-C: stop writing, or clear the line. Ctrl-D: leave."

Text: TypeAlias = (
    "tuple[Text, bytes] | None"  # what was before, and a piece: points share their past
)


class Point(NamedTuple):
    """A place in the text to which one can return. Its writer stays as it is: who goes on takes a copy."""

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
    """Write by turns until /quit or the end of stdin. Raises SettingsError for settings that no turn could use.

    prime: the beginning of the text; for a model of lines, of every line. seed None: a fresh one, which is told.
    """
    if sys.stdin is None:  # the shell's <&-
        raise SettingsError("--interactive reads standard input, but it is closed")
    write_stdout(())  # says if that is closed
    session = Session(sampler, decoding, length, until, seed, prime, unknown, raw, threads)
    is_terminal, is_hinted = sys.stdin.isatty(), False
    if seed is None and decoding.temperature > 0:
        _say(f"seed {session.seed} (--seed {session.seed} draws the same again)")
    if is_terminal:
        what = (
            "the beginning of a line, or Enter alone"
            if session.is_lines
            else "text, or Enter alone to go on"
        )
        _say(f"type {what}; /help lists the commands, /quit leaves")
    typed = _edit_lines(session)
    while True:
        line = None
        try:
            line, is_hinted = _ask("> "), False
            session.obey(line)
        except EOFError:
            return
        except SettingsError as error:
            _say(one_line(_in_session(str(error))))
        except UnicodeDecodeError:
            _say("this line is not UTF-8, and was not read")
        except KeyboardInterrupt:
            if not is_terminal:
                raise
            print(file=sys.stdout if sys.stdout.isatty() else sys.stderr)
            is_idle = line is None and not typed()
            if is_idle and is_hinted:
                raise
            if is_hinted := is_idle:
                _say("Ctrl-C once more, Ctrl-D or /quit leaves; /help lists the commands")


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
        from charrnn.sampling.decode import checked_seed
        from charrnn.sampling.engine import LINE_LENGTH, STREAM_LENGTH

        self.sampler, self.is_lines, self.decoding = sampler, sampler.mode == "lines", decoding
        self.length = _length(
            (LINE_LENGTH if self.is_lines else STREAM_LENGTH) if length is None else length
        )
        self.until, self.prime, self.unknown, self.raw, self.threads = (
            until,
            prime,
            unknown,
            raw,
            threads,
        )
        self.seed = checked_seed(seed)  # of the next draws that are not those after the last ones
        self.draws_anew = True  # the next turn takes that seed
        begun = self._taken(prime)  # says at once what is wrong with it
        self.now = self.start = Point(
            sampler.begin(prime, seed=0, unknown=unknown), None if self.is_lines else (None, begun)
        )
        self.asked: Point | None = None  # after what was typed last, before what was written
        self.past: deque[Point] = deque(  # before each turn
            maxlen=max(1, min(REMEMBERED, REMEMBERED_BYTES // self.now.writer.size_bytes))
        )
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
        taken = self._taken(beginning)
        if self.is_lines:
            writer = self.sampler.begin(beginning, seed=0, unknown=self.unknown)
        else:
            writer = self.now.writer.copy()
            writer.read(beginning, unknown=self.unknown)
        self.past.append(self.now)
        self.asked = Point(writer, (self.now.text, taken))
        self.write(self.asked)

    def write(self, point: Point) -> None:
        """Go on from there. On a terminal, a line is shown with its beginning."""
        from charrnn.sampling.decode import MAX_SEED

        writer, written = point.writer.copy(), [b""]
        if self.draws_anew:
            writer.reseed(self.seed)
            self.seed = (self.seed + 1) % (MAX_SEED + 1)
        self.draws_anew = self.is_lines

        def pieces(is_stopped: Callable[[], bool]) -> Iterator[bytes]:
            if self.is_lines and point.text and sys.stdout.isatty():
                yield point.text[1]
            how: dict[str, Any] = {
                "decoding": self.decoding,
                "until": self.until,
                "threads": self.threads,
            }
            for piece in writer.write(self.length, **how):
                written.append(piece)
                yield piece
                if is_stopped():
                    break
            if self.is_lines:
                written.append(b"\n")
                yield b"\n"

        with _stoppable() as is_stopped:
            try:
                self._show(pieces(is_stopped))
            finally:
                self.now = Point(writer, (point.text, b"".join(written)))

    def _taken(self, text: str) -> bytes:
        """The text as the model reads it. Raises SettingsError if it cannot."""
        how: dict[str, Any] = {"prime": text, "until": self.until, "unknown": self.unknown}
        return next(self.sampler.generate(1, length=0, seed=0, **how)).data

    def _whole(self, line: str) -> str:
        """The text that begins with this line: in a stream, a backslash at the end of a line joins the next one."""
        lines = [line]
        while not self.is_lines and lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            if lines[-1].endswith("\\"):
                break
            try:
                lines.append(_ask("... "))
            except EOFError:
                lines.append("")
        return "\n".join(lines)

    def _show(self, pieces: Iterable[bytes]) -> None:
        """Write to stdout; on a terminal, end the line. Raises EOFError when the reader has left."""
        is_complete = False

        def watched() -> Iterator[bytes]:
            nonlocal is_complete
            last = b"\n"
            for piece in pieces:
                last = piece or last
                yield piece
            if sys.stdout.isatty() and not last.endswith(b"\n"):
                yield b"\n"
            sys.stdout.flush()  # if the reader has left, it is here at the latest that write_stdout ends early
            is_complete = True

        write_stdout(watched(), raw=self.raw)
        if not is_complete:
            raise EOFError

    def _go(self, point: Point) -> None:
        self.now, self.asked, self.draws_anew = point, None, True
        end = _joined(point.text)[-160:].decode("utf-8", "replace")[-40:]
        _say(f"back after {one_line(end)!r}" if end else "back at the beginning")

    # Commands

    def set_length(self, argument: str) -> None:
        self.length = _length(_number("length", int, argument)) if argument else self.length
        _say(f"length {self.length}")

    def set_seed(self, argument: str) -> None:
        from charrnn.sampling.decode import checked_seed

        if argument:
            self.seed, self.draws_anew = checked_seed(_number("seed", int, argument)), True
        _say(f"seed {self.seed if self.draws_anew else self.now.writer.seed}")

    def fork(self, name: str) -> None:
        name = name or next(free for free in map(str, itertools.count(1)) if free not in self.marks)
        self.marks.pop(name, None)
        self.marks[name] = self.now
        _say(f"marked: /back {name} returns here")

    def back(self, name: str) -> None:
        if name and name not in self.marks:
            raise SettingsError(
                f"/back {name}: no such mark; there is {', '.join(self.marks) or 'none: /fork makes one'}"
            )
        if not self.marks and not self.past:
            raise SettingsError("/back: there is nothing before this")
        self._go(self.marks[name or list(self.marks)[-1]] if self.marks else self.past.pop())

    def again(self, _: str) -> None:
        if self.asked is None:
            raise SettingsError(
                "/again: nothing has been written since the beginning or the last /back"
            )
        self.draws_anew = True
        self.write(self.asked)

    def text(self, _: str) -> None:
        self._show([_joined(self.now.text)])

    def reset(self, _: str) -> None:
        self.past.append(self.now)
        self._go(self.start)

    def help(self, _: str) -> None:
        table = "\n".join(
            f"  {f'/{name} {each.argument}':24}{each.help}" for name, each in COMMANDS.items()
        )
        _say(f"{HOW_LINES if self.is_lines else HOW_STREAM}\n{table}\n{KEYS}")

    def quit(self, _: str) -> None:
        raise EOFError


class Command(NamedTuple):
    argument: str
    do: Callable[[Session, str], None]
    help: str


def _knob(name: str, field: str, kind: type, help: str) -> Command:
    """The command that sets a field of Decoding, or tells it."""

    def do(session: Session, argument: str) -> None:
        if argument:
            session.decoding = replace(session.decoding, **{field: _number(name, kind, argument)})
        _say(f"{name} {getattr(session.decoding, field)}")

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
    "fork": Command("[NAME]", Session.fork, "mark this point"),
    "back": Command(
        "[NAME]",
        Session.back,
        "return to a mark (the newest), or without any to before the last turn",
    ),
    "again": Command(
        "", Session.again, "write the last turn differently (as after /back: from the next seed)"
    ),
    "text": Command("", Session.text, "all text so far, and what you typed"),
    "reset": Command("", Session.reset, "begin anew; marks and settings stay"),
    "help": Command("", Session.help, "this"),
    "quit": Command("", Session.quit, "leave"),
}


def _joined(text: Text) -> bytes:
    pieces = []
    while text is not None:
        text, piece = text
        pieces.append(piece)
    return b"".join(reversed(pieces))


def _number(name: str, kind: type, argument: str) -> Any:
    try:
        return kind(argument)
    except ValueError:
        raise SettingsError(
            f"/{name} {argument}: not a {'whole ' if kind is int else ''}number"
        ) from None


def _length(value: int) -> int:
    if value < 0:
        raise SettingsError(f"--length {value}: must be at least 0")
    return value


def _in_session(message: str) -> str:
    """A message about an option, as one about a command."""
    if message.startswith("--prime "):
        return f"what you typed {message.removeprefix('--prime ')}"
    return f"/{message.removeprefix('--')}" if message.startswith("--") else message


# The terminal


def _say(message: str) -> None:
    if sys.stderr is not None:
        print(visible(message), file=sys.stderr, flush=True)


def _ask(prompt: str) -> str:
    """A line from stdin. Raises EOFError, UnicodeDecodeError, KeyboardInterrupt."""
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
        _say(f"standard input has a line of more than {MAX_LINE_BYTES >> 20} MiB: stopped")
    if not 0 < len(line) <= MAX_LINE_BYTES:
        raise EOFError
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks to stop between two pieces (30 ms): an exception could fall between a state and its scores."""
    stopped: list[int] = []
    if not sys.stdin.isatty():  # a script ends as any other
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
    try:
        yield lambda: bool(stopped)
    finally:
        signal.signal(signal.SIGINT, before)


def _edit_lines(session: Session) -> Callable[[], str]:
    """Line editing, history and completion for input(), where Python has them; nothing is written to disk.

    Returns what tells the line that Ctrl-C has cleared.
    """
    try:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return str
        import readline
    except ImportError:
        return str

    def complete(word: str, number: int) -> str | None:
        line = readline.get_line_buffer()
        known = (
            list(session.marks) if line.startswith("/back ") else [f"/{name}" for name in COMMANDS]
        )
        is_first = " " not in line or line.startswith("/back ")
        return dict(enumerate(each for each in known if is_first and each.startswith(word))).get(
            number
        )

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    return readline.get_line_buffer

"""Draw real terminal sessions for README.md and docs: run commands, keep what is on the screen.

    python docs/session.py            # both pictures and the blocks of text
    python docs/session.py session    # docs/pictures/session.svg: train, then sample
    python docs/session.py cells      # docs/pictures/cells.svg: a text coloured by one unit
    python docs/session.py readme     # what `make names` prints, into README.md
    python docs/session.py guide      # a training half way, and its log file, into docs/guide.md

Commands run in a pseudo terminal of 80 columns, in a temporary directory. The cells are those of a
network trained for some four minutes on Python's own C headers (Debian: python3-dev).
"""

from __future__ import annotations

import codecs
import io
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 80
MOST_LINES = 25  # a longer session keeps its beginning and its end, with a line of dots between
# What the recipe chose for four minutes. Steps, not a budget: the same units come out again.
NETWORK = (
    "--steps 3000 --hidden-size 224 --num-layers 2 --skip dense --dropout 0.15 "
    "--batch-size 8 --seq-length 256 --threads 2"
)
PASSAGE = 10  # lines of a text coloured by one unit
MARK = "<!-- made by: python docs/session.py {} -->\n"
HALF_WAY = re.compile(r" [67]\d% ━")  # what a bar shows then

# A program's escape sequence: its parameters, and the letter that says what it does.
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[()][A-Z0-9]")

# One dark screen for both of GitHub's themes: its own background is readable on white and black.
THEME = TerminalTheme(
    background=(30, 34, 42),
    foreground=(215, 218, 224),
    normal=[
        (60, 66, 78),
        (240, 113, 120),
        (152, 205, 121),
        (229, 192, 123),
        (97, 175, 239),
        (210, 140, 232),
        (86, 194, 205),
        (190, 196, 206),
    ],
    bright=[
        (127, 136, 152),
        (255, 140, 146),
        (176, 224, 148),
        (245, 212, 150),
        (130, 196, 255),
        (226, 164, 246),
        (120, 214, 224),
        (245, 246, 248),
    ],
)

# Rich's own frame loads a font from the network; a picture of a README must not.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Screen:
    """A terminal's memory: lines of (character, style), and where the next one is written."""

    def __init__(self) -> None:
        self.lines: list[list[tuple[str, str]]] = [[]]
        self.row = 0
        self.column = 0
        self.style = ""

    def feed(self, output: str) -> None:
        position = 0
        for escape in ESCAPE.finditer(output):
            self._write(output[position : escape.start()])
            position = escape.end()
            if escape[2]:
                self._obey(escape[1], escape[2])
        self._write(output[position:])

    def text(self) -> list[Text]:
        """Return what stands on the screen, without empty lines at the end."""
        rows = []
        for line in self.lines:
            codes = ""
            for style, cells in itertools.groupby(line, key=lambda cell: cell[1]):
                run = "".join(char for char, _ in cells)
                codes += f"{style}{run}\x1b[0m" if style else run
            rows.append(Text.from_ansi(codes.rstrip()))
        while rows and not rows[-1].plain.strip():
            rows.pop()
        return rows

    def _write(self, text: str) -> None:
        for char in text:
            if char == "\n":
                self._move(self.row + 1, 0)
            elif char == "\r":
                self.column = 0
            elif char >= " ":
                if self.column == COLUMNS:
                    self._move(self.row + 1, 0)
                line = self.lines[self.row]
                line.extend([(" ", "")] * (self.column + 1 - len(line)))
                line[self.column] = (char, self.style)
                self.column += 1

    def _move(self, row: int, column: int) -> None:
        self.row = max(0, row)
        self.column = max(0, column)
        while len(self.lines) <= self.row:
            self.lines.append([])

    def _obey(self, parameters: str, letter: str) -> None:
        number = int(parameters) if parameters.isdecimal() else 0
        if letter == "m":
            is_reset = parameters in ("", "0")
            self.style = "" if is_reset else f"{self.style}\x1b[{parameters}m"
        elif letter == "K":
            start = self.column if number == 0 else 0
            del self.lines[self.row][start:]
        elif letter == "J":  # erase what is below
            del self.lines[self.row][self.column :]
            del self.lines[self.row + 1 :]
        elif letter == "A":
            self._move(self.row - max(1, number), self.column)
        elif letter == "B":
            self._move(self.row + max(1, number), self.column)
        elif letter == "C":
            self._move(self.row, self.column + max(1, number))
        elif letter == "G":
            self._move(self.row, max(1, number) - 1)


def environment() -> dict[str, str]:
    """Return this environment with 80 columns, full colour and this copy of charrnn."""
    changes = {
        "COLUMNS": str(COLUMNS),
        "LINES": "40",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "PYTHONPATH": str(ROOT),
    }
    kept = dict(os.environ)
    kept.pop("NO_COLOR", None)
    kept.pop("FORCE_COLOR", None)
    return kept | changes


def run(command: str, folder: Path, until: re.Pattern[str] | None = None) -> list[Text]:
    """Run `charrnn ...` in a pseudo terminal; return the command and what stays on the screen.

    until: or what is on the screen once a line of it matches.
    """
    arguments = [sys.executable, "-m", *command.split()]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 (our own commands)
        arguments, cwd=folder, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = Screen()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    frozen: list[Text] = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end has been closed
            break
        if not piece:
            break
        screen.feed(decoder.decode(piece))
        if until and not frozen and any(until.match(line.plain) for line in screen.text()):
            frozen = screen.text()
    os.close(ours)
    if process.wait() != 0:
        text = "\n".join(line.plain for line in screen.text())
        raise SystemExit(f"{command}: exit code {process.returncode}\n{text}")
    prompt = Text.assemble(("$ ", "bold green"), (command, "bold"))
    return [prompt, *(frozen or screen.text())]


def shortened(lines: list[Text], most: int = MOST_LINES) -> list[Text]:
    """Return at most so many lines: the beginning, dots, the end."""
    if len(lines) <= most:
        return lines
    head = most * 2 // 3
    tail = most - head - 1
    return [*lines[:head], Text("...", "dim"), *lines[-tail:]]


def write_picture(name: str, lines: list[Text]) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    picture = console.export_svg(title="charrnn", theme=THEME, code_format=SVG, unique_id=name)
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.svg"
    path.write_text(picture, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(lines)} lines, {len(picture) / 1000:.0f} kB")


def draw_session(folder: Path) -> None:
    training = run("charrnn train names --config names", folder)
    samples = run("charrnn sample --temp 0.8 --count 6", folder)
    room = MOST_LINES - len(samples) - 1
    write_picture("session", [*shortened(training, room), Text(""), *samples])


def draw_cells(folder: Path) -> None:
    headers = Path(sysconfig.get_path("include"))
    shutil.copytree(headers, folder / "headers")
    run(f"charrnn train headers --glob **/*.h --mode stream {NETWORK}", folder)
    ranking = subprocess.run(
        [sys.executable, "-m", "charrnn", "cells", "runs/headers", "--json"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        check=True,
    )
    cells = {cell["feature"]: cell for cell in json.loads(ranking.stdout)["found"]}
    first = None
    lines: list[Text] = []
    for feature in ("in a comment", "in ()"):
        unit = f"{cells[feature]['cell']}:{cells[feature]['unit']}"
        screen = run(f"charrnn cells runs/headers --show {unit} --chars 9000", folder)
        if first is None:
            first = liveliest(screen)
        lines += [*screen[:2], *screen[first : first + PASSAGE], Text("")]
    write_picture("cells", lines[:-1])


def liveliest(lines: list[Text]) -> int:
    """Return where the passage begins that has most of both: comments and parentheses."""

    def rank(start: int) -> int:
        passage = [line.plain for line in lines[start : start + PASSAGE]]
        comments = sum("/*" in line and "*/" in line for line in passage)
        calls = sum("(" in line for line in passage)
        return min(comments, calls)

    return max(range(2, len(lines) - PASSAGE), key=rank)


def write_readme(folder: Path) -> None:
    """Put what `make names` prints from its first command on into README.md, after the mark."""
    commands = [
        "charrnn train names --config names --run runs/make-names --overwrite",
        "charrnn sample runs/make-names --count 10",
    ]
    lines = [line for command in commands for line in run(command, folder)]
    write_block(ROOT / "README.md", "readme", shortened(lines))


def write_guide(folder: Path) -> None:
    """Put a training half way and the log of another one into docs/guide.md."""
    guide = ROOT / "docs" / "guide.md"
    write_block(guide, "guide", run("charrnn train names --budget 40s", folder, HALF_WAY))
    command = "charrnn train names --config names 2> log.txt"
    (folder / "log").mkdir()
    log = subprocess.run(  # noqa: S603 (our own commands)
        [sys.executable, "-m", *command.split()[:-2]],
        cwd=folder / "log",
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = [f"$ {command}", "$ cat log.txt", *log.stderr.splitlines()]
    write_block(guide, "guide  # log", [Text(line) for line in lines])


def write_block(page: Path, name: str, lines: list[Text]) -> None:
    """Put lines into the block of a page that stands after the mark of this name."""
    block = "\n".join(line.plain.rstrip() for line in lines)
    mark = MARK.format(name)
    before, after = page.read_text(encoding="utf-8").split(mark)
    rest = after.split("\n```\n", 1)[1]
    page.write_text(f"{before}{mark}```\n{block}\n```\n{rest}", encoding="utf-8")
    print(f"{page.relative_to(ROOT)}: {len(lines)} lines of {name}")


TARGETS = {
    "session": draw_session,
    "cells": draw_cells,
    "readme": write_readme,
    "guide": write_guide,
}


def main() -> None:
    names = sys.argv[1:] or list(TARGETS)
    for name in names:
        if name not in TARGETS:
            raise SystemExit(f"{name}: not one of {', '.join(TARGETS)}")
        with tempfile.TemporaryDirectory() as folder:
            TARGETS[name](Path(folder))


if __name__ == "__main__":
    main()

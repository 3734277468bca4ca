"""Tables for people: no figure or name is cut, however narrow the terminal is."""

import io
import re

import pytest

from charrnn.tables import print_facts, print_matrix, print_shaded, print_table

COLUMNS = ["which of them", "unit", "score", "an excerpt"]
ROWS = [
    ["position in the line", "layer0.candidate:20", "+0.996", "ius\\nShanel\\nArgentina"],
    ["in a word", "layer0.hidden:9", "1.471e-14", "anda\\nCynthia\\nJosefin"],
]


def shown(capsys, monkeypatch, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("a title", COLUMNS, ROWS, excerpts="an excerpt")
    return re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_name_and_no_figure_is_cut(capsys, monkeypatch, width):
    words = " ".join(shown(capsys, monkeypatch, width)).split()
    for row in ROWS:
        for cell in row[:3]:
            assert set(cell.split()) <= set(words)


@pytest.mark.parametrize("width", [60, 80])
def test_a_table_that_can_fit_does(capsys, monkeypatch, width):
    lines = shown(capsys, monkeypatch, width)
    assert max(len(line) for line in lines) <= width


def test_rows_of_a_table_that_cannot_fit_become_lines(capsys, monkeypatch):
    lines = shown(capsys, monkeypatch, 40)
    assert max(len(line) for line in lines) <= 40
    assert "  unit layer0.hidden:9  score 1.471e-14" in lines


def test_an_excerpt_is_split_before_a_text(capsys, monkeypatch):
    lines = shown(capsys, monkeypatch, 72)
    assert any(line.startswith("position in the line") for line in lines)
    assert not any("Argentina" in line and "Shanel" in line for line in lines)


def test_an_excerpt_is_wide_enough_to_be_read(capsys, monkeypatch):
    lines = shown(capsys, monkeypatch, 66)
    assert any("ius\\nShanel\\nArgen" in line for line in lines), lines


# Outputs that are not UTF-8, and terminals of few colours


class Output(io.TextIOWrapper):
    """A standard output of some encoding."""

    def __init__(self, encoding, is_terminal=False):
        super().__init__(io.BytesIO(), encoding, errors="strict", write_through=True)
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal

    @property
    def lines(self):
        return self.buffer.getvalue().decode(self.encoding).splitlines()


@pytest.mark.parametrize(
    ("encoding", "sign", "dash"), [("ascii", r"\u0436", "-"), ("cp1252", r"\u0436", "–")]
)
def test_a_table_has_escapes_of_known_width_and_plain_signs(monkeypatch, encoding, sign, dash):
    output = Output(encoding)
    monkeypatch.setattr("sys.stdout", output)
    print_matrix("ж · a title", ["ж", "␣"], [[6, 7], [7, 4]])
    print_facts([("see", "ж – of the ж")])
    title, heading, first, second, fact = output.lines
    assert sign in title
    assert heading.split() == [sign, "'", "'"] and first.split() == [sign, "6", "7"]
    assert {len(line) for line in (heading, first, second)} == {len(heading)}
    assert fact == f"see  {sign} {dash} of the {sign}"


@pytest.mark.parametrize(
    ("terminal", "has_digits"), [("xterm", True), ("dumb", True), ("xterm-256color", False)]
)
def test_digits_stand_for_shades_where_there_are_few_colours(monkeypatch, terminal, has_digits):
    output = Output("utf-8", is_terminal=True)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.setenv("TERM", terminal)
    print_shaded("a title", [("a", -1.0), ("b", 0.0), ("c", 1.0)])
    assert ("059" in output.lines) == has_digits


def test_a_title_and_facts_go_on_below_themselves_on_a_narrow_terminal(monkeypatch):
    output = Output("utf-8", is_terminal=True)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    print_table("a title of quite some length " * 3, ["", "score"], [["a row", "1.0"]])
    print_facts([("see", "a sentence of quite some length " * 3)])
    assert max(map(len, output.lines)) <= 40

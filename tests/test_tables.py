"""Tables for people: no figure or name is cut, however narrow the terminal is."""

import re

import pytest

from charrnn.tables import print_table

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


def test_an_excerpt_is_split_before_a_text(capsys, monkeypatch):
    lines = shown(capsys, monkeypatch, 70)
    assert any(line.startswith("position in the line") for line in lines)
    assert not any("Argentina" in line and "Shanel" in line for line in lines)

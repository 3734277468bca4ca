"""The suite of texts: they can be made, they are divided, and the table is printed."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shelf(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("shelf")
    for name in ("corpora", "quality", "page", "shelf"):
        sys.modules.pop(name, None)


def test_half_of_the_texts_choose_and_half_report(shelf):
    halves = [text.half for text in shelf.TEXTS.values()]
    assert len(halves) >= 14
    assert halves.count("choose") == halves.count("report") == len(halves) / 2


def test_a_stream_is_cut_before_its_last_tenth(shelf):
    text = shelf.halves("zen", [])
    whole = text.train + text.test
    assert whole.startswith("The Zen of Python, by Tim Peters\n")
    assert len(text.train) == len(whole) * 9 // 10


def test_no_line_of_a_list_is_learnt_and_scored(shelf):
    text = shelf.halves("thousand-names", [])
    learnt = text.train.splitlines()
    scored = text.test.splitlines()
    assert len(learnt) == 900
    assert len(set(learnt) | set(scored)) == 1000


def test_a_text_is_the_same_whenever_it_is_made(shelf):
    assert shelf.halves("time-zones", []) == shelf.halves("time-zones", [])


def test_a_text_that_is_not_here_is_named(shelf, tmp_path):
    with pytest.raises(shelf.Missing, match=r"tang300\.txt is in no folder of --data"):
        shelf.halves("tang-poems", [tmp_path])


def test_a_text_that_is_not_here_leaves_a_dash_in_the_table(shelf, capsys):
    corpora = importlib.import_module("corpora")
    corpora.main(["--only", "tang-poems"])
    assert " - tang300.txt is in no folder of --data" in capsys.readouterr().out


@pytest.mark.slow
def test_the_table_has_a_line_for_each_budget(shelf, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    corpora = importlib.import_module("corpora")
    corpora.main(["--only", "zen", "--budgets", "1s,2s", "--hands", "1", "--clock", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["zen", "770", "1s"], ["zen", "770", "2s"]]
    assert all(float(line.split()[3]) > 0 for line in lines[1:])

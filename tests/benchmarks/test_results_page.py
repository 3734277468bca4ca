"""The record of results: its page holds what its data say."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "page.py"))
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
RUNS = SCRIPT["read"]()


def test_the_page_holds_the_tables_printed_from_the_data():
    hint = "run: python benchmarks/page.py --write"
    assert SCRIPT["page"](PAGE, RUNS) == PAGE, hint


def test_every_run_of_the_data_stands_on_the_page_as_a_row():
    blocks = dict(
        re.findall(r"<!-- record: (\S+) -->\n(.*?)<!-- end of record -->", PAGE, re.DOTALL)
    )
    assert blocks.keys() == {run["suite"] for run in RUNS}
    for suite, block in blocks.items():
        lines = [line for line in block.splitlines() if line.startswith("|")]
        texts = len(re.findall(r"^\*\*", block, re.MULTILINE))
        assert len(lines) - 2 * texts == sum(run["suite"] == suite for run in RUNS)


@pytest.mark.parametrize("suite", sorted(SCRIPT["SUITES"]))
def test_a_table_of_the_record_has_at_most_six_columns(suite):
    titles, _ = SCRIPT["SUITES"][suite]
    assert len(titles) <= 6


def test_a_text_of_the_suite_stands_in_the_table_of_its_half():
    run = {
        "suite": "corpora",
        "half": "report",
        "text": "zen",
        "train_chars": 770,
        "budget": "20s",
        "clock": "cpu",
        "seeds": 3,
        "bits_per_char": 4.0,
        "hand_bits_per_char": 4.25,
        "hand": "--dropout 0.5",
        "ngram_order": 9,
        "ngram_bits_per_char": 3.5,
        "ppmd_bits_per_char": None,
        "commit": "abc1234",
        "machine": "a machine",
        "note": "",
    }
    title, *_, row = SCRIPT["tables"]("corpora", [run]).strip().splitlines()
    assert title == "**report**"
    assert row == (
        "| zen, 770 | 20s (cpu) | 4.0000 | 4.2500 `--dropout 0.5` | 9-gram 3.5000 "
        "| abc1234; a machine; median of 3 seeds |"
    )

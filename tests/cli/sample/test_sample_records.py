"""charrnn sample and export of a model of records: items of several lines."""

import json
import os
import subprocess
import sys

import pytest
from support import Watcher

from charrnn.training.session import Request, train

RECORDS = [f"Name {n}\nage {n % 7}\nend" for n in range(60)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    (folder / "records.txt").write_text("".join(f"{record}\n---\n" for record in RECORDS))
    settings = {
        "mode": "records",
        "hidden_size": 6,
        "num_layers": 1,
        "steps": 30,
        "lr": 0.05,
        "counting": "off",
    }
    train(Request(str(folder / "records.txt"), (("--", settings),), run=folder / "run"), Watcher())
    return folder / "run"


def charrnn(*words):
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_unique_records_are_all_different(run):
    shown = charrnn("sample", run, "--unique", "-n", 30, "--seed", 1, "--json", "--temp", 0.5)
    texts = [json.loads(line)["text"] for line in shown.splitlines()]
    assert len(set(texts)) == 30
    assert any("\n" in text for text in texts)


def test_ranked_records_are_whole_and_the_likeliest_first(run):
    shown = charrnn("sample", run, "--rank", "-n", 9, "--seed", 1, "--json")
    ranked = [json.loads(line) for line in shown.splitlines()]
    costs = [one["bits_per_char"] for one in ranked]
    assert costs == sorted(costs)
    plain = charrnn("sample", run, "-n", 9, "--seed", 1, "--json")
    texts = [json.loads(line)["text"] for line in plain.splitlines()]
    assert sorted(one["text"] for one in ranked) == sorted(texts)


def test_an_exported_file_writes_records_with_their_line_breaks(run, tmp_path):
    charrnn("export", run, "--numpy", tmp_path / "lesson.py")
    done = subprocess.run(
        [sys.executable, "lesson.py", "--seed", "3"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first = done.stdout.split("\n---\n")[0]
    assert "\n" in done.stdout and "\uffff" not in done.stdout
    assert set(first) <= set("".join(RECORDS))


def test_an_exported_page_knows_the_line_breaks_of_records(run, tmp_path):
    charrnn("export", run, "--html", tmp_path / "box.html")
    assert '"hasBreaks":true' in (tmp_path / "box.html").read_text().replace(" ", "")

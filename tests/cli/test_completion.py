"""What the tab key completes, as bash asks the program."""

import subprocess
import sys

import pytest
from loaded import loaded_after

from charrnn.cli import completion
from charrnn.cli.explain import CELLS
from charrnn.modelfile import MODEL_FILE, PRETRAINED, RUNS
from charrnn.training.removal import is_run


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Runs, and what is none, in the working directory; the shell asks."""
    for name in ("names/checkpoints", "novel-2/checkpoints", "notes"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_CHARRNN_COMPLETE", "complete_bash")

    def ask(line):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))

    return ask


def completed(ask, line):
    ask(line)
    code = "import sys\nsys.argv = ['charrnn']\nfrom charrnn.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("charrnn sample ", ["names", "novel-2", "shakespeare"]),
        ("charrnn train --cell g", ["gru", "gru-before"]),
        ("charrnn train s", ["shakespeare", "surnames"]),
        ("charrnn train --config la", ["latex"]),
        ("charrnn sample ./ru", []),
    ],
)
def test_the_shell_completes(asked, line, words):
    assert completed(asked, line) == words


def test_completion_loads_neither_torch_nor_numpy(asked, tmp_path):
    asked("charrnn export n")
    assert loaded_after([], ("torch", "numpy"), tmp_path) == set()


def test_what_completes_runs_knows_where_they_lie(asked):
    assert completion.RUNS == RUNS and MODEL_FILE in completion.PARTS
    runs = {path.name for path in RUNS.iterdir() if is_run(path)}
    pretrained = {path.name for path in PRETRAINED.iterdir()}
    assert completion.PRETRAINED == PRETRAINED
    assert {*completion.run_names()} == runs | pretrained


def test_cells_and_corpora_are_known(asked):
    assert set(CELLS) <= set(completion.cell_and_run_names())
    assert completion.corpus_names() == ["names", "shakespeare", "surnames"]

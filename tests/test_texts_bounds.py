"""What a stranger's run may cost: its texts and the filters of them are bounded."""

import shutil

import pytest

from charrnn import texts
from charrnn.errors import CheckpointError
from charrnn.modelfile import read_model
from charrnn.texts import OpenedRun


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def add_filters(run, count, size=0):
    for number in range(count):
        with open(run / "corpus" / f"{number:016x}.novel", "wb") as file:
            file.truncate(size)  # a hole takes no room on the disk


def assert_is_refused(run):
    opened = OpenedRun(read_model(run))
    for name in ("filter_files", "inherited_filters", "gaps", "novelty"):
        with pytest.raises(CheckpointError, match="more texts, or larger filters") as caught:
            getattr(opened, name)
        assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_more_texts_than_a_run_has_are_refused(run, monkeypatch):
    monkeypatch.setattr(texts, "MOST_TEXTS", 6)
    add_filters(run, 5)
    assert len(OpenedRun(read_model(run)).filter_files) == 6
    add_filters(run, 6)
    assert_is_refused(run)


def test_filters_of_more_memory_than_a_run_has_are_refused_unread(run, monkeypatch):
    add_filters(run, 31, size=32 << 20)
    assert len(OpenedRun(read_model(run)).filter_files) == 32
    add_filters(run, 33, size=32 << 20)
    monkeypatch.setattr(texts, "read_filter", None)
    assert_is_refused(run)


@pytest.mark.parametrize("command", ["sample", "eval", "report"])
def test_a_command_refuses_a_run_of_too_many_filters_in_one_line(command, run, charrnn):
    add_filters(run, 1001)
    options = ["--novel"] if command == "sample" else []
    done = charrnn(command, run, *options)
    assert done.returncode == 3, done.stderr
    assert "more texts, or larger filters of them" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

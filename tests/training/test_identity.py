"""Which run belongs to a text: told by the text's bytes, not by a file's name."""

import os
from pathlib import Path

import pytest
from support import FEW, Watcher

from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError
from charrnn.text.sources import find_source, is_read_once
from charrnn.training.naming import run_to_resume
from charrnn.training.session import Request, train

COUNTING = (("--", {"cell": "ngram", "order": "2", "mode": "lines"}),)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two texts, in which the program runs."""
    monkeypatch.chdir(tmp_path)
    Path("bands.txt").write_text("".join(f"{name}\n" for name in FEW))
    Path("other").mkdir()
    Path("other/bands.txt").write_text("".join(f"{name}x\n" for name in FEW))
    return tmp_path


def counted(corpus, **more):
    """Train on a text by counting, which takes no time. Return the run and what was said."""
    watcher = Watcher()
    run, _ = train(Request(corpus, COUNTING, **more), watcher)
    return str(run), watcher.said


def resumed(corpus, **text):
    return str(run_to_resume(corpus, TextSettings(**text), Path("runs")))


def test_texts_of_one_name_each_go_on_with_their_own_run(here):
    assert counted("bands.txt")[0] == "runs/bands"
    assert counted("other/bands.txt")[0] == "runs/bands-2"
    assert resumed("bands.txt") == "runs/bands"
    assert resumed("other/bands.txt") == "runs/bands-2"


def test_a_link_to_a_text_is_that_text(here):
    Path("link.txt").symlink_to("bands.txt")
    counted("link.txt")
    assert resumed("link.txt") == resumed("bands.txt") == "runs/link"


def test_of_two_runs_of_a_text_the_newest_goes_on(here):
    counted("bands.txt")
    counted("bands.txt")
    assert resumed("bands.txt") == "runs/bands-2"


def test_a_text_that_has_changed_is_found_by_its_name(here):
    counted("bands.txt")
    Path("bands.txt").write_text("other\n" * 30)
    assert resumed("bands.txt") == "runs/bands"


def test_a_text_without_a_run_has_none_to_resume(here):
    counted("bands.txt")
    Path("new.txt").write_text("new\n")
    with pytest.raises(CheckpointError, match="no run of new.txt"):
        resumed("new.txt")


def test_a_run_is_resumed_where_it_stands_in_the_place_of_a_text(here):
    counted("bands.txt", run=Path("elsewhere"))
    assert resumed("elsewhere") == "elsewhere"


def test_overwrite_replaces_the_run_of_the_same_bytes(here):
    counted("other/bands.txt")
    counted("bands.txt")
    run, lines = counted("bands.txt", overwrite=True)
    assert run == "runs/bands-2"
    assert "writing runs/bands-2: the run that was there is replaced" in lines
    assert resumed("other/bands.txt") == "runs/bands"


def test_overwrite_without_a_run_of_the_text_replaces_nothing(here):
    counted("other/bands.txt")
    assert counted("bands.txt", overwrite=True)[0] == "runs/bands-2"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("other/bands.txt", "runs/bands is of another text"),
        ("bands.txt", "runs/bands is of this text too; to go on with it: charrnn train --resume"),
    ],
)
def test_a_directory_with_a_number_is_said_with_its_reason(here, first, reason):
    counted(first)
    assert any(f"writing runs/bands-2; {reason}" in line for line in counted("bands.txt")[1])


def test_a_run_is_no_text(here):
    counted("bands.txt")
    with pytest.raises(CorpusError, match=r"is a run, .* charrnn train --resume --run runs/bands"):
        find_source("runs/bands", TextSettings())


def test_what_lies_in_runs_is_no_part_of_a_folders_text(here):
    counted("bands.txt")
    Path("runs/bands/samples.txt").write_text("x")
    source, _ = find_source(".", TextSettings(glob="**/*.txt"))
    assert sorted(map(str, source.paths)) == ["bands.txt", "other/bands.txt"]


def test_a_folder_is_found_again_beside_its_own_runs(here):
    options = {"glob": "**/*.txt"}
    layers = (("--", {**COUNTING[0][1], **options}),)
    run, _ = train(Request(".", layers), Watcher())
    assert resumed(".", **options) == str(run)


def piped(path):
    """Return what the shell's <(cat PATH) becomes: the name of a pipe that is read once."""
    reader, writer = os.pipe()
    os.write(writer, Path(path).read_bytes())
    os.close(writer)
    return f"/dev/fd/{reader}"


def test_a_pipe_is_told_by_its_text_and_not_by_its_number(here):
    for path in ("bands.txt", "other/bands.txt"):
        pipe = piped(path)
        assert is_read_once(pipe)
        assert counted(pipe)[0] in ("runs/pipe", "runs/pipe-2")
    source, _ = find_source(piped("bands.txt"), TextSettings())
    assert str(run_to_resume(source, TextSettings(), Path("runs"))) == "runs/pipe"
    counted(source, run=Path("runs/pipe"), resume=True)  # it can be read again


def test_a_pipe_without_a_run_is_told(here):
    source, _ = find_source(piped("bands.txt"), TextSettings())
    with pytest.raises(CheckpointError, match=r"no run of this text \(/dev/fd/\d+\)"):
        run_to_resume(source, TextSettings(), Path("runs"))


class Stopping(Watcher):
    """A person who presses Ctrl-C at once."""

    def stop_reason(self):
        return "SIGINT"


@pytest.mark.parametrize(("first", "is_named"), [(Stopping, True), (Watcher, False)])
def test_an_earlier_run_is_named_where_it_stopped_and_the_newest_is_done(
    first, is_named, here, charrnn
):
    layers = (("--", {"steps": 3, "hidden_size": 4, "mode": "lines", "counting": "off"}),)
    for who in (first, Watcher):
        train(Request("bands.txt", layers), who())
    done = charrnn("train", "bands.txt", "--resume")
    assert "runs/bands-2 is already done" in done.stderr
    assert ("goes on with charrnn train --resume --run runs/bands\n" in done.stderr) == is_named

"""Every row of hostile input: models, checkpoints, and what surrounds a command."""

import os
import shutil
from pathlib import Path

import pytest
from fuzz_files import typed
from inputs_support import FEW, TINY, refuses, works, write

pytestmark = pytest.mark.usefixtures("one_thread")


# Models and checkpoints

OPENS = {
    "sample": lambda run: ("sample", run),
    "eval": lambda run: ("eval", run, "--text", "Ada"),
    "init": lambda run: ("train", write(FEW, "few.txt"), "--init-from", run, "-q"),
    "check": lambda run: ("train", write(FEW, "few.txt"), "--init-from", run, "--check"),
    "resume": lambda run: ("train", "--resume", "--run", run, "-q"),
}


def torn(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.write_bytes(file.read_bytes()[:-1])


def flipped(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        data = bytearray(file.read_bytes())
        data[-9] ^= 1
        file.write_bytes(data)


def pickled(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.write_bytes(b"PK\x03\x04 not ours" * 30)


def emptied(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.write_bytes(b"")


def newer(run):
    from charrnn.modelfile import KINDS
    from charrnn.storage import read_tensors, write_tensors

    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        tensors, meta = read_tensors(file, KINDS)
        write_tensors(file, tensors, meta | {"format": 5, "charrnn": "9.9"})


def piped(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.unlink()
        os.mkfifo(file)


DAMAGE = {
    "torn": (torn, "damaged: its SHA-256 does not match"),
    "a bit flipped": (flipped, "damaged: its SHA-256 does not match"),
    "a zip of pickles": (pickled, "is not a charrnn checkpoint"),
    "empty": (emptied, "is not a charrnn checkpoint"),
    "of a later charrnn": (newer, "has format 5, written by charrnn 9.9"),
    "a pipe": (piped, "is not a regular file"),
    "missing": (shutil.rmtree, "no run"),
}


@pytest.mark.parametrize("row", DAMAGE)
def test_a_model_that_is_none(row, run):
    damage, says = DAMAGE[row]
    damage(Path(run))
    for command in OPENS:
        refuses(3, says, *OPENS[command](run))


def test_a_checkpoint_of_another_cell_or_size_is_refused_with_both_values(run):
    for options, says in (
        (["--cell", "gru"], "--cell lstm, not gru"),
        (["--hidden-size", 4], "--hidden-size 3, not 4"),
    ):
        refuses(2, says, "train", "--resume", "--run", run, *options)
    for options, says in (
        (["--cell", "gru"], "--cell lstm, not gru"),
        (["--hidden-size", 4], "--hidden-size 3, not 4"),
    ):
        refuses(2, says, "train", write(FEW), "--init-from", run, *options)


def test_a_resume_without_a_checkpoint_is_3():
    refuses(3, "no run under runs/", "train", "--resume")
    refuses(3, "no run of text.txt under runs/", "train", write(FEW), "--resume")
    os.makedirs("runs/text/checkpoints")
    refuses(3, "has no checkpoint to resume from", "train", "--resume", "--run", "runs/text")


# What surrounds it


def test_only_the_named_run_is_written_even_without_a_home(tmp_path, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    works("train", write(FEW), *TINY, "--run", "out")
    works("sample", "out", "-n", 1, "--seed", 1)
    works("eval", "out", "--no-baselines")
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "out"}


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_a_place_that_cannot_be_written_is_5(place):
    write(b"", "file")
    refuses(5, place, "train", write(FEW), *TINY, "--run", place)
    refuses(5, place, "cooccur", "text.txt", "--csv", f"{place}/x.csv")


def test_a_terminal_of_ascii_gets_escapes_and_a_pipe_utf8():
    text = write("é漢 so ".encode() * 60)
    works("train", text, *TINY, "--mode", "stream", "--run", "out")
    asked = ("sample", "out", "--prime", "é漢", "--length", 0)
    assert typed(*asked, encoding="ascii", terminal=True).out.rstrip("\n") == "\\xe9\\u6f22"
    assert typed(*asked, encoding="ascii", terminal=False).out.rstrip("\n") == "é漢"


CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2028])) + "[/nope]\ufeff"


def test_no_control_character_of_a_text_reaches_a_terminal_from_any_command():
    text = write((CONTROLS + " so it goes\n").encode() * 8, "te\x1b[2Jxt.txt")
    works("train", text, *TINY[:-1], "--mode", "stream", "--run", "r\x1bn", "--sample-every", 1)
    works("train", text, "--check")
    works("cooccur", text, "--top", 99)
    works("sample", "r\x1bn", "--length", 200, "--seed", 1)
    works("eval", "r\x1bn", "--file", text)
    works("eval", "r\x1bn", "--file", text, "--per-char")
    works("eval", "r\x1bn", "--file", text, "--rank")
    works("train", "--resume", "--run", "r\x1bn", "--steps", 2)
    works(
        "train", text, "--init-from", "r\x1bn", "--steps", 1, "--mode", "stream", "--run", "s\x1bn"
    )


# Rows that need a process, a kernel's limit or hours, or were at home elsewhere before
ELSEWHERE = {
    "a file that changes as it is read": ""
    "test_a_file_that_changes_to_the_same_characters_is_refused_as_changed",
    "a text that changes while it trains": "test_a_text_that_changes_never_changes_a_training",
    "a text of a gigabyte": "test_a_gigabyte_trains_in_flat_memory_and_starts_within_90_seconds",
    "a full standard output": "test_a_full_standard_output_is_5",
    "a closed standard output": "test_a_closed_standard_output_is_5",
    "a reader that leaves": "test_a_reader_that_leaves_ends_it_quietly",
    "a pickle that runs code": "test_a_pickle_given_as_checkpoint_runs_no_code",
    "a disk that becomes read-only": "test_the_disk_becomes_read_only_at_some_calls",
    "names that are not UTF-8": "test_names_that_are_not_utf8_are_no_obstacle",
}


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_other_rows_have_their_tests(row):
    files = Path(__file__).parent.parent.rglob("test_*.py")
    assert any(f"def {ELSEWHERE[row]}(" in file.read_text() for file in files)

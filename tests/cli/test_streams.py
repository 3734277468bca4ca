"""The three standard streams of the real program: closed, full, without a reader, not UTF-8."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios

import pytest
from support import FEW

from charrnn.modelfile import checkpoint_files

ENDS = ("é", "\u202e", "\u009b", "\u2028é", "\u2066b", "a")
NAMES = "".join(f"{name}{end}\n" for name in FEW for end in ENDS)
TINY = "--hidden-size 4 --num-layers 1 --embedding-size 2 --batch-size 4 --threads 1".split()
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@pytest.fixture(scope="module")
def trained_here(tmp_path_factory):
    """A folder with texts, and a run of names that hold é, C1 and bidi characters."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "few.txt").write_text(NAMES, encoding="utf-8")
    command = words("train", "few.txt", "--run", "r", "--steps", 20, "--mode", "lines", *TINY)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def place(trained_here, tmp_path):
    return shutil.copytree(trained_here, tmp_path / "place")


def words(*arguments):
    return [sys.executable, "-m", "charrnn", *map(str, arguments)]


def without_stream(number, how, *arguments, cwd):
    """Run the program without standard input (0), output (1) or error (2), and capture the rest."""
    redirection = {"closed": f"{number}>&-", "full": f"{number}>/dev/full", "unread": ""}[how]
    named = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writer = None
    if how == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        named[("stdin", "stdout", "stderr")[number]] = writer
    try:
        command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *words(*arguments)]
        return subprocess.run(command, cwd=cwd, timeout=240, **named)
    finally:
        if writer is not None:
            os.close(writer)


# Standard error is optional


@pytest.mark.parametrize(
    ("line", "how", "code"),
    [
        ("sample r -n 3 --seed 1", "closed", 0),
        ("sample r -n 3 --seed 1", "full", 0),
        ("sample r -n 3 --seed 1", "unread", 0),
        ("eval r --json", "full", 0),
        ("cells r", "unread", 0),
        ("train few.txt --steps 3", "full", 0),
        ("train few.txt --steps 3 --json", "unread", 0),
        ("train few.txt --steps 3 --quiet", "closed", 0),
        ("sample r --bogus", "unread", 2),
        ("sample none", "full", 3),
        ("sample none", "closed", 3),
        ("report r --out none/x", "unread", 5),
    ],
)
def test_messages_that_cannot_be_written_change_neither_code_nor_output(line, how, code, place):
    arguments = line.split()
    is_training = arguments[0] == "train"
    if is_training:
        arguments += ["--run", "new", *TINY]
    done = without_stream(2, how, *arguments, cwd=place)
    assert done.returncode == code
    if is_training:
        assert (place / "new/model.safetensors").exists()
        assert bool(done.stdout) == ("--json" in arguments)
    elif code == 0:
        usual = subprocess.run(words(*arguments), cwd=place, capture_output=True, timeout=240)
        assert usual.stdout == done.stdout


def test_a_training_goes_on_when_the_reader_of_its_messages_leaves(place):
    command = words("train", "few.txt", "--run", "n", "--steps", 60, "--eval-every", 1, *TINY)
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(240) == 0
    assert checkpoint_files(place / "n/checkpoints")[-1].stem == "step-00000060"


AT_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("more", [[], ["--quiet", "--json"]])
def test_a_closed_terminal_stops_a_training_with_129_after_saving(place, more):
    steps = ("--steps", 10**6, "--eval-every", 50, "--patience", 0)
    command = words("train", "few.txt", "--run", "n", *steps, *TINY, *more)
    leader, follower = pty.openpty()
    termios.tcsetwinsize(leader, (24, 80))  # a bar is drawn only where there are columns
    process = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, *command],
        cwd=place,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        metrics = place / "n/metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            assert process.poll() is None
            if not more:
                os.read(leader, 65536)
        os.close(leader)
        assert process.wait(120) == 129
    finally:
        process.kill()
    assert checkpoint_files(place / "n/checkpoints")


# JSON on a terminal


def on_terminal(*arguments, cwd, env=None):
    """What a terminal gets."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        words(*arguments),
        cwd=cwd,
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env=os.environ | (env or {}),
    )
    os.close(follower)
    data = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux: the other side has closed
            break
        data += piece
    os.close(leader)
    assert process.wait() == 0
    return data.replace(b"\r\n", b"\n").decode()


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        ("sample r -n 40 --seed 3 --temp 1.2 --json", "utf-8"),
        ("sample r -n 40 --seed 3 --temp 1.2 --json", "ascii"),
        ("eval r --json --per-char", "utf-8"),
        ("cooccur few.txt --json", "utf-8"),
    ],
)
def test_json_on_a_terminal_is_the_same_json_without_control_characters(line, encoding, place):
    shown = on_terminal(*line.split(), cwd=place, env={"PYTHONIOENCODING": encoding})
    piped = subprocess.run(words(*line.split()), cwd=place, capture_output=True, check=True)
    assert UNSAFE.search(piped.stdout.decode())  # exact bytes in a pipe
    assert not UNSAFE.search(shown)
    assert encoding == "utf-8" or shown.isascii()
    values = [json.loads(line) for line in shown.split("\n")[:-1]]
    assert values == [json.loads(line) for line in piped.stdout.decode().split("\n")[:-1]]


def test_json_with_raw_is_exact_on_a_terminal_too(place):
    line = "sample r -n 40 --seed 3 --temp 1.2 --json --raw".split()
    piped = subprocess.run(words(*line), cwd=place, capture_output=True, check=True)
    assert on_terminal(*line, cwd=place) == piped.stdout.decode()


# No standard input


@pytest.mark.parametrize(
    "line",
    [
        "train -",
        "train - --check",
        "eval r --file -",
        "cooccur -",
        "sample r --prime-file -",
    ],
)
def test_a_closed_standard_input_is_one_line_and_2(line, place):
    done = without_stream(0, "closed", *line.split(), cwd=place)
    assert done.returncode == 2, done.stderr
    message = done.stderr.decode()
    assert message.startswith("charrnn: ") and message.count("\n") == 1, message
    assert "standard input" in message and "closed" in message
    assert done.stdout == b""


# A standard output that is not UTF-8


ASCII = {"PYTHONIOENCODING": "ascii"}
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("eval r --file few.txt", ASCII),
        ("eval r --file few.txt --per-char", ASCII),
        ("eval r --file few.txt --per-char", C),
        ("eval r --samples 20", ASCII),
        ("cells r", ASCII),
        ("cells r --show layer0.hidden:1", C),
        ("explain r --text é", ASCII),
        ("lab vanish -q r", ASCII),
        ("report r --out Zoé.html", C),
        ("report r --out Zoé.html", ASCII),
        ("train few.txt --check", ASCII),
    ],
)
def test_an_output_that_is_not_utf8_gets_escapes(line, settings, place):
    environment = os.environ | settings
    done = subprocess.run(
        words(*line.split()), cwd=place, capture_output=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout


def test_a_table_on_an_output_of_ascii_shows_escapes(place):
    environment = os.environ | ASCII
    done = subprocess.run(
        words("cooccur", "few.txt"), cwd=place, capture_output=True, env=environment, check=True
    )
    assert b"\\xe9" in done.stdout


# A reader that leaves


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--version", 0),
        ("train --help", 0),
        ("lab --help", 0),
        ("--show-completion bash", 0),
        ("explain", 0),
        ("", 2),
    ],
)
def test_a_reader_of_the_help_that_left_changes_no_code(line, code, tmp_path, monkeypatch):
    # Typer takes the shell of the processes above this one, whatever it is, or the one it is given
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = without_stream(1, "unread", *line.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (code, b"")

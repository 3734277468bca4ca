"""The screens of the first hour, as a terminal of 24 lines and 80 columns shows them."""

import importlib.util
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from support import FEW

SESSION = Path(__file__).parent.parent.parent / "docs/session.py"
TINY = "--hidden-size 4 --num-layers 1 --embedding-size 2 --batch-size 4 --threads 1".split()
LINES = 24
COLUMNS = 80


@pytest.fixture(scope="module")
def session():
    """docs/session.py, which knows what stays on a screen."""
    spec = importlib.util.spec_from_file_location("session", SESSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screens")
    (folder / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    return folder


@pytest.fixture(scope="module")
def shown(session, folder):
    """shown(*words) -> exit code, the lines that stay, and all that was written."""

    def run(*words, interrupted_by=None):
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (LINES, COLUMNS))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"}
        for name in ("COLUMNS", "NO_COLOR", "JPY_PARENT_PID"):
            environment.pop(name, None)
        process = subprocess.Popen(
            [sys.executable, "-m", "charrnn", *words],
            cwd=folder,
            env=environment,
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        output = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:
                break
            if not piece:
                break
            output += piece
            if interrupted_by and interrupted_by in output:
                process.send_signal(signal.SIGINT)
                interrupted_by = None
        os.close(leader)
        screen = session.Screen()
        screen.feed(output.decode())
        return process.wait(120), [line.plain for line in screen.text()], output.decode()

    return run


def fits(lines):
    """With the line of the command above and the prompt below."""
    return len(lines) + 2 <= LINES and all(len(line) <= COLUMNS for line in lines)


@pytest.fixture(scope="module")
def training(shown):
    return shown("train", "few.txt", "--run", "r", "--steps", "300", "--lr", "0.02", *TINY)


@pytest.mark.medium
def test_start_evaluations_and_end_of_a_training_are_one_screen(training):
    code, lines, output = training
    assert code == 0 and fits(lines)
    assert lines[0].startswith("reading 44 lines of few.txt; GRU, ")
    assert lines[0].endswith(" weights; 300 steps; into r")
    assert sum(line.startswith("step ") for line in lines) == 5
    assert sum(line.startswith("  it writes:") for line in lines) == 5
    assert lines[-1] == "now: charrnn sample r"
    assert "━" in output and "━" not in "".join(lines)  # the bar is gone


@pytest.mark.slow
def test_ctrl_c_and_a_resume_are_a_screen_each(shown):
    code, lines, _ = shown(
        *("train", "few.txt", "--run", "s", "--steps", "100000", "--patience", "0", *TINY),
        interrupted_by=b"loss",
    )
    assert code == 130 and fits(lines) and "--resume --run s" in lines[-1]
    code, lines, _ = shown("train", "--resume", "--run", "s", interrupted_by=b"loss")
    assert code == 130 and fits(lines) and lines[0].startswith("resuming s at step ")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("sample r", 0),
        pytest.param("eval r", 0, marks=pytest.mark.slow),
        pytest.param("train few.txt --check", 0, marks=pytest.mark.slow),
        ("train nothing.txt --budget 20s", 3),
        ("train few.txt --hidden-sizes 5", 2),
        ("train --help", 0),
    ],
)
def test_a_command_is_one_screen(training, shown, words, code):
    assert training[0] == 0
    end, lines, _ = shown(*words.split())
    assert end == code and fits(lines)

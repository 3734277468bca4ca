"""charrnn sample --interactive as a person at a terminal meets it."""

import os
import pty
import subprocess
import time

import pytest
from interactive_support import command, written

from charrnn.sampling.decode import Decoding


def escaped(text):
    return text.replace("\x1b", "\\x1b")


def test_a_terminal_shows_the_prompt_and_escaped_text_on_lines_of_its_own(terminal, stream):
    person = terminal(stream, {"length": 300})
    person.type("ab\n")
    expected = written(stream, 300, prime="ab")
    assert "\x1b" in expected and not expected.endswith("\n")
    assert person.wait_for("\r\n> ") == "ab\n" + escaped(expected)
    assert b"/help lists the commands, /quit leaves" in person.shown


def test_a_terminal_shows_a_line_with_its_beginning(terminal, lines):
    person = terminal(lines)
    person.type("an\n")
    assert person.wait_for("> ") == "an\nan" + written(lines, prime="an") + "\n"


@pytest.mark.parametrize("typed", ["/quit\n", "\x04"])
def test_quit_and_ctrl_d_leave_with_0(terminal, stream, typed):
    person = terminal(stream)
    person.type(typed)
    assert person.ends() == 0
    assert person.shown.endswith(b"\n")


def test_the_up_arrow_brings_back_what_was_typed(terminal, stream):
    pytest.importorskip("readline")
    person = terminal(stream, {"length": 0}, {"TERM": "xterm"})
    person.type("abba\n")
    person.wait_for("> ")
    person.type("\x1b[A\x1b[D\x7fe\n")  # up, left, rub out, e: abea
    person.wait_for("> ")
    person.type("/text\n")
    person.wait_for("/text\r\n")
    assert person.wait_for("> ").split("\n")[0].startswith("abbaabea")


def test_tab_completes_a_command_and_a_mark(terminal, stream):
    pytest.importorskip("readline")
    person = terminal(stream)
    person.type("/rep\t\n")
    assert person.wait_for("repetition-penalty 1.0")
    person.type("/fork hither\n/back hi\t\n")
    assert person.wait_for("back at the beginning")


@pytest.mark.parametrize("engine", ["auto", "numpy"])
def test_ctrl_c_stops_the_writing_and_keeps_the_state(terminal, stream, engine):
    person = terminal(stream, {"length": 10**9, "temp": 1.0, "engine": engine})
    person.type("ab\n")
    person.wait_for("n")
    for turn in range(3):
        time.sleep(0.2)
        person.type("\x03")
        person.wait_for(
            "> "
        )  # "^C" stands before or after the end of the line: it waits for room on the way
        if turn < 2:
            person.type("\n")
            person.wait_for("n")
    person.type("/length 30\n\n")
    person.wait_for("length 30\r\n> ")
    after = person.wait_for("\r\n> ").removeprefix("\n")
    person.type("/length 0\n/text\n")
    person.wait_for("/text\r\n")
    text = person.wait_for("\r\n> ")
    # Three interruptions leave no trace in the text: it is the one that is written in one go.
    assert text.endswith(after)
    assert (
        text
        == escaped("ab" + written(stream, len(text), Decoding(1.0), engine, prime="ab"))[
            : len(text)
        ]
    )


def test_ctrl_c_at_the_prompt_clears_the_line(terminal, stream):
    person = terminal(stream)
    person.type("nnn")
    person.wait_for("nnn")
    person.interrupt_the_prompt()
    person.wait_for("\r\n> ")
    person.type("ab\n")
    person.wait_for("ab\r\n")
    assert person.wait_for("\r\n> ") == escaped(written(stream, prime="ab"))
    assert b"once more" not in person.shown


def test_ctrl_c_twice_at_an_empty_prompt_leaves_and_says_so_before(terminal, stream):
    person = terminal(stream)
    person.interrupt_the_prompt()
    person.wait_for("once more")
    person.wait_for("> ")
    person.type("ab\n")  # not in a row
    person.wait_for("\r\n> ")
    person.interrupt_the_prompt()
    person.wait_for("once more")
    person.wait_for("> ")
    person.interrupt_the_prompt()
    assert person.ends() == 130


def test_a_person_s_text_can_go_into_a_file(stream, tmp_path):
    leader, follower = pty.openpty()
    with open(tmp_path / "text", "wb") as file:
        process = subprocess.Popen(
            command(stream, {}), stdin=follower, stdout=file, stderr=subprocess.PIPE
        )
        os.write(leader, b"ab\n/quit\n")
        said = process.communicate(timeout=60)[1]
    os.close(leader)
    os.close(follower)
    assert (tmp_path / "text").read_text() == written(stream, prime="ab")
    assert said.endswith(b"/quit leaves\n> > ")


def test_closed_streams_are_told_in_one_line(stream):
    for redirection, code, word in [("<&-", 2, "standard input"), (">&-", 5, "standard output")]:
        shell = ["sh", "-c", f'"$@" {redirection}', "sh", *command(stream, {})]
        result = subprocess.run(
            shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
        assert (result.returncode, result.stderr.count("\n")) == (code, 1) and word in result.stderr


def test_several_lines_pasted_at_once_are_one_text(terminal, stream):
    readline = pytest.importorskip("readline")
    if "libedit" in readline.__doc__ or readline._READLINE_VERSION < 0x0801:
        pytest.skip("no bracketed paste")
    person = terminal(stream, {"length": 0}, {"TERM": "xterm"})
    person.type("\x1b[200~ab\nba\x1b[201~\n/text\n")
    person.wait_for("/text\r\n")
    assert "ab\nba" in person.wait_for("> ")


def test_nothing_is_written_to_disk(terminal, stream, tmp_path):
    person = terminal(stream, environment={"HOME": str(tmp_path)})
    person.type("ab\n/quit\n")
    assert person.ends() == 0
    assert list(tmp_path.iterdir()) == []

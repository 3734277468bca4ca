"""charrnn sample --interactive as a script meets it: pipes, commands, states."""

import re
import subprocess

import pytest
from interactive_support import TEMP, command, written

from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load


def script(run, typed, **options):
    """stdout, stderr of a session whose lines come from a pipe."""
    typed = typed if isinstance(typed, bytes) else typed.encode()
    result = subprocess.run(command(run, options), input=typed, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.decode(), result.stderr.decode()


# A script: lines from a pipe


def test_what_is_typed_is_read_and_only_what_the_model_wrote_is_on_stdout(stream):
    assert script(stream, "abe\n") == (written(stream, prime="abe"), "")


def test_an_empty_line_goes_on_with_state_and_draws(stream):
    assert script(stream, "abe\n\n\n")[0] == written(stream, 60, prime="abe")


def test_what_is_typed_later_is_read_after_what_was_written(stream):
    writer = load(stream).begin("abe", seed=1)
    expected = b"".join(writer.write(20, decoding=TEMP))
    writer.read("nn")
    expected += b"".join(writer.write(20, decoding=TEMP))
    assert script(stream, "abe\nnn\n")[0] == expected.decode()


def test_the_prompt_begins_a_stream(stream):
    assert script(stream, "e\n", prime="ab")[0] == written(stream, prime="abe")


def test_until_ends_a_turn(stream):
    text = script(stream, "\n", length=10_000, until="an")[0]
    assert text.endswith("an") and text.count("an") == 1 and len(text) < 10_000


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("ab\\\nba\n", "ab\nba"),
        ("ab\\\n\n", "ab\n"),
        ("ab\\\n\\\n\n", "ab\n\n"),
        ("ab\\\n", "ab\n"),
        ("ab\\\\\n", "ab\\"),
        ("//ab\n", "/ab"),
        (" ab\n", None),
        ("ab\r\n", "ab"),
        ("a\\b\n", "a\\b"),
    ],
)
def test_a_stream_reads_what_is_typed_as_it_stands_but_for_a_backslash_at_the_end(
    stream, typed, read
):
    out, said = script(stream, typed)
    assert out == (written(stream, prime=read) if read else "")
    assert ("U+0020" in said) is (read is None)


def test_each_line_is_the_next_seed_s_and_begins_anew(lines):
    expected = [
        written(lines, prime=prime, seed=7 + turn) for turn, prime in enumerate(["an", "", "an"])
    ]
    assert script(lines, "an\n\nan\n", seed=7)[0] == "".join(f"{each}\n" for each in expected)
    assert expected[0] != expected[2]


def test_the_prompt_begins_every_line(lines):
    out, _ = script(lines, "n\n\n", prime="an")
    assert out.splitlines() == [written(lines, prime="ann"), written(lines, prime="an", seed=2)]


def test_a_setting_holds_from_the_next_turn_on(stream):
    writer = load(stream).begin("a", seed=1)
    expected = b"".join(writer.write(20, decoding=TEMP)) + b"".join(
        writer.write(5, decoding=Decoding(2.0, 3))
    )
    out, said = script(stream, "a\n/temp 2\n/top-k 3\n/length 5\n\n")
    assert (out, said) == (expected.decode(), "temp 2.0\ntop-k 3\nlength 5\n")


def test_without_a_value_a_setting_is_told(stream):
    told = script(stream, "/temp\n/top-k\n/top-p\n/min-p\n/repetition-penalty\n/length\n/seed\n")[1]
    assert (
        told
        == "temp 0.8\ntop-k 0\ntop-p 1.0\nmin-p 0.0\nrepetition-penalty 1.0\nlength 20\nseed 1\n"
    )


def test_the_same_seed_again_writes_the_same(stream):
    text = written(stream, prime="ab", seed=9)
    assert script(stream, "/seed 9\nab\n/reset\n/seed 9\nab\n")[0] == text * 2


def test_a_seed_in_the_middle_of_a_stream_changes_the_draws_and_keeps_the_state(stream):
    writer = load(stream).begin("ab", seed=1)
    expected = b"".join(writer.write(20, decoding=TEMP))
    writer.reseed(9)
    assert (
        script(stream, "ab\n/seed 9\n\n/seed\n")[0]
        == (expected + b"".join(writer.write(20, decoding=TEMP))).decode()
    )


def test_a_fresh_seed_is_told(stream):
    out, said = script(stream, "ab\n", seed=None)
    assert out == written(stream, prime="ab", seed=int(re.match(r"seed (\d+) ", said)[1]))


def test_again_goes_back_before_the_last_turn_s_writing_and_takes_the_next_seed(stream):
    out, _ = script(stream, "ab\n/again\n/again\n/text\n")
    texts = [written(stream, prime="ab", seed=seed) for seed in (1, 2, 3)]
    assert out == "".join(texts) + "ab" + texts[2]
    assert len(set(texts)) == 3


def test_back_undoes_turn_after_turn(stream):
    out, said = script(stream, "ab\nba\n/length 0\n/back\n/text\n/back\n/text\n/back\n")
    first = written(stream, prime="ab")
    assert out[40:] == "ab" + first
    assert said.splitlines()[-2:] == [
        "back at the beginning",
        "/back: there is nothing before this",
    ]


def test_back_returns_to_the_newest_mark_or_the_one_that_is_named(stream):
    typed = "/length 0\nab\n/fork\nba\n/fork two\nnn\n/back\n/text\n"
    typed += "/back 1\n/text\nee\n/text\n/back two\n/text\n"
    out, said = script(stream, typed)
    assert out == "abba" + "ab" + "abee" + "abba"
    assert "marked: /back 1 returns here\nmarked: /back two returns here\nback after 'abba'" in said


def test_a_mark_keeps_the_state(stream):
    out, _ = script(stream, "ab\n/fork\nnnn\n/back\n/seed 5\nba\n")
    writer = load(stream).begin("ab", seed=1)
    first = b"".join(writer.write(20, decoding=TEMP)).decode()
    writer.reseed(5)
    writer.read("ba")
    assert out[:20] + out[40:] == first + b"".join(writer.write(20, decoding=TEMP)).decode()


def test_reset_begins_anew_and_can_be_undone(stream):
    out, _ = script(stream, "/length 0\nba\n/reset\n/text\n/back\n/text\n", prime="ab")
    assert out == "ab" + "abba"


def test_text_is_all_that_was_typed_and_written(stream, lines):
    first = written(stream, prime="nab")
    assert script(stream, "ab\nba\n/text\n", prime="n")[0][40:].startswith("nab" + first + "ba")
    assert (
        script(lines, "an\n/text\n")[0]
        == written(lines, prime="an") + "\nan" + written(lines, prime="an") + "\n"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/tmp 2", "did you mean /temp?"),
        ("/zzz", "/help lists the commands"),
        ("/", "/help lists the commands"),
        ("/temp x", "/temp x: not a number"),
        ("/temp -1", "/temp -1: must be at least 0"),
        ("/temp nan", "finite"),
        ("/top-k 1.5", "/top-k 1.5: not a whole number"),
        ("/top-p 0", "/top-p 0: must be"),
        ("/length -1", "/length -1: must"),
        ("/seed -1", "/seed -1: must"),
        ("/back", "nothing before"),
        ("/back x", "no such mark"),
        ("/again", "nothing has been"),
        ("abx", "what you typed has 1 character, the first at position 2"),
        (b"ab\xff", "not UTF-8"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(stream, line, said):
    line = line if isinstance(line, bytes) else line.encode()
    fresh = line in (b"/again", b"/back")
    out, err = script(stream, (line + b"\nab\n\n") if fresh else (b"ab\n" + line + b"\n\n"))
    assert out == written(stream, 40, prime="ab")
    assert said in err and err.count("\n") == 1


def test_unknown_characters_can_be_skipped(stream):
    out, _ = script(stream, "axb\n/length 0\n/text\n", unknown="skip")
    assert out == written(stream, prime="ab") + "ab" + written(stream, prime="ab")


def test_a_huge_length_is_no_fault(stream):
    text = script(stream, f"/length {2**64}\nab\n", until="an")[0]
    assert text == written(stream, 10_000, prime="ab", until="an")


def test_help_names_every_command(stream):
    out, said = script(stream, "/help\n")
    assert out == ""
    knobs = "temp top-k top-p min-p repetition-penalty length seed"
    for name in f"{knobs} fork back again text reset help quit".split():
        assert f"  /{name} " in said
    assert max(map(len, said.splitlines())) <= 110


def test_quit_leaves_the_rest_unread(stream):
    assert script(stream, "/quit\nab\n") == ("", "")


def test_a_wrong_setting_is_told_before_the_first_turn(stream, lines):
    for run, options, word in [
        (stream, {"until": "q"}, b"--until"),
        (stream, {"length": -1}, b"--length -1"),
        (stream, {"prime": "q"}, b"--prime"),
        (lines, {"prime": "a\nb"}, b"--prime"),
        (stream, {"seed": -1}, b"--seed -1"),
    ]:
        result = subprocess.run(command(run, options), input=b"\n", capture_output=True, timeout=60)
        assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1)
        assert word in result.stderr


def test_an_endless_line_is_not_swallowed(stream):
    with open("/dev/zero", "rb") as zero:
        result = subprocess.run(command(stream, {}), stdin=zero, capture_output=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, b"")
    assert b"16 MiB" in result.stderr


@pytest.mark.parametrize("length", [20, 10**9])
def test_a_reader_that_leaves_ends_it_quietly(stream, length):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command(stream, {"length": length}), **pipes)
    process.stdin.write(b"ab\n")
    process.stdin.flush()
    assert len(process.stdout.read(20)) == 20
    process.stdout.close()
    process.stdin.write(b"ab\n")
    process.stdin.flush()  # and left open: the session ends by itself
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""

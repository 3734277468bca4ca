"""What reaches a terminal is harmless; what reaches a pipe is exact."""

import errno
import io
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import StorageError
from charrnn.terminal import fitted, many, one_line, size_of, visible, writable, write_stdout


class Stdout:
    """A standard output: its bytes, and whether it is a terminal."""

    def __init__(self, tty=False, encoding="utf-8", buffer=None):
        self.buffer = buffer or io.BytesIO()
        self.encoding, self.tty = encoding, tty

    def isatty(self):
        return self.tty


class Failing(io.BytesIO):
    """write or flush raises this error."""

    def __init__(self, error, method):
        super().__init__()
        self.error, self.method = error, method

    def write(self, data):
        if self.method == "write":
            raise self.error
        return super().write(data)

    def flush(self):
        if self.method == "flush":
            raise self.error


@pytest.fixture
def shown(monkeypatch):
    """pieces -> the bytes that come out."""

    def out(*pieces, raw=False, **stdout):
        fake = Stdout(**stdout)
        monkeypatch.setattr("sys.stdout", fake)
        write_stdout(pieces, raw=raw)
        return fake.buffer.getvalue()

    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 😀\n\tx", "plain é 😀\n\tx"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb", "a\\rb"),
        ("\0\x07\x08\x0b\x0c\x7f", "\\x00\\x07\\x08\\x0b\\x0c\\x7f"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\u202eabc\u2066\u200f", "\\u202eabc\\u2066\\u200f"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800\udcff", "\\ud800\\udcff"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("e\u0301\ufeff", "e\u0301\ufeff"),
        ("\\x1b", "\\x1b"),
        ("", ""),
    ],
)
def test_visible(text, expected):
    assert visible(text) == expected


@pytest.mark.parametrize(
    ("value", "shown"), [(49_489, "49 kB"), (2_750_000, "2.8 MB"), (4_200_000_000, "4.2 GB")]
)
def test_a_size_is_rounded_for_people(value, shown):
    assert size_of(value) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_visible_text_holds_no_control_character_and_can_be_written(text):
    result = visible(text)
    assert all(
        char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        for char in result
    )
    result.encode("utf-8")


@given(st.text(st.characters(exclude_categories=())))
def test_one_line_is_one_line(text):
    assert len(one_line(text).splitlines()) <= 1
    assert "\t" not in one_line(text)


def test_one_line_writes_newlines_as_escapes():
    assert one_line("a\nb\tc\r") == "a\\nb\\tc\\r"


def test_a_pipe_gets_exact_bytes(shown):
    assert shown(b"a\x1b\r\n\xff\x00", "é".encode()) == b"a\x1b\r\n\xff\x00\xc3\xa9"


def test_a_terminal_gets_escapes(shown):
    assert shown("é\x1b[2J\n".encode(), tty=True) == "é\\x1b[2J\n".encode()


def test_a_terminal_with_raw_gets_exact_bytes(shown):
    assert shown(b"\x1b[2J\xff", tty=True, raw=True) == b"\x1b[2J\xff"


def test_a_terminal_gets_bytes_that_are_not_utf8_as_replacement(shown):
    assert shown(b"a\xffb", tty=True) == "a\ufffdb".encode()


def test_a_terminal_of_ascii_gets_backslashes(shown):
    assert shown("é😀".encode(), tty=True, encoding="ascii") == b"\\xe9\\U0001f600"


def test_a_pipe_of_an_ascii_locale_gets_utf8(shown):
    assert shown("é".encode(), encoding="ascii") == "é".encode()


def test_pieces_reach_a_terminal_one_by_one(monkeypatch):
    seen = []
    fake = Stdout(tty=True)
    fake.buffer.flush = lambda: seen.append(fake.buffer.getvalue())
    monkeypatch.setattr("sys.stdout", fake)
    write_stdout([b"a", b"b"])
    assert seen[:2] == [b"a", b"ab"]


@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_full_disk_is_a_storage_error(method, monkeypatch):
    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("sys.stdout", Stdout(buffer=Failing(error, method)))
    with pytest.raises(StorageError, match=r"No space left on device \(ENOSPC\)") as caught:
        write_stdout([b"x"])
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("pieces", ["[b'x']", "(b'x' * 1000 for _ in range(10_000))"])
def test_a_reader_that_left_ends_the_program_quietly(pieces):
    code = f"from charrnn.terminal import write_stdout\ninput()\nwrite_stdout({pieces})"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        writer.stdout.close()  # before it may write
        _, complaint = writer.communicate(b"go\n", timeout=60)
    assert (writer.returncode, complaint) == (0, b"")


def test_an_error_of_the_generator_is_not_hidden(monkeypatch):
    def pieces():
        yield b"a"
        raise KeyError("a fault of ours")

    monkeypatch.setattr("sys.stdout", Stdout())
    with pytest.raises(KeyError):
        write_stdout(pieces())


def test_a_closed_standard_output_is_a_storage_error():
    code = (
        "from charrnn.errors import StorageError\nfrom charrnn.terminal import write_stdout\n"
        "try: write_stdout([b'x'])\nexcept StorageError as e: raise SystemExit(e.exit_code)"
    )
    words = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code]
    done = subprocess.run(words, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (5, b"")


# Lines for people


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [40, 80])
def test_no_word_of_a_message_is_cut_at_the_edge_of_a_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "charrnn: " + "a message of quite some length; " * 8
    lines = fitted(text, Terminal()).splitlines()
    assert len(lines) > 2 and all(len(line) <= columns for line in lines)
    assert " ".join("".join(f"{line} " for line in lines).split()) == text.strip()


def test_a_message_is_one_line_in_a_log():
    text = "a message of quite some length; " * 8
    assert fitted(text, io.StringIO()) == text


def test_a_path_that_is_wider_than_a_terminal_stays_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/" + "directory/" * 6
    assert path in fitted(f"writing {path} now", Terminal()).splitlines()[1]


def test_characters_that_an_encoding_lacks_are_plain_signs_or_escapes():
    for encoding, expected in (("ascii", "a\\u0436-..."), ("utf-8", "aж–…"), ("x-none", "aж–…")):
        stream = Stdout(encoding=encoding)
        assert writable("aж–…", stream) == expected


def test_one_of_a_thing_is_singular():
    assert [many(count, "line") for count in (0, 1, 2383)] == ["0 lines", "1 line", "2,383 lines"]
    assert [many(count, "try", "tries") for count in (1, 2)] == ["1 try", "2 tries"]

"""Text files -> codes: odd files get what inputs.md promises, wherever the pieces are cut."""

import io
import os
import socket
import stat
import threading
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text import reading
from charrnn.text.census import take_census
from charrnn.text.normalizing import prepare
from charrnn.text.reading import pieces
from charrnn.text.sources import Source, find_source

PLAIN = TextSettings()
CORPORA = Path(__file__).parent.parent.parent / "corpora"
tiny_pieces = pytest.mark.parametrize("piece_bytes", [3, 5, 7, 1 << 22])
not_for_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything"
)


def memory(data, shown="text"):
    return Source("text", shown, spooled=io.BytesIO(data))


def codes_of(source, options=PLAIN):
    """All codes as one str, one character a code."""
    return "".join(chr(code) for piece in pieces(source, options) for code in piece.tolist())


def codes(data, **options):
    return codes_of(memory(data), replace(PLAIN, **options))


def census(data, **options):
    return take_census(memory(data), replace(PLAIN, **options))


def failure(data, **options):
    with pytest.raises(CorpusError) as caught:
        codes(data, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value)


# What is kept and what is not


@tiny_pieces
@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b"\xef\xbb\xbfa\xef\xbb\xbfb", {}, "a\ufeffb"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa", {}, "\ufeffa"),
        (b"a\xef\xbb\xbf", {}, "a\ufeff"),
        (b"a\r\nb\rc\n\r", {}, "a\r\nb\rc\n\r"),
        (b"a\r\nb\rc\n\r", {"newlines": "lf"}, "a\nb\nc\n\n"),
        (b"\r\n" * 5, {"newlines": "lf"}, "\n" * 5),
        (b"\r" * 5, {"newlines": "lf"}, "\n" * 5),
        (b"a\0b", {}, "a\0b"),
        (b"caf\xe9 \x92", {"encoding": "latin-1"}, "caf\xe9 \x92"),
        (b"ab\x92cd\xff", {"errors": "replace"}, "ab\ufffdcd\ufffd"),
        (b"ab\xe2\x82", {"errors": "replace"}, "ab\ufffd"),
        ("aé😀".encode("utf-16"), {"encoding": "utf-16"}, "aé😀"),
        ("aé😀".encode("utf-16-be"), {"encoding": "utf-16-be"}, "aé😀"),
        ("\ufeffa\ufeff".encode("utf-16"), {"encoding": "utf-16"}, "\ufeffa\ufeff"),
        ("\ufeffa\ufeff".encode("utf-16-le"), {"encoding": "utf-16-le"}, "a\ufeff"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa", {"encoding": "utf-8-sig"}, "\ufeffa"),
        ("e\u0301 e\u0301".encode(), {"normalize": "nfc"}, "é é"),
        ("é é".encode(), {"normalize": "nfd"}, "e\u0301 e\u0301"),
        ("é e\u0301".encode(), {}, "é e\u0301"),
        ("👨\u200d👩\u200d👧".encode(), {}, "👨\u200d👩\u200d👧"),
        ("\u2028\u0085\x0b\x0c".encode(), {"newlines": "lf"}, "\u2028\u0085\x0b\x0c"),
        (b"\xef\xbb\xbf\xff\0\r\n", {"unit": "byte"}, "\xef\xbb\xbf\xff\0\r\n"),
    ],
)
def test_codes_of(data, options, expected, piece_bytes, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    assert codes(data, **options) == expected


@tiny_pieces
@pytest.mark.parametrize("text", ["aé€😀\n" * 4, "\ufeffé", "€", "ab"])
def test_pieces_of_any_size_decode_as_the_whole_does(text, piece_bytes, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    assert codes(text.encode()) == text.encode().decode("utf-8-sig")


# Marks that reorder and compose, spaces and newlines where pieces are cut, Hangul, carriage returns
nasty = st.text(
    st.sampled_from(
        " \n\r\tae\u0301\u0323\u0308\u00e9\u1e69\uac00\u1100\u1161\u11a8"
        "\u0f71\u0f72\u212b😀\ufeff\u0344\u3000\u00a0"
    )
    | st.characters(codec="utf-8"),
    max_size=40,
)


@pytest.mark.parametrize("normalize", ["none", "nfc", "nfd"])
@pytest.mark.parametrize("newlines", ["keep", "lf"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=nasty, piece_bytes=st.integers(1, 9))
def test_any_text_in_tiny_pieces_equals_the_text_in_one_go(
    text, piece_bytes, newlines, normalize, monkeypatch
):
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    expected = text.removeprefix("\ufeff")
    if newlines == "lf":
        expected = expected.replace("\r\n", "\n").replace("\r", "\n")
    if normalize != "none":
        expected = unicodedata.normalize(normalize.upper(), expected)
    assert codes(text.encode(), newlines=newlines, normalize=normalize) == expected


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.binary(max_size=24) | st.text(max_size=9).map(str.encode), piece_bytes=st.integers(2, 7)
)
def test_any_bytes_in_tiny_pieces_fail_where_the_whole_fails(data, piece_bytes, monkeypatch):
    assume(not data.startswith(b"\x1f\x8b"))  # gzip, which is unpacked
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    try:
        expected = data.decode("utf-8").removeprefix("\ufeff")
        start = -1
    except UnicodeDecodeError as error:
        expected = ""
        start = error.start
    if start < 0:
        assert codes(data) == expected
    else:
        line = 1 + data[:start].count(b"\n")
        assert f"byte 0x{data[start]:02x} at offset {start}, line {line}, " in failure(data)


def test_prepare_treats_a_prompt_as_the_corpus_was_treated():
    options = replace(PLAIN, newlines="lf", normalize="nfc")
    assert prepare("e\u0301\r\nx\r", options) == "é\nx\n"
    assert prepare("", options) == ""
    assert prepare("e\u0301\r\n", PLAIN) == "e\u0301\r\n"


# Bytes that do not decode


@tiny_pieces
@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"\x92", "byte 0x92 at offset 0, line 1,"),
        (b"ab\ncd\n\x92", "byte 0x92 at offset 6, line 3,"),
        ("é\n".encode() * 3 + b"\xc3(", "byte 0xc3 at offset 9, line 4,"),
        (b"12345\xe2\x82", "byte 0xe2 at offset 5, line 1,"),
        (b"1234\xed\xa0\x80", "byte 0xed at offset 4, line 1,"),
        (b"\n\n\xc0\x80", "byte 0xc0 at offset 2, line 3,"),
        (b"\xef\xbb\xbfa\xf4\x90\x80\x80", "byte 0xf4 at offset 4, line 1,"),
    ],
)
def test_invalid_utf8_names_byte_offset_and_line(data, where, piece_bytes, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    message = failure(data)
    assert where in message
    assert "--errors replace" in message


@pytest.mark.parametrize(
    ("encoding", "data"), [("utf-7", b"+2AA-"), ("unicode_escape", rb"a\ud800")]
)
def test_an_encoding_that_lets_surrogates_through_is_stopped(encoding, data):
    assert "U+D800" in failure(data, encoding=encoding)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_nothing_or_only_a_byte_order_mark_is_empty(data):
    with pytest.raises(CorpusError, match="text is empty"):
        census(data)


# Where texts come from


def test_a_file_is_named_after_itself(tmp_path):
    path = tmp_path / "my text.md"
    path.write_text("abc")
    source, note = find_source(str(path), PLAIN)
    assert (source.name, source.shown, note, codes_of(source)) == ("my text", str(path), "", "abc")


@pytest.mark.parametrize("corpus", [None, "names", "names.txt"])
def test_the_shipped_names_are_found_from_any_directory(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, _ = find_source(corpus, PLAIN)
    assert source.name == "names"
    assert codes_of(source) == (CORPORA / "names.txt").read_text()


def test_no_corpus_means_the_shipped_names_even_beside_a_directory_of_that_name(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names").mkdir()
    source, note = find_source(None, PLAIN)
    assert source.paths == (CORPORA / "names.txt",)
    assert note == ""


def test_a_file_here_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("mine")
    assert codes_of(find_source("names.txt", PLAIN)[0]) == "mine"


def test_the_shipped_names_under_another_path_come_with_a_note(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no file data/names.txt here" in find_source("data/names.txt", PLAIN)[1]
    assert find_source("names", PLAIN)[1] == ""


def test_a_missing_file_names_close_ones_and_the_shipped(tmp_path):
    (tmp_path / "shakespeare.txt").write_text("x")
    with pytest.raises(
        CorpusError,
        match=r"shakespear\.txt; near it: shakespeare\.txt; .*names, shakespeare, surnames",
    ):
        find_source(str(tmp_path / "shakespear.txt"), PLAIN)


@pytest.mark.parametrize(
    "corpus", ["no/such/dir/x", "a\0b", "x" * 300, "\udcff", "../surnames", "names.txt.txt.txt"]
)
def test_a_name_that_cannot_be_read_is_an_error_in_one_line(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError) as caught:
        find_source(corpus, PLAIN)
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


def test_a_file_below_a_file_is_missing(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(CorpusError, match="no file"):
        find_source(str(tmp_path / "a" / "b"), PLAIN)


@not_for_root
def test_a_file_without_permission_names_the_reason(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(CorpusError, match="Permission denied"):
        take_census(find_source(str(tmp_path / "a.txt"), PLAIN)[0], PLAIN)


def test_an_error_of_the_disk_names_the_reason(tmp_path, monkeypatch):
    """As root cannot be refused, the refusal itself is played."""
    (tmp_path / "a.txt").write_text("abc")
    source = find_source(str(tmp_path / "a.txt"), PLAIN)[0]

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CorpusError, match=r"cannot read .*a\.txt: Permission denied"):
        codes_of(source)


def test_a_socket_is_an_error_in_one_line(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(CorpusError, match="cannot read"):
            find_source(str(tmp_path / "s"), PLAIN)


# Directories


def test_a_directory_is_its_files_in_name_order_with_visible_joints(tmp_path):
    for name, text in (("b.txt", "B"), ("a.txt", "\ufeffA\n"), (".hidden", "H"), ("c.md", "C")):
        (tmp_path / name).write_text(text)
    source, _ = find_source(str(tmp_path), replace(PLAIN, glob="*.txt"))
    assert codes_of(source) == "==> a.txt <==\nA\n\n==> b.txt <==\nB"
    assert source.name == tmp_path.name
    assert "(2 files)" in source.shown


def test_a_deep_glob_shows_relative_paths_and_leaves_hidden_folders_out(tmp_path):
    for name in ("sub/x.c", "y.c", ".git/z.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    source, _ = find_source(str(tmp_path), replace(PLAIN, glob="**/*.c"))
    assert codes_of(source) == "==> sub/x.c <==\n1\n==> y.c <==\n1"


def test_byte_mode_reads_a_directory_with_the_same_joints(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff")
    (tmp_path / "b").write_bytes(b"\0")
    options = replace(PLAIN, unit="byte")
    assert (
        codes_of(find_source(str(tmp_path), options)[0], options)
        == "==> a <==\n\xff\n==> b <==\n\0"
    )


def test_the_joints_of_a_directory_enter_its_sha256(tmp_path):
    for folder, parts in (("one", ("ab", "c")), ("two", ("a", "bc"))):
        (tmp_path / folder).mkdir()
        for name, text in zip("xy", parts, strict=True):
            (tmp_path / folder / name).write_text(text)
    one, two = (
        take_census(find_source(str(tmp_path / name), PLAIN)[0], PLAIN).sha256
        for name in ("one", "two")
    )
    assert one != two


@pytest.mark.parametrize("pattern", ["*.none", "", "/etc/*", "**x"])
def test_a_glob_without_files_or_sense_is_an_error(pattern, tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match="--glob"):
        find_source(str(tmp_path), replace(PLAIN, glob=pattern))


def test_invalid_utf8_in_a_directory_names_the_file(tmp_path):
    (tmp_path / "a.txt").write_text("fine\n")
    (tmp_path / "b.txt").write_bytes(b"x\n\x92")
    with pytest.raises(CorpusError, match=r"b\.txt: byte 0x92 at offset 2, line 2,"):
        codes_of(find_source(str(tmp_path), PLAIN)[0])


def test_a_file_name_that_steers_terminals_is_escaped_in_the_text(tmp_path):
    (tmp_path / "a\x1b\n.txt").write_text("x")
    assert codes_of(find_source(str(tmp_path), PLAIN)[0]) == "==> a\\x1b\\n.txt <==\nx"


# Streams


class Stdin:
    def __init__(self, data):
        self.buffer = io.BytesIO(data)


def test_standard_input_is_read_once_and_can_be_gone_through_twice(monkeypatch):
    monkeypatch.setattr("sys.stdin", Stdin("héllo".encode()))
    source, _ = find_source("-", PLAIN)
    assert source.name == "stdin"
    assert codes_of(source) == codes_of(source) == "héllo"


@pytest.mark.parametrize("piece_bytes", [3, 4])
@pytest.mark.parametrize(("size", "fits"), [(7, True), (8, True), (9, False)])
def test_standard_input_stops_at_max_bytes(size, fits, piece_bytes, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr("sys.stdin", Stdin(b"x" * size))
    if fits:
        assert codes_of(find_source("-", replace(PLAIN, max_bytes=8))[0]) == "x" * size
    else:
        with pytest.raises(
            CorpusError, match=r"standard input has more than 8 bytes; .*--max-bytes"
        ):
            find_source("-", replace(PLAIN, max_bytes=8))


def test_a_fifo_is_read_to_its_end(tmp_path):
    fifo = tmp_path / "pipe.txt"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(b"through a pipe"))
    writer.start()
    source, _ = find_source(str(fifo), PLAIN)
    writer.join()
    assert codes_of(source) == codes_of(source) == "through a pipe"
    assert source.name == "pipe"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_an_endless_device_stops_at_max_bytes():
    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)
    with pytest.raises(CorpusError, match="/dev/zero has more than 1,000 bytes"):
        find_source("/dev/zero", replace(PLAIN, max_bytes=1000))

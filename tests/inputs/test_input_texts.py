"""Every row of hostile input: texts, and places that hold none."""

import contextlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from inputs_support import FEW, LINES, TINY, refuses, works, write

pytestmark = pytest.mark.usefixtures("one_thread")


PROSE = b"so it goes on and on, as it has gone on so far. " * 12


# Every command that reads a text, and how it is given one
READS = {
    "train": lambda text: ("train", text, *TINY),
    "check": lambda text: ("train", text, "--check"),
    "init": lambda text: ("train", text, "--init-from", LINES, "--steps", 1, "--threads", 1, "-q"),
    "val": lambda text: ("train", write(FEW, "few.txt"), "--val", text, *TINY),
    "count": lambda text: ("train", text, "--cell", "ngram", "-q"),
    "cooccur": lambda text: ("cooccur", text),
    "eval": lambda text: ("eval", LINES, "--file", text, "--no-baselines"),
}


NOT_UTF8 = "na\u00efve caf\u00e9 ".encode("latin-1") * 30


REFUSED = {  # a text: what is said of it, to whom (all, if nobody is named)
    "empty": (b"", "is empty", ("train", "check", "init", "val", "count", "cooccur")),
    "empty, scored": (b"", "nothing to score", ("eval",)),
    "only a byte order mark": (
        b"\xef\xbb\xbf",
        "is empty",
        ("train", "check", "init", "val", "count", "cooccur"),
    ),
    "one character": (
        b"a",
        "with --split 0.9,0.05,0.05 it needs at least 40",
        ("train", "init", "count"),
    ),
    "shorter than a validation split needs": (
        b"ab",
        "it needs at least 40",
        ("train", "init", "count"),
    ),
    "two lines, asked for as lines": (
        b"Ada\nBob\n",
        "needs at least 3",
        ("train", "init", "count"),
    ),
    "bytes that are not UTF-8": (
        NOT_UTF8,
        "byte 0xef at offset 2, line 1, is not utf-8; pass --encoding",
        None,
    ),
    "UTF-16": (FEW.decode().encode("utf-16"), "--encoding utf-16", None),
    "surrogates in UTF-8": (b"text \xed\xa0\x80 text", "byte 0xed at offset 5, line 1", None),
    "half a character at the end": (
        "Ada\nBob é".encode()[:-1],
        "byte 0xc3 at offset 8, line 2",
        None,
    ),
    "unknown characters, scored": (
        "Zoé\n".encode(),
        "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
        ("eval",),
    ),
    "not composed, scored": ("Zoe\u0301\n".encode(), "U+0301 COMBINING ACUTE ACCENT", ("eval",)),
}


@pytest.mark.parametrize("row", REFUSED)
def test_a_text_that_no_command_takes(row):
    data, says, commands = REFUSED[row]
    for command in commands or READS:
        lines = ("--mode", "lines") if row == "two lines, asked for as lines" else ()
        refuses(3, says, *READS[command](write(data)), *lines)


TAKEN = {  # a text: what is said of it while it is trained on
    "one distinct character": (b"a" * 400, "one distinct character"),
    "NUL bytes": (PROSE + b"\0" + PROSE, "1 NUL character, kept"),
    "carriage returns": (PROSE.replace(b". ", b".\r\n"), "carriage returns, kept; --newlines lf"),
    "a byte order mark": (b"\xef\xbb\xbf" + PROSE, ""),
    "emoji of several characters": ("so it goes 👨‍👩‍👧 on. ".encode() * 20, ""),
    "a huge alphabet": (
        "".join(map(chr, range(0x4E00, 0x4E00 + 20_100))).encode() * 2,
        "20,100 distinct characters",
    ),
}


@pytest.mark.parametrize("row", TAKEN)
def test_a_strange_text_is_taken_and_said(row):
    data, says = TAKEN[row]
    text = write(data)
    works("train", text, *TINY, "--mode", "stream", says=says)
    works("cooccur", text, "--top", 5)
    if row != "a huge alphabet":
        works("train", text, "--check", "--mode", "stream")


def test_a_byte_order_mark_is_dropped_once_and_kept_inside():
    found = json.loads(works("cooccur", write(b"\xef\xbb\xbf\xef\xbb\xbfa"), "--json"))
    assert sorted(found["symbols"]) == ["a", "\ufeff"]


PLACES = {
    "a missing file": ("shakespear.txt", "no file shakespear.txt; near it: shakespeare.txt"),
    "a directory without files": ("folder", "no file in folder matches"),
    "a socket": ("socket", "cannot read socket"),
    "a name that is too long": ("n" * 300, "File name too long"),
    "a name with control characters": ("a\x1b[2Jb", "no file a\\x1b[2Jb"),
}


@pytest.mark.parametrize("row", PLACES)
def test_a_place_that_is_no_text(row):
    place, says = PLACES[row]
    write(PROSE, "shakespeare.txt")
    os.mkdir("folder")
    with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(OSError):
        other.bind("socket")
        for command in READS:
            refuses(3, says, *READS[command](place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission():
    os.chmod(write(FEW), 0)
    for command in READS:
        refuses(3, "Permission denied", *READS[command]("text.txt"))


@pytest.mark.parametrize("command", ["train", "check", "eval", "cooccur"])
def test_standard_input_and_a_pipe_are_read_to_their_end(command):
    works(*READS[command]("-"), stdin=FEW)
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(FEW))
    writer.start()
    works(*READS[command]("pipe"))
    writer.join()


@pytest.mark.parametrize("command", ["train", "check", "init", "val", "count"])
def test_an_endless_device_ends_at_max_bytes(command):
    refuses(
        3,
        "has more than 100,000 bytes; save it to a file, or raise --max-bytes",
        *READS[command]("/dev/zero"),
        "--max-bytes",
        100_000,
    )


def test_a_text_that_has_changed_stops_a_resume_unless_that_is_allowed(run):
    again = ("train", write(FEW + b"New\n", "names.txt"), "--resume", "--run", run, "-q")
    refuses(3, "is not the text this run was trained on", *again)
    refuses(
        3,
        "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
        "train",
        write("Zoé\n".encode() + FEW, "names.txt"),
        *again[2:],
        "--allow-corpus-change",
    )

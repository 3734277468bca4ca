"""Files of a stranger that would take memory or years, and inputs altered at random."""

import csv
import hashlib
import io
import json
import re
import threading

import numpy as np
import pytest
from fuzz import one_input
from fuzz_files import typed
from fuzz_words import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import storage
from charrnn.errors import CheckpointError, SettingsError
from charrnn.modelfile import KINDS, read_model
from charrnn.sampling import constraints
from charrnn.sampling.constraints import Constraints
from charrnn.storage import read_json, read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


# What would take memory


def with_header(text):
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


DIGEST = b'{"__metadata__":{"meta":"{\\"sha256\\":\\"' + b"0" * 64 + b'\\"'


@pytest.mark.parametrize("bomb", [b"[],", b"{},", b'"a":0,', b"0,"])
def test_json_that_would_take_gigabytes_is_refused_unread(bomb, tmp_path, monkeypatch):
    data = bytearray(with_header(DIGEST + b'}"},"x":[' + bomb * 1_500_000 + b"0]}"))
    at = data.index(b"0" * 64)
    data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    (tmp_path / "bomb").write_bytes(data)
    monkeypatch.setattr(storage.json, "loads", lambda *rest, **named: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match="is not a charrnn checkpoint"):
        read_tensors(tmp_path / "bomb", KINDS)
    (tmp_path / "about.json").write_bytes(b"[" + bomb * 1_500_000 + b"0]")
    with pytest.raises(CheckpointError, match="is not a corpus"):
        read_json(tmp_path / "about.json", "a corpus", 1)


def test_the_largest_vocabulary_is_still_read(tmp_path):
    symbols = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    write_tensors(
        tmp_path / "m",
        {"x": np.zeros(1)},
        {"kind": "charrnn-model", "format": 1, "symbols": symbols},
    )
    assert read_tensors(tmp_path / "m", KINDS)[1]["symbols"] == symbols


def test_a_file_larger_than_memory_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "holes"
    size = (1 << 33) - (1 << 10)
    begin_tensors(path, size)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + size)  # 8 GB of holes take no room on the disk
    monkeypatch.setattr(storage, "free_memory_bytes", lambda: 10 << 30)
    with pytest.raises(CheckpointError, match=r"takes 17\.2 GB to read and 10\.7 GB are free"):
        read_model(path)


def begin_tensors(path, size, **tensor):
    """Write the header of a file with one tensor of `size` bytes, and nothing of the tensor."""
    meta = json.dumps({"sha256": "0" * 64, "kind": "charrnn-model", "format": 1})
    about = {
        "__metadata__": {"meta": meta.replace(", ", ",").replace(": ", ":")},
        "x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size], **tensor},
    }
    header = json.dumps(about, separators=(",", ":")).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    ("length", "tensor", "words"),
    [
        (200_000_000, {}, "is damaged: its 200,000,000 bytes do not fit its header"),
        (200_000_000, {"data_offsets": "?"}, "do not fit its header"),
        (200_000_000, {"data_offsets": [0, None]}, "do not fit its header"),
        (None, {}, "is not a charrnn checkpoint"),
    ],
)
def test_a_large_file_that_its_header_does_not_fit_is_refused_unread(
    length, tensor, words, tmp_path, monkeypatch
):
    path = tmp_path / "holes"
    if length is None:
        path.write_bytes(b"")
        length = 200_000_000
    else:
        begin_tensors(path, length // 2, **tensor)
    with open(path, "r+b") as file:
        file.truncate(length)
    monkeypatch.setattr(storage, "read_bounded", None)  # reads all of a file
    with pytest.raises(CheckpointError, match=words):
        read_model(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "9" * 5000])
def test_numbers_that_json_has_not_are_refused(number, tmp_path):
    (tmp_path / "about.json").write_text(f'{{"format": 1, "bounds": {number}}}')
    with pytest.raises(CheckpointError, match="is damaged"):
        read_json(tmp_path / "about.json", "a corpus", 1)


# Patterns


@pytest.mark.parametrize(
    "pattern",
    ["(.*)*x", ".*.*.*.*.*x", "(a*)*\\1*b", "(a|||||b)+c", "(?:a|b)*?(?:a|b)*?(?:a|b)*?(?:a|b)*?c"],
)
def test_a_pattern_that_takes_years_is_stopped(pattern, monkeypatch):
    monkeypatch.setattr(constraints, "PATTERN_S", 0.01)
    with pytest.raises(
        SettingsError, match="takes over 0.01 s for one text; write it without repeats"
    ) as caught:
        Constraints(matching=pattern).matches("a" * 1000)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[^@]*@", "a" * 100_000),
        ("a*b", "a" * 100_000),
        (".{0,100000}@", "a" * 100_000),
        ("[ab]+?c", "ab" * 50_000),
        ("." * 20_000 + "b", "a" * 100_000),
    ],
    ids=lambda value: value[:12],
)
def test_a_pattern_with_one_repeat_or_none_is_stopped_too(pattern, text, monkeypatch):
    """It takes the square of the text's length."""
    monkeypatch.setattr(constraints, "PATTERN_S", 0.01)
    with pytest.raises(SettingsError, match="takes over 0.01 s for one text"):
        Constraints(matching=pattern).matches(text)


def test_a_short_pattern_starts_no_clock_for_a_short_text(monkeypatch):
    """Ten microseconds are more than such a search takes."""
    patterns = [Constraints(matching=pattern) for pattern in ("[^@]*@", "^Ann", "a{2}")]
    monkeypatch.setattr(constraints.signal, "setitimer", lambda *rest: pytest.fail("a clock"))
    assert not any(wanted.matches("b" * 1000) for wanted in patterns)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("((a?){1000}){1000}", True),
        ("((a?){1000}){1001}", False),
        ("a{9,}b{1000001}", False),
        ("{", True),
    ],
)
def test_counts_that_multiply_to_over_a_million_are_refused(pattern, fits):
    if fits:
        assert Constraints(matching=pattern).pattern is not None
    else:
        with pytest.raises(SettingsError, match="repeats something over 1,000,000 times"):
            Constraints(matching=pattern)


def test_the_clock_of_a_pattern_leaves_no_trace():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    assert Constraints(matching="a+b+").matches("aab")
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_pattern_is_looked_for_in_threads_too():
    found = []
    thread = threading.Thread(
        target=lambda: found.append(Constraints(matching="a+b+").matches("aab"))
    )
    thread.start()
    thread.join()
    assert found == [True]


# Tables


def test_no_cell_of_a_csv_begins_a_formula(tmp_path):
    (tmp_path / "text.txt").write_text("=cmd|' /C calc'!A0 +1 -2 @sum ＝x 'a\n" * 3)
    for words in ([], ["--words"]):
        done = typed(
            "cooccur", tmp_path / "text.txt", "--csv", tmp_path / "out.csv", "--top", 99, *words
        )
        assert done.code == 0
        head, *rows = csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))
        labels = [row[0] for row in rows]
        assert labels == head[2:]
        assert {"'=", "'+", "'-", "'@", "'＝", "|"} <= set(labels)
        assert not [cell for row in (head, *rows) for cell in row if re.match(r"[=+\-@＝]", cell)]


@pytest.mark.parametrize("name", TARGETS)
def test_altered_inputs_are_refused_in_one_line_or_work(name, targets):
    target, seeds = targets[name], targets[name].seeds()

    @settings(max_examples=15 if name == "run" else 50, derandomize=True, database=None)
    @given(number=st.integers(0, 10**6))
    def some(number):
        target.run(one_input(target, seeds, 0, number), number)

    some()

"""Co-occurrence counts against the lecture's table and a naive loop, and what the command does."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import storage
from charrnn.config import TextSettings
from charrnn.errors import CorpusError, StorageError
from charrnn.insight import cooccur
from charrnn.insight.cooccur import count, count_text, label
from charrnn.storage import write_atomically
from charrnn.tables import print_facts, print_matrix, print_table
from charrnn.text import reading

STREAM, LINES = TextSettings(mode="stream"), TextSettings(mode="lines")
LECTURE = ["I like deep learning .", "I like NLP .", "I enjoy flying ."]


@pytest.fixture
def counted(tmp_path):
    """text, settings, how -> {(symbol, symbol): count} where it is not zero, and frequencies."""

    def run(text, options=STREAM, **how):
        (tmp_path / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        result = count_text(str(tmp_path / "text.txt"), options, **{"top": 1000, **how})
        symbols, matrix = result.symbols, np.array(result.counts)
        pairs = {
            (a, b): int(matrix[i, j])
            for i, a in enumerate(symbols)
            for j, b in enumerate(symbols)
            if matrix[i, j]
        }
        return pairs, dict(zip(symbols, result.frequencies, strict=True))

    return run


def naive(symbols, window):
    """How often j stands at most window places from an i."""
    return Counter(
        (here, symbols[at])
        for place, here in enumerate(symbols)
        for at in range(max(0, place - window), min(len(symbols), place + window + 1))
        if at != place
    )


def test_the_lectures_table(counted):
    """ "I like deep learning . I like NLP . I enjoy flying .", each sentence alone, window 1."""
    pairs, frequencies = counted("\n".join(LECTURE), LINES, words=True, window=1)
    one_way = {
        ("I", "like"): 2,
        ("I", "enjoy"): 1,
        ("like", "deep"): 1,
        ("like", "NLP"): 1,
        ("deep", "learning"): 1,
        ("learning", "."): 1,
        ("NLP", "."): 1,
        ("enjoy", "flying"): 1,
        ("flying", "."): 1,
    }
    assert pairs == one_way | {(b, a): times for (a, b), times in one_way.items()}
    assert frequencies == {
        ".": 3,
        "I": 3,
        "like": 2,
        "NLP": 1,
        "deep": 1,
        "enjoy": 1,
        "flying": 1,
        "learning": 1,
    }


def test_in_a_stream_windows_cross_line_ends(counted):
    pairs, _ = counted("\n".join(LECTURE), STREAM, words=True, window=1)
    assert pairs["I", "."] == pairs[".", "I"] == 2


def test_equal_neighbours_count_once_from_each(counted):
    assert counted("aaa", window=1)[0] == {("a", "a"): 4}
    assert counted("aaa", window=2)[0] == {("a", "a"): 6}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 6), st.integers(1, 9))
def test_counts_are_those_of_a_naive_loop_however_the_text_is_cut(ids, window, cut):
    array = np.array(ids, np.int64)
    matrix = count((array[at : at + cut] for at in range(0, len(ids), cut)), 3, window)
    expected = naive(ids, window)
    assert matrix.tolist() == [
        [expected[i, j] for j in range(3)] for i in range(3)
    ]  # 3 and 4: other symbols


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 6), st.integers(1, 9))
def test_no_window_crosses_a_boundary_however_the_text_is_cut(ids, window, cut):
    array = np.array(ids, np.int64)
    matrix = count((array[at : at + cut] for at in range(0, len(ids), cut)), 3, window, boundary=4)
    expected, line = Counter(), []
    for symbol in [*ids, 4]:
        if symbol == 4:
            expected += naive(line, window)
            line = []
        else:
            line.append(symbol)
    assert matrix.tolist() == [[expected[i, j] for j in range(3)] for i in range(3)]


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("options", [STREAM, LINES])
def test_pieces_of_a_file_count_as_the_whole(counted, monkeypatch, words, options):
    text = "don't stop me now\nI'm having\r\n such a good time, é!\n" * 3
    whole = counted(text, options, words=words, window=3)
    monkeypatch.setattr(reading, "PIECE_BYTES", 5)
    monkeypatch.setattr(cooccur, "CHUNK", 4)
    assert counted(text, options, words=words, window=3) == whole


def test_characters_are_counted_over_the_whole_alphabet(counted):
    text = "so é 汉 \x00\n so\n"
    pairs, frequencies = counted(text, window=2)
    assert pairs == naive(text, 2)
    assert frequencies == Counter(text)


def test_only_the_most_frequent_are_shown_and_the_others_keep_their_places(counted):
    pairs, frequencies = counted("axbxaxb", window=1, top=2)
    assert (frequencies, pairs) == ({"x": 3, "a": 2}, {("x", "a"): 3, ("a", "x"): 3})


def test_words_keep_their_apostrophes_and_marks_stand_alone(counted):
    _, frequencies = counted("Don't -- l’été 'tis x_1, 3.5 $y$", words=True)
    expected = ["Don't", "-", "-", "l’été", "'", "tis", "x_1", ",", "3", ".", "5", "$", "y", "$"]
    assert frequencies == Counter(expected)


def test_a_text_of_too_many_words_forgets_the_seldom_ones(counted, monkeypatch):
    monkeypatch.setattr(cooccur, "MOST_WORDS", 3)
    _, frequencies = counted("often often a b c often d\n", words=True)
    assert frequencies["often"] == 3


@pytest.mark.parametrize(("text", "words"), [("\n\n", False), (" \n \n", True)])
def test_nothing_to_count_is_an_error(counted, text, words):
    with pytest.raises(CorpusError, match="nothing to count"):
        counted(text, LINES, words=words)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        (" ", "␣"),
        ("\n", "⏎"),
        ("\t", "⇥"),
        ("␣", "U+2423"),
        ("\x1b", "U+001B"),
        ("\u202e", "U+202E"),
        ("\u0301", "U+0301"),
        ("e\u0301t", "e\u0301t"),
        ("$", "$"),
        ("汉", "汉"),
        ("\xa0", "U+00A0"),
    ],
)
def test_symbols_are_shown_so_that_a_person_sees_them(symbol, expected):
    assert label(symbol) == expected


# The command

HOSTILE = '$x$ _y_ \\frac{a}{b} 汉 "q", ,\x1b[31m \u202e z e\u0301 <b>&amp;</b> 😀\n'


def test_the_table_fits_the_line_and_says_so(charrnn):
    done = charrnn("cooccur", "names", "--top", "40")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines()[1:])) <= 100  # below the title
    assert "of 40 columns" in done.stdout.replace("\n", " ")


def test_a_hostile_text_comes_out_escaped_in_tables_and_exact_in_json(charrnn, tmp_path):
    (tmp_path / "hostile.txt").write_bytes(HOSTILE.encode())
    done = charrnn("cooccur", "hostile.txt", "--top", "1000", "--csv", "out.csv")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    values = json.loads(charrnn("cooccur", "hostile.txt", "--top", "1000", "--json").stdout)
    assert (values["schema"], values["unit"], values["mode"], values["window"]) == (
        1,
        "character",
        "stream",
        2,
    )
    assert sorted(values["symbols"]) == sorted(set(HOSTILE))
    head, *rows = csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert head == ["", "frequency", *map(label, values["symbols"])]
    assert [list(map(int, row[2:])) for row in rows] == values["counts"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "0"], "--window 0: must be between 1 and 1,000"),
        (["--top", "1001"], "--top 1001"),
        (["--mode", "words"], "mode"),
        (["--json", "--csv", "-"], "both write to standard output"),
        (["--plot", "x.pdf"], ".png or .svg"),
        (["--plot", "."], ".png or .svg"),
    ],
)
def test_wrong_options_are_one_line(charrnn, arguments, message):
    done = charrnn("cooccur", "names", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_csv_on_standard_output_is_all_there_is(charrnn, tmp_path):
    (tmp_path / "a.txt").write_text("abab")
    assert (
        charrnn("cooccur", "a.txt", "--window", "1", "--csv", "-").stdout
        == ",frequency,a,b\na,2,0,3\nb,2,3,0\n"
    )


def test_without_matplotlib_plot_says_how_to_install_it_before_any_work(tmp_path):
    code = (
        "import sys\nsys.modules['matplotlib'] = None\n"
        "sys.argv = ['charrnn', 'cooccur', 'no such file', '--plot', 'x.png']\n"
        "from charrnn.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install -c constraints.txt -e '.[plot]'" in done.stderr


def test_without_plot_matplotlib_is_not_loaded(tmp_path):
    code = (
        "import sys\nsys.modules['matplotlib'] = None\n"
        "sys.argv = ['charrnn', 'cooccur', 'names', '--csv', 'x.csv']\n"
        "from charrnn.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


# The heat map


@pytest.fixture
def picture():
    pytest.importorskip("matplotlib")
    from charrnn import picture

    return picture


@pytest.mark.filterwarnings("error")
def test_hostile_labels_are_drawn_as_they_are(picture):
    """No mathematics, no TeX, no glyph that is missing: any of them would warn or raise."""
    labels = ["$\\bad{$", "$", "\\frac{", "_^", "汉", "😀", "<&>", "U+001B", "x" * 500, ""]
    counts = [[i * j for j in range(len(labels))] for i in range(len(labels))]
    assert picture.heat_map("$\\bad{$ 汉", labels, counts, "png").startswith(b"\x89PNG\r\n")
    svg = picture.heat_map("$\\bad{$ 汉", labels, counts, "svg")
    assert b"<svg" in svg and svg == picture.heat_map("$\\bad{$ 汉", labels, counts, "svg")


def test_what_the_font_lacks_is_written_as_its_code(picture):
    assert picture.drawable("a$é汉") == "a$éU+6C49"


def test_a_matplotlibrc_does_not_bring_tex(picture):
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True}):
        assert picture.heat_map("t", ["$"], [[0]], "png").startswith(b"\x89PNG")


def test_plot_writes_the_picture(charrnn, tmp_path, picture):
    done = charrnn("cooccur", "names", "--top", "5", "--plot", "map.PNG")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "map.PNG").read_bytes().startswith(b"\x89PNG")
    assert "most frequent" in done.stdout


def test_a_place_that_cannot_be_written_is_one_line(charrnn):
    done = charrnn("cooccur", "names", "--csv", "no/such/place.csv")
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


@pytest.mark.parametrize("place", [".", "/", "..", "folder", "folder/pipe"])
def test_a_place_that_is_no_file_is_told_before_any_work(charrnn, tmp_path, place):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "pipe")
    done = charrnn("cooccur", "no such text", "--csv", place)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"--csv {place}: not a regular file" in done.stderr
    assert (tmp_path / "folder" / "pipe").is_fifo()


def test_a_folder_that_is_not_there_is_told_before_any_work(charrnn):
    done = charrnn("cooccur", "no such text", "--csv", "no/such/place.csv")
    assert (done.returncode, done.stderr) == (
        5,
        "charrnn: --csv no/such/place.csv: no directory no/such; make it, or choose another\n",
    )


@pytest.mark.parametrize("name", [".", "/", ""])
def test_a_name_of_no_file_is_a_storage_error(name):
    with pytest.raises(StorageError, match="Is a directory; make room or choose another --csv"):
        write_atomically(Path(name), b"x", "--csv")


@pytest.mark.parametrize("broken", ["open", "replace"])
def test_a_file_that_cannot_be_written_names_the_option_to_change(tmp_path, monkeypatch, broken):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage if broken == "open" else os, broken, full, raising=False)
    with pytest.raises(StorageError, match="make room or choose another --csv$"):
        write_atomically(tmp_path / "x", b"x", "--csv")


@pytest.mark.parametrize("arguments", [[], ["--csv", "-"], ["--json"]])
def test_a_closed_standard_output_is_one_line(tmp_path, arguments):
    words = [sys.executable, "-m", "charrnn", "cooccur", "names", *arguments]
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (
        5,
        "charrnn: cannot write to standard output: it is closed\n",
    )


@pytest.mark.parametrize(
    ("shown", "arguments"),
    [
        (print_table, ("t", ["a"], [["b"]])),
        (print_matrix, ("t", ["a"], [[1]])),
        (print_facts, ([("a", "b")],)),
    ],
)
def test_whatever_is_printed_for_people_needs_a_standard_output(monkeypatch, shown, arguments):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(StorageError, match="standard output: it is closed"):
        shown(*arguments)


def test_bytes_that_are_no_text_come_with_advice_for_the_command_that_has_it(charrnn, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\0\1" * 9)
    done = charrnn("cooccur", "a.bin")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "pass --unit byte to train, which takes any bytes" in done.stderr

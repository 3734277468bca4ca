"""What is found out about a text before a training, beside naive counts."""

import dataclasses
import io
import unicodedata
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textfiles import survey_text

from charrnn.config import TextSettings
from charrnn.text import characters, doctor, linehash, reading
from charrnn.text.building import build, survey
from charrnn.text.census import take_census
from charrnn.text.sources import Source
from charrnn.text.splits import SPLITS

STREAM = TextSettings(mode="stream")
LINES = TextSettings(mode="lines")
LONG = [f"{i} is a line of at least twenty characters" for i in range(10)]


@pytest.fixture
def examined(tmp_path):
    """text or bytes, settings -> Findings; val and test: texts of files of their own."""

    def examine(text, options=STREAM, seed=1, **files):
        survey_of_text, options = survey_text(tmp_path, text, options, seed, **files)
        return doctor.examine(survey_of_text, options, seed)

    return examine


@pytest.fixture
def begun(tmp_path):
    """text or bytes, settings -> the line and the warnings of a start."""

    def begin(text, options=STREAM, **files):
        return doctor.at_start(*survey_text(tmp_path, text, options, 1, **files))

    return begin


def array(text):
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


# Findings


def test_line_ends_are_told_apart_across_pieces(monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", 3)
    census = take_census(Source("t", "t", spooled=io.BytesIO(b"a\r\nb\nc\rd\r\n\r\n\re")), STREAM)
    assert (census.crlf, census.carriage_returns, census.lines) == (3, 5, 5)
    assert characters.line_ends_of(census) == "mixed line ends (1 LF, 3 CRLF, 2 CR)"


def test_the_report_has_bytes_characters_lines_and_marks(examined):
    findings = examined(b"\xef\xbb\xbfab \r\n\r\n\nc\xc3\xa9")
    assert findings.size_bytes == 14
    assert (findings.byte_order_mark, findings.encoding) == ("UTF-8", "UTF-8")
    assert (findings.chars, findings.distinct) == (10, 7)
    assert (findings.lines, findings.blank_lines) == (4, 2)
    assert (findings.lf, findings.crlf, findings.lone_cr) == (1, 2, 0)
    assert not findings.ends_with_newline
    assert (findings.trailing_spaces, findings.longest_line) == (1, 3)


def test_odd_characters_are_sorted_by_kind(examined):
    findings = examined("a\tb\0\x07\x07\x9b\u202e\u200b\ufeff\xa0\ufffd\ue000 \n")
    assert [(symbol.kind, symbol.code, symbol.count) for symbol in findings.odd] == [
        ("bidi", 0x202E, 1),
        ("control", 0, 1),
        ("control", 7, 2),
        ("control", 0x9B, 1),
        ("invisible", 0x200B, 1),
        ("invisible", 0xFEFF, 1),
        ("private use", 0xE000, 1),
        ("replacement", 0xFFFD, 1),
        ("unusual space", 0xA0, 1),
    ]


def test_rare_characters_are_those_seen_under_five_times(examined):
    findings = examined("aaaaabbbbcc")
    rare = [(symbol.code, symbol.count) for symbol in findings.rare]
    assert rare == [(ord("c"), 2), (ord("b"), 4)]
    assert findings.rare_share == pytest.approx(6 / 11)


composing = st.text(
    st.sampled_from("ae\u0301\u0323\u0327é가ᄀ\u1161\u11a8中 \nÅ\u212b"), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(composing, st.integers(1, 5))
def test_what_normalisation_would_change_is_counted_across_pieces(text, cut):
    after = unicodedata.normalize("NFC", text)
    changes = characters.NfcChanges()
    codes = array(text)
    for at in range(0, len(codes), cut):
        changes.add(codes[at : at + cut])
    census = take_census(Source("t", "t", spooled=io.BytesIO(text.encode())), STREAM)
    assert changes.result(census) == ((Counter(text) - Counter(after)).total(), len(set(after)))


def test_the_most_frequent_lines_are_shown(examined):
    findings = examined("one\ntwo\none\n\n\nthree\none\ntwo\n")
    assert findings.repeated_lines == 3
    assert [(line.text, line.count) for line in findings.repeated] == [("one", 3), ("two", 2)]


# Leakage


def test_lines_that_are_in_training_and_in_what_the_split_holds_out(examined):
    """Half of ten equal lengths is for training: lines 0 to 4.

    The last five repeat two of them, and one is short.
    """
    lines = [*LONG[:5], LONG[0], LONG[1], LONG[0], LONG[7], "x" * len(LONG[0])]
    findings = examined("\n".join(lines) + "\n", replace(STREAM, split="0.5,0.5,0"))
    (leak,) = findings.leaks
    assert (leak.lines, leak.known, leak.least) == (5, 3, 20)
    assert set(leak.examples) == {LONG[0], LONG[1]}
    assert any("what --split holds out" in line for line in findings.advice)


def test_short_lines_of_a_stream_are_no_leak(examined):
    findings = examined("short\n" * 100)
    assert findings.leaks == ()


def test_files_of_their_own_are_compared_with_the_training_text(examined):
    findings = examined(
        "\n".join(LONG),
        val=f"{LONG[3]}\r\nshort\nsomething else that is long enough\n",
        test="xyz\n" * 9,
    )
    val, test = findings.leaks
    assert (val.where, val.lines, val.known, val.examples) == ("--val", 2, 1, (LONG[3],))
    assert (test.where, test.lines, test.known) == ("--test", 0, 0)


def test_whole_lines_count_however_short_in_lines_mode(examined):
    (leak,) = examined("ann\nbob\ncleo\n", LINES, val="bob\ndora\nbob\n").leaks
    assert (leak.lines, leak.known) == (3, 2)


def test_lines_that_are_made_distinct_do_not_leak(examined):
    findings = examined("ann\nbob\n" * 50, LINES)
    assert (findings.leaks, findings.used_once, findings.repeated_lines) == ((), True, 98)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_deduplication_the_very_split_is_looked_at(examined, tmp_path, seed):
    options = replace(LINES, deduplicate=False, split="0.6,0.2,0.2")
    text = "".join(f"{'ab' * (i % 7)}c\n" if i % 3 else f"only {i}\n" for i in range(40))
    (leak,) = examined(text, options, seed).leaks
    made, _ = build(
        survey(str(tmp_path / "text.txt"), options, seed), options, seed, tmp_path / "out"
    )
    train, val, test = (made.vocabulary.decode(made.split(name)).splitlines() for name in SPLITS)
    assert (leak.lines, leak.known) == (len(val + test), sum(line in train for line in val + test))


# Advice


@pytest.mark.parametrize(
    ("data", "options", "advice"),
    [
        (b"a\r\nb\r\n" * 20, {}, "--newlines lf"),
        ("e\u0301 " * 20, {}, "40 characters"),
        ("e\u0301 " * 20, {}, "--normalize nfc"),
        ("a\ufffdb" * 20, {}, "characters were lost before"),
        ("hello".encode("utf-16-le") * 20, {}, "--encoding utf-16-le"),
        ("café ".encode() * 20, {"encoding": "latin-1"}, "--encoding utf-8"),
        (b"it\x92s \xe9" * 20, {"encoding": "latin-1"}, "--encoding cp1252"),
        ("".join(map(chr, range(0x4E00, 0x5200))), {}, "--unit byte"),
        (b"ab", {}, "it needs at least"),
        (b"ab\n" * 30, {"mode": "lines"}, "the text has 1 distinct line,"),
        (b"ab\n" * 30 + b"x" * 5000, {"mode": "lines"}, "--mode stream"),
        (b"Ann\nBob\n" * 30, {}, "--mode lines would be chosen"),
        (b"Ann\nBob\n" * 30, {"mode": "lines", "deduplicate": False}, "--deduplicate"),
    ],
)
def test_advice_says_what_to_pass(data, options, advice, examined):
    assert any(advice in line for line in examined(data, replace(STREAM, **options)).advice)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("e\u0301 " * 20, {"normalize": "nfc"}),
        (b"a\r\nb\r\n" * 20, {"newlines": "lf"}),
        ("café ".encode() * 20, {}),
        ("café ".encode() * 20, {"unit": "byte"}),
        (b"a\0b\r\n" * 20, {"unit": "byte"}),
        ("café ".encode("latin-1") * 20, {"encoding": "latin-1"}),
    ],
)
def test_what_an_option_has_mended_is_not_found(data, options, examined):
    assert [
        line for line in examined(data, replace(STREAM, **options)).advice if "--mode" not in line
    ] == []


# The line at every start


def test_the_line_at_the_start(begun):
    line, warnings = begun("once\nonce\nonce\nagain: é \x07\n")
    assert line == (
        "UTF-8, LF; 12 distinct characters, 12 of them rare (seen under 5 times); "
        "control characters: 1; 50% of the lines repeat"
    )
    assert warnings == []


def test_an_ordinary_text_has_a_short_line(begun):
    assert begun("abc\nabd\n" * 5, LINES)[0] == "ASCII, LF; 5 distinct characters"


def test_a_start_warns_of_lines_of_the_test_text(begun):
    _, warnings = begun(
        "\n".join(LONG), test=f"{LONG[0]}\n{LONG[1]}\na line that nobody has ever seen\n"
    )
    assert warnings == [
        "2 of 3 lines of 20 characters or more of --test are in the training text: "
        "scores on them flatter"
    ]


def test_a_start_reads_a_large_text_no_more(begun, monkeypatch):
    monkeypatch.setattr(doctor, "START_CHARS", 10)
    monkeypatch.setattr(linehash, "hash_lines", None)
    assert begun("abcdef\n" * 5)[0] == "ASCII, LF; 7 distinct characters"


# The words of the report


def test_one_of_anything_is_in_the_singular(examined):
    from charrnn.cli import check

    def said(text, of, **files):
        return of({"shown": "text", **dataclasses.asdict(examined(text, **files))})

    assert said("x", check._text).endswith(": 1 byte, ASCII")
    assert said("x \ny\n", check._lines).endswith("1 ends in spaces, the longest has 2 characters")
    assert said("x\ny\n", check._lines).endswith("the longest has 1 character")
    assert said("x\n", check._repeated) == "no lines"
    (leak,) = examined(LONG[0], val=f"{LONG[0]}\n").leaks
    assert str(leak) == "1 of 1 line of 20 characters or more of --val is in the training text"
    assert check._leak(dataclasses.asdict(leak)).startswith(str(leak))
    assert any("stands 1 time where" in line for line in examined("a\ufffd").advice)
    assert any(
        line.startswith("1 character is not composed (NFC)") for line in examined("aa\u212b").advice
    )


def test_a_start_has_one_distinct_character_in_the_singular(begun):
    assert begun("xxxxx")[0] == "ASCII, no line ends; 1 distinct character"

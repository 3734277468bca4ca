"""The mode of a text, with its reason, and the notes on a strange one."""

from dataclasses import replace

import pytest
from textfiles import NAMES, build_text, survey_text

from charrnn.config import TextSettings
from charrnn.text import mode as mode_module
from charrnn.text.building import survey

STREAM = TextSettings(mode="stream", split="0.5,0.25,0.25")
LINES = TextSettings(mode="lines", split="0.5,0.25,0.25")


@pytest.fixture
def make(tmp_path):
    """text or bytes, settings -> (corpus, notes), written to a directory of its own."""

    def make_corpus(text, options=STREAM, seed=1, **files):
        return build_text(tmp_path, text, options, seed, **files)

    return make_corpus


@pytest.fixture
def surveyed(tmp_path):
    """text or bytes, settings -> survey."""

    def survey_one(text, options=STREAM, seed=1):
        return survey_text(tmp_path, text, options, seed)[0]

    return survey_one


# The mode

PROSE = ("It was a dark night.\nThe rain fell.\n\n" * 20).encode()
CODE = ("int f(int x)\n{\n    return x;\n}\n" * 20).encode()


@pytest.mark.parametrize(
    ("data", "mode", "reason"),
    [
        (NAMES, "lines", "40 short lines"),
        (PROSE, "stream", "33% of the lines are blank"),
        (PROSE.replace(b"\n", b"\r\n"), "stream", "33% of the lines are blank"),
        (CODE, "stream", "25% of the lines are indented"),
        (
            "x" * 33 + "\n" + "\n".join("y" * 33 for _ in range(30)),
            "stream",
            "half of the lines have 33 characters",
        ),
        ("ab\n" * 7, "stream", "7 lines are too few"),
        ("ab\n" * 8, "lines", "8 short lines"),
        ("ab\n" * 30 + ("z" * 65 + "\n") * 2, "stream", "6% of the lines are long"),
        ("one long text without any end " * 50, "stream", "1 line is too few"),
    ],
)
def test_auto_mode_chooses_with_a_reason(data, mode, reason, surveyed):
    text_survey = surveyed(data, replace(STREAM, mode="auto"))
    assert text_survey.mode == mode
    assert reason in text_survey.reason


def test_auto_mode_takes_the_shipped_names_as_lines():
    assert survey("names", TextSettings(), 1).mode == "lines"
    assert survey("surnames", TextSettings(), 1).mode == "lines"


def test_auto_mode_takes_a_large_text_as_a_stream(surveyed, monkeypatch):
    monkeypatch.setattr(mode_module, "AUTO_LINES_BYTES", 100)
    text_survey = surveyed(NAMES, replace(STREAM, mode="auto"))
    assert (text_survey.mode, text_survey.reason) == ("stream", "the text is large")


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_mode_that_was_asked_for_is_taken(mode, surveyed):
    text_survey = surveyed(PROSE, replace(STREAM, mode=mode))
    assert (text_survey.mode, text_survey.reason) == (mode, "as asked")


# Notes


@pytest.mark.parametrize(
    ("data", "options", "note"),
    [
        (b"a\r\nb\r\nc", {}, "2 carriage returns, kept; --newlines lf"),
        (b"a\0b\0c", {}, "2 NUL characters"),
        (b"aaaaaa", {}, "one distinct character"),
        (b"aaaaaa", {"unit": "byte"}, "one distinct character"),
        (
            "".join(map(chr, range(0x4E00, 0x4E00 + 20_001))).encode(),
            {},
            "20,001 distinct characters",
        ),
    ],
)
def test_a_strange_text_is_taken_with_a_note(data, options, note, surveyed):
    assert any(note in line for line in surveyed(data, replace(STREAM, **options)).notes)


@pytest.mark.parametrize(
    ("data", "options"), [(b"a\r\nb\r\n", {"newlines": "lf"}), (b"plain\ntext", {})]
)
def test_an_ordinary_text_has_no_notes(data, options, surveyed):
    assert surveyed(data, replace(STREAM, **options)).notes == ()


def test_one_distinct_character_can_be_built(make):
    assert len(make("aaaaaaaa")[0].vocabulary) == 1

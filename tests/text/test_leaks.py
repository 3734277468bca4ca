"""Held-out lines that are training lines, also in another form; lines as a split has them."""

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textfiles import build_text, survey_text

from charrnn.config import TextSettings
from charrnn.text import doctor, folding
from charrnn.text.building import build, survey
from charrnn.text.leaks import alike_warnings

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


CRLF = st.text(st.sampled_from("ab\r\n\n"), max_size=50).map(lambda text: f"{text}\n")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(CRLF, st.booleans())
def test_lines_count_as_the_split_counts_them(examined, tmp_path, text, deduplicate):
    options = replace(LINES, deduplicate=deduplicate, newlines="keep", split="0.6,0.4,0")
    findings = examined(text, options)
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    full = [line for line in lines if line]
    assert findings.blank_lines == len(lines) - len(full)
    assert findings.repeated_lines == len(full) - len(set(full))
    assert findings.longest_line == max(map(len, full), default=0)
    if len(set(full) if deduplicate else full) < 2:
        assert any("too few" in line for line in findings.advice)
        return
    corpus, _ = build(survey(str(tmp_path / "text.txt"), options, 1), options, 1, tmp_path / "out")
    held_out = corpus.vocabulary.decode(corpus.split("val")).split("\n")[:-1]
    train = corpus.vocabulary.decode(corpus.split("train")).split("\n")[:-1]
    bare = {line.removesuffix("\r") for line in train}
    for leak in findings.leaks:
        assert leak.lines == len(held_out)
        assert leak.known == sum(line.removesuffix("\r") in bare for line in held_out)


NAMES = [f"Name{chr(97 + index % 26)}{index}" for index in range(200)]


def test_names_with_both_line_ends_are_no_repeats_and_leak(examined):
    text = "".join(f"{name}\n" for name in NAMES) + "".join(f"{name}\r\n" for name in NAMES)
    findings = examined(text, replace(LINES, newlines="keep"))
    assert (findings.repeated_lines, findings.repeated) == (0, ())
    (leak,) = findings.leaks
    assert leak.lines == 40 and leak.known > 30 and leak.alike == 0
    assert any("scores on them flatter; --newlines lf" in line for line in findings.advice)
    (leak, *_) = examined(text, replace(LINES, newlines="lf")).leaks or (None,)
    assert leak is None


def test_a_line_too_long_by_its_carriage_return_is_told(examined):
    findings = examined("ab\nc\n" + "x" * 4096 + "\r\n", replace(LINES, newlines="keep"))
    assert findings.longest_line == 4097
    assert any("--mode stream" in line for line in findings.advice)


IN_OTHER_FORMS = {
    "space": (" {0}", "{0} "),
    "separator": ("{0}\u2028", "{0}\x85"),
    "joined": ("{0}\u2028{0}",),
    "mark": ("\ufeff{0}",),
}


@pytest.mark.parametrize("forms", IN_OTHER_FORMS.values(), ids=IN_OTHER_FORMS)
def test_lines_that_are_alike_are_told(examined, forms):
    forms = ("{0}", *forms)
    text = "".join(f"{form.format(name)}\n" for name in NAMES for form in forms)
    findings = examined(text, LINES)
    (leak,) = findings.leaks
    assert leak.known == 0 and leak.alike > 0.7 * leak.lines
    assert leak.alike_examples
    assert any("more except for white space" in line for line in findings.advice)


@pytest.mark.parametrize("change", [str.upper, lambda name: f"{name}e\u0301", str.strip])
def test_alike_lines_of_a_given_text_are_told(examined, change):
    text = "".join(f"{name}\u00e9\n{name}\n" for name in NAMES)
    val = "".join(f"{change(name)}\n" for name in NAMES[:3]) + "nobody\n"
    (leak,) = examined(text, LINES, val=val).leaks
    assert (leak.lines, leak.known + leak.alike) == (4, 3)


def test_long_lines_of_a_stream_that_are_alike_are_told(examined):
    lines = [*LONG, *(f"    {line.upper()}" for line in LONG)]
    findings = examined("\n".join(lines) + "\n", replace(STREAM, split="0.5,0.5,0"))
    (leak,) = findings.leaks
    assert leak.known == 0 and leak.alike > 5
    assert any("more except for white space" in line for line in findings.advice)


def test_texts_too_long_to_fold_say_nothing_of_likeness(examined, monkeypatch):
    monkeypatch.setattr(folding, "MAX_CHARS", 10)
    text = "".join(f"{name}\n{name}\n" for name in NAMES)
    (leak,) = examined(text, replace(LINES, deduplicate=False)).leaks
    assert leak.alike is None and leak.known > 0


# Alike lines at a start


def test_a_start_warns_of_held_out_lines_that_are_alike(tmp_path):
    text = "".join(f"{name}\n {name}\n{name} \n" for name in NAMES)
    corpus, _ = build_text(tmp_path, text, LINES)
    for split, warning in zip(("val", "test"), alike_warnings(corpus), strict=True):
        held_out = corpus.vocabulary.decode(corpus.split(split)).split("\n")[:-1]
        train = corpus.vocabulary.decode(corpus.split("train")).split("\n")
        alike = sum(line.strip() in {other.strip() for other in train} for line in held_out)
        assert warning.startswith(f"{alike} of {len(held_out)} lines of the {split} text are")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("".join(f"{name}\n" for name in NAMES), LINES),
        ("".join(f"{name}\n{name}\n" for name in NAMES), LINES),
        ("".join(f"{line}\n" for line in LONG * 20), STREAM),
    ],
)
def test_a_start_says_nothing_where_no_line_is_alike(tmp_path, text, options):
    corpus, _ = build_text(tmp_path, text, options)
    assert alike_warnings(corpus) == []


# Lists that are read as streams

INDENTED = [f"  {name}" for name in NAMES]


def test_a_check_tells_of_short_lines_where_a_list_is_read_as_a_stream(examined):
    text = "".join(f"{name}\n" for name in INDENTED * 2)
    findings = examined(text, TextSettings(split="0.6,0.2,0.2"))
    (leak,) = findings.leaks
    assert (findings.mode, leak.least) == ("stream", 1)
    assert leak.known > 0.9 * leak.lines > 100
    assert any("what --split holds out are in the training" in line for line in findings.advice)


def test_a_start_warns_of_repeats_where_a_list_is_read_as_a_stream(tmp_path):
    text = "".join(f"{name}\n" for name in INDENTED * 2)
    corpus, _ = build_text(tmp_path, text, replace(STREAM, split="0.6,0.4,0"))
    (warning,) = alike_warnings(corpus)
    assert re.match(r"157 of 158 lines of the val text are training lines: scores", warning)


def test_a_start_warns_of_likeness_where_a_list_is_read_as_a_stream(tmp_path):
    text = "".join(f"{name}\n" for name in (*INDENTED, *NAMES))
    corpus, _ = build_text(tmp_path, text, replace(STREAM, split="0.6,0.4,0"))
    (warning,) = alike_warnings(corpus)
    assert "are training lines except for white space" in warning

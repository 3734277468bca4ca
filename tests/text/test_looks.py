"""What a text looks like is said, with a command that makes a plain text of it."""

import json
import subprocess

import pytest
from textfiles import build_text, lines_of, survey_text

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, SettingsError
from charrnn.text.building import survey
from charrnn.text.doctor import examine

NAMES = [f"{first} {last}" for first in ("Anna", "Bo", "Cy", "Dora") for last in "ABCDEFGHI"]
WORDS = "the of market minister wins after new town river police old record rain children".split()
HEADLINES = [
    " ".join(WORDS[(7 * row + 3 * place) % len(WORDS)] for place in range(6 + row % 7)).capitalize()
    for row in range(60)
]


def notes_of(tmp_path, text, **options):
    return survey_text(tmp_path, text, TextSettings(**options))[0].notes


# What stands before and around each name, what is offered or done, and the options that do it.
LOOKS = {
    "csv": ("id,band,year\n", "{number},{name},19{number}\n", "is CSV, 3 columns", "column band"),
    "quoted csv": ('"id","band"\n', '"{number}","{name}"\n', "is CSV, 2 columns", "column band"),
    "tsv": ("", "{number}\t{name}\n", "is TSV, 2 columns", "column 2"),
    "semicolons": ("name;age\n", "{name};{number}\n", "is CSV, 2 columns", "column name"),
    "json lines": ("", '{{"name":"{name}","id":{number}}}\n', "is JSON, one", "column name"),
    "numbers": ("", " {number}. {name}\n", "is a numbered list", "without its numbers"),
    "brackets": ("", "({number}) {name}\n", "is a numbered list", "without its numbers"),
}


@pytest.mark.parametrize("kind", LOOKS)
def test_what_is_clear_is_done_and_said(kind, tmp_path):
    header, row, what, learnt = LOOKS[kind]
    rows = [row.format(number=number, name=name) for number, name in enumerate(NAMES, 10)]
    corpus, notes = build_text(tmp_path, header + "".join(rows), TextSettings())
    assert what in notes[0] and learnt in notes[0] and str(tmp_path / "text.txt") in notes[0]
    assert sorted(line for part in corpus.bounds for line in lines_of(corpus, part)) == NAMES


OFFERS = {
    "bullets": ("- {name}\n", "bullets"),
    "quotes": ('"{name}"\n', "quotes"),
    "numbers that begin again": ("{number}. {name}\n", "numbering"),
}


@pytest.mark.parametrize("kind", OFFERS)
def test_what_is_not_clear_is_offered_as_an_option(kind, tmp_path):
    row, option = OFFERS[kind]
    text = "".join(row.format(number=n % 6 + 1, name=name) for n, name in enumerate(NAMES))
    (note,) = notes_of(tmp_path, text)
    assert f"--strip {option} " in note
    corpus, notes = build_text(tmp_path, text, TextSettings(strip=option))
    assert notes == []
    assert sorted(line for part in corpus.bounds for line in lines_of(corpus, part)) == NAMES


def test_a_table_of_several_texts_is_offered_its_columns(tmp_path):
    rows = "".join(f"{name},{name[::-1]} town,{n}\n" for n, name in enumerate(NAMES))
    (note,) = notes_of(tmp_path, "name,place,n\n" + rows)
    assert note.endswith(
        "looks like CSV, 3 columns: name, place, n; --column name learns one column alone"
    )
    assert notes_of(tmp_path, "name,place,n\n" + rows, column="none") == ()


def test_one_json_value_is_read_by_the_key_of_its_texts(tmp_path):
    text = json.dumps([{"title": f"{name} soup", "n": 3} for name in NAMES])
    (note,) = notes_of(tmp_path, text)
    assert "is JSON; learning its column title" in note


def test_entities_are_counted_and_turned_into_characters(tmp_path):
    text = "".join(f"{name} &amp; co, don&#39;t\n" for name in NAMES)
    (note,) = notes_of(tmp_path, text)
    assert "HTML entities (&amp; x36, &#39; x36); --strip entities" in note
    corpus, notes = build_text(tmp_path, text, TextSettings(strip="entities"))
    assert notes == []
    assert "Anna A & co, don't" in {
        line for part in corpus.bounds for line in lines_of(corpus, part)
    }


def test_a_text_that_was_encoded_twice_is_told(tmp_path):
    text = "".join(f"{name} café’s\n" for name in NAMES)
    (note,) = notes_of(tmp_path, text.encode().decode("cp1252"))
    assert "UTF-8 that was read as cp1252" in note
    subprocess.run(note.partition("; ")[2], shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "plain.txt").read_text() == text


def test_japanese_mail_is_told_by_its_escapes(tmp_path):
    text = "".join(f"{name} すべて\n" for name in NAMES)
    (note,) = notes_of(tmp_path, text.encode("iso2022_jp"))
    assert note.endswith("--encoding iso2022_jp")
    assert notes_of(tmp_path, text.encode("iso2022_jp"), encoding="iso2022_jp") == ()


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{name}\n" for name in NAMES),
        "".join(f"{name}, Jr\n" for name in NAMES),
        "It was, he said, the end.\nThere, then, and now; so be it.\n\n" * 20,
        "int main() {\n    f(a, b);\n    return 0;\n}\n\n" * 20,
        "[chorus]\nla la\n" * 20,
        "1984 was a year\nand 3 things happened\n" * 20,
        "\tmov eax\n\tadd ebx\n\tret now\n" * 20,
    ],
)
def test_a_plain_text_has_no_look(text, tmp_path):
    assert notes_of(tmp_path, text) == ()


def test_lines_that_may_stand_alone_are_offered_lines(tmp_path):
    (note,) = notes_of(tmp_path, "".join(f"{line}\n" for line in HEADLINES))
    assert note.endswith("then --mode lines")
    assert notes_of(tmp_path, "".join(f"{line}\n" for line in HEADLINES), mode="stream") == ()


def test_wrapped_prose_is_not_offered_lines(tmp_path):
    line = "x" * 60 + " and so it goes on"
    text = "".join(f"{line[number % 5 :]}\n" for number in range(60))
    assert notes_of(tmp_path, text) == ()


def test_a_line_that_is_too_long_is_named_by_its_number(tmp_path):
    text = "".join(f"{name}\n" for name in NAMES) + "x" * 5000 + "\nlast\n"
    with pytest.raises(CorpusError, match=r"text.txt: line 37 has 5,000 characters"):
        build_text(tmp_path, text, TextSettings(mode="lines"))
    survey, options = survey_text(tmp_path, text, TextSettings(mode="lines"))
    assert any(line.startswith("line 37 has 5,000") for line in examine(survey, options, 1).advice)


def test_headings_of_a_folder_can_be_left_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(
            "".join(f"{name}{item}\n" for item in [*NAMES, *range(90)])
        )

    with_headings = survey(str(tmp_path), TextSettings(), 1)
    assert any("--no-headings leaves them out" in note for note in with_headings.notes)
    without = survey(str(tmp_path), TextSettings(headings=False), 1)
    assert without.notes == ()
    assert ord("=") not in without.vocabulary.symbols
    findings = examine(without, TextSettings(headings=False), 1)
    assert (findings.heading_chars, findings.beginning[0]) == (0, "aAnna A")
    shown = examine(with_headings, TextSettings(), 1).beginning
    assert shown == findings.beginning


@pytest.mark.parametrize("rule", ["---", "%", "***", "====="])
def test_blocks_between_rules_are_offered_as_records(rule, tmp_path):
    blocks = "".join(f"Soup of {name}\nstir, and wait.\n{rule}\n" for name in NAMES)
    told = f"has lines of {rule} between blocks; --mode records learns each block by itself"
    assert any(told in note for note in notes_of(tmp_path, blocks))
    asked = notes_of(tmp_path, blocks, mode="records")
    assert not any("between blocks" in note for note in asked)


@pytest.mark.parametrize("text", ["a line\n" * 200 + "---\n" * 3, "int f()\n{\n}\n" * 30])
def test_a_few_rules_and_the_braces_of_code_are_no_records(text, tmp_path):
    assert not any("between blocks" in note for note in notes_of(tmp_path, text))


@pytest.mark.parametrize("column", ["band", "2"])
def test_the_numbers_of_a_column_are_left_out_too(column, tmp_path):
    rows = "".join(f"x{n},{n}. {name}\n" for n, name in enumerate(NAMES, 1))
    settings = TextSettings(column=column)
    corpus, notes = build_text(tmp_path, f"key,band\n{rows}", settings)
    assert f"column {column} is a numbered list" in " ".join(notes)
    assert sorted(line for part in corpus.bounds for line in lines_of(corpus, part)) == NAMES


def test_a_column_that_is_learnt_is_no_label(tmp_path):
    rows = "".join(f"{n},{name}\n" for n, name in enumerate(NAMES))
    settings = TextSettings(column="band", label="band")
    with pytest.raises(SettingsError, match="--label band is the column that is learnt"):
        build_text(tmp_path, f"key,band\n{rows}", settings)

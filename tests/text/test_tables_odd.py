"""Odd tables: each gives the items that csv and json find, or one line with the place."""

import codecs
import csv
import io
import json

import pytest

from charrnn.config import TextSettings
from charrnn.errors import CharrnnError
from charrnn.text.delimited import read_rows
from charrnn.text.faults import Faults
from charrnn.text.jsonrows import read_values
from charrnn.text.reading import items, pieces
from charrnn.text.sources import find_source

# name: (file, its bytes, column, other settings, what comes out: items, or a part of the message)
ODD = {
    "plain": ("a.csv", b"id,band\n1,Ants\n2,Bees\n", "band", {}, ["Ants", "Bees"]),
    "by number": ("a.csv", b"id,band\n1,Ants\n2,Bees\n", "2", {}, ["Ants", "Bees"]),
    "no header, by number": ("a.csv", b"1,Ants\n2,Bees\n", "2", {}, ["Ants", "Bees"]),
    "quoted delimiter": ("a.csv", b'n,b\n1,"Ants, The"\n', "b", {}, ["Ants, The"]),
    "doubled quotes": ("a.csv", b'n,b\n1,"The ""Ants"""\n', "b", {}, ['The "Ants"']),
    "quote inside": ("a.csv", b'n,b\n1,The "Ants" go\n', "b", {}, ['The "Ants" go']),
    "text after a quote": ("a.csv", b'n,b\n1,"An"ts\n', "b", {}, ["Ants"]),
    "tabs": ("a.tsv", b"n\tb\n1\tAnts, The\n", "b", {}, ["Ants, The"]),
    "tabs in a csv": ("a.csv", b"n\tb\n1\tAnts\n2\tBees\n", "b", {}, ["Ants", "Bees"]),
    "semicolons": ("a.csv", b"n;b\n1,5;Ants\n2,5;Bees\n", "b", {}, ["Ants", "Bees"]),
    "bars": ("a.txt", b"n|b\n1|Ants\n2|Bees\n", "b", {}, ["Ants", "Bees"]),
    "quoted header": ("a.csv", b'"n","my band"\n1,Ants\n', "my band", {}, ["Ants"]),
    "header in capitals": ("a.csv", b"N,Band\n1,Ants\n", "band", {}, ["Ants"]),
    "spaces in the header": ("a.csv", b"n, band \n1,Ants\n", "band", {}, ["Ants"]),
    "empty cells": ("a.csv", b"n,b\n1,Ants\n2,\n3,Bees\n", "b", {}, ["Ants", "Bees"]),
    "blank lines": ("a.csv", b"n,b\n\n1,Ants\n\n\n2,Bees\n\n", "b", {}, ["Ants", "Bees"]),
    "trailing delimiters": ("a.csv", b"n,b\n1,Ants,,\n2,Bees\n", "b", {}, ["Ants", "Bees"]),
    "CRLF": ("a.csv", b"n,b\r\n1,Ants\r\n2,Bees\r\n", "b", {}, ["Ants", "Bees"]),
    "CR alone": ("a.csv", b"n,b\r1,Ants\r2,Bees\r", "b", {}, ["Ants", "Bees"]),
    "no last line end": ("a.csv", b"n,b\n1,Ants\n2,Bees", "b", {}, ["Ants", "Bees"]),
    "embedded newlines": ("a.csv", b'n,b\n1,"An\nts"\n2,"B\r\nees"\n', "b", {}, ["An ts", "B ees"]),
    "other line separators": (
        "a.csv",
        "n,b\n1,A\x0bn\u2028ts\n".encode(),
        "b",
        {},
        ["A\x0bn\u2028ts"],
    ),
    "BOM": ("a.csv", codecs.BOM_UTF8 + b"b,n\nAnts,1\n", "b", {}, ["Ants"]),
    "BOM and quotes": ("a.csv", codecs.BOM_UTF8 + b'"b","n"\nAnts,1\n', "b", {}, ["Ants"]),
    "UTF-16": ("a.csv", "b,n\nÄnts,1\n".encode("utf-16"), "b", {"encoding": "utf-16"}, ["Änts"]),
    "UTF-16, not said": ("a.csv", "b,n\nÄnts,1\n".encode("utf-16"), "b", {}, "--encoding utf-16"),
    "NUL": ("a.csv", b"b,n\nA\0nts,1\n", "b", {}, ["A\0nts"]),
    "one column": ("a.csv", b"band\nAnts\nBees\n", "band", {}, ["Ants", "Bees"]),
    "one quoted column": ("a.csv", b'band\n"Ants, The"\nBees\n', "band", {}, ["Ants, The", "Bees"]),
    "no rows": ("a.csv", b"n,b\n", "b", {}, "a.csv has a header and no rows"),
    "empty": ("a.csv", b"", "b", {}, "a.csv is empty"),
    "missing field": (
        "a.csv",
        b"n,b\n1,Ants\n2\n",
        "b",
        {},
        "line 3: 1 field, where the header has 2",
    ),
    "field too many": (
        "a.csv",
        b"n,b\n1,Ants\n2,B,ees\n",
        "b",
        {},
        "line 3: 3 fields, where the header",
    ),
    "place after newlines": ("a.csv", b'n,b\n1,"A\n\n\nnts"\n2\n', "b", {}, "line 6: 1 field"),
    "skipped": ("a.csv", b"n,b\n1\n2,Ants\n3,B,ees\n", "b", {"errors": "skip"}, ["Ants"]),
    "open quote": (
        "a.csv",
        b'n,b\n1,"Ants\n2,Bees\n',
        "b",
        {},
        "line 2: a quotation mark that does",
    ),
    "open quote, skipped": ("a.csv", b'n,b\n1,Ants\n2,"Bees\n', "b", {"errors": "skip"}, ["Ants"]),
    "wrong name": ("a.csv", b"id,band\n1,Ants\n", "bnad", {}, "id, band; did you mean band?"),
    "wrong number": ("a.csv", b"id,band\n1,Ants\n", "3", {}, "--column 3: "),
    "name without a header": ("a.csv", b"1,Ants\n2,Bees\n", "band", {}, "no header with names"),
    "duplicate header": (
        "a.csv",
        b"b,n,b\nx,1,Ants\n",
        "b",
        {},
        "has it 2 times; pass --column 1 or 3",
    ),
    "duplicate, by number": ("a.csv", b"b,n,b\nx,1,Ants\ny,2,Bees\n", "3", {}, ["Ants", "Bees"]),
    "wide": (
        "a.csv",
        (
            ",".join(f"c{n}" for n in range(100_000))
            + "\n"
            + ",".join(str(n) for n in range(100_000))
            + "\n"
        ).encode(),
        "c99999",
        {},
        ["99999"],
    ),
    "wide, wrong name": (
        "a.csv",
        (
            ",".join(f"c{n}" for n in range(100_000)) + "\n" + ",".join("x" * 100_000) + "\n"
        ).encode(),
        "d",
        {},
        "and 99,988 more",
    ),
    "long field": ("a.csv", b'n,b\n1,"' + b"x" * 99_999 + b'"\n', "b", {}, ["x" * 99_999]),
    "stripped": (
        "a.csv",
        b'n,b\n1,"1. Ants"\n2,2. Bees\n',
        "b",
        {"strip": "numbering"},
        ["Ants", "Bees"],
    ),
    "entities": ("a.csv", b"n,b\n1,A &amp; B\n", "b", {"strip": "entities"}, ["A & B"]),
    "json": ("a.json", b'[{"b": "Ants"}, {"b": "B\\u00e9es"}]', "b", {}, ["Ants", "Bées"]),
    "json of texts": ("a.json", b'["Ants", "Bees"]', "1", {}, ["Ants", "Bees"]),
    "json of lists": ("a.json", b'[[1, "Ants"], [2, "Bees"]]', "2", {}, ["Ants", "Bees"]),
    "json object": ("a.json", b'{"n": 2, "b": ["Ants", "Bees"]}', "b", {}, ["Ants", "Bees"]),
    "json path": ("a.json", b'{"d": [{"b": {"c": "Ants"}}]}', "d.b.c", {}, ["Ants"]),
    "json null": ("a.json", b'[{"b": "Ants"}, {"b": null}, {"b": 7}]', "b", {}, ["Ants", "7"]),
    "json newline": ("a.json", b'[{"b": "An\\nts"}]', "b", {}, ["An ts"]),
    "json, wrong name": (
        "a.json",
        b'[{"band": "Ants"}]',
        "bnad",
        {},
        "has band; did you mean band?",
    ),
    "json, cut": ("a.json", b'[{"b": "Ants"},\n {"b": "Be', "b", {}, "line 2: not JSON"),
    "json, no comma": (
        "a.json",
        b'[{"b": "Ants"}\n{"b": 1}]',
        "b",
        {},
        "line 2: not JSON (a comma or ]",
    ),
    "json, tail": ("a.json", b'[{"b": "Ants"}] x', "b", {}, "'x' after its end"),
    "json, no values": ("a.json", b"[]", "b", {}, "has no values"),
    "json, deep": ("a.json", b"[" * 99_999, "b", {}, "not JSON (nested too deeply)"),
    "json lines": ("a.jsonl", b'{"b": "Ants"}\n\n{"b": "Bees"}', "b", {}, ["Ants", "Bees"]),
    "json lines, CRLF": (
        "a.jsonl",
        b'{"b": "Ants"}\r\n{"b": "Bees"}\r\n',
        "b",
        {},
        ["Ants", "Bees"],
    ),
    "json lines, wrong": ("a.jsonl", b'{"b": "Ants"}\n{"b": Bees}\n', "b", {}, "line 2: not JSON"),
    "json lines, skipped": (
        "a.jsonl",
        b'{"b": "Ants"}\n{"b": Bees}\n{"b": "Cats"}\n',
        "b",
        {"errors": "skip"},
        ["Ants", "Cats"],
    ),
    "json lines, no key": (
        "a.jsonl",
        b'{"b": "Ants"}\n{"c": 1}\n',
        "b",
        {},
        "line 2: the value has no 'b'",
    ),
    "json lines, an object": ("a.jsonl", b'{"b": "Ants"}\n{"b": {"c": 1}}\n', "b", {}, "line 2: "),
}


def source_of(folder, name, data, column, **more):
    path = folder / name
    path.write_bytes(data)
    settings = TextSettings(column=column, **more)
    return find_source(str(path), settings)[0], settings


def learnt(source, settings):
    """The items, as the codes of a text hold them."""
    text = "".join(map(chr, (code for codes in pieces(source, settings) for code in codes)))
    return text.split("\n")[:-1]


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_table_gives_its_items_or_one_line_with_the_place(kind, tmp_path):
    name, data, column, more, expected = ODD[kind]
    source, settings = source_of(tmp_path, name, data, column, **more)
    if isinstance(expected, list):
        assert learnt(source, settings) == expected
        assert [item.text for item in items(source, settings)] == expected
        return
    with pytest.raises(CharrnnError) as fault:
        learnt(source, settings)
    message = str(fault.value)
    assert expected in message
    assert name in message
    assert "\n" not in message and len(message) < 500


def test_there_are_forty_odd_files():
    assert len(ODD) >= 40


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_pieces_of_any_size_are_read_as_the_csv_module_reads_the_whole(size, end):
    rows = [["a", 'b "c"', ""], ["d,e", "f\ng", "h\r\ni"], ["", "é", ";"], ["\u2028", "x", "y"]]
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    text = file.getvalue()
    cut = (text[at : at + size] for at in range(0, len(text), size))
    found = [row for _, row in read_rows(cut, "x", ",", Faults())]
    assert found == list(csv.reader(io.StringIO(text, newline=""))) == rows


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_json_in_pieces_of_any_size_is_read_as_the_json_module_reads_the_whole(size):
    values = [12, -1.5e3, 'a"b\\', [], {}, {"k": [True, None]}, "é\u2028", 34567]
    text = json.dumps(values, indent=1)
    cut = (text[at : at + size] for at in range(0, len(text), size))
    assert [value for _, value in read_values(cut, "x")] == values


def test_labels_stand_beside_the_items(tmp_path):
    data = b"sex,name\nF,Mary\nM,John\n,Kim\nF,\n"
    source, settings = source_of(tmp_path, "a.csv", data, "name")
    assert [(i.text, i.label, i.line) for i in items(source, settings, "sex")] == [
        ("Mary", "F", 2),
        ("John", "M", 3),
        ("Kim", "", 4),
    ]
    source, settings = source_of(
        tmp_path, "a.jsonl", b'{"n":"Mary","s":"F"}\n{"n":"Al","s":1}\n', "n"
    )
    assert [(i.text, i.label) for i in items(source, settings, "s")] == [("Mary", "F"), ("Al", "1")]
    assert {i.label for i in items(source, settings)} == {None}


def test_a_label_that_is_not_there_is_named_with_the_nearest(tmp_path):
    source, settings = source_of(tmp_path, "a.csv", b"sex,name\nF,Mary\n", "name")
    with pytest.raises(CharrnnError, match="--label sxe: .* has sex, name; did you mean sex"):
        list(items(source, settings, "sxe"))

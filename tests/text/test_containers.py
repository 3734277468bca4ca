"""Files that hold no plain text are named as what they are, with what to do."""

import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile
from dataclasses import replace

import pytest
from textfiles import survey_text

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text.doctor import examine
from charrnn.text.reading import pieces
from charrnn.text.sources import find_source

PLAIN = TextSettings()
NAMES = b"Anna\nBerta\n" * 50


def zipped(*names, **contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in (*names, *contents):
            archive.writestr(name, contents.get(name, "hello"))
    return file.getvalue()


def database(tmp_path):
    path = tmp_path / "made.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table bands (name)")
    return path.read_bytes()


def refusal(path, **options):
    settings = replace(PLAIN, **options)
    with pytest.raises(CorpusError) as caught:
        source, _ = find_source(str(path), settings)
        list(pieces(source, settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


FILES = {
    "xz": (lzma.compress(NAMES), "is xz-compressed", "xz -dc FILE | charrnn train -"),
    "bzip2": (bz2.compress(NAMES), "is bzip2-compressed", "bunzip2 -c FILE | charrnn train -"),
    "zip": (zipped("a.txt"), "is a zip archive", "unzip -p FILE | charrnn train -"),
    "xlsx": (zipped("[Content_Types].xml", "xl/a.xml"), "is a spreadsheet (.xlsx)", "column"),
    "ods": (
        zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet"),
        "is a spreadsheet (.ods)",
        "column",
    ),
    "docx": (zipped("word/document.xml"), "is a Word document", "plain text"),
    "broken zip": (zipped("a.txt")[:40], "is a zip archive", "unzip"),
    "pdf": (
        b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\n",
        "is a PDF document",
        "pdftotext FILE text.txt",
    ),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(20), "is a PNG picture", "another file"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(20), "is a JPEG picture", "another file"),
    "model": (b"\x40\0\0\0\0\0\0\0" + b'{"a":{}}' + bytes(20), "is a model", "charrnn sample FILE"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_a_file_without_plain_text_is_named_as_what_it_is(kind, errors, tmp_path):
    data, name, remedy = FILES[kind]
    (tmp_path / "a file").write_bytes(data)
    message = refusal(tmp_path / "a file", errors=errors)
    assert name in message
    assert remedy.replace("FILE", f"'{tmp_path}/a file'") in message


def test_a_database_is_named_as_what_it_is(tmp_path):
    (tmp_path / "a.txt").write_bytes(database(tmp_path))
    assert "is an SQLite database, and no text" in refusal(tmp_path / "a.txt")


def test_gzip_is_unpacked_as_it_is_read(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(NAMES))
    source, _ = find_source(str(tmp_path / "a.txt.gz"), PLAIN)
    assert source.name == "a"
    assert b"".join(part.tobytes() for part in pieces(source, PLAIN)) == NAMES


def test_gzip_that_is_cut_short_is_one_line(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(NAMES * 99)[:-9])
    assert "a.gz: its gzip data are damaged or cut short" in refusal(tmp_path / "a.gz")


def test_bytes_are_learnt_as_they_are(tmp_path):
    data = gzip.compress(NAMES)
    (tmp_path / "a.gz").write_bytes(data)
    settings = replace(PLAIN, unit="byte")
    source, _ = find_source(str(tmp_path / "a.gz"), settings)
    assert b"".join(part.tobytes() for part in pieces(source, settings)) == data


@pytest.mark.parametrize(
    "text", [b"PK is a code\n", b"MM\nII\n", b"RIFFxxxxWAVEs\n", b"a\nbcftyp\n", b"GIF89\n"]
)
def test_a_text_that_begins_like_one_is_a_text(text, tmp_path):
    (tmp_path / "a.txt").write_bytes(text)
    source, _ = find_source(str(tmp_path / "a.txt"), PLAIN)
    assert b"".join(part.tobytes() for part in pieces(source, PLAIN)) == text


def test_a_picture_in_a_folder_is_named_with_how_to_leave_it_out(tmp_path):
    (tmp_path / "a.txt").write_bytes(NAMES)
    (tmp_path / "b.png").write_bytes(FILES["png"][0])
    message = refusal(tmp_path)
    assert f"{tmp_path}/b.png is a PNG picture" in message
    assert message.endswith("--glob '*.txt' leaves it out")


def test_a_folder_of_two_encodings_names_the_file_and_how_to_convert_it(tmp_path):
    (tmp_path / "a.txt").write_text("café ñ\n" * 9)
    (tmp_path / "b.txt").write_text("señor café\n" * 9, encoding="cp1252")
    message = refusal(tmp_path)
    assert f"{tmp_path}/b.txt: byte 0xf1 at offset 2" in message
    assert f"1 of the 2 files are not; convert this one: iconv -f cp1252 -t utf-8 {tmp_path}" in (
        message
    )


def test_a_folder_of_one_encoding_is_told_what_to_pass(tmp_path):
    (tmp_path / "a.txt").write_text("plain\n")
    (tmp_path / "b.txt").write_text("Привет, мир\n", encoding="koi8-r")
    assert "pass --encoding koi8-r (Russian, Unix)" in refusal(tmp_path)


def test_the_message_says_how_to_look_first(tmp_path):
    (tmp_path / "li.txt").write_text("床前明月光\n" * 20, encoding="gb18030")
    file = tmp_path / "li.txt"
    assert f"charrnn train {file} --check --encoding gb18030" in refusal(file)


@pytest.mark.parametrize("address", ["http://example.com/a/b.txt", "HTTPS://example.com/b.txt"])
def test_an_address_is_kept_whole_and_told_to_be_fetched(address):
    assert refusal(address) == (
        f"{address} is an address, and charrnn opens no connections; fetch the text first: "
        f"curl -L -o b.txt {address}"
    )


def examined(tmp_path, data, **options):
    survey, settings = survey_text(tmp_path, data, TextSettings(**options))
    return examine(survey, settings, 1)


def test_a_report_shows_lines_beyond_ascii_first(tmp_path):
    findings = examined(tmp_path, "plain\nčern\u00fd\n床\nplain\n")
    assert findings.beginning == ("černý", "床", "plain")


def test_a_report_tells_an_encoding_that_reads_better(tmp_path):
    data = ("床前明月光\n疑是地上霜\n" * 20).encode("gb18030")
    (line,) = [
        line for line in examined(tmp_path, data, encoding="cp1252").advice if "more" in line
    ]
    assert line.endswith("reads more like --encoding gb18030: 床前明月光")
    assert not any("more" in line for line in examined(tmp_path, data, encoding="gb18030").advice)


def test_zeros_as_in_utf16_are_told_as_such(tmp_path):
    survey, _ = survey_text(tmp_path, "hello, world\n".encode("utf-16-be") * 9, PLAIN)
    assert any("--encoding utf-16-be" in note for note in survey.notes)

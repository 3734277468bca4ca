"""Bytes that do not decode come with the encoding in which they would."""

import io
from dataclasses import replace

import pytest

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text import reading
from charrnn.text.sources import Source

PLAIN = TextSettings()


def failure(data, **options):
    """The message for bytes that do not decode: one line."""
    source = Source("text", "text", spooled=io.BytesIO(data))
    with pytest.raises(CorpusError) as caught:
        list(reading.pieces(source, replace(PLAIN, **options)))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "encoding", "advice"),
    [
        (
            b"it\x92s",
            "utf-8",
            "pass --encoding cp1252 (Windows, Western Europe), as which all of it decodes",
        ),
        (b"\x80\x81\x02\x03\xff", "utf-8", "pass --encoding latin-1 or --errors replace"),
        ("aé".encode("utf-32"), "utf-8", "pass --encoding utf-32"),
        ("café".encode(), "ascii", "pass --encoding utf-8, as which all of it decodes"),
        (b"\xc3\x81", "cp1252", "is not cp1252; pass --encoding utf-8"),
        (
            "éèê".encode() + b"\x92(\xe9",
            "utf-8",
            "damaged places: 2, sound characters beyond ASCII: 3",
        ),
        (b"PX\x03\x04\0\xff\xe9", "utf-8", "has NULs, so is it a text?"),
        ("a".encode("utf-16") + b"\0", "utf-16", "pass --errors replace: it is damaged there"),
    ],
)
def test_bytes_that_do_not_decode_come_with_what_would(data, encoding, advice):
    assert advice in failure(data, encoding=encoding)


def test_advice_looks_at_the_whole_text(monkeypatch):
    """The first bad byte would be cp1252; one far behind it is not."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 8)
    assert "--encoding latin-1" in failure(b"it\x92s" + b" and so on" * 9 + b"\x81")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_that_begins_like_utf16_is_told_so(encoding):
    assert "--encoding utf-16" in failure(("\ufeff" + "hello").encode(encoding))


def test_half_a_utf16_character_is_an_error():
    assert "offset 4" in failure("a".encode("utf-16") + b"\x00", encoding="utf-16")


def test_utf16_without_its_mark_is_an_error_in_one_line():
    assert "utf-16" in failure(b"\x61\x00\x62\x00", encoding="utf-16")

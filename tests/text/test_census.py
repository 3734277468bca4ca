"""What one pass over a text counts, beside naive counts."""

import hashlib
import io
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.config import TextSettings
from charrnn.text import reading
from charrnn.text.census import take_census
from charrnn.text.sources import Source

PLAIN = TextSettings()


def census(data, **options):
    source = Source("text", "text", spooled=io.BytesIO(data))
    return take_census(source, replace(PLAIN, **options))


def test_census_counts_characters_lines_and_carriage_returns():
    tally = census("aé\r\n\n  b\n😀".encode())
    assert (tally.chars, tally.lines, tally.carriage_returns, tally.indented) == (10, 4, 1, 1)
    assert tally.counts[[ord("a"), ord("é"), 10, 0x1F600, ord(" ")]].tolist() == [1, 1, 3, 1, 2]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(alphabet=" a\té\r\n", min_size=1, max_size=30), piece_bytes=st.integers(1, 9))
def test_census_equals_a_naive_count_however_the_text_is_cut(text, piece_bytes, monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    lines = text.removesuffix("\n").split("\n")
    ended = len(lines) - (not text.endswith("\n"))  # the CR of a CRLF is no part of the line
    lengths = [
        len(line) - (index < ended and line.endswith("\r")) for index, line in enumerate(lines)
    ]
    tally = census(text.encode())
    assert tally.lines == len(lines)
    assert tally.indented == sum(line[:1] in ("\t", " ") and line != "" for line in lines)
    assert tally.line_lengths.tolist() == np.bincount(lengths, minlength=1025).tolist()
    assert tally.chars == len(text)


def test_census_of_a_long_line_counts_it_as_long():
    tally = census(b"x" * 3000 + b"\n" + b"ab\n" * 3)
    assert tally.long_share == 0.25
    assert tally.median_line == 2
    assert tally.line_lengths[-1] == 1


def test_sha256_is_that_of_the_bytes():
    assert (
        census(b"\xef\xbb\xbfab\r\n", newlines="lf").sha256
        == hashlib.sha256(b"\xef\xbb\xbfab\r\n").hexdigest()
    )

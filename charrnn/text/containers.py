"""Files that hold no plain text: archives, spreadsheets, databases, pictures. What each is, and how
its text is got out of it. gzip is unpacked as it is read.
"""

from __future__ import annotations

import gzip
import shlex
import zipfile
import zlib
from typing import BinaryIO, cast

GZIP = b"\x1f\x8b\x08"
HEAD_BYTES = 512
LEAST_BYTES = 25  # no such file with something in it is smaller
MOST_ZIP_BYTES = 1 << 30  # of a zip archive whose list of files is looked at

PIPED = "unpack it on the way: {command} {file} | charrnn train -"
TO_TEXT = "make a text of it first: {command}"
SHEET = "open it and save the column you want as a text, one entry a line"
NO_TEXT = "name another file"
# Where a file begins with these bytes, at this place: what it is, and what to do.
SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xfd7zXZ\x00", "xz-compressed", PIPED.replace("{command}", "xz -dc")),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed", PIPED.replace("{command}", "zstd -dc")),
    (4, b"1AY&SY", "bzip2-compressed", PIPED.replace("{command}", "bunzip2 -c")),
    (257, b"ustar", "a tar archive", "unpack it first: tar -xf {file}"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (0, b"%PDF-", "a PDF document", TO_TEXT.replace("{command}", "pdftotext {file} text.txt")),
    (
        0,
        b"SQLite format 3\x00",
        "an SQLite database",
        TO_TEXT.replace("{command}", 'sqlite3 {file} "select COLUMN from TABLE" > text.txt'),
    ),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls, .doc)", SHEET),
    (0, b"PAR1", "a Parquet table", SHEET),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", NO_TEXT),
    (0, b"\x93NUMPY", "a NumPy array", NO_TEXT),
    (0, b"\x7fELF", "a program", NO_TEXT),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", NO_TEXT),
    (0, b"\xff\xd8\xff", "a JPEG picture", NO_TEXT),
    (0, b"GIF87a", "a GIF picture", NO_TEXT),
    (0, b"GIF89a", "a GIF picture", NO_TEXT),
    (0, b"II*\x00", "a TIFF picture", NO_TEXT),
    (0, b"MM\x00*", "a TIFF picture", NO_TEXT),
    (8, b"WEBP", "a WebP picture", NO_TEXT),
    (8, b"WAVE", "a sound", NO_TEXT),
    (0, b"fLaC\x00", "a sound", NO_TEXT),
    (0, b"OggS\x00", "a sound or film", NO_TEXT),
    (0, b"ID3\x03\x00", "a sound", NO_TEXT),
    (0, b"ID3\x04\x00", "a sound", NO_TEXT),
    (4, b"ftyp", "a film or picture", NO_TEXT),
)
# By the files that a zip archive holds.
ZIPPED = (
    ("xl/", "a spreadsheet (.xlsx)", SHEET),
    ("word/", "a Word document (.docx)", "open it and save it as plain text"),
    ("ppt/", "a presentation (.pptx)", "open it and save its outline as plain text"),
    ("META-INF/container.xml", "an e-book (.epub)", "convert it to plain text first"),
)
OPEN_DOCUMENTS = {
    b"spreadsheet": ("a spreadsheet (.ods)", SHEET),
    b"text": ("a document (.odt)", "open it and save it as plain text"),
    b"presentation": ("a presentation (.odp)", "open it and save its outline as plain text"),
}


class _Unpacked(gzip.GzipFile):
    """A gzip file whose faults are OSErrors."""

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise OSError(f"its gzip data are damaged or cut short ({error})") from None


def unpacked(stream: BinaryIO) -> BinaryIO:
    """Return a stream from its beginning, unpacked where it is gzip."""
    stream.seek(0)
    is_gzip = stream.read(len(GZIP)) == GZIP
    stream.seek(0)
    return cast(BinaryIO, _Unpacked(fileobj=stream)) if is_gzip else stream


def not_a_text(stream: BinaryIO, shown: str, *, is_file: bool) -> str:
    """Return what a file is that holds no plain text, and what to do with it; "" for a text.

    shown: its name, or that of a stream which is no file. The stream is left at its beginning.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    if len(head) < LEAST_BYTES:
        stream.seek(0)
        return ""
    kind = ""
    remedy = ""
    if head.startswith(b"PK\x03\x04") and b"\0" in head:
        kind, remedy = _zipped(stream, head)
    elif head[2:8] == b"\0" * 6 and head[8:10] == b'{"':
        kind, remedy = "a model (safetensors)", "to write with it: charrnn sample {file}"
    # A few letters are no signature of what is text all the way; a PDF may be.
    is_binary = not head.isascii() or b"\0" in head or b" obj" in head
    for place, signature, name, what_to_do in SIGNATURES if is_binary else ():
        if head[place : place + len(signature)] == signature:
            kind, remedy = name, what_to_do
            break
    stream.seek(0)
    if not kind:
        return ""
    file = shlex.quote(shown) if is_file else "FILE"
    return f"{shown} is {kind}, and no text; {remedy.format(file=file)}"


def _zipped(stream: BinaryIO, head: bytes) -> tuple[str, str]:
    """Return what a zip archive is, and what to do with it."""
    if head[30:38] == b"mimetype":
        for word, (name, remedy) in OPEN_DOCUMENTS.items():
            if b"opendocument." + word in head[:128]:
                return name, remedy
    if stream.seek(0, 2) < MOST_ZIP_BYTES:
        try:
            names = zipfile.ZipFile(stream).namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            names = []
        for beginning, name, remedy in ZIPPED:
            if any(entry.startswith(beginning) for entry in names):
                return name, remedy
    return "a zip archive", PIPED.replace("{command}", "unzip -p")

"""Which encoding a text could be in, when it is not in the named one: advice, never a guess."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import BinaryIO

from charrnn.text.languages import likeness

PIECE_BYTES = 1 << 22
SAMPLE_BYTES = 1 << 14
SHOWN = 24  # characters of a decoded text in a message
LEAST = 0.6  # a decoding that looks less like a language is not offered
SELDOM = 0.93  # how usual encodings of old machines are
NEAR = 0.93  # of the best: offered beside it


@dataclass(frozen=True)
class Candidate:
    """An encoding that texts are in: its name, who writes so, the set of its common characters."""

    name: str
    writers: str
    east_asian: str = ""
    usual: float = 1.0  # its chance beside the others'


# The more usual first: of equally good ones the first is offered.
CANDIDATES = (
    Candidate("cp1252", "Windows, Western Europe"),
    Candidate("cp1251", "Windows, Cyrillic"),
    Candidate("cp1250", "Windows, Central Europe"),
    Candidate("cp1254", "Windows, Turkish"),
    Candidate("cp1253", "Windows, Greek"),
    Candidate("cp1255", "Windows, Hebrew"),
    Candidate("cp1256", "Windows, Arabic"),
    Candidate("cp1257", "Windows, Baltic"),
    Candidate("gb18030", "Chinese, simplified", "gb2312"),
    Candidate("shift_jis", "Japanese", "euc_jp"),
    Candidate("cp932", "Japanese, Windows", "euc_jp"),
    Candidate("euc_jp", "Japanese, Unix", "euc_jp"),
    Candidate("euc_kr", "Korean", "euc_kr"),
    Candidate("cp949", "Korean, Windows", "euc_kr"),
    Candidate("big5", "Chinese, traditional", "big5"),
    Candidate("cp950", "Chinese, traditional, Windows", "big5"),
    Candidate("koi8-r", "Russian, Unix"),
    Candidate("koi8-u", "Ukrainian, Unix"),
    Candidate("cp866", "DOS, Cyrillic", usual=SELDOM),
    Candidate("iso8859-5", "Cyrillic"),
    Candidate("iso8859-2", "Central Europe"),
    Candidate("iso8859-7", "Greek"),
    Candidate("iso8859-9", "Turkish"),
    Candidate("iso8859-15", "Western Europe"),
    Candidate("cp437", "DOS", usual=SELDOM),
    Candidate("cp850", "DOS, Western Europe", usual=SELDOM),
    Candidate("cp852", "DOS, Central Europe", usual=SELDOM),
    Candidate("mac-roman", "classic Macintosh", usual=SELDOM),
    Candidate("cp874", "Windows, Thai", usual=SELDOM),
    Candidate("utf-16-le", "UTF-16 without a mark"),
    Candidate("utf-16-be", "UTF-16 without a mark"),
)


def advice(stream: BinaryIO, encoding: str) -> str:
    """Return what to pass for a stream whose bytes do not decode as `encoding`.

    Reads the whole stream; memory does not grow with it.
    """
    # 1. What its first bytes tell
    stream.seek(0)
    head = stream.read(4096)
    named = codecs.lookup(encoding).name
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        wide = "utf-32" if head[:4] == b"\xff\xfe\0\0" else "utf-16"
        if named.startswith(wide):
            return "--errors replace: it is damaged there"
        return f"--encoding {wide}: that is how it begins"
    wide = without_mark(head)
    if wide and not named.startswith(wide[:6]) and decodes(stream, wide):
        return f"--encoding {wide}, as which all of it decodes: {beginning(stream, wide)}"

    # 2. UTF-8, whole or damaged in a few places
    if named in ("utf-8", "utf-8-sig"):
        sound, damaged = _utf8_places(stream)
        if sound > damaged:
            return (
                f"--errors replace: damaged places: {damaged:,}, "
                f"sound characters beyond ASCII: {sound:,}"
            )
    elif decodes(stream, "utf-8"):
        return "--encoding utf-8, as which all of it decodes"

    # 3. The encodings that decode all of it, the one first that reads most like a language
    likely = likely_encodings(stream)
    if b"\0" in head and not likely:
        return "--unit byte to train, which takes any bytes: it has NULs, so is it a text?"
    if not likely:
        return "--encoding latin-1 or --errors replace"
    first = likely[0]
    shown = beginning(stream, first.name)
    others = [*(other.name for other in likely[1:3]), "--errors replace"]
    return (
        f"--encoding {first.name} ({first.writers}), as which all of it decodes: {shown}; "
        f"or {', '.join(others)}"
    )


def likelier(stream: BinaryIO, encoding: str) -> str:
    """Return an encoding in which a stream reads more like a language than in this one, or ""."""
    likely = likely_encodings(stream)
    if not likely:
        return ""
    best = likely[0]
    stream.seek(0)
    sample = _sample(stream)
    own = codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    other = codecs.getincrementaldecoder(best.name)("replace").decode(sample)
    is_better = likeness(own) < NEAR * best.usual * likeness(other, best.east_asian)
    return best.name if is_better else ""


def likely_encodings(stream: BinaryIO) -> list[Candidate]:
    """Return the encodings in which all of a stream reads like a language, the likeliest first."""
    stream.seek(0)
    sample = _sample(stream)
    ranked: list[tuple[float, int, Candidate, str]] = []
    for place, candidate in enumerate(CANDIDATES):
        try:
            text = codecs.getincrementaldecoder(candidate.name)().decode(sample)
        except UnicodeError:
            continue
        if any(text == other for _, _, _, other in ranked):
            continue  # cp932 for shift_jis
        score = candidate.usual * likeness(text, candidate.east_asian)
        ranked.append((-score, place, candidate, text))
    ranked.sort(key=lambda entry: entry[:2])
    likely: list[Candidate] = []
    least = LEAST
    for score, _, candidate, _ in ranked:
        if -score >= least and decodes(stream, candidate.name):
            likely.append(candidate)
            least = max(least, NEAR * -score)
    return likely


def _sample(stream: BinaryIO) -> bytes:
    """Return lines from a stream that are not ASCII, or its beginning.

    Whole lines, from the beginning: characters of several bytes stay whole.
    """
    data = stream.read(SAMPLE_BYTES)
    if not data.isascii() or len(data) < SAMPLE_BYTES:
        return data
    while piece := stream.read(PIECE_BYTES):
        lines = [line for line in piece.split(b"\n")[1:-1] if not line.isascii()]
        if lines:
            return b"\n".join(lines)[:SAMPLE_BYTES]
    return data


def without_mark(head: bytes) -> str:
    """Return the UTF of two or four bytes that a text without a mark is in; "" if it is in none.

    Latin letters have a zero in half, or three quarters, of their bytes.
    """
    head = head[: len(head) // 4 * 4]
    if len(head) < 4:
        return ""
    zeros = [head[place::4].count(0) / (len(head) // 4) for place in range(4)]
    few, many = 0.1, 0.4
    if zeros[0] < few and min(zeros[1:]) > many:
        return "utf-32-le"
    if zeros[3] < few and min(zeros[:3]) > many:
        return "utf-32-be"
    if max(zeros[0], zeros[2]) < few and min(zeros[1], zeros[3]) > many:
        return "utf-16-le"
    if max(zeros[1], zeros[3]) < few and min(zeros[0], zeros[2]) > many:
        return "utf-16-be"
    return ""


def beginning(stream: BinaryIO, encoding: str) -> str:
    """Return the first line of a stream that has a character beyond ASCII, shortened."""
    stream.seek(0)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(stream.read(SAMPLE_BYTES))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line for line in lines if line]
    line = next((line for line in lines if not line.isascii()), "".join(lines[:1]))
    if line.isascii() or len(line) <= SHOWN:
        return _shortened(line)
    first = next(place for place, char in enumerate(line) if char > "\x7f")
    return _shortened(line[max(0, first - SHOWN // 2) :])


def _shortened(line: str) -> str:
    visible = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return visible if len(visible) <= SHOWN else f"{visible[:SHOWN]}…"


def decodes(stream: BinaryIO, encoding: str) -> bool:
    """Return whether the whole stream is text of this encoding."""
    stream.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while piece := stream.read(PIECE_BYTES):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _utf8_places(stream: BinaryIO) -> tuple[int, int]:
    """Count the characters beyond ASCII that are proper UTF-8, and the places that are not."""
    stream.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    sound = 0
    damaged = 0
    while True:
        piece = stream.read(PIECE_BYTES)
        text = decoder.decode(piece, final=not piece)
        if not text.isascii():
            # A U+FFFD that stood in the text already counts as damage too, and rightly.
            replaced = text.count("\ufffd")
            damaged += replaced
            sound += sum(1 for char in text if char > "\x7f") - replaced
        if not piece:
            return sound, damaged

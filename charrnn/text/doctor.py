"""What a person should know of a text before training on it: findings, and what to pass. Writes nothing.

Everything is of the text as it would be trained on, so that what an option mends is no longer found. Counts are exact;
lines are compared by 64-bit hashes (linehash.py).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text import linehash
from charrnn.text.corpus import MAX_LINE, Survey, training_part
from charrnn.text.encodings import decodes
from charrnn.text.mode import choose_mode
from charrnn.text.reading import MAX_CODE, RETURN, Census, pieces
from charrnn.text.splits import SPLITS, allot
from charrnn.text.vocabulary import NEWLINE, REPLACEMENT

RARE = 5  # fewer occurrences than so many
EXAMPLES = 5
LONG_LINE = 1024
START_CHARS = 8_000_000  # up to here the start of a training counts repeated lines: 0.1 s
START_LEAK_CHARS = 32_000_000  # and looks for lines of --val and --test in the training text
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe", "UTF-16 LE"),
    (b"\xfe\xff", "UTF-16 BE"),
)
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_KINDS = {
    "Cc": "control",
    "Cf": "invisible",
    "Zs": "unusual space",
    "Zl": "unusual space",
    "Zp": "unusual space",
    "Co": "private use",
    "Cn": "unassigned",
}


@dataclass(frozen=True)
class Symbol:
    """A code point, or byte value, and how often it occurs."""

    code: int
    count: int
    kind: str = ""


@dataclass(frozen=True)
class Line:
    text: str
    count: int


@dataclass(frozen=True)
class Leak:
    """Lines of a held-out text that are in the training text too."""

    where: str  # "--val", "--test", "held out"
    lines: int  # that were compared: not blank, of at least `least` characters
    known: int
    least: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = f" of {self.least} characters or more" if self.least > 1 else ""
        lines, verb = _many(self.lines, "line"), "is" if self.known == 1 else "are"
        return f"{self.known:,} of {lines}{size} of {self.where} {verb} in the training text"


@dataclass(frozen=True)
class Findings:
    """Of the training text; leaks: of all. Codes are code points, or byte values with --unit byte."""

    size_bytes: int
    files: int
    encoding: str
    byte_order_mark: str  # "" if there is none
    chars: int
    heading_chars: int  # of them, put before each file of a directory
    distinct: int
    lines: int
    blank_lines: int
    lf: int
    crlf: int
    lone_cr: int
    ends_with_newline: bool
    odd: tuple[Symbol, ...]  # controls, bidi marks, what cannot be seen, U+FFFD
    nfc_changes: (
        int | None
    )  # characters that normalisation (NFC) would take away or replace; None: bytes, or normalised
    nfc_distinct: int
    rare: tuple[Symbol, ...]  # seen fewer than RARE times, the rarest first
    rare_share: float
    longest_line: int
    long_lines: int  # of LONG_LINE characters or more
    trailing_spaces: int  # lines
    repeated_lines: int  # that repeat an earlier one
    used_once: bool  # they are taken out before the split
    repeated: tuple[Line, ...]  # the most frequent of them
    leaks: tuple[Leak, ...]
    mode: str
    mode_reason: str
    suggested_mode: str
    suggested_mode_reason: str
    advice: tuple[str, ...]


def examine(found: Survey, settings: TextSettings, seed: int) -> Findings:
    """Read a surveyed text once more, and look. Memory: eight bytes a line. Raises CorpusError."""
    census = found.censuses["train"]
    composed = _Composed() if settings.normalize == "none" and settings.unit == "char" else None
    edge = training_part(census.chars, found, settings)
    lines = linehash.hash_lines(
        _watched(pieces(found.sources["train"], settings), composed), census.lines, edge
    )
    full = len(lines.hashes)
    leaks = [_held_out(found, settings, lines, seed)]
    lines.hashes.sort()
    repeated_lines, most = linehash.repeats(lines.hashes, EXAMPLES)
    leaks += _given(found, settings, lines.hashes)
    size, mark = _size_and_mark(found)
    suggested = choose_mode(census, replace(settings, mode="auto"))
    shown = linehash.show_lines(
        pieces(found.sources["train"], settings), [line for line, _ in most]
    )
    changes, distinct_after = (
        composed.result(census) if composed else (None, int(np.count_nonzero(census.counts)))
    )
    rare = rare_characters(census)
    findings = Findings(
        size_bytes=size,
        files=max(1, len(found.sources["train"].paths)),
        encoding=encoding_of(census, settings),
        byte_order_mark=mark,
        chars=census.chars,
        heading_chars=_heading_chars(found, settings),
        distinct=int(np.count_nonzero(census.counts)),
        lines=census.lines,
        blank_lines=census.lines - full,
        lf=int(census.counts[NEWLINE]) - census.crlf,
        crlf=census.crlf,
        lone_cr=census.carriage_returns - census.crlf,
        ends_with_newline=census.last == NEWLINE,
        odd=odd_characters(census, settings.unit),
        nfc_changes=changes,
        nfc_distinct=distinct_after,
        rare=rare,
        rare_share=sum(each.count for each in rare) / census.chars,
        longest_line=lines.longest,
        long_lines=int(census.line_lengths[LONG_LINE:].sum()),
        trailing_spaces=lines.trailing,
        repeated_lines=repeated_lines,
        used_once=found.mode == "lines" and settings.deduplicate,
        repeated=tuple(Line(text, count) for text, (_, count) in zip(shown, most, strict=True)),
        leaks=tuple(leak for leak in leaks if leak is not None),
        mode=found.mode,
        mode_reason=found.reason,
        suggested_mode=suggested[0],
        suggested_mode_reason=suggested[1],
        advice=(),
    )
    return replace(findings, advice=tuple(_advice(found, settings, findings)))


def at_start(found: Survey, settings: TextSettings) -> tuple[str, list[str]]:
    """One line on the text, and warnings, from the census; small texts are read once more for their lines."""
    census = found.censuses["train"]
    chars = sum(each.chars for each in found.censuses.values())
    are_counted = chars <= START_CHARS and (found.mode == "stream" or not settings.deduplicate)
    share, warnings = 0.0, []
    if are_counted or (len(found.sources) > 1 and chars <= START_LEAK_CHARS):
        hashes = linehash.hash_lines(pieces(found.sources["train"], settings), census.lines).hashes
        hashes.sort()
        share = linehash.repeats(hashes, 0)[0] / max(1, len(hashes)) if are_counted else 0.0
        warnings = [
            f"{leak}: scores on them flatter"
            for leak in _given(found, settings, hashes)
            if leak.known
        ]
    rare = len(rare_characters(census))
    kinds: dict[str, int] = {}
    for odd in odd_characters(census, settings.unit):
        if odd.code:  # NULs have a note of their own
            kinds[odd.kind] = kinds.get(odd.kind, 0) + odd.count
    distinct = _many(
        len(found.vocabulary), "distinct byte" if settings.unit == "byte" else "distinct character"
    )
    parts = [
        f"{encoding_of(census, settings)}, {line_ends_of(census)}",
        distinct + (f", {rare:,} of them rare (seen under {RARE} times)" if rare else ""),
        *(f"{kind} characters: {count:,}" for kind, count in kinds.items()),
        *([f"{share:.0%} of the lines repeat"] if share >= 0.005 else []),
    ]
    return "; ".join(parts), warnings


def encoding_of(census: Census, settings: TextSettings) -> str:
    """The encoding in which a text decodes, for a person."""
    if settings.unit == "byte":
        return "bytes"
    return settings.encoding.upper() if census.counts[128:].any() else "ASCII"


def line_ends_of(census: Census) -> str:
    """LF, CRLF, CR, or how many of each."""
    lf, lone = int(census.counts[NEWLINE]) - census.crlf, census.carriage_returns - census.crlf
    found = [
        (name, count) for name, count in (("LF", lf), ("CRLF", census.crlf), ("CR", lone)) if count
    ]
    if len(found) > 1:
        return f"mixed line ends ({', '.join(f'{count:,} {name}' for name, count in found)})"
    return found[0][0] if found else "no line ends"


def rare_characters(census: Census) -> tuple[Symbol, ...]:
    """Characters seen fewer than RARE times, the rarest first."""
    codes = np.flatnonzero((census.counts > 0) & (census.counts < RARE))
    codes = codes[np.argsort(census.counts[codes], kind="stable")]
    return tuple(Symbol(int(code), int(census.counts[code])) for code in codes)


def odd_characters(census: Census, unit: str) -> tuple[Symbol, ...]:
    """What is seldom meant, by kind: controls, bidi marks, what cannot be seen, U+FFFD."""
    codes = np.flatnonzero(census.counts[: 128 if unit == "byte" else MAX_CODE])
    found = (Symbol(int(code), int(census.counts[code]), _kind(int(code))) for code in codes)
    return tuple(sorted((each for each in found if each.kind), key=lambda each: each.kind))


@cache
def _kind(code: int) -> str:
    if code in (NEWLINE, RETURN, 9, 32):
        return ""
    if code == REPLACEMENT:
        return "replacement"
    return "bidi" if code in _BIDI else _KINDS.get(unicodedata.category(chr(code)), "")


def _held_out(
    found: Survey, settings: TextSettings, lines: linehash.Lines, seed: int
) -> Leak | None:
    """Lines that the split of the corpus itself would put on both sides. None: it has one side, or repeats are taken out."""
    if found.mode == "lines":
        if settings.deduplicate:
            return None
        order = np.random.default_rng(seed).permutation(
            len(lines.hashes)
        )  # as corpus.build draws it
        first = training_part(len(order), found, settings)
        training, held, least = lines.hashes[order[:first]], lines.hashes[order[first:]], 1
    else:
        held = linehash.sentences(lines.hashes[lines.before :])
        training, least = lines.hashes[: lines.before], linehash.SENTENCE
    if not len(held):
        return None
    training.sort()  # in a stream these are the lines themselves: their order is no longer needed
    return _leak("what --split holds out", held, training, least, found, settings)


def _given(found: Survey, settings: TextSettings, hashes: np.ndarray) -> list[Leak]:
    """The same of each text given with --val and --test. hashes: of the training text, sorted."""
    leaks = []
    for name in SPLITS[1:]:
        if name in found.sources:
            lines = linehash.hash_lines(
                pieces(found.sources[name], settings), found.censuses[name].lines
            ).hashes
            least = 1 if found.mode == "lines" else linehash.SENTENCE
            lines = lines if least == 1 else linehash.sentences(lines)
            leaks.append(_leak(f"--{name}", lines, hashes, least, found, settings, name))
    return leaks


def _leak(
    where: str,
    lines: np.ndarray,
    hashes: np.ndarray,
    least: int,
    found: Survey,
    settings: TextSettings,
    name: str = "train",
) -> Leak:
    known = lines[linehash.common(lines, hashes)]
    wanted = list(dict.fromkeys(known[: 8 * EXAMPLES].tolist()))[:EXAMPLES]
    examples = linehash.show_lines(pieces(found.sources[name], settings), wanted)
    return Leak(where, len(lines), len(known), least, tuple(examples))


def _heading_chars(found: Survey, settings: TextSettings) -> int:
    headings = found.sources["train"].separators
    return sum(len(each.encode()) if settings.unit == "byte" else len(each) for each in headings)


def _size_and_mark(found: Survey) -> tuple[int, str]:
    size, head = 0, b""
    for index, (_, _, stream) in enumerate(found.sources["train"].open()):
        head = head if index else stream.read(3)
        size += stream.seek(0, 2)
    return size, next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), "")


def _advice(found: Survey, settings: TextSettings, findings: Findings) -> Iterator[str]:
    """What to do, each with what to pass; the notes of a training's start come first."""
    census = found.censuses["train"]
    yield from found.notes
    yield from _wrong_encoding(found, settings, findings)
    if findings.nfc_changes:
        after = f"; {findings.nfc_distinct:,} distinct ones then, {findings.distinct:,} now"
        verb = "is" if findings.nfc_changes == 1 else "are"
        yield f"{_many(findings.nfc_changes, 'character')} {verb} not composed (NFC); --normalize nfc mends that{after}"
    if census.counts[REPLACEMENT] and settings.errors == "strict" and settings.unit == "char":
        times = _many(int(census.counts[REPLACEMENT]), "time")
        yield f"U+FFFD stands {times} where characters were lost before: find the original"
    if (
        settings.unit == "char"
        and findings.distinct > 500
        and len(findings.rare) > 0.3 * findings.distinct
    ):
        yield f"{len(findings.rare):,} of {findings.distinct:,} characters are rare; --unit byte has at most 256"
    if found.mode != findings.suggested_mode:
        yield f"--mode {findings.suggested_mode} would be chosen: {findings.suggested_mode_reason}"
    for leak in findings.leaks:
        if leak.where.startswith("--"):
            remedy = "take them out of that file"
        else:
            remedy = (
                "--deduplicate"
                if found.mode == "lines"
                else "--val FILE from another source tells how much"
            )
        if leak.known > (0 if leak.where.startswith("--") else 0.05 * leak.lines):
            yield f"{leak}: scores on them flatter; {remedy}"
    yield from _too_small(found, settings, findings)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _wrong_encoding(found: Survey, settings: TextSettings, findings: Findings) -> Iterator[str]:
    counts = found.censuses["train"].counts
    if settings.unit == "byte":
        return
    if counts[0] > 0.2 * findings.chars:
        yield "every other character or so is NUL; try --encoding utf-16-le or utf-16-be"
    if settings.encoding.lower() in ("utf-8", "utf8") or not counts[128:].any():
        return
    if _all_decode(found, "utf-8"):
        yield "all of it is UTF-8 as well, which is hardly chance; --encoding utf-8"
    elif counts[0x80:0xA0].any() and _all_decode(found, "cp1252"):
        yield "control characters U+0080 to U+009F are printable ones in --encoding cp1252"


def _all_decode(found: Survey, encoding: str) -> bool:
    return all(decodes(stream, encoding) for _, _, stream in found.sources["train"].open())


def _too_small(found: Survey, settings: TextSettings, findings: Findings) -> Iterator[str]:
    """What would stop a training with this text."""
    if found.mode == "lines" and findings.longest_line > MAX_LINE:
        yield f"a line has {findings.longest_line:,} characters, and --mode lines learns at most {MAX_LINE:,}; --mode stream"
    lengths, unit = {name: census.chars for name, census in found.censuses.items()}, "characters"
    if found.mode == "lines":
        distinct = (
            findings.lines - findings.blank_lines - settings.deduplicate * findings.repeated_lines
        )
        lengths, unit = (
            lengths | {"train": distinct},
            "distinct lines" if settings.deduplicate else "lines",
        )
    try:
        allot(lengths, settings, 1 if found.mode == "lines" else 2, unit)
    except CorpusError as error:
        yield str(error)


def _watched(texts: Iterator[np.ndarray], composed: _Composed | None) -> Iterator[np.ndarray]:
    for codes in texts:
        if composed:
            composed.look(codes)
        yield codes


class _Composed:
    """Counts of a text's characters, less what is alike before and after normalisation to NFC."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.uint32)
        self._more = np.zeros(MAX_CODE, np.int64)

    def look(self, codes: np.ndarray) -> None:
        # No character below U+0300, and no ideograph, composes with what stands before it: a cut there changes nothing.
        if codes.dtype == np.uint8 or (codes < 0x300).all():
            self._count(self._held)
            self._held = codes[-1:]  # with what comes it may
            return
        cuts = np.flatnonzero((codes < 0x300) | ((codes >= 0x4E00) & (codes < 0xA000)))
        if len(cuts):
            self._count(np.concatenate([self._held, codes[: cuts[-1]]]))
            self._held = codes[cuts[-1] :]
        else:
            self._held = np.concatenate([self._held, codes])

    def result(self, census: Census) -> tuple[int, int]:
        """Characters that NFC takes away or replaces, and distinct characters after it."""
        self._count(self._held)
        self._held = self._held[:0]
        return -int(self._more[self._more < 0].sum()), int(
            np.count_nonzero(census.counts + self._more)
        )

    def _count(self, codes: np.ndarray) -> None:
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        if not unicodedata.is_normalized("NFC", text):
            after = np.frombuffer(unicodedata.normalize("NFC", text).encode("utf-32-le"), np.uint32)
            self._more += np.bincount(after, minlength=MAX_CODE) - np.bincount(
                codes, minlength=MAX_CODE
            )

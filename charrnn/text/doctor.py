"""What a person should know of a text before training on it: findings, and what to pass.

Writes nothing. Everything is measured on the text as it would be trained on, so that a fault which
an option mends is no longer reported. Counts are exact; lines are compared by hashes (linehash.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text import linehash
from charrnn.text.building import Survey, training_part
from charrnn.text.characters import (
    RARE,
    NfcChanges,
    Symbol,
    encoding_of,
    line_ends_of,
    odd_characters,
    rare_characters,
)
from charrnn.text.encodings import beginning, decodes, likelier
from charrnn.text.entries import is_records
from charrnn.text.leaks import EXAMPLES, STREAM_SHARE, Leak, given_leaks, held_out_leak
from charrnn.text.mode import choose_mode
from charrnn.text.reading import pieces
from charrnn.text.records import longest_item, shown_breaks
from charrnn.text.splits import allot
from charrnn.text.vocabulary import NEWLINE, REPLACEMENT

LONG_LINE = 1024
START_CHARS = 8_000_000  # up to here the start of a training counts repeated lines: 0.1 s
START_LEAK_CHARS = 32_000_000  # and looks for lines of --val and --test in the training text
SHOWN_FROM = 1 << 16  # characters of which some lines are shown
EXAMPLE_LINES = 3
HEADING = re.compile("==> .* <==")
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe", "UTF-16 LE"),
    (b"\xfe\xff", "UTF-16 BE"),
)


@dataclass(frozen=True)
class Line:
    """The beginning of a line, and how often the line occurs."""

    text: str
    count: int


@dataclass(frozen=True)
class Findings:
    """Findings on the training text; `leaks` on all texts.

    Codes are code points, or byte values with --unit byte.
    """

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
    beginning: tuple[str, ...]  # lines that show how it decodes, their beginnings
    odd: tuple[Symbol, ...]  # controls, bidi marks, invisible characters, U+FFFD
    nfc_changes: int | None  # characters that NFC removes or replaces; None: bytes, or normalised
    nfc_distinct: int
    rare: tuple[Symbol, ...]  # seen fewer than RARE times, the rarest first
    rare_share: float
    longest_line: int
    longest_line_number: int
    long_lines: int  # of LONG_LINE characters or more
    trailing_spaces: int  # lines
    repeated_lines: int  # lines that repeat an earlier one
    used_once: bool  # repeats are taken out before the split
    repeated: tuple[Line, ...]  # the most frequent repeats
    leaks: tuple[Leak, ...]
    mode: str
    mode_reason: str
    suggested_mode: str
    suggested_mode_reason: str
    advice: tuple[str, ...]


def examine(survey: Survey, settings: TextSettings, seed: int) -> Findings:
    """Read a surveyed text once more and report on it.

    Memory: some fifty bytes a line. Raises CorpusError.
    """
    settings = survey.as_read(settings)
    census = survey.censuses["train"]
    source = survey.sources["train"]

    # 1. One pass for its lines and for what NFC would change. A split of lines takes lines for the
    # same only if their carriage returns are.
    keeps_returns = survey.mode == "lines"
    nfc = None
    if settings.normalize == "none" and settings.unit == "char":
        nfc = NfcChanges()
    edge = training_part(census.chars, survey, settings)
    text = _watched(pieces(source, settings), nfc)
    lines = linehash.hash_lines(text, census.lines, edge, keeps_returns=keeps_returns)
    distinct = int(np.count_nonzero(census.counts))
    nfc_changes = None
    nfc_distinct = distinct
    if nfc:
        nfc_changes, nfc_distinct = nfc.result(census)

    # 2. Lines on both sides of a split; repeats.
    leak = held_out_leak(survey, settings, lines.before, seed)
    leaks = [leak] if leak else []
    if len(survey.sources) > 1:
        leaks += given_leaks(survey, settings, _line_hashes(survey, settings), folds=True)
    lines.hashes.sort()
    repeated_lines, most = linehash.repeats(lines.hashes, EXAMPLES)
    texts = linehash.show_lines(
        pieces(source, settings), [line for line, _ in most], keeps_returns=keeps_returns
    )
    repeated = [Line(text, count) for text, (_, count) in zip(texts, most, strict=True)]

    # 3. All findings; advice looks at the others.
    size, mark = _size_and_mark(survey)
    rare = rare_characters(census)
    suggested_mode, suggested_reason = choose_mode(census, replace(settings, mode="auto"))
    if is_records(settings):
        suggested_mode, suggested_reason = survey.mode, survey.reason
    findings = Findings(
        size_bytes=size,
        files=max(1, len(source.paths)),
        encoding=encoding_of(census, settings),
        byte_order_mark=mark,
        chars=census.chars,
        heading_chars=_heading_chars(survey, settings),
        distinct=distinct,
        lines=census.lines,
        blank_lines=census.lines - len(lines.hashes),
        lf=census.lf,
        crlf=census.crlf,
        lone_cr=census.lone_cr,
        ends_with_newline=census.last == NEWLINE,
        beginning=_beginning(survey, settings),
        odd=odd_characters(census, settings.unit),
        nfc_changes=nfc_changes,
        nfc_distinct=nfc_distinct,
        rare=rare,
        rare_share=sum(symbol.count for symbol in rare) / census.chars,
        longest_line=lines.longest,
        longest_line_number=lines.longest_number,
        long_lines=int(census.line_lengths[LONG_LINE:].sum()),
        trailing_spaces=lines.trailing,
        repeated_lines=repeated_lines,
        used_once=survey.mode == "lines" and settings.deduplicate,
        repeated=tuple(repeated),
        leaks=tuple(leaks),
        mode=survey.mode,
        mode_reason=survey.reason,
        suggested_mode=suggested_mode,
        suggested_mode_reason=suggested_reason,
        advice=(),
    )
    return replace(findings, advice=tuple(_advice(survey, settings, findings)))


def at_start(survey: Survey, settings: TextSettings) -> tuple[str, list[str]]:
    """Return one line on the text, and warnings, for the start of a training.

    Both come from the census; small texts are read once more for their lines.
    """
    settings = survey.as_read(settings)
    # 1. Lines that repeat, and lines of --val and --test that are in the training text.
    census = survey.censuses["train"]
    chars = sum(part.chars for part in survey.censuses.values())
    keeps_repeats = survey.mode == "stream" or not settings.deduplicate
    counts_repeats = chars <= START_CHARS and keeps_repeats
    seeks_leaks = len(survey.sources) > 1 and chars <= START_LEAK_CHARS
    repeated_share = 0.0
    warnings: list[str] = []
    if counts_repeats or seeks_leaks:
        hashes = _line_hashes(survey, settings)
        if counts_repeats:
            repeated_lines, _ = linehash.repeats(hashes, 0)
            repeated_share = repeated_lines / max(1, len(hashes))
        leaks = given_leaks(survey, settings, hashes)
        warnings = [f"{leak}: scores on them flatter" for leak in leaks if leak.known]

    # 2. Characters.
    noun = "distinct byte" if settings.unit == "byte" else "distinct character"
    size = len(survey.vocabulary)
    if survey.rare:  # ... and the symbols of bytes
        size = int(np.count_nonzero(census.counts))
    distinct = _many(size, noun)
    rare = len(rare_characters(census))
    if rare:
        distinct += f", {rare:,} of them rare (seen under {RARE} times)"
    kinds: dict[str, int] = {}
    for symbol in odd_characters(census, settings.unit):
        if symbol.code:  # NULs have a note of their own
            kinds[symbol.kind] = kinds.get(symbol.kind, 0) + symbol.count

    # 3. The line.
    parts = [f"{encoding_of(census, settings)}, {line_ends_of(census)}", distinct]
    parts += [f"{kind} characters: {count:,}" for kind, count in kinds.items()]
    if repeated_share >= 0.005:
        parts.append(f"{repeated_share:.0%} of the lines repeat")
    return "; ".join(parts), warnings


def _line_hashes(survey: Survey, settings: TextSettings) -> np.ndarray:
    """Return the hashes of the lines of the training text that are not blank, sorted."""
    text = pieces(survey.sources["train"], settings)
    hashes = linehash.hash_lines(text, survey.censuses["train"].lines).hashes
    hashes.sort()
    return hashes


def _watched(texts: Iterator[np.ndarray], nfc: NfcChanges | None) -> Iterator[np.ndarray]:
    for codes in texts:
        if nfc:
            nfc.add(codes)
        yield codes


def _beginning(survey: Survey, settings: TextSettings) -> tuple[str, ...]:
    """Return the beginnings of three lines, of those that are not ASCII if there are some."""
    if settings.unit == "byte":
        return ()
    text = ""
    for codes in pieces(survey.sources["train"], settings):
        text += codes[:SHOWN_FROM].astype("<u4").tobytes().decode("utf-32-le")
        if len(text) >= SHOWN_FROM:
            break
    lines = [shown_breaks(line).strip() for line in text.split("\n") if line.strip()]
    lines = [line for line in lines if not HEADING.fullmatch(line)]
    lines = sorted(dict.fromkeys(lines), key=str.isascii)
    return tuple(line[: linehash.SHOWN] for line in lines[:EXAMPLE_LINES])


def _heading_chars(survey: Survey, settings: TextSettings) -> int:
    """Return the characters, or bytes, of the headings put before the files of a directory."""
    if not settings.headings:
        return 0
    texts = survey.sources["train"].texts
    headings = "".join(separator for text in texts for separator in text.separators)
    if settings.unit == "byte":
        return len(headings.encode())
    return len(headings)


def _size_and_mark(survey: Survey) -> tuple[int, str]:
    """Return the size of the files in bytes, and the byte order mark of the first."""
    size = 0
    head = b""
    for index, (_, _, stream) in enumerate(survey.sources["train"].open()):
        if index == 0:
            head = stream.read(3)
        size += stream.seek(0, 2)
    return size, next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), "")


def _advice(survey: Survey, settings: TextSettings, findings: Findings) -> Iterator[str]:
    """Yield what to do and what to pass; the notes of a training's start come first."""
    counts = survey.censuses["train"].counts
    yield from survey.notes
    yield from _wrong_encoding(survey, settings, findings)
    if findings.nfc_changes:
        verb = "is" if findings.nfc_changes == 1 else "are"
        yield (
            f"{_many(findings.nfc_changes, 'character')} {verb} not composed (NFC); "
            f"--normalize nfc mends that; {findings.nfc_distinct:,} distinct ones then, "
            f"{findings.distinct:,} now"
        )
    if counts[REPLACEMENT] and settings.errors == "strict" and settings.unit == "char":
        times = _many(int(counts[REPLACEMENT]), "time")
        yield f"U+FFFD stands {times} where characters were lost before: find the original"
    has_many_rare = findings.distinct > 500 and len(findings.rare) > 0.3 * findings.distinct
    if settings.unit == "char" and has_many_rare:
        yield (
            f"{len(findings.rare):,} of {findings.distinct:,} characters are rare; "
            "--unit byte has at most 256"
        )
    if survey.mode != findings.suggested_mode:
        yield f"--mode {findings.suggested_mode} would be chosen: {findings.suggested_mode_reason}"
    for leak in findings.leaks:
        tolerated = 0.0
        tolerated_alike = 0.0
        if leak.where.startswith("--"):
            remedy = "take them out of that file"
        elif survey.mode == "stream":
            tolerated = tolerated_alike = STREAM_SHARE * leak.lines
            remedy = "--val FILE from another source tells how much"
        elif not settings.deduplicate:
            tolerated = STREAM_SHARE * leak.lines
            remedy = "--deduplicate"
        elif leak.known and settings.unit == "char":
            remedy = "--newlines lf"  # repeats are used once: these differ by a carriage return
        else:
            remedy = "make such lines equal: then each is used once"
        if leak.known > tolerated or (leak.alike or 0) > tolerated_alike:
            yield f"{leak}: scores on them flatter; {remedy}"
    yield from _too_small(survey, settings, findings)


def _wrong_encoding(survey: Survey, settings: TextSettings, findings: Findings) -> Iterator[str]:
    """Yield what suggests that the text was decoded with the wrong encoding."""
    counts = survey.censuses["train"].counts
    if settings.unit == "byte":
        return
    if settings.encoding.lower() in ("utf-8", "utf8") or not counts[128:].any():
        return
    if "," in settings.encoding:  # each text has its own
        return
    if _all_decode(survey, "utf-8"):
        yield "all of it is UTF-8 as well, which is hardly chance; --encoding utf-8"
    elif counts[0x80:0xA0].any() and _all_decode(survey, "cp1252"):
        yield "control characters U+0080 to U+009F are printable ones in --encoding cp1252"
    else:
        for shown, _, stream in survey.sources["train"].open():
            if better := likelier(stream, settings.encoding):
                yield f"{shown} reads more like --encoding {better}: {beginning(stream, better)}"


def _all_decode(survey: Survey, encoding: str) -> bool:
    return all(decodes(stream, encoding) for _, _, stream in survey.sources["train"].open())


def _too_small(survey: Survey, settings: TextSettings, findings: Findings) -> Iterator[str]:
    """Yield what would stop a training with this text."""
    lengths = {name: census.chars for name, census in survey.censuses.items()}
    own = {name: chars for name, chars in lengths.items() if name != "train"}
    least = 2
    unit = "characters"
    if survey.mode == "lines":
        most = longest_item(survey.vocabulary)
        if findings.longest_line > most:
            yield (
                f"line {findings.longest_line_number:,} has {findings.longest_line:,} characters, "
                f"and --mode lines learns at most {most:,}; --mode stream, or shorten it"
            )
        least = 1
        unit = survey.form
        lengths["train"] = findings.lines - findings.blank_lines
        if settings.deduplicate:
            unit = f"distinct {survey.form}"
            lengths["train"] -= findings.repeated_lines
    texts = [(lengths["train"], "the text")]
    if parts := survey.censuses["train"].parts:
        texts = [(part.lines if least == 1 else part.chars, part.shown) for part in parts]
    for length, shown in texts:
        try:
            allot({"train": length} | own, settings, least, unit, shown=shown)
        except CorpusError as error:
            yield str(error)


def _many(count: int, noun: str) -> str:
    """Count a noun in words: "1 line", "2 lines"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

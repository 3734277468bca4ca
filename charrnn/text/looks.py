"""What a text looks like that is not plain text: a page, a numbered list, quoted lines, entities.

A person sees it at a glance, a network learns it as it is. Each look is said with an option that
makes a plain text of it. Only the beginning of a text is looked at. Tables: noticing.py.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.terminal import one_line
from charrnn.text.census import Census
from charrnn.text.stripping import BULLETED, NUMBERED, QUOTES

MOST_CHARS = 1 << 16  # that are looked at
MOST_LINES = 300
RULE = re.compile(r"-{3,}|={3,}|\*{3,}|~{3,}|_{3,}|#{3,}|%{1,3}|\* \* \*")
LEAST_RULES = 3
MOST_BLOCK = 40  # lines between two, on average
MOST = 0.8  # of the lines that look like something, for the text to look like it
LEAST_LINES = 5
ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,5});")
# UTF-8 that was read as cp1252 and saved again: é became Ã©, ’ became â€™.
TWICE_ENCODED = re.compile("Ã[\u00a0-\u00bf\u0192\u201a-\u2026]|â€[\u2122\u0153\u201c\u02dc¦“”™œ]")
LEAST_SIGNS = 3  # entities, or characters encoded twice
# Of a list of longer lines
MOST_MEDIAN = 250
NEAR_END = 0.8  # of the longest lines: wrapped text has most of its lines there
LEAST_LIST = 50  # lines
LOWER_SHARE = 0.02  # of lines that begin with a small letter: in running text many do


@dataclass(frozen=True)
class Sample:
    """The beginning of a text: its whole lines that are not blank. file: its name for a shell."""

    lines: list[str]
    text: str
    file: str

    def share(self, pattern: re.Pattern[str]) -> float:
        """Return the share of the lines that begin like this."""
        return sum(bool(pattern.match(line)) for line in self.lines) / max(1, len(self.lines))


def looks_of(text: str, file: str, census: Census, mode: str, *, is_asked: bool) -> list[str]:
    """Return a sentence on each look of a text.

    text: its beginning. file: its name, "" of a stream. is_asked: the mode was.
    """
    text = text[:MOST_CHARS]
    lines = text.splitlines()[:MOST_LINES]
    if len(text) < census.chars and len(lines) > 1:
        lines = lines[:-1]  # it may be cut
    quoted = shlex.quote(one_line(file)) if file else "FILE"
    sample = Sample([line for line in lines if line.strip()], text, quoted)
    if len(sample.lines) < LEAST_LINES and text.lstrip()[:1] not in ("{", "["):
        return list(_signs(sample))
    structure = _page(sample) or _numbering(sample) or _quotes(sample)
    if not structure and not is_asked:
        structure = _records(sample)
    looks = [structure] if structure else []
    looks += _signs(sample)
    if not structure and mode == "stream" and not is_asked and is_list(sample.lines, census):
        looks.append(
            f"each of the {census.lines:,} lines may stand alone, as a headline or a molecule "
            "does: then --mode lines"
        )
    return [f"{census.shown} {look}" if look == structure else look for look in looks]


def is_list(lines: list[str], census: Census) -> bool:
    """Return whether lines that are too long for names may stand alone all the same."""
    if census.lines < LEAST_LIST or census.blank_share >= 0.01 or not lines:
        return False
    if census.indented >= 0.05 * census.lines or census.median_line > MOST_MEDIAN:
        return False
    lengths = sorted(map(len, lines))
    edge = NEAR_END * lengths[int(0.95 * (len(lengths) - 1))]
    near_edge = sum(length >= edge for length in lengths) / len(lengths)
    lower = sum(line[0].islower() for line in lines) / len(lines)
    return near_edge < 0.5 or lower < LOWER_SHARE


def _page(sample: Sample) -> str:
    """Return what to do with a page of a browser or of a word processor; "" if it is none."""
    beginning = sample.text.lstrip()[:200].lower()
    if beginning.startswith(("<!doctype html", "<html")):
        return f"looks like an HTML page; pandoc -f html -t plain {sample.file} -o plain.txt"
    if beginning.startswith("{\\rtf"):
        return "looks like RTF; open it and save it as plain text"
    return ""


def _numbering(sample: Sample) -> str:
    """Return what to do with lines that begin with numbers or bullets; "" if few do."""
    numbers = [int(match[1]) for line in sample.lines if (match := NUMBERED.match(line))]
    pairs = zip(numbers, numbers[1:], strict=False)
    steps = sum(later == number + 1 for number, later in pairs)
    if len(numbers) >= MOST * len(sample.lines) and steps >= MOST * (len(numbers) - 1):
        return "looks like a numbered list; --strip numbering learns it without its numbers"
    if sample.share(BULLETED) >= MOST:
        return "looks like a list with bullets; --strip bullets learns it without them"
    return ""


def _records(sample: Sample) -> str:
    """Return what to do with blocks between lines such as ---; "" if there are few."""
    rules = Counter(line.strip() for line in sample.lines if RULE.fullmatch(line.strip()))
    rule, count = rules.most_common(1)[0] if rules else ("", 0)
    if count < LEAST_RULES or MOST_BLOCK * count < len(sample.lines):
        return ""
    return f"has lines of {rule} between blocks; --mode records learns each block by itself"


def _quotes(sample: Sample) -> str:
    """Return what to do with lines that stand in quotation marks; "" if few do."""
    for opening, closing in QUOTES.items():
        pattern = re.compile(rf"\s*{opening}.*{closing},?\s*$")
        if sample.share(pattern) >= MOST:
            return "has lines in quotation marks; --strip quotes learns them without"
    return ""


def _signs(sample: Sample) -> Iterator[str]:
    """Yield what to do with HTML entities, and with a text in another encoding than it seems."""
    entities = Counter(ENTITY.findall(sample.text))
    if entities.total() >= LEAST_SIGNS:
        names = ", ".join(f"{name} x{count}" for name, count in entities.most_common(3))
        yield f"it has HTML entities ({names}); --strip entities makes characters of them"
    if "\x1b$B" in sample.text or "\x1b$@" in sample.text:
        yield "it has the escapes of ISO-2022-JP, as in Japanese mail; --encoding iso2022_jp"
    twice = Counter(TWICE_ENCODED.findall(sample.text))
    if twice.total() >= LEAST_SIGNS:
        names = ", ".join(f"{name} x{count}" for name, count in twice.most_common(3))
        yield (
            f"it seems to be UTF-8 that was read as cp1252 ({names}); "
            f"iconv -f utf-8 -t cp1252 {sample.file} > plain.txt"
        )

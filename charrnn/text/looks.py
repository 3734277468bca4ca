"""What a text looks like that is not plain text: a table, JSON, a numbered list, quoted lines.

A person sees it at a glance, a network learns it as it is. Each look is said with a command that
makes a plain text of it. Only the beginning of a text is looked at.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.terminal import one_line
from charrnn.text.census import Census

MOST_CHARS = 1 << 16  # that are looked at
MOST_LINES = 300
MOST = 0.8  # of the lines that look like something, for the text to look like it
LEAST_LINES = 5
DELIMITERS = {",": "CSV", "\t": "TSV", ";": "CSV", "|": "a table"}
NUMBERED = re.compile(r"\s*[(\[]?(\d{1,7})(?:[.):\]]\s*|\t+| {1,4})\S")
BULLETED = re.compile(r"\s*[-*•‣–]\s+\S")
QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»"}
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
    structure = (
        _page(sample) or _json(sample) or _table(sample) or _numbering(sample) or _quotes(sample)
    )
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


def _json(sample: Sample) -> str:
    """Return what to do with JSON, of one value or one a line; "" if it is none."""
    values = [_parsed(line) for line in sample.lines]
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) >= MOST * len(values) and len(objects) > 1:
        key = _text_key(objects)
        return f"looks like JSON, one object a line; jq -r .{key} {sample.file} > {key}.txt"
    beginning = sample.text.lstrip()
    if not re.match(r'(\[\s*[\[{"\d]|\{\s*")', beginning):
        return ""
    # A long value does not end in the sample: its first objects tell the keys.
    inner = [_parsed(match[0]) for match in re.finditer(r"\{[^{}]*\}", beginning)][:MOST_LINES]
    objects = [value for value in inner if isinstance(value, dict)]
    if beginning.startswith("[") and objects:
        key = _text_key(objects)
        return f"looks like JSON; jq -r '.[].{key}' {sample.file} > {key}.txt"
    if objects or _parsed(beginning) is not None:
        return f"looks like JSON; jq -r '.. | strings' {sample.file} > strings.txt"
    return ""


def _parsed(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _text_key(objects: list[dict[str, object]]) -> str:
    """Return the key whose values are most of a text."""
    sizes: Counter[str] = Counter()
    for item in objects:
        sizes.update({key: len(value) for key, value in item.items() if isinstance(value, str)})
    plain = [key for key, _ in sizes.most_common() if re.fullmatch(r"[A-Za-z_]\w*", key)]
    return plain[0] if plain else "KEY"


def _table(sample: Sample) -> str:
    """Return what to do with a table in lines; "" if it is none."""
    for delimiter, kind in DELIMITERS.items():
        rows = _rows(sample.lines, delimiter)
        if not rows:
            continue
        header = _header(rows)
        column = _text_column(rows[1:] if header else rows)
        name = re.sub(r"\W+", "-", header[column]).strip("-").lower() if header else "column"
        about = f"{len(rows[0])} columns"
        if header:
            about += f": {', '.join(header)}"
        target = f"{name or 'column'}.txt"
        skip = " | tail -n +2" if header else ""
        if any('"' in line for line in sample.lines):
            rows_of = f"csv.reader(sys.stdin{_said(delimiter)})"
            script = f"import csv,sys;[print(r[{column}]) for r in {rows_of}]"
            command = f'python3 -c "{script}" < {sample.file}{skip} > {target}'
        else:
            option = "" if delimiter == "\t" else f" -d{shlex.quote(delimiter)}"
            command = f"cut{option} -f{column + 1} {sample.file}{skip} > {target}"
        return f"looks like {kind}, {about}; {command}"
    return ""


def _said(delimiter: str) -> str:
    """Return the argument of csv.reader for a delimiter."""
    if delimiter == ",":
        return ""
    return ",delimiter=chr(9)" if delimiter == "\t" else f",delimiter='{delimiter}'"


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    """Return the rows of a table; none if the lines are no table with this delimiter."""
    lines = [ENTITY.sub("", line) for line in lines]
    # "Smith, John" is a name, and running text has a space after its commas.
    pairs = sum(line.count(delimiter) for line in lines)
    if not pairs or sum(line.count(f"{delimiter} ") for line in lines) > pairs / 2:
        return []
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return []
    widths = Counter(map(len, rows))
    width, count = widths.most_common(1)[0]
    if width < 2 or count < 0.9 * len(rows):
        return []
    if sum(not row[0].strip() for row in rows if row) > len(rows) / 2:  # indented by tabs
        return []
    return [row for row in rows if len(row) == width]


def _header(rows: list[list[str]]) -> list[str]:
    """Return the names of the columns; none if the first row is like the others."""
    first, *others = rows
    names = [name.strip() for name in first]
    is_names = all(re.fullmatch(r"[^\W\d][\w .()/-]{0,29}", name) for name in names)
    if not is_names or len(set(names)) < len(names) or not others:
        return []
    numbers = [any(row[place].strip().isdigit() for row in others) for place in range(len(names))]
    is_small = all(name == name.lower() or name == name.upper() for name in names)
    is_new = not any(name in {row[place] for row in others} for place, name in enumerate(names))
    return names if any(numbers) or (is_small and is_new) else []


def _text_column(rows: list[list[str]]) -> int:
    """Return the column that has most letters, and few of its values twice."""

    def weight(place: int) -> float:
        values = [row[place] for row in rows]
        letters = sum(char.isalpha() for value in values for char in value)
        return letters * len(set(values)) / max(1, len(values))

    return max(range(len(rows[0])), key=weight) if rows else 0


def _numbering(sample: Sample) -> str:
    """Return what to do with lines that begin with numbers or bullets; "" if few do."""
    numbers = [int(match[1]) for line in sample.lines if (match := NUMBERED.match(line))]
    pairs = zip(numbers, numbers[1:], strict=False)
    steps = sum(later == number + 1 for number, later in pairs)
    if len(numbers) >= MOST * len(sample.lines) and steps >= MOST * (len(numbers) - 1):
        pattern = "s/^[[:space:]]*[([]?[0-9]+[]).:]*[[:space:]]*//"
        kind = "a numbered list"
    elif sample.share(BULLETED) >= MOST:
        pattern = "s/^[[:space:]]*[-*•‣–][[:space:]]+//"
        kind = "a list with bullets"
    else:
        return ""
    return f"looks like {kind}; sed -E '{pattern}' {sample.file} > plain.txt"


def _quotes(sample: Sample) -> str:
    """Return what to do with lines that stand in quotation marks; "" if few do."""
    for opening, closing in QUOTES.items():
        pattern = re.compile(rf"\s*{opening}.*{closing},?\s*$")
        if sample.share(pattern) >= MOST:
            signs = opening if opening == closing else opening + closing
            script = f"s/^[[:space:]]*[{signs}]//; s/[{signs}],?[[:space:]]*$//"
            quoted = shlex.quote(script)
            return f"has lines in quotation marks; sed -E {quoted} {sample.file} > plain.txt"
    return ""


def _signs(sample: Sample) -> Iterator[str]:
    """Yield what to do with HTML entities, and with a text in another encoding than it seems."""
    entities = Counter(ENTITY.findall(sample.text))
    if entities.total() >= LEAST_SIGNS:
        names = ", ".join(f"{name} x{count}" for name, count in entities.most_common(3))
        script = "import html,sys;sys.stdout.write(html.unescape(sys.stdin.read()))"
        yield f'it has HTML entities ({names}); python3 -c "{script}" < {sample.file} > plain.txt'
    if "\x1b$B" in sample.text or "\x1b$@" in sample.text:
        yield "it has the escapes of ISO-2022-JP, as in Japanese mail; --encoding iso2022_jp"
    twice = Counter(TWICE_ENCODED.findall(sample.text))
    if twice.total() >= LEAST_SIGNS:
        names = ", ".join(f"{name} x{count}" for name, count in twice.most_common(3))
        yield (
            f"it seems to be UTF-8 that was read as cp1252 ({names}); "
            f"iconv -f utf-8 -t cp1252 {sample.file} > plain.txt"
        )

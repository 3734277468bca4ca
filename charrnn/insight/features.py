"""What a reader could keep track of in a text: position in the line, quotes, brackets, comments, mathematics ...

Computed exactly from the text, by small scanners. Every feature says what is so after a character has been read and
before the next one is known: it depends on nothing further right, so that a network that reads could know it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

TAB = 8
DIALECTS = ("text", "c", "tex")
# Of all lines at least so many must look like it. C's relatives (Java, JavaScript, CSS) pass for C.
DIALECT_SHARE = 0.05
_LOOKS = {
    "c": re.compile(r"(\);|\{)[ \t]*$|^[ \t]*\}[ \t;]*$", re.MULTILINE),
    "tex": re.compile(r"^.*\\[a-zA-Z]+\{.*$", re.MULTILINE),
}
CLOSERS = {'"': '"', "“": "”", "„": "“", "«": "»"}
MATHEMATICS = {
    "equation",
    "align",
    "alignat",
    "flalign",
    "gather",
    "multline",
    "eqnarray",
    "displaymath",
    "math",
}


class Feature(NamedTuple):
    """values (N,) float64; of a binary feature 0 and 1."""

    name: str
    is_binary: bool
    values: np.ndarray


def features(text: str, dialect: str | None = None) -> list[Feature]:
    """Every feature that varies in the text, the same values never twice. dialect: one of DIALECTS, or as it looks."""
    dialect = dialect or dialect_of(text)
    found = _of_any_text(text)
    blank = _blank_lines(text)
    if dialect == "c":
        states = c_states(text)
        counted = [state == "code" for state in states]
        quoted = [state == "string" for state in states]
        found.append(_binary("in a comment", (state == "comment" for state in states)))
    elif dialect == "tex":
        tex = read_tex(text)
        counted, quoted = tex.counted, quotations(text, tex.counted, blank)
        found.append(_binary("in a comment", tex.comment))
        found.append(_binary("in mathematics", tex.mathematics))
        found.append(_number("depth of environments", tex.depth))
    else:
        counted = _unescaped(text)
        quoted = quotations(text, counted, blank)
    found.append(_binary("in quotes", quoted))
    for pair in ("()", "[]", "{}"):
        depth = depths(text, pair, counted, _endings(text, pair, dialect, blank))
        found += [
            _binary(f"in {pair}", (level > 0 for level in depth)),
            _number(f"depth of {pair}", depth),
        ]
    distinct: dict[bytes, Feature] = {}
    for feature in found:
        if len(feature.values) and (feature.values != feature.values[0]).any():
            distinct.setdefault(feature.values.tobytes(), feature)
    return list(distinct.values())


def dialect_of(text: str) -> str:
    """ "c" or "tex" if that is what most of its lines look like, else "text"."""
    lines = text.count("\n") + 1
    shares = {
        name: sum(1 for _ in pattern.finditer(text)) / lines for name, pattern in _LOOKS.items()
    }
    likeliest = max(shares, key=lambda name: shares[name])
    return likeliest if shares[likeliest] >= DIALECT_SHARE else "text"


def _of_any_text(text: str) -> list[Feature]:
    is_newline = np.array([char == "\n" for char in text], bool)
    is_word = np.array([char.isalnum() or char == "_" for char in text], bool)
    indents = indentation(text)
    return [
        _number("position in the line", distance_since(is_newline)),
        _number("indentation", [columns for columns, _ in indents]),
        _binary("in the indentation", (is_inside for _, is_inside in indents)),
        _binary("in a word", is_word),
        _binary("start of a word", is_word & ~np.concatenate([[False], is_word])[:-1]),
        _number("position in the word", distance_since(~is_word)),
        _binary("capital letter", map(str.isupper, text)),
        _binary("digit", map(str.isdecimal, text)),
    ]


def _number(name: str, values: Iterable[float]) -> Feature:
    return Feature(name, False, np.fromiter(values, np.float64))


def _binary(name: str, values: Iterable[bool]) -> Feature:
    return Feature(name, True, np.fromiter(values, np.float64))


def distance_since(marks: np.ndarray) -> np.ndarray:
    """How many characters ago the last mark was, 0 at a mark; before the first one, as if one stood before the text."""
    places = np.arange(len(marks))
    return places - np.maximum.accumulate(np.where(marks, places, -1))


def indentation(text: str) -> list[tuple[int, bool]]:
    """Columns of white space that the line has begun with, and whether it is still beginning. Tabs go to the next 8th."""
    found, columns, is_inside = [], 0, True
    for char in text:
        if char == "\n":
            columns, is_inside = 0, True
        elif is_inside and char in " \t":
            columns += TAB - columns % TAB if char == "\t" else 1
        else:
            is_inside = False
        found.append((columns, is_inside and char != "\n"))
    return found


def depths(text: str, pair: str, counted: list[bool], ends: list[bool]) -> list[int]:
    """How many of these brackets are open, never below zero. ends: where all of them are taken as closed."""
    opening, closing = pair[0], pair[1]
    found, depth = [], 0
    for char, counts, is_end in zip(text, counted, ends, strict=True):
        if counts:
            depth = max(0, depth + (char == opening) - (char == closing))
        if is_end:
            depth = 0
        found.append(depth)
    return found


def _endings(text: str, pair: str, dialect: str, blank: list[bool]) -> list[bool]:
    """Where brackets end whatever was left open: a stray one must not shift the rest of the text."""
    if pair != "{}":
        return blank
    if (
        dialect == "c"
    ):  # a } in the first column ends a function, also after an #if with two openings
        return [
            char == "}" and before == "\n" for before, char in zip("\n" + text, text, strict=False)
        ]
    return [False] * len(text)


def quotations(text: str, counted: list[bool], blank: list[bool]) -> list[bool]:
    """Inside "...", “...”, „...“, «...» or ``...''; a blank line ends what was left open. The opening mark is inside."""
    found: list[bool] = []
    closer = before = ""
    for char, counts, is_blank in zip(text, counted, blank, strict=True):
        if is_blank:
            closer = ""
        elif counts and not closer:
            closer = "''" if before + char == "``" else CLOSERS.get(char, "")
        elif counts and (before + char).endswith(closer):
            closer = ""
        before = char if counts else ""
        found.append(closer != "")
    return found


def _blank_lines(text: str) -> list[bool]:
    return [before + char == "\n\n" for before, char in zip(" " + text, text, strict=False)]


def _unescaped(text: str) -> list[bool]:
    """False at a backslash and at what it escapes."""
    found, escaped = [], False
    for char in text:
        escapes = char == "\\" and not escaped
        found.append(not escapes and not escaped)
        escaped = escapes
    return found


def c_states(text: str) -> list[str]:
    """After each character of C: "code", "string" (or character constant) or "comment" (/* */ or //).

    A newline ends what must not cross it. The opening mark is inside, and so is the * of an opening, not its /.
    """
    found, state, quote, before = [], "code", "", ""
    for char in text:
        if state == "code":
            if char in "\"'":
                state, quote, before = "string", char, ""
            elif before == "/" and char in "*/":
                state, quote, before = "comment", char, ""
            else:
                before = char
        elif quote == "*":
            is_end = before == "*" and char == "/"
            state, before = ("code", "") if is_end else (state, char)
        else:
            is_escaped = before == "\\"
            is_end = not is_escaped and (char == "\n" or (state == "string" and char == quote))
            # A backslash that is escaped escapes nothing.
            state, before = ("code", "") if is_end else (state, "" if is_escaped else char)
        found.append(state)
    return found


class Tex(NamedTuple):
    """After each character of LaTeX. counted: not escaped and in no comment, so that a bracket or quote is one."""

    comment: list[bool]
    mathematics: list[bool]
    depth: list[int]
    counted: list[bool]


def read_tex(text: str) -> Tex:
    r"""Comments, mathematics ($, $$, \( \), \[ \] and environments), how deep in environments, what is not escaped.

    \begin{name} is one deeper from its closing brace on. A blank line ends mathematics, as in TeX.
    """
    found = Tex([], [], [], [])
    is_comment = is_escaped = False
    delimiter = ""  # what opened the mathematics: "$", "$$", "\\(" or "\\["
    open_environments: list[str] = []
    command = before = ""  # "\\beg", "\\begin{equ" while they are being read
    for char in text:
        counts = not is_escaped and not is_comment and char != "\\"
        if is_comment:
            is_comment = char != "\n"
        elif is_escaped:
            is_escaped = False
            command = "\\" + char if char.isalpha() else ""
            if char in "([":
                delimiter = delimiter or "\\" + char
            elif char in ")]" and delimiter == {")": "\\(", "]": "\\["}[char]:
                delimiter = ""
        else:
            is_escaped, is_comment = char == "\\", char == "%"
            if before + char == "\n\n":
                delimiter = ""
            elif char == "$":
                delimiter = _after_dollar(delimiter, before)
            command = _read_environment(command, char, open_environments)
        # "$$": two that belong together. The second is none to begin another pair with.
        is_pair = char == before == "$" and counts
        before = "" if is_pair or (not counts and char != "\n") else char
        found.comment.append(is_comment)
        found.mathematics.append(
            delimiter != "" or any(name.rstrip("*") in MATHEMATICS for name in open_environments)
        )
        found.depth.append(len(open_environments))
        found.counted.append(counts)
    return found


def _after_dollar(delimiter: str, before: str) -> str:
    """What is open after a $. The first $ of a closing $$ closes nothing yet."""
    if delimiter == "":
        return "$"
    if delimiter == "$":
        return "$$" if before == "$" else ""
    return "" if delimiter == "$$" and before == "$" else delimiter


def _read_environment(command: str, char: str, open_environments: list[str]) -> str:
    r"""The command that is being read, with one more character; \begin{name} and \end{name} take effect when complete."""
    if command.startswith(("\\begin{", "\\end{")):
        if char == "}":
            _, _, name = command.partition("{")
            if command.startswith("\\begin{"):
                open_environments.append(name)
            elif open_environments:
                open_environments.pop()
            return ""
        return command + char if char.isalnum() or char == "*" else ""
    is_more = command != "" and (
        char.isalpha() or (char == "{" and command in ("\\begin", "\\end"))
    )
    return command + char if is_more else ""

"""What a reader could keep track of in a text: place in the line, quotes, brackets, comments.

Small scanners compute it exactly. Every feature says what is so after a character has been read and
before the next one is known. It depends on nothing further right, so that a network that reads
could know it too. Networks are not known here.

Shapes: N characters. Lists have an entry for each character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from charrnn.text.words import is_mark

TAB = 8
DIALECTS = ("text", "c", "tex")
# At least this share of all lines must look like it. C's relatives (Java, CSS) pass for C.
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
    """A feature with its values (N,) float64, which are 0 and 1 if it is binary."""

    name: str
    is_binary: bool
    values: np.ndarray


def features(text: str, dialect: str | None = None) -> list[Feature]:
    """Every feature that varies in the text, and the same values never twice.

    dialect: one of DIALECTS; None: as the text looks.
    """
    dialect = dialect or dialect_of(text)
    blank = _blank_lines(text)
    table = _of_any_text(text)

    # 1. What a comment is, which brackets and quotes count, and what is quoted.
    if dialect == "c":
        states = c_states(text)
        counted = [state == "code" for state in states]
        quoted = [state == "string" for state in states]
        table.append(_binary("in a comment", (state == "comment" for state in states)))
    elif dialect == "tex":
        tex = read_tex(text)
        counted = tex.counted
        quoted = quotations(text, counted, blank)
        table.append(_binary("in a comment", tex.comment))
        table.append(_binary("in mathematics", tex.mathematics))
        table.append(_number("depth of environments", tex.depth))
    else:
        counted = _unescaped(text)
        quoted = quotations(text, counted, blank)

    # 2. Quotes and brackets.
    table.append(_binary("in quotes", quoted))
    for pair in ("()", "[]", "{}"):
        depth = depths(text, pair, counted, _endings(text, pair, dialect, blank))
        table.append(_binary(f"in {pair}", (level > 0 for level in depth)))
        table.append(_number(f"depth of {pair}", depth))

    # 3. Those that vary.
    distinct: dict[bytes, Feature] = {}
    for feature in table:
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
    is_word = np.array([char.isalnum() or char == "_" or is_mark(char) for char in text], bool)
    is_start = is_word & ~np.concatenate([[False], is_word])[:-1]
    indents = indentation(text)
    return [
        _number("position in the line", distance_since(is_newline)),
        _number("indentation", [columns for columns, _ in indents]),
        _binary("in the indentation", (is_inside for _, is_inside in indents)),
        _binary("in a word", is_word),
        _binary("start of a word", is_start),
        _number("position in the word", distance_since(~is_word)),
        _binary("capital letter", map(str.isupper, text)),
        _binary("digit", map(str.isdecimal, text)),
    ]


def _number(name: str, values: Iterable[float]) -> Feature:
    return Feature(name, False, np.fromiter(values, np.float64))


def _binary(name: str, values: Iterable[bool]) -> Feature:
    return Feature(name, True, np.fromiter(values, np.float64))


def distance_since(marks: np.ndarray) -> np.ndarray:
    """How many characters ago the last mark was: 0 at a mark.

    Before the first mark it counts as if one stood before the text.
    """
    places = np.arange(len(marks))
    return places - np.maximum.accumulate(np.where(marks, places, -1))


def indentation(text: str) -> list[tuple[int, bool]]:
    """The columns of white space that the line has begun with, and whether it is still beginning.

    Tabs go to the next column that is a multiple of 8.
    """
    indents = []
    columns = 0
    is_inside = True
    for char in text:
        if char == "\n":
            columns = 0
            is_inside = True
        elif is_inside and char == "\t":
            columns += TAB - columns % TAB
        elif is_inside and char == " ":
            columns += 1
        else:
            is_inside = False
        indents.append((columns, is_inside and char != "\n"))
    return indents


def depths(text: str, pair: str, counted: list[bool], ends: list[bool]) -> list[int]:
    """How many of these brackets are open, never below zero.

    counted: where brackets count. ends: where all of them are taken as closed.
    """
    opening = pair[0]
    closing = pair[1]
    levels = []
    depth = 0
    for char, counts, is_end in zip(text, counted, ends, strict=True):
        if counts:
            depth = max(0, depth + (char == opening) - (char == closing))
        if is_end:
            depth = 0
        levels.append(depth)
    return levels


def _endings(text: str, pair: str, dialect: str, blank: list[bool]) -> list[bool]:
    """Where brackets end that were left open: a stray one must not shift the rest of the text."""
    if pair != "{}":
        return blank
    if dialect != "c":
        return [False] * len(text)
    # A } in the first column ends a function, also after an #if with two openings.
    pairs = zip("\n" + text, text, strict=False)
    return [char == "}" and before == "\n" for before, char in pairs]


def quotations(text: str, counted: list[bool], blank: list[bool]) -> list[bool]:
    """Where the text is inside "...", “...”, „...“, «...» or ``...''. The opening mark is inside.

    A blank line ends what was left open.
    """
    is_quoted: list[bool] = []
    closer = ""
    before = ""
    for char, counts, is_blank in zip(text, counted, blank, strict=True):
        if is_blank:
            closer = ""
        elif counts and not closer:
            closer = "''" if before + char == "``" else CLOSERS.get(char, "")
        elif counts and (before + char).endswith(closer):
            closer = ""
        before = char if counts else ""
        is_quoted.append(closer != "")
    return is_quoted


def _blank_lines(text: str) -> list[bool]:
    return [before + char == "\n\n" for before, char in zip(" " + text, text, strict=False)]


def _unescaped(text: str) -> list[bool]:
    """Where the text is neither a backslash that escapes nor what it escapes."""
    is_plain = []
    is_escaped = False
    for char in text:
        escapes = char == "\\" and not is_escaped
        is_plain.append(not escapes and not is_escaped)
        is_escaped = escapes
    return is_plain


def c_states(text: str) -> list[str]:
    """After each character of C: "code", "string" (or character constant) or "comment".

    A newline ends what must not cross it. The opening mark is inside, and so is the * that opens a
    comment, but not its /.
    """
    states = []
    state = "code"
    quote = ""  # what opened a string or a comment: " or ', * or /
    before = ""
    for char in text:
        if state == "code":
            if char in "\"'":
                state, quote, before = "string", char, ""
            elif before == "/" and char in "*/":
                state, quote, before = "comment", char, ""
            else:
                before = char
        elif quote == "*":
            if before == "*" and char == "/":
                state, before = "code", ""
            else:
                before = char
        else:
            is_escaped = before == "\\"
            is_closed = char == "\n" or (state == "string" and char == quote)
            if is_closed and not is_escaped:
                state, before = "code", ""
            else:
                before = "" if is_escaped else char  # a backslash that is escaped escapes nothing
        states.append(state)
    return states


class Tex(NamedTuple):
    """What is so after each character of LaTeX.

    counted: the character is not escaped and in no comment, so that a bracket or quote is one.
    """

    comment: list[bool]
    mathematics: list[bool]
    depth: list[int]
    counted: list[bool]


def read_tex(text: str) -> Tex:
    r"""Find comments, mathematics, the depth of environments, and what is not escaped.

    Mathematics is $, $$, \( \), \[ \] and some environments. \begin{name} is one deeper from its
    closing brace on. A blank line ends mathematics, as in TeX.
    """
    result = Tex([], [], [], [])
    is_comment = False
    is_escaped = False
    delimiter = ""  # what opened the mathematics: "$", "$$", "\\(" or "\\["
    open_environments: list[str] = []
    command = ""  # "\\beg" or "\\begin{equ" while it is being read
    before = ""
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
            is_escaped = char == "\\"
            is_comment = char == "%"
            if before + char == "\n\n":
                delimiter = ""
            elif char == "$":
                delimiter = _after_dollar(delimiter, before)
            command = _read_environment(command, char, open_environments)
        # "$$" is two that belong together: the second does not begin another pair.
        is_pair = char == before == "$" and counts
        is_hidden = not counts and char != "\n"
        before = "" if is_pair or is_hidden else char
        is_displayed = any(name.rstrip("*") in MATHEMATICS for name in open_environments)
        result.comment.append(is_comment)
        result.mathematics.append(delimiter != "" or is_displayed)
        result.depth.append(len(open_environments))
        result.counted.append(counts)
    return result


def _after_dollar(delimiter: str, before: str) -> str:
    """What is open after a $. The first $ of a closing $$ closes nothing yet."""
    if delimiter == "":
        return "$"
    if delimiter == "$":
        return "$$" if before == "$" else ""
    return "" if delimiter == "$$" and before == "$" else delimiter


def _read_environment(command: str, char: str, open_environments: list[str]) -> str:
    r"""The command that is being read, with one more character.

    \begin{name} and \end{name} take effect when they are complete.
    """
    if not command:
        return ""
    if not command.startswith(("\\begin{", "\\end{")):
        is_more = char.isalpha() or (char == "{" and command in ("\\begin", "\\end"))
        return command + char if is_more else ""
    if char != "}":
        return command + char if char.isalnum() or char == "*" else ""
    if command.startswith("\\begin{"):
        open_environments.append(command.partition("{")[2])
    elif open_environments:
        open_environments.pop()
    return ""

"""A regular expression of Python as a finite automaton with several choices (an NFA).

Python's own parser reads the expression, and Python's own matcher says which characters each piece
of it takes. So classes, IGNORECASE and the like mean exactly what they mean to `re`. What is no
finite automaton (look-around, back-references, atomic groups) raises Uncompilable.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any

MOST_STATES = 20_000  # of one expression, counts in braces written out
CHAR, EPSILON, PLACE = range(3)  # what an edge needs: a character, nothing, a place in the text

Edge = tuple[int, Any, int]  # its kind, what it needs, where it leads

_ITEMS = {"LITERAL", "NOT_LITERAL", "ANY", "IN"}
_REASONS = {
    "ASSERT": "looks ahead or back",
    "ASSERT_NOT": "looks ahead or back",
    "GROUPREF": "refers back to a group",
    "GROUPREF_EXISTS": "refers back to a group",
    "ATOMIC_GROUP": "has an atomic group",
    "POSSESSIVE_REPEAT": "has a possessive repeat",
}


class Uncompilable(Exception):
    """An expression that is no finite automaton, or too large a one. Its words say why."""


@dataclass
class Expression:
    """An NFA: edges[s] leave state s. It matches where a path leads from `start` to 0.

    items: the patterns of single characters that CHAR edges name by their number.
    """

    edges: list[list[Edge]] = field(default_factory=lambda: [[]])
    items: list[re.Pattern[str]] = field(default_factory=list)
    start: int = 0
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def places(self) -> set[str]:
        """The conditions on places that occur in it, such as AT_BEGINNING_LINE."""
        return {edge[1] for edges in self.edges for edge in edges if edge[0] == PLACE}

    def item(self, op: Any, value: Any, flags: int) -> int:
        """Return the number of a pattern that takes one character."""
        key = (f"{op} {value}", flags)
        if key not in self._numbers:
            state = _parser.State()
            state.flags = flags
            state.str = ""
            single = _parser.SubPattern(state, [(op, value)])
            self._numbers[key] = len(self.items)
            self.items.append(_compiler.compile(single, flags))
        return self._numbers[key]

    def new(self, *edges: Edge) -> int:
        """Return the number of a new state. Raises Uncompilable for one too many."""
        if len(self.edges) >= MOST_STATES:
            raise Uncompilable("it is too large")
        self.edges.append(list(edges))
        return len(self.edges) - 1


def parsed(pattern: str) -> Expression:
    """Return the NFA of a pattern that `re` has compiled before. Raises Uncompilable."""
    expression = Expression()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _parser.parse(pattern)
        expression.start = _sequence(expression, tree, 0, tree.state.flags)
    except RecursionError:
        raise Uncompilable("it is too deeply nested") from None
    return expression


def filled(pattern: str) -> str:
    """Return the regular expression of a text with blanks: `_` is any character.

    After a backslash, `_` and the backslash stand for themselves. Raises ValueError for a
    backslash before anything else.
    """
    pieces = []
    escaped = False
    for char in pattern:
        if escaped and char not in "_\\":
            raise ValueError(rf"after a backslash only _ or \ may follow, not {char!r}")
        if char == "\\" and not escaped:
            escaped = True
            continue
        is_blank = char == "_" and not escaped
        pieces.append("." if is_blank else re.escape(char))
        escaped = False
    if escaped:
        raise ValueError(r"it ends in a single backslash; write \\")
    return rf"(?s)\A{''.join(pieces)}\Z"


def _sequence(nfa: Expression, pieces: Any, follow: int, flags: int) -> int:
    """Return the state that reads these pieces and goes on in `follow`."""
    for op, value in reversed(list(pieces)):
        follow = _piece(nfa, op, value, follow, flags)
    return follow


def _piece(nfa: Expression, op: Any, value: Any, follow: int, flags: int) -> int:
    name = str(op)
    if name in _ITEMS:
        return nfa.new((CHAR, nfa.item(op, value, flags), follow))
    if name == "BRANCH":
        branches = [_sequence(nfa, branch, follow, flags) for branch in value[1]]
        return nfa.new(*((EPSILON, None, branch) for branch in branches))
    if name == "SUBPATTERN":
        _, added, removed, inner = value
        return _sequence(nfa, inner, follow, _combined(flags, added, removed))
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, inner = value
        return _repeat(nfa, least, most, inner, follow, flags)
    if name == "AT":
        return nfa.new((PLACE, _place(str(value), flags), follow))
    raise Uncompilable(f"it {_REASONS.get(name, f'has {name.lower()}')}")


def _repeat(nfa: Expression, least: int, most: Any, inner: Any, follow: int, flags: int) -> int:
    """Write a repeat out: a loop, or as many optional copies as may follow; then those needed."""
    if most is _parser.MAXREPEAT:
        state = nfa.new((EPSILON, None, follow))
        body = _sequence(nfa, inner, state, flags)
        nfa.edges[state].append((EPSILON, None, body))
    else:
        state = follow
        for _ in range(most - least):
            body = _sequence(nfa, inner, state, flags)
            state = nfa.new((EPSILON, None, follow), (EPSILON, None, body))
    for _ in range(least):
        state = nfa.new((EPSILON, None, _sequence(nfa, inner, state, flags)))
    return state


def _combined(flags: int, added: int, removed: int) -> int:
    """Return the flags inside a group that adds some and removes others."""
    types = int(re.ASCII | re.LOCALE | re.UNICODE)
    if added & types:
        flags &= ~types
    return (flags | added) & ~removed


def _place(name: str, flags: int) -> str:
    """Return the condition on a place, with the flags that change its meaning in its name."""
    if flags & re.MULTILINE and name in ("AT_BEGINNING", "AT_END"):
        return f"{name}_LINE"
    if name in ("AT_BOUNDARY", "AT_NON_BOUNDARY") and flags & re.ASCII:
        return f"{name}_ASCII"
    return name

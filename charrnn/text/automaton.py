"""Expressions as one deterministic automaton over the characters of a model.

Characters that no piece of an expression tells apart are one class. A state stands for all ways to
have read a text so far, in every expression at once. A text fits if all expressions are found in
it. Letters: Q states, K classes, V symbols.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.text.expression import CHAR, EPSILON, Expression, Uncompilable, parsed
from charrnn.text.spelling import MAX_CODE

MOST_STATES = 3000
MOST_WORK = 400_000  # states of an NFA that are visited while it is made: about a second
MOST_ENTRIES = 1 << 23  # of the table over symbols
DEAD = -1
NEWLINE = "\n"

# One way to have read the text: a state of the NFA, and whether a `$` was passed before a newline.
Thread = tuple[int, int]
FREE, LAST, OVER = range(3)  # no `$`; the next character is the last; the text must be over
Kind = tuple[bool, bool, bool]  # of a character: newline, word, ASCII word
Before = Kind | None  # of the character before; None: there is none
Threads = tuple[frozenset[Thread], Before] | None  # None: found already
# What tells characters apart: their kind, and the items that take them, of each expression
Signature = tuple[Kind, tuple[frozenset[int], ...]]

_WORDS = (re.compile(r"\w"), re.compile(r"(?a:\w)"))
_EMPTY_HAS_NO_BOUNDARY = bool(re.search(r"\B", ""))  # another answer from Python 3.14 on


@dataclass(frozen=True)
class Automaton:
    """A deterministic automaton.

    moves (Q, K) int32: the state after a character of each class, DEAD where nothing can fit any
    more. fits (Q,) bool: the text may end here. start: the state before any text.
    class_of: class of each code point (MAX_CODE,), or -1 for one that no model of it writes.
    """

    moves: np.ndarray
    fits: np.ndarray
    start: int
    class_of: np.ndarray

    def after(self, state: int, text: str) -> int:
        """Return the state after a text."""
        for char in text:
            if state == DEAD:
                return DEAD
            state = int(self.moves[state, self.class_of[ord(char)]])
        return state


def compiled(patterns: Sequence[str], codes: np.ndarray, *, holds_newline: bool) -> Automaton:
    """Return the automaton of texts in which all patterns are found.

    codes: the code points that may occur. holds_newline: a newline that ends the text is not part
    of it, as Constraints judges streams. Raises Uncompilable.
    """
    expressions = [parsed(pattern) for pattern in patterns]
    class_of, signatures = _classes(expressions, codes)
    found = [_Search(expression) for expression in expressions]
    work = 0
    first: tuple[tuple[Threads, ...], bool] = (tuple(search.begin for search in found), False)
    numbers = {first: 0}
    queue = [first]
    moves: list[list[int]] = []
    fits: list[bool] = []
    newline = next((sig for sig in signatures if sig[0][0]), None)
    for threads, held in queue:
        fits.append(all(map(_Search.ends, found, threads)))
        row = []
        if held:
            assert newline is not None
            threads = _advanced(found, threads, newline)
        for signature in signatures:
            if holds_newline and signature[0][0]:
                key = (threads, True)
            else:
                key = (_advanced(found, threads, signature), False)
            if key not in numbers:
                if len(numbers) >= MOST_STATES:
                    raise Uncompilable(f"it has over {MOST_STATES:,} states")
                numbers[key] = len(queue)
                queue.append(key)
            row.append(numbers[key])
        moves.append(row)
        work = sum(search.work for search in found)
        if work > MOST_WORK:
            raise Uncompilable("it takes too long to make")
    return _without_dead_ends(np.array(moves, np.int32), np.array(fits), class_of)


def _advanced(
    found: list[_Search], threads: tuple[Threads, ...], signature: Signature
) -> tuple[Threads, ...]:
    kind, items = signature
    return tuple(
        search.advance(each, kind, taken)
        for search, each, taken in zip(found, threads, items, strict=True)
    )


def _classes(
    expressions: list[Expression], codes: np.ndarray
) -> tuple[np.ndarray, list[Signature]]:
    """Return the class of each code point (MAX_CODE,), and what characters of a class are."""
    chars = "".join(map(chr, codes))
    words = [np.ones(len(codes), bool), np.ones(len(codes), bool)]
    if any("BOUNDARY" in place for expression in expressions for place in expression.places):
        words = [_taken(word, chars) for word in _WORDS]
    columns = [codes == ord(NEWLINE), *words]
    for expression in expressions:
        columns += [_taken(item, chars) for item in expression.items]
    table = np.packbits(np.array(columns), axis=0).T  # (codes, bytes)
    _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    class_of = np.full(MAX_CODE, -1, np.int32)
    class_of[codes] = inverse.reshape(-1)

    signatures: list[Signature] = []
    for at in first.tolist():
        bits = [bool(column[at]) for column in columns]
        begin = 3
        items = []
        for expression in expressions:
            end = begin + len(expression.items)
            items.append(frozenset(np.flatnonzero(bits[begin:end]).tolist()))
            begin = end
        signatures.append(((bits[0], bits[1], bits[2]), tuple(items)))
    return class_of, signatures


def _taken(item: re.Pattern[str], chars: str) -> np.ndarray:
    """Return (N,) bool: which characters an item takes. It takes one at a time."""
    taken = np.zeros(len(chars), bool)
    taken[[match.start() for match in item.finditer(chars)]] = True
    return taken


class _Search:
    """The steps of one expression, which is searched for from every place on."""

    def __init__(self, expression: Expression) -> None:
        self._edges = expression.edges
        self._first: Thread = (expression.start, FREE)
        places = expression.places
        self._sees_before = any("BOUNDARY" in place or "LINE" in place for place in places)
        self._steps: dict[tuple[Threads, Kind, frozenset[int]], Threads] = {}
        self.begin: Threads = (frozenset(), None)
        self.work = 0

    def advance(self, threads: Threads, kind: Kind, taken: frozenset[int]) -> Threads:
        """Return what is known after one more character, which is taken by these items."""
        if threads is None:
            return None
        key = (threads, kind, taken)
        if key not in self._steps:
            self._steps[key] = self._advance(threads, kind, taken)
        return self._steps[key]

    def _advance(
        self, threads: tuple[frozenset[Thread], Before], kind: Kind, taken: frozenset[int]
    ) -> Threads:
        before: Before = kind if self._sees_before else (False, False, False)
        after: set[Thread] = set()
        for state, mark in self._closure(threads, kind):
            if state == 0:
                if mark == FREE:
                    return None
                after.add((0, OVER))
            for edge, item, target in self._edges[state]:
                if edge == CHAR and item in taken:
                    after.add((target, OVER if mark == LAST else FREE))
        return frozenset(after), before

    def ends(self, threads: Threads) -> bool:
        """Is the expression found in a text that ends here?"""
        return threads is None or any(state == 0 for state, _ in self._closure(threads, None))

    def _closure(self, threads: tuple[frozenset[Thread], Before], kind: Kind | None) -> set[Thread]:
        """Return all threads that these lead to without a character. kind: of the next one."""
        live, before = threads
        seen = {thread for thread in live if kind is None or thread[1] != OVER}
        seen.add(self._first)
        queue = list(seen)
        for state, mark in queue:
            for edge, place, target in self._edges[state]:
                reached = mark
                if edge == CHAR:
                    continue
                if edge != EPSILON:
                    if not _holds(place, before, kind):
                        continue
                    if place == "AT_END" and kind is not None:
                        reached = LAST
                if (target, reached) not in seen:
                    seen.add((target, reached))
                    queue.append((target, reached))
        self.work += len(queue)
        return seen


def _holds(place: str, before: Before, kind: Kind | None) -> bool:
    """Does a condition hold between the character before and the next one?"""
    if place in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return before is None
    if place == "AT_BEGINNING_LINE":
        return before is None or before[0]
    if place in ("AT_END", "AT_END_LINE"):
        return kind is None or kind[0]
    if place == "AT_END_STRING":
        return kind is None
    if before is None and kind is None:
        return "NON" in place and _EMPTY_HAS_NO_BOUNDARY
    word = 2 if place.endswith("ASCII") else 1
    is_boundary = (before is not None and before[word]) != (kind is not None and kind[word])
    return is_boundary != ("NON" in place)


def _without_dead_ends(moves: np.ndarray, fits: np.ndarray, class_of: np.ndarray) -> Automaton:
    """Return the automaton with DEAD for states from which no text fits."""
    live = fits.copy()
    while True:
        reached = live | live[moves].any(axis=1)
        if (reached == live).all():
            break
        live = reached
    moves = np.where(live[moves], moves, DEAD).astype(np.int32)
    return Automaton(moves, fits, 0 if live[0] else DEAD, class_of)

"""Rare characters as the bytes of UTF-8: which symbol may follow which, so that texts are unique.

A vocabulary with bytes has a symbol for each frequent character and, after them, one for each byte
that UTF-8 needs for others. A character is one symbol or the two to four symbols of its bytes,
never both: bytes that would spell a frequent character may not follow each other. So every text is
one sequence of symbols, and the probabilities of what may follow sum to one over characters.

A state says which bytes of a character have been read: 0 between characters, then a number for each
beginning of a character. Shapes: N ids, R rare characters, S states, V symbols.
"""

from __future__ import annotations

import numpy as np

MAX_CODE = 0x110000  # above all code points
CONTINUATIONS = 64  # the bytes 0x80 ... 0xBF, which go on with a character
FIRST_LEAD = 0xC2  # the bytes 0xC2 ... 0xF4 begin one
LAST_LEAD = 0xF4
# The symbol of byte b is MAX_CODE + b: above all code points, so that symbols ascend.
BYTE_SYMBOLS = tuple(
    MAX_CODE + byte for byte in (*range(0x80, 0xC0), *range(FIRST_LEAD, LAST_LEAD + 1))
)
ASCII = tuple(range(0x80))  # always symbols: one byte each
REPLACEMENT = 0xFFFD
_SURROGATES = (0xD800, 0xE000)
# By the number of bytes: the least code point, and what is added to its first byte.
_LEAST = {2: 0x80, 3: 0x800, 4: 0x10000}
_MARKS = {2: 0xC0, 3: 0xE0, 4: 0xF0}
FORBIDDEN = -1
LONGEST = 4  # bytes of a character, at most


class Spelling:
    """How the rare characters of an alphabet are written in bytes.

    is_start (V,) bool: the symbol begins a character. lengths (V,): bytes that it stands for.
    after (V,) int32: the state after a symbol that stands between characters, or FORBIDDEN.
    table (S, 64) int32: the state after a byte 0x80 ... 0xBF inside a character, or FORBIDDEN.
    first: the id of byte 0x80.
    """

    def __init__(self, symbols: np.ndarray) -> None:
        """symbols (V,): as in Vocabulary.symbols; the last ones are BYTE_SYMBOLS."""
        size = len(symbols)
        self.first = size - len(BYTE_SYMBOLS)
        self._lead = self.first + CONTINUATIONS
        self._frequent = symbols[: self.first]
        self.is_start = np.ones(size, bool)
        self.is_start[self.first : self._lead] = False
        self._rows: list[np.ndarray] = [np.full(CONTINUATIONS, FORBIDDEN, np.int32)]
        self._whole: dict[int, int] = {}  # by bytes that are missing: all of them may follow
        self.after = np.zeros(size, np.int32)
        self.after[self.first :] = FORBIDDEN
        for byte in range(FIRST_LEAD, LAST_LEAD + 1):
            length = _length_of(byte)
            begin = byte - _MARKS[length]
            state = self._state(begin, length - 1, _LEAST[length])
            self.after[self._lead + byte - FIRST_LEAD] = state
        self.table = np.stack(self._rows)

    def _state(self, begin: int, missing: int, least: int) -> int:
        """Return the number of the state whose characters begin with these bits.

        missing: bytes that follow. least: code points below have a shorter form. 0: the character
        is complete. FORBIDDEN: no rare character begins so.
        """
        low = begin << 6 * missing
        size = 1 << 6 * missing
        rare = self._rare(low, low + size, least)
        if not rare:
            return FORBIDDEN
        if not missing:
            return 0
        if rare == size and missing in self._whole:
            return self._whole[missing]
        number = len(self._rows)
        self._rows.append(np.zeros(CONTINUATIONS, np.int32))
        if rare == size:
            self._whole[missing] = number
        row = [self._state(begin << 6 | bits, missing - 1, least) for bits in range(CONTINUATIONS)]
        self._rows[number][:] = row
        return number

    def _rare(self, low: int, high: int, least: int) -> int:
        """Return how many characters in low ... high - 1 are written as bytes."""
        low = max(low, least)
        high = min(high, MAX_CODE)
        if low >= high:
            return 0
        first, last = np.searchsorted(self._frequent, (low, high))
        surrogates = min(high, _SURROGATES[1]) - max(low, _SURROGATES[0])
        return high - low - int(last - first) - max(0, surrogates)

    @property
    def closed(self) -> np.ndarray:
        """(V,) bool: what may not follow between characters."""
        closed: np.ndarray = self.after == FORBIDDEN
        return closed

    def advance(self, states: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the states (N,) int32 after ids (N,); 0 after what may not follow."""
        inside = ids - self.first
        is_byte = (inside >= 0) & (inside < CONTINUATIONS)
        goes_on = self.table[states, np.where(is_byte, inside, 0)]
        after = np.where(is_byte, goes_on, self.after[ids])
        known: np.ndarray = np.maximum(after, 0).astype(np.int32)
        return known

    def inside(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where bytes of ids (N,) go on with a character, and the states before them.

        Both are (M,): most symbols of a text stand between characters, in state 0.
        """
        places = np.flatnonzero(~self.is_start[ids])
        states = np.zeros(len(places), np.int32)
        # A character has at most three such bytes: the first ones of all characters, the second
        # ones, the third ones.
        is_next = np.diff(places, prepend=-2) == 1
        turn = np.flatnonzero(~is_next & (places > 0))
        states[turn] = np.maximum(self.after[ids[places[turn] - 1]], 0)
        for _ in range(2):
            turn = turn[turn + 1 < len(places)]
            turn = turn[is_next[turn + 1]]
            states[turn + 1] = self.advance(states[turn], ids[places[turn]].astype(np.int64))
            turn = turn + 1
        return places, states

    def first_length(self, ids: np.ndarray) -> int:
        """Return how many ids the first character of a text has."""
        length = 1
        while length < min(len(ids), LONGEST) and not self.is_start[ids[length]]:
            length += 1
        return length

    def states(self, ids: np.ndarray) -> np.ndarray:
        """Return the state (N,) int32 before each of ids (N,)."""
        states = np.zeros(len(ids), np.int32)
        places, inside = self.inside(ids)
        states[places] = inside
        return states

    def allowed(self, states: np.ndarray) -> np.ndarray:
        """Return (N, V) bool: what may follow in each of states (N,)."""
        allowed = np.repeat((self.after != FORBIDDEN)[None], len(states), 0)
        within = np.flatnonzero(states)
        allowed[within] = False
        allowed[within, self.first : self._lead] = self.table[states[within]] != FORBIDDEN
        return allowed

    def masked(self, logits: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return logits (N, V) with -inf for what may not follow in states (N,)."""
        return np.where(self.allowed(states), logits, logits.dtype.type(-np.inf))

    def spelled(self, ids: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return ids (N,) int32 of codes, where those that are -1 become the ids of their bytes.

        What is no character, such as a surrogate, stays -1.
        """
        rare = np.flatnonzero(ids < 0)
        if not len(rare):
            return ids
        values = codes[rare].astype(np.int64)
        is_character = (values < _SURROGATES[0]) | (values >= _SURROGATES[1])
        rare = rare[is_character & (values < MAX_CODE)]
        lengths = np.ones(len(ids), np.int64)
        lengths[rare] = bytes_of(codes[rare])
        begins = np.cumsum(lengths) - lengths
        spelled = np.repeat(ids, lengths)
        for length, mark in _MARKS.items():
            chosen = rare[lengths[rare] == length]
            bits = codes[chosen].astype(np.int64)
            lead = mark + (bits >> 6 * (length - 1)) - FIRST_LEAD
            spelled[begins[chosen]] = self._lead + lead
            for k in range(1, length):
                rest = bits >> 6 * (length - 1 - k) & 0x3F
                spelled[begins[chosen] + k] = self.first + rest
        return spelled

    def codes(self, ids: np.ndarray) -> np.ndarray:
        """Return the code points (uint32) of the characters that begin in ids (N,).

        One that is not whole becomes U+FFFD.
        """
        ids = ids.astype(np.int64)
        begins = np.flatnonzero(self.is_start[ids])
        first = ids[begins]
        frequent = self._frequent[np.minimum(first, self.first - 1)]
        codes: np.ndarray = frequent.astype(np.uint32)
        at = np.flatnonzero(first >= self._lead)
        lengths = self.lengths_of_leads[first[at] - self._lead]
        for length, mark in _MARKS.items():
            chosen = at[lengths == length]
            values = first[chosen] - self._lead + FIRST_LEAD - mark
            is_whole = np.ones(len(chosen), bool)
            for k in range(1, length):
                places = begins[chosen] + k
                inside = ids[np.minimum(places, len(ids) - 1)] - self.first
                is_whole &= (places < len(ids)) & (inside >= 0) & (inside < CONTINUATIONS)
                values = values << 6 | (inside & 0x3F)
            codes[chosen] = np.where(is_whole, values, REPLACEMENT)
        return codes

    @property
    def lengths_of_leads(self) -> np.ndarray:
        """(51,): the bytes of a character that begins with 0xC2, 0xC3, ... 0xF4."""
        return np.array([_length_of(byte) for byte in range(FIRST_LEAD, LAST_LEAD + 1)])


def bytes_of(codes: np.ndarray) -> np.ndarray:
    """Return how many bytes of UTF-8 each code point (N,) takes."""
    lengths: np.ndarray = np.searchsorted((0x80, 0x800, 0x10000), codes, side="right") + 1
    return lengths


def _length_of(lead: int) -> int:
    """Return the bytes of a character that begins with this one."""
    if lead < 0xE0:
        return 2
    return 3 if lead < 0xF0 else 4

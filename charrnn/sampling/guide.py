"""What a text may go on with so that it can still fit: an automaton over a model's symbols.

Rare characters that are written as bytes are judged when their last byte is there.
Letters: N texts under way, Q states of the automaton, V symbols.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.sampling.steps import Plan
from charrnn.text.automaton import DEAD, compiled
from charrnn.text.expression import Uncompilable
from charrnn.text.spelling import CONTINUATIONS, MAX_CODE
from charrnn.text.vocabulary import BREAK, NEWLINE, Vocabulary

MOST_ENTRIES = 1 << 23  # of the table over symbols
_SURROGATES = (0xD800, 0xE000)


class Guide:
    """The automaton of some patterns and lengths, for texts of one plan.

    table (Q, V) int32: the state after a symbol, or DEAD. fits (Q,) bool: a text may end there.
    start: the state after the prompt; DEAD where no text fits. counts_length: it keeps to lengths.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        vocabulary: Vocabulary,
        plan: Plan,
        prompt: str,
        *,
        min_length: int = 0,
        max_length: int | None = None,
    ) -> None:
        """prompt: its text. Lengths are those of lines, with the prompt; others are not looked at.

        Raises Uncompilable.
        """
        if vocabulary.unit == "byte" and patterns:
            raise Uncompilable("the model writes bytes, not characters")
        self.plan = plan
        self._begun = len(prompt)
        # A newline at the end of a text is not judged: see Constraints.
        holds_newline = plan.newline < 0 or vocabulary.has_breaks
        self.counts_length = not holds_newline and vocabulary.unit == "char"
        self._least = min_length if self.counts_length else 0
        self._most = max_length if self.counts_length else None
        symbols = np.array(vocabulary.symbols)
        if vocabulary.has_breaks:
            symbols = np.where(symbols == BREAK, NEWLINE, symbols)
        codes = np.unique(symbols[: vocabulary.characters])
        if vocabulary.spelling is not None:
            codes = np.delete(np.arange(MAX_CODE), slice(*_SURROGATES))
        automaton = compiled(patterns, codes, holds_newline=holds_newline)
        self._moves = automaton.moves
        self._class_of = automaton.class_of
        self.fits = automaton.fits
        self.start = automaton.after(automaton.start, prompt)
        states = len(automaton.moves)
        if states * len(vocabulary) > MOST_ENTRIES:
            raise Uncompilable(f"it has {states:,} states, too many for so many characters")
        # Inside a character nothing is known yet: a byte leads to the state before it.
        self.table = np.repeat(np.arange(states, dtype=np.int32)[:, None], len(vocabulary), 1)
        classes = automaton.class_of[symbols[: vocabulary.characters]]
        self.table[:, : vocabulary.characters] = automaton.moves[:, classes]

    def after(
        self, states: np.ndarray, spelled: np.ndarray, tails: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the states (N, V) after each symbol, and (N, V) bool: does a character end there?

        states (N,); spelled (N,): states of the spelling; tails (N, 3): the newest ids, of which
        the last ones begin a character where spelled is not 0.
        """
        after = self.table[states]
        is_whole = np.ones(after.shape, bool)
        spelling = self.plan.spelling
        if spelling is None:
            return after, is_whole
        is_whole[:, spelling.first :] = False
        for row in np.flatnonzero(spelled).tolist():
            # A byte that goes on with a character, and may be its last.
            bytes_ = spelling.first + np.arange(CONTINUATIONS)
            now = np.repeat(spelled[row : row + 1], CONTINUATIONS)
            is_last = (spelling.table[now[0]] == 0) & (spelling.advance(now, bytes_) == 0)
            begun = tails[row][np.flatnonzero(spelling.is_start[tails[row]])[-1] :]
            last = bytes_[is_last]
            whole = np.column_stack([np.tile(begun, (len(last), 1)), last])
            codes = spelling.codes(whole.reshape(-1))
            after[row, last] = self._moves[states[row], self._class_of[codes]]
            is_whole[row, bytes_] = is_last
        return after, is_whole

    def outcomes(
        self, states: np.ndarray, after: np.ndarray, is_whole: np.ndarray, chars: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, V) bool each: does the text end with a symbol; may the symbol be written?

        states (N,) before it, after (N, V); chars (N,): whole characters so far, without the
        prompt. What ends with `until` is for the caller to tell (ended_by).
        """
        plan = self.plan
        count = chars[:, None] + is_whole
        ends = is_whole & (count >= plan.length)
        may = after != DEAD
        length = self._begun + count
        if self._most is not None:
            may &= length <= self._most
        may &= ~ends | self._fit(after, length)
        if plan.newline >= 0:
            ends[:, plan.newline] = True
            may[:, plan.newline] = self._fit(states, self._begun + chars)
        return ends, may

    def ended_by(self, symbol: int, after: np.ndarray, chars: np.ndarray) -> np.ndarray:
        """Return (N,) bool: may a text end that `until`, whose last id this is, has ended?"""
        return self._fit(after[:, symbol], self._begun + chars + 1)

    def _fit(self, states: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        fit = (states != DEAD) & self.fits[states] & (lengths >= self._least)
        if self._most is not None:
            fit &= lengths <= self._most
        fits: np.ndarray = fit
        return fits

    def left(self, chars: np.ndarray) -> np.ndarray:
        """Return how many characters (N,) may follow so many."""
        left = self.plan.length - chars
        if self._most is not None:
            left = np.minimum(left, self._most - self._begun - chars)
        at_least_none: np.ndarray = np.maximum(left, 0)
        return at_least_none

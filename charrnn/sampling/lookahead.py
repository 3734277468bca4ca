"""How likely a text still fits, guessed: the automaton walked by a Markov chain of the model.

The chain knows the last two characters, or one or none where two would take too much. It is
averaged from the model's own distributions, after texts that it writes. The guess only directs
where texts are sought; steered.py weighs them, so a bad guess costs tries.

Letters: A, C characters before, V symbols, Q states of the guide, T characters left.
"""

from __future__ import annotations

import numpy as np

from charrnn.sampling.decode import WINDOW, distribution, draw, uniforms
from charrnn.sampling.guide import Guide
from charrnn.sampling.prefixes import Reader
from charrnn.sampling.steps import MAX_SCORES, State

ROWS = 256
STEPS = 40
MOST_LEFT = 64  # beyond, the guess for so many characters left is taken
MOST_ENTRIES = 1 << 23  # of the table of guesses
MOST_PRODUCTS = 1 << 29  # multiplications for it
SMOOTHING = 2.0  # counts by which a shorter context weighs
STREAM = 1 << 20  # number of the random numbers that explore, of a seed
LEAST = 1e-30  # a guess where something fits


class Lookahead:
    """The guesses, a table (T + 1, A, C, Q) in float32.

    They get better with `learn`, from beginnings that were read where texts fit.
    """

    def __init__(self, network: Reader, guide: Guide, begin: tuple[np.ndarray, State]) -> None:
        """begin: logits (1, V) and state after the prompt."""
        plan = guide.plan
        size = begin[0].shape[1]
        states = len(guide.table)
        most = max(1, int(guide.left(np.zeros(1, np.int64))[0]))
        self._guide = guide
        self._most_left = min(most, MOST_LEFT if plan.newline >= 0 else most)
        order = 2
        while order and not self._fits(order, size, states):
            order -= 1
        while not self._fits(0, size, states) and self._most_left > 1:
            self._most_left //= 2
        self._chain = _Chain(order, size)
        _explore(self._chain, network, guide, begin)
        self._order = order
        self._guess()

    def learn(self, before: np.ndarray, newest: np.ndarray, chances: np.ndarray) -> None:
        """Guess again, with the distributions (N, V) after beginnings that end in these ids."""
        self._chain.add(before, newest, chances)
        self._guess()

    def _guess(self) -> None:
        guide = self._guide
        order = self._order
        states = len(guide.table)
        chain = self._chain.probabilities()

        # Backwards: what is it worth to have so many characters left?
        newline = guide.plan.newline
        table = np.maximum(guide.table, 0)
        is_dead = guide.table < 0
        fits = guide.fits.astype(np.float32)
        shape = (self._most_left + 1, *chain.shape[:2], states)
        self._worth = np.empty(shape, np.float32)
        self._worth[0] = fits
        for left in range(1, self._most_left + 1):
            before = self._worth[left - 1]
            following = _after(before, table, order)  # (C or 1, V, Q)
            following = np.where(is_dead.T, 0, following)
            if newline >= 0:
                following[:, newline] = fits
            # (C, A, V) @ (C or 1, V, Q) -> (C, A, Q)
            self._worth[left] = np.matmul(chain.swapaxes(0, 1), following).swapaxes(0, 1)

    def _fits(self, order: int, size: int, states: int) -> bool:
        contexts = (size + 1) ** order
        entries = (self._most_left + 1) * contexts * states
        if max(entries, contexts * size) > MOST_ENTRIES:
            return False
        return bool(self._most_left * contexts * size * states <= MOST_PRODUCTS)

    def __call__(self, newest: np.ndarray, after: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Return the guesses (K, V): see prefixes.Worth."""
        left = np.minimum(left, self._most_left)[:, None]
        symbols = np.arange(after.shape[1])[None]
        states = np.maximum(after, 0)
        if self._order == 2:
            worth = self._worth[left, newest[:, None], symbols, states]
        elif self._order == 1:
            worth = self._worth[left, 0, symbols, states]
        else:
            worth = self._worth[left, 0, 0, states]
        guesses: np.ndarray = np.maximum(worth, LEAST).astype(np.float64)
        return guesses


def _after(worth: np.ndarray, table: np.ndarray, order: int) -> np.ndarray:
    """Return (C or 1, V, Q): the worth (A, C, Q) of the states (Q, V) that symbols lead to."""
    symbols = np.arange(table.shape[1])[:, None]
    if order == 2:
        after: np.ndarray = worth[:, symbols, table.T]
        return after
    if order == 1:
        after = worth[0][symbols, table.T]
    else:
        after = worth[0, 0][table.T]
    return after[None]


class _Chain:
    """The averages of a model's distributions after the last two characters, one, or none."""

    def __init__(self, order: int, size: int) -> None:
        self._order = order
        self._size = size
        self._alone = np.full(size, 0.5 / size)
        self._once = np.zeros((size + 1 if order else 0, size))
        self._twice = np.zeros(((size + 1) ** 2 if order == 2 else 0, size))

    def add(self, before: np.ndarray, newest: np.ndarray, chances: np.ndarray) -> None:
        """Count distributions (N, V) after pairs of ids, each (N,); V is none."""
        self._alone += chances.sum(axis=0)
        if self._order:
            _count(self._once, newest, chances)
        if self._order == 2:
            _count(self._twice, before * (self._size + 1) + newest, chances)

    def probabilities(self) -> np.ndarray:
        """Return (A, C, V) float32: A is 1 for order 1, C is 1 too for order 0."""
        size = self._size
        shape = (size + 1 if self._order == 2 else 1, size + 1 if self._order else 1, size)
        probabilities = (self._alone / self._alone.sum())[None]
        if self._order:
            probabilities = _smoothed(self._once, probabilities)
        if self._order == 2:
            probabilities = _smoothed(self._twice, np.tile(probabilities, (size + 1, 1)))
        chain: np.ndarray = probabilities.reshape(shape).astype(np.float32)
        return chain


def _count(counts: np.ndarray, contexts: np.ndarray, chances: np.ndarray) -> None:
    """Add distributions (N, V) to the rows of their contexts (N,)."""
    order = np.argsort(contexts, kind="stable")
    named, first = np.unique(contexts[order], return_index=True)
    counts[named] += np.add.reduceat(chances[order], first, axis=0)


def _smoothed(counts: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    """Return counts (N, V) as probabilities, drawn towards those of shorter contexts."""
    smoothed: np.ndarray = (counts + SMOOTHING * shorter) / (
        counts.sum(axis=1, keepdims=True) + SMOOTHING
    )
    return smoothed


def _explore(chain: _Chain, network: Reader, guide: Guide, begin: tuple[np.ndarray, State]) -> None:
    """Let the model write, and count its distributions.

    Every other row writes from a flatter distribution, so that rare characters come before others.
    A row begins anew where a text would end.
    """
    logits, state = begin
    plan = guide.plan
    size = logits.shape[1]
    rows = max(2, min(ROWS, MAX_SCORES // size))
    first_logits = logits.repeat(rows, 0)
    first_state = tuple(part.repeat(rows, 1) for part in state)
    every = np.arange(rows)
    recent = np.full((rows, WINDOW), -1, np.int32)
    spelled = np.zeros(rows, np.int32)
    chars = np.zeros(rows, np.int64)
    is_flat = every % 2 == 1
    before = np.full(rows, size)
    newest = before
    logits = first_logits
    state = first_state
    for at in range(STEPS):
        chances = distribution(logits, plan.decoding, recent)
        chain.add(before, newest, chances)
        flat = np.where(is_flat[:, None], np.sqrt(chances), chances)
        ids = draw(flat, uniforms(plan.seed, every + STREAM, at))
        before = newest
        newest = ids
        logits, state = network.write_step(ids, state)
        plan.end_characters(every, ids, spelled, chars, recent)
        is_over = (ids == plan.newline) | (guide.left(chars) <= 0)
        if is_over.any():
            recent[is_over] = -1
            spelled[is_over] = 0
            chars[is_over] = 0
            before = np.where(is_over, size, before)
            newest = np.where(is_over, size, newest)
            logits = np.where(is_over[:, None], first_logits, logits)
            for part, fresh in zip(state, first_state, strict=True):
                part[:, is_over] = fresh[:, is_over]

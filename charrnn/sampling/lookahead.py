"""How likely a text still fits, guessed: the automaton walked by a Markov chain of the model.

The chain knows the last two characters, or one or none where two would take too much. It is
averaged from the model's own distributions, after texts that it writes. The guess only directs
where texts are sought; steered.py weighs them, so a bad guess costs tries.

Letters: A, C characters before, V symbols, Q states of the guide, T characters left.
"""

from __future__ import annotations

import numpy as np

from charrnn.sampling.decode import distribution, draw, uniforms
from charrnn.sampling.guide import Guide
from charrnn.sampling.steps import MAX_SCORES, State, Steps

ROWS = 256
STEPS = 40
MOST_LEFT = 64  # beyond, the guess for so many characters left is taken
MOST_ENTRIES = 1 << 23  # of the table of guesses
MOST_PRODUCTS = 1 << 29  # multiplications for it
SMOOTHING = 2.0  # counts by which a shorter context weighs
STREAM = 1 << 20  # number of the random numbers that explore, of a seed
LEAST = 1e-30  # a guess where something fits


class Lookahead:
    """The table of guesses: of (T + 1, A, C, Q), in float32."""

    def __init__(self, network: Steps, guide: Guide, begin: tuple[np.ndarray, State]) -> None:
        """begin: logits (1, V) and state after the prompt."""
        plan = guide.plan
        size = begin[0].shape[1]
        states = len(guide.table)
        most = max(1, int(guide.left(np.zeros(1, np.int64))[0]))
        self._most_left = min(most, MOST_LEFT if plan.newline >= 0 else most)
        order = 2
        while order and not self._fits(order, size, states):
            order -= 1
        while not self._fits(0, size, states) and self._most_left > 1:
            self._most_left //= 2
        chain = _chain(network, guide, begin, order)
        self._order = order

        # Backwards: what is it worth to have so many characters left?
        newline = plan.newline
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
        return self._most_left * contexts * size * states <= MOST_PRODUCTS

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


def _chain(
    network: Steps, guide: Guide, begin: tuple[np.ndarray, State], order: int
) -> np.ndarray:
    """Return the chain (A, C, V) float32: A is 1 for order 1, C is 1 too for order 0.

    Every other row writes from a flatter distribution, so that rare characters come before others.
    """
    logits, state = begin
    plan = guide.plan
    size = logits.shape[1]
    rows = max(2, min(ROWS, MAX_SCORES // size))
    first_logits = logits.repeat(rows, 0)
    first_state = tuple(part.repeat(rows, 1) for part in state)
    recent = np.full((rows, 1), -1, np.int32)
    is_flat = np.arange(rows) % 2 == 1
    pairs = np.full((rows, 2), size)
    contexts = (size + 1 if order == 2 else 1, size + 1 if order else 1)
    counts = np.zeros((contexts[0] * contexts[1], size))
    once = np.zeros((size + 1, size))  # by the last character alone
    alone = np.full(size, 0.5 / size)
    logits = first_logits
    state = first_state
    for at in range(STEPS):
        chances = distribution(logits, plan.decoding, recent)
        alone += chances[~is_flat].sum(axis=0)
        if order:
            np.add.at(once, pairs[:, 1], chances)
        if order == 2:
            np.add.at(counts, pairs[:, 0] * (size + 1) + pairs[:, 1], chances)
        flat = np.where(is_flat[:, None], np.sqrt(chances), chances)
        ids = draw(flat, uniforms(plan.seed, np.arange(rows) + STREAM, at))
        pairs = np.stack([pairs[:, 1], ids], 1)
        logits, state = network.write_step(ids, state)
        is_over = np.flatnonzero(ids == plan.newline)
        if len(is_over):
            pairs[is_over] = size
            logits = logits.copy()
            logits[is_over] = first_logits[is_over]
            for part, fresh in zip(state, first_state, strict=True):
                part[:, is_over] = fresh[:, is_over]
    shorter = (alone / alone.sum())[None]
    if order:
        shorter = _smoothed(once, shorter)
    if order == 2:
        shorter = _smoothed(counts, np.tile(shorter, (size + 1, 1)))
    return shorter.reshape(*contexts, size).astype(np.float32)


def _smoothed(counts: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    """Return counts (N, V) as probabilities, drawn towards those of shorter contexts."""
    smoothed: np.ndarray = (counts + SMOOTHING * shorter) / (
        counts.sum(axis=1, keepdims=True) + SMOOTHING
    )
    return smoothed

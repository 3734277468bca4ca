"""A network and the n-grams beside it, step by step in numpy: its logits are ln P of the mixture.

The compiled kernel mixes by itself (compiled.py); this runs everywhere, and is its reference.
Letters: B rows, N ids, V vocabulary.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from charrnn.sampling.decode import log_probabilities
from charrnn.sampling.steps import MAX_SCORES, State, Step, Steps, counted_ids
from charrnn.text.gate import Ally

PIECE = 256  # characters of one text that are mixed at once


class Mixed(Steps):
    """A network with its ally. Its state: the network's, then the nodes (1, B) of the contexts."""

    def __init__(self, network: Steps, name: str, ally: Ally) -> None:
        """network: alone, or masked where rare characters are bytes. name: of the network."""
        self._network = network
        self._ally = ally
        self._everyone = ally
        self.engine = network.engine
        self.name = f"{name} and {ally.contexts.order}-gram"
        self.vocabulary_size = network.vocabulary_size

    def for_label(self, number: int) -> Self:
        twin = copy.copy(self)
        twin._ally = self._everyone.of(number)
        return twin

    def zero_state(self, batch: int) -> State:
        """Return the network's state, then the nodes before any character."""
        nodes = np.full((1, batch), self._ally.contexts.start, np.int64)
        return (*self._network.zero_state(batch), nodes)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        logits, after = self._network.step(ids, state[:-1])
        return self._mixed(ids, logits, after, state[-1])

    def write_step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        logits, after = self._network.write_step(ids, state[:-1])
        return self._mixed(ids, logits, after, state[-1])

    def rows(self, state: State) -> tuple[Step, State]:
        of_network, first = self._network.rows(state[:-1])

        def step(ids: np.ndarray, rows: State) -> tuple[np.ndarray, State]:
            logits, after = of_network(ids, rows[:-1])
            return self._mixed(ids, logits, after, rows[-1])

        return step, (*first, state[-1])

    def read(
        self, ids: np.ndarray, state: State, *, threads: int = 1
    ) -> tuple[np.ndarray, State, float]:
        of_network = state[:-1]
        nodes = state[-1][0]  # (1,)
        nats = 0.0
        latest = np.zeros((1, 0))  # ln P (1, V) after the piece before
        width = max(1, min(PIECE, MAX_SCORES // self.vocabulary_size))
        for start in range(0, len(ids), width):
            piece = ids[start : start + width]
            logits = []
            after = []
            for at in range(len(piece)):
                char = piece[at : at + 1]
                row, of_network = self._network.step(char, of_network)
                nodes = self._advanced(nodes, char)
                logits.append(row)
                after.append(nodes)
            ln_network = log_probabilities(np.concatenate(logits))
            mixed = self._ally.mixed(ln_network, np.concatenate(after))
            if start:
                nats -= float(latest[0, piece[0]])
            nats -= float(mixed[np.arange(len(piece) - 1), piece[1:]].sum())
            latest = mixed[-1:]
        return latest, (*of_network, nodes[None]), nats

    def _mixed(
        self, ids: np.ndarray, logits: np.ndarray, after: State, nodes: np.ndarray
    ) -> tuple[np.ndarray, State]:
        """Return ln P (B, V) after ids (B,) and the state there. nodes (1, B): before them."""
        led_to = self._advanced(nodes[0], ids)
        return self._ally.mixed(log_probabilities(logits), led_to), (*after, led_to[None])

    def _advanced(self, nodes: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the nodes (B,) that ids (B,) lead to."""
        contexts = self._ally.contexts
        known = counted_ids(ids, self.vocabulary_size, contexts.ngram.boundary)
        return contexts.advance(nodes, known)

"""Texts that fit a pattern, drawn so that they follow the model's own distribution given that.

Each sample is sought by walks down a tree of beginnings (prefixes.py), which avoid what cannot fit
any more.

**Exact.** A child is taken in proportion to its mass, and a walk goes on with probability worth
now / worth when the node was chosen. Worths are bounds and only fall, so a walk ends in text x with
probability P(x) / worth of the root: the texts that are found are independent and follow P given
the pattern, however the tree looks, and from the first text on.

**Looking ahead.** Where few walks arrive, worths become guesses (lookahead.py). A walk has the
weight w = P(x) / (its own probability), and is kept with probability min(1, w / W). So the texts
are independent; they follow P but for the excess, the part of all weights that lies above W. W is
chosen so that the excess would be at most TOLERANCE, were the last walks taken now, times MARGIN.
What was cut off in fact is counted (Report).

Sample i takes its own random numbers, walk after walk, until one is kept. Letters: B rows,
V symbols, T ids of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.sampling.decode import WINDOW, uniforms
from charrnn.sampling.guide import Guide
from charrnn.sampling.lookahead import Lookahead
from charrnn.sampling.prefixes import ROOT, Prefixes, Reader
from charrnn.sampling.steps import MAX_SCORES, MAX_WAITING, Finished, State

ROWS = 256  # walks side by side
FIRST_ROOM = 32  # ids of a row at first; it grows
TRIAL = 2048  # walks after which it is asked whether enough arrive
ENOUGH = 1 / 32  # of the walks
PILOTS = 2  # rounds that only look ahead and learn; the last one shows the weights, too
PILOT = 2048  # walks of each
RECENT = 1024  # walks that arrived, whose weights choose W
ROULETTE = 0.25  # of W: a walk whose weight falls below goes on with probability weight / this
EVERY = 256  # walks after which W is chosen again
MARGIN = 4.0  # of W, for what the tree will learn only when it is found
TOLERANCE = 0.005


@dataclass
class Report:
    """How the texts were found, for people."""

    looks_ahead: bool = False
    kept: float = 0.0  # weight of the walks under W
    excess: float = 0.0  # and above it

    @property
    def deviation(self) -> float:
        """The part of the model's distribution, given the pattern, that was cut off."""
        total = self.kept + self.excess
        return self.excess / total if total else 0.0


class Steering:
    """The walks of one call."""

    def __init__(
        self, network: Reader, guide: Guide, begin: tuple[np.ndarray, State], first: int
    ) -> None:
        """begin: logits (1, V) and state after the prompt. first: number of the first sample."""
        self._network = network
        self._guide = guide
        self._begin = begin
        self._rows = _Rows(max(1, min(ROWS, MAX_SCORES // begin[0].shape[1])))
        self._next = first
        self._due = first
        self._pilots = 0  # to come
        self._worth: Lookahead | None = None
        self._limit = np.inf  # W
        self._weights: list[tuple[float, float]] = []  # of the last walks
        self._walks = 0  # of this phase
        self._arrived = 0
        self._weight = 0.0  # of all walks that arrived, since the last guess
        self._weighed = 0  # all walks since then
        self.report = Report()
        self._tree = Prefixes(network, guide, begin, len(self._rows.number))

    def texts(self, *, looks_ahead: bool | None = None) -> Iterator[Finished | int]:
        """Yield samples without end, in order, and how many walks were lost in between.

        It ends at once where nothing can fit. looks_ahead: None: where it pays.
        """
        if looks_ahead:
            self._look_ahead()
        ended: dict[int, Finished] = {}
        rows = self._rows
        while self._tree.total[ROOT] > 0:
            # 1. Begin walks, but not where the next phase waits for the last ones of this one.
            if self._is_over(looks_ahead):
                if not rows.is_walking.any():
                    self._change_phase()
            else:
                self._start()

            # 2. Take a step with each.
            lost, found = self._step()
            ended |= found

            # 3. Give out what is due.
            if lost:
                yield lost
            while self._due in ended:
                self._due += 1
                yield ended.pop(self._due - 1)

    @property
    def share(self) -> float:
        """An estimate, without bias, of the share of the model's texts that fit."""
        return self._weight / max(1, self._weighed)

    # Phases: exact, then a pilot and walks that look ahead

    def _is_over(self, looks_ahead: bool | None) -> bool:
        if self._pilots:
            return self._walks >= PILOT
        if self.report.looks_ahead or looks_ahead is False or self._walks < TRIAL:
            return False
        if self._arrived >= ENOUGH * self._walks:
            self._walks = self._arrived = 0  # asked again after as many more
            return False
        return True

    def _change_phase(self) -> None:
        if not self.report.looks_ahead:
            self._look_ahead()
            return
        self._pilots -= 1
        if self._pilots:
            self._guess_again()
        else:
            self._choose_limit()

    def _look_ahead(self) -> None:
        self.report.looks_ahead = True
        self._pilots = PILOTS
        self._worth = Lookahead(self._network, self._guide, self._begin)
        self._guess_again()

    def _guess_again(self) -> None:
        """Begin another tree, with guesses that know what the last one has read."""
        assert self._worth is not None
        self._worth.learn(*self._tree.read())
        self._walks = 0
        self._weights = []
        self._weight = 0.0
        self._weighed = 0
        count = len(self._rows.number)
        self._tree = Prefixes(self._network, self._guide, self._begin, count, self._worth)

    def _choose_limit(self) -> None:
        """Choose W by what the weights of the last walks would be now.

        The tree has learnt the nodes that it kept: only those past its capacity still count.
        """
        del self._weights[:-RECENT]
        weights, beyond = np.array(self._weights).reshape(-1, 2).T
        total = weights.sum()
        if not total:
            return
        now = beyond * self._tree.total[ROOT]
        order = np.argsort(-now)
        weights, now = weights[order], now[order]
        # Under the k-th of them as W, the first k lose 1 - W / now of their weight.
        excess = weights.cumsum() - now * (weights / now).cumsum()
        self._limit = MARGIN * float(now[excess <= TOLERANCE * total].min())

    # Steps

    def _start(self) -> None:
        """Let rows that stand still walk from the root, for the sample that they seek."""
        rows = self._rows
        idle = np.flatnonzero(~rows.is_walking)
        fresh = idle[rows.number[idle] < 0]
        room = max(0, self._due + MAX_WAITING - self._next)
        fresh = fresh[:room]
        rows.number[fresh] = self._next + np.arange(len(fresh))
        rows.drawn[fresh] = 0
        self._next += len(fresh)
        ready = idle[rows.number[idle] >= 0]
        rows.begin(ready, float(self._tree.total[ROOT]), self._limit)

    def _step(self) -> tuple[int, dict[int, Finished]]:
        """Let each row write a symbol. Return how many walks were lost, and the samples found."""
        rows = self._rows
        tree = self._tree
        looks_ahead = self.report.looks_ahead
        at = np.flatnonzero(rows.is_walking)

        # 1. Does the walk go on?
        node = rows.node[at]
        sums = tree.mass[node].cumsum(axis=1)
        total = sums[:, -1]
        point = rows.uniforms(at, self._guide.plan.seed) * (
            total if looks_ahead else rows.worth[at]
        )
        goes_on = point < total
        if looks_ahead:
            with np.errstate(divide="ignore"):
                change = np.log(total) - np.log(rows.worth[at])
            rows.weight[at] += change
            rows.beyond[at] += np.where(node >= tree.capacity, change, 0.0)
            goes_on &= self._survive(at)
        lost = at[~goes_on]
        at, node, sums, point = at[goes_on], node[goes_on], sums[goes_on], point[goes_on]

        # 2. To which child?
        symbols = (sums <= point[:, None]).sum(axis=1)
        rows.worth[at] = tree.mass[node, symbols] / tree.chance[node, symbols]
        rows.nats[at] += tree.nats[node, symbols]
        rows.write(at, symbols)

        # 3. What has ended, and is it kept?
        is_end = tree.ends[node, symbols]
        over = at[is_end]
        is_kept = np.ones(len(over), bool)
        if looks_ahead:
            is_kept = self._weigh(over)
        self._walks += len(over) + len(lost)
        self._weighed += len(over) + len(lost)
        self._weight += float(np.exp(rows.weight[over]).sum())
        self._arrived += int(is_kept.sum())
        found = {}
        for row in over[is_kept].tolist():
            number = int(rows.number[row])
            rows.number[row] = -1
            found[number] = rows.finished(row, number)
        rows.is_walking[over] = False
        rows.is_walking[lost] = False

        # 4. Read what was written.
        at, node, symbols = at[~is_end], node[~is_end], symbols[~is_end]
        child = tree.child[node, symbols].astype(np.int64)
        is_new = child < 0
        new = at[is_new]
        plan = self._guide.plan
        plan.end_characters(at, symbols, rows.spelled, rows.chars, rows.recent)
        if len(new):
            child[is_new] = tree.add(node[is_new], symbols[is_new], new, rows)
        rows.node[at] = child
        if self._pilots:
            return 0, found
        return len(lost) + len(over) - len(found), found

    def _survive(self, at: np.ndarray) -> np.ndarray:
        """Return which rows (K,) go on, where those of low weight seldom do, with a higher one."""
        rows = self._rows
        goes_on = np.ones(len(at), bool)
        if self._pilots:
            return goes_on
        least = np.log(ROULETTE * rows.limit[at])
        low = np.flatnonzero(rows.weight[at] < least)
        chance = np.exp(rows.weight[at[low]] - least[low])
        goes_on[low] = rows.uniforms(at[low], self._guide.plan.seed) < chance
        rows.weight[at[low]] = least[low]
        return goes_on

    def _weigh(self, over: np.ndarray) -> np.ndarray:
        """Return which rows (B,) that have ended are kept."""
        rows = self._rows
        weights = np.exp(rows.weight[over])
        before = len(self._weights) // EVERY
        self._weights += zip(weights.tolist(), np.exp(rows.beyond[over]).tolist(), strict=True)
        if self._pilots:
            return np.zeros(len(over), bool)
        limits = rows.limit[over]
        under = np.minimum(weights, limits)
        self.report.kept += float((under / limits).sum())
        self.report.excess += float(((weights - under) / limits).sum())
        if len(self._weights) // EVERY > before:
            self._choose_limit()
        is_kept: np.ndarray = rows.uniforms(over, self._guide.plan.seed) * limits < weights
        return is_kept


class _Rows:
    """Walks under way: row r seeks sample number[r], or none (-1)."""

    def __init__(self, count: int) -> None:
        self.number = np.full(count, -1, np.int64)
        self.drawn = np.zeros(count, np.int64)  # random numbers so far, of the sample
        self.is_walking = np.zeros(count, bool)
        self.node = np.zeros(count, np.int64)
        self.worth = np.zeros(count)  # of the node, when it was chosen
        self.weight = np.zeros(count)  # its logarithm
        self.beyond = np.zeros(count)  # of that, what nodes past the tree's capacity add
        self.limit = np.zeros(count)  # W when the walk began
        self.nats = np.zeros(count)
        self.position = np.zeros(count, np.int64)
        self.spelled = np.zeros(count, np.int32)
        self.chars = np.zeros(count, np.int64)
        self.written = np.zeros((count, FIRST_ROOM), np.int32)  # (B, T)
        self.recent = np.full((count, WINDOW), -1, np.int32)

    def uniforms(self, at: np.ndarray, seed: int) -> np.ndarray:
        """Return the next random number of each of these rows (K,)."""
        numbers = uniforms(seed, self.number[at], self.drawn[at])
        self.drawn[at] += 1
        return numbers

    def begin(self, at: np.ndarray, worth: float, limit: float) -> None:
        """Set rows (K,) to the root."""
        self.is_walking[at] = True
        self.node[at] = ROOT
        self.worth[at] = worth
        self.weight[at] = np.log(worth)
        self.beyond[at] = 0.0
        self.limit[at] = limit
        self.nats[at] = 0.0
        self.position[at] = 0
        self.spelled[at] = 0
        self.chars[at] = 0
        self.recent[at] = -1

    def write(self, at: np.ndarray, symbols: np.ndarray) -> None:
        """Write symbols (K,) down in rows (K,)."""
        if len(at) and self.position[at].max() == self.written.shape[1]:
            self.written = np.concatenate([self.written, np.zeros_like(self.written)], 1)
        self.written[at, self.position[at]] = symbols
        self.position[at] += 1

    def finished(self, row: int, number: int) -> Finished:
        """Return the text of a row as a sample that has ended."""
        length = int(self.position[row])
        ids = self.written[row, :length].copy()
        return Finished(number, ids, [length], [float(self.nats[row])])

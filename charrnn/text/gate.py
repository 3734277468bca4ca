"""The gate between a network and the n-grams of its text: how much to trust counting, and where.

    P(c) = (1 - w) P_network(c) + w P_ngram(c)
    w = 1 / (1 + exp(-theta . x))

x is FEATURES numbers that the past alone decides: what both say of all characters, never which of
them follows. So the mixture sums to one, and nothing read later changes it.

    0  1
    1  entropy of P_network, in nats
    2  ln of the network's largest P
    3  ln of the network's P of counting's first choice
    4  1 where both have the same first choice
    5  ln of counting's largest P
    6  ln of what the longest known context leaves to shorter ones
    7  ln (1 + how often it was counted)

Shapes: B places, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from charrnn.text.contexts import Contexts

if TYPE_CHECKING:
    from charrnn.text.labelgrams import LabelGrams  # a model without labels need not wait for it

FEATURES = 8
MOST_WEIGHT = 1e6  # of theta
STEEPEST = 30.0  # of theta . x: w stays above 1e-13, where rounding of sums begins
LEAST_LN = -30.0  # of what enters x: a network can give a character no probability at all
EXCLUDED = -1e290  # a network's ln P below is that of what may not follow


@dataclass(frozen=True)
class Ally:
    """What counting adds to a network: the n-grams' graph and the gate's theta (FEATURES,).

    by_label: the n-grams of labels; None: it knows none.
    """

    contexts: Contexts
    theta: np.ndarray
    by_label: LabelGrams | None = None
    _of: dict[int, Ally] = field(default_factory=dict, repr=False, compare=False)

    def of(self, number: int) -> Ally:
        """Return what counting adds to lines with a label, numbered from 1 on; 0: none."""
        if self.by_label is None or number not in self.by_label.owned:
            return self
        if number not in self._of:
            contexts = self.contexts.weighted(self.by_label.of(number))
            self._of[number] = Ally(contexts, self.theta)
        return self._of[number]

    @cached_property
    def signs(self) -> np.ndarray:
        """What the gate looks at in each context (C, 3): features 5 to 7."""
        return signs_of(self.contexts)

    def shares(self, ln_network: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Return w (B,) at nodes (B,), where the network says ln_network (B, V)."""
        best = self.contexts.best[nodes]
        at_best = ln_network[np.arange(len(nodes)), best]
        features = features_of(
            entropy=-(np.exp(ln_network) * np.maximum(ln_network, -1e30)).sum(1),
            top=ln_network.max(1),
            at_best=at_best,
            signs=self.signs[nodes],
        )
        return shares(self.theta, features)

    def mixed(self, ln_network: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Return ln P (B, V) of the mixture at nodes (B,).

        ln_network (B, V): where rare characters are bytes, -inf for what may not follow. Counting
        then gives it nothing either.
        """
        w = self.shares(ln_network, nodes)[:, None]
        counted = self.contexts.distributions(nodes)
        if self.contexts.ngram.spelling is not None:
            counted[ln_network < EXCLUDED] = 0
            counted /= counted.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            mixed: np.ndarray = np.log((1 - w) * np.exp(ln_network) + w * counted)
        return mixed


def signs_of(contexts: Contexts) -> np.ndarray:
    """Return what the gate looks at in each context (C, 3): features 5 to 7."""
    columns = (np.log(contexts.top), np.log(contexts.back), np.log1p(contexts.totals))
    return np.stack(columns, 1)


def features_of(
    entropy: np.ndarray, top: np.ndarray, at_best: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """Return x (B, FEATURES), float64.

    entropy, top, at_best (B,): features 1 to 3. signs (B, 3): features 5 to 7.
    """
    features = np.empty((len(entropy), FEATURES))
    features[:, 0] = 1.0
    features[:, 1] = entropy
    features[:, 2] = top
    features[:, 3] = np.maximum(at_best, LEAST_LN)
    features[:, 4] = at_best >= top
    features[:, 5:] = signs
    return features


def shares(theta: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return w (B,) of x (B, FEATURES)."""
    # No product of matrices: it rounds by the number of rows, and a text's end would change w.
    z = np.clip((features * theta).sum(1), -STEEPEST, STEEPEST)
    w: np.ndarray = 1.0 / (1.0 + np.exp(-z))
    return w


def checked_theta(theta: np.ndarray | None) -> np.ndarray:
    """Return the theta that a file holds. Raises ValueError for what is none."""
    if theta is None or theta.dtype != np.float64 or theta.shape != (FEATURES,):
        raise ValueError("not a gate")
    if not (np.abs(theta) <= MOST_WEIGHT).all():
        raise ValueError("a gate that is not finite")
    return theta

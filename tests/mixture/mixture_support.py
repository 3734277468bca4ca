"""What the tests of this folder share: random networks with n-grams beside them."""

import dataclasses

import numpy as np
from kernel_support import random_model

from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES, Ally

SIZE = 6  # characters; 0 is the newline


def text(chars, seed=0, size=SIZE):
    """Ids that repeat themselves: each follows one of two before it."""
    generator = np.random.default_rng(seed)
    ids = [1]
    for _ in range(chars - 1):
        ids.append((2 * ids[-1] + generator.integers(2)) % size)
    return np.array(ids)


def lines(chars, seed=0, size=SIZE):
    """Ids of short lines, none of them blank; the last one ends."""
    ids = text(chars, seed, size)
    ids[1:][(ids[1:] == 0) & (ids[:-1] == 0)] = 1
    ids[0] = 2
    ids[-2:] = (1, 0)
    return ids


def ally(mode="stream", order=4, seed=0, size=SIZE, chars=300):
    make = lines if mode == "lines" else text
    ngram = count(make(chars, seed + 1, size), size, order, 0 if mode == "lines" else None)
    theta = np.random.default_rng(seed).normal(size=FEATURES)
    return Ally(Contexts(ngram), theta)


def mixed_model(mode="stream", order=4, seed=0, size=SIZE, chars=300, **network):
    """A ModelFile of a random network with an ally."""
    model = random_model(vocabulary=size, seed=seed, mode=mode, **network)
    return dataclasses.replace(model, ally=ally(mode, order, seed, size, chars))

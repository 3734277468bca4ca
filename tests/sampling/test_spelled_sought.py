"""Patterns where rare characters are bytes: what is sought follows what rejection keeps."""

import dataclasses
import itertools
import re
from collections import Counter

import pytest
from kernel_support import random_model

from charrnn.sampling.constraints import Constraints
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.sampling.seeking import seeker
from charrnn.text.vocabulary import Vocabulary

ALPHABET = Vocabulary.with_bytes([0xE9])
PATTERN = "^[^\u0000-\u007f][é-\U0010ffff]$"  # a rare character, and one that may be rare


@pytest.mark.parametrize("engine", ["numpy", "auto"])
def test_rare_characters_are_sought_as_rejection_finds_them(engine):
    model = random_model("gru", "none", 1, 8, len(ALPHABET))
    model = dataclasses.replace(model, vocabulary=ALPHABET, start=0, mode="stream")
    sampler = Sampler(model, engine=engine, weights="float32")
    how = {"length": 2, "seed": 3, "decoding": Decoding()}
    found = seeker(sampler, Constraints(matching=PATTERN), **how)(0)
    texts = (one.text for one in found if not isinstance(one, int))
    sought = list(itertools.islice(texts, 500))
    assert all(re.search(PATTERN, text) for text in sought)

    drawn = [one.text for one in sampler.generate(8000, **how)]
    kept = [text for text in drawn if re.search(PATTERN, text)]

    def kinds(texts):
        """Count by the bytes of both characters, and whether the second is é."""
        return Counter((len(a.encode()), len(b.encode()), b == "é") for a, b in map(tuple, texts))

    expected, seen = kinds(kept), kinds(sought)
    common = [kind for kind, count in expected.items() if count >= 30]
    assert len(common) >= 4
    for kind in common:
        share = expected[kind] / len(kept)
        # Four standard deviations of the difference of two shares.
        spread = (share * (1 - share) * (1 / len(kept) + 1 / len(sought))) ** 0.5
        assert seen[kind] / len(sought) == pytest.approx(share, abs=4 * spread), kind

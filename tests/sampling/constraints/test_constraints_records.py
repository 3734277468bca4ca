"""Patterns that few records fit, whose line breaks are a symbol of their own."""

import itertools
import re

import pytest
from constraints_support import sampler

from charrnn.sampling.constraints import Constraints, Tally, accepted
from charrnn.sampling.decode import Decoding
from charrnn.sampling.seeking import seeker
from charrnn.text.vocabulary import BREAK

SYMBOLS = (0x0A, 0x61, 0x62, BREAK)


@pytest.mark.parametrize("pattern", [r"\Aa.?\nb+\Z", "(?m)^ab$\n^b", "a$"])
def test_records_that_are_sought_have_the_shares_of_those_that_are_drawn(pattern):
    model = sampler(symbols=SYMBOLS)
    constraints = Constraints(matching=pattern)
    how = {"seed": 3, "decoding": Decoding(), "length": 6}
    found = seeker(model, constraints, **how)(0)
    texts = (one.text for one in found if not isinstance(one, int))
    sought = list(itertools.islice(texts, 1500))
    assert all(re.search(pattern, text.removesuffix("\n")) for text in sought)

    def draw(first, count):
        return model.generate(count, first=first, **how)

    drawn = [one.text for one in accepted(draw, Tally(1500), 40_000, constraints)]
    for text in sorted(set(drawn), key=drawn.count)[-3:]:
        share = drawn.count(text) / len(drawn)
        spread = (share * (1 - share) * (1 / len(drawn) + 1 / len(sought))) ** 0.5
        assert sought.count(text) / len(sought) == pytest.approx(share, abs=4 * spread + 1e-9)

"""The levels of a counting model as a file's tensors: what comes back, and what is refused."""

import numpy as np
import pytest

from charrnn.text.counting import count
from charrnn.text.ngram import levels_of
from charrnn.values import MAX_ORDER

SIZE = 3


def tensors():
    """Those of a 3-gram model. Its first n-gram is 0, the least number that there is."""
    return count(np.array([0, 0, 0, 1, 2, 0, 1]), SIZE, 3).tensors()


def one_character(orders):
    """A model of an alphabet of one, whose n-grams of every length are one."""
    names = [f"ngram.{n}" for n in range(1, orders + 1)]
    grams = {f"{name}.grams": np.zeros(1, np.int64) for name in names}
    return grams | {f"{name}.counts": np.ones(1, np.uint32) for name in names}


def test_levels_come_back_as_they_were_written():
    levels = levels_of(tensors(), SIZE)
    assert [level.grams[0] for level in levels] == [0, 0, 0]
    for n, level in enumerate(levels, 1):
        assert np.array_equal(level.grams, tensors()[f"ngram.{n}.grams"])
        assert np.array_equal(level.counts, tensors()[f"ngram.{n}.counts"])


def test_the_longest_order_is_read_and_a_longer_one_is_refused():
    assert len(levels_of(one_character(MAX_ORDER), 1)) == MAX_ORDER
    with pytest.raises(ValueError, match="out of order"):
        levels_of(one_character(MAX_ORDER + 1), 1)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ngram.1.grams", lambda grams: grams.astype(np.int32)),
        ("ngram.1.counts", lambda counts: counts.astype(np.int64)),
        ("ngram.1.grams", lambda grams: grams - 1),  # the first is negative
        ("ngram.1.grams", lambda grams: grams + 1),  # the last is no character
        ("ngram.2.grams", lambda grams: grams[::-1].copy()),
        ("ngram.2.grams", lambda grams: grams.repeat(2)[: len(grams)]),  # one stands twice
        ("ngram.2.counts", lambda counts: counts[:-1]),
    ],
)
def test_tensors_that_are_no_levels_are_refused(name, change):
    altered = tensors()
    altered[name] = change(altered[name])
    with pytest.raises(ValueError, match="not an n-gram model|out of order"):
        levels_of(altered, SIZE)

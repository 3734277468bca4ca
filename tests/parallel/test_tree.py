"""The order of additions follows from the number of parts alone."""

import pytest

from charrnn.parallel.tree import added, share_of, tiles


def order_of(first, last, known=lambda part: None):
    """The additions of a sum, as brackets."""

    class Sum(str):
        def __add__(self, other):
            return Sum(f"({self}+{other})")

    def leaf(part):
        return known(part) or (Sum(part[0]) if part[1] - part[0] == 1 else None)

    return added((first, last), leaf)


@pytest.mark.parametrize(
    ("parts", "order"),
    [
        (1, "0"),
        (3, "((0+1)+2)"),
        (4, "((0+1)+(2+3))"),
        (6, "(((0+1)+2)+((3+4)+5))"),
    ],
)
def test_the_order_of_a_sum(parts, order):
    assert order_of(0, parts) == order


@pytest.mark.parametrize("parts", range(1, 13))
def test_any_number_of_processes_adds_in_the_same_order(parts):
    for processes in range(1, parts + 1):
        sums = {}
        for rank in range(processes):
            for tile in tiles(*share_of(rank, processes, parts), (0, parts)):
                assert tile not in sums
                sums[tile] = order_of(*tile)
        assert added((0, parts), sums.get) == order_of(0, parts)


def test_a_process_of_four_shards_on_two_sends_one_sum():
    assert list(tiles(0, 2, (0, 4))) == [(0, 2)]
    assert list(tiles(1, 3, (0, 4))) == [(1, 2), (2, 3)]

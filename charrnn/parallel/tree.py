r"""The order in which the parts of a whole are added: a tree that the number of parts fixes.

                0..3
              /      \
           0..1      2..3        ((0 + 1) + (2 + 3)), on one process, on two and on four
           /  \      /  \
          0    1    2    3

Floating-point sums depend on their order. Here it follows from the number of parts alone, whichever
process has computed which. A part is named by its bounds: (first, last), last excluded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Part = tuple[int, int]


def branches(first: int, last: int) -> list[Part]:
    """Return the equal parts of first..last, as many as its least prime factor."""
    count = last - first
    factor = next(prime for prime in range(2, count + 1) if count % prime == 0)
    size = count // factor
    return [(start, start + size) for start in range(first, last, size)]


def added(part: Part, known: Callable[[Part], Tensor | None]) -> Tensor:
    """Return the sum of a part: as known, or from its branches, from left to right.

    known: gives a part's sum in memory that may be changed, or None; it knows every single one.
    """
    total = known(part)
    if total is not None:
        return total
    first, *others = branches(*part)
    total = added(first, known)
    for other in others:
        total += added(other, known)
    return total


def tiles(first: int, last: int, whole: Part) -> Iterator[Part]:
    """Yield the largest parts of the tree that make up first..last, from left to right."""
    if last <= whole[0] or whole[1] <= first:
        return
    if first <= whole[0] and whole[1] <= last:
        yield whole
        return
    for branch in branches(*whole):
        yield from tiles(first, last, branch)


def share_of(index: int, shares: int, count: int) -> Part:
    """Return the bounds of one of `shares` parts of `count` things, as equal as can be."""
    return index * count // shares, (index + 1) * count // shares

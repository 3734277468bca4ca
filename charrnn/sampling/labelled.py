"""Samples of several labels, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from charrnn.sampling.codec import Sample

LEAST_COUNT = 10  # texts of all labels together, where nobody says how many


def default_count(labels: Sequence[str]) -> int:
    """Return how many texts are written where nobody says: as many for each label."""
    each = max(1, -(-LEAST_COUNT // len(labels)))
    return each * len(labels)


def in_turn(
    labels: Sequence[str], count: int, draw: Callable[[str, int], Iterator[Sample]]
) -> Iterator[Sample]:
    """Yield `count` samples, one of each label and then the next of each.

    draw: a label and how many of its samples are needed -> those; a label may have fewer.
    """
    several = len(labels)
    sources = [
        draw(label, len(range(place, count, several))) for place, label in enumerate(labels[:count])
    ]
    for number in range(count):
        place = number % several
        sample = next(sources[place], None)
        if sample is not None:
            sample.label = labels[place]
            yield sample

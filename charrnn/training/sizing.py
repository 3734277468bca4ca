"""The network and the batches for a GPU, from its measured speed. It measures nothing itself.

On a processor a training's speed is one number: weights times characters a second. On a GPU a
recurrent step of a small network takes the time of its launch, whatever it multiplies. There more
lanes and wider layers cost nothing until the card is filled, and how many characters a budget reads
depends on both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

LANES = (8, 16, 32, 64, 128, 256)
WINDOWS = (256, 128, 64)
# More lanes are taken where they do so much more work (weights times characters read).
GAIN = 1.5
# Wear up to which more lanes are taken. The best trials on tiny Shakespeare had 28 to 56
# (docs/results.md). Beyond, fewer lanes learn more from as many characters.
MOST_WEAR = 64
# Below so many updates, windows get shorter.
LEAST_UPDATES = 2000


class Size(NamedTuple):
    """What the speed of a step depends on: a network and the shape of a batch."""

    num_layers: int
    hidden_size: int
    lanes: int
    length: int  # characters


class Fitted(NamedTuple):
    """A network and its batches, and how many characters a training reads with them."""

    size: Size
    weights: int  # recurrent
    read: float

    def wear(self, chars: int) -> float:
        """Return weights for each character of the text, times how often it is read."""
        return self.weights * self.read / chars**2


Speed = Callable[[Size], float]  # characters a second; 0 where it does not fit the memory


class Card(NamedTuple):
    """A GPU to the recipe. line_chars: of a line on average; None for a stream."""

    speed: Speed
    line_chars: int | None


def fitted(
    card: Card,
    training_s: float,
    chars: int,
    gates: int,
    num_layers: int,
    widths: Sequence[int],
    wanted: Callable[[float], float],
    lanes: Sequence[int],
    lengths: Sequence[int],
) -> Fitted:
    """Return the network and the batches for so many seconds of training.

    widths: that may be taken, rising. wanted: recurrent weights for so many characters read.
    lanes, lengths: that may be taken; the first lanes are the fewest, the first length is wanted
    most.
    """
    squares = gates * (2 * num_layers - 1)

    def of(width: int, lane_count: int, length: int) -> Fitted:
        size = Size(num_layers, width, lane_count, length)
        return Fitted(size, squares * width * width, training_s * card.speed(size))

    # 1. The window, by the fewest lanes and the narrowest network
    length = lengths[0]
    for shorter in lengths[1:]:
        updates = of(widths[0], lanes[0], length).read / (lanes[0] * length)
        if updates >= LEAST_UPDATES:
            break
        length = shorter

    # 2. For each number of lanes the widest network that what it reads can teach
    best: Fitted | None = None
    first = 0
    for lane_count in lanes:
        found = of(widths[first], lane_count, length)
        while first + 1 < len(widths):
            wider = of(widths[first + 1], lane_count, length)
            if wider.weights > wanted(wider.read):
                break
            found = wider
            first += 1
        if best is not None:
            is_worn = found.wear(chars) > MOST_WEAR
            is_filled = found.weights * found.read < GAIN * best.weights * best.read
            if is_worn or is_filled:
                break
        best = found
    assert best is not None
    return best


def shortened_s(training_s: float, wear: float, most_wear: float) -> float:
    """Return the seconds after which a text is worn as much as trials ever were."""
    return training_s * min(1.0, most_wear / max(wear, math.ulp(1.0)))

"""How many threads a call of the kernel gets, by what the last calls took."""

from __future__ import annotations

import math

OTHER_EVERY = 32  # calls between two tries of what was slower


class Pace:
    """Pick all threads or one, whichever was faster when last tried.

    On an idle machine two threads write with a model of 10 MB 1.7 times as fast as one. Beside a
    busy program they wait for each other and can be ten times slower. The text that is written
    depends on neither.
    """

    def __init__(self, threads: int) -> None:
        # Characters a second by number of threads. What has not been tried comes first.
        self._rates = {threads: math.inf, 1: math.inf}
        self._calls = 0

    def next(self) -> int:
        """Return the number of threads for the next call."""
        self._calls += 1
        if self._calls % OTHER_EVERY == 0:  # times may have changed
            return min(self._rates, key=self._rates.__getitem__)
        return max(self._rates, key=self._rates.__getitem__)

    def took(self, threads: int, chars: int, seconds: float) -> None:
        """Record how many characters a call wrote, and in how many seconds."""
        self._rates[threads] = chars / max(seconds, 1e-9)

"""Shares of several texts: how they are typed, what they add up to, and how many items each gets.

a.txt:0.7 b.txt:0.3     7 of 10 characters, or items, that are learnt are of a.txt
a.txt:7 b.txt:3         the same
a.txt:0.3 b.txt c.txt   the rest is divided between b.txt and c.txt by their lengths
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charrnn.errors import SettingsError
from charrnn.terminal import one_line

# As a share is typed: a number behind the last colon.
NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf|nan)"
SHARE = re.compile(rf"(?P<text>.+):(?P<share>{NUMBER})", re.IGNORECASE)
NO_SHARE = re.compile(r"(?P<text>.+):(?P<share>[^:/\\]*)")


def named(operand: str) -> tuple[str, float | None]:
    """Return a text as it is typed, and its share; None where none is typed.

    A file that exists under its whole name has no share. Raises SettingsError.
    """
    if os.path.lexists(operand) or "://" in operand:
        return operand, None
    match = SHARE.fullmatch(operand)
    if match is None:
        wrong = NO_SHARE.fullmatch(operand)
        if wrong is not None and Path(wrong["text"]).exists():
            raise SettingsError(
                f"{one_line(operand)}: a share is a number above 0, such as "
                f"{one_line(wrong['text'])}:0.7"
            )
        return operand, None
    share = float(match["share"])
    if not (math.isfinite(share) and share > 0):
        raise SettingsError(
            f"{one_line(operand)}: a share must be above 0; leave the text out, or give it more"
        )
    return match["text"], share


def check_shares(shares: Sequence[float | None]) -> None:
    """Raise SettingsError where texts without a share would get nothing."""
    given = sum(share for share in shares if share is not None)
    has_rest = any(share is None for share in shares)
    if has_rest and any(shares) and given >= 1:
        raise SettingsError(
            f"the shares add up to {given:g}, and leave nothing to the texts without one; "
            "give each text a share, or smaller ones"
        )


def note_of(names: Sequence[str], shares: Sequence[float | None]) -> str:
    """Return what a person should know of shares that do not add up to 1; "" where they do."""
    given = [share for share in shares if share is not None]
    total = sum(given)
    if len(given) < len(shares) or not given or math.isclose(total, 1, abs_tol=1e-6):
        return ""
    parts = [f"{share / total:.3g} of {name}" for name, share in zip(names, given, strict=True)]
    return f"the shares add up to {total:g}, and are taken as {', '.join(parts)}"


def divided(shares: Sequence[float | None], sizes: Sequence[int]) -> tuple[float, ...]:
    """Return shares that add up to 1; () where none is given.

    sizes: of the texts; those without a share divide by them what the others leave.
    """
    given = math.fsum(share for share in shares if share is not None)
    if not given:
        return ()
    rest = sum(size for share, size in zip(shares, sizes, strict=True) if share is None)
    if not rest:
        return tuple(float(share or 0) / given for share in shares)
    return tuple(
        (1 - given) * size / rest if share is None else share
        for share, size in zip(shares, sizes, strict=True)
    )


def quotas(total: int, shares: Sequence[float]) -> list[int]:
    """Return how many of `total` items each text gets: all of them, and at least one each.

    By largest remainders, so that each is off by less than one.
    """
    wanted = [share * total for share in shares]
    counts = [max(1, math.floor(number)) for number in wanted]
    by_remainder = sorted(range(len(wanted)), key=lambda i: (counts[i] - wanted[i], i))
    while sum(counts) < total:
        for index in by_remainder[: total - sum(counts)]:
            counts[index] += 1
    while sum(counts) > total and max(counts) > 1:
        counts[counts.index(max(counts))] -= 1
    return counts


def chosen(count: int, draws: int, random: np.random.Generator) -> np.ndarray:
    """Choose `draws` of `count` items: all equally often, give or take one."""
    times, rest = np.divmod(draws, count)
    repeated = np.tile(np.arange(count), times)
    return np.concatenate([repeated, random.permutation(count)[:rest]])


class SharedLanes:
    """What each lane of a batch reads at each step, so that each text gets its share.

        B=4, shares 0.6 and 0.4   ->   2.4 and 1.6 lanes: two and one stay, one takes turns

    A lane that stays reads its text round and round. A lane that takes turns reads one text for a
    block of steps, then the text that lacks most, and begins it from an empty state. All follows
    from the step alone.
    """

    def __init__(
        self,
        spans: Sequence[tuple[int, int]],
        shares: Sequence[float],
        lanes: int,
        seq_length: int,
        block_chars: int,
    ) -> None:
        """spans: where each text stands in the training ids, and its length.

        block_chars: that a lane reads of a text, at least, before it turns to another.
        """
        self._seq_length = seq_length
        self._block_steps = max(1, -(-block_chars // seq_length))
        wanted = [share * lanes for share in shares]
        staying = [math.floor(number + 1e-9) for number in wanted]
        self._lacking = [max(0.0, part) for part in np.subtract(wanted, staying).tolist()]
        self._turning = lanes - sum(staying)
        pieces = [count + (self._turning > 0) for count in staying]  # that each text is cut into
        rows = [
            (start, length, place * length // pieces[text])
            for text, (start, length) in enumerate(spans)
            for place in range(staying[text])
        ]
        self._rows = np.array(rows, np.int64).reshape(-1, 3)  # start, length, first place
        self._spans = [
            (start, length, staying[text] * length // max(1, pieces[text]))
            for text, (start, length) in enumerate(spans)
        ]
        self._turns: list[list[tuple[int, int]]] = []  # of each block: the text, its blocks before
        self._read = [0] * len(spans)  # blocks of each text

    def places(self, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return (B, T + 1) the place of each id that a step reads, and (B,) which lanes begin.

        None: no lane turned to another text.
        """
        block, within = divmod(step, self._block_steps)
        while len(self._turns) <= block:
            self._turns.append(self._next_turns())
        rows = self._rows
        offsets = rows[:, 2] + step * self._seq_length
        begins = None
        if self._turning:
            turns = self._turns[block]
            spans = np.array([self._spans[text] for text, _ in turns], np.int64)
            blocks = np.array([before for _, before in turns], np.int64)
            read = (blocks * self._block_steps + within) * self._seq_length
            rows = np.concatenate([rows, spans])
            offsets = np.concatenate([offsets, spans[:, 2] + read])
            if within == 0 and block:
                earlier = self._turns[block - 1]
                turned = [now[0] != was[0] for now, was in zip(turns, earlier, strict=True)]
                if any(turned):
                    begins = np.array([False] * len(self._rows) + turned)
        places = offsets[:, None] + np.arange(self._seq_length + 1)
        return rows[:, :1] + places % rows[:, 1:2], begins

    def _next_turns(self) -> list[tuple[int, int]]:
        """Return the texts of the next block: those that lack most, where they were if they can."""
        number = len(self._turns) + 1
        lack = [part * number - read for part, read in zip(self._lacking, self._read, strict=True)]
        most = sorted(range(len(lack)), key=lambda text: (-lack[text], text))[: self._turning]
        texts: list[int | None] = [None] * self._turning
        earlier = [text for text, _ in self._turns[-1]] if self._turns else []
        for place, text in enumerate(earlier):
            if text in most:
                texts[place] = text
        new = iter([text for text in most if text not in texts])
        turns = []
        for kept in texts:
            text = next(new) if kept is None else kept
            turns.append((text, self._read[text]))
            self._read[text] += 1
        return turns

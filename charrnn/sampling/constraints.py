"""Which texts are kept: length, pattern, no repeats, novelty; and their order by probability.

By rejection, never by steering: a text that fails is thrown away whole and another is drawn, so that what is kept
follows the model's own distribution given the constraints. The price is a number of tries, and that is bounded.
"""

from __future__ import annotations

import contextlib
import math
import re
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from charrnn.errors import SettingsError
from charrnn.sampling.codec import Sample
from charrnn.sampling.engine import LINE_LENGTH, STREAM_LENGTH
from charrnn.terminal import one_line
from charrnn.texts import Novelty

Draw = Callable[[int, int], Iterator[Sample]]  # first, count -> samples first ... first + count - 1
LEAST_TRIES, TRIES_PER_TEXT = 10_000, 1_000
PATTERN_S = 10.0  # for reading a pattern, or looking for it in one text; some need years: (a+)+$
MOST_REPEATS = 1_000_000  # of counts in braces, multiplied: each may take 30 bytes, as those of ((a?){5000}){5000}
NUMBER_FORMS = {  # why a text is refused: one of them, several of them
    "short": ("is shorter than --min-length", "are shorter than --min-length"),
    "long": ("is longer than --max-length", "are longer than --max-length"),
    "unlike": ("does not match --matching", "do not match --matching"),
    "repeat": ("is a repeat (--unique)", "are repeats (--unique)"),
    "known": ("is in the training text (--novel)", "are in the training text (--novel)"),
    "doubtful": ("may be in the training text (--novel)", "may be in the training text (--novel)"),
}


@dataclass(frozen=True)
class Constraints:
    """What a text must be to be kept. Lengths in characters, prompt included, closing newline not. Raises SettingsError."""

    novel: bool = False
    unique: bool = False
    matching: str | None = None  # a regular expression of Python, searched for
    min_length: int = 0
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("--min-length", self.min_length), ("--max-length", self.max_length)):
            if value is not None and value < 0:
                raise SettingsError(f"{name} {value}: must be at least 0")
        if self.max_length is not None and self.min_length > self.max_length:
            raise SettingsError(
                f"--min-length {self.min_length} is more than --max-length {self.max_length}"
            )
        _ = self.pattern

    def __bool__(self) -> bool:
        return self != Constraints()

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        if self.matching is None:
            return None
        counts = re.findall(r"\{(\d{1,15})?,?(\d{1,15})?\}", self.matching)
        if (
            math.prod(max(1, *(int(count or 1) for count in pair)) for pair in counts)
            > MOST_REPEATS
        ):
            raise SettingsError(
                f"--matching {one_line(self.matching)!r} repeats something over {MOST_REPEATS:,} times; write smaller counts"
            )
        try:
            with warnings.catch_warnings(), self._in_time():
                warnings.simplefilter("ignore")  # of what a later Python may read otherwise
                return re.compile(self.matching)
        except (re.error, OverflowError, RecursionError) as error:
            reason = (
                one_line(str(error))
                if not isinstance(error, RecursionError)
                else "too deeply nested"
            )
            raise SettingsError(
                f"--matching {one_line(self.matching)!r} is no regular expression: {reason}"
            ) from None

    def matches(self, text: str) -> bool:
        """Is the pattern in it, if there is one? Raises SettingsError where that takes too long to tell."""
        if self.pattern is None:
            return True
        with self._in_time():
            return self.pattern.search(text) is not None

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Raises SettingsError after PATTERN_S seconds inside: Python's patterns listen to signals. Without them, no limit."""
        is_quick = sum(map((self.matching or "").count, "*+?{|(")) < 2  # and the clock costs 10 us
        is_main = threading.current_thread() is threading.main_thread()
        if (
            is_quick
            or not is_main
            or not hasattr(signal, "setitimer")
            or signal.getsignal(signal.SIGALRM) is None
        ):
            yield  # None: a handler that is not Python's could not be put back
            return

        def stop(number: int, frame: object) -> None:
            raise SettingsError(
                f"--matching {one_line(self.matching or '')!r} takes over {PATTERN_S:g} s for one text; write it without repeats "
                "inside or beside repeats"
            )

        before, timer = (
            signal.signal(signal.SIGALRM, stop),
            signal.setitimer(signal.ITIMER_REAL, PATTERN_S),
        )
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, *timer)

    def length(self, mode: str, unit: str, prompt: Sample, until: str, length: int | None) -> int:
        """The `length` to draw with: a text that will be too long is written only until it surely is.

        prompt: a sample of length 0; until, length: as asked. Raises SettingsError where no text could fit.
        """
        lines, most, begun = mode == "lines", self.max_length, len(prompt.text)
        limit = length if length is not None else LINE_LENGTH if lines else STREAM_LENGTH
        if most is not None:
            if len(_shown(prompt)) > most:
                raise SettingsError(
                    f"--max-length {most}: the prompt alone has {begun:,} characters"
                )
            if lines or until:
                # One character too many, and the closing newline. In a stream the character too many may be a newline itself.
                surely = most + 1 if lines else most + 2
                cut = (
                    surely - begun if unit == "char" else 4 * surely - len(prompt.data)
                )  # of at most 4 bytes each
                limit = min(limit, max(1, cut))
            elif length is None:  # a stream without an end of its own ends where it is told to
                limit = min(limit, max(0, most - begun))
            elif unit == "char" and begun + limit > most + 1:
                raise SettingsError(
                    f"--max-length {most}: without --until, every text has {begun + limit:,} characters"
                )
        if self.min_length > begun + limit:
            raise SettingsError(
                f"--min-length {self.min_length}: a text ends after {begun + limit:,} characters; raise --length"
            )
        return limit


@dataclass
class Tally:
    """What became of the tries."""

    wanted: int
    tried: int = 0
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ran_out: bool = False

    def reasons(self) -> str:
        """`9,120 do not match --matching, 877 are in the training text (--novel)`."""
        found = self.refused.most_common()
        return ", ".join(
            f"{number:,} {NUMBER_FORMS[reason][number > 1]}" for reason, number in found
        )


def tries_allowed(tries: int | None, count: int, temperature: float) -> int:
    """How many texts may be drawn for `count` that are kept. Raises SettingsError."""
    if tries is not None and tries < max(1, count):
        raise SettingsError(
            f"--tries {tries}: must be at least {max(1, count):,}{' (--count)' if count > 1 else ''}"
        )
    allowed = max(LEAST_TRIES, TRIES_PER_TEXT * count) if tries is None else tries
    return (
        min(allowed, max(1, count)) if temperature == 0 else allowed
    )  # greedy: every text is the same


def accepted(
    draw: Draw,
    tally: Tally,
    tries: int,
    constraints: Constraints,
    known: Novelty | None = None,
) -> Iterator[Sample]:
    """The first tally.wanted samples that satisfy the constraints, in the order of their draws; fewer after `tries`.

    Memory is flat, but for `unique`, which remembers what it has let pass.
    """
    seen: set[bytes] = set()
    while tally.kept < tally.wanted:
        # Draws come in batches, since a few rows cost little less than many: no more than are likely to be needed.
        missing = tally.wanted - tally.kept
        likely = missing * tally.tried // tally.kept + 1 if tally.kept else 4 * tally.tried
        batch = min(max(missing, likely), tries - tally.tried)
        if batch <= 0:
            tally.ran_out = True
            return
        for sample in draw(tally.tried, batch):
            tally.tried += 1
            reason = _refusal(sample, constraints, seen, known)
            if reason:
                tally.refused[reason] += 1
                continue
            tally.kept += 1
            if constraints.unique:
                seen.add(sample.data)
            yield sample
            if tally.kept == tally.wanted:
                return


def _refusal(
    sample: Sample, constraints: Constraints, seen: set[bytes], known: Novelty | None
) -> str:
    """Why a text is not kept, in a word; nothing if it is. What is cheap is asked first."""
    text = _shown(sample)
    if len(text) < constraints.min_length:
        return "short"
    if constraints.max_length is not None and len(text) > constraints.max_length:
        return "long"
    if not constraints.matches(text):
        return "unlike"
    if sample.data in seen:
        return "repeat"
    if constraints.novel:
        is_novel = known.is_novel(sample.data) if known else None
        if not is_novel:
            return "doubtful" if is_novel is None else "known"
    return ""


def _shown(sample: Sample) -> str:
    return sample.text.removesuffix("\n")


def bits_per_char(sample: Sample) -> float | None:
    """None where nothing was generated."""
    return sample.nats / math.log(2) / sample.chars if sample.chars else None


def ranked(samples: Iterable[Sample]) -> list[Sample]:
    """The likeliest a character first, equals as they were drawn, texts without a generated character last."""

    def key(sample: Sample) -> tuple[float, int]:
        bits = bits_per_char(sample)
        return (math.inf if bits is None else bits, sample.index)

    return sorted(samples, key=key)

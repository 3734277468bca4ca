"""Which texts are kept: length, pattern, no repeats, novelty; and their order by probability.

A text that fails is thrown away whole and another is drawn. So what is kept follows the model's own
distribution given the constraints. The price is a number of tries, and that is bounded. Where few
texts fit a pattern, they are sought (seeking.py), which keeps to the same distribution.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from charrnn.errors import SettingsError
from charrnn.sampling.bounds import LINE_LENGTH, STREAM_LENGTH, held
from charrnn.sampling.codec import Sample
from charrnn.terminal import one_line
from charrnn.text.expression import filled

if TYPE_CHECKING:
    from charrnn.texts import Novelty

Draw = Callable[[int, int], Iterator[Sample]]  # first, count -> samples first ... first + count - 1
# number of the first sample -> samples, and how many tries were lost in between
Seek = Callable[[int], Iterator[Sample | int]]
LEAST_TRIES = 10_000
PATIENCE = 1000  # texts that are drawn before it is asked whether few fit
RARE = 1 / 50  # of them
TRIES_PER_TEXT = 1_000
PATTERN_S = 10.0  # for reading a pattern, or looking for it in one text; some need years: (a+)+$
# A clock costs 10 us. A pattern this short with one repeat, in a text this short, needs no clock:
# it takes as long as the square of the text's length.
QUICK_CHARS = 1000
QUICK_PATTERN_CHARS = 100
# Of counts in braces, multiplied: each may take 30 bytes, for example those of ((a?){5000}){5000}.
MOST_REPEATS = 1_000_000
UTF8_BYTES = 4  # of a character, at most
# Why a text is refused: words for one text, and for several
NUMBER_FORMS = {
    "short": ("is shorter than --min-length", "are shorter than --min-length"),
    "long": ("is longer than --max-length", "are longer than --max-length"),
    "unlike": ("does not match --matching", "do not match --matching"),
    "unfilled": ("does not fit --fill", "do not fit --fill"),
    "repeat": ("is a repeat (--unique)", "are repeats (--unique)"),
    "known": ("is in the training text (--novel)", "are in the training text (--novel)"),
    "doubtful": ("may be in the training text (--novel)", "may be in the training text (--novel)"),
}


@dataclass(frozen=True)
class Constraints:
    """What a text must be to be kept. Raises SettingsError.

    Lengths are in characters, with the prompt and without the closing newline.
    """

    novel: bool = False
    unique: bool = False
    matching: str | None = None  # a regular expression of Python, searched for
    min_length: int = 0
    max_length: int | None = None
    fill: str | None = None  # a whole text, in which `_` is any character

    def __post_init__(self) -> None:
        for name, value in (("--min-length", self.min_length), ("--max-length", self.max_length)):
            if value is not None and value < 0:
                raise SettingsError(f"{name} {value}: must be at least 0")
        if self.max_length is not None and self.min_length > self.max_length:
            raise SettingsError(
                f"--min-length {self.min_length} is more than --max-length {self.max_length}"
            )
        _ = self.pattern, self.patterns

    def __bool__(self) -> bool:
        return self != Constraints()

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """The pattern, compiled. Raises SettingsError where it is none, or would take too much."""
        if self.matching is None:
            return None
        shown = repr(one_line(self.matching))
        if _repeats(self.matching) > MOST_REPEATS:
            raise SettingsError(
                f"--matching {shown} repeats something over {MOST_REPEATS:,} times; "
                "write smaller counts"
            )
        try:
            with warnings.catch_warnings(), self._in_time():
                warnings.simplefilter("ignore")  # of what a later Python may read otherwise
                return re.compile(self.matching)
        except RecursionError:
            reason = "too deeply nested"
        except (re.error, OverflowError) as error:
            reason = one_line(str(error))
        raise SettingsError(f"--matching {shown} is no regular expression: {reason}")

    @cached_property
    def patterns(self) -> list[str]:
        """The regular expressions that are looked for. Raises SettingsError for a wrong --fill."""
        patterns = [] if self.matching is None else [self.matching]
        if self.fill is not None:
            try:
                patterns.append(filled(self.fill))
            except ValueError as error:
                raise SettingsError(f"--fill {one_line(self.fill)!r}: {error}") from None
        return patterns

    @cached_property
    def _filled(self) -> re.Pattern[str] | None:
        return None if self.fill is None else re.compile(self.patterns[-1])

    def fits(self, text: str) -> bool:
        """Is the text as --fill has it, if that was given?"""
        return self._filled is None or self._filled.search(text) is not None

    def matches(self, text: str) -> bool:
        """Is the pattern in the text, if there is one?

        Raises SettingsError where that takes too long to tell.
        """
        if self.pattern is None:
            return True
        if self._is_quick and len(text) <= QUICK_CHARS:
            return self.pattern.search(text) is not None
        with self._in_time():
            return self.pattern.search(text) is not None

    @cached_property
    def _is_quick(self) -> bool:
        """Whether a search in a short text takes no time to speak of."""
        pattern = self.matching or ""
        repeats = sum(map(pattern.count, "*+?{|("))
        return repeats < 2 and len(pattern) <= QUICK_PATTERN_CHARS

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Raise SettingsError after PATTERN_S seconds inside: Python's patterns listen to signals.

        Where there are no signals there is no limit.
        """
        if not _has_alarm():
            yield
            return

        def stop(number: int, frame: object) -> None:
            raise SettingsError(
                f"--matching {one_line(self.matching or '')!r} takes over {PATTERN_S:g} s for one "
                "text; write it without repeats inside or beside repeats, or begin it with ^"
            )

        handler = signal.signal(signal.SIGALRM, stop)
        timer = signal.setitimer(signal.ITIMER_REAL, PATTERN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *timer)

    def length(self, mode: str, unit: str, prompt: Sample, until: str, length: int | None) -> int:
        """Return the `length` to draw with.

        A text that will be too long is written only until it surely is. prompt: a sample of length
        0; until, length: what the person gave. Raises SettingsError where no text could fit.
        """
        begun = len(prompt.text)
        limit = length
        if limit is None:
            limit = LINE_LENGTH if mode == "lines" else STREAM_LENGTH
        if self.max_length is not None:
            limit = self._cut(mode, unit, prompt, until, length, limit)
        if self.min_length > begun + limit:
            raise SettingsError(
                f"--min-length {self.min_length}: a text ends after {begun + limit:,} characters; "
                "raise --length"
            )
        return limit

    def _cut(
        self, mode: str, unit: str, prompt: Sample, until: str, length: int | None, limit: int
    ) -> int:
        """Return what --max-length leaves of `limit`."""
        most = self.max_length
        assert most is not None
        begun = len(prompt.text)
        if len(_shown(prompt)) > most:
            raise SettingsError(f"--max-length {most}: the prompt alone has {begun:,} characters")
        if mode == "lines" or until:
            # One character too many, and the closing newline. In a stream the character too many
            # may be a newline itself.
            surely = most + 1 if mode == "lines" else most + 2
            cut = surely - begun
            if unit == "byte":
                cut = UTF8_BYTES * surely - len(prompt.data)
            return min(limit, max(1, cut))
        if length is None:  # a stream without an end of its own ends where it is told to
            return min(limit, max(0, most - begun))
        if unit == "char" and begun + limit > most + 1:
            raise SettingsError(
                f"--max-length {most}: without --until, every text has {begun + limit:,} characters"
            )
        return limit


def _repeats(pattern: str) -> int:
    """Return the product of all counts in braces."""
    counts = re.findall(r"\{(\d{1,15})?,?(\d{1,15})?\}", pattern)
    return math.prod(max(1, *(int(count or 1) for count in pair)) for pair in counts)


def _has_alarm() -> bool:
    """Can a signal end a search here, and be put back to its handler?"""
    if threading.current_thread() is not threading.main_thread():
        return False
    if not hasattr(signal, "setitimer"):
        return False
    return signal.getsignal(signal.SIGALRM) is not None  # None: a handler that is not Python's


@dataclass
class Tally:
    """What became of the tries."""

    wanted: int
    tried: int = 0
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ran_out: bool = False

    @property
    def fitting(self) -> int:
        """How many had a length and a form that were wanted, repeats and known texts included."""
        return self.kept + sum(self.refused[reason] for reason in ("repeat", "known", "doubtful"))

    def reasons(self) -> str:
        """Return, say, `9,120 do not match --matching, 877 are in the training text (--novel)`."""
        parts = []
        for reason, number in self.refused.most_common():
            of_one, of_several = NUMBER_FORMS[reason]
            words = of_one if number == 1 else of_several
            parts.append(f"{number:,} {words}")
        return ", ".join(parts)


def tries_allowed(tries: int | None, count: int, temperature: float) -> int:
    """Return how many texts may be drawn for `count` that are kept. Raises SettingsError."""
    least = max(1, count)
    if tries is None:
        tries = max(LEAST_TRIES, TRIES_PER_TEXT * count)
    elif tries < least:
        reason = " (--count)" if count > 1 else ""
        raise SettingsError(f"--tries {tries}: must be at least {least:,}{reason}")
    if temperature == 0:  # greedy: every text is the same
        return min(tries, least)
    return tries


def accepted(
    draw: Draw,
    tally: Tally,
    tries: int,
    constraints: Constraints,
    known: Novelty | None = None,
    seen: set[bytes] | None = None,
    seek: Seek | None = None,
) -> Iterator[Sample]:
    """Yield the first tally.wanted samples that are kept, in the order of their draws.

    There are fewer after `tries`. Memory is flat, but `unique` remembers what it has let pass, in
    `seen`, which several calls may share. seek: what finds texts where few fit.
    """
    if seen is None:
        seen = set()
    while tally.kept < tally.wanted:
        # A few rows cost little less than many: draw as many at once as are likely to be needed.
        missing = tally.wanted - tally.kept
        likely = 4 * tally.tried
        if tally.kept:
            likely = missing * tally.tried // tally.kept + 1
        batch = min(max(missing, likely), tries - tally.tried)
        if batch <= 0:
            tally.ran_out = True
            return
        found: Iterator[Sample | int]
        if seek is not None and tally.tried >= PATIENCE and tally.fitting < RARE * tally.tried:
            found = seek(tally.tried)
        else:
            if seek is not None and tally.tried < PATIENCE:
                batch = min(batch, PATIENCE - tally.tried)
            found = draw(tally.tried, batch)
        is_over = True
        for sample in found:
            is_over = False
            if isinstance(sample, int):
                lost = min(sample, tries - tally.tried)
                tally.tried += lost
                tally.refused["unfilled" if constraints.matching is None else "unlike"] += lost
            else:
                tally.tried += 1
                reason = _refusal(sample, constraints, seen, known)
                if reason:
                    tally.refused[reason] += 1
                else:
                    tally.kept += 1
                    if constraints.unique:
                        seen.add(_remembered(sample.data))
                    yield sample
            if tally.kept == tally.wanted:
                return
            if tally.tried >= tries:
                break
        if is_over:  # nothing can fit any more
            tally.ran_out = True
            return


def _refusal(
    sample: Sample, constraints: Constraints, seen: set[bytes], known: Novelty | None
) -> str:
    """Return why a text is not kept, in a word; nothing if it is. What is cheap is asked first."""
    text = _shown(sample)
    if len(text) < constraints.min_length:
        return "short"
    if constraints.max_length is not None and len(text) > constraints.max_length:
        return "long"
    if not constraints.matches(text):
        return "unlike"
    if not constraints.fits(text):
        return "unfilled"
    if constraints.unique and _remembered(sample.data) in seen:
        return "repeat"
    if constraints.novel:
        is_novel = known.is_novel(sample.data) if known else None
        if is_novel is None:
            return "doubtful"
        if not is_novel:
            return "known"
    return ""


def _remembered(data: bytes) -> bytes:
    """Return a text's bytes, or in place of many their SHA-256."""
    return data if len(data) <= 32 else hashlib.sha256(data).digest()


def _shown(sample: Sample) -> str:
    return sample.text.removesuffix("\n")


def bits_per_char(sample: Sample) -> float | None:
    """Return the bits per character; None where nothing was generated."""
    return sample.nats / math.log(2) / sample.chars if sample.chars else None


def ranked(samples: Iterable[Sample]) -> list[Sample]:
    """Return the likeliest a character first, equals in the order of their draws.

    Texts without a generated character come last.
    """

    def key(sample: Sample) -> tuple[float, int]:
        bits = bits_per_char(sample)
        if bits is None:
            bits = math.inf
        return (bits, sample.index)

    return sorted(held(samples), key=key)

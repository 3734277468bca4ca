"""Which characters, or words, stand near each other, counted in a window as the lecture does.

counts[i, j] is how often j stands at most `window` places from an i, over all i. So the matrix is
symmetric, and two equal neighbours count twice, once seen from each. In "I like deep learning. I
like NLP. I enjoy flying." with window 1, (I, like) has 2.

Only the most frequent symbols are counted; the others keep their places. In lines no window
crosses a line's end. Models and runs are not known here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text.census import take_census
from charrnn.text.mode import choose_mode, settle_line_ends
from charrnn.text.reading import pieces
from charrnn.text.sources import Source, find_source
from charrnn.text.vocabulary import NEWLINE
from charrnn.text.words import word_pattern

MOST_WORDS = 2_000_000  # counted at once; the rare ones are forgotten when there are more
CHUNK = 1 << 18  # symbols counted at a time
_SIGNS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥"}


class Table(NamedTuple):
    """N symbols, how often each occurs, and their counts (N, N)."""

    symbols: list[str]
    frequencies: list[int]
    counts: np.ndarray


@dataclass(frozen=True)
class Cooccurrence:
    """The counts of a text, and how they were counted. shown: the name of the text as it is shown.

    The order of the fields is the order in `cooccur --json`.
    """

    corpus: str
    shown: str
    unit: str
    mode: str
    window: int
    symbols: list[str]
    frequencies: list[int]
    counts: list[list[int]]


def count_text(
    corpus: str | None,
    settings: TextSettings,
    *,
    words: bool = False,
    top: int = 20,
    window: int = 2,
) -> Cooccurrence:
    """Count the most frequent symbols of the text that CORPUS names. Raises CorpusError."""
    source, _ = find_source(corpus, settings)
    census = take_census(source, settings)
    settings, censuses = settle_line_ends(settings, {"train": source}, {"train": census})
    census = censuses["train"]
    mode = choose_mode(census, settings)[0]
    if words:
        table = count_words(source, settings, top, window, mode)
    else:
        table = count_characters(source, settings, census.counts, top, window, mode)
    if not table.symbols:
        raise CorpusError(f"{source.shown} has nothing to count: blank lines only")
    unit = "word" if words else "character"
    return Cooccurrence(
        corpus=source.name,
        shown=source.shown,
        unit=unit,
        mode=mode,
        window=window,
        symbols=table.symbols,
        frequencies=table.frequencies,
        counts=table.counts.tolist(),
    )


def count(ids: Iterable[np.ndarray], size: int, window: int, boundary: int = -1) -> np.ndarray:
    """Count the neighbours (size, size) of ids that come in pieces, as int64.

    An id of `size` or more is some other symbol. boundary: an id that no window may cross, such as
    that of the newline in lines; it is not counted itself.
    """
    above = np.zeros((size + 1) ** 2, np.int64)  # j after i
    tail = np.zeros(0, np.int64)
    for piece in (part[at : at + CHUNK] for part in ids for at in range(0, len(part), CHUNK)):
        new = np.concatenate([tail, piece.astype(np.int64)])
        places = np.where((new == boundary) | (new > size), size, new)
        for distance in range(1, min(window, len(new) - 1) + 1):
            # Pairs that end in the tail were counted with the piece before.
            first = max(0, len(tail) - distance)
            pairs = places[first:-distance] * (size + 1) + places[first + distance :]
            if boundary >= 0:
                # How many boundaries there are before each place.
                crossed = np.concatenate([[0], np.cumsum(new == boundary)])
                pairs = pairs[crossed[first + distance : -1] == crossed[first : -distance - 1]]
            above += np.bincount(pairs, minlength=len(above))
        tail = new[-window:]
    above = above.reshape(size + 1, size + 1)[:size, :size]
    return above + above.T


def count_characters(
    source: Source, settings: TextSettings, counts: np.ndarray, top: int, window: int, mode: str
) -> Table:
    """Count the most frequent characters. counts (MAX_CODE,): of the whole text, by its census."""
    kept = counts.copy()
    if mode == "lines":
        kept[NEWLINE] = 0
    order = np.argsort(-kept, kind="stable")[:top]
    codes = order[kept[order] > 0]
    size = len(codes)
    place = np.full(len(counts), size, np.int64)
    place[codes] = np.arange(size)
    boundary = -1
    if mode == "lines":
        boundary = place[NEWLINE] = size + 1
    matrix = count((place[piece] for piece in pieces(source, settings)), size, window, boundary)
    symbols = [chr(code) for code in codes]
    return Table(symbols, [int(counts[code]) for code in codes], matrix)


def count_words(source: Source, settings: TextSettings, top: int, window: int, mode: str) -> Table:
    """Count the most frequent words and punctuation marks. One pass finds them, and one counts.

    Of a text with over MOST_WORDS distinct words the rare ones are forgotten on the way. So a word
    that is rare for long may be missed. The counts of all others are exact.
    """
    seen: Counter[str] = Counter()
    for words in _words(source, settings):
        seen.update(words)
        least = 1
        while len(seen) > MOST_WORDS:
            least += 1
            seen = Counter({word: times for word, times in seen.items() if times >= least})
    del seen["\n"]
    ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    symbols = [word for word, _ in ranked[:top]]
    del seen, ranked
    size = len(symbols)
    place = {word: index for index, word in enumerate(symbols)}
    boundary = size + 1 if mode == "lines" else -1
    times = np.zeros(size + 1, np.int64)

    def ids() -> Iterator[np.ndarray]:
        nonlocal times
        for words in _words(source, settings):
            known = [place.get(word, size) for word in words if word != "\n" or mode == "lines"]
            array = np.array(known, np.int64)
            times += np.bincount(array, minlength=size + 1)
            if mode == "lines":
                array[[word == "\n" for word in words]] = boundary
            yield array

    matrix = count(ids(), size, window, boundary)
    return Table(symbols, times[:size].tolist(), matrix)


def label(symbol: str) -> str:
    """A symbol as a person can see it: space as ␣, newline as ⏎, others unseen as U+XXXX."""
    signs = [_sign(char) for char in symbol]
    if symbol and unicodedata.category(symbol[0])[0] == "M":  # a mark needs a letter to stand on
        signs[0] = f"U+{ord(symbol[0]):04X}"
    return "".join(signs)


def _sign(char: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    # The signs themselves stand for other characters here.
    if not char.isprintable() or char in _SIGNS.values():
        return f"U+{ord(char):04X}"
    return char


def _words(source: Source, settings: TextSettings) -> Iterator[list[str]]:
    """Words, marks and newlines, some thousands at a time.

    None is cut where a piece ends, except for one of millions of characters.
    """
    pattern = word_pattern()
    held = ""
    for codes in pieces(source, settings):
        text = held + codes.astype("<u4").tobytes().decode("utf-32-le")
        cut = max(text.rfind("\n"), text.rfind(" "))
        if cut < 0 and len(text) < 64 * CHUNK:
            held = text
            continue
        if cut < 0:
            cut = len(text)
        yield pattern.findall(text, 0, cut)
        held = text[cut:]
    yield pattern.findall(held)

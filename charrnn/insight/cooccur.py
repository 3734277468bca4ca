"""Which characters, or words, stand near each other: counts in a sliding window, as the lecture counts them.

counts[i, j]: how often j stands at most `window` places from an i, over all i. So the matrix is symmetric, and two equal
neighbours count twice, once seen from each. "I like deep learning. I like NLP. I enjoy flying.", window 1: I, like: 2.
Only the most frequent symbols are counted; the others keep their places. In lines no window crosses a line's end.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text.census import take_census
from charrnn.text.mode import choose_mode
from charrnn.text.reading import Source, find_source, pieces
from charrnn.text.vocabulary import NEWLINE

# A run of letters, digits, marks and underscores, with apostrophes inside ("don't"); every other sign stands alone.
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]|\n")
MOST_WORDS = 2_000_000  # counted at once; the seldom ones are forgotten when there are more
CHUNK = 1 << 18  # symbols counted at a time
Table = tuple[list[str], list[int], np.ndarray]  # symbols, how often each occurs, counts (N, N)
_SIGNS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥"}


def count_text(
    corpus: str | None,
    settings: TextSettings,
    *,
    words: bool = False,
    top: int = 20,
    window: int = 2,
) -> dict[str, Any]:
    """Symbols by frequency, frequencies and counts of the text that CORPUS names. Raises CorpusError."""
    source, _ = find_source(corpus, settings)
    census = take_census(source, settings)
    mode = choose_mode(census, settings)[0]
    if words:
        symbols, frequencies, counts = count_words(source, settings, top, window, mode)
    else:
        symbols, frequencies, counts = count_characters(
            source, settings, census.counts, top, window, mode
        )
    if not symbols:
        raise CorpusError(f"{source.shown} has nothing to count: blank lines only")
    return {
        "corpus": source.name,
        "shown": source.shown,
        "unit": "word" if words else "character",
        "mode": mode,
        "window": window,
        "symbols": symbols,
        "frequencies": frequencies,
        "counts": counts.tolist(),
    }


def count(ids: Iterable[np.ndarray], size: int, window: int, boundary: int = -1) -> np.ndarray:
    """(size, size) int64 of ids in pieces; an id of size or more is some other symbol.

    boundary: an id that no window may cross, such as that of the newline in lines; it is not counted itself.
    """
    above = np.zeros((size + 1) ** 2, np.int64)  # j after i
    tail = np.zeros(0, np.int64)
    for piece in (each[at : at + CHUNK] for each in ids for at in range(0, len(each), CHUNK)):
        new = np.concatenate([tail, piece.astype(np.int64)])
        places = np.where((new == boundary) | (new > size), size, new)
        for distance in range(1, min(window, len(new) - 1) + 1):
            first = max(
                0, len(tail) - distance
            )  # pairs that end in the tail were counted with the piece before
            pairs = places[first:-distance] * (size + 1) + places[first + distance :]
            if boundary >= 0:
                crossed = np.concatenate(
                    [[0], np.cumsum(new == boundary)]
                )  # boundaries before each place
                pairs = pairs[crossed[first + distance : -1] == crossed[first : -distance - 1]]
            above += np.bincount(pairs, minlength=len(above))
        tail = new[-window:]
    above = above.reshape(size + 1, size + 1)[:size, :size]
    return above + above.T


def count_characters(
    source: Source, settings: TextSettings, counts: np.ndarray, top: int, window: int, mode: str
) -> Table:
    """Of the most frequent characters. counts (MAX_CODE,): of the whole text, from its census."""
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
    return [chr(code) for code in codes], [int(counts[code]) for code in codes], matrix


def count_words(source: Source, settings: TextSettings, top: int, window: int, mode: str) -> Table:
    """Of the most frequent words and punctuation marks: a pass that finds them, and one that counts.

    Of a text with over MOST_WORDS distinct words the seldom ones are forgotten on the way, so that a word that is rare for
    long may be missed; the counts of those found are exact all the same.
    """
    seen: Counter[str] = Counter()
    for found in _words(source, settings):
        seen.update(found)
        least = 1
        while len(seen) > MOST_WORDS:
            least += 1
            seen = Counter({word: times for word, times in seen.items() if times >= least})
    del seen["\n"]
    labels = [word for word, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:top]]
    del seen
    size = len(labels)
    place = {word: index for index, word in enumerate(labels)}
    boundary = size + 1 if mode == "lines" else -1
    times = np.zeros(size + 1, np.int64)

    def ids() -> Iterator[np.ndarray]:
        nonlocal times
        for found in _words(source, settings):
            known = [place.get(word, size) for word in found if word != "\n" or mode == "lines"]
            array = np.array(known, np.int64)
            times += np.bincount(array, minlength=size + 1)
            if mode == "lines":
                array[[word == "\n" for word in found]] = boundary
            yield array

    matrix = count(ids(), size, window, boundary)
    return labels, times[:size].tolist(), matrix


def label(symbol: str) -> str:
    """A symbol as a person can see it: space as ␣, newline as ⏎, what has no picture of its own as U+XXXX."""
    shown = [
        _SIGNS.get(char) or (f"U+{ord(char):04X}" if _is_hidden(char) else char) for char in symbol
    ]
    if symbol and unicodedata.category(symbol[0])[0] == "M":  # a mark needs a letter to stand on
        shown[0] = f"U+{ord(symbol[0]):04X}"
    return "".join(shown)


def _is_hidden(char: str) -> bool:
    return not char.isprintable() or char in _SIGNS.values()  # those are signs for others here


def _words(source: Source, settings: TextSettings) -> Iterator[list[str]]:
    """Words, marks and newlines, some thousands at a time; none is cut where a piece ends (but one of millions of characters)."""
    held = ""
    for codes in pieces(source, settings):
        text = held + codes.astype("<u4").tobytes().decode("utf-32-le")
        cut = max(text.rfind("\n"), text.rfind(" "))
        if cut < 0 and len(text) < 64 * CHUNK:
            held = text
            continue
        cut = cut if cut >= 0 else len(text)
        yield WORD.findall(text, 0, cut)
        held = text[cut:]
    yield WORD.findall(held)

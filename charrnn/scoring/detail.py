"""Each character and each line by itself: its cost, and which lines are likeliest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from charrnn.scoring.score import Predictions, Scorer, Tally
from charrnn.text.corpus import line_bounds
from charrnn.text.spelling import MAX_CODE, Spelling
from charrnn.text.vocabulary import Vocabulary

SHOWN_LINES = 5  # the likeliest, and as many of the least likely


class CharacterCost(NamedTuple):
    """A predicted character. code: its code point or byte.

    rank: 1 for the model's first choice, which is `guess`. None for a model that ranks nothing.
    """

    place: int
    char: str
    code: int
    bits: float
    probability: float
    rank: int | None = None
    guess: str | None = None
    guess_code: int | None = None
    guess_probability: float | None = None


class RankedLine(NamedTuple):
    """A line and its cost. line: its number in the text, from 1."""

    line: int
    text: str
    nats: float
    chars: int
    bits_per_char: float


def characters(
    scorer: Scorer,
    ids: np.ndarray,
    protocol: str,
    vocabulary: Vocabulary,
    window: int,
    first: np.ndarray | None = None,
) -> Iterator[CharacterCost]:
    """Yield every predicted character in the order of the text, as soon as it is scored.

    first: as for Scorer.predictions.
    """
    decoded = [vocabulary.decode(np.array([i])) for i in range(len(vocabulary))]
    pieces = scorer.predictions(ids, protocol, window=window, detailed=True, first=first)
    costs = (
        cost
        for predictions in pieces
        for cost in _costs(predictions, ids, vocabulary.symbols, decoded)
    )
    if vocabulary.spelling is None:
        yield from costs
    else:
        yield from _joined(costs, ids, vocabulary, vocabulary.spelling)


def _joined(
    costs: Iterator[CharacterCost], ids: np.ndarray, vocabulary: Vocabulary, spelling: Spelling
) -> Iterator[CharacterCost]:
    """Yield one cost for each character: its bytes' together.

    A character of several bytes has no rank, and neither has one beside the guess of a byte.
    """
    numbers = np.cumsum(spelling.is_start[ids]) - 1
    parts: list[CharacterCost] = []
    for cost in costs:
        if parts and spelling.is_start[ids[cost.place]]:
            yield _whole(parts, numbers, ids, vocabulary)
            parts = []
        parts.append(cost)
    if parts:
        yield _whole(parts, numbers, ids, vocabulary)


def _whole(
    parts: list[CharacterCost], numbers: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary
) -> CharacterCost:
    """The cost of the character whose bytes have these costs."""
    first = parts[0]
    place = int(numbers[first.place])
    if len(parts) == 1 and (first.guess_code is None or first.guess_code < MAX_CODE):
        return first._replace(place=place)
    spelled = ids[first.place : first.place + len(parts)]
    bits = sum(part.bits for part in parts)
    probability = math.prod(part.probability for part in parts)
    code = int(vocabulary.codes_of(spelled)[0])
    return CharacterCost(place, vocabulary.decode(spelled), code, bits, probability)


def _costs(
    predictions: Predictions, ids: np.ndarray, symbols: tuple[int, ...], decoded: list[str]
) -> Iterator[CharacterCost]:
    places = predictions.places.tolist()
    ranks = predictions.ranks
    guesses = predictions.guesses
    guess_nats = predictions.guess_nats
    for k, (place, nats) in enumerate(zip(places, predictions.nats.tolist(), strict=True)):
        char = ids[place]
        cost = CharacterCost(
            place, decoded[char], symbols[char], nats / math.log(2), math.exp(-nats)
        )
        if ranks is not None and guesses is not None and guess_nats is not None:
            cost = cost._replace(
                rank=int(ranks[k]),
                guess=decoded[guesses[k]],
                guess_code=symbols[guesses[k]],
                guess_probability=math.exp(-guess_nats[k]),
            )
        yield cost


def ranked(
    ids: np.ndarray, tally: Tally, newline: int, vocabulary: Vocabulary, order: np.ndarray
) -> Iterator[RankedLine]:
    """Yield the lines with these numbers, which count from 0, in this order. tally: by line."""
    starts, lengths = line_bounds(ids, newline)
    for number in order:
        score = tally.score(slice(number, number + 1))
        start = starts[number]
        text = vocabulary.decode(ids[start : start + lengths[number]])
        yield RankedLine(int(number) + 1, text, score.nats, score.chars, score.bits_per_char)


def likeliest_first(tally: Tally) -> np.ndarray:
    """The numbers of the lines that have characters, the fewest nats per character first.

    Equals stand in the order of the text.
    """
    counted = np.flatnonzero(tally.chars)
    nats_per_char = tally.nats[counted] / tally.chars[counted]
    return counted[np.argsort(nats_per_char, kind="stable")]


def outliers(
    ids: np.ndarray, tally: Tally, newline: int, vocabulary: Vocabulary
) -> tuple[list[RankedLine], list[RankedLine]]:
    """The few likeliest lines, and the few least likely.

    All lines of a short text are among the likeliest.
    """
    order = likeliest_first(tally)
    if len(order) <= 2 * SHOWN_LINES:
        return list(ranked(ids, tally, newline, vocabulary, order)), []
    likeliest = ranked(ids, tally, newline, vocabulary, order[:SHOWN_LINES])
    least_likely = ranked(ids, tally, newline, vocabulary, order[-SHOWN_LINES:])
    return list(likeliest), list(least_likely)

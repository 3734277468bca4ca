"""Each character and each line by itself: what it cost, and which came likeliest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.scoring.score import Scorer, Tally
from charrnn.text.corpus import line_bounds
from charrnn.text.vocabulary import Vocabulary

SHOWN_LINES = 5  # the likeliest, and as many of the least likely


def characters(
    scorer: Scorer, ids: np.ndarray, protocol: str, vocabulary: Vocabulary, window: int
) -> Iterator[dict[str, Any]]:
    """Every predicted character in the order of the text, as it comes.

    code: code point or byte. rank 1: the model's first choice, which is `guess`; None of a model that ranks nothing.
    """
    symbols, shown = (
        vocabulary.symbols,
        [vocabulary.decode(np.array([i])) for i in range(len(vocabulary))],
    )
    for found in scorer.predictions(ids, protocol, window=window, detailed=True):
        for k, (place, nats) in enumerate(
            zip(found.places.tolist(), found.nats.tolist(), strict=True)
        ):
            one = {
                "place": place,
                "char": shown[ids[place]],
                "code": symbols[ids[place]],
                "bits": nats / math.log(2),
                "probability": math.exp(-nats),
                "rank": None,
                "guess": None,
                "guess_code": None,
                "guess_probability": None,
            }
            if (
                found.ranks is not None
                and found.guesses is not None
                and found.guess_nats is not None
            ):
                one |= {
                    "rank": int(found.ranks[k]),
                    "guess": shown[found.guesses[k]],
                    "guess_code": symbols[found.guesses[k]],
                    "guess_probability": math.exp(-found.guess_nats[k]),
                }
            yield one


def ranked(
    ids: np.ndarray, tally: Tally, newline: int, vocabulary: Vocabulary, order: np.ndarray
) -> Iterator[dict[str, Any]]:
    """The lines with these numbers, in this order. tally: by line."""
    starts, lengths = line_bounds(ids, newline)
    for place in order:
        score = tally.score(slice(place, place + 1))
        yield {
            "line": int(place) + 1,
            "text": vocabulary.decode(ids[starts[place] : starts[place] + lengths[place]]),
            "nats": score.nats,
            "chars": score.chars,
            "bits_per_char": score.bits_per_char,
        }


def likeliest_first(tally: Tally) -> np.ndarray:
    """Numbers of the lines that have characters, by nats per character; equals in the order of the text."""
    counted = np.flatnonzero(tally.chars)
    return counted[np.argsort(tally.nats[counted] / tally.chars[counted], kind="stable")]


def outliers(
    ids: np.ndarray, tally: Tally, newline: int, vocabulary: Vocabulary
) -> dict[str, list[dict[str, Any]]]:
    """The few likeliest lines and the few least likely; all of them as likeliest where there are no more."""
    order = likeliest_first(tally)
    few = len(order) <= 2 * SHOWN_LINES
    ends = {
        "likeliest": order if few else order[:SHOWN_LINES],
        "least_likely": order[:0] if few else order[-SHOWN_LINES:],
    }
    return {
        name: list(ranked(ids, tally, newline, vocabulary, places)) for name, places in ends.items()
    }

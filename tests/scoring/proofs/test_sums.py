"""Scores are probabilities: at a place, those of all characters add up to 1.

All is printed by `charrnn eval --per-char --json`, of texts in which every character of the
alphabet follows every past. Letters: V characters of an alphabet, W of a block.
"""

import numpy as np
import pytest
from proofs_support import (
    RESET,
    TEXTS,
    alphabet_of,
    contexts_of,
    folded,
    probabilities,
    rows_of,
    write_counts,
    write_mixture,
    write_network,
)
from support import needs_kernel

from charrnn.modelfile import read_model
from charrnn.sampling.engine import Sampler

CELLS = ("rnn", "lstm", "gru", "gru-before")
PAST = 8  # characters of a stream before a place
CACHE = 16
MOST_OFF = 1e-6
ROUNDING = 1e-7
PLACES = 3400
MOST_READ = 5  # places that are read one by one
SEGMENT = 64  # characters between two steps of dynamic evaluation


def laid_out(pasts, alphabet, gap):
    """Return a text in which each character follows each past, and the places of those (P, V).

    gap: what stands before each past.
    """
    blocks = [gap + past + bytes([code]) for past in pasts for code in alphabet]
    places = np.cumsum([len(block) for block in blocks]) - 1
    return b"".join(blocks), places.reshape(len(pasts), len(alphabet))


def as_lines(pasts, alphabet):
    """Return lines in which each character follows each beginning, and the places of those."""
    newline = ord("\n")
    blocks, ends, at = [], [], 0
    for past in pasts:
        for code in alphabet:
            block = past + bytes([code]) + (b"" if code == newline else b"\n")
            ends.append(at + len(past))
            at += len(block)
            blocks.append(block)
    return b"".join(blocks), np.reshape(ends, (len(pasts), len(alphabet)))


def in_segments(pasts, alphabet):
    """Return what laid_out returns, in a segment of dynamic evaluation for each past."""
    segments, places = [], []
    for number, past in enumerate(pasts):
        segment, ends = laid_out([past], alphabet, RESET)
        assert len(segment) <= SEGMENT
        segments.append(segment.ljust(SEGMENT, RESET))
        places.append(SEGMENT * number + ends[0])
    return b"".join(segments), np.array(places)


def check(model, text, places, **options):
    sums = probabilities(rows_of(model, text, **options), places.ravel()).reshape(places.shape)
    assert abs(sums.sum(1) - 1).max() < MOST_OFF


def proven(model, pasts, alphabet, reading):
    """Check the sums of a network at the end of these pasts, read in this way."""
    if reading == "lines":
        check(model, *as_lines(pasts, alphabet))
    elif reading == "windowed":  # a window is a block, and begins in the empty state
        text, places = laid_out(pasts, alphabet, b"")
        check(model, text, places, protocol="windowed", window=PAST + 1)
    elif reading == "cache":  # whose beliefs remember all that was read
        text = b"".join(pasts)
        places = [PAST * number // 2 + 1 for number in range(1, 1 + min(MOST_READ, len(pasts)))]
        check_one_by_one(model, text, alphabet, places, cache=CACHE)
    else:
        check(model, *laid_out(pasts, alphabet, RESET))


def check_one_by_one(model, text, alphabet, places, **options):
    """Check the sums of what remembers all that it has read: one reading a character."""
    for place in places:
        begin = max(0, place - 150)
        total = 0.0
        for code in alphabet:
            *_, last = rows_of(model, text[begin:place] + bytes([code]), **options)
            total += last["probability"]
        assert abs(total - 1) < MOST_OFF


@pytest.mark.parametrize("reading", ["lines", "stateful", "windowed", "cache"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_networks_probabilities_add_up_to_1(cell, reading, engine, tmp_path):
    text = folded(TEXTS["lines" if reading == "lines" else "stream"](), 5)
    alphabet = alphabet_of(text)
    mode = "lines" if reading == "lines" else "stream"
    model = write_network(tmp_path, alphabet, mode, cell=cell)
    proven(model, contexts_of(text, 7, PAST, mode), alphabet, reading)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_counted_probabilities_add_up_to_1(mode, tmp_path):
    text = folded(TEXTS["lines" if mode == "lines" else "stream"](), 5)
    alphabet = alphabet_of(text)
    model = write_counts(tmp_path, alphabet, mode, text)
    proven(model, contexts_of(text, 31, PAST, mode), alphabet, "lines" if mode == "lines" else "")


@pytest.mark.parametrize("reading", ["lines", "stateful", "windowed", "cache"])
def test_a_mixtures_probabilities_add_up_to_1(reading, engine, tmp_path):
    text = folded(TEXTS["lines" if reading == "lines" else "stream"](), 5)
    alphabet = alphabet_of(text)
    mode = "lines" if reading == "lines" else "stream"
    model = write_mixture(tmp_path, alphabet, mode, text)
    proven(model, contexts_of(text, 7, PAST, mode), alphabet, reading)


def test_what_a_learning_network_says_adds_up_to_1(engine, tmp_path):
    text = folded(TEXTS["stream"](), 2)
    alphabet = alphabet_of(text)
    model = write_network(tmp_path, alphabet, "stream", cell="gru")
    check_one_by_one(model, text, alphabet, [1, 64, 65, 149], dynamic=True)


@pytest.mark.parametrize("cache", [0, CACHE])
@pytest.mark.parametrize("engine", ["numpy", pytest.param("compiled", marks=needs_kernel)])
def test_what_a_sampler_scores_adds_up_to_1(engine, cache, tmp_path):
    text = folded(TEXTS["stream"](), 5)
    alphabet = alphabet_of(text)
    model = write_network(tmp_path, alphabet, "stream")
    sampler = Sampler(read_model(model), engine=engine, weights="float32", cache=cache)
    for place in (1, 2, 31, 300):
        past = text[:place]
        before = sampler.score(past)[0]
        costs = np.array([sampler.score(past + bytes([code]))[0] for code in alphabet]) - before
        # The difference of two totals: each character before the place rounds too.
        assert abs(np.exp(-costs).sum() - 1) < MOST_OFF + ROUNDING * place


# The whole proof: PLACES of each of three texts


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("reading", ["lines", "stateful", "windowed"])
def test_a_networks_probabilities_add_up_to_1_at_thousands_of_places(
    name, reading, engine, tmp_path
):
    text = folded(TEXTS[name](), 12)
    alphabet = alphabet_of(text)
    mode = "lines" if reading == "lines" else "stream"
    model = write_network(tmp_path, alphabet, mode)
    pasts = contexts_of(text, PLACES, PAST, mode)
    assert len(pasts) == PLACES
    proven(model, pasts, alphabet, reading)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("reading", ["lines", "stateful", "windowed"])
def test_a_mixtures_probabilities_add_up_to_1_at_thousands_of_places(name, reading, tmp_path):
    text = folded(TEXTS[name](), 12)
    alphabet = alphabet_of(text)
    mode = "lines" if reading == "lines" else "stream"
    model = write_mixture(tmp_path, alphabet, mode, text)
    proven(model, contexts_of(text, PLACES, PAST, mode), alphabet, reading)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_counted_probabilities_add_up_to_1_at_thousands_of_places(name, mode, tmp_path):
    text = folded(TEXTS[name](), 40)
    alphabet = alphabet_of(text)
    model = write_counts(tmp_path, alphabet, mode, text)
    pasts = contexts_of(text, PLACES, PAST, mode)
    assert len(pasts) == PLACES
    proven(model, pasts, alphabet, "lines" if mode == "lines" else "")


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_what_a_learning_network_says_adds_up_to_1_at_thousands_of_places(name, engine, tmp_path):
    # The weights stay for SEGMENT characters: room for every character after one past.
    text = folded(TEXTS[name](), 7)
    alphabet = alphabet_of(text)
    model = write_network(tmp_path, alphabet, "stream", skip="none", layers=1)
    step = len(text) // PLACES
    pasts = [text[start : start + 5] for start in range(0, step * PLACES, step)]
    check(model, *in_segments(pasts, alphabet), dynamic=True)

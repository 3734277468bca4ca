"""Counting beside a network whose rare characters are bytes: sums, causality, one definition."""

import dataclasses

import numpy as np
import pytest
from kernel_support import random_model

from charrnn.config import ModelSettings
from charrnn.model.charmodel import CharModel
from charrnn.scoring import cached, dynamic, network
from charrnn.scoring.counting import CountingScorer
from charrnn.scoring.score import tallied
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES, Ally
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.mixing import Counting

ALPHABET = Vocabulary.with_bytes([0xE9])
SPELLING = ALPHABET.spelling
NEWLINE = ALPHABET.newline
TEXT = "ab é\n界Ωx\nñé😀b 乀\n" * 4
WAYS = ["lines", "stateful", "windowed", "cache", "dynamic"]


def ids_of(text):
    return ALPHABET.encode(text)


def model_of(way, is_mixed=True):
    mode = "lines" if way == "lines" else "stream"
    model = random_model(hidden=7, vocabulary=len(ALPHABET), mode=mode)
    ngram = count(ids_of(TEXT), len(ALPHABET), 3, NEWLINE if mode == "lines" else None)
    ngram.spelling = SPELLING
    ally = Ally(Contexts(ngram), np.random.default_rng(1).normal(size=FEATURES))
    return dataclasses.replace(model, vocabulary=ALPHABET, ally=ally if is_mixed else None)


def scorer_of(way, model):
    if way == "cache":
        return cached.load_scorer(model, "cpu", 9)
    if way == "dynamic":
        return dynamic.load_scorer(model, "cpu", None)
    return network.load_scorer(model, "cpu")


def nats(way, scorer, ids, detailed=False):
    """The nats of each id by its place; 0 where none is predicted."""
    protocol = way if way in ("lines", "windowed") else "stateful"
    found = np.zeros(len(ids))
    for part in scorer.predictions(ids, protocol, window=7, detailed=detailed):
        found[part.places] = part.nats
    return found


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_probabilities_of_what_may_follow_sum_to_one(way, is_mixed):
    ids = ids_of(TEXT[:12])
    leads = np.flatnonzero(ids >= SPELLING.first + 64)
    scorer = scorer_of(way, model_of(way, is_mixed))
    places = [leads[1] + 1, leads[0] + 2]  # inside characters
    if way == "stateful":
        places.append(leads[1])
    for place in places:
        allowed = np.flatnonzero(SPELLING.allowed(SPELLING.states(ids)[place : place + 1])[0])
        total = 0.0
        for following in allowed:
            other = np.append(ids[:place], following)
            if way == "lines" and following != NEWLINE:
                other = np.append(other, NEWLINE)
            total += np.exp(-nats(way, scorer, other)[place])
        assert total == pytest.approx(1, abs=2e-6)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", WAYS)
def test_details_are_of_the_mixture(way):
    scorer = scorer_of(way, model_of(way))
    ids = ids_of(TEXT)
    quick = nats(way, scorer, ids)
    assert nats(way, scorer, ids, detailed=True) == pytest.approx(quick, abs=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_a_mixture_counts_characters():
    model = model_of("stateful")
    tally = tallied(scorer_of("stateful", model), ids_of(TEXT), "stateful", None)
    assert tally.score().chars == len(TEXT) - 1
    assert 0 < tally.mean_share < 1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_gate_is_fitted_where_rare_characters_are_bytes(mode):
    texts = {"train": ids_of(TEXT * 20), "val": ids_of(TEXT * 40)}  # several blocks
    corpus = type("Corpus", (), {"mode": mode, "vocabulary": ALPHABET})
    corpus.split = staticmethod(texts.get)
    corpus.first_ids = staticmethod(lambda name: None)
    settings = ModelSettings(cell="gru", hidden_size=5, num_layers=1, embedding_size=3)
    untrained = CharModel(settings, len(ALPHABET))
    counting = Counting(corpus, None, "auto")
    reading = counting.evaluate(untrained, "cpu")
    chars = len(TEXT * 40) - (mode == "stream")
    assert reading.val.chars == reading.network.chars == chars
    assert reading.val.nats < 0.2 * reading.network.nats

    # What the gate reached is close to counting, which is right nearly always here.
    ngram = counting._counted.ally.contexts.ngram
    protocol = "lines" if mode == "lines" else "stateful"
    alone = tallied(CountingScorer(ngram), texts["val"], protocol, ngram.boundary).score()
    assert reading.val.nats < 1.5 * alone.nats + 1

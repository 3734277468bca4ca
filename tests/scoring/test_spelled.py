"""Scores where rare characters are bytes: over characters, and summing to one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import needs_kernel

from charrnn.config import ModelSettings
from charrnn.model.charmodel import CharModel
from charrnn.scoring.counting import CountingScorer
from charrnn.scoring.detail import characters
from charrnn.scoring.network import NetworkScorer
from charrnn.scoring.score import tallied
from charrnn.scoring.validation import validation
from charrnn.text.counting import count
from charrnn.text.vocabulary import Vocabulary

CPU = torch.device("cpu")
ALPHABET = Vocabulary.with_bytes([0xE9])
TEXT = "Ωab é\n界ñ\n\nc😀é\nabΩ\n" * 5
NEWLINE = ALPHABET.newline


@pytest.fixture
def model(one_thread):
    torch.manual_seed(0)
    settings = ModelSettings(cell="gru", hidden_size=5, num_layers=1, embedding_size=3)
    return CharModel(settings, len(ALPHABET)).eval()


def naive(model, ids, state=None):
    """Nats of each of ids but the first: masked by what the bytes before it allow, one by one."""
    state = model.zero_state(1)
    spelling = ALPHABET.spelling
    before = np.zeros(1, np.int32)
    nats = []
    with torch.no_grad():
        for now, following in zip(ids, ids[1:], strict=False):
            logits, state = model(torch.tensor([[int(now)]]), state)
            before = spelling.advance(before, np.array([now]))
            allowed = torch.from_numpy(spelling.allowed(before)[0])
            scores = F.log_softmax(logits[0, 0].double()[allowed], 0)
            nats.append(-float(scores[int(allowed[:following].sum())]))
    return nats


def test_a_stream_is_scored_over_whole_characters_but_the_first(model):
    ids = ALPHABET.encode(TEXT)
    score = tallied(
        NetworkScorer(model, CPU, None, spelling=ALPHABET.spelling), ids, "stateful", None
    ).score()
    assert score.chars == len(TEXT) - 1
    assert score.nats == pytest.approx(sum(naive(model, ids)[1:]), rel=1e-5)  # Omega has two bytes


@pytest.mark.parametrize("protocol", ["windowed", "lines"])
def test_every_character_is_counted_once(protocol, model):
    ids = ALPHABET.encode(TEXT)
    newline = NEWLINE if protocol == "lines" else None
    scorer = NetworkScorer(model, CPU, NEWLINE, spelling=ALPHABET.spelling)
    tally = tallied(scorer, ids, protocol, newline, 7)
    blank = TEXT.count("\n\n") if protocol == "lines" else 1  # or the first
    assert tally.score().chars == len(TEXT) - blank
    assert np.isfinite(tally.score().nats)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_validation_in_training_is_the_score(mode, model):
    ids = ALPHABET.encode(TEXT)
    about = {"mode": mode, "vocabulary": ALPHABET}
    about |= {"split": lambda *_: ids, "first_ids": lambda *_: None}
    corpus = type("Corpus", (), about)()
    newline = NEWLINE if mode == "lines" else None
    protocol = "lines" if mode == "lines" else "stateful"
    scorer = NetworkScorer(model, CPU, NEWLINE, spelling=ALPHABET.spelling)
    score = tallied(scorer, ids, protocol, newline).score()
    found = validation(model, corpus, "val", CPU)
    if mode == "stream":  # the rest of the first character, which training does not look for
        score = type(score)(score.nats + naive(model, ids)[0], score.chars)
    assert found.chars == score.chars
    assert found.nats == pytest.approx(score.nats, rel=1e-5)


@pytest.mark.parametrize("backend", ["func", pytest.param("kernel", marks=needs_kernel)])
def test_validation_of_a_text_without_rare_characters_is_a_score(backend, one_thread):
    settings = ModelSettings(cell="gru", hidden_size=5, num_layers=1, embedding_size=3)
    model = CharModel(settings, len(ALPHABET), backend).eval()
    ids = ALPHABET.encode("abé" * 9)
    corpus = type("Corpus", (), {"mode": "stream", "vocabulary": ALPHABET, "split": lambda *_: ids})
    score = validation(model, corpus(), "val", CPU)
    assert score.chars == 26
    assert score.nats == pytest.approx(sum(naive(model, ids)), rel=1e-5)


def test_validation_of_lines_without_rare_characters_is_a_score(model):
    ids = ALPHABET.encode("abé\nbaa\n")
    about = {"mode": "lines", "vocabulary": ALPHABET}
    about |= {"split": lambda *_: ids, "first_ids": lambda *_: None}
    score = validation(model, type("Corpus", (), about)(), "val", CPU)
    scorer = NetworkScorer(model, CPU, NEWLINE, spelling=ALPHABET.spelling)
    expected = tallied(scorer, ids, "lines", NEWLINE).score()
    assert score.chars == expected.chars == 8
    assert score.nats == pytest.approx(expected.nats, rel=1e-5)


@pytest.mark.parametrize("protocol", ["stateful", "windowed", "lines"])
def test_counting_in_detail_is_counting(protocol):
    ids = ALPHABET.encode(TEXT)
    newline = NEWLINE if protocol == "lines" else None
    ngram = count(ids, len(ALPHABET), 3, newline)
    ngram.spelling = ALPHABET.spelling
    quick, detailed = (
        list(CountingScorer(ngram).predictions(ids, protocol, window=7, detailed=detailed))
        for detailed in (False, True)
    )
    for name in ("places", "nats", "numbers", "is_first"):
        one, other = (
            np.concatenate([getattr(p, name) for p in part]) for part in (quick, detailed)
        )
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_one_row_for_each_character_with_all_its_bytes(model):
    ids = ALPHABET.encode(TEXT)
    scorer = NetworkScorer(model, CPU, None, spelling=ALPHABET.spelling)
    rows = list(characters(scorer, ids, "stateful", ALPHABET, 7))
    assert "".join(row.char for row in rows) == TEXT[1:]
    assert [(row.place, row.code) for row in rows] == list(enumerate(map(ord, TEXT)))[1:]
    nats = tallied(scorer, ids, "stateful", None).score().nats
    assert sum(row.bits for row in rows) * np.log(2) == pytest.approx(nats)

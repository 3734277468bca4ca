"""The memory lab: each loss against a naive loop over the textbook's equations; recall."""

import math

import numpy as np
import pytest
import torch

from charrnn.cli.lab import memory as command
from charrnn.config import ModelSettings
from charrnn.errors import CorpusError
from charrnn.lab import context, memory
from charrnn.lab.context import (
    Context,
    Means,
    context_of,
    lengths_for,
    place_nats,
    places_of,
    reset_score,
)
from charrnn.lab.models import fresh
from charrnn.layout import PARAMETERS
from charrnn.model import equations

V, NEWLINE = 7, 6
LINES = np.array([0, 1, 2, 6, 6, 3, 6, 4, 5, 0, 1, 2, 3, 6, 1, 1, 6])  # lines of 3, 0, 1, 6 and 2
STREAM = np.random.default_rng(5).integers(0, V, 41)

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(cell="lstm"):
    sized = ModelSettings(cell=cell, hidden_size=5, num_layers=2, embedding_size=4)
    model = fresh(sized, V, 3)
    with torch.no_grad():
        model.head.weight.mul_(6)  # so that a little context makes a difference
    return model


def naive_nats(model, read, wanted):
    """Return -ln P(wanted) after the ids of `read`, one at a time from zero, in float64."""
    tensors = {name: value.double() for name, value in model.tensors().items()}
    state = [
        [torch.zeros(1, 5, dtype=torch.float64)] * (1 + (model.settings.cell == "lstm"))
        for _ in range(2)
    ]
    for each in read:
        x = tensors["embedding.weight"][int(each)][None]
        for k in range(2):
            weights = {name: tensors[f"recurrent.{name}_l{k}"] for name in PARAMETERS}
            outputs, after = equations.run_layer(
                model.settings.cell, x[None], tuple(state[k]), weights
            )
            x, state[k] = outputs[0], list(after)
    logits = x @ tensors["head.weight"].T + tensors["head.bias"]
    return float(-torch.log_softmax(logits, 1)[0, int(wanted)])


def lines_of(ids):
    """Each line that is not blank: the newline before it, itself and its own newline."""
    text = "".join(map(str, ids)).split(str(NEWLINE))
    return [[NEWLINE, *map(int, line), NEWLINE] for line in text if line]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
@pytest.mark.parametrize("k", [1, 3, 16, 64])
def test_a_stream_reset_every_k_characters_is_a_naive_loop(cell, k):
    model = model_of(cell)
    nats = []
    for place in range(1, len(STREAM)):
        since = (place - 1) // k * k
        nats.append(naive_nats(model, STREAM[since:place], STREAM[place]))
    score = reset_score(model, STREAM, k, None)
    assert score.chars == len(STREAM) - 1
    assert score.nats_per_char == pytest.approx(np.mean(nats), abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_lines_reset_every_k_characters_are_a_naive_loop(k):
    model = model_of()
    nats = []
    for line in lines_of(LINES):
        nats += [
            naive_nats(model, line[(p - 1) // k * k : p], line[p]) for p in range(1, len(line))
        ]
    score = reset_score(model, LINES, k, NEWLINE)
    assert score.chars == len(nats) == 16
    assert score.nats_per_char == pytest.approx(np.mean(nats), abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_only_the_last_k_are_read(k):
    model = model_of("gru")
    (texts,) = places_of(STREAM, None, 8, 6, seed=1)
    expected = [naive_nats(model, text[:-1][-k:], text[-1]) for text in texts]
    assert place_nats(model, [texts], k, False) == pytest.approx(expected, abs=1e-6)


def test_places_of_a_stream_are_pieces_of_it_and_differ():
    (texts,) = places_of(STREAM, None, 8, 1000, seed=1)
    assert texts.tolist() == [STREAM[end - 8 : end + 1].tolist() for end in range(8, len(STREAM))]


def test_places_of_lines_are_every_beginning_of_each():
    texts = sorted(
        text for group in places_of(LINES, NEWLINE, 8, 1000, seed=1) for text in group.tolist()
    )
    assert texts == sorted(
        line[:end] for line in lines_of(LINES) for end in range(2, len(line) + 1)
    )


@pytest.mark.parametrize("keeps_first", [False, True])
def test_shuffling_moves_only_what_lies_farther_back(monkeypatch, keeps_first):
    """The model is given the same characters, the last k (and a line's newline) in place."""
    seen = []
    model = model_of()
    original = model.advance
    monkeypatch.setattr(
        model, "advance", lambda ids, state: seen.append(ids.clone()) or original(ids, state)
    )
    (texts,) = places_of(STREAM, None, 16, 5, seed=1)
    nats = place_nats(model, [texts], 4, keeps_first, shuffle=3)
    given = seen[0].numpy()
    before = texts[:, :-1]
    assert given.shape == (5, 15)  # the last character is read by itself
    assert (given[:, -3:] == before[:, -4:-1]).all()
    assert (np.sort(given[:, :12], 1) == np.sort(before[:, :12], 1)).all()
    assert (given[:, :12] != before[:, :12]).any(1).all()
    assert (given[:, 0] == before[:, 0]).all() == keeps_first
    assert nats == pytest.approx(place_nats(model, [texts], 4, keeps_first, shuffle=3), abs=0)
    place_nats(model, [np.tile(texts[0], (5, 1))], 4, keeps_first, shuffle=3)
    assert len(np.unique(seen[-1], axis=0)) == 5  # each in an order of its own


def test_with_all_the_context_shuffled_only_and_whole_are_one():
    figures = context_of(model_of(), np.random.default_rng(0).integers(0, V, 300), None, seed=1)
    assert figures.lengths == (1, 2, 4, 8, 16, 32)
    assert figures.only.nats[-1] == figures.shuffled.nats[-1]
    assert figures.only.errors[-1] == figures.shuffled.errors[-1] == 0
    assert (figures.chars, figures.places) == (299, 256)


def test_the_standard_error_is_that_of_paired_differences():
    nats = np.array([[1.0, 2.0, 6.0], [0.0, 1.0, 2.0]])
    means = context._means(nats, nats[1])
    assert means.nats == (3.0, 1.0)
    assert means.errors[0] == pytest.approx(
        math.sqrt(((1 - 2) ** 2 + (1 - 2) ** 2 + (4 - 2) ** 2) / 3) / math.sqrt(3)
    )


def test_usable_context_has_95_percent_of_the_gain():
    nothing = Means((), ())
    figures = Context((1, 2, 4, 8), (), Means((4.0, 3.0, 2.04, 2.0), ()), nothing, 0, 0)
    assert figures.usable == 4
    assert Context((1, 2, 4, 8), (), Means((4.0, 3.0, 2.2, 2.0), ()), nothing, 0, 0).usable == 8


def test_the_sentence_says_how_far_order_matters_or_that_nothing_is_gained():
    """Two standard errors count; all the context itself does not."""
    only = Means((4.0, 3.0, 2.0), (0.1, 0.1, 0.0))
    figures = Context((1, 2, 4), (), only, Means((4.0, 2.3, 2.0), (0.5, 0.1, 0.0)), 0, 0)
    assert "farther back than 2 shuffled" in memory.about("lstm", figures)
    unclear = Context((1, 2, 4), (), only, Means((2.9, 2.1, 2.0), (0.5, 0.1, 0.0)), 0, 0)
    assert "makes no difference" in memory.about("lstm", unclear)
    assert "gains nothing" in memory.about(
        "rnn", Context((1, 2), (), Means((2.0, 2.0), ()), Means((), ()), 0, 0)
    )


def test_lengths_go_as_far_as_the_text():
    assert lengths_for(np.zeros(17, int), None) == (1, 2)
    assert lengths_for(np.zeros(100_000, int), None)[-1] == 1024
    assert lengths_for(LINES, NEWLINE) == (
        1,
        2,
        4,
        8,
    )  # the longest line has a newline before and 6 characters
    with pytest.raises(CorpusError, match="has 16 characters"):
        lengths_for(np.zeros(16, int), None)


def test_a_recall_batch_asks_for_its_first_symbol_after_the_cue():
    batch = memory.recall_batch(np.random.default_rng(1), 4, 3)
    assert batch.inputs.shape == (4, 4)
    assert (batch.targets[:, :3] == -100).all()
    assert (batch.targets[:, 3] == batch.inputs[:, 0]).all()
    assert (batch.inputs[:, 3] == 16).all()
    assert ((batch.inputs[:, 1:3] >= 8) & (batch.inputs[:, 1:3] < 16)).all()


@pytest.mark.medium
def test_what_cells_recall_is_as_theory_says():
    """tanh's gradient is gone after 10 characters, half a forget gate's after 20."""
    far = {
        name: memory.recall(ModelSettings(**memory.CELLS[name]), 20, seed=1)
        for name in memory.CELLS
    }
    near = {
        name: memory.recall(ModelSettings(**memory.CELLS[name]), 2, seed=1) for name in memory.CELLS
    }
    assert min(near.values()) > 0.95
    guessing = 1 / memory.SYMBOLS
    assert max(far["rnn"], far["lstm, bias 0"]) < 2 * guessing
    assert min(far["gru"], far["lstm, bias 3"]) > 0.7


def test_reach_is_the_longest_delay_that_is_recalled():
    assert memory.reach([1.0, 0.95, 0.3, 0.1, 0.1, 0.1]) == 5
    assert memory.reach([0.2] * 6) == 0


def test_a_run_is_measured_on_its_own_held_out_text(trained, capfd):
    command(trained, seed=1, quiet=True)
    shown = capfd.readouterr().out
    assert "Loss against usable context" in shown
    assert "characters of context  state reset" in shown


def test_the_same_seed_gives_the_same_figures(trained):
    first, again, other = (memory.memory(trained, seed, lambda text: None) for seed in (1, 1, 2))
    assert first == again
    assert first.rows != other.rows or first.settings["places"] < 256

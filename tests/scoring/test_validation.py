"""Scores: every character once, weighed by characters, whatever the batching."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charrnn.config import ModelSettings
from charrnn.model.charmodel import CharModel, summed_nats
from charrnn.scoring.network import NetworkScorer
from charrnn.scoring.score import Score, Tally, tallied
from charrnn.scoring.validation import (
    LANES,
    lane_batches,
    score_batches,
    validation,
    window_batches,
)
from charrnn.text.batches import IGNORED, LineBatches

CPU = torch.device("cpu")


@pytest.fixture
def model(one_thread):
    torch.manual_seed(0)
    return CharModel(
        ModelSettings(cell="gru", hidden_size=5, num_layers=2, embedding_size=3, dropout=0.5), 7
    ).eval()


def scored(model, ids, protocol, window=10):
    """The score of a stream, or of lines that end in 0."""
    newline = 0 if protocol == "lines" else None
    return tallied(
        NetworkScorer(model, CPU, newline), np.asarray(ids), protocol, newline, window
    ).score()


def naive(model, ids, state=None):
    """Nats of ids one character at a time: each but the first, predicted from all before it."""
    state, nats = model.zero_state(1), 0.0
    with torch.no_grad():
        for now, following in zip(ids, ids[1:], strict=False):
            logits, state = model(torch.tensor([[int(now)]]), state)
            nats -= float(F.log_softmax(logits[0, 0].double(), 0)[int(following)])
    return nats


def test_bits_per_char_weighs_characters_not_batches():
    assert (Score(nats=2.0, chars=1) + Score(nats=1.0, chars=9)).nats_per_char == pytest.approx(0.3)


def test_bits_are_nats_over_ln_2_and_perplexity_their_exponential():
    score = Score(nats=10 * math.log(8), chars=10)
    assert score.bits_per_char == pytest.approx(3)
    assert score.perplexity == pytest.approx(8)


def test_perplexity_of_a_hopeless_score_does_not_overflow():
    assert math.isfinite(Score(nats=1e9, chars=1).perplexity)


def test_a_uniform_model_scores_log2_of_the_vocabulary(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert scored(model, np.arange(50) % 7, "stateful").bits_per_char == pytest.approx(math.log2(7))


def test_stateful_equals_one_character_at_a_time(model):
    ids = np.random.default_rng(0).integers(0, 7, 1200)
    score = scored(model, ids, "stateful")
    assert score.chars == 1199
    assert score.nats == pytest.approx(naive(model, ids), rel=1e-6)


def test_windowed_equals_a_plain_loop_over_windows(model):
    ids = np.random.default_rng(1).integers(0, 7, 103)
    score = scored(model, ids, "windowed")
    expected = sum(naive(model, ids[start : start + 11]) for start in range(0, 102, 10))
    assert score.chars == 102
    assert score.nats == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [2, 3, 1023, 1025, 4099])
@pytest.mark.parametrize("lanes", [1, 3, 32])
def test_lanes_predict_every_character_but_the_first_once(count, lanes):
    ids = np.arange(count)
    targets = np.concatenate([batch.targets.numpy().ravel() for batch in lane_batches(ids, lanes)])
    assert sorted(targets) == list(range(1, count))


@pytest.mark.parametrize(("count", "window"), [(2, 5), (6, 5), (7, 5), (100, 9), (100, 200)])
def test_windows_predict_every_character_but_the_first_once(count, window):
    targets = np.concatenate(
        [
            batch.targets.numpy().ravel()
            for batch in window_batches(np.arange(count), window, most=3 * window)
        ]
    )
    assert sorted(targets) == list(range(1, count))


def test_lines_are_scored_each_from_the_zero_state_with_their_newline(model):
    ids = np.array([1, 2, 0, 3, 0, 4, 5, 6, 0])
    score = scored(model, ids, "lines")
    expected = naive(model, [0, 1, 2, 0]) + naive(model, [0, 3, 0]) + naive(model, [0, 4, 5, 6, 0])
    assert score.chars == 9
    assert score.nats == pytest.approx(expected, rel=1e-6)


def test_padding_adds_no_nats():
    logits = torch.randn(2, 3, 5)
    targets = torch.tensor([[1, 2, IGNORED], [4, IGNORED, IGNORED]])
    expected = -sum(
        float(F.log_softmax(logits[b, t], 0)[targets[b, t]]) for b, t in ((0, 0), (0, 1), (1, 0))
    )
    assert float(summed_nats(logits, targets)) == pytest.approx(expected, rel=1e-6)


def test_validation_switches_dropout_off_and_back_on(model):
    model.train()
    ids = np.random.default_rng(2).integers(0, 7, 60)
    assert score_batches(model, lane_batches(ids, 1), CPU) == score_batches(
        model, lane_batches(ids, 1), CPU
    )
    assert model.training


def test_nothing_to_predict_scores_nothing(model):
    assert scored(model, np.array([3]), "stateful") == Score(0.0, 0)


def test_own_and_torch_backends_score_alike(model):
    other = CharModel(model.settings, 7, "torch").eval()
    other.load_state_dict(model.state_dict())
    ids = np.random.default_rng(3).integers(0, 7, 700)
    ours, theirs = (score_batches(each, lane_batches(ids, 2), CPU) for each in (model, other))
    assert ours.nats == pytest.approx(theirs.nats, rel=1e-6)


@pytest.mark.parametrize("most", [1, 7, 30, 64, 1000])
def test_no_batch_of_an_evaluation_holds_more_characters_than_it_may(most):
    ids = np.arange(3001)
    for batches in (lane_batches(ids, 1, most), window_batches(ids, 5, max(5, most))):
        assert max(batch.inputs.numel() for batch in batches) <= max(5, most)
    lengths = [1, 9, 2, 30, 4, 4, 17, 3]
    lines = LineBatches(np.concatenate([[1] * n + [0] for n in lengths]), 0, 3)
    for by_length in (True, False):
        batches = [lines.collate(chosen) for chosen in lines.in_order(most, by_length=by_length)]
        assert all(batch.inputs.numel() <= most or len(batch.inputs) == 1 for batch in batches)
        assert sum(int((batch.targets != IGNORED).sum()) for batch in batches) == sum(
            lengths
        ) + len(lengths)


def test_a_large_alphabet_is_scored_in_smaller_pieces(one_thread):
    large = CharModel(
        ModelSettings(cell="rnn", hidden_size=2, num_layers=1, embedding_size=2, dropout=0.0),
        70_000,
    ).eval()
    seen = []
    large.head.register_forward_hook(lambda module, inputs, output: seen.append(output.numel()))
    assert scored(large, np.arange(600), "windowed", window=500).chars == 599
    assert max(seen) <= 1 << 23


def test_a_line_longer_than_a_batch_is_read_in_pieces_with_its_state(model, monkeypatch):
    monkeypatch.setattr("charrnn.scoring.network.most_chars", lambda model: 5)
    line = [*np.random.default_rng(4).integers(1, 7, 23), 0]
    score = scored(model, [1, 0, *line], "lines")
    assert score.chars == 26
    assert score.nats == pytest.approx(naive(model, [0, 1, 0]) + naive(model, [0, *line]), rel=1e-6)


def test_what_training_sees_of_lines_is_their_score(model, tmp_path):
    class Few:
        mode = "lines"
        vocabulary = type("Vocabulary", (), {"newline": 0, "spelling": None, "has_breaks": False})
        split = staticmethod(lambda name: np.array([1, 2, 0, 3, 0]))
        first_ids = staticmethod(lambda name: None)

    assert validation(model, Few, "val", CPU).nats == pytest.approx(
        scored(model, [1, 2, 0, 3, 0], "lines").nats
    )


@pytest.mark.parametrize("protocol", ["stateful", "windowed", "lines"])
def test_every_predicted_character_has_its_place_and_its_nats(model, protocol):
    ids = np.array([1, 2, 0, 3, 0, 4, 5, 6, 0])
    parts = list(NetworkScorer(model, CPU, 0).predictions(ids, protocol, window=3, detailed=True))
    places = np.concatenate([part.places for part in parts])
    assert places.tolist() == list(range(protocol != "lines", len(ids)))
    nats = dict(zip(places.tolist(), np.concatenate([part.nats for part in parts]), strict=True))
    before = {"stateful": ids[:7], "windowed": ids[6:7], "lines": np.array([0, 4, 5])}[protocol]
    assert nats[7] == pytest.approx(naive(model, [*before, 6]) - naive(model, before), rel=1e-5)


def test_ranks_and_guesses_are_those_of_a_sorted_distribution(model):
    ids = np.array([1, 2, 5, 3, 3])
    (found,) = NetworkScorer(model, CPU, None).predictions(ids, "stateful", detailed=True)
    with torch.no_grad():
        logs = F.log_softmax(
            model(torch.tensor(ids[None, :-1]), model.zero_state(1))[0][0], 1
        ).numpy()
    for k, target in enumerate(ids[1:]):
        order = np.argsort(-logs[k])
        assert found.ranks[k] == 1 + order.tolist().index(target)
        assert found.guesses[k] == order[0]
        assert found.guess_nats[k] == pytest.approx(-logs[k].max(), rel=1e-5)


def test_a_tally_of_a_stream_sums_blocks_of_1000_predicted_characters(model):
    ids = np.random.default_rng(5).integers(0, 7, 2301)
    scorer = NetworkScorer(model, CPU, None)
    tally = tallied(scorer, ids, "stateful", None)
    assert tally.chars.tolist() == [1000, 1000, 300]
    each = np.concatenate([part.nats for part in scorer.predictions(ids, "stateful")])
    assert tally.nats == pytest.approx(
        [each[:1000].sum(), each[1000:2000].sum(), each[2000:].sum()]
    )


def test_a_tally_of_lines_sums_each_line(model):
    ids = np.array([4, 5, 6, 0, 3, 0])
    tally = tallied(NetworkScorer(model, CPU, 0), ids, "lines", 0)
    assert tally.chars.tolist() == [4, 2]
    assert tally.nats == pytest.approx(
        [naive(model, [0, 4, 5, 6, 0]), naive(model, [0, 3, 0])], rel=1e-6
    )
    assert tally.score(np.array([False, True])).chars == 2


def test_an_empty_text_has_an_empty_tally():
    tally = Tally(np.array([3]), None)
    assert tally.score() == Score(0.0, 0)
    assert len(tally.nats) == len(Tally(np.zeros(0), None).nats) == 0


def test_windows_are_read_side_by_side():
    shapes = [tuple(batch.inputs.shape) for batch in window_batches(np.zeros(20_006), 10)]
    assert shapes == [(1638, 10), (362, 10), (1, 5)]  # 32 * 512 characters at most


@pytest.mark.parametrize(
    ("chars", "lanes"),
    [(2, 1), (1023, 1), (2047, 1), (2048, 2), (5 * 1024, 5), (32 * 1024, 32), (99 * 1024, 32)],
)
def test_a_stream_has_a_lane_for_each_1024_characters_and_32_at_most(chars, lanes):
    ids = np.zeros(chars + 1, np.uint8)
    first = next(lane_batches(ids, LANES))
    assert len(first.inputs) == lanes

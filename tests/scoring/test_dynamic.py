"""Dynamic evaluation: each piece is scored before it is learnt from, and nothing is kept."""

import hashlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import read_model
from charrnn.scoring.dynamic import SEGMENT, DynamicScorer, Rule
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.network import NetworkScorer
from charrnn.scoring.score import tallied
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun

CPU = torch.device("cpu")
SETTINGS = ModelSettings(cell="gru", hidden_size=5, num_layers=2, embedding_size=3, dropout=0.0)


@pytest.fixture
def model(one_thread):
    torch.manual_seed(1)
    return CharModel(SETTINGS, 7).eval()


def plain(model, ids, lr, decay):
    """The same by hand: torch.nn's GRU, one logit row at a time, weights as a dictionary.

    Nats of all but the first.
    """
    stored = {name: value.detach().clone() for name, value in model.state_dict().items()}
    weights, nats = dict(stored), 0.0
    state = torch.zeros(2, 1, 5)
    for start in range(0, len(ids) - 1, SEGMENT):
        gru = torch.nn.GRU(3, 5, 2)
        names = [name for name, _ in gru.named_parameters()]
        weights = {name: value.clone().requires_grad_() for name, value in weights.items()}
        loss, count = 0.0, 0
        for now, following in zip(
            ids[start : start + SEGMENT], ids[start + 1 : start + SEGMENT + 1], strict=False
        ):
            inputs = weights["embedding.weight"][int(now)].view(1, 1, 3)
            of_gru = {name: weights[f"recurrent.{name}"] for name in names}
            hidden, state = torch.func.functional_call(gru, of_gru, (inputs, state))
            logits = F.linear(hidden[0, 0], weights["head.weight"], weights["head.bias"])
            loss = loss - F.log_softmax(logits, 0)[int(following)]
            count += 1
        nats += float(loss.detach())
        gradients = torch.autograd.grad(loss / count, list(weights.values()))
        moved = zip(weights.items(), gradients, strict=True)
        weights = {name: (value - lr * slope).detach() for (name, value), slope in moved}
        weights = {name: value + decay * (stored[name] - value) for name, value in weights.items()}
        state = state.detach()
    return nats


@pytest.mark.parametrize(
    ("count", "decay"), [(2, 0.0), (SEGMENT + 1, 0.1), (3 * SEGMENT + 12, 0.0), (230, 0.05)]
)
def test_dynamic_evaluation_equals_plain_code(model, count, decay):
    ids = np.random.default_rng(0).integers(0, 3, count)
    score = tallied(DynamicScorer(model, CPU, Rule(0.5, decay)), ids, "stateful", None).score()
    assert score.chars == count - 1
    assert score.nats == pytest.approx(plain(model, ids, 0.5, decay), rel=1e-5)


def test_the_first_segment_costs_what_it_costs_without_learning(model):
    ids = np.random.default_rng(1).integers(0, 7, 200)
    parts = list(DynamicScorer(model, CPU, Rule(1.0)).predictions(ids, "stateful"))
    (static,) = NetworkScorer(model, CPU, None).predictions(ids, "stateful")
    assert parts[0].nats == pytest.approx(static.nats[:SEGMENT], rel=1e-5)
    assert np.concatenate([part.places for part in parts]).tolist() == list(range(1, 200))
    assert abs(parts[1].nats - static.nats[SEGMENT : 2 * SEGMENT]).max() > 0.01


def test_the_weights_are_back_after_a_scoring_even_one_that_was_left(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = np.random.default_rng(2).integers(0, 7, 300)
    scorer = DynamicScorer(model, CPU, Rule())
    first = tallied(scorer, ids, "stateful", None).score()
    left = scorer.predictions(ids, "stateful")
    next(left), next(left)
    left.close()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert tallied(scorer, ids, "stateful", None).score() == first


def test_learning_on_helps_on_a_text_that_repeats_itself(model):
    ids = np.tile(np.array([1, 4, 2, 2, 6]), 200)
    static = tallied(NetworkScorer(model, CPU, None), ids, "stateful", None).score()
    dynamic = tallied(DynamicScorer(model, CPU, Rule()), ids, "stateful", None).score()
    assert dynamic.nats_per_char < static.nats_per_char - 0.2


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """A run trained for a moment on a stream."""
    from support import Watcher

    from charrnn.training.session import Request, train

    folder = tmp_path_factory.mktemp("stream")
    (folder / "rhyme.txt").write_text(
        "".join(f"{n} green bottles hanging on the wall,\n" for n in range(120))
    )
    sizes = {
        "hidden_size": 8,
        "embedding_size": 4,
        "num_layers": 1,
        "dropout": 0.0,
        "batch_size": 4,
        "seq_length": 16,
    }
    more = {"mode": "stream", "split": "0.6,0.2,0.2", "steps": 40, "lr": 0.02, "threads": 1}
    more["counting"] = "off"  # in a text that repeats itself it leaves nothing to learn
    return train(
        Request(str(folder / "rhyme.txt"), (("--", sizes | more),), run=folder / "run"), Watcher()
    )[0]


def test_both_figures_stand_side_by_side_and_the_stored_model_is_untouched(stream):
    files = {
        path: hashlib.sha256(path.read_bytes()).digest()
        for path in stream.rglob("*")
        if path.is_file()
    }
    model_file = read_model(stream)
    text = text_of_split(OpenedRun(model_file), "test")
    static = evaluated(OpenedRun(model_file), text, How(), False, print)
    both = evaluated(OpenedRun(model_file), text, How(dynamic=True), False, print)
    assert both.figures.nats_per_char == static.figures.nats_per_char and static.dynamic is None
    dynamic = both.dynamic
    assert dynamic.figures.chars == both.figures.chars == len(text.ids) - 1
    assert dynamic.gain_nats_per_char == pytest.approx(
        both.figures.nats_per_char - dynamic.figures.nats_per_char
    )
    assert dynamic.gain_nats_per_char > 0.01 and math.isfinite(dynamic.figures.perplexity)
    assert dynamic.lr == Rule().lr and dynamic.segment == SEGMENT
    assert files == {
        path: hashlib.sha256(path.read_bytes()).digest()
        for path in stream.rglob("*")
        if path.is_file()
    }


def test_a_cache_s_figure_stands_beside_too(stream):
    model_file = read_model(stream)
    text = text_of_split(OpenedRun(model_file), "test")
    both = evaluated(OpenedRun(model_file), text, How(cache=60, dynamic=True), True, print)
    cache = both.cache
    assert cache.figures.chars == both.figures.chars and cache.length == 60
    assert cache.gain_nats_per_char == pytest.approx(
        both.figures.nats_per_char - cache.figures.nats_per_char
    )
    assert cache.gain_nats_per_char > 0.1  # the rhyme says it all again
    for way in (both, cache, both.dynamic):
        gained = both.baselines["ngram"] - way.figures.bits_per_char
        assert way.gain_over_ngram.bits_per_char == pytest.approx(gained)


@pytest.mark.parametrize("how", [How("windowed", cache=5), How("windowed", dynamic=True)])
def test_windows_are_no_stream_to_remember(stream, how):
    model_file = read_model(stream)
    with pytest.raises(SettingsError, match="leave out --protocol windowed"):
        evaluated(
            OpenedRun(model_file), text_of_split(OpenedRun(model_file), "test"), how, False, print
        )

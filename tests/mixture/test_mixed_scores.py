"""The mixture's scores: they sum to one, the future changes nothing, and all ways agree."""

import dataclasses

import numpy as np
import pytest
from mixture_support import SIZE, lines, mixed_model, text

from charrnn.sampling.decode import log_probabilities
from charrnn.sampling.network import Network
from charrnn.scoring import cached, dynamic, network
from charrnn.scoring.score import tallied

WAYS = ["lines", "stateful", "windowed", "cache", "dynamic"]


def nats(way, model, ids, detailed=False):
    """The nats of each character by its place; 0 where none is predicted."""
    protocol = "stateful"
    if way == "cache":
        scorer = cached.load_scorer(model, "cpu", 9)
    elif way == "dynamic":
        scorer = dynamic.load_scorer(model, "cpu", None)
    else:
        scorer = network.load_scorer(model, "cpu")
        protocol = way
    found = np.zeros(len(ids))
    for part in scorer.predictions(ids, protocol, window=7, detailed=detailed):
        found[part.places] = part.nats
    return found


def model_of(way, **more):
    return mixed_model("lines" if way == "lines" else "stream", **more)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", WAYS)
def test_probabilities_sum_to_one_at_every_place(way):
    model = model_of(way)
    ids = lines(23) if way == "lines" else text(23)
    for place in (1, 8, 9, 14):
        total = 0.0
        for char in range(SIZE):
            other = ids.copy()
            other[place] = char
            if way == "lines":  # what follows a newline is another line, and blank ones drop out
                other = np.concatenate([ids[:place], [char], [2, 0][char == 0 :]])
                other = np.append(other, 0) if other[-1] else other
            total += np.exp(-nats(way, model, other)[place])
        assert total == pytest.approx(1, abs=2e-6)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", WAYS)
def test_what_comes_later_changes_nothing(way):
    model = model_of(way)
    ids = lines(200) if way == "lines" else text(200)
    other = ids.copy()
    after = 1 + int(np.flatnonzero(ids[:150] == 0)[-1])  # a line's end
    other[after:] = (lines if way == "lines" else text)(len(ids) - after, seed=9)
    before = nats(way, model, ids)[:after]
    assert nats(way, model, other)[:after] == pytest.approx(before, abs=1e-6)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("way", WAYS)
def test_details_are_of_the_mixture(way):
    model = model_of(way)
    ids = lines(150) if way == "lines" else text(150)
    assert nats(way, model, ids, detailed=True) == pytest.approx(nats(way, model, ids), abs=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_a_score_is_the_formula_place_by_place():
    model = mixed_model(order=3)
    ids = text(60)
    steps = Network(model)
    state = steps.zero_state(1)
    graph = model.ally.contexts
    node = np.array([graph.start])
    expected = [0.0]
    for char, following in zip(ids[:-1], ids[1:], strict=True):
        logits, state = steps.step(np.array([char]), state)
        node = graph.advance(node, np.array([char]))
        p = np.exp(log_probabilities(logits)[0])
        q = graph.distributions(node)[0]
        best = int(q.argmax())
        x = [1, -(p * np.log(p)).sum(), np.log(p.max()), np.log(p[best]), p.argmax() == best]
        x += [np.log(q.max()), np.log(graph.back[node[0]]), np.log1p(graph.totals[node[0]])]
        w = 1 / (1 + np.exp(-float(model.ally.theta @ np.array(x, float))))
        expected.append(-np.log((1 - w) * p[following] + w * q[following]))
    assert nats("stateful", model, ids) == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_the_mean_share_is_between_the_experts():
    model = mixed_model()
    scorer = network.load_scorer(model, "cpu")
    assert 0 < tallied(scorer, text(300), "stateful", None).mean_share < 1
    alone = network.load_scorer(dataclasses.replace(model, ally=None), "cpu")
    assert tallied(alone, text(300), "stateful", None).mean_share == 0

"""A network and counting that both know labels: scores are distributions, and all ways agree."""

import dataclasses

import numpy as np
import pytest
from labels_support import LABELS, labelled_model
from support import needs_kernel

from charrnn.sampling.compiled import Compiled
from charrnn.sampling.counted import Counted
from charrnn.sampling.engine import Sampler
from charrnn.sampling.mixed import Mixed
from charrnn.sampling.network import Network
from charrnn.scoring import network
from charrnn.scoring.counting import CountingScorer
from charrnn.text.labelgrams import LabelGrams

SIZE = 10
ENGINES = ["numpy", pytest.param("compiled", marks=needs_kernel)]
FIRST = np.array([11, 10, 12, 0, 11])  # of five lines: Irish, Greek, Norse, none, Irish

pytestmark = pytest.mark.usefixtures("one_thread")


def text(seed=0):
    """Five lines, which end in 0."""
    generator = np.random.default_rng(seed)
    lines = [[*generator.integers(1, 6, size), 0] for size in (4, 2, 5, 3, 4)]
    return np.concatenate(lines)


def mixture():
    return network.load_scorer(labelled_model(is_mixed=True), "cpu")


def counting():
    ally = labelled_model(is_mixed=True).ally
    return CountingScorer(ally.contexts.ngram, ally.by_label)


KINDS = [mixture, counting]


def nats(scorer, ids, first=FIRST, detailed=False):
    found = np.zeros(len(ids))
    for part in scorer.predictions(ids, "lines", first=first, detailed=detailed):
        found[part.places] = part.nats
    return found


@pytest.mark.parametrize("make", KINDS)
def test_probabilities_sum_to_one_after_each_label(make):
    ids = text()
    starts = np.append(0, np.flatnonzero(ids == 0)[:-1] + 1)
    scorer = make()
    for start in starts:
        for place in (start, start + 1):
            total = 0.0
            for char in range(1, SIZE):
                other = ids.copy()
                other[place] = char
                total += np.exp(-nats(scorer, other)[place])
            # Of the newline, whose line would be blank or end earlier: of this line alone.
            [line] = np.flatnonzero(starts == start)
            short = np.append(ids[start:place], 0)
            if len(short) > 1:
                total += np.exp(-nats(scorer, short, FIRST[[line]])[-1])
                assert total == pytest.approx(1, abs=2e-6)
            else:
                assert total < 1


@pytest.mark.parametrize("make", KINDS)
def test_what_comes_later_changes_nothing(make):
    ids = text()
    scorer = make()
    before = int(np.flatnonzero(ids == 0)[2]) + 2
    other = ids.copy()
    other[before:-1][other[before:-1] > 0] = 3
    assert nats(scorer, other)[:before] == pytest.approx(nats(scorer, ids)[:before], abs=1e-6)


@pytest.mark.parametrize("make", KINDS)
def test_details_are_of_each_label(make):
    scorer = make()
    assert nats(scorer, text(), detailed=True) == pytest.approx(nats(scorer, text()), abs=1e-5)


@pytest.mark.parametrize("make", KINDS)
def test_a_line_costs_what_it_costs_alone(make):
    ids = text()
    scorer = make()
    whole = nats(scorer, ids)
    starts = np.append(0, np.flatnonzero(ids == 0) + 1)
    for line, (start, stop) in enumerate(zip(starts, starts[1:], strict=False)):
        alone = nats(scorer, ids[start:stop], FIRST[[line]])
        assert alone == pytest.approx(whole[start:stop], abs=1e-5)


def test_each_label_has_its_own_counting():
    ids = np.array([1, 2, 0])
    costs = [float(nats(counting(), ids, np.array([first])).sum()) for first in (0, 10, 11, 12)]
    assert costs[0] == pytest.approx(costs[3])  # Norse has no n-grams
    assert len(set(np.round(costs, 6))) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_samplers_say_what_the_scorer_says(engine):
    sampler = Sampler(labelled_model(is_mixed=True), weights="float32", engine=engine)
    ids = text()
    expected = nats(mixture(), ids)
    starts = np.append(0, np.flatnonzero(ids == 0) + 1)
    for line, label in enumerate(["Irish", "Greek", "Norse", "", "Irish"]):
        own = ids[starts[line] : starts[line + 1]]
        of_label = sampler.labelled(label)
        found = of_label.feed(np.concatenate([[of_label.start], own]))[2]
        assert found == pytest.approx(
            expected[starts[line] : starts[line + 1]].sum(), rel=1e-5, abs=1e-5
        )


@needs_kernel
@pytest.mark.parametrize("number", range(4))
def test_the_kernel_mixes_each_label_as_numpy_does(number):
    model = labelled_model(is_mixed=True)
    steps = Network(model)
    reference = Mixed(steps, steps.name, model.ally).for_label(number)
    kernel = Compiled(steps, ally=model.ally).for_label(number)
    ids = np.array([9 + number if number else 0, 1, 2, 4, 5, 0, 3])
    expected, state, cost = reference.read(ids, reference.zero_state(1))
    found, reached, nats = kernel.read(ids, kernel.zero_state(1))
    assert found == pytest.approx(expected, abs=2e-5)
    assert nats == pytest.approx(cost, rel=1e-5)
    assert np.array_equal(reached[-1], state[-1])


@needs_kernel
def test_the_kernel_goes_back_to_another_label():
    model = labelled_model(is_mixed=True)
    base = Compiled(Network(model), ally=model.ally)
    ids = np.array([10, 1, 2])
    expected = base.for_label(1).read(ids, base.zero_state(1))[0]
    found = base.for_label(2).for_label(0).for_label(1).read(ids, base.zero_state(1))[0]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("label", ["Greek", "Irish"])
def test_first_characters_are_drawn_as_they_are_scored(engine, label):
    """Chi-square over the first characters of 4,000 lines."""
    sampler = Sampler(labelled_model(is_mixed=True), weights="float32", engine=engine)
    sampler = sampler.labelled(label)
    logits, _, _ = sampler.feed(np.array([sampler.start]))
    p = np.exp(logits[0] - logits[0].max())
    p /= p.sum()
    number = 4000
    drawn = [one.ids[0] for one in sampler.generate(number, length=1, seed=5)]
    counts = np.bincount(drawn, minlength=SIZE)
    kept = p * number > 5
    distance = ((counts - number * p)[kept] ** 2 / (number * p)[kept]).sum()
    assert distance < 33  # of 9 degrees of freedom: once in ten thousand


def test_counting_steps_are_its_scores():
    ally = labelled_model(is_mixed=True).ally
    everyone = Counted(ally.contexts.ngram, ally.by_label)
    for number in range(4):
        steps = everyone.for_label(number)
        ids = np.array([9 + number if number else 0, 1, 2, 0])
        found = steps.read(ids, steps.zero_state(1))[2]
        first = np.array([9 + number if number else 0])
        assert found == pytest.approx(nats(counting(), ids[1:], first).sum(), rel=1e-9)


def test_a_label_never_seen_beside_counting_stays_finite():
    model = labelled_model(is_mixed=True)
    grams = model.ally.by_label
    bare = LabelGrams(grams.ngram, {2: grams.owned[2]}, 1e-9)
    model = dataclasses.replace(model, ally=dataclasses.replace(model.ally, by_label=bare))
    sampler = Sampler(model, engine="numpy")
    assert all(np.isfinite(sampler.labelled(label).score("\x0b\x0c")[0]) for label in LABELS)

"""Sizes follow from the text without a cliff: alike texts get trainings that are alike."""

import functools
import math

import pytest

from charrnn.config import Settings, resolve
from charrnn.layout import GATES
from charrnn.text.building import survey
from charrnn.training import recipe
from charrnn.values import seconds

RATE = 2e10  # weights times characters a second, of one thread
LENGTHS = [{}, {"budget": "20s"}, {"budget": "5m"}, {"epochs": 10.0}, {"steps": 1000}]


@functools.cache
def names():
    return survey("names", Settings().text, 1)


def sized(monkeypatch, chars, **chosen):
    settings, origins = resolve([("--", chosen)])
    monkeypatch.setattr(recipe, "training_chars", lambda *_: chars)
    return recipe.fill(settings, names(), lambda: RATE, origins)


@pytest.mark.parametrize("chosen", LENGTHS)
def test_two_characters_more_change_nothing(monkeypatch, chosen):
    for chars in (19_999, 199_999):
        fewer = sized(monkeypatch, chars, **chosen).settings
        more = sized(monkeypatch, chars + 2, **chosen).settings
        assert fewer.model == more.model
        assert fewer.training.weight_decay == more.training.weight_decay


def recurrent_weights(model):
    return GATES[model.cell] * (2 * model.num_layers - 1) * model.hidden_size**2


@pytest.mark.parametrize("chosen", LENGTHS)
def test_a_little_more_text_changes_little(monkeypatch, chosen):
    """Steps are those of the table of sizes, of a twentieth in dropout, and one of the depth."""
    before = None
    for power in range(100):
        filled = sized(monkeypatch, round(1000 * 1.1**power), **chosen).settings
        model, training = filled.model, filled.training
        if before is not None:
            ratio = recurrent_weights(model) / recurrent_weights(before.model)
            assert abs(math.log(ratio)) < math.log(2.3)
            assert abs(model.dropout - before.model.dropout) < 0.11
            assert abs(model.weight_drop - before.model.weight_drop) < 0.06
            assert abs(math.log(training.weight_decay / before.training.weight_decay)) < 0.3
        before = filled


def test_a_larger_text_gets_a_longer_budget_until_it_has_five_minutes(monkeypatch):
    budgets = [recipe.default_budget(round(1000 * 1.1**power)) for power in range(100)]
    times_s = [seconds(budget, "--budget") for budget in budgets]
    assert times_s == sorted(times_s)
    assert (times_s[0], budgets[-1]) == (20, "5m")
    assert all(later < 1.16 * earlier for earlier, later in zip(times_s, times_s[1:], strict=False))


def test_a_small_text_gets_a_small_network_that_is_dropped_much(monkeypatch):
    small = sized(monkeypatch, 900, budget="1m").settings
    large = sized(monkeypatch, 2_000_000, budget="1m").settings
    assert small.model.hidden_size < large.model.hidden_size
    assert small.model.dropout > 0.4 > large.model.dropout
    assert small.training.weight_decay > large.training.weight_decay


@pytest.mark.parametrize(("chars", "units"), [(6_250, 192), (12_500, 256), (50_000, 256)])
def test_a_small_text_gets_200_000_weights_at_most(monkeypatch, chars, units):
    assert sized(monkeypatch, chars, budget="5m").settings.model.hidden_size == units

"""The recipe on a GPU, with the speed of a fast card written down: sizes, lanes, length."""

import dataclasses
import itertools

import pytest
import torch

from charrnn.config import Settings, resolve
from charrnn.text.building import survey
from charrnn.training import recipe
from charrnn.training.card import MeasuredSpeed, card_for
from charrnn.training.pacing import Pacing
from charrnn.training.plan import first_plan
from charrnn.training.sizing import MOST_WEAR, Card, Size

POSITION_S = 3e-5  # of a recurrent step, however small
FLOPS = 1e14
STEP_S = 1e-3  # of an update, beside its recurrent steps


def fast(size):
    """Characters a second of a card that a small network cannot fill."""
    flops = 6 * 3 * (2 * size.num_layers - 1) * size.hidden_size**2 * size.lanes
    position_s = max(POSITION_S * size.num_layers, flops / FLOPS)
    return size.lanes * size.length / (STEP_S + size.length * position_s)


CARD = Card(fast, None)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """What the recipe is told of a prose of so many characters."""
    path = tmp_path_factory.mktemp("prose") / "text.txt"
    path.write_text("Rain on the stones,\nunder a lamp.\n\n" * 60)
    settings, _ = resolve([("--", {"mode": "stream"})])
    found = survey(str(path), settings.text, 1)
    census = found.censuses["train"]

    def of(chars):
        return dataclasses.replace(
            found, censuses={"train": dataclasses.replace(census, chars=chars)}
        )

    return of


def never():
    pytest.fail("no rate is asked for where a card is measured")


def filled(found, card=CARD, **chosen):
    settings, origins = resolve([("--", {"mode": "stream", **chosen})])
    return recipe.fill(settings, found, never, origins, card)


def on_processor(found, rate, **chosen):
    settings, origins = resolve([("--", {"mode": "stream", **chosen})])
    return recipe.fill(settings, found, lambda: rate, origins)


def size_of(made):
    model = made.settings.model
    training = made.settings.training
    return Size(model.num_layers, model.hidden_size, training.batch_size, training.seq_length)


def test_a_small_text_is_trained_for_a_short_time(texts):
    """It would be read hundreds of times in its usual time: more than any trial did."""
    small = texts(60_000)
    usual_s = float(on_processor(small, 1e10).settings.training.budget[:-1])
    made = filled(small)
    shorter_s = float(made.settings.training.budget[:-1])
    assert recipe.CARD_START_S < shorter_s < usual_s
    assert made.settings.model.dropout == recipe.MOST_DROPOUT
    assert made.settings.training.batch_size == 8  # the fewest: more updates for as many passes
    read = (shorter_s - recipe.CARD_START_S) * recipe.TRAINING_SHARE * fast(size_of(made))
    weights = 3 * made.settings.model.hidden_size**2
    chars = 60_000 * 0.9
    assert weights * read / chars**2 == pytest.approx(recipe.TRIED_WEAR, rel=0.15)


def test_a_budget_that_was_asked_for_stays(texts):
    assert filled(texts(60_000), budget="10m").settings.training.budget == "10m"


def test_a_large_text_gets_the_larger_network_that_its_time_allows(texts):
    large = texts(20_000_000)
    sizes = [size_of(filled(large, budget=budget)) for budget in ("40s", "90s", "5m")]
    weights = [(2 * size.num_layers - 1) * size.hidden_size**2 for size in sizes]
    assert weights == sorted(set(weights))
    ordinary = size_of(on_processor(large, 1e10, budget="90s"))
    assert weights[1] > 2 * (2 * ordinary.num_layers - 1) * ordinary.hidden_size**2
    assert sizes[1].lanes > recipe.DEEP_SHAPE[0]  # they cost nothing until the card is filled


def test_more_lanes_are_taken_only_as_far_as_the_text_is_not_worn(texts):
    chars = 0.9 * 1_200_000
    for budget in ("60s", "3m", "10m"):
        size = size_of(filled(texts(1_200_000), budget=budget))
        seconds = float(budget[:-1]) * (60 if budget.endswith("m") else 1)
        read = (seconds - recipe.CARD_START_S) * recipe.TRAINING_SHARE * fast(size)
        wear = 3 * (2 * size.num_layers - 1) * size.hidden_size**2 * read / chars**2
        assert wear <= 1.1 * MOST_WEAR or size.lanes == 8


def test_a_slow_card_gets_shorter_windows_rather_than_few_updates(texts):
    slow = Card(lambda size: fast(size) / 5, None)
    usual, shorter = (
        size_of(filled(texts(20_000_000), card, budget="100s")) for card in (CARD, slow)
    )
    assert usual.num_layers == shorter.num_layers == 2
    assert usual.length == 256
    assert shorter.length == 64


def test_what_a_person_chose_is_measured_and_kept(texts):
    asked = []

    def speed(size):
        asked.append(size)
        return fast(size)

    chosen = {"batch_size": 12, "seq_length": 48, "hidden_size": 96, "num_layers": 1}
    made = filled(texts(1_200_000), Card(speed, None), budget="60s", **chosen)
    assert size_of(made) == Size(1, 96, 12, 48)
    assert {size[2:] for size in asked} == {(12, 48)}


def test_without_a_budget_a_card_is_not_measured(texts):
    card = Card(lambda size: never(), None)
    for chosen in ({"steps": 500}, {"epochs": 3.0}):
        made = filled(texts(60_000), card, **chosen)
        assert size_of(made) == size_of(on_processor(texts(60_000), 1e9, **chosen))


def test_lines_keep_their_batches():
    settings, origins = resolve([("--", {"budget": "1m"})])
    found = survey("names", settings.text, 1)
    made = recipe.fill(settings, found, never, origins, Card(fast, 8))
    assert made.settings.training.batch_size == recipe.LINES_BATCH


def test_a_processor_is_no_card():
    assert card_for(resolve([("--", {"device": "cpu"})])[0], None) is None


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("cell", ["gru", "gru-before"])
def test_a_speed_is_measured_once_and_moves_no_generator(mode, cell, one_thread):
    settings = Settings().with_values("model", cell=cell)
    speed = MeasuredSpeed(settings, 11, mode, torch.device("cpu"))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    size = Size(2, 6, 3, 4)
    first = speed(size)
    assert first > 0
    assert speed(size) == first  # two measurements would differ
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_does_not_fit_the_memory_has_no_speed(monkeypatch):
    def full(self, size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MeasuredSpeed, "_measured", full)
    assert MeasuredSpeed(Settings(), 11, "stream", torch.device("cpu"))(Size(1, 6, 3, 4)) == 0.0


def test_a_fast_cards_budget_ends_on_time(monkeypatch):
    """Steps of four milliseconds, evaluations of 80: within 5 % of 90 s, by a clock that is told.

    The recording of the graph makes the first step two seconds long.
    """
    now = itertools.count()
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("time.process_time", lambda: clock[0])
    settings = resolve([("--", {"budget": "90s"})])[0].training
    steps_per_epoch = 500
    pace = Pacing(settings, first_plan(settings, steps_per_epoch, 40.0), 40.0, 0.0)
    clock[0] = 14.0  # the start, with the speeds that were measured
    pace.begin_loop(0, 0.08)
    for step in now:
        if pace.is_over(step):
            break
        pace.begin_step()
        clock[0] += 2.0 if step == 0 else 4e-3
        pace.end_step(16_384)
        if not pace.plan.is_decided:
            pace.decide(step + 1)
        looks = pace.plan.evaluation_interval(step + 1)
        if looks and (step + 1) % looks == 0:
            clock[0] += 0.08
            pace.correct(step + 1)
    assert clock[0] == pytest.approx(90.0, rel=0.05)

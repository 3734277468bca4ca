"""Where a cache looked back: against the scorer of the cache, and on the terminal."""

import json

import numpy as np
import pytest
import torch

from charrnn.cli import lookback_view
from charrnn.cli.eval import evaluate
from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.insight.lookback import Characters, Glance, glances, in_words, shares_between
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.sampling.cache import SWITCH, THETA, keys_of
from charrnn.scoring import cached, network
from charrnn.scoring.evaluation import How
from charrnn.scoring.text import Text
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun

SYMBOLS = (10, 32, 97, 98, 99, 0x1F600)


def random_model(tmp_path, mode="stream", **sizes):
    shape = {"hidden_size": 6, "num_layers": 2, "embedding_size": 4} | sizes
    settings = Settings().with_values("model", cell="lstm", **shape)
    torch.manual_seed(2)
    model = CharModel(settings.model, len(SYMBOLS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    tensors = {name: value.numpy() for name, value in model.tensors().items()}
    vocabulary = Vocabulary("char", SYMBOLS)
    return ModelFile(tmp_path / "run" / "m", settings, vocabulary, mode, 0, tensors, {})


def some_text(count, seed=1):
    return np.random.default_rng(seed).integers(0, len(SYMBOLS), count).astype(np.uint8)


def costs(scorer, ids):
    return np.concatenate([part.nats for part in scorer.predictions(ids, "stateful")])


@pytest.mark.parametrize("length", [1, 7, 300, 5000])
def test_a_glance_costs_what_the_scorers_say(tmp_path, one_thread, length):
    model = random_model(tmp_path, conv=3)
    ids = some_text(600)  # three pieces
    seen = list(glances(model, ids, length, "cpu"))
    assert [glance.place for glance in seen] == list(range(1, 600))
    np.testing.assert_allclose(
        [glance.nats for glance in seen], costs(network.load_scorer(model, "cpu"), ids), rtol=1e-4
    )  # float32, in another order
    np.testing.assert_allclose(
        [glance.cached_nats for glance in seen],
        costs(cached.load_scorer(model, "cpu", length), ids),
        rtol=1e-4,
    )


def test_shares_are_weights_by_what_a_count_is_worth(tmp_path, one_thread):
    model = random_model(tmp_path)
    ids = some_text(30)
    torch_model, _ = network.load_model(model, "cpu")
    with torch.no_grad():
        inputs = torch.from_numpy(ids[None, :-1].astype(np.int64))
        _, outputs, _ = torch_model.forward_traced(inputs, torch_model.zero_state(1))
    keys = np.concatenate([np.zeros((1, 12)), keys_of(outputs[:, :, 0].numpy())])  # before ids[i]
    for glance in glances(model, ids, 8, "cpu"):
        first = max(0, glance.place - 8)
        weights = [
            np.exp(THETA * (keys[glance.place] @ keys[place] - 1))
            for place in range(first, glance.place)
        ]
        assert glance.first == first
        expected = np.array(weights) * glance.share / sum(weights)
        np.testing.assert_allclose(glance.shares, expected, rtol=1e-4, atol=1e-9)
        least, most = (sum(weights) / (n + sum(weights)) for n in (0.5, 0.05))
        assert SWITCH / 3 * least <= glance.share <= most


def test_in_words_the_largest_shares_come_first_with_what_followed():
    vocabulary = Vocabulary("char", SYMBOLS)
    ids = vocabulary.encode("abcab\nc").astype(np.uint8)
    glance = Glance(6, 2.0, 1.0, 1, np.array([0.1, 0.6, 0.0, 0.2, 0.05]))
    seen = in_words(glance, Characters(vocabulary, ids))
    assert (seen.char, seen.code, seen.cache_share) == ("c", 99, pytest.approx(0.95))
    assert seen.gain_bits == pytest.approx(1 / np.log(2))
    assert [(place.place, place.before, place.char) for place in seen.places] == [
        (2, "ab", "c"),
        (4, "abca", "b"),
        (1, "a", "b"),
    ]


def test_a_picture_has_the_last_places_and_zeros_out_of_view():
    seen = [Glance(place, 1.0, 1.0, max(0, place - 2), np.ones(min(2, place))) for place in (4, 5)]
    rows, columns, shares = shares_between(seen, 48, 4)
    assert (rows, columns) == (range(4, 6), range(1, 5))
    assert shares.tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]
    _, columns, shares = shares_between(seen, 1, 1)
    assert (columns, shares.tolist()) == (range(4, 5), [[1]])


@pytest.mark.parametrize("mode", ["lines"])
def test_a_model_of_lines_has_nothing_to_look_back_on(tmp_path, mode):
    with pytest.raises(SettingsError, match="looks back along one stream"):
        next(glances(random_model(tmp_path, mode), some_text(5), 3, "cpu"))


# Where rare characters are bytes


TEXT = "a\u20acb \u0416\U0001f600 \u20acb a\u0416b\u0416 " * 6  # of three, two and four bytes


def spelled_model(tmp_path):
    vocabulary = Vocabulary.with_bytes(map(ord, "\u0416"))  # a symbol; the others are bytes
    settings = Settings().with_values(
        "model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4
    )
    torch.manual_seed(3)
    model = CharModel(settings.model, len(vocabulary)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    tensors = {name: value.numpy() for name, value in model.tensors().items()}
    file = ModelFile(tmp_path / "run" / "m", settings, vocabulary, "stream", 0, tensors, {})
    return file, vocabulary.encode(TEXT)


def by_number(scorer, ids):
    """The nats of each character: of its bytes, added up."""
    parts = list(scorer.predictions(ids, "stateful"))
    numbers = np.concatenate([part.numbers for part in parts])
    return np.bincount(numbers, np.concatenate([part.nats for part in parts]))[1:]


@pytest.mark.parametrize("length", [1, 9, 5000])
def test_a_character_of_bytes_costs_what_the_scorers_say(tmp_path, one_thread, length):
    model, ids = spelled_model(tmp_path)
    seen = list(glances(model, ids, length, "cpu"))
    assert [glance.place for glance in seen] == list(range(1, len(TEXT)))
    alone, with_cache = (
        network.load_scorer(model, "cpu"),
        cached.load_scorer(model, "cpu", length),
    )
    np.testing.assert_allclose([glance.nats for glance in seen], by_number(alone, ids), rtol=1e-4)
    np.testing.assert_allclose(
        [glance.cached_nats for glance in seen], by_number(with_cache, ids), rtol=1e-4
    )


def test_characters_of_bytes_are_looked_at_as_characters(tmp_path):
    model, ids = spelled_model(tmp_path)
    read = Characters(model.vocabulary, ids)
    assert read.each(range(len(TEXT))) == list(TEXT)
    assert [read.code(place) for place in range(len(TEXT))] == list(map(ord, TEXT))
    *_, last = glances(model, ids, 5000, "cpu")
    words = in_words(last, read)
    assert {place.char for place in words.places} <= set(TEXT)
    assert all(TEXT[place.place] == place.char for place in words.places)
    assert len(last.shares) == len(TEXT) - 1


def test_the_same_character_is_the_same_whatever_its_bytes(tmp_path):
    model, ids = spelled_model(tmp_path)
    read = Characters(model.vocabulary, ids)
    same = read.are_same(range(6), range(6, 15))
    expected = [[a == b for b in TEXT[6:15]] for a in TEXT[:6]]
    assert same.tolist() == expected


def test_a_text_that_begins_inside_a_character_begins_with_what_is_left_of_it(tmp_path):
    model, ids = spelled_model(tmp_path)
    seen = list(glances(model, ids[2:], 7, "cpu"))  # the last two bytes of a character of three
    assert [glance.place for glance in seen] == list(range(1, len(TEXT) - 1))


# The command


def shown(tmp_path, capsys, text="abc abc abc abc", **options):
    model = random_model(tmp_path)
    ids = model.vocabulary.encode(text).astype(np.uint8)
    how = How(device="cpu", cache=options.pop("cache", 50))
    scored = Text(ids, None, None, None, 0)
    choices = {"plot": None, "json": False} | options
    lookback_view.look_back_and_show(OpenedRun(model), scored, how, **choices)
    return capsys.readouterr().out


def test_the_table_fits_eighty_columns_and_brackets_what_followed(tmp_path, capsys, one_thread):
    page = shown(tmp_path, capsys).splitlines()
    assert page[1].split() == "place char bits gain cache looked back at away share".split()
    end = next(number for number, line in enumerate(page) if line.startswith("14 characters"))
    assert any("ab[c]" in line for line in page)
    table = page[1:end]
    assert len(table) == 15
    assert max(map(len, table)) <= 80


def test_json_has_all_characters_with_their_places(tmp_path, capsys, monkeypatch, one_thread):
    monkeypatch.setattr(lookback_view, "SHOWN_CHARS", 3)
    rows = [json.loads(line) for line in shown(tmp_path, capsys, json=True).splitlines()]
    assert "".join(row["char"] for row in rows) == "bc abc abc abc"
    assert {"bits", "cached_bits", "gain_bits", "cache_share", "places"} < rows[0].keys()
    assert rows[5]["places"][0].keys() == {"place", "before", "char", "share"}


def test_a_person_sees_a_thousand_rows_at_most(tmp_path, capsys, monkeypatch, one_thread):
    monkeypatch.setattr(lookback_view, "SHOWN_CHARS", 3)
    assert "3 characters   " in shown(tmp_path, capsys)
    assert "--json gives all of it" in shown(tmp_path, capsys)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_it_is_drawn(tmp_path, capsys, one_thread, ending):
    pytest.importorskip("matplotlib")
    picture = tmp_path / f"x.{ending}"
    page = shown(tmp_path, capsys, text="a😀c a😀c", plot=picture)
    assert "looked back" in page
    assert picture.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"show": True}, "--show is for a cache"),
        ({"show": True, "cache": 5, "dynamic": True}, "--dynamic cannot be combined with --show"),
        ({"show": True, "cache": 5, "per_char": True}, "--cache cannot be combined"),
        ({"plot": "x.png", "cache": 5}, "--plot draws what --show or --classify shows"),
    ],
)
def test_what_would_show_nothing_is_refused(options, words):
    with pytest.raises(SettingsError, match=words):
        evaluate(**options)


def test_a_long_label_of_a_column_is_turned():
    pytest.importorskip("matplotlib")
    from charrnn import picture

    def turned(column):
        drawn = picture.attention("t", ["a"], [column], np.eye(1), np.eye(1) > 0, "svg")
        return drawn.count(b"rotate(-90")

    assert turned("汉") == turned("a") + 1

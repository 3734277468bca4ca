"""The search for cells finds what was planted; its figures are numpy's and those worked by hand."""

import numpy as np
import pytest

from charrnn.config import Settings
from charrnn.insight import search as room
from charrnn.insight.features import features
from charrnn.insight.search import Sums, balanced_accuracy, correlation, search
from charrnn.layout import expected_shapes
from charrnn.modelfile import ModelFile
from charrnn.text.vocabulary import Vocabulary

SYMBOLS = tuple(sorted(map(ord, '\n" abcdeXY')))
VOCABULARY = Vocabulary("char", SYMBOLS)
QUOTE, NEWLINE = SYMBOLS.index(ord('"')), SYMBOLS.index(10)
SURE = 20.0  # sigmoid(20) is 1, and tanh(20) too, to eight digits


def written(lines=160, seed=5):
    """A newline, then lines of words, some in quotes that end with the line at the latest."""
    random = np.random.default_rng(seed)
    out = ["\n"]
    for _ in range(lines):
        words = [
            "".join(random.choice(list("abcdeXY"), random.integers(1, 7)))
            for _ in range(random.integers(2, 9))
        ]
        first, last = sorted(random.integers(0, len(words), 2))
        if random.random() < 0.7:
            words[first] = '"' + words[first]
            words[last] += '"'
        out.append(" ".join(words) + "\n")
    return "".join(out)


TEXT = written()
IDS = VOCABULARY.encode(TEXT)


def network(tmp_path, cell, layers, plant, hidden=16):
    """Random cells that see one-hot characters and each other, with what `plant` writes there."""
    size = len(SYMBOLS)
    sizes = {"hidden_size": hidden, "num_layers": layers, "embedding_size": size}
    settings = Settings().with_values("model", cell=cell, **sizes)
    random = np.random.default_rng(2)
    shapes = expected_shapes(settings.model, size)
    tensors = {
        name: random.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()
    }
    tensors["embedding.weight"][:] = np.eye(size)

    def row(layer, gate, unit):
        """Views of the rows of W_ih, W_hh and the bias, emptied."""
        place = gate * hidden + unit
        w_ih, w_hh = (
            tensors[f"recurrent.weight_ih_l{layer}"][place],
            tensors[f"recurrent.weight_hh_l{layer}"][place],
        )
        bias, other = tensors[f"recurrent.bias_ih_l{layer}"], tensors[f"recurrent.bias_hh_l{layer}"]
        w_ih[:] = w_hh[:] = bias[place] = other[place] = 0
        return w_ih, w_hh, bias[place : place + 1]

    plant(row)
    return ModelFile(tmp_path / "m", settings, VOCABULARY, "stream", NEWLINE, tensors, {})


def lstm_of_quotes_and_places(row, quote=3, place=7):
    """Unit `quote`: a mark empties it, and fills it if it was empty.

    Unit `place`: one hundredth more a character.
    """
    i, f, g, o = range(4)
    w_ih, w_hh, bias = row(0, i, quote)
    w_ih[QUOTE], w_hh[quote], bias[:] = 2 * SURE, -3 * SURE, -SURE  # it holds tanh(1) = 0.76 inside
    w_ih, _, bias = row(0, f, quote)
    w_ih[QUOTE], bias[:] = -2 * SURE, SURE
    for gate in (g, o):
        row(0, gate, quote)[2][:] = SURE
    for gate in (i, f):
        w_ih, _, bias = row(0, gate, place)
        w_ih[NEWLINE], bias[:] = -2 * SURE, SURE
    row(0, g, place)[2][:] = np.arctanh(0.01)
    row(0, o, place)[2][:] = SURE


def rnn_of_quotes_and_places(row, inside=2, opened=5, place=9, both=4):
    """Layer 0: +1 where it was inside and no mark came, or outside and one came. Layer 1: either.

    A newline sets both to -1. Another unit is set to +1 by it, and fades.
    """
    w_ih, w_hh, bias = row(0, 0, inside)
    w_hh[[inside, opened]], w_ih[QUOTE], w_ih[NEWLINE], bias[:] = (
        SURE / 2,
        -SURE,
        -4 * SURE,
        SURE / 2,
    )
    w_ih, w_hh, bias = row(0, 0, opened)
    w_hh[[inside, opened]], w_ih[QUOTE], w_ih[NEWLINE], bias[:] = (
        -SURE / 2,
        SURE,
        -4 * SURE,
        -1.5 * SURE,
    )
    w_ih, w_hh, _ = row(0, 0, place)
    w_hh[place], w_ih[NEWLINE] = 0.95, SURE
    w_ih, _, bias = row(1, 0, both)
    w_ih[[inside, opened]], bias[:] = SURE / 2, SURE / 2


def best(result, feature):
    return next(one for one in result.trackers if one.feature == feature and one.rank == 1)


def test_planted_cells_of_an_lstm_are_found_first(tmp_path):
    result = search(network(tmp_path, "lstm", 1, lstm_of_quotes_and_places), IDS)
    quotes, place = best(result, "in quotes"), best(result, "position in the line")
    assert (quotes.unit, quotes.cell in ("layer0.cell", "layer0.hidden")) == (3, True)
    assert quotes.score > 0.9999 and quotes.accuracy == 1
    assert (place.cell, place.unit) == ("layer0.cell", 7)
    assert place.score > 0.9999 and place.accuracy is None
    assert {result.trackers[0].feature, result.trackers[1].feature} == {
        "in quotes",
        "position in the line",
    }


def test_planted_cells_of_an_rnn_are_found_first_in_their_layers(tmp_path):
    result = search(network(tmp_path, "rnn", 2, rnn_of_quotes_and_places), IDS)
    quotes, place = best(result, "in quotes"), best(result, "position in the line")
    assert (quotes.cell, quotes.unit, quotes.accuracy) == ("layer1.hidden", 4, 1)
    assert quotes.score > 0.9999
    assert (place.cell, place.unit) == ("layer0.hidden", 9)
    assert place.score < -0.8  # it falls while the place rises


def test_a_cell_that_is_off_inside_quotes_is_found_too(tmp_path):
    def inverted(row):
        rnn_of_quotes_and_places(row)
        w_ih, _, bias = row(1, 0, 4)
        w_ih[[2, 5]], bias[:] = -SURE / 2, -SURE / 2

    quotes = best(search(network(tmp_path, "rnn", 2, inverted), IDS), "in quotes")
    assert (quotes.unit, quotes.accuracy) == (4, 1)
    assert quotes.score < -0.9999
    assert ('"' + quotes.before.rpartition("\n")[2] + quotes.peak).count(
        '"'
    ) % 2 == 0  # its peak is inside


def test_two_searches_agree(tmp_path):
    model = network(tmp_path, "gru", 2, lambda row: None)
    assert search(model, IDS, top=3) == search(model, IDS, top=3)


def test_every_unit_of_every_activation_takes_part(tmp_path):
    for cell, kinds in (("rnn", 1), ("lstm", 6), ("gru", 4)):
        assert search(network(tmp_path, cell, 2, lambda row: None), IDS).units == 2 * 16 * kinds


def given(monkeypatch, tmp_path, columns):
    """The search, over activations (N, H) that are given."""
    model = network(tmp_path, "rnn", 1, lambda row: None)
    values = np.stack(columns, 1).astype(np.float32)

    def pieces(model, ids, size):
        for start in range(0, len(ids), size):
            yield slice(start, start + size), {"layer0.hidden": values[start : start + size]}

    monkeypatch.setattr(room, "pieces", pieces)
    return search(model, IDS, top=2)


@pytest.fixture
def in_quotes():
    return next(feature.values for feature in features(TEXT, "text") if feature.name == "in quotes")


def test_a_unit_is_picked_on_the_first_half_and_scored_on_the_second(
    monkeypatch, tmp_path, in_quotes
):
    """Unit 0 is perfect in the first half and inverted in the second; unit 1 is good in both."""
    half = len(IDS) // 2 // min(4096, len(IDS) // 2) * min(4096, len(IDS) // 2)
    fickle = np.where(np.arange(len(IDS)) < half, in_quotes, 1 - in_quotes)
    noisy = in_quotes + 0.3 * np.random.default_rng(1).normal(size=len(IDS))
    result = given(monkeypatch, tmp_path, [fickle, noisy])
    first, second = (one for one in result.trackers if one.feature == "in quotes")
    assert (first.unit, first.rank, second.unit, second.rank) == (0, 1, 1, 2)
    assert (round(first.picked, 6), round(first.score, 6), first.accuracy) == (1, -1, 0)
    assert second.score == pytest.approx(
        np.corrcoef(noisy[half:], in_quotes[half:])[0, 1], abs=1e-6
    )
    assert second.picked == pytest.approx(
        np.corrcoef(noisy[:half], in_quotes[:half])[0, 1], abs=1e-6
    )


def test_chance_is_the_best_correlation_with_the_feature_half_a_half_away(
    monkeypatch, tmp_path, in_quotes
):
    size = min(4096, len(IDS) // 2)
    half = len(IDS) // 2 // size * size
    columns = np.random.default_rng(4).normal(size=(40, len(IDS)))
    moved = np.roll(in_quotes[:half], half // 2)
    expected = max(abs(np.corrcoef(column[:half], moved)[0, 1]) for column in columns)
    quotes = best(given(monkeypatch, tmp_path, list(columns)), "in quotes")
    assert quotes.chance == pytest.approx(expected, abs=1e-6)
    assert abs(quotes.score) < 2 * quotes.chance  # nothing was there to find


def test_units_that_are_constant_or_no_number_are_never_picked(monkeypatch, tmp_path, in_quotes):
    still, broken = np.full(len(IDS), 0.999), np.full(len(IDS), np.nan)
    faint = 0.5 + 1e-3 * in_quotes + 1e-3 * np.random.default_rng(0).normal(size=len(IDS))
    assert best(given(monkeypatch, tmp_path, [still, broken, faint]), "in quotes").unit == 2


def test_the_peak_is_in_the_second_half_with_the_text_around_it(monkeypatch, tmp_path, in_quotes):
    place = int(np.flatnonzero(in_quotes)[-1]) - 1
    values = in_quotes.copy()
    values[[5, place]] = 9, 3
    quotes = best(given(monkeypatch, tmp_path, [values]), "in quotes")
    assert quotes.before + quotes.peak + quotes.after == TEXT[place - 24 : place + 25]
    assert quotes.peak == TEXT[place]


def test_features_that_hardly_occur_in_a_half_are_left_out(tmp_path):
    model = network(tmp_path, "rnn", 1, lambda row: None)
    text = TEXT.replace('"', "") + 'ab "abc" a\n' * 3 + written(20).replace('"', "")
    result = search(model, VOCABULARY.encode(text))
    assert result.left_out == ["in quotes"]
    assert "in quotes" not in {one.feature for one in result.trackers}


@pytest.mark.parametrize("text", ["a", "ab", "a b\n" * 5, "a" * 500])
def test_where_there_is_nothing_to_track_nothing_is_found(tmp_path, text):
    result = search(network(tmp_path, "lstm", 1, lambda row: None), VOCABULARY.encode(text))
    assert (result.chars, [one.feature for one in result.trackers]) == (
        len(text),
        ["position in the line"] if len(text) == 500 else [],
    )


def test_correlations_are_numpys():
    random = np.random.default_rng(0)
    values, targets = random.normal(3, 2, (50, 4)), random.integers(0, 2, (50, 3)).astype(float)
    sums = Sums(4, 3)
    for start in range(0, 50, 7):
        sums.add(values[start : start + 7], targets[start : start + 7])
    expected = np.corrcoef(values.T, targets.T)[:4, 4:]
    np.testing.assert_allclose(sums.correlations(targets), expected, atol=1e-12)
    assert correlation(values[:, 0], targets[:, 1]) == pytest.approx(expected[0, 1])


def test_rounding_is_not_correlated_with_anything():
    target = np.array([0, 1, 1, 0, 1.0])
    assert correlation(1 + 1e-7 * target, target) == 0
    assert correlation(1 + 1e-3 * target, target) == pytest.approx(1)


def test_the_threshold_lies_half_way_between_the_means():
    sums, targets = Sums(1, 1), np.array([[0], [1], [1], [0], [0]])
    sums.add(np.array([[1], [8], [6], [3], [2]]), targets)
    assert sums.threshold(0, 0, targets) == (7 + 2) / 2


def test_balanced_accuracy_weighs_ones_and_zeros_alike():
    values, target = np.array([5, 1, 1, 1, 9, 9.0]), np.array([1, 1, 0, 0, 0, 0])
    assert balanced_accuracy(values, target, 3, 1) == (1 / 2 + 2 / 4) / 2
    assert balanced_accuracy(values, target, 2, -0.5) == (1 / 2 + 2 / 4) / 2
    assert balanced_accuracy(np.array([5, 5, 1, 1, 1, 9.0]), target, 3, 1) == (1 + 3 / 4) / 2


def test_bytes_are_scanned_as_bytes(tmp_path):
    model = network(tmp_path, "rnn", 1, lambda row: None)
    as_bytes = ModelFile(
        model.path, model.settings, Vocabulary("byte", (10, 34, 0xC3, 0xA9)), "stream", 0, {}, {}
    )
    assert room.text_of(as_bytes, np.array([2, 3, 1])) == "\xc3\xa9" + '"'

"""What cells did as they read: against the textbook's equations, CharModel and `charrnn eval`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.insight import cells
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile
from charrnn.scoring.network import load_scorer
from charrnn.scoring.score import tallied
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun

SYMBOLS = (10, 32, 97, 98, 99, 0xE9, 0x1F600)
CELLS = ("rnn", "lstm", "gru", "gru-before")


def random_model(tmp_path, cell="lstm", skip="none", mode="stream", symbols=SYMBOLS, **sizes):
    """A CharModel with weights large enough to matter, and the same as a ModelFile."""
    shape = {"hidden_size": 5, "num_layers": 2, "embedding_size": 3} | sizes
    settings = Settings().with_values("model", cell=cell, skip=skip, **shape)
    torch.manual_seed(3)
    network = CharModel(settings.model, len(symbols)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2).add_(0.2 * torch.randn_like(parameter))
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    return network, ModelFile(
        tmp_path / "m", settings, Vocabulary("char", symbols), mode, 0, tensors, {}
    )


def text(length=23, seed=1):
    return np.random.default_rng(seed).integers(0, len(SYMBOLS), length).astype(np.uint8)


def by_the_book(network, ids):
    """Hidden states and cells of each layer, one equation at a time, in float64."""
    settings = network.settings
    seen = [network.embedding.weight.double()[torch.from_numpy(ids.astype(np.int64))]]
    trace = {}
    for k in range(network.num_layers):
        parameters = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w = {name: getattr(network.recurrent, f"{name}_l{k}").double() for name in parameters}
        inputs = torch.cat(seen, 1) if settings.skip == "dense" else seen[-1]
        h = c = torch.zeros(1, network.hidden_size, dtype=torch.float64)
        hidden = []
        cell = []
        for x in inputs[:, None]:
            if settings.cell == "lstm":
                h, c = equations.lstm_step(x, h, c, w)
            else:
                steps = {
                    "rnn": equations.rnn_step,
                    "gru": equations.gru_step,
                    "gru-before": equations.gru_before_step,
                }
                h = steps[settings.cell](x, h, w)
            hidden.append(h[0]), cell.append(c[0])
        outputs = torch.stack(hidden)
        trace |= {f"layer{k}.hidden": outputs, f"layer{k}.cell": torch.stack(cell)}
        is_residual = settings.skip == "residual" and inputs.shape == outputs.shape
        seen.append(outputs + inputs if is_residual else outputs)
    return {name: value.detach().numpy() for name, value in trace.items()}


def expect_equal(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)  # float32 against float64


@pytest.mark.parametrize("skip", ["none", "residual", "dense"])
@pytest.mark.parametrize("cell", CELLS)
def test_states_are_those_of_the_equations(tmp_path, cell, skip):
    network, model = random_model(tmp_path, cell, skip)
    expected = by_the_book(network, text())
    trace = cells.trace(model, text()).activations
    for k in range(2):
        expect_equal(trace[f"layer{k}.hidden"], expected[f"layer{k}.hidden"])
        if cell == "lstm":
            expect_equal(trace[f"layer{k}.cell"], expected[f"layer{k}.cell"])


def gate(network, name, inputs, hidden, k):
    """A gate's sum, from its own rows alone. inputs (N, E), hidden (N, H): the states before."""
    rows = {"lstm": ["input", "forget", "candidate", "output"]}.get(
        network.settings.cell, ["reset", "z", "candidate"]
    )
    place = rows.index(name)
    size = network.hidden_size
    w_ih, w_hh, b_ih, b_hh = (
        getattr(network.recurrent, f"{part}_l{k}")[place * size : (place + 1) * size]
        .detach()
        .double()
        .numpy()
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return inputs @ w_ih.T + b_ih, hidden @ w_hh.T + b_hh


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def inputs_and_states_before(network, ids):
    expected = by_the_book(network, ids)
    embedded = network.embedding.weight.detach().double().numpy()[ids]
    first = expected["layer0.hidden"]
    return [
        (x, np.concatenate([np.zeros((1, x_h.shape[1])), x_h[:-1]]))
        for x, x_h in [(embedded, first), (first, expected["layer1.hidden"])]
    ]


def test_lstm_gates_are_those_of_the_equations(tmp_path):
    network, model = random_model(tmp_path)
    trace = cells.trace(model, text()).activations
    for k, (x, h) in enumerate(inputs_and_states_before(network, text())):
        for name in ("input", "forget", "output", "candidate"):
            squash = np.tanh if name == "candidate" else sigmoid
            expect_equal(trace[f"layer{k}.{name}"], squash(sum(gate(network, name, x, h, k))))


@pytest.mark.parametrize("cell", ["gru", "gru-before"])
def test_gru_gates_are_those_of_the_equations_and_update_is_the_lectures(tmp_path, cell):
    network, model = random_model(tmp_path, cell)
    trace = cells.trace(model, text()).activations
    for k, (x, h) in enumerate(inputs_and_states_before(network, text())):
        r = sigmoid(sum(gate(network, "reset", x, h, k)))
        z = sigmoid(sum(gate(network, "z", x, h, k)))
        if cell == "gru":
            of_x, of_h = gate(network, "candidate", x, h, k)
            n = np.tanh(of_x + r * of_h)
        else:
            n = np.tanh(sum(gate(network, "candidate", x, r * h, k)))
        expect_equal(trace[f"layer{k}.reset"], r)
        expect_equal(trace[f"layer{k}.update"], 1 - z)
        expect_equal(trace[f"layer{k}.candidate"], n)
        expect_equal(trace[f"layer{k}.hidden"], z * h + (1 - z) * n)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"embedding_size": 5, "tie_weights": True},
        {"embedding_size": 5, "skip": "residual"},
        {"skip": "dense", "num_layers": 3},
    ],
)
def test_surprise_and_guesses_are_the_networks(tmp_path, sizes):
    network, model = random_model(tmp_path, **sizes)
    ids = text()
    with torch.no_grad():
        logits, _ = network(torch.from_numpy(ids.astype(np.int64))[None], network.zero_state(1))
    shares = F.log_softmax(logits[0].double(), 1).numpy()[:-1]
    trace = cells.trace(model, ids)
    expect_equal(trace.surprise[1:], -shares[np.arange(len(ids) - 1), ids[1:]])
    order = np.argsort(-shares, axis=1)[:, :5]
    np.testing.assert_array_equal(trace.guesses[1:], order)
    expect_equal(trace.probabilities[1:], np.exp(np.take_along_axis(shares, order, 1)))


def test_before_the_first_character_of_a_stream_there_is_no_prediction(tmp_path):
    trace = cells.trace(random_model(tmp_path)[1], text())
    assert np.isnan(trace.surprise[0]) and not np.isnan(trace.surprise[1:]).any()
    assert (trace.guesses[0].tolist(), trace.probabilities[0].tolist()) == ([-1] * 5, [0] * 5)


def test_an_alphabet_of_three_has_three_guesses(tmp_path):
    trace = cells.trace(random_model(tmp_path, symbols=SYMBOLS[:3])[1], text() % 3)
    assert trace.guesses.shape == trace.probabilities.shape == (23, 3)
    expect_equal(trace.probabilities[1:].sum(1), 1)


def test_of_equally_likely_guesses_the_lowest_ids_come_first(tmp_path):
    model = random_model(tmp_path)[1]
    model.tensors["head.weight"][:] = model.tensors["head.bias"][:] = 0
    assert cells.trace(model, text()).guesses[1:].tolist() == [[0, 1, 2, 3, 4]] * 22


@pytest.mark.parametrize("sizes", [{}, {"hidden_size": 37, "embedding_size": 33}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_a_line_has_the_same_activations_wherever_it_stands(tmp_path, cell, sizes):
    """To the bit; its surprise to rounding.

    Logits are matrix products over many places at once, and a BLAS may sum a row in an order that
    depends on its place.
    """
    _, model = random_model(tmp_path, cell, mode="lines", **sizes)
    line = [2, 3, 1, 0]
    before = [4, 0, 5, 6, 4, 0, 0, 1, 0]
    trace = cells.trace(model, np.array([*line, *before, *line, *line[1:], *line], np.uint8))
    for start in (13, 20):
        for values in trace.activations.values():
            np.testing.assert_array_equal(values[:4], values[start : start + 4])
        expect_equal(trace.surprise[:4], trace.surprise[start : start + 4])


def test_lines_are_read_one_by_one_from_the_zero_state(tmp_path):
    """They cost what `charrnn eval` says."""
    _, model = random_model(tmp_path, mode="lines")
    ids = np.array([2, 3, 0, 4, 0, 2, 3, 0], np.uint8)
    trace = cells.trace(model, ids)
    expect_equal(
        trace.surprise.sum(), tallied(load_scorer(model, "cpu"), ids, "lines", 0).score().nats
    )


def test_a_stream_costs_what_eval_says(tmp_path):
    _, model = random_model(tmp_path)
    expect_equal(
        np.nansum(cells.trace(model, text()).surprise),
        tallied(load_scorer(model, "cpu"), text(), "stateful", None).score().nats,
    )


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("cell", CELLS)
def test_pieces_are_the_whole(tmp_path, cell, mode):
    _, model = random_model(tmp_path, cell, mode=mode)
    whole = cells.trace(model, text()).activations
    places = []
    for place, piece in cells.pieces(model, text(), 5):
        places += range(23)[place]
        for name, values in piece.items():
            expect_equal(values, whole[name][place], 1e-6)
    assert places == list(range(23))


def test_activations_are_named_by_layer_and_float32(tmp_path):
    trace = cells.trace(random_model(tmp_path, "gru")[1], text()).activations
    parts = ("hidden", "reset", "update", "candidate")
    assert list(trace) == [f"layer{k}.{part}" for k in range(2) for part in parts]
    assert {(value.shape, value.dtype) for value in trace.values()} == {
        ((23, 5), np.dtype("float32"))
    }


@pytest.mark.parametrize(("most", "length"), [(1, 3), (4, 3), (5, 5), (99, 8)])
def test_lines_are_cut_whole(tmp_path, most, length):
    model = random_model(tmp_path, mode="lines")[1]
    assert len(cells.cut(model, np.array([2, 3, 0, 4, 0, 2, 3, 0]), most)) == length


def test_huge_weights_bring_no_warning_and_finite_guesses(tmp_path):
    model = random_model(tmp_path)[1]
    for value in model.tensors.values():
        value *= np.float32(1e30)
    trace = cells.trace(model, text())
    assert np.isfinite(trace.surprise[1:]).all() and np.isfinite(trace.probabilities).all()


def test_a_counting_model_has_no_cells(tmp_path):
    _, model = random_model(tmp_path)
    counting = Settings().with_values("model", cell="ngram")
    counts = ModelFile(model.path, counting, model.vocabulary, "stream", 0, {}, {})
    with pytest.raises(SettingsError, match="no cells"):
        cells.trace(counts, text())
    with pytest.raises(SettingsError, match="no cells"):
        cells.held_out(OpenedRun(counts), 23)

"""ONNX Runtime computes from the exported graph what the sampler computes."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from browser_support import with_rare
from export_support import GRID, SYMBOLS, counting, ids_of, network

from charrnn.errors import SettingsError
from charrnn.export import graph
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler

QUICK = [
    ("rnn", "dense", False, 2),
    ("lstm", "residual", True, 2),
    ("gru", "none", False, 1),
    ("gru-before", "residual", False, 2),
]


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    data = graph.graph(model, "a card")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def zero_state(session, batch):
    shapes = {value.name: value.shape for value in session.get_inputs() if value.name != "ids"}
    sizes = {
        name: [batch if size == "batch" else size for size in shape]
        for name, shape in shapes.items()
    }
    return {name: np.zeros(shape, np.float32) for name, shape in sizes.items()}


def read(session, ids, state):
    """Logits (B, T, V) and the state after ids (B, T)."""
    logits, *after = session.run(None, {"ids": ids, **state})
    return logits, dict(zip(state, after, strict=True))


def largest_difference(model, batch, time):
    """The graph reads in two pieces of unequal length, the sampler character by character."""
    session = session_of(model)
    ids = ids_of(batch, time)
    state = zero_state(session, batch)
    first, state = read(session, ids[:, : time // 3], state)
    second, _ = read(session, ids[:, time // 3 :], state)
    sampler = Sampler(model, weights="float32")
    before = sampler.zero_state(batch)
    expected = []
    for now in ids.T:
        row, before = sampler.step(now, before)
        expected.append(row)
    return float(np.abs(np.concatenate([first, second], 1) - np.stack(expected, 1)).max())


def check(model, time):
    # float32: sums of up to 13 products in another order
    assert largest_difference(model, 1, time) < 1e-5
    assert largest_difference(model, 7, time) < 1e-5


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_logits_are_the_samplers(network_of):
    check(network(*network_of), 100)


@pytest.mark.parametrize(("skip", "conv"), [("none", 3), ("dense", 2), ("residual", 1)])
def test_a_convolution_sees_the_same_characters(skip, conv):
    check(network("gru", skip, layers=2, conv=conv), 50)


@pytest.mark.slow
@pytest.mark.parametrize("conv", [0, 1, 3])
@pytest.mark.parametrize("network_of", GRID, ids=str)
def test_logits_are_the_samplers_over_a_thousand_characters(network_of, conv):
    check(network(*network_of, conv=conv), 1000)


def check_greedy(model, length):
    [sample] = Sampler(model, weights="float32").generate(
        1, length=length, decoding=Decoding(temperature=0)
    )
    session = session_of(model)
    state = zero_state(session, 1)
    newest = model.start
    written = []
    for _ in range(length):
        logits, state = read(session, np.array([[newest]]), state)
        newest = int(logits[0, -1].argmax())
        written.append(newest)
    assert written == sample.ids.tolist()


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_greedy_text_is_the_samplers(network_of):
    check_greedy(network(*network_of, mode="stream", unit="byte"), 500)


@pytest.mark.slow
@pytest.mark.parametrize("network_of", GRID, ids=str)
def test_greedy_text_of_every_network_is_the_samplers(network_of):
    check_greedy(network(*network_of, mode="stream"), 500)


def test_rare_characters_are_written_as_the_metadata_allows():
    """Greedy, by the tables of the metadata alone."""
    model = with_rare(cell="gru")
    model.tensors["head.bias"][-51:] += 3  # bytes that begin a character
    [sample] = Sampler(model, weights="float32").generate(
        1, length=200, decoding=Decoding(temperature=0)
    )
    session = session_of(model)
    about = json.loads(session.get_modelmeta().custom_metadata_map["spelling"])
    first, after, table = about["first"], np.array(about["after"]), np.array(about["table"])
    state, newest, spelled, written = zero_state(session, 1), model.start, 0, []
    while len(written) < len(sample.ids):
        logits, state = read(session, np.array([[newest]]), state)
        following = after
        if spelled:
            following = np.full_like(after, -1)
            following[first : first + 64] = table[spelled]
        newest = int(np.where(following < 0, -np.inf, logits[0, -1]).argmax())
        spelled = int(following[newest])
        written.append(newest)
    assert written == sample.ids.tolist()
    assert max(written) >= first


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_the_graph_is_valid(network_of):
    onnx.checker.check_model(graph.graph(network(*network_of, conv=2), "a card"), full_check=True)


def test_batch_and_time_are_free():
    session = session_of(network("lstm", layers=2))
    shapes = {value.name: value.shape for value in session.get_inputs()}
    state = [2, "batch", 5]
    assert shapes == {"ids": ["batch", "time"], "h": state, "c": state}


@pytest.mark.parametrize(("cell", "after"), [("gru", 1), ("gru-before", 0)])
def test_one_attribute_tells_the_two_grus_apart(cell, after):
    proto = onnx.load_from_string(graph.graph(network(cell), "a card"))
    [layer] = [node for node in proto.graph.node if node.op_type == "GRU"]
    values = {attribute.name: attribute.i for attribute in layer.attribute}
    assert values["linear_before_reset"] == after


def test_tied_weights_are_stored_once():
    proto = onnx.load_from_string(graph.graph(network("gru", tied=True), "a card"))
    names = {constant.name for constant in proto.graph.initializer}
    assert "embedding.weight" in names and "head.weight" not in names


def test_the_metadata_holds_vocabulary_and_card():
    proto = onnx.load_from_string(graph.graph(network(unit="byte"), "a card"))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(metadata.pop("symbols")) == list(SYMBOLS)
    assert metadata == {"card": "a card", "mode": "lines", "start": "0", "unit": "byte"}


def test_equal_models_give_equal_files():
    assert graph.graph(network(), "a card") == graph.graph(network(), "a card")


def test_a_model_that_counts_is_refused():
    with pytest.raises(SettingsError, match="--onnx writes networks"):
        graph.graph(counting(), "a card")

"""The convolution before the first layer: against torch, the equations, and itself in pieces."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import BACKENDS, SKIPS, B, E, T, V, random_model, sized, some_ids
from support import needs_kernel

from charrnn.config import ModelSettings, Settings
from charrnn.insight import cells, explain
from charrnn.lab.unrolled import tensors_of, unroll
from charrnn.layout import PARAMETERS, expected_shapes
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.model.convolution import Convolution
from charrnn.modelfile import ModelFile
from charrnn.sampling.engine import Sampler
from charrnn.text.batches import Batch
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.optim import make_optimizer
from charrnn.training.step import TrainStep

SYMBOLS = (10, 32, 97, 98, 99, 100, 101)
WIDTHS = (1, 2, 5)
ENGINES = ("numpy", pytest.param("compiled", marks=needs_kernel))


@pytest.fixture(autouse=True)
def _one_thread_and_seed(one_thread):
    torch.manual_seed(5)


def some_past(width, dtype=torch.float64):
    return torch.randn(width - 1, B, E, dtype=dtype)


def zero_start(model, batch=B):
    """A state that is not zero, but for the past, which is empty."""
    parts = model.zero_state(batch)
    return tuple(torch.randn_like(part) for part in parts[:-1]) + parts[-1:]


def stored(model, tmp_path, mode="stream"):
    settings = dataclasses.replace(Settings(), model=model.settings)
    tensors = {name: value.numpy() for name, value in model.tensors().items()}
    return ModelFile(tmp_path / "m", settings, Vocabulary("char", SYMBOLS), mode, 0, tensors, {})


# The equation


@pytest.mark.parametrize("width", WIDTHS)
def test_the_equation_is_torchs_convolution_behind_its_past(width):
    x = torch.randn(T, B, E, dtype=torch.float64)
    past = some_past(width)
    weight = torch.randn(E, E, width, dtype=torch.float64)
    expected = F.conv1d(torch.cat([past, x]).permute(1, 2, 0), weight).permute(2, 0, 1)
    torch.testing.assert_close(equations.causal_convolution(x, past, weight), expected)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_layer_is_the_equation_and_keeps_the_newest_inputs(width):
    layer = Convolution(E, width).double()
    layer.initialize()
    x = torch.randn(2, B, E, dtype=torch.float64)  # fewer than most widths see
    past = some_past(width)
    outputs, after = layer(x, past)
    torch.testing.assert_close(outputs, equations.causal_convolution(x, past, layer.weight))
    assert torch.equal(after, torch.cat([past, x])[2:])


# The network


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_the_first_layer_reads_the_convolution_and_skips_begin_at_the_embedding(
    cell, skip, backend
):
    if (cell, backend) == ("gru-before", "torch"):
        pytest.skip("torch has no such cell")
    model = random_model(sized(cell, 2, skip, conv=3, embedding_size=5), backend)
    ids = some_ids()
    state = zero_start(model)
    embedded = model.embedding(ids.T)
    below = equations.causal_convolution(embedded, state[-1], model.conv.weight)
    seen = [embedded]
    for k in range(2):
        weights = {name: getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS}
        layer_state = tuple(part[k] for part in state[:-1])
        outputs, _ = equations.run_layer(cell, below, layer_state, weights)
        if skip == "residual":
            outputs = outputs + seen[-1]
        seen.append(outputs)
        below = torch.cat(seen, 2) if skip == "dense" else outputs
    expected = (below @ model.head.weight.T + model.head.bias).transpose(0, 1)
    logits, last = model(ids, state)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)  # float32, sums of 10
    torch.testing.assert_close(last[-1], embedded[-2:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_text_in_pieces_is_the_whole_text(backend):
    model = random_model(sized("gru", 1, conv=5), backend)
    ids = some_ids(time=9)
    state = zero_start(model)
    whole, last = model(ids, state)
    pieces = []
    for piece in torch.split(ids, [1, 2, 6], 1):
        logits, state = model(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    for part, expected in zip(state, last, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-5)


def test_a_character_changes_nothing_before_it():
    model = random_model(sized("lstm", 1, conv=4))
    ids = some_ids(time=6)
    other = ids.clone()
    other[:, 4] = (ids[:, 4] + 1) % V
    logits, _ = model(ids, model.zero_state(B))
    changed, _ = model(other, model.zero_state(B))
    assert torch.equal(logits[:, :4], changed[:, :4])
    assert not torch.equal(logits[:, 4], changed[:, 4])


def test_the_other_weights_begin_as_without_it():
    models = []
    for width in (0, 4):
        torch.manual_seed(3)
        models.append(CharModel(sized("gru", conv=width), V))
    plain, convolved = (model.tensors() for model in models)
    assert plain.keys() == convolved.keys() - {"conv.weight"}
    assert all(torch.equal(value, convolved[name]) for name, value in plain.items())


def test_its_tensors_have_the_shapes_of_the_layout():
    settings = sized("rnn", conv=4)
    shapes = {name: tuple(value.shape) for name, value in CharModel(settings, V).tensors().items()}
    assert shapes == expected_shapes(settings, V)
    assert shapes["conv.weight"] == (E, E, 4)


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("pieces", [1, 4])
def test_a_window_in_pieces_has_the_same_gradient(pieces, is_frozen):
    steps = []
    for size in (None, pieces):
        settings = dataclasses.replace(Settings(), model=sized("gru", conv=4)).with_values(
            "training", checkpoint_every_chars=size, clip=0.0, weight_decay=0.0
        )
        torch.manual_seed(0)
        model = CharModel(settings.model, V)
        model.embedding.weight.requires_grad_(not is_frozen)
        state = tuple(torch.randn_like(part) for part in model.zero_state(3))
        text = torch.randint(V, (3, 11))
        step = TrainStep(model, make_optimizer(model, settings.training), settings)
        result = step(Batch(text[:, :-1], text[:, 1:], fresh=False), state, 0.0, 1)
        steps.append((model, result))
    (whole, at_once), (parts, in_pieces) = steps
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(in_pieces.state, at_once.state, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# Sampling


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("cell", "skip"),
    [("rnn", "none"), ("lstm", "residual"), ("gru", "dense"), ("gru-before", "none")],
)
def test_both_engines_take_the_networks_steps(cell, skip, width, engine, tmp_path):
    model = random_model(sized(cell, 2, skip, conv=width)).eval()
    sampler = Sampler(stored(model, tmp_path), engine=engine, weights="float32")
    ids = some_ids(batch=3, time=7)
    with torch.no_grad():
        expected, _ = model(ids, model.zero_state(3))
    state = sampler.zero_state(3)
    for t in range(7):
        logits, state = sampler.step(ids[:, t].numpy(), state)
        np.testing.assert_allclose(logits, expected[:, t].numpy(), atol=1e-5)  # float32


@pytest.mark.parametrize("engine", ENGINES)
def test_reading_a_prompt_is_the_networks_reading(engine, tmp_path):
    model = random_model(sized("gru", 1, conv=5)).eval()
    sampler = Sampler(stored(model, tmp_path), engine=engine, weights="float32")
    ids = some_ids(batch=1, time=8)
    with torch.no_grad():
        expected, _ = model(ids, model.zero_state(1))
    _, state, _ = sampler.feed(ids[0, :3].numpy())
    logits, _, nats = sampler.feed(ids[0, 3:].numpy(), state)
    np.testing.assert_allclose(logits[0], expected[0, -1].numpy(), atol=1e-5)
    costs = F.cross_entropy(expected[0, 3:7], ids[0, 4:], reduction="sum")
    assert nats == pytest.approx(float(costs), rel=1e-5)


@needs_kernel
@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_both_engines_write_the_same_samples_side_by_side(mode, tmp_path):
    model = random_model(sized("lstm", 1, conv=4, hidden_size=17)).eval()
    texts = []
    for engine in ("numpy", "compiled"):
        sampler = Sampler(stored(model, tmp_path, mode), engine=engine, weights="float32")
        samples = sampler.generate(70, prime="abc", length=30, seed=2)
        texts.append([sample.text for sample in samples])
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 25


# Looking inside


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_cells_are_traced_as_the_network_reads(mode, tmp_path):
    model = random_model(sized("gru", 2, "dense", conv=3)).eval()
    ids = np.array([1, 4, 0, 2, 2, 5, 0], np.uint8)
    trace = cells.trace(stored(model, tmp_path, mode), ids)
    with torch.no_grad():
        if mode == "stream":
            layers = model.trace(torch.from_numpy(ids[None].astype(np.int64)), model.zero_state(1))
            hidden = layers[1][1][:, 0]
        else:  # each newline begins a line, from the zero state
            parts = [torch.tensor(line)[None] for line in ([0, 1, 4], [0, 2, 2, 5], [0])]
            traces = [model.trace(part, model.zero_state(1))[1][1][:, 0] for part in parts]
            hidden = torch.cat(traces)[1:]
    np.testing.assert_allclose(trace.activations["layer1.hidden"], hidden.numpy(), atol=1e-5)


def test_the_lab_unrolls_it():
    model = random_model(sized("lstm", 2, "residual", conv=3, embedding_size=5)).eval()
    ids = some_ids(time=6)
    with torch.no_grad():
        layers = model.trace(ids, model.zero_state(B))
        unrolled = unroll(model.settings, tensors_of(model), ids)
    for (_, outputs), states in zip(layers, unrolled.states, strict=True):
        hidden = torch.stack([state[0] for state in states])
        # The lab computes in float64.
        torch.testing.assert_close(hidden.float(), outputs, rtol=1e-5, atol=1e-5)


def test_its_matrix_stands_in_the_table_and_its_work_in_the_sum():
    settings = ModelSettings(cell="gru", hidden_size=8, num_layers=1, embedding_size=6, conv=5)
    plain = dataclasses.replace(settings, conv=0)
    table = explain.matrices(settings, 10)
    assert [row.numbers for row in table if row.name == "conv"] == [6 * 6 * 5]
    parameters = CharModel(settings, 10).parameter_count()
    assert sum(row.numbers for row in table) == parameters
    more = explain.flops_per_char(settings, 10) - explain.flops_per_char(plain, 10)
    assert more == 2 * 6 * 6 * 5


def test_the_explained_step_reads_what_the_first_layer_reads(tmp_path):
    model = random_model(sized("lstm", 1, conv=4)).eval()
    _, step = explain.step_of_model(stored(model, tmp_path), "ab")
    ids = torch.tensor([[2, 3]])
    with torch.no_grad():
        ((inputs, outputs),) = model.trace(ids, model.zero_state(1))
    np.testing.assert_allclose(step.x, inputs[-1, 0].numpy(), atol=1e-6)
    np.testing.assert_allclose(step.h_after, outputs[-1, 0].numpy(), atol=1e-6)

"""Networks that read labels: every backend and every sampler says the same."""

import pickle

import numpy as np
import pytest
import torch
from labels_support import LABELS, labelled_model, labelled_sampler
from support import needs_kernel

from charrnn.errors import SettingsError
from charrnn.layout import expected_shapes
from charrnn.model.charmodel import CharModel
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import log_probabilities
from charrnn.sampling.mixed import Mixed
from charrnn.sampling.network import Network

KINDS = [
    ("gru", {}),
    ("lstm", {"skip": "dense"}),
    ("rnn", {"conv": 3}),
    ("gru-before", {"skip": "residual"}),
]
WITH_LABEL = [11, 1, 4, 2]  # id 11 is the second label


def module(model, backend):
    network = CharModel(model.settings.model, 10, backend, labels=3, newline=0).eval()
    network.load_tensors({name: torch.from_numpy(part) for name, part in model.tensors.items()})
    return network


@pytest.mark.parametrize(("cell", "more"), KINDS)
def test_a_label_is_read_as_the_newline_and_its_own_vector(cell, more):
    """Independent: the label's vector is put in the place of a character's."""
    model = labelled_model(cell, **more)
    network = module(model, "func")
    found = network(torch.tensor([WITH_LABEL]), network.zero_state(1))[0]
    tensors = dict(model.tensors)
    rows = tensors["embedding.weight"].copy()
    rows[9] = rows[0] + tensors.pop("labels.weight")[1]
    plain = CharModel(model.settings.model, 10, "func").eval()
    tensors["embedding.weight"] = rows
    plain.load_tensors({name: torch.from_numpy(part) for name, part in tensors.items()})
    expected = plain(torch.tensor([[9, *WITH_LABEL[1:]]]), plain.zero_state(1))[0]
    assert found.shape == (1, 4, 10)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("backend", ["torch", pytest.param("kernel", marks=needs_kernel)])
@pytest.mark.parametrize(("cell", "more"), KINDS)
def test_backends_agree_on_labels(cell, more, backend):
    if cell == "gru-before" and backend == "torch":
        pytest.skip("torch.nn has no gru-before")
    model = labelled_model(cell, **more)
    ids = torch.tensor([WITH_LABEL, [0, 3, 3, 1], [12, 9, 8, 7]] * 2)
    results = []
    for name in ("func", backend):
        network = module(model, name)
        nats, _ = network.nats(ids, ids % 10, network.zero_state(6))
        nats.backward()
        results.append((float(nats.detach()), network.labels.weight.grad.numpy()))
    (expected, gradient), (found, other) = results
    assert found == pytest.approx(expected, rel=1e-5)
    assert np.abs(gradient[1]).max() > 1e-3
    assert other == pytest.approx(gradient, abs=1e-4)
    assert not gradient[0].any()  # a label that no line has


@pytest.mark.parametrize(("cell", "more"), KINDS)
def test_numpy_samples_what_the_network_says(cell, more):
    model = labelled_model(cell, **more)
    network = module(model, "func")
    logits, _ = network(torch.tensor([WITH_LABEL]), network.zero_state(1))
    steps = Network(model)
    found, _, nats = steps.read(np.array(WITH_LABEL), steps.zero_state(1))
    assert found[0] == pytest.approx(logits[0, -1].detach().numpy(), abs=1e-4)
    ln_p = torch.log_softmax(logits[0, :-1], 1).detach().numpy()
    assert nats == pytest.approx(-ln_p[np.arange(3), WITH_LABEL[1:]].sum(), rel=1e-5)


@needs_kernel
@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize(("cell", "more"), KINDS)
def test_the_kernel_reads_labels_as_numpy_does(cell, more, is_mixed):
    model = labelled_model(cell, is_mixed=is_mixed, **more)
    network = Network(model)
    reference = Mixed(network, network.name, model.ally) if is_mixed else network
    reference = reference.for_label(2)
    kernel = Compiled(network, ally=model.ally).for_label(2)
    ids = np.array([*WITH_LABEL, 0, 5, 1])
    expected, state, nats = reference.read(ids, reference.zero_state(1))
    found, reached, cost = kernel.read(ids, kernel.zero_state(1))
    assert log_probabilities(found) == pytest.approx(log_probabilities(expected), abs=2e-5)
    assert cost == pytest.approx(nats, rel=1e-5)
    for part, other in zip(reached, state, strict=True):
        assert part == pytest.approx(other, abs=1e-5)


@needs_kernel
def test_a_label_inside_a_text_is_refused():
    kernel = Compiled(Network(labelled_model()))
    with pytest.raises(IndexError, match="a label stands before a text"):
        kernel.read(np.array([0, 11, 1]), kernel.zero_state(1))


@needs_kernel
def test_an_ally_stands_after_a_label_where_it_stands_after_a_newline():
    model = labelled_model(is_mixed=True)
    kernel = Compiled(Network(model), ally=model.ally)
    for start in (0, 10, 12):
        state = kernel.read(np.array([start]), kernel.zero_state(1))[1]
        assert state[-1][0, 0] == model.ally.contexts.start


@pytest.mark.parametrize("engine", ["numpy", pytest.param("compiled", marks=needs_kernel)])
def test_samples_have_the_label_and_no_label_is_as_before(engine):
    sampler = labelled_sampler(engine)
    plain = [one.text for one in sampler.generate(5, seed=1)]
    assert plain == [one.text for one in sampler.labelled("").generate(5, seed=1)]
    texts = {name: [one.text for one in sampler.generate(5, seed=1, label=name)] for name in LABELS}
    assert len({tuple(part) for part in (plain, *texts.values())}) == 4
    irish = sampler.labelled("Irish")
    assert texts["Irish"] == [one.text for one in irish.generate(5, seed=1)]
    [one] = irish.generate(1, seed=1)
    ids = np.concatenate([[11], one.ids])
    assert one.nats == pytest.approx(sampler.feed(ids)[2], rel=1e-5)
    assert irish.score(one.text)[0] == pytest.approx(one.nats, rel=1e-5)


def test_a_labelled_sampler_travels():
    irish = labelled_sampler("numpy").labelled("Irish")
    again = pickle.loads(pickle.dumps(irish))
    assert [one.text for one in again.generate(3, seed=2)] == [
        one.text for one in irish.generate(3, seed=2)
    ]


def test_an_unknown_label_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="'irsh' is not among the 3 labels.*nearest: Irish"):
        labelled_sampler("numpy").generate(1, label="irsh")


def test_ten_thousand_labels_are_embedded_beside_the_characters():
    model = labelled_model()
    shapes = expected_shapes(model.settings.model, 10, 10_000)
    assert shapes["labels.weight"] == (10_000, 5)
    assert shapes["head.weight"][0] == 10
    network = CharModel(model.settings.model, 10, "func", labels=10_000, newline=0)
    ids = torch.tensor([[10_009, 1], [10, 2]])
    nats, _ = network.nats(ids, ids % 10, network.zero_state(2))
    assert torch.isfinite(nats)

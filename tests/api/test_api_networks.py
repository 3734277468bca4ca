"""load_torch and save_torch: the network as a module, against the sampler and plain torch.nn."""

import copy

import numpy as np
import pytest
import torch
from support import FEW

import charrnn
from charrnn.errors import CheckpointError, SettingsError, VocabularyError
from charrnn.model import equations
from charrnn.storage import read_tensors

LINES = [f"{first}{second.lower()}" for first in FEW[:9] for second in FEW[:7]]
SHAPES = [
    {"cell": "rnn", "num_layers": 2, "skip": "residual"},
    {"cell": "lstm", "num_layers": 2, "skip": "dense"},
    {"cell": "gru", "tie_weights": True, "embedding_size": 6},
    {"cell": "gru-before", "num_layers": 2},
    {"cell": "gru", "conv": 3},
]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def run(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "mine"
    return charrnn.train(
        LINES, run=place, steps=5, hidden_size=6, seed=3, counting="off", **request.param
    )


def test_logits_are_the_samplers(run):
    network = run.torch()
    sampler = run.sampler
    ids = network.encode("Annabella")
    logits, _ = network(torch.tensor([ids]))
    state = sampler.zero_state(1)
    for place, index in enumerate(ids):
        ours, state = sampler.step(np.array([index]), state)
        np.testing.assert_allclose(logits[0, place].detach(), ours[0], atol=1e-5)


def test_a_state_goes_on(run):
    network = run.torch()
    ids = torch.tensor([network.encode("Annabella")])
    whole, _ = network(ids)
    _, state = network(ids[:, :4])
    rest, _ = network(ids[:, 4:], state)
    torch.testing.assert_close(rest, whole[:, 4:], atol=1e-6, rtol=1e-5)


def loss_of(logits):
    """A number that every logit moves, differently."""
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
    return (logits.log_softmax(-1) * weights).sum()


def by_equations(network, ids):
    """The logits (B, T, V) by the textbook's equations. network: in float64."""
    settings = network.settings
    embedded = network.embedding.weight[ids].transpose(0, 1)  # (T, B, E)
    seen, below = [embedded], embedded
    if settings.conv:
        past = embedded.new_zeros(settings.conv - 1, *embedded.shape[1:])
        below = equations.causal_convolution(embedded, past, network.conv.weight)
    for layer in range(settings.num_layers):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = {name: getattr(network.recurrent, f"{name}_l{layer}") for name in names}
        zeros = embedded.new_zeros(embedded.shape[1], settings.hidden_size)
        state = (zeros, zeros) if settings.cell == "lstm" else (zeros,)
        inputs = torch.cat(seen, 2) if settings.skip == "dense" else below
        outputs, _ = equations.run_layer(settings.cell, inputs, state, weights)
        is_added = settings.skip == "residual" and outputs.shape == seen[-1].shape
        below = outputs + seen[-1] if is_added else outputs
        seen.append(below)
    top = torch.cat(seen, 2) if settings.skip == "dense" else below
    return (top @ network.head.weight.T + network.head.bias).transpose(0, 1)


def test_gradients_are_those_of_the_equations(run):
    network = run.torch()
    ids = torch.tensor([network.encode("Annabella"), network.encode("Brendanna")])
    double = copy.deepcopy(network).double()
    loss_of(network(ids)[0]).backward()
    loss_of(by_equations(double, ids)).backward()
    expected = {name: part.grad for name, part in double.named_parameters()}
    for name, part in network.named_parameters():
        np.testing.assert_allclose(part.grad, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_every_parameter_has_a_gradient(run):
    network = run.torch()
    logits, _ = network(torch.tensor([network.encode("Annabella")]))
    logits.logsumexp(2).sum().backward()
    missing = [name for name, part in network.named_parameters() if part.grad is None]
    assert missing == []


def test_what_is_saved_is_loaded_unchanged(run, tmp_path):
    place = charrnn.save_torch(run.torch(), tmp_path / "copy")
    assert place == tmp_path / "copy" / "model.safetensors"
    ours = run.torch().state_dict()
    for name, value in charrnn.load_torch(place).state_dict().items():
        assert torch.equal(value, ours[name])


def test_a_fine_tuning_by_hand_samples(run, tmp_path):
    network = run.torch()
    start = network.file.start
    ids = torch.tensor([[start, *network.encode("Brenda\n")]])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(60):
        logits, _ = network(ids[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    place = charrnn.save_torch(network, tmp_path / "brenda.safetensors")
    greedy = charrnn.Decoding(temperature=0)
    assert [sample.text for sample in charrnn.load(place).generate(1, decoding=greedy)] == [
        "Brenda"
    ]


def test_plain_torch_loads_the_file(tmp_path):
    """The lines that the README shows, without charrnn."""
    run = charrnn.train(
        LINES, run=tmp_path / "r", steps=3, hidden_size=6, seed=3, num_layers=2, counting="off"
    )
    from safetensors.torch import load_file

    tensors = load_file(run.path / "model.safetensors")
    embedding = torch.nn.Embedding.from_pretrained(tensors["embedding.weight"])
    layers = torch.nn.GRU(embedding.embedding_dim, 6, num_layers=2, batch_first=True)
    recurrent = {name[10:]: part for name, part in tensors.items() if name[:10] == "recurrent."}
    layers.load_state_dict(recurrent)
    head = torch.nn.functional.linear
    network = run.torch()
    ids = torch.tensor([network.encode("Annabella")])
    outputs, _ = layers(embedding(ids))
    logits = head(outputs, tensors["head.weight"], tensors["head.bias"])
    torch.testing.assert_close(logits, network(ids)[0], atol=1e-6, rtol=1e-5)


def test_it_begins_without_dropout(run):
    network = run.torch()
    assert not network.training


def test_an_unknown_character_is_refused(run):
    with pytest.raises(VocabularyError):
        run.torch().encode("%")


def test_text_comes_back(run):
    network = run.torch()
    assert network.decode(network.encode("Anna")) == "Anna"


def test_what_is_there_is_not_replaced(run):
    with pytest.raises(SettingsError, match="is there already"):
        charrnn.save_torch(run.torch(), run.path)


def test_numbers_that_are_not_finite_are_not_written(run, tmp_path):
    network = run.torch()
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        charrnn.save_torch(network, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_counting_has_no_network(tmp_path):
    run = charrnn.train(LINES, run=tmp_path / "r", cell="ngram", order=2)
    with pytest.raises(CheckpointError, match="has no network"):
        charrnn.load_torch(run.path)


def test_counting_beside_a_network_is_left_out(tmp_path):
    run = charrnn.train(LINES, run=tmp_path / "r", steps=3, hidden_size=6, seed=3, counting="on")
    place = charrnn.save_torch(run.torch(), tmp_path / "alone")
    names = read_tensors(place, {"charrnn-model": 99})[0]
    assert not [name for name in names if name.startswith(("ngram", "gate"))]

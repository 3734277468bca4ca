"""The network's backends against each other, a naive stack, and torch.nn's own modules."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import (
    BACKENDS,
    EXACT,
    KERNEL,
    SKIPS,
    B,
    E,
    H,
    V,
    naive,
    random_model,
    sized,
    some_ids,
    some_state,
)
from torch import nn

from charrnn.model.charmodel import CharModel


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(11)


def in_torch(model):
    """Return the model with its weights in torch.nn's layers."""
    other = CharModel(model.settings, V, "torch").to(model.head.bias.dtype)
    other.load_state_dict(model.state_dict())
    return other


def everything(model, ids, state):
    """Return logits, last state, and the gradients of a weighted sum of both, by name.

    The gradients are in every parameter and in the first state.
    """
    logits, last = model(ids, state)
    torch.manual_seed(99)
    total = sum((part * torch.randn_like(part)).sum() for part in (logits, *last))
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(total, [*named.values(), *state])
    return (
        {"logits": logits}
        | dict(zip(["h", "c"], last, strict=False))
        | dict(zip([*named, "h0", "c0"], gradients, strict=False))
    )


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), [*EXACT, ("func", torch.float32, 1e-5)])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_own_and_torch_agree_in_logits_states_and_all_gradients(
    cell, skip, layers, backend, dtype, tolerance
):
    settings = sized(cell, layers, skip)
    own = random_model(settings, backend, dtype)
    ids = some_ids()
    state = some_state(settings, dtype)
    got = everything(own, ids, state)
    expected = everything(in_torch(own), ids, state)
    assert got.keys() == expected.keys()
    for name in got:
        torch.testing.assert_close(
            got[name],
            expected[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), EXACT)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_own_equals_a_naive_stack_of_the_equations(cell, skip, layers, backend, dtype, tolerance):
    settings = sized(cell, layers, skip)
    own = random_model(settings, backend, dtype)
    ids = some_ids()
    state = some_state(settings, dtype)
    torch.testing.assert_close(
        own(ids, state), naive(own, ids, state), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), EXACT)
@pytest.mark.parametrize("cell", ["lstm", "gru-before"])
def test_gradients_equal_those_of_the_naive_stack(cell, backend, dtype, tolerance):
    settings = sized(cell, 2, "dense")
    model = CharModel(settings, V, backend).to(dtype)
    ids = some_ids()
    state = some_state(settings, dtype)
    leaves = [*model.parameters(), *state]
    for got, expected in zip(
        torch.autograd.grad(model(ids, state)[0].square().sum(), leaves),
        torch.autograd.grad(naive(model, ids, state)[0].square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
@pytest.mark.parametrize("layers", [1, 3])
def test_weights_of_a_torch_module_load_by_name_and_give_its_outputs(cell, kind, layers):
    settings = sized(cell, layers)
    module = kind(E, H, layers, batch_first=True)
    model = CharModel(settings, V)
    ids = some_ids()
    state = some_state(settings)
    model.recurrent.load_state_dict(module.state_dict())
    logits, last = model(ids, state)
    outputs, after = module(model.embedding(ids), state if cell == "lstm" else state[0])
    torch.testing.assert_close(logits, model.head(outputs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last, after if cell == "lstm" else (after,), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", BACKENDS)
@pytest.mark.parametrize("source", BACKENDS)
def test_state_dict_moves_between_backends(source, target):
    giver = CharModel(sized("gru"), V, source)
    taker = CharModel(sized("gru"), V, target)
    taker.load_state_dict(giver.state_dict())
    state = giver.zero_state(B)
    ids = some_ids()
    torch.testing.assert_close(giver(ids, state), taker(ids, state), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", [KERNEL, "torch"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_same_seed_gives_the_same_first_weights_in_every_backend(cell, backend):
    weights = []
    for name in ("func", backend):
        torch.manual_seed(5)
        weights.append(CharModel(sized(cell), V, name).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_torch_backend_still_shares_its_weights_after_a_change_of_type_and_a_copy():
    model = copy.deepcopy(CharModel(sized("lstm"), V, "torch").double())
    before = model(some_ids(1, 1), model.zero_state(1))[0]
    with torch.no_grad():
        for parameter in model.recurrent.parameters():
            parameter.zero_()
    _, (h, c) = model(some_ids(1, 1), model.zero_state(1))
    assert before.dtype == torch.float64
    assert h.abs().max() == c.abs().max() == 0


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_nats_and_their_gradients_are_those_of_the_logits(backend, skip):
    model = random_model(sized("gru", skip=skip), backend)
    ids = some_ids()
    targets = some_ids()
    targets[1, 2] = -100  # not counted
    state = some_state(model.settings)
    total, last = model.nats(ids, targets, state)
    logits, after = model(ids, state)
    expected = F.cross_entropy(
        logits.double().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)  # logits are float32
    torch.testing.assert_close(last, after)
    leaves = [*model.parameters(), *state]
    for got, other in zip(
        torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(got, other, rtol=1e-5, atol=1e-5)

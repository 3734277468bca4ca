"""The network alone: its state, dropout, first weights, tied weights, shapes and skips."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from networks import (
    BACKENDS,
    EXACT,
    KERNEL,
    OWN,
    SKIPS,
    B,
    E,
    H,
    T,
    V,
    naive,
    sized,
    some_ids,
    some_state,
)
from support import needs_kernel
from torch import nn

from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.layout import expected_shapes
from charrnn.model.charmodel import CharModel


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(11)


# State


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_state_is_not_changed_in_place(cell, backend):
    settings = sized(cell)
    model = CharModel(settings, V, backend)
    state = some_state(settings)
    kept = [part.detach().clone() for part in state]
    _, after = model(some_ids(), state)
    after_kept = [part.detach().clone() for part in after]
    model(some_ids(), after)
    assert all(
        torch.equal(part, before)
        for part, before in zip((*state, *after), (*kept, *after_kept), strict=True)
    )


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), EXACT)
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_a_text_in_two_pieces_equals_the_whole(cell, skip, backend, dtype, tolerance):
    model = CharModel(sized(cell, 3, skip), V, backend).to(dtype)
    ids = some_ids()
    whole, last = model(ids, model.zero_state(B))
    first, middle = model(ids[:, :1], model.zero_state(B))
    second, end = model(ids[:, 1:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(end, last, rtol=tolerance, atol=tolerance)


def test_zero_state_is_h_and_c_of_an_lstm_and_h_alone_of_the_others():
    for cell, parts in (("lstm", 2), ("gru", 1)):
        state = CharModel(sized(cell, 3), V).zero_state(2)
        assert [tuple(part.shape) for part in state] == [(3, 2, H)] * parts


def test_a_character_is_predicted_by_the_state_that_has_not_seen_it():
    model = CharModel(sized("gru"), V)
    ids = some_ids(1, T)
    changed = ids.clone()
    changed[0, 2] = (ids[0, 2] + 1) % V
    same = (model(ids, model.zero_state(1))[0] == model(changed, model.zero_state(1))[0]).all(2)[0]
    assert same.tolist() == [True, True, False, False]


# Dropout


def dropped(backend, p=0.5, **more):
    settings = sized("lstm", dropout=p, **more)
    torch.manual_seed(2)
    return CharModel(settings, V, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_works_even_with_one_layer(backend, layers):
    model = dropped(backend, layers=layers).train()
    ids = some_ids()
    torch.manual_seed(1)
    first = model(ids, model.zero_state(B))[0]
    assert not torch.equal(first, model(ids, model.zero_state(B))[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_is_off_in_evaluation(backend):
    model = dropped(backend).eval()
    ids = some_ids()
    plain = dropped(backend, p=0.0)
    torch.testing.assert_close(model(ids, model.zero_state(B)), plain(ids, plain.zero_state(B)))


def test_dropout_leaves_out_whole_units_and_scales_the_others():
    model = dropped("func", p=0.25, layers=1).train()
    ids = some_ids()
    state = model.zero_state(B)
    with torch.no_grad():
        _, (h, _) = naive(model, ids, state)
        outputs = h[0]  # after the last character: what the head sees without dropout
        model.head = nn.Identity()
        got = model(ids, state)[0][:, -1]
    ratio = got / outputs
    assert all(min(abs(value), abs(value - 4 / 3)) < 1e-4 for value in ratio.flatten().tolist())
    assert 0 < (ratio == 0).sum() < ratio.numel()


@pytest.mark.parametrize("backend", [KERNEL, "torch"])
@pytest.mark.parametrize("skip", SKIPS)
def test_same_seed_drops_the_same_units_in_every_backend(skip, backend):
    results = []
    for name in ("func", backend):
        model = dropped(name, layers=3, skip=skip).train()
        torch.manual_seed(4)
        results.append(model(torch.arange(6).view(2, 3), model.zero_state(2)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", OWN)
def test_dropout_does_not_touch_the_state_that_is_handed_on(backend):
    model = dropped(backend, layers=1).train()
    ids = some_ids()
    _, last = model(ids, model.zero_state(B))
    _, expected = naive(model, ids, model.zero_state(B))
    torch.testing.assert_close(last, expected)


# First weights, tying, shapes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [1.0, -0.5])
def test_forget_gate_biases_add_up_to_the_setting(backend, bias):
    model = CharModel(sized("lstm", forget_bias=bias), V, backend)
    for k in range(2):
        bias_ih = getattr(model.recurrent, f"bias_ih_l{k}")
        bias_hh = getattr(model.recurrent, f"bias_hh_l{k}")
        total = bias_ih + bias_hh
        assert torch.equal(total[H : 2 * H], torch.full((H,), bias))
        assert total[:H].abs().min() > 0
        assert total[2 * H :].abs().min() > 0


def test_first_weights_lie_within_one_over_root_h_and_fill_it():
    model = CharModel(sized("gru", hidden_size=50), V)
    largest = max(parameter.abs().max().item() for parameter in model.recurrent.parameters())
    assert 0.99 * 50**-0.5 < largest <= 50**-0.5


def test_tied_weights_are_one_tensor():
    model = CharModel(sized(embedding_size=H, tie_weights=True), V)
    assert model.head.weight is model.embedding.weight
    assert "head.weight" not in model.tensors()
    loose = CharModel(sized(embedding_size=H), V)
    assert model.parameter_count() == loose.parameter_count() - V * H


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), EXACT)
def test_tied_weights_collect_the_gradients_of_both_uses(backend, dtype, tolerance):
    model = CharModel(sized(embedding_size=H, tie_weights=True), V, backend).to(dtype)
    ids = some_ids()
    loose = CharModel(sized(embedding_size=H), V, backend).to(dtype)
    loose.load_state_dict(model.state_dict())
    for item in (model, loose):
        F.cross_entropy(item(ids, item.zero_state(B))[0].flatten(0, 1), ids.flatten()).backward()
    both = loose.embedding.weight.grad + loose.head.weight.grad
    torch.testing.assert_close(model.embedding.weight.grad, both, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "more", [{"embedding_size": H - 1}, {"embedding_size": H, "skip": "dense"}]
)
def test_tied_weights_of_unequal_sizes_are_refused(more):
    with pytest.raises(SettingsError, match="--tie-weights"):
        CharModel(sized(tie_weights=True, **more), V)


@pytest.mark.parametrize(
    ("skip", "tied"),
    [("none", False), ("none", True), ("residual", False), ("residual", True), ("dense", False)],
)
@pytest.mark.parametrize(
    ("cell", "backend"),
    [
        *(
            (cell, backend)
            for cell in ("rnn", "lstm", "gru", "gru-before")
            for backend in ("func", "kernel")
        ),
        *((cell, "torch") for cell in ("rnn", "lstm", "gru")),
    ],
)
def test_expected_shapes_are_the_real_ones(cell, backend, skip, tied):
    embedding = H if tied else E
    settings = sized(cell, 3, skip, tie_weights=tied, embedding_size=embedding)
    real = {
        name: tuple(value.shape)
        for name, value in CharModel(settings, V, backend).tensors().items()
    }
    assert expected_shapes(settings, V) == real


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_load_tensors_takes_what_tensors_gave(tied, backend):
    settings = sized("gru", embedding_size=H, tie_weights=tied)
    giver = CharModel(settings, V)
    taker = CharModel(settings, V, backend)
    ids = some_ids()
    taker.load_tensors(giver.tensors())
    torch.testing.assert_close(
        giver(ids, giver.zero_state(B)), taker(ids, giver.zero_state(B)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("embedding", "adds"), [(H, True), (E, False)])
def test_residual_adds_an_embedding_exactly_when_it_is_as_wide_as_the_layer(
    embedding, adds, backend
):
    settings = sized("lstm", 1, "residual", embedding_size=embedding)
    model = CharModel(settings, V, backend)
    ids = some_ids()
    plain = CharModel(dataclasses.replace(settings, skip="none"), V)
    plain.load_state_dict(model.state_dict())
    difference = model(ids, model.zero_state(B))[0] - plain(ids, plain.zero_state(B))[0]
    added = model.embedding(ids) @ model.head.weight.T if adds else torch.zeros(B, T, V)
    torch.testing.assert_close(difference, added, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_one_character_and_one_line_work(layers, backend):
    model = CharModel(sized("lstm", layers), 1, backend)
    logits, _ = model(torch.zeros(1, 1, dtype=torch.long), model.zero_state(1))
    assert logits.shape == (1, 1, 1)


@needs_kernel
def test_the_kernel_refuses_other_numbers_than_float32():
    model = CharModel(sized("gru"), V, "kernel").double()
    with pytest.raises(TypeError, match="float32"):
        model(some_ids(), model.zero_state(B))


def test_sizes_left_open_are_refused():
    with pytest.raises(ValueError, match="every size"):
        CharModel(ModelSettings(), V)


@pytest.mark.parametrize("backend", ["func", pytest.param("kernel", marks=needs_kernel)])
@pytest.mark.parametrize("tied", [False, True])
def test_an_alphabet_larger_than_the_batch_is_looked_up_character_by_character(backend, tied):
    """Where six of 500 characters are read, only they are multiplied and have gradients."""
    settings = ModelSettings(
        cell="lstm", hidden_size=5, num_layers=2, embedding_size=5, dropout=0.0, tie_weights=tied
    )
    one = CharModel(settings, 500, backend)
    other = CharModel(settings, 500, "torch")
    other.load_state_dict(one.state_dict())
    ids = torch.randint(0, 500, (2, 3))
    for model in (one, other):
        model.nats(ids, ids.flip(1), model.zero_state(2))[0].backward()
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        # float32 in other orders
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)

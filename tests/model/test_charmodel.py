"""The whole network: its backends against each other, a naive stack, and torch.nn's own modules."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from support import needs_kernel
from torch import nn

from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.layout import PARAMETERS, expected_shapes
from charrnn.model import equations
from charrnn.model.charmodel import CharModel

V, E, H, B, T = 7, 3, 5, 2, 4
SKIPS = ("none", "residual", "dense")
KERNEL = pytest.param("kernel", marks=needs_kernel)
OWN, BACKENDS = ("func", KERNEL), ("func", KERNEL, "torch")
# float32: sums over T*B=8 products of size 1..10
EXACT = [
    ("func", torch.float64, 1e-11),
    pytest.param("kernel", torch.float32, 1e-5, marks=needs_kernel),
]


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(11)


def sized(cell="lstm", layers=2, skip="none", **more):
    return ModelSettings(
        **(
            {
                "cell": cell,
                "hidden_size": H,
                "num_layers": layers,
                "embedding_size": E,
                "skip": skip,
            }
            | more
        )
    )


def some_state(settings, dtype=torch.float32, batch=B):
    shape = (settings.num_layers, batch, settings.hidden_size)
    return tuple(
        torch.randn(*shape, dtype=dtype).requires_grad_()
        for _ in range(2 if settings.cell == "lstm" else 1)
    )


def some_ids(batch=B, time=T):
    return torch.randint(0, V, (batch, time))


def random_model(settings, backend="func", dtype=torch.float32):
    """Every bias is random, so that none can go missing unseen."""
    model = CharModel(settings, V, backend).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    return model


def in_torch(model):
    """The same weights in torch.nn's layers."""
    other = CharModel(model.settings, V, "torch").to(model.head.bias.dtype)
    other.load_state_dict(model.state_dict())
    return other


def everything(model, ids, state):
    """Logits, last state, and the gradient of a weighted sum of them in every parameter and the first state."""
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


def naive(model, ids, state):
    """The stack again, from equations.py and one-layer-at-a-time prose, for any skip."""
    settings = model.settings
    seen = [model.embedding.weight[ids].transpose(0, 1)]
    last = []
    for k in range(settings.num_layers):
        weights = {name: getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS}
        inputs = torch.cat(seen, 2) if settings.skip == "dense" else seen[-1]
        outputs, after = equations.run_layer(
            settings.cell, inputs, tuple(part[k] for part in state), weights
        )
        if settings.skip == "residual" and inputs.shape[2] == outputs.shape[2]:
            outputs = outputs + inputs
        seen.append(outputs)
        last.append(after)
    top = torch.cat(seen, 2) if settings.skip == "dense" else seen[-1]
    logits = top @ model.head.weight.T + model.head.bias
    return logits.transpose(0, 1), tuple(torch.stack(parts) for parts in zip(*last, strict=True))


# Backends


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), [*EXACT, ("func", torch.float32, 1e-5)])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_own_and_torch_agree_in_logits_states_and_all_gradients(
    cell, skip, layers, backend, dtype, tolerance
):
    settings = sized(cell, layers, skip)
    own, ids, state = (
        random_model(settings, backend, dtype),
        some_ids(),
        some_state(settings, dtype),
    )
    got, expected = everything(own, ids, state), everything(in_torch(own), ids, state)
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
    own, ids, state = (
        random_model(settings, backend, dtype),
        some_ids(),
        some_state(settings, dtype),
    )
    torch.testing.assert_close(
        own(ids, state), naive(own, ids, state), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), EXACT)
@pytest.mark.parametrize("cell", ["lstm", "gru-before"])
def test_gradients_equal_those_of_the_naive_stack(cell, backend, dtype, tolerance):
    settings = sized(cell, 2, "dense")
    model, ids, state = (
        CharModel(settings, V, backend).to(dtype),
        some_ids(),
        some_state(settings, dtype),
    )
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
    settings, module = sized(cell, layers), kind(E, H, layers, batch_first=True)
    model, ids, state = CharModel(settings, V), some_ids(), some_state(settings)
    model.recurrent.load_state_dict(module.state_dict())
    logits, last = model(ids, state)
    outputs, after = module(model.embedding(ids), state if cell == "lstm" else state[0])
    torch.testing.assert_close(logits, model.head(outputs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last, after if cell == "lstm" else (after,), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", BACKENDS)
@pytest.mark.parametrize("source", BACKENDS)
def test_state_dict_moves_between_backends(source, target):
    giver, taker = CharModel(sized("gru"), V, source), CharModel(sized("gru"), V, target)
    taker.load_state_dict(giver.state_dict())
    state, ids = giver.zero_state(B), some_ids()
    torch.testing.assert_close(giver(ids, state), taker(ids, state), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", [KERNEL, "torch"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_same_seed_gives_the_same_first_weights_in_every_backend(cell, backend):
    made = []
    for each in ("func", backend):
        torch.manual_seed(5)
        made.append(CharModel(sized(cell), V, each).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


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
    model, ids, targets = random_model(sized("gru", skip=skip), backend), some_ids(), some_ids()
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


# State


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_state_is_not_changed_in_place(cell, backend):
    settings = sized(cell)
    model, state = CharModel(settings, V, backend), some_state(settings)
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
    model, ids = CharModel(sized(cell, 3, skip), V, backend).to(dtype), some_ids()
    whole, last = model(ids, model.zero_state(B))
    first, middle = model(ids[:, :1], model.zero_state(B))
    second, end = model(ids[:, 1:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(end, last, rtol=tolerance, atol=tolerance)


def test_zero_state_is_h_and_c_of_an_lstm_and_h_alone_of_the_others():
    assert [tuple(part.shape) for part in CharModel(sized("lstm", 3), V).zero_state(2)] == [
        (3, 2, H)
    ] * 2
    assert [tuple(part.shape) for part in CharModel(sized("gru", 3), V).zero_state(2)] == [
        (3, 2, H)
    ]


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
    model, ids = dropped(backend, layers=layers).train(), some_ids()
    torch.manual_seed(1)
    first = model(ids, model.zero_state(B))[0]
    assert not torch.equal(first, model(ids, model.zero_state(B))[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_is_off_in_evaluation(backend):
    model, ids = dropped(backend).eval(), some_ids()
    plain = dropped(backend, p=0.0)
    torch.testing.assert_close(model(ids, model.zero_state(B)), plain(ids, plain.zero_state(B)))


def test_dropout_leaves_out_whole_units_and_scales_the_others():
    model, ids = dropped("func", p=0.25, layers=1).train(), some_ids()
    state = model.zero_state(B)
    with torch.no_grad():
        outputs = naive(model, ids, state)[1][0][
            0
        ]  # h after the last character: what the head sees without dropout
        model.head = nn.Identity()
        got = model(ids, state)[0][:, -1]
    ratio = got / outputs
    assert all(min(abs(value), abs(value - 4 / 3)) < 1e-4 for value in ratio.flatten().tolist())
    assert 0 < (ratio == 0).sum() < ratio.numel()


@pytest.mark.parametrize("backend", [KERNEL, "torch"])
@pytest.mark.parametrize("skip", SKIPS)
def test_same_seed_drops_the_same_units_in_every_backend(skip, backend):
    results = []
    for each in ("func", backend):
        model = dropped(each, layers=3, skip=skip).train()
        torch.manual_seed(4)
        results.append(model(torch.arange(6).view(2, 3), model.zero_state(2)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", OWN)
def test_dropout_does_not_touch_the_state_that_is_handed_on(backend):
    model, ids = dropped(backend, layers=1).train(), some_ids()
    torch.testing.assert_close(
        model(ids, model.zero_state(B))[1], naive(model, ids, model.zero_state(B))[1]
    )


# First weights, tying, shapes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [1.0, -0.5])
def test_forget_gate_biases_add_up_to_the_setting(backend, bias):
    model = CharModel(sized("lstm", forget_bias=bias), V, backend)
    for k in range(2):
        total = getattr(model.recurrent, f"bias_ih_l{k}") + getattr(
            model.recurrent, f"bias_hh_l{k}"
        )
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
    assert (
        model.parameter_count() == CharModel(sized(embedding_size=H), V).parameter_count() - V * H
    )


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), EXACT)
def test_tied_weights_collect_the_gradients_of_both_uses(backend, dtype, tolerance):
    model, ids = (
        CharModel(sized(embedding_size=H, tie_weights=True), V, backend).to(dtype),
        some_ids(),
    )
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
    settings = sized(cell, 3, skip, tie_weights=tied, embedding_size=H if tied else E)
    real = {
        name: tuple(value.shape)
        for name, value in CharModel(settings, V, backend).tensors().items()
    }
    assert expected_shapes(settings, V) == real


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_load_tensors_takes_what_tensors_gave(tied, backend):
    settings = sized("gru", embedding_size=H, tie_weights=tied)
    giver, taker, ids = CharModel(settings, V), CharModel(settings, V, backend), some_ids()
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
    model, ids = CharModel(settings, V, backend), some_ids()
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
    """No product for each of 500 characters where six are read: same results, and gradients of the six only."""
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
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-5, atol=1e-6
        )  # float32 in other orders

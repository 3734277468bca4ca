"""The depth lab: gradients by layer, layers left out, and the same figures for a seed."""

import math

import pytest
import torch
import torch.nn.functional as F

from charrnn.config import ModelSettings
from charrnn.lab import depth as lab
from charrnn.lab.unrolled import tensors_of, unroll
from charrnn.model.charmodel import CharModel

V, H, N = 7, 5, 3


@pytest.fixture(autouse=True)
def _one_thread_and_seed(one_thread):
    torch.manual_seed(7)


def stack(cell, layers, skip):
    settings = ModelSettings(
        cell=cell,
        hidden_size=H,
        num_layers=layers,
        embedding_size=H,
        skip=skip,
        dropout=0.0,
        weight_drop=0.0,
    )
    return CharModel(settings, V, "func").double()


def test_layer_norms_are_those_of_the_weights_gradients():
    model = stack("gru", 3, "dense")
    text = torch.randint(V, (N, 5))
    logits, _ = model(text[:, :-1], model.zero_state(N))
    F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
    expected = [
        math.sqrt(
            sum(
                float((weight.grad**2).sum())
                for name, weight in model.named_parameters()
                if f"_l{k}" in name
            )
        )
        for k in range(3)
    ]
    assert lab.layer_norms(model, text) == pytest.approx(
        expected, rel=1e-6
    )  # training's loss is float32


@pytest.mark.parametrize("skip", ["residual", "dense"])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_removed_layer_with_a_skip_is_one_that_makes_zeros(skip, k):
    model = stack("rnn", 3, skip)
    text = torch.randint(V, (N, 5))
    bits = lab.bits_without(model, text, (k,))
    assert bits != lab.bits_without(model, text)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(f"_l{k}"):
                weight.zero_()
    assert bits == pytest.approx(lab.bits_without(model, text), rel=1e-12)


@pytest.mark.parametrize("k", [0, 1])
def test_a_plain_stack_without_a_layer_is_the_shorter_stack(k):
    model, shorter, text = (
        stack("lstm", 2, "none"),
        stack("lstm", 1, "none"),
        torch.randint(V, (N, 5)),
    )
    left = {
        name.replace(f"_l{1 - k}", "_l0"): value
        for name, value in model.tensors().items()
        if f"_l{k}" not in name
    }
    shorter.load_tensors(left)
    assert lab.bits_without(model, text, (k,)) == pytest.approx(
        lab.bits_without(shorter, text), rel=1e-12
    )


def test_without_a_layer_there_are_no_states_of_it():
    model = stack("rnn", 2, "residual")
    states = unroll(
        model.settings, tensors_of(model), torch.randint(V, (N, 4)), removed=(0,)
    ).states
    assert [len(layer) for layer in states] == [0, 4]


def test_bits_are_those_of_the_model():
    model = stack("lstm", 2, "residual")
    text = torch.randint(V, (N, 5))
    nats, _ = model.nats(text[:, :-1], text[:, 1:], model.zero_state(N))
    assert lab.bits_without(model, text) == pytest.approx(
        float(nats.detach()) / (N * 4) / math.log(2), rel=1e-6
    )


def test_depth_gives_the_same_figures_for_a_seed(monkeypatch):
    """And untrained, a plain stack's gradient fades downwards; one with skips keeps it."""
    monkeypatch.setattr(lab, "DEEPEST", 4)
    monkeypatch.setattr(lab, "STEPS", 3)
    result = lab.depth("rnn", 1, lambda text: None)
    assert [row[:2] for row in result.rows] == [
        (skip, n) for skip in lab.SKIPS for n in (1, 2, 3, 4)
    ]
    ratio = {row[0]: row[3] for row in result.rows if row[1] == 4}
    assert ratio == pytest.approx(
        {"none": 0.228268, "residual": 1.203994, "dense": 1.151427}, rel=1e-3
    )
    assert ratio["none"] < 0.5 < ratio["residual"] and ratio["dense"] > 0.5
    assert result.rows[-1][2] == pytest.approx(4.62839, rel=1e-3)


@pytest.mark.medium
def test_a_layer_less_costs_a_plain_stack_most(monkeypatch):
    """At the lab's own sizes, for its deepest stacks."""
    monkeypatch.setattr(lab, "STEPS", 100)
    train, held_out, size = lab.names_stream(1)
    text = torch.from_numpy(held_out[: 33 * 60].reshape(60, 33).astype("int64"))
    costs = {}
    for skip in lab.SKIPS:
        settings = ModelSettings(
            cell="rnn",
            hidden_size=lab.SIZE,
            num_layers=5,
            embedding_size=lab.SIZE,
            skip=skip,
            dropout=0.0,
        )
        costs[skip] = sum(lab.examine(settings, train, text, size, 1).costs) / 5
    assert costs["none"] > 2 * costs["residual"] and costs["none"] > 2 * costs["dense"]


def test_a_cell_that_is_none_is_told_before_any_work(charrnn):
    done = charrnn("lab", "depth", "--cell", "ngram")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)

"""A device on every command that has one, and code for a GPU without a GPU.

Tensors on "meta" have a shape and no numbers. An operation on one there and one on the processor
is refused, as CUDA refuses it.
"""

import pytest
import torch
from fuzz_inputs import FIXTURES

from charrnn.cli.cells import cells
from charrnn.cli.lab import memory, vanish
from charrnn.cli.report import report
from charrnn.config import ModelSettings
from charrnn.errors import SettingsError
from charrnn.lab.unrolled import nats, tensors_of, unroll
from charrnn.machine import runtime
from charrnn.model.charmodel import CharModel
from charrnn.model.stacked import StackedModel

RUN = FIXTURES / "0.4.0" / "gru-stream"
V, B, T = 11, 2, 5
ELSEWHERE = torch.device("meta")


def network(cell="gru", backend="torch", **more):
    sized = {
        "cell": cell,
        "hidden_size": 6,
        "num_layers": 2,
        "embedding_size": 4,
        "skip": "dense",
        "dropout": 0.2,
        "weight_drop": 0.1,
    }
    return CharModel(ModelSettings(**(sized | more)), V, backend)


@pytest.mark.parametrize(
    "command", [cells, report, lambda run, device: vanish(run, device=device), memory]
)
def test_a_device_that_is_not_here_is_one_line(command, monkeypatch):
    monkeypatch.setattr(runtime, "available_devices", lambda: ["cpu"])
    with pytest.raises(SettingsError) as refused:
        command(RUN, device="cuda:7")
    message = str(refused.value)
    assert message.startswith("--device 'cuda:7'")
    assert "\n" not in message


@pytest.mark.parametrize("command", [vanish, memory])
def test_a_device_without_a_run_is_refused(command):
    with pytest.raises(SettingsError, match="name a run, or leave it out"):
        command(None, device="cpu")


@pytest.mark.parametrize("skip", ["none", "dense"])
@pytest.mark.parametrize(
    ("cell", "backend"), [("gru", "torch"), ("lstm", "torch"), ("gru", "func")]
)
def test_states_for_the_cache_stay_on_their_device(cell, backend, skip):
    with ELSEWHERE:
        model = network(cell, backend, skip=skip).eval()
    ids = torch.zeros(B, T, dtype=torch.int64, device=ELSEWHERE)
    with torch.inference_mode():
        logits, outputs, state = model.forward_traced(ids, model.zero_state(B))
    assert logits.shape == (B, T, V)
    assert outputs.shape == (2, T, B, 6)
    assert {part.device for part in (logits, outputs, *state)} == {ELSEWHERE}


def test_networks_side_by_side_stay_on_their_device():
    model = StackedModel([network(backend="func"), network(backend="func")]).to(ELSEWHERE).train()
    ids = torch.zeros(2, B, T, dtype=torch.int64, device=ELSEWHERE)
    summed, after = model.nats(ids, ids, model.zero_state(B))
    summed.sum().backward()
    assert {p.grad.device for p in model.parameters()} == {ELSEWHERE}
    assert summed.device == after.device == ELSEWHERE


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
@pytest.mark.parametrize("conv", [0, 3])
def test_a_lab_unrolls_on_another_device(cell, conv):
    model = network(cell, "func", conv=conv)
    tensors = {name: value.to(ELSEWHERE) for name, value in tensors_of(model).items()}
    ids = torch.zeros(B, T, dtype=torch.int64, device=ELSEWHERE)
    starts = torch.zeros(B, dtype=torch.int64, device=ELSEWHERE)
    unrolled = unroll(model.settings, tensors, ids, starts=starts)
    loss = nats(tensors, unrolled.hidden[-1], ids[:, -1]).sum()
    nodes = [unrolled.states[0][1][0]]
    (gradient,) = torch.autograd.grad(loss, nodes)
    assert gradient.device == ELSEWHERE

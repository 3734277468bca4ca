"""train --watch: what is measured equals a naive computation; measuring changes nothing, and
resumes stay exact.
"""

import json

import pytest
import torch
from support import FEW, Killed, Watcher, needs_kernel
from test_graph import Recorded

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.layout import PARAMETERS
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import IGNORED, Batch
from charrnn.training import health
from charrnn.training.graph import GraphedStep
from charrnn.training.health import Watch
from charrnn.training.optim import FlatOptimizer, TorchOptimizer, make_optimizer
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

V, B, T, H = 11, 3, 5, 6
BACKENDS = [pytest.param("kernel", marks=needs_kernel), "func", "torch"]
SETTINGS = {
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.3,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 40,
    "save_every": "4",
    "eval_every": "13",
    "sample_every": "20",
    "threads": 1,
    "patience": 0,
    "mode": "stream",
}

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(cell="lstm", **training):
    sized = {"cell": cell, "hidden_size": H, "num_layers": 2, "embedding_size": 4, "dropout": 0.0}
    return (
        Settings()
        .with_values("model", **sized)
        .with_values("training", **({"weight_decay": 0.1} | training))
    )


def network(chosen, backend="func", seed=0):
    torch.manual_seed(seed)
    model = CharModel(chosen.model, V, backend)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.mul_(8)  # so that some gates saturate
    return model


def batch(seed=1):
    """Padded as lines are, the state carried as a stream's."""
    torch.manual_seed(seed)
    targets = torch.randint(V, (B, T))
    targets[1, 3:] = IGNORED
    return Batch(torch.randint(V, (B, T)), targets, fresh=False)


def some_state(model):
    torch.manual_seed(2)
    return tuple(torch.randn_like(part).tanh() for part in model.zero_state(B))


def watched(chosen, backend, clip):
    """One measured update of a new network.

    Returns the model before, the model after and what was measured.
    """
    model, before = network(chosen, backend), network(chosen)
    chosen = chosen.with_values("training", clip=clip)
    optimizer, watch, state = (
        make_optimizer(model, chosen.training),
        Watch(model),
        some_state(model),
    )
    moment = watch.before(batch(), state, 0)
    done = TrainStep(model, optimizer, chosen)(batch(), state, 0.01, 0)
    return before, model, watch.after(moment, batch(), done.norm, 1)


def by_group(tensors):
    """The norm of all tensors of a group together."""
    groups = {
        "embedding": ["embedding.weight"],
        **{
            f"layer{k}.{part}": [f"recurrent.{kind}_{letters}_l{k}" for kind in ("weight", "bias")]
            for k in range(2)
            for part, letters in (("input", "ih"), ("recurrent", "hh"))
        },
        "head": ["head.weight", "head.bias"],
    }
    return {
        group: float(torch.cat([tensors[name].flatten() for name in names]).norm())
        for group, names in groups.items()
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_norms_and_ratios_are_those_of_plain_autograd(backend, clip):
    """The norms are those from before clipping."""
    before, after, found = watched(settings(), backend, clip)
    nats, _ = before.nats(batch().inputs, batch().targets, some_state(before))
    (nats / (B * T - 2)).backward()
    expected = by_group({name: each.grad for name, each in before.named_parameters()})
    assert found.grad_norm == pytest.approx(expected, rel=1e-4)
    old, new = before.tensors(), after.tensors()
    moved, sizes = by_group({name: new[name] - old[name] for name in new}), by_group(old)
    assert found.update_ratio == pytest.approx(
        {group: moved[group] / sizes[group] for group in sizes}, rel=1e-3
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_saturated_gates_are_those_of_the_equations(cell, backend):
    if (cell, backend) == ("gru-before", "torch"):
        pytest.skip("torch.nn has none")
    _, model, found = watched(settings(cell), backend, 1.0)
    x, real, expected = model.embedding(batch().inputs.t()), (batch().targets != IGNORED).t(), {}
    for k in range(2):
        w = {name: getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS}
        state, seen = tuple(part[k] for part in some_state(model)), {}
        for t in range(T):
            a, b = (
                x[t] @ w["weight_ih"].T + w["bias_ih"],
                state[0] @ w["weight_hh"].T + w["bias_hh"],
            )
            rows = {"rnn": {}, "lstm": {"i": 0, "f": 1, "o": 3}}.get(cell, {"r": 0, "z": 1})
            for gate, place in rows.items():
                value = torch.sigmoid(a + b)[:, place * H : (place + 1) * H]
                seen.setdefault(gate, []).extend(value[real[t]].flatten().tolist())
            _, state = equations.run_layer(cell, x[t : t + 1], state, w)
            if cell == "rnn":
                seen.setdefault("h", []).extend(
                    abs(each) for each in state[0][real[t]].flatten().tolist()
                )
        low = -1.0 if cell == "rnn" else 0.1
        for gate, values in seen.items():
            expected[f"layer{k}.{gate}"] = sum(not low <= value <= 0.9 for value in values) / len(
                values
            )
        x = equations.run_layer(cell, x, tuple(part[k] for part in some_state(model)), w)[0]
    assert found.saturated == pytest.approx(expected, abs=1e-6)
    assert any(expected.values())


def test_a_unit_that_never_moves_is_counted():
    chosen = settings("rnn")
    model = network(chosen)
    with torch.no_grad():
        for name in PARAMETERS:
            getattr(model.recurrent, f"{name}_l1")[2:4] = 0.5 * name.startswith(
                "bias"
            )  # two units of the second layer
    watch = Watch(model)
    moment = watch.before(batch(), some_state(model), 0)
    assert watch.after(moment, batch(), 0.0, 1).constant_units == {"layer0": 0, "layer1": 2}


def test_frozen_parts_are_left_out():
    model = network(settings())
    model.embedding.weight.requires_grad_(False)
    watch = Watch(model)
    moment = watch.before(batch(), some_state(model), 0)
    assert "embedding" not in watch.after(moment, batch(), 0.0, 1).update_ratio


def test_every_hundredth_step_is_measured_and_each_told_once():
    watch = Watch(network(settings()))
    state = some_state(watch._model)
    assert [step for step in range(301) if watch.before(batch(), state, step) is not None] == [
        0,
        100,
        200,
        300,
    ]
    watch.after(watch.before(batch(), state, 100), batch(), 0.0, 101)
    assert watch.news().startswith(
        "health at step 101: gradient embedding 0, layer0 0, layer1 0, head 0; update/weight 0 to"
    )
    assert watch.news() is None


class Static(Recorded):
    """As the real one: a replay leaves its gradients where they lay at the recording, whatever
    parameters say by now.
    """

    def __init__(self, model):
        self.parameters = list(model.parameters())

    def capture(self, work):
        super().capture(work)
        self.lie = [each.grad for each in self.parameters]

    def replay(self):
        said = [each.grad for each in self.parameters]
        super().replay()
        for each, place, before in zip(self.parameters, self.lie, said, strict=True):
            place.copy_(each.grad)
            each.grad = before


def test_with_a_graph_the_gradients_are_the_last_replays():
    """Also after a batch of another shape, which is trained on one by one."""
    norms = []
    for kind in (TorchOptimizer, FlatOptimizer):
        chosen = settings(batch_size=B, seq_length=T, clip=0.05)
        model = network(chosen)
        optimizer = kind(model, chosen.training)
        step = TrainStep(model, optimizer, chosen)
        if kind is TorchOptimizer:
            step = GraphedStep(model, optimizer, chosen, step, Static(model), pytest.fail)
        state, watch = model.zero_state(B), Watch(model)
        for number, width in enumerate((T, T - 1, T)):
            whole = batch(number)
            part = Batch(
                whole.inputs[:, :width], whole.targets[:, :width].clamp(min=0), fresh=False
            )
            moment = watch.before(part, state, 0)
            done = step(part, state, 0.01, number)
            state = done.state
        norms.append(watch.after(moment, part, done.norm, 1).grad_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW) * 2)
    return str(tmp_path / "few.txt")


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def start(text, run, watcher=None, **changes):
    return train(Request(text, (("--", SETTINGS | changes),), run=run), watcher or Watcher())[1]


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("backend", ["own", "torch"])
def test_watching_changes_no_bit_of_the_weights(text, tmp_path, monkeypatch, mode, backend):
    monkeypatch.setattr(health, "EVERY", 3)
    plain = start(text, tmp_path / "plain", mode=mode, backend=backend)
    watched = start(text, tmp_path / "watched", mode=mode, backend=backend, watch=True)
    assert watched.weights_sha256 == plain.weights_sha256
    logged = [row for row in rows(tmp_path / "watched") if row.get("event") == "health"]
    assert [row["step"] for row in logged] == list(range(1, 41, 3))
    assert all(0 <= row["clip_rate"] <= 1 for row in logged)
    assert not any(row.get("event") == "health" for row in rows(tmp_path / "plain"))


def test_a_watched_resume_is_exact_and_measures_what_a_straight_run_does(
    text, tmp_path, monkeypatch
):
    monkeypatch.setattr(health, "EVERY", 3)
    straight = start(text, tmp_path / "straight", watch=True)
    with pytest.raises(Killed):
        start(text, tmp_path / "killed", Watcher(kill_at=18), watch=True)
    _, found = train(Request(run=tmp_path / "killed", resume=True), Watcher())
    assert found.weights_sha256 == straight.weights_sha256
    measured = [
        [row for row in rows(tmp_path / name) if row.get("event") == "health"]
        for name in ("straight", "killed")
    ]
    assert measured[0] == measured[1]


def test_watching_may_begin_and_end_at_a_resume(text, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "EVERY", 3)
    with pytest.raises(Killed):
        start(text, tmp_path / "r", Watcher(kill_at=18))
    train(Request(None, (("--", {"watch": True}),), run=tmp_path / "r", resume=True), Watcher())
    assert next(row["step"] for row in rows(tmp_path / "r") if row.get("event") == "health") == 19


def test_the_line_is_said_at_evaluations(text, tmp_path):
    watcher = Watcher()
    start(text, tmp_path / "r", watcher, watch=True)
    assert [line.split(":")[0] for line in watcher.said if line.startswith("health")] == [
        "health at step 1"
    ]


def test_counting_has_no_gradients_to_watch(text, tmp_path):
    with pytest.raises(SettingsError, match="--watch is for networks, not for --cell ngram"):
        train(
            Request(text, (("--", {"cell": "ngram", "watch": True}),), run=tmp_path / "r"),
            Watcher(),
        )

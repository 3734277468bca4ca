"""What only a CUDA device can show. The rest of the GPU path is tested on a CPU (test_graph)."""

import warnings

import pytest
import torch
from support import FEW, Watcher
from torch.nn import functional as F

from charrnn.config import ModelSettings, RuntimeSettings, Settings
from charrnn.errors import SettingsError
from charrnn.machine import runtime
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.training import graph
from charrnn.training.health import Watch
from charrnn.training.optim import TorchOptimizer
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

V = 11
B = 8
T = 10
SMALL = {
    "hidden_size": 32,
    "embedding_size": 16,
    "num_layers": 2,
    "lr": 0.01,
    "device": "cuda",
    "patience": 0,
}
PROSE = "Some words in a line.\nAnd again, others of them, and more.\n" * 30


@pytest.fixture(autouse=True)
def cuda():
    """The device, set for float32 without TF32, and left so."""
    device = runtime.prepare(RuntimeSettings(device="cuda"))
    torch.manual_seed(0)
    yield device
    runtime.prepare(RuntimeSettings(device="cuda"))


def needs(precision):
    lacking = runtime._lacking(precision, torch.device("cuda", torch.cuda.current_device()))
    if lacking:
        pytest.skip(f"{precision} needs {lacking}")


def trained(tmp_path, name="a", watcher=None, **chosen):
    (tmp_path / "text.txt").write_text(PROSE)
    settings = (
        SMALL
        | {"mode": "stream", "batch_size": 4, "seq_length": 20, "steps": 60, "dropout": 0.2}
        | chosen
    )
    request = Request(str(tmp_path / "text.txt"), (("--", settings),), run=tmp_path / name)
    return train(request, watcher or Watcher())[1]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_a_stream_is_learnt_by_a_graph(tmp_path, cell):
    watcher = Watcher()
    outcome = trained(tmp_path, watcher=watcher, cell=cell, steps=150)
    assert outcome.device == "cuda:0"
    assert outcome.place.train_nats < 2.0  # of 2.9 for the characters' frequencies alone
    assert not [said for said in watcher.said if "no CUDA graph" in said]


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_graphs_gradients_are_watched(cuda, clip):
    """Its norms are those of the same steps one by one, also after a step of another shape."""
    chosen = Settings().with_values("training", batch_size=B, seq_length=T, clip=clip)
    measured = []
    for is_graphed in (True, False):
        torch.manual_seed(0)
        model = network("lstm", "torch", cuda)
        optimizer = TorchOptimizer(model, chosen.training)
        step = TrainStep(model, optimizer, chosen)
        if is_graphed:
            step = graph.GraphedStep(model, optimizer, chosen, step, graph.CudaGraph(), pytest.fail)
        state = model.zero_state(B)
        watch = Watch(model)
        for number, width in enumerate((T, T - 1, T, T)):
            torch.manual_seed(number)
            batch = Batch(torch.randint(V, (B, width)), torch.randint(V, (B, width)), fresh=False)
            moment = watch.before(batch, state, 0)
            done = step(batch, state, 0.01, number)
            state = done.state
            health = watch.after(moment, batch, done.norm, number + 1)
        measured.append((health.grad_norm, health.update_ratio, health.saturated))
    for graphed, plain in zip(*measured, strict=True):
        assert graphed == pytest.approx(plain, rel=1e-2, abs=1e-3)


def test_lines_are_learnt(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    request = Request(
        str(tmp_path / "few.txt"),
        (("--", SMALL | {"steps": 60, "batch_size": 8}),),
        run=tmp_path / "a",
    )
    assert train(request, Watcher())[1].place.train_nats < 2.8


def network(cell, backend, device, precision="float32", **more):
    sized = {
        "cell": cell,
        "hidden_size": 32,
        "num_layers": 2,
        "embedding_size": 16,
        "dropout": 0.0,
    } | more
    return CharModel(ModelSettings(**sized), V, backend, precision).to(device)


def results(model, device):
    """Return logits, last state and gradients, on the CPU, for fixed ids and a fixed state."""
    torch.manual_seed(3)
    ids = torch.randint(V, (B, T))
    state = tuple(torch.randn(part.shape).to(device) for part in model.zero_state(B))
    logits, after = model(ids.to(device), state)
    F.cross_entropy(logits.flatten(0, 1), ids.flatten().to(device)).backward()
    return [
        value.detach().cpu()
        for value in (logits, *after, *(parameter.grad for parameter in model.parameters()))
    ]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_own_cells_cudnns_and_the_cpus_agree(cell, cuda):
    cpu = torch.device("cpu")
    models = [
        (network(cell, backend, device), device)
        for backend, device in (("torch", cpu), ("func", cuda), ("torch", cuda))
    ]
    for model, _ in models[1:]:
        model.load_tensors(models[0][0].tensors())
    wanted, *others = [results(*pair) for pair in models]
    for measured in others:
        torch.testing.assert_close(measured, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_reduced_precision_is_close_to_float32(cell, precision, cuda):
    needs(precision)
    whole = network(cell, "torch", cuda)
    wanted = results(whole, cuda)
    runtime.prepare(RuntimeSettings(device="cuda", precision=precision))
    reduced = network(cell, "torch", cuda, precision)
    reduced.load_tensors(whole.tensors())
    for mine, other in zip(results(reduced, cuda), wanted, strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - other).norm() / other.norm()) < 0.05


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_bfloat16_weights_lie_as_cudnn_wants_them(cell, cuda):
    """Otherwise it warns ("not part of single contiguous chunk") and packs them at every call."""
    needs("bfloat16")
    model = network(cell, "torch", cuda, "bfloat16", hidden_size=128, embedding_size=128)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results(model, cuda)
    assert not [each for each in said if "RNN module weights" in str(each.message)]


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_a_training_in_reduced_precision_learns(tmp_path, precision):
    needs(precision)
    measured = trained(
        tmp_path, precision, precision=precision, steps=150, dropout=0.0
    ).place.train_nats
    assert measured == pytest.approx(
        trained(tmp_path, "float32", steps=150, dropout=0.0).place.train_nats, abs=0.1
    )


# The graph


def settings(**training):
    model = {
        "cell": "lstm",
        "hidden_size": 32,
        "num_layers": 2,
        "embedding_size": 16,
        "dropout": 0.3,
    }
    given = {"batch_size": B, "seq_length": T, "clip": 0.5, "weight_decay": 0.1} | training
    return Settings().with_values("model", **model).with_values("training", **given)


def prepared(chosen, device):
    torch.manual_seed(0)
    model = CharModel(chosen.model, V, "torch").to(device)
    return model, TorchOptimizer(model, chosen.training)


def graphed(chosen, model, optimizer, say=pytest.fail):
    return graph.make_step(model, optimizer, chosen, "stream", model.head.bias.device, say)


def run(step, model, steps):
    """Epochs of three whole batches and a short one."""
    ids = torch.randint(V, (B, 3 * T + 5), generator=torch.Generator().manual_seed(1))
    state = model.zero_state(1)
    said = []
    for number in range(steps):
        start = number % 4 * T
        stop = min(start + T, ids.shape[1] - 1)
        done = step(
            Batch(ids[:, start:stop], ids[:, start + 1 : stop + 1], start == 0),
            state,
            0.01 + 0.001 * number,
            number,
        )
        state = done.state
        said.append((done.nats_per_char, done.norm, done.chars))
    return said


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_graph_does_what_the_ordinary_step_does(optimizer, cuda):
    """With the same dropout. Not to the bit: CUDA sums in no fixed order; AdamW magnifies that."""
    chosen = settings(optimizer=optimizer)
    ours = prepared(chosen, cuda)
    theirs = prepared(chosen, cuda)
    step = graphed(chosen, *ours)
    assert type(step) is graph.GraphedStep
    measured = run(step, ours[0], 12)
    wanted = run(TrainStep(*theirs, chosen), theirs[0], 12)
    for mine, other in zip(measured, wanted, strict=True):
        assert mine == pytest.approx(other, rel=1e-3)
    if optimizer == "sgd":
        for mine, other in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
    else:
        steps = {
            float(value) for name, value in ours[1].tensors().items() if name.endswith(".step")
        }
        assert steps == {12.0}


@pytest.mark.fault("F12 memory and devices")
def test_a_replay_with_a_gradient_that_is_not_finite_updates_nothing(cuda):
    chosen = settings()
    model, optimizer = prepared(chosen, cuda)
    factor = torch.ones((), device=cuda)
    model.head.bias.register_hook(lambda gradient: gradient * factor)
    step = graphed(chosen, model, optimizer)
    assert all(norm > 0 for _, norm, _ in run(step, model, 2))
    before = {
        name: value.clone() for name, value in (model.tensors() | optimizer.tensors()).items()
    }
    factor.fill_(torch.nan)
    ids = torch.randint(V, (B, T + 1))
    bad = step(Batch(ids[:, :-1], ids[:, 1:], True), model.zero_state(1), 0.01, 2)
    assert not bad.is_finite
    assert not any(part.any() for part in bad.state)
    assert all(
        torch.equal(value, before[name])
        for name, value in (model.tensors() | optimizer.tensors()).items()
    )
    factor.fill_(1.0)
    assert step(Batch(ids[:, :-1], ids[:, 1:], False), bad.state, 0.01, 3).is_finite


# Devices, memory


@pytest.mark.fault("F12 memory and devices")
def test_a_run_moves_from_cpu_to_cuda_and_back(tmp_path):
    trained(tmp_path, device="cpu", steps=20)
    for steps, device, said in ((40, "cuda", "cuda:0"), (60, "cpu", "cpu")):
        watcher = Watcher()
        layers = (("--", {"steps": steps, "device": device}),)
        _, outcome = train(Request(None, layers, run=tmp_path / "a", resume=True), watcher)
        assert (outcome.place.step, outcome.device) == (steps, said)
        assert any("not exact to the bit" in line for line in watcher.said)


@pytest.mark.fault("F12 memory and devices")
def test_a_network_too_large_for_the_gpu_is_refused_before_it_is_made(tmp_path):
    with pytest.raises(SettingsError, match="GB are free; try --hidden-size"):
        trained(tmp_path, hidden_size=65536, num_layers=64)


@pytest.mark.fault("F12 memory and devices")
def test_memory_that_runs_out_leaves_a_checkpoint_that_goes_on(tmp_path, cuda):
    (tmp_path / "text.txt").write_text(PROSE * 200)
    chosen = SMALL | {
        "mode": "stream",
        "batch_size": 256,
        "seq_length": 1024,
        "steps": 2,
    }  # over a gigabyte a step
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(cuda) + (256 << 20)) / total, cuda
    )
    try:
        with pytest.raises(
            SettingsError,
            match="256 x 1024 do not fit the memory of cuda:0; the last checkpoint is kept",
        ):
            train(
                Request(str(tmp_path / "text.txt"), (("--", chosen),), run=tmp_path / "a"),
                Watcher(),
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
        torch.cuda.empty_cache()
    _, outcome = train(Request(run=tmp_path / "a", resume=True), Watcher())
    assert (outcome.reason, outcome.place.step) == ("done", 2)


# Last: should torch not recover from it, what comes after would fail too.


def test_a_step_that_cannot_be_recorded_goes_on_without_a_graph(cuda, monkeypatch):
    chosen = settings()
    notes = []
    ours = prepared(chosen, cuda)
    theirs = prepared(chosen, cuda)
    clip = ours[1].clip_on_device
    monkeypatch.setattr(
        ours[1], "clip_on_device", lambda threshold: clip(threshold) * float(clip(0.0) >= 0)
    )  # it looks
    measured = run(graphed(chosen, *ours, notes.append), ours[0], 6)
    assert len(notes) == 1
    assert "no CUDA graph of the training step" in notes[0]
    for mine, other in zip(measured, run(TrainStep(*theirs, chosen), theirs[0], 6), strict=True):
        assert mine == pytest.approx(other, rel=1e-3)
    torch.cuda.empty_cache()  # the allocator is not left in capture

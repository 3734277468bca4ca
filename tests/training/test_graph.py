"""The step as a CUDA graph, its logic run on a CPU: recording keeps the work, a replay does it
again on the same memory.
"""

import pytest
import torch
from support import Killed, Watcher

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch
from charrnn.training import assembly, graph, optim
from charrnn.training.graph import GraphedStep, make_step
from charrnn.training.optim import FlatOptimizer, TorchOptimizer
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

V, B, T = 11, 3, 4


class Recorded:
    """A Graph without CUDA, warmed up as the real one."""

    def capture(self, work):
        for _ in range(graph.WARM_UP):
            work()
        self.work = work

    def replay(self):
        self.work()


class Broken(Recorded):
    """Fails as a capture does: after the warm-up, halfway through the work."""

    def capture(self, work):
        super().capture(work)
        raise RuntimeError("operation not permitted when stream is capturing\nmore\nlines")


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


def settings(cell="lstm", dropout=0.0, **training):
    sized = {
        "cell": cell,
        "hidden_size": 6,
        "num_layers": 2,
        "embedding_size": 5,
        "dropout": dropout,
    }
    given = {"batch_size": B, "seq_length": T, "clip": 0.5, "weight_decay": 0.1} | training
    return Settings().with_values("model", **sized).with_values("training", **given)


def network(chosen, backend="torch", kind=TorchOptimizer):
    torch.manual_seed(0)
    model = CharModel(chosen.model, V, backend)
    return model, kind(model, chosen.training)


def graphed(chosen, model, optimizer, recorded=None, say=None):
    one_by_one = TrainStep(model, optimizer, chosen)
    return GraphedStep(
        model, optimizer, chosen, one_by_one, recorded or Recorded(), say or pytest.fail
    )


def text(lengths=(T, T, T, 2)):
    """Batches of an epoch, again and again: the first fresh, the last short."""
    ids = torch.randint(V, (B, sum(lengths) + 1), generator=torch.Generator().manual_seed(1))
    start = 0
    while True:
        for length in lengths:
            stop = start + length
            yield Batch(ids[:, start:stop], ids[:, start + 1 : stop + 1], fresh=start == 0)
            start = stop % sum(lengths)


def run(step, model, steps, state=None, first=0):
    """What each step said, and the state of each: copied, for it may be the graph's own memory."""
    state, said = model.zero_state(B) if state is None else state, []
    for number, batch in zip(range(first + steps), text(), strict=False):
        if number >= first:
            done = step(batch, state, 0.01 + 0.001 * number, number)
            state = done.state
            said.append(
                (done.nats_per_char, done.norm, done.chars, [part.clone() for part in state])
            )
    return said


def assert_same(ours, theirs):
    """Models with optimisers, to what another order of a few sums may change in 20 steps."""
    for mine, other in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)
    found, wanted = ours[1].tensors(), theirs[1].tensors()
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [TorchOptimizer, FlatOptimizer])
@pytest.mark.parametrize(
    ("cell", "backend", "more"),
    [
        ("lstm", "torch", {"dropout": 0.3}),
        ("gru", "torch", {}),
        ("rnn", "torch", {"optimizer": "sgd"}),
        ("gru-before", "func", {"dropout": 0.3}),
        ("lstm", "func", {"clip": 0.0}),
    ],
)
def test_twenty_steps_are_those_of_the_ordinary_step(cell, backend, more, kind):
    """Fresh and short batches, rates that change, dropout, clipping, and nothing left of the
    warm-up.
    """
    chosen = settings(cell, **more)
    ours, theirs = network(chosen, backend), network(chosen, backend, kind)
    found = run(graphed(chosen, *ours), ours[0], 20)
    wanted = run(TrainStep(*theirs, chosen), theirs[0], 20)
    for mine, other in zip(found, wanted, strict=True):
        assert mine[:3] == pytest.approx(other[:3], rel=1e-5)
        torch.testing.assert_close(mine[3], other[3], rtol=1e-5, atol=1e-6)
    assert_same(ours, theirs)


def test_only_batches_of_the_recorded_shape_are_replayed():
    chosen, replays = settings(), []
    model, optimizer = network(chosen)
    recorded = Recorded()
    recorded.replay = lambda: (replays.append(1), recorded.work())
    run(graphed(chosen, model, optimizer, recorded), model, 8)
    assert len(replays) == 6  # of two epochs of three whole batches and a short one


def test_it_goes_on_from_a_checkpoint():
    chosen = settings(dropout=0.3)
    straight, begun = network(chosen), network(chosen)
    wanted = run(graphed(chosen, *straight), straight[0], 12)
    said = run(graphed(chosen, *begun), begun[0], 6)
    resumed = network(chosen)
    resumed[0].load_tensors({name: value.clone() for name, value in begun[0].tensors().items()})
    kept = {
        name: value.reshape(value.shape or (1,)).clone()
        for name, value in begun[1].tensors().items()
    }  # as a file
    resumed[1].load_tensors(kept)
    found = run(graphed(chosen, *resumed), resumed[0], 6, tuple(said[-1][3]), first=6)
    assert [mine[:3] for mine in found] == [other[:3] for other in wanted[6:]]
    assert all(
        torch.equal(a, b)
        for a, b in zip(resumed[0].parameters(), straight[0].parameters(), strict=True)
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_gradient_that_is_not_finite_updates_nothing_and_clears_the_state(optimizer):
    chosen = settings(optimizer=optimizer)
    model, optimizer = network(chosen)
    step = graphed(chosen, model, optimizer)
    said, batches = run(step, model, 2), text()
    before = {
        name: value.clone() for name, value in (model.tensors() | optimizer.tensors()).items()
    }
    handle = model.head.bias.register_hook(lambda gradient: gradient * torch.nan)
    bad = step(next(batches), tuple(said[-1][3]), 0.01, 2)
    handle.remove()
    assert not bad.is_finite
    assert all(
        torch.equal(value, before[name])
        for name, value in (model.tensors() | optimizer.tensors()).items()
    )
    assert not any(part.any() for part in bad.state)
    good = step(next(batches), bad.state, 0.01, 3)
    assert good.is_finite
    assert all(part.any() for part in good.state)
    assert not torch.equal(model.head.weight, before["head.weight"])


def test_a_recording_that_fails_is_told_once_and_the_ordinary_step_goes_on():
    chosen, notes = settings(dropout=0.3), []
    ours, theirs = network(chosen), network(chosen)
    found = run(graphed(chosen, *ours, Broken(), notes.append), ours[0], 6)
    assert [mine[:3] for mine in found] == [
        other[:3] for other in run(TrainStep(*theirs, chosen), theirs[0], 6)
    ]
    assert_same(ours, theirs)
    (note,) = notes
    assert note == (
        "note: no CUDA graph of the training step (operation not permitted when stream is "
        "capturing): its kernels are launched one by one"
    )


def test_a_recording_in_the_middle_of_a_training_changes_neither_weights_nor_moments():
    chosen = settings()
    model, optimizer = network(chosen)
    run(TrainStep(model, optimizer, chosen), model, 3)
    before = {
        name: value.clone() for name, value in (model.tensors() | optimizer.tensors()).items()
    }
    assert graphed(chosen, model, optimizer)._record()
    assert all(
        torch.equal(value, before[name])
        for name, value in (model.tensors() | optimizer.tensors()).items()
    )


def test_graphs_are_for_streams_on_cuda_that_are_computed_at_once():
    chosen, cuda = settings(), torch.device("cuda")
    model, optimizer = network(chosen)
    assert type(make_step(model, optimizer, chosen, "stream", cuda, print)) is GraphedStep
    assert (
        type(make_step(model, optimizer, chosen, "stream", torch.device("cpu"), print)) is TrainStep
    )
    assert type(make_step(model, optimizer, chosen, "lines", cuda, print)) is TrainStep
    pieces = settings(checkpoint_every_chars=2)
    assert type(make_step(model, optimizer, pieces, "stream", cuda, print)) is TrainStep


def test_a_training_by_replays_resumes_to_the_bit(tmp_path, monkeypatch):
    def with_replays(model, optimizer, chosen, mode, *rest):
        assert mode == "stream"
        return graphed(chosen, model, optimizer)

    monkeypatch.setattr(assembly, "make_step", with_replays)
    monkeypatch.setattr(optim, "make_optimizer", TorchOptimizer)
    (tmp_path / "text.txt").write_text("Some words in a line.\nAnd again, others of them.\n" * 8)
    chosen = {
        "hidden_size": 6,
        "num_layers": 2,
        "embedding_size": 4,
        "dropout": 0.4,
        "batch_size": 3,
        "seq_length": 10,
        "steps": 40,
        "save_every": "4",
        "threads": 1,
        "mode": "stream",
        "backend": "torch",
    }
    request = Request(str(tmp_path / "text.txt"), (("--", chosen),), run=tmp_path / "a")
    _, straight = train(request, Watcher())
    with pytest.raises(Killed):
        train(Request(request.corpus, request.layers, run=tmp_path / "b"), Watcher(22))
    _, resumed = train(Request(run=tmp_path / "b", resume=True), Watcher())
    assert resumed.weights_sha256 == straight.weights_sha256

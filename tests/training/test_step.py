"""One training step: the same gradients in pieces as at once, dropout that can be drawn again, no
torch._dynamo.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from support import FEW, Killed, Watcher, needs_kernel

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.model.charmodel import CharModel
from charrnn.text.batches import Batch, LineBatches
from charrnn.training.optim import make_optimizer
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

CELLS = [
    ("rnn", "func"),
    ("lstm", "func"),
    ("gru", "func"),
    ("gru-before", "func"),
    ("lstm", "torch"),
    ("gru", "torch"),
    *(
        pytest.param(cell, "kernel", marks=needs_kernel)
        for cell in ("rnn", "lstm", "gru", "gru-before")
    ),
]
PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. "
    "It is 300 characters long or so.\n\n"
) * 3


def settings(cell="lstm", pieces=None, dropout=0.0, weight_drop=0.0):
    sized = {
        "cell": cell,
        "hidden_size": 6,
        "num_layers": 2,
        "embedding_size": 4,
        "dropout": dropout,
    }
    sized |= {"weight_drop": weight_drop}
    return (
        Settings()
        .with_values("model", **sized)
        .with_values("training", checkpoint_every_chars=pieces, clip=0.0)
    )


def stepped(cell, backend, pieces, dropout=0.0, lr=0.0, weight_drop=0.0):
    """The model after one step on 10 characters of 3 lanes from a state that is not zero, and what
    the step said.
    """
    torch.manual_seed(0)
    chosen = settings(cell, pieces, dropout, weight_drop)
    model = CharModel(chosen.model, 7, backend)
    state = tuple(torch.randn_like(part) * 0.5 for part in model.zero_state(3))
    text = torch.randint(7, (3, 11))
    step = TrainStep(model, make_optimizer(model, chosen.training), chosen)
    return model, step(Batch(text[:, :-1], text[:, 1:], fresh=False), state, lr, 4)


@pytest.mark.parametrize(("cell", "backend"), CELLS)
@pytest.mark.parametrize("pieces", [1, 4, 5, 10, 99])
def test_in_pieces_the_gradient_is_the_same(cell, backend, pieces):
    whole, at_once = stepped(cell, backend, None)
    parts, in_pieces = stepped(cell, backend, pieces)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-5, atol=1e-6
        )  # float32, summed in another order
    assert in_pieces.nats_per_char == pytest.approx(at_once.nats_per_char, rel=1e-6)
    assert in_pieces.norm == pytest.approx(at_once.norm, rel=1e-5)
    assert in_pieces.chars == at_once.chars == 30
    for ours, theirs in zip(in_pieces.state, at_once.state, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert not ours.requires_grad


@pytest.mark.parametrize("backend", ["func", "torch", pytest.param("kernel", marks=needs_kernel)])
def test_an_epoch_of_lines_costs_the_same_whatever_the_pools(backend, monkeypatch):
    """Every line once, padding counted for nothing, wherever the shuffle puts it."""
    generator = np.random.default_rng(0)
    lines = [generator.integers(1, 7, length).tolist() for length in generator.integers(1, 12, 50)]
    ids = np.array([char for line in lines for char in [*line, 0]], np.uint8)
    torch.manual_seed(0)
    model = CharModel(settings().model, 7, backend).eval()
    epochs = []
    for pool in (1, 3, 32):
        monkeypatch.setattr("charrnn.text.batches.POOL_BATCHES", pool)
        batches = LineBatches(ids, 0, 4)
        made = [batches.batch(step) for step in range(batches.steps_per_epoch)]
        with torch.no_grad():
            nats = sum(
                float(model.nats(b.inputs, b.targets, model.zero_state(len(b.inputs)))[0])
                for b in made
            )
        epochs.append((nats, sum(b.inputs.numel() for b in made)))
    assert len({places for _, places in epochs}) == 3  # they were padded differently
    for nats, _ in epochs:
        assert nats == pytest.approx(
            epochs[0][0], rel=1e-6
        )  # sums of some 400 float32 in other orders


@pytest.mark.parametrize("drops", [{"dropout": 0.5}, {"weight_drop": 0.5}])
def test_a_piece_drops_the_same_when_it_is_computed_again(drops):
    model, done = stepped("lstm", "func", 4, **drops)
    # By hand, in one graph: the same pieces, each with its own seed.
    torch.manual_seed(0)
    again = CharModel(settings(**drops).model, 7, "func")
    state = tuple(torch.randn_like(part) * 0.5 for part in again.zero_state(3))
    text, nats = torch.randint(7, (3, 11)), 0.0
    from charrnn.machine.runtime import step_seed
    from charrnn.model.charmodel import summed_nats
    from charrnn.model.dropout import seeded

    for k, start in enumerate((0, 4, 8)):
        stop = min(start + 4, 10)
        with seeded(step_seed(settings().training.seed, 4, k)):
            logits, state = again(text[:, start:stop], state)
        nats = nats + summed_nats(logits, text[:, start + 1 : stop + 1])
    (nats / 30).backward()
    assert done.nats_per_char == pytest.approx(float(nats.detach()) / 30, rel=1e-6)
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_each_piece_and_step_drops_something_else():
    from charrnn.machine.runtime import step_seed

    drawn = set()
    for seed in (1, 2):
        for step in range(20):
            for piece in range(20):
                drawn.add(step_seed(seed, step, piece))
    assert len(drawn) == 800


def test_a_gradient_that_is_not_finite_updates_nothing():
    torch.manual_seed(0)
    chosen = settings()
    model = CharModel(chosen.model, 7, "func")
    step = TrainStep(model, make_optimizer(model, chosen.training), chosen)
    model.head.bias.register_hook(lambda gradient: gradient * torch.nan)
    before = {name: value.clone() for name, value in model.tensors().items()}
    text = torch.randint(7, (3, 11))
    done = step(Batch(text[:, :-1], text[:, 1:], fresh=True), model.zero_state(3), 1.0, 0)
    assert not done.is_finite
    assert all(torch.equal(value, before[name]) for name, value in model.tensors().items())
    assert not step.optimizer.tensors()
    assert not any(part.any() for part in done.state)


def test_a_training_in_pieces_resumes_to_the_bit(tmp_path, one_thread):
    (tmp_path / "text.txt").write_text(PROSE)
    chosen = {
        "hidden_size": 6,
        "num_layers": 2,
        "embedding_size": 4,
        "dropout": 0.4,
        "batch_size": 3,
        "seq_length": 10,
        "checkpoint_every_chars": 4,
        "steps": 30,
        "save_every": "4",
        "threads": 1,
        "mode": "stream",
    }
    request = Request(str(tmp_path / "text.txt"), (("--", chosen),), run=tmp_path / "a")
    _, straight = train(request, Watcher())
    with pytest.raises(Killed):
        train(Request(request.corpus, request.layers, run=tmp_path / "b"), Watcher(14))
    _, resumed = train(Request(run=tmp_path / "b", resume=True), Watcher())
    assert resumed.weights_sha256 == straight.weights_sha256
    with pytest.raises(SettingsError, match="was trained with --checkpoint-every-chars 4, not 5"):
        train(
            Request(
                None, (("--", {"checkpoint_every_chars": 5}),), run=tmp_path / "b", resume=True
            ),
            Watcher(),
        )


def test_lines_are_not_computed_in_pieces(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    request = Request(
        str(tmp_path / "few.txt"), (("--", {"checkpoint_every_chars": 4}),), run=tmp_path / "a"
    )
    with pytest.raises(
        SettingsError, match="--checkpoint-every-chars is for long windows of a stream"
    ):
        train(request, Watcher())
    assert not (tmp_path / "a").exists()


START = """
import json, sys
from charrnn.training import session
class Watcher:
    def __getattr__(self, name): return lambda *a, **k: None
layers = (("--", json.loads(sys.argv[2])),)
session.train(session.Request(sys.argv[1], layers, run=session.Path("run")), Watcher())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_on_the_cpu_does_not_load_torch_dynamo(tmp_path, optimizer):
    (tmp_path / "text.txt").write_text(PROSE)
    chosen = {
        "hidden_size": 6,
        "steps": 3,
        "optimizer": optimizer,
        "checkpoint_every_chars": 30,
        "dropout": 0.2,
        "batch_size": 2,
        "seq_length": 60,
        "threads": 1,
        "device": "cpu",
        "mode": "stream",
    }
    command = [sys.executable, "-c", START, "text.txt", json.dumps(chosen)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False"], done.stderr

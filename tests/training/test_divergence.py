"""A training that diverges goes back, halves its learning rate and goes on; in the end it says what
is still good.
"""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from support import FEW, Killed, Watcher

from charrnn.config import TrainingSettings
from charrnn.errors import DivergedError
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import KINDS, checkpoint_files, read_model
from charrnn.storage import read_tensors, write_tensors
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.loop import Trainer
from charrnn.training.optim import FlatOptimizer, TorchOptimizer
from charrnn.training.recovery import LEAST_NATS, has_jumped
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

SETTINGS = {
    "hidden_size": 7,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.2,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 40,
    "save_every": "4",
    "eval_every": "10",
    "sample_every": "40",
    "threads": 1,
    "patience": 0,
    "mode": "stream",
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def text(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW) * 2)
    return str(tmp_path / "few.txt")


def start(text, run, watcher=None, **changes):
    return train(Request(text, (("--", SETTINGS | changes),), run=run), watcher or Watcher())[1]


def resume(run, watcher=None):
    return train(Request(run=run, resume=True), watcher or Watcher())[1]


def plant(monkeypatch, kind, at, times=1):
    """Spoil the step that begins at step `at`, in the first `times` visits to it.

    Returns the visits, as [count].
    """
    original, visits = Trainer.train_step, [0]

    def spoilt(trainer, batch):
        if trainer.place.step != at or visits[0] >= times:
            return original(trainer, batch)
        visits[0] += 1
        weight = trainer.model.embedding.weight
        if kind == "weights":
            with torch.no_grad():
                weight[0, 0] = math.nan
        elif kind == "huge weights":
            with torch.no_grad():
                trainer.model.head.weight.mul_(1e6)
        elif kind == "state":
            trainer.state = tuple(part + math.nan for part in trainer.state)
        elif kind == "optimizer":
            trainer.parts.optimizer.tensors()["head.weight.exp_avg_sq"].fill_(
                math.inf
            )  # it would never move again
        elif kind == "gradient":
            hook = trainer.model.head.bias.register_hook(lambda gradient: gradient * math.inf)
            try:
                return original(trainer, batch)
            finally:
                hook.remove()
        return original(trainer, batch)

    monkeypatch.setattr(Trainer, "train_step", spoilt)
    return visits


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def rollbacks(run):
    return [
        (row["from_step"], row["step"], row["lr_factor"])
        for row in rows(run)
        if row.get("event") == "rollback"
    ]


def steps(run):
    return [row["step"] for row in rows(run) if "event" not in row]


def all_files_are_sound(run):
    models = [run / "model.safetensors", *checkpoint_files(run / "checkpoints")]
    return all(
        np.isfinite(value).all() for path in models for value in read_model(path).tensors.values()
    )


@pytest.mark.parametrize("kind", ["gradient", "state"])
@pytest.mark.fault("F10 divergence")
def test_one_bad_step_is_skipped_and_counted(text, tmp_path, monkeypatch, kind):
    plant(monkeypatch, kind, at=5)
    outcome = start(text, tmp_path / "r")
    assert (outcome.place.skipped_steps, outcome.place.rollbacks) == (1, 0)
    assert [row["step"] for row in rows(tmp_path / "r") if row.get("skipped")] == [6]
    assert steps(tmp_path / "r") == list(range(1, 41))


@pytest.mark.fault("F10 divergence")
def test_a_batch_whose_loss_is_never_finite_is_skipped_each_time(text, tmp_path, monkeypatch):
    """The text has 6 batches an epoch; one of them is bad in every epoch."""
    original = TrainStep._nats

    def nats(step, ids, targets, state, number, *rest):
        loss, after = original(step, ids, targets, state, number, *rest)
        return (loss * math.nan if number % 6 == 2 else loss), after

    monkeypatch.setattr(TrainStep, "_nats", nats)
    outcome = start(text, tmp_path / "r")
    assert (outcome.place.skipped_steps, outcome.place.rollbacks) == (7, 0)
    assert all_files_are_sound(tmp_path / "r")


@pytest.mark.parametrize(
    ("kind", "noticed_at"), [("weights", 18), ("huge weights", 16), ("optimizer", 16)]
)
@pytest.mark.fault("F10 divergence")
def test_ruined_weights_send_the_training_back_and_it_ends_well(
    text, tmp_path, monkeypatch, kind, noticed_at
):
    run, watcher = tmp_path / "r", Watcher()
    plant(monkeypatch, kind, at=13)
    outcome = start(text, run, watcher, schedule="constant", warmup=0)
    assert (outcome.reason, outcome.place.rollbacks) == ("done", 1)
    assert rollbacks(run) == [(noticed_at, 12, 0.5)]
    assert [row["rollbacks"] for row in rows(run) if row.get("event") == "rollback"] == [1]
    assert any("going back to step 12 with lr 0.01" in line for line in watcher.said)
    assert steps(run) == list(range(1, 41))
    assert [row["lr"] for row in rows(run) if "event" not in row] == [0.02] * 12 + [0.01] * 28
    assert all_files_are_sound(run)


@pytest.mark.parametrize("kind", ["weights", "huge weights", "gradient"])
@pytest.mark.fault("F10 divergence")
def test_what_keeps_failing_ends_with_4_after_three_returns_and_names_the_checkpoint(
    text, tmp_path, monkeypatch, kind
):
    run = tmp_path / "r"
    if kind == "gradient":
        monkeypatch.setattr(FlatOptimizer, "clip", lambda optimizer, threshold: math.inf)
        good = 0
    else:
        plant(monkeypatch, kind, at=13, times=99)
        good = 12
    with pytest.raises(
        DivergedError, match=f"going back 3 times; .*is .*step-{good:08d}.safetensors"
    ) as caught:
        start(text, run)
    assert caught.value.exit_code == 4
    newest = load_newest(run)[0]
    assert (newest.step, newest.meta["place"]["rollbacks"]) == (good, 3)
    assert all_files_are_sound(run)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd"},
        {"clip": 0.0, "optimizer": "sgd", "cell": "rnn"},
        {"mode": "lines", "cell": "gru", "ema": 0.0},
    ],
)
@pytest.mark.parametrize("save_every", ["1", "1m"])
@pytest.mark.fault("F10 divergence")
def test_a_rate_of_a_million_ends_with_the_last_good_checkpoint_named(
    text, tmp_path, changes, save_every
):
    run = tmp_path / "r"
    with pytest.raises(
        DivergedError, match=r"is .*/checkpoints/step-\d{8}\.safetensors: try a smaller --lr"
    ) as caught:
        start(text, run, lr=1e6, save_every=save_every, **changes)
    assert str(load_newest(run)[0].path) in str(caught.value)
    assert all_files_are_sound(run)
    best = read_model(run)  # no worse than the untrained network
    assert best.meta["val_nats_per_char"] <= math.log(len(best.vocabulary)) + 0.3


@pytest.mark.parametrize("kill_at", [13, 16, 27])
@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.fault("F10 divergence")
def test_a_resume_after_going_back_is_exact(text, tmp_path, monkeypatch, mode, kill_at):
    plant(monkeypatch, "huge weights", at=13)
    expected = start(text, tmp_path / "a", mode=mode)
    visits = plant(monkeypatch, "huge weights", at=13)
    run = tmp_path / "b"
    original = Watcher.step

    def step(watcher, update):  # killed on the way that follows the return, not before
        if any("going back" in line for line in watcher.said):
            original(watcher, update)

    monkeypatch.setattr(Watcher, "step", step)
    with pytest.raises(Killed):
        start(text, run, Watcher(kill_at), mode=mode)
    assert visits == [1]
    found = resume(run)
    assert found.weights_sha256 == expected.weights_sha256
    assert found.place.rollbacks == 1
    assert without_times(rows(run)) == without_times(rows(tmp_path / "a"))
    assert (run / "model.safetensors").read_bytes() == (
        tmp_path / "a/model.safetensors"
    ).read_bytes()


def without_times(found):
    return [{key: value for key, value in row.items() if key != "elapsed_s"} for row in found]


@pytest.mark.fault("F10 divergence")
def test_going_back_equals_a_fresh_process_at_that_checkpoint_with_half_the_rate(
    text, tmp_path, monkeypatch
):
    """Also where that is before the first update, and the optimiser had no moments."""
    for good, at in ((0, 2), (12, 13)):
        run = tmp_path / f"r{good}"
        plant(monkeypatch, "weights", at=at)
        expected = start(text, run)
        monkeypatch.undo()
        before = tmp_path / f"b{good}"
        with pytest.raises(Killed):
            start(text, before, Watcher(good + 1))
        halved = checkpoint_files(before / "checkpoints")[-1]
        tensors, meta = read_tensors(halved, KINDS)
        assert meta["step"] == good
        write_tensors(halved, tensors, meta | {"place": meta["place"] | {"rollbacks": 1}})
        assert resume(before).weights_sha256 == expected.weights_sha256


@pytest.mark.parametrize("seam", ["rewind", "log", "save"])
@pytest.mark.fault("F10 divergence")
def test_killed_while_going_back_ends_as_undisturbed(text, tmp_path, monkeypatch, seam):
    plant(monkeypatch, "huge weights", at=13, times=99)
    with pytest.raises(DivergedError):
        start(text, tmp_path / "a")
    go_back = Trainer._go_back
    write = getattr(RunDirectory, seam)
    is_going_back = []

    def noticed(trainer, why):
        is_going_back.append(True)
        go_back(trainer, why)

    def killed(run, *arguments):
        if is_going_back:
            raise Killed
        return write(run, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_go_back", noticed)
        patched.setattr(RunDirectory, seam, killed)
        with pytest.raises(Killed):
            start(text, tmp_path / "b")
    with pytest.raises(DivergedError, match="3 times"):
        resume(tmp_path / "b")
    first, second = (load_newest(tmp_path / name)[0] for name in ("a", "b"))
    assert second.meta["place"]["rollbacks"] == 3
    assert all(
        np.array_equal(value, second.model.tensors[name])
        for name, value in first.model.tensors.items()
    )


@pytest.mark.fault("F10 divergence")
def test_tries_are_not_given_back_by_a_resume(text, tmp_path, monkeypatch):
    visits = plant(monkeypatch, "huge weights", at=13, times=99)
    with pytest.raises(DivergedError):
        start(text, tmp_path / "r")
    assert visits == [4]
    with pytest.raises(DivergedError, match="3 times"):
        resume(tmp_path / "r")
    assert visits == [5]


@pytest.mark.fault("F10 divergence")
def test_a_damaged_newest_checkpoint_is_passed_over_on_the_way_back(text, tmp_path, monkeypatch):
    run, watcher = tmp_path / "r", Watcher()
    plant(monkeypatch, "weights", at=13)
    original = Trainer.train_step

    def damage(trainer, batch):
        if trainer.place.step == 13 and not trainer.place.rollbacks:
            newest = checkpoint_files(run / "checkpoints")[-1]
            newest.write_bytes(newest.read_bytes()[:-1])
        return original(trainer, batch)

    monkeypatch.setattr(Trainer, "train_step", damage)
    assert start(text, run, watcher).reason == "done"
    assert rollbacks(run)[0][1] == 10  # the best weights were saved at the evaluation
    assert any(
        "is damaged" in line and "going back to the one before" in line for line in watcher.said
    )
    assert steps(run) == list(range(1, 41))


@pytest.mark.fault("F10 divergence")
def test_between_checkpoints_the_validation_loss_shows_it(text, tmp_path, monkeypatch):
    plant(monkeypatch, "huge weights", at=13)
    assert start(text, tmp_path / "r", save_every="1m").reason == "done"
    assert rollbacks(tmp_path / "r") == [(20, 10, 0.5)]


def test_learning_a_text_by_heart_is_no_divergence(tmp_path):
    """Validation gets ever worse while the loss on the training text falls: that is left to
    --patience.
    """
    (tmp_path / "t.txt").write_text("abcd\n" * 20)
    (tmp_path / "val.txt").write_text("dbca\n" * 5)
    changes = {"val": str(tmp_path / "val.txt"), "dropout": 0.0, "mode": "lines", "lr": 0.1}
    changes["counting"] = "off"  # it keeps the score from getting worse
    watcher = Watcher()
    outcome = start(
        str(tmp_path / "t.txt"), tmp_path / "r", watcher, eval_every="40", warmup=0, **changes
    )
    val = [nats for _, nats in watcher.evaluations]
    assert any(has_jumped(after, before) for before, after in itertools.pairwise(val)), val
    assert (outcome.reason, outcome.place.rollbacks) == ("done", 0)


@pytest.mark.parametrize(
    ("nats", "before", "expected"),
    [
        (3.1, 1.5, True),
        (2.9, 1.5, False),
        (0.9, 0.01, False),
        (2 * LEAST_NATS + 0.01, 0.01, True),
        (math.nan, 1.5, True),
        (math.inf, math.nan, True),
        (99.0, math.nan, False),
    ],
)
def test_a_jump_is_more_than_twice_the_loss_before(nats, before, expected):
    assert has_jumped(nats, before) is expected


@pytest.mark.parametrize("kind", [FlatOptimizer, TorchOptimizer])
def test_loading_an_optimiser_leaves_nothing_of_what_it_was(kind):
    from charrnn.config import ModelSettings

    model = CharModel(ModelSettings(hidden_size=3, embedding_size=2, num_layers=1), 5, "torch")
    optimizer = kind(model, TrainingSettings(batch_size=2, seq_length=3, lr=0.1, weight_decay=0.0))
    ids = torch.tensor([[0, 1], [2, 3]])

    def step():
        optimizer.zero_grad()
        model.nats(ids, ids, model.zero_state(2))[0].backward()
        optimizer.step(0.1)

    before = {name: value.clone() for name, value in model.tensors().items()}
    step()
    once = {name: value.clone() for name, value in model.tensors().items()}
    step()
    optimizer.load_tensors({})
    model.load_tensors(before)
    step()
    assert all(torch.equal(value, once[name]) for name, value in model.tensors().items())

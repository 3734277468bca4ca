"""Stopped is the same as not stopped: to the bit, in both modes, across an epoch's end."""

import json
import shutil

import numpy as np
import pytest
from resume_support import layers, steps_in_metrics, straight
from support import Killed, Watcher, needs_kernel

from charrnn.errors import SettingsError
from charrnn.model import kernel
from charrnn.modelfile import checkpoint_files
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.pacing import Pacing
from charrnn.training.session import Request, train

pytestmark = pytest.mark.fault("F11 resumes")


def killed_and_resumed(tmp_path, corpus, kills, **changes):
    """Killed after each of these steps, resumed after each."""
    run, outcome = tmp_path / "killed", None
    for index, kill_at in enumerate([*kills, None]):
        request = Request(
            corpus if index == 0 else None,
            layers(**changes) if index == 0 else (),
            run=run,
            resume=index > 0,
        )
        try:
            _, outcome = train(request, Watcher(kill_at))
        except Killed:
            assert kill_at is not None
    return outcome


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize(
    ("cell", "backend"),
    [("lstm", "own"), ("lstm", "torch"), ("gru", "own"), ("gru-before", "own"), ("rnn", "torch")],
)
def test_killed_five_times_equals_undisturbed(tmp_path, corpus, one_thread, mode, cell, backend):
    # 38 lines in batches of 5 are 8 steps an epoch, the stream's is 8 too: the kills lie around
    # epochs' ends.
    changes = {"cell": cell, "backend": backend, "mode": mode}
    expected = straight(tmp_path, corpus(mode), **changes)
    found = killed_and_resumed(tmp_path, corpus(mode), [5, 9, 17, 18, 50], **changes)
    assert found.weights_sha256 == expected.weights_sha256
    assert steps_in_metrics(tmp_path / "killed") == list(range(1, 61))
    assert (tmp_path / "killed/model.safetensors").read_bytes() == (
        tmp_path / "straight/model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_kernel), "func"])
@pytest.mark.parametrize("cell", ["lstm", "gru-before"])
def test_resume_of_the_own_cells_is_exact_with_and_without_the_kernel(
    tmp_path, corpus, one_thread, monkeypatch, cell, backend
):
    monkeypatch.setattr(kernel, "is_usable", lambda: backend == "kernel")
    changes = {"cell": cell, "backend": "own", "mode": "stream"}
    expected = straight(tmp_path, corpus("stream"), **changes)
    found = killed_and_resumed(tmp_path, corpus("stream"), [9, 30], **changes)
    assert load_newest(tmp_path / "killed")[0].meta["surroundings"]["backend"] == backend
    assert found.weights_sha256 == expected.weights_sha256


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("skip", "dense"),
        ("skip", "residual"),
        ("optimizer", "sgd"),
        ("schedule", "linear"),
        ("tie_weights", True),
        ("clip", 0.0),
        ("weight_drop", 0.4),
        ("conv", 4),
        ("ema", 0.9),
    ],
)
def test_resume_is_exact_with(tmp_path, corpus, one_thread, key, value):
    changes = {key: value, "mode": "stream", "embedding_size": 9}
    expected = straight(tmp_path, corpus("stream"), **changes)
    assert (
        killed_and_resumed(tmp_path, corpus("stream"), [11, 30], **changes).weights_sha256
        == expected.weights_sha256
    )
    means = [load_newest(tmp_path / name)[0].average for name in ("killed", "straight")]
    assert means[0].keys() == means[1].keys()
    assert all(np.array_equal(value, means[1][name]) for name, value in means[0].items())


def test_the_learning_rates_of_a_resumed_run_are_those_of_a_straight_one(
    tmp_path, corpus, one_thread
):
    straight(tmp_path, corpus("lines"))
    killed_and_resumed(tmp_path, corpus("lines"), [10, 40])

    def rates(run):
        rows = [
            json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        ]
        return [(row["lr"], row["train_nats_per_char"]) for row in rows if "event" not in row]

    assert rates("killed") == rates("straight")


def test_samples_stand_once_too(tmp_path, corpus, one_thread):
    def samples(weights, meta):
        return f"sample {meta['step']}"

    for run, kills in (("straight", []), ("killed", [22, 41])):
        for index, kill_at in enumerate([*kills, None]):
            request = Request(
                corpus("lines") if not index else None,
                layers() if not index else (),
                run=tmp_path / run,
                resume=index > 0,
            )
            try:
                train(request, Watcher(kill_at), samples)
            except Killed:
                pass
    assert (tmp_path / "killed/samples.txt").read_text() == (
        tmp_path / "straight/samples.txt"
    ).read_text()


def test_a_run_with_a_budget_follows_its_recorded_plan(tmp_path, corpus, one_thread, monkeypatch):
    """Two resumes from a checkpoint made after the plan: no clock decides the weights any more."""
    monkeypatch.setattr(
        Pacing, "correct", lambda pace, step: False
    )  # a change of the machine's speed, made impossible
    first = {
        "budget": "3s",
        "steps": None,
        "eval_every": None,
        "sample_every": None,
        "save_every": "200",
    }
    with pytest.raises(Killed):  # the plan is made 1.5 s after the first step
        train(
            Request(corpus("lines"), layers(**first), run=tmp_path / "a"),
            KillAfterCheckpoint(tmp_path / "a"),
        )
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    ends = [
        train(Request(run=tmp_path / name, resume=True), Watcher(kill_at=None))[1]
        for name in ("a", "b")
    ]
    assert ends[0].place.step == ends[1].place.step
    assert ends[0].weights_sha256 == ends[1].weights_sha256


class KillAfterCheckpoint(Watcher):
    """Kills at the first checkpoint that holds a plan."""

    def __init__(self, run):
        super().__init__()
        self.run, self.plan_known = run, None

    def step(self, update):
        if update.total_steps is not None and self.plan_known is None:
            self.plan_known = update.step
        files = checkpoint_files(self.run / "checkpoints")
        if self.plan_known and files and int(files[-1].stem[5:]) > self.plan_known:
            raise Killed


def test_more_steps_go_on(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    _, more = train(
        Request(None, (("--", {"steps": 90}),), run=tmp_path / "r", resume=True), Watcher()
    )
    assert more.place.step == 90
    assert steps_in_metrics(tmp_path / "r") == list(range(1, 91))


def test_a_run_that_stopped_improving_goes_on_when_asked_for_more(tmp_path, corpus, one_thread):
    request = Request(
        corpus("lines"), layers(patience=1, lr=0.3, eval_every="5"), run=tmp_path / "r"
    )
    stopped = train(request, Watcher())[1]
    assert stopped.reason == "stopped improving"
    assert train(Request(run=tmp_path / "r", resume=True), Watcher())[1].reason == "already done"
    _, more = train(
        Request(None, (("--", {"steps": 200}),), run=tmp_path / "r", resume=True), Watcher()
    )
    assert more.place.step > stopped.place.step


def test_a_finished_run_is_already_done(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    watcher = Watcher()
    assert (
        train(Request(None, (), run=tmp_path / "r", resume=True), watcher)[1].reason
        == "already done"
    )
    assert "already done at step 60" in watcher.said[-1]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"hidden_size": 10}, "--hidden-size 9, not 10"),
        ({"lr": 0.5}, "--lr 0.02, not 0.5"),
        ({"cell": "rnn"}, "gru, not rnn"),
        ({"seed": 4}, "--seed 1337, not 4"),
        ({"dropout": 0.1}, "--dropout 0.3, not 0.1"),
        ({"steps": 10}, "--steps 10.* at step 60 of 60"),
        ({"epochs": 2}, "--epochs 2.* at step 60 of 60"),
        ({"budget": "0.001s"}, "--budget 0.001s is shorter than this run.*more than --budget"),
    ],
)
def test_a_contradicting_flag_is_an_error_that_names_both_values(
    tmp_path, corpus, one_thread, changes, names
):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    with pytest.raises(SettingsError, match=names):
        train(Request(None, (("--", changes),), run=tmp_path / "r", resume=True), Watcher())


def events(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row.get("event"), row["step"], row.get("val_nats_per_char")) for row in rows]


@pytest.mark.parametrize("kills", [[1, 2, 2, 3], [13, 26], [59, 60], [60, 60]])
def test_evaluations_stand_once_too_and_patience_is_not_spent_by_kills(
    tmp_path, corpus, one_thread, kills
):
    changes = {"patience": 2, "save_every": "13", "eval_every": "13"}
    expected = straight(tmp_path, corpus("lines"), **changes)
    found = killed_and_resumed(tmp_path, corpus("lines"), kills, **changes)
    assert events(tmp_path / "killed") == events(tmp_path / "straight")
    assert found.place.evaluations_since_best == expected.place.evaluations_since_best
    assert (tmp_path / "killed/model.safetensors").read_bytes() == (
        tmp_path / "straight/model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("seam", ["save_best", "save", "add_samples", "log"])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_killed_at_any_write_ends_as_undisturbed(
    tmp_path, corpus, one_thread, monkeypatch, seam, count
):
    """Killed just before the count-th write of a kind, then resumed: the same files in the end."""
    changes = {"eval_every": "6", "save_every": "9", "sample_every": "6", "steps": 30}

    def samples(weights, meta):
        return f"sample {meta['step']}"

    train(
        Request(corpus("lines"), layers(**changes), run=tmp_path / "straight"), Watcher(), samples
    )
    original, calls = getattr(RunDirectory, seam), [0]

    def write(run, *arguments, **named):
        calls[0] += 1
        if calls[0] == count + (
            seam == "log"
        ):  # the first line of metrics comes before the first checkpoint
            raise Killed
        return original(run, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, seam, write)
        try:
            train(
                Request(corpus("lines"), layers(**changes), run=tmp_path / "killed"),
                Watcher(),
                samples,
            )
        except Killed:
            pass
    if (
        tmp_path / "killed"
    ).exists():  # else: before the first checkpoint, and nothing was left behind
        train(Request(run=tmp_path / "killed", resume=True), Watcher(), samples)
        for name in ("model.safetensors", "samples.txt"):
            assert (tmp_path / "killed" / name).read_bytes() == (
                tmp_path / "straight" / name
            ).read_bytes(), name
        assert events(tmp_path / "killed") == events(tmp_path / "straight")


def test_a_plan_is_on_disk_as_soon_as_it_is_made(tmp_path, corpus, one_thread):
    run = tmp_path / "r"

    class KillOnceThereIsAPlan(Watcher):
        def step(self, update):
            if update.total_steps is not None:
                raise Killed

    with pytest.raises(Killed):
        first = {
            "budget": "4s",
            "steps": None,
            "eval_every": None,
            "sample_every": None,
            "save_every": "1m",
        }
        train(Request(corpus("lines"), layers(**first), run=run), KillOnceThereIsAPlan())
    plans = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text().splitlines()
        if '"plan"' in line
    ]
    kept = load_newest(run)[0]
    assert kept.meta["plan"]["total_steps"] == plans[-1]["total_steps"]
    assert kept.step == plans[-1]["step"]

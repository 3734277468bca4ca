"""Killed before, at and after the return to the best weights, a training ends as undisturbed."""

import json

import pytest
from resume_support import layers, straight
from support import Killed, Watcher

from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.session import Request, train

pytestmark = [pytest.mark.fault("F11 resumes"), pytest.mark.usefixtures("decisive")]

# It overfits within some 20 steps and turns back soon after.
OVERFITTED = {
    "patience": None,
    "lr": 0.3,
    "dropout": 0.0,
    "eval_every": "5",
    "steps": 400,
    "ema": 0.9,
}


def metrics(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("elapsed_s", None)
    return rows


def turning_point(run):
    return next(row["annealed_from"] for row in metrics(run) if row.get("event") == "plan")


def test_the_best_weights_are_annealed_to_a_rate_of_zero(tmp_path, corpus, one_thread):
    outcome = straight(tmp_path, corpus("lines"), **OVERFITTED)
    rows = metrics(tmp_path / "straight")
    turn = turning_point(tmp_path / "straight")
    rates = [row["lr"] for row in rows if "event" not in row and row["step"] > turn]
    assert outcome.reason == "stopped improving"
    assert outcome.place.step < 400
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] <= rates[0] / len(rates) * 1.001


def test_the_annealed_weights_are_those_of_the_best_step(tmp_path, corpus, one_thread):
    """With a rate of nearly zero from there on, what is scored next is what scored best."""
    straight(tmp_path, corpus("lines"), **OVERFITTED | {"schedule": "linear"})
    rows = metrics(tmp_path / "straight")
    turn = turning_point(tmp_path / "straight")
    evaluations = [row for row in rows if row.get("event") == "eval"]
    best = min(row["val_nats_per_char"] for row in evaluations if row["step"] <= turn)
    before = next(row["val_nats_per_char"] for row in evaluations if row["step"] == turn)
    after = next(row["val_nats_per_char"] for row in evaluations if row["step"] > turn)
    assert abs(after - best) < abs(after - before)


@pytest.mark.parametrize(
    ("mode", "kills"),
    [("lines", [-3, 1]), ("lines", [0]), ("lines", [-7, 0, 0, 3]), ("stream", [-1, 2])],
)
def test_kills_around_the_turn_change_nothing(tmp_path, corpus, one_thread, mode, kills):
    changes = OVERFITTED | {"mode": mode}
    if mode == "stream":  # with 0.3 it never turns back in float32
        changes |= {"lr": 0.5, "precision": "float32"}
    expected = straight(tmp_path, corpus(mode), **changes)
    turn = turning_point(tmp_path / "straight")
    run = tmp_path / "killed"
    outcome = None
    for index, kill in enumerate([*kills, None]):
        request = Request(corpus(mode), layers(**changes), run=run)
        if index:
            request = Request(run=run, resume=True)
        kill_at = None if kill is None else turn + kill
        try:
            outcome = train(request, Watcher(kill_at))[1]
        except Killed:
            assert kill is not None
    assert outcome.weights_sha256 == expected.weights_sha256
    assert metrics(run) == metrics(tmp_path / "straight")
    best = (run / "model.safetensors").read_bytes()
    assert best == (tmp_path / "straight/model.safetensors").read_bytes()


@pytest.mark.parametrize("seam", ["save", "log"])
def test_killed_at_a_write_of_the_turn_it_turns_again(
    tmp_path, corpus, one_thread, monkeypatch, seam
):
    straight(tmp_path, corpus("lines"), **OVERFITTED)
    turn = turning_point(tmp_path / "straight")
    original = getattr(RunDirectory, seam)

    def write(run, first, *rest):
        step = first if seam == "save" else first["step"]
        if step == turn and (seam == "save" or first.get("event") == "plan"):
            raise Killed
        return original(run, first, *rest)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(RunDirectory, seam, write)
        train(Request(corpus("lines"), layers(**OVERFITTED), run=tmp_path / "killed"), Watcher())
    assert load_newest(tmp_path / "killed")[0].plan.annealed_from is None
    train(Request(run=tmp_path / "killed", resume=True), Watcher())
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "straight")


def test_an_annealed_run_goes_on_when_asked_for_more(tmp_path, corpus, one_thread):
    ended = straight(tmp_path, corpus("lines"), **OVERFITTED)
    run = tmp_path / "straight"
    assert train(Request(run=run, resume=True), Watcher())[1].reason == "already done"
    more = train(Request(None, (("--", {"steps": 900}),), run=run, resume=True), Watcher())[1]
    assert more.place.step > ended.place.step


@pytest.mark.parametrize("changes", [{"patience": 5}, {"patience": 0}, {"schedule": "constant"}])
def test_who_sets_a_patience_or_a_constant_rate_keeps_it(tmp_path, corpus, one_thread, changes):
    straight(tmp_path, corpus("lines"), **OVERFITTED | {"steps": 80} | changes)
    rows = metrics(tmp_path / "straight")
    assert not any(row.get("annealed_from") for row in rows)

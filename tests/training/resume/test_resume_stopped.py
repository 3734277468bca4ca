"""Stopped at any moment, a training leaves a model that has learnt, and goes on as undisturbed."""

import json
import os
import signal

import numpy as np
import pytest
from resume_support import layers, straight
from support import Watcher

from charrnn.modelfile import read_model
from charrnn.scoring import validation
from charrnn.training.best import BEST_FILE
from charrnn.training.session import Request, train

pytestmark = [pytest.mark.fault("F9 signals"), pytest.mark.usefixtures("decisive")]

# Between two evaluations it gets better; it overfits later, and returns to its best weights.
TURNING = {"patience": None, "lr": 0.3, "dropout": 0.0, "eval_every": "5", "steps": 60, "ema": 0.9}


class Stopping(Watcher):
    """Sends this process a signal when a step is done."""

    stop_at = None

    def step(self, update):
        if update.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def stop(request, step):
    watcher = Stopping()
    watcher.stop_at = step
    return train(request, watcher)[1]


def events(run, name):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == name]


def metrics(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("elapsed_s", None)
    return rows


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_stopped_before_any_evaluation_the_model_is_the_one_that_learnt(
    tmp_path, corpus, one_thread, mode
):
    request = Request(corpus(mode), layers(eval_every="50"), run=tmp_path / "r")
    outcome = stop(request, 11)
    model = read_model(tmp_path / "r")
    [line] = events(tmp_path / "r", "stop")
    assert outcome.reason == "SIGINT"
    assert model.meta["step"] == outcome.place.best_step == line["step"] == 11
    assert model.val_nats_per_char == outcome.place.best_nats == line["val_nats_per_char"]


def test_stopped_while_it_got_better_it_keeps_the_newest_and_the_best_waits(
    tmp_path, corpus, one_thread
):
    request = Request(corpus("lines"), layers(eval_every="8", lr=0.01), run=tmp_path / "r")
    outcome = stop(request, 23)
    assert read_model(tmp_path / "r").meta["step"] == outcome.place.best_step == 23
    assert read_model(tmp_path / "r/checkpoints" / BEST_FILE).meta["step"] == 16


def test_stopped_after_its_best_it_keeps_the_best(tmp_path, corpus, one_thread):
    changes = TURNING | {"counting": "off"}
    outcome = stop(Request(corpus("lines"), layers(**changes), run=tmp_path / "r"), 58)
    assert events(tmp_path / "r", "stop")[0]["kept"] is False
    assert read_model(tmp_path / "r").meta["step"] == outcome.place.best_step < 50


@pytest.mark.parametrize(("mode", "stops"), [("lines", [3, 12, 13, 41]), ("stream", [8, 17])])
def test_stopped_and_resumed_equals_undisturbed(tmp_path, corpus, one_thread, mode, stops):
    changes = TURNING | {"mode": mode}
    expected = straight(tmp_path, corpus(mode), **changes)
    run = tmp_path / "stopped"
    for index, step in enumerate([*stops, None]):
        request = Request(corpus(mode), layers(**changes), run=run)
        if index:
            request = Request(run=run, resume=True)
        outcome = stop(request, step)
    assert outcome.weights_sha256 == expected.weights_sha256
    assert metrics(run) == metrics(tmp_path / "straight")
    best = (run / "model.safetensors").read_bytes()
    assert best == (tmp_path / "straight/model.safetensors").read_bytes()
    assert not (run / "checkpoints" / BEST_FILE).exists()


def test_a_long_validation_text_is_read_in_part(tmp_path, corpus, one_thread, monkeypatch):
    """The clock of the batches is late: whoever stops waits for one batch only."""
    train(Request(corpus("stream"), layers(steps=0), run=tmp_path / "r"), Watcher())
    late = 10**12

    class Clock:
        perf_counter = staticmethod(lambda: late)

    monkeypatch.setattr(validation, "time", Clock)
    monkeypatch.setattr("charrnn.training.pacing.Pacing.chars_per_s", 6.0)
    more = Request(run=tmp_path / "r", resume=True, layers=(("--", {"steps": 60}),))
    outcome = stop(more, 11)
    [line] = events(tmp_path / "r", "stop")
    assert 0 < line["val_chars"] <= 6
    assert read_model(tmp_path / "r").meta["step"] == 11
    assert f"validated on {line['val_chars']} of" in outcome.verdict


def test_what_never_beats_the_start_is_kept_all_the_same(tmp_path, corpus, one_thread):
    outcome = straight(tmp_path, corpus("lines"), counting="off", lr=3.0, warmup=0, steps=8)
    model = read_model(tmp_path / "straight")
    assert "the last weights are kept" in outcome.verdict
    assert model.meta["step"] == outcome.place.best_step == 8
    assert model.val_nats_per_char == outcome.place.best_nats == outcome.place.val_nats


def test_a_stopped_counting_leaves_what_it_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.text.ngram.PIECE", 1000)
    text = "".join(f"{number:b} and {number}\n" for number in range(3000))
    (tmp_path / "text.txt").write_text(text)
    changes = {"cell": "ngram", "mode": "stream"}
    request = Request(str(tmp_path / "text.txt"), (("--", changes),), run=tmp_path / "r")
    outcome = stop(request, 5)
    model = read_model(tmp_path / "r")
    assert model.meta["step"] == outcome.place.best_step == 5
    assert outcome.place.best_nats < 0.6 * np.log(len(model.vocabulary))


def test_a_second_signal_does_not_wait_for_the_validation(
    tmp_path, corpus, one_thread, monkeypatch
):
    def leave(code):
        raise SystemExit(code)

    def slow(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it goes on")

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr("charrnn.training.loop.keep_learnt", slow)
    request = Request(corpus("lines"), layers(eval_every="50"), run=tmp_path / "r")
    with pytest.raises(SystemExit) as end:
        stop(request, 11)
    assert end.value.code == 130
    assert read_model(tmp_path / "r").meta["step"] == 11
    assert read_model(tmp_path / "r").val_nats_per_char is None

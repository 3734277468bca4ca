"""What a training does beside resuming: plans, early stopping, best weights, samples."""

import json
import math

import numpy as np
import pytest
from support import Watcher
from whole_support import SMALL, run

from charrnn.errors import DivergedError
from charrnn.modelfile import read_model
from charrnn.sampling.engine import load
from charrnn.text.batching import make_batches
from charrnn.text.corpus import open_corpus
from charrnn.training.loop import Trainer
from charrnn.training.session import Request, train


def metrics(path, event=None):
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == event]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(few, tmp_path, one_thread):
    a, b, c = (
        run(few, tmp_path / name, steps=20, dropout=0.4, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert a.weights_sha256 == b.weights_sha256 != c.weights_sha256


def test_the_loss_of_a_step_is_the_mean_over_its_characters(few, tmp_path, one_thread):
    run(
        few, tmp_path / "a", steps=1, lr=0.0, dropout=0.0
    )  # the weights stay what they were: what is kept made this loss
    sampler, row = load(tmp_path / "a"), metrics(tmp_path / "a")[0]
    corpus = open_corpus(tmp_path / "a/corpus", read_model(tmp_path / "a").meta["fingerprint"])
    batch = make_batches(corpus, 8, 64, 1337).batch(0)
    lines = ["".join(corpus.vocabulary.decode(line[line > 0].numpy())) for line in batch.targets]
    scores = [sampler.score(line.strip()) for line in lines]
    nats, chars = (sum(values) for values in zip(*scores, strict=True))
    assert row["chars"] == chars
    assert row["train_nats_per_char"] == pytest.approx(nats / chars, rel=1e-5)


def test_weights_with_the_best_validation_are_kept_not_the_last(few, tmp_path, one_thread):
    watcher = Watcher()
    run(few, tmp_path / "a", watcher, steps=400, lr=0.1, dropout=0.0, eval_every="20", patience=0)
    best_step, best = min(watcher.evaluations, key=lambda pair: pair[1])
    assert best_step < 400
    meta = read_model(tmp_path / "a").meta
    assert (meta["step"], meta["val_nats_per_char"]) == (best_step, best)


def test_training_stops_when_validation_has_stopped_improving(few, tmp_path, one_thread):
    outcome = run(few, tmp_path / "a", steps=4000, lr=0.1, eval_every="20", patience=3)
    assert outcome.reason == "stopped improving"
    assert outcome.place.step == outcome.place.best_step + 60


@pytest.mark.parametrize(("epochs", "most"), [(100, 43), (10, 5), (1, 4)])
def test_validation_takes_a_twentieth_of_a_training_but_a_few_are_made(
    few, tmp_path, one_thread, epochs, most
):
    run(few, tmp_path / "a", epochs=epochs, split="0.75,0.25", patience=0)
    read = sum(row["val_chars"] for row in metrics(tmp_path / "a", "eval"))
    learnt = sum(row["chars"] for row in metrics(tmp_path / "a"))
    evaluations = len(metrics(tmp_path / "a", "eval"))
    assert 4 <= evaluations <= most + 1  # the untrained network is scored too
    assert epochs == 1 or read / 3 <= 0.05 * learnt  # what is only read costs a third


class Clock:
    """A clock that each look at it moves on, by more once it has slowed down."""

    def __init__(self, slow_after=math.inf):
        self.now, self.slow_after = 0.0, slow_after

    def perf_counter(self):
        self.now += 0.01 if self.now < self.slow_after else 0.025
        return self.now

    def process_time(self):
        return self.now


@pytest.mark.parametrize("slow_after", [math.inf, 20.0])
def test_a_budget_ends_on_time_and_annealed(few, tmp_path, one_thread, monkeypatch, slow_after):
    monkeypatch.setattr("charrnn.training.pacing.time", Clock(slow_after))
    outcome = run(few, tmp_path / "a", budget="60s", patience=0)
    assert outcome.place.elapsed_s == pytest.approx(60, rel=0.05)
    assert metrics(tmp_path / "a")[-1]["lr"] < 0.01 * SMALL["lr"]


def test_a_plan_made_anew_is_recorded(few, tmp_path, one_thread, monkeypatch):
    monkeypatch.setattr("charrnn.training.pacing.time", Clock(slow_after=20.0))
    outcome = run(few, tmp_path / "a", budget="60s", patience=0)
    assert metrics(tmp_path / "a", "plan")[-1]["total_steps"] == outcome.place.step


def test_epochs_are_turned_into_steps(few, tmp_path, one_thread):
    outcome = run(few, tmp_path / "a", epochs=2.5, batch_size=10)
    assert outcome.place.step == math.ceil(2.5 * 4)  # 40 training lines


def test_zero_steps_score_the_untrained_network(few, tmp_path, one_thread):
    outcome = run(few, tmp_path / "a", steps=0)
    assert outcome.place.step == 0
    assert outcome.place.val_nats == pytest.approx(
        math.log(len(read_model(tmp_path / "a").vocabulary)), abs=0.4
    )


def test_an_evaluation_reports_the_gradient_norm_and_the_clip_rate_since_the_last(
    few, tmp_path, one_thread
):
    run(few, tmp_path / "a", steps=20, eval_every="10", clip=0.4)
    steps, evaluations = metrics(tmp_path / "a"), metrics(tmp_path / "a", "eval")
    norms = [row["grad_norm"] for row in steps[10:]]
    assert evaluations[-1]["grad_norm"] == pytest.approx(sum(norms) / 10)
    assert evaluations[-1]["clip_rate"] == sum(norm > 0.4 for norm in norms) / 10 > 0


def test_samples_are_written_while_training(few, tmp_path, one_thread):
    request = Request(
        few, (("--", SMALL | {"steps": 10, "sample_every": "5"}),), run=tmp_path / "a"
    )
    watcher = Watcher()
    train(
        request, watcher, lambda weights, meta: f"made at {meta['step']} of {len(weights)} tensors"
    )
    assert watcher.samples == ["made at 5 of 7 tensors", "made at 10 of 7 tensors"]
    assert "--- step 5," in (tmp_path / "a/samples.txt").read_text()


def test_a_step_with_a_gradient_that_is_not_finite_changes_nothing(
    few, tmp_path, one_thread, monkeypatch
):
    before = {}

    def poison(trainer, batch):
        if trainer.place.step == 3:
            before.update(trainer.parts.weights().items())
            before.update({name: value.copy() for name, value in before.items()})
            handle = trainer.model.head.bias.register_hook(lambda gradient: gradient * math.nan)
            record = original(trainer, batch)
            handle.remove()
            assert record["skipped"]
            after = trainer.parts.weights()
            assert all(np.array_equal(after[name], before[name]) for name in before)
            return record
        return original(trainer, batch)

    original = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", poison)
    outcome = run(few, tmp_path / "a", steps=10)
    assert outcome.place.skipped_steps == 1
    assert all(np.isfinite(value).all() for value in read_model(tmp_path / "a").tensors.values())


def test_training_that_stays_not_finite_ends_and_keeps_good_weights(few, tmp_path, one_thread):
    with pytest.raises(DivergedError, match="not finite 5 times in a row"):
        run(few, tmp_path / "a", steps=300, lr=1e30, clip=0.0, optimizer="sgd", cell="rnn")
    assert all(np.isfinite(value).all() for value in read_model(tmp_path / "a").tensors.values())

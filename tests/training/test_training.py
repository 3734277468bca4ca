"""What a training does beside resuming: plans, early stopping, best weights, divergence, flat memory."""

import json
import math
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from support import FEW, Watcher

from charrnn.config import Settings, resolve
from charrnn.errors import DivergedError
from charrnn.layers import shipped, toml_layer
from charrnn.modelfile import read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load
from charrnn.scoring.counting import Baseline
from charrnn.scoring.score import Score
from charrnn.text.batches import make_batches
from charrnn.text.building import survey, training_chars
from charrnn.text.corpus import open_corpus
from charrnn.training import recipe
from charrnn.training.loop import Trainer
from charrnn.training.outcome import Place, verdict
from charrnn.training.session import Request, train

SMALL = {
    "hidden_size": 8,
    "embedding_size": 4,
    "num_layers": 1,
    "batch_size": 8,
    "lr": 0.02,
    "threads": 1,
}


@pytest.fixture
def few(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    return str(tmp_path / "few.txt")


def run(corpus, path, watcher=None, **changes):
    return train(Request(corpus, (("--", SMALL | changes),), run=path), watcher or Watcher())[1]


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
    run(few, tmp_path / "a", watcher, steps=400, lr=0.1, eval_every="20", patience=0)
    best_step, best = min(watcher.evaluations, key=lambda pair: pair[1])
    assert best_step < 400
    meta = read_model(tmp_path / "a").meta
    assert (meta["step"], meta["val_nats_per_char"]) == (best_step, best)


def test_training_stops_when_validation_has_stopped_improving(few, tmp_path, one_thread):
    outcome = run(few, tmp_path / "a", steps=4000, lr=0.1, eval_every="20", patience=3)
    assert outcome.reason == "stopped improving"
    assert outcome.place.step == outcome.place.best_step + 60


@pytest.mark.parametrize(("epochs", "most"), [(100, 20), (10, 5), (1, 4)])
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
            before.update(trainer.weights().items())
            before.update({name: value.copy() for name, value in before.items()})
            handle = trainer.model.head.bias.register_hook(lambda gradient: gradient * math.nan)
            record = original(trainer, batch)
            handle.remove()
            assert record["skipped"]
            after = trainer.weights()
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


def unmeasured():
    raise AssertionError("the machine's speed was measured, and does not matter here")


def test_a_network_is_sized_from_the_corpus_and_says_so(few):
    found = survey("names", Settings().text, 1)
    filled, _, reason = recipe.fill(Settings(), found, unmeasured)
    assert (filled.model.hidden_size, filled.model.num_layers, filled.training.epochs) == (
        256,
        1,
        60,
    )
    assert "sized for 32,509 characters" in reason


def test_a_larger_text_gets_a_budget_of_five_minutes(tmp_path):
    (tmp_path / "text.txt").write_text("Some words in a line.\n\n" * 20_000)
    filled, _, _ = recipe.fill(
        Settings(), survey(str(tmp_path / "text.txt"), Settings().text, 1), lambda: 1e10
    )
    assert (filled.training.budget, filled.training.epochs) == ("5m", None)


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    """A stream of 270,000 characters for training."""
    path = tmp_path_factory.mktemp("prose") / "prose.txt"
    path.write_text("Some words in a line.\n\n" * 13_000)
    return survey(str(path), Settings().text, 1)


def sized_for(found, rate=1e9, **chosen):
    """What the recipe makes of these options on a machine of this speed."""
    settings, origins = resolve([("--", chosen)])
    return recipe.fill(settings, found, lambda: rate, origins)[0]


def test_a_larger_budget_and_a_faster_machine_get_a_larger_network(prose):
    hidden = [sized_for(prose, budget=budget).model.hidden_size for budget in ("1m", "5m", "20m")]
    assert hidden == sorted(set(hidden))
    assert (
        sized_for(prose, 4e9, budget="5m").model.hidden_size == hidden[2]
    )  # four times as fast, as four times as long
    assert sized_for(prose, 1e15, budget="5h").model.hidden_size < 1000  # the text bounds it


def test_what_is_read_more_often_is_dropped_more(prose):
    drops = [
        (found.model.dropout, found.model.weight_drop)
        for found in (
            sized_for(prose, hidden_size=192, epochs=epochs) for epochs in (0.5, 10, 30, 300)
        )
    ]
    assert drops == sorted(drops) and drops[0] == (0.0, 0.0) and drops[-1] == (0.4, 0.1)


def test_where_there_is_time_two_dense_layers_read_long_windows(prose):
    short, long = sized_for(prose, budget="5m"), sized_for(prose, 2e11, budget="20m")
    assert (
        short.model.num_layers,
        short.model.skip,
        short.training.batch_size,
        short.training.seq_length,
    ) == (
        1,
        "none",
        32,
        64,
    )
    assert (
        long.model.num_layers,
        long.model.skip,
        long.training.batch_size,
        long.training.seq_length,
    ) == (
        2,
        "dense",
        8,
        256,
    )


def test_two_layers_of_a_width_that_was_asked_for_must_fit(prose):
    assert (
        sized_for(prose, 2e10, budget="5m").model.hidden_size == 224
    )  # two layers of 450,000 weights
    layers = [
        sized_for(prose, 2e10, budget="5m", hidden_size=hidden).model.num_layers
        for hidden in (192, 256, 384)
    ]
    assert layers == [2, 2, 1]


@pytest.mark.parametrize(
    "asked", [{"num_layers": 1}, {"skip": "none"}, {"skip": "residual"}, {"tie_weights": True}]
)
def test_a_depth_or_skip_that_a_person_sets_is_left_alone(prose, asked):
    made = sized_for(prose, 2e11, budget="20m", **asked).model
    assert (made.num_layers, made.skip) == (1, asked.get("skip", "none"))


def test_a_length_in_steps_or_epochs_needs_no_measurement(prose):
    for chosen in ({"steps": 1000}, {"epochs": 2}):
        filled, _, reason = recipe.fill(resolve([("--", chosen)])[0], prose, unmeasured)
        assert filled.model.hidden_size > 0 and "passes over" in reason


def test_what_a_person_sets_is_left_alone():
    settings, _ = resolve(
        [("--", {"hidden_size": 33, "dropout": 0.0, "batch_size": 7, "steps": 9, "lr": 0.5})]
    )
    filled, _, reason = recipe.fill(settings, survey("names", settings.text, 1), unmeasured)
    assert (filled.model.hidden_size, filled.model.dropout, filled.training.batch_size) == (
        33,
        0.0,
        7,
    )
    assert (filled.training.steps, filled.training.budget, filled.training.lr) == (9, None, 0.5)
    assert "as asked" in reason


def test_every_short_stream_gets_lanes_that_fit(tmp_path):
    for chars in range(40, 2400, 3):
        (tmp_path / "short.txt").write_text(("a bc\n\n" * chars)[:chars])
        found = survey(str(tmp_path / "short.txt"), Settings().text, 1)
        training = recipe.fill(Settings(), found, unmeasured)[0].training
        assert (
            training.batch_size * training.seq_length <= training_chars(found, Settings().text) - 1
        ), chars


@pytest.mark.parametrize("chars", [51, 90, 641, 2000])
def test_a_short_stream_trains_without_options(tmp_path, one_thread, chars):
    (tmp_path / "short.txt").write_text(("a bc\n\n" * chars)[:chars])
    outcome = train(
        Request(
            str(tmp_path / "short.txt"),
            (("--", {"steps": 3, "hidden_size": 4}),),
            run=tmp_path / "a",
        ),
        Watcher(),
    )[1]
    assert outcome.place.step == 3


@pytest.mark.parametrize(
    ("place", "reason", "ngram", "says"),
    [
        (
            Place(best_nats=1.5, val_nats=1.9, train_nats=0.9, best_step=70),
            "done",
            2.0,
            "best at step 70, which is kept",
        ),
        (
            Place(best_nats=2.5, val_nats=2.5, train_nats=2.5, best_step=9),
            "done",
            2.0,
            "counting still does better",
        ),
        (
            Place(best_nats=1.5, val_nats=1.5, train_nats=1.49, best_step=9),
            "done",
            2.0,
            "underfitting",
        ),
        (
            Place(best_nats=1.5, val_nats=1.5, train_nats=1.3, best_step=99, step=100),
            "done",
            2.0,
            "a good fit: training for longer",
        ),
        (
            Place(best_nats=1.5, val_nats=1.5, train_nats=1.3, best_step=50, step=100),
            "done",
            2.0,
            "levelled off",
        ),
        (
            Place(best_nats=4.5, val_nats=4.5, train_nats=4.3, step=100),
            "done",
            2.0,
            "nothing was learnt",
        ),
        (
            Place(best_nats=1.5, val_nats=1.5, train_nats=1.3, best_step=99),
            "SIGINT",
            2.0,
            "stopped before its end",
        ),
        (Place(best_nats=1.5, val_nats=1.5), "done", 2.0, "too short to judge"),
    ],
)
def test_the_verdict_reads_the_figures(place, reason, ngram, says):
    settings, _ = resolve([("--", {"dropout": 0.2})])
    assert says in verdict(place, reason, settings, Baseline(5, Score(ngram, 1)))


def test_auto_never_chooses_mps(monkeypatch):
    from charrnn.machine import runtime

    monkeypatch.setattr(runtime, "available_devices", lambda: ["cpu", "mps"])
    assert runtime.choose_device("auto") == torch.device("cpu")


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none"
)
def test_a_checkpoint_made_on_the_cpu_goes_on_on_cuda(few, tmp_path):
    run(few, tmp_path / "a", steps=20, device="cpu", dropout=0.3)
    _, outcome = train(
        Request(None, (("--", {"steps": 40, "device": "cuda"}),), run=tmp_path / "a", resume=True),
        Watcher(),
    )
    assert outcome.place.step == 40 and outcome.device == "cuda:0"


@pytest.mark.slow
def test_the_names_preset_beats_counting_and_writes_new_names(tmp_path):
    """What `make names` promises: below the best n-gram on the same split, and at least 60 % of 1,000 samples in no corpus."""
    (name, values), names = (
        toml_layer("names"),
        shipped("corpora", "names.txt").read_text().splitlines(),
    )
    outcome = train(Request("names", ((name, values),), run=tmp_path / "run"), Watcher())[1]
    assert outcome.place.best_nats < outcome.ngram.score.nats_per_char - 0.05
    samples = load(tmp_path / "run").generate(1000, decoding=Decoding(temperature=0.8), seed=1)
    assert sum(sample.text not in names for sample in samples) >= 600


MEMORY = textwrap.dedent("""
    import json, resource, sys, time
    import torch, numpy
    from charrnn.training import session
    import torch._dynamo

    def resident():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))

    class Watcher:
        first = None
        def say(self, text): pass
        def step(self, step, total, chars, bits, left):
            self.first = self.first or time.perf_counter()
        def evaluated(self, *a): pass
        def sampled(self, *a): pass

    bare, began, watcher = resident(), time.perf_counter(), Watcher()
    settings = {"steps": int(sys.argv[2]), "hidden_size": 32, "num_layers": 1, "batch_size": 64, "seq_length": 256, "threads": 2}
    session.train(session.Request(sys.argv[1], (("--", settings),), run=session.Path("run"), began=began), watcher)
    print(json.dumps({"above_mb": resident() - bare, "first_step_s": watcher.first - began}))
""")


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="reads Linux's own account of memory"
)
def test_a_gigabyte_trains_in_flat_memory_and_starts_within_90_seconds(tmp_path):
    words = np.random.default_rng(0).integers(97, 123, (1 << 20, 5)).astype(np.uint8)
    words[:, 4] = 32
    piece = words.tobytes()[:-2] + b"\n\n"
    with open(tmp_path / "big.txt", "wb") as file:
        size = 0
        while size < 1_000_000_000:
            file.write(piece)
            size += len(piece)
    command = [sys.executable, "-c", MEMORY, "big.txt", "3000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["above_mb"] < 600
    assert found["first_step_s"] < 90

"""Networks sized from the text, verdicts, the names preset, a gigabyte in flat memory."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from support import Watcher
from whole_support import run, unmeasured

from charrnn.config import Settings, resolve
from charrnn.layers import shipped, toml_layer
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load
from charrnn.scoring.counting import Baseline
from charrnn.scoring.score import Score
from charrnn.text.building import learnt_chars, survey, training_chars
from charrnn.training import recipe
from charrnn.training.outcome import Place, verdict
from charrnn.training.session import Request, train


def test_a_larger_text_gets_a_budget_of_five_minutes(tmp_path):
    (tmp_path / "text.txt").write_text("Some words in a line.\n\n" * 20_000)
    filled, _, _ = recipe.fill(
        Settings(), survey(str(tmp_path / "text.txt"), Settings().text, 1), lambda: 1e10
    )
    assert (filled.training.budget, filled.training.epochs) == ("5m", None)


def sized_for(found, rate=1e9, **chosen):
    """What the recipe makes of these options on a machine of this speed."""
    settings, origins = resolve([("--", chosen)])
    return recipe.fill(settings, found, lambda: rate, origins)[0]


def test_lines_that_repeat_count_once(tmp_path):
    lines = [f"a name {number}\n" for number in range(108)]
    once = tmp_path / "once.txt"
    once.write_text("".join(lines))
    often = tmp_path / "often.txt"
    often.write_text("".join(lines * 30))
    sizes = [sized_for(survey(str(path), Settings().text, 1)) for path in (once, often)]
    assert sizes[0] == sizes[1]
    kept = resolve([("--", {"deduplicate": False})])[0].text
    assert learnt_chars(survey(str(often), kept, 1), kept) == often.stat().st_size


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
    assert drops == sorted(drops) and drops[0] == (0.0, 0.0) and drops[-1] == (0.5, 0.1)


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
        training = recipe.fill(Settings(), found, lambda: 1e10)[0].training
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
            Place(best_nats=2.5, val_nats=2.5, train_nats=2.3, best_step=9),
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
            "never got better than at the start",
        ),
        (
            Place(best_nats=4.5, val_nats=4.5, train_nats=4.3, step=100, progress_step=100),
            "done",
            2.0,
            "not better than at the start yet: the last weights are kept; train for longer",
        ),
        (
            Place(
                step=9,
                best_nats=1.9999,
                val_nats=1.9999,
                network_nats=3.2,
                train_nats=3.1,
                best_step=9,
                progress_step=9,
            ),
            "done",
            2.0,
            "adds nothing to counting: train for longer",
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


def test_a_verdict_compares_the_scores_of_the_same_weights_without_dropout():
    """In training, dropout makes the loss of this step 2.6; without it the same text has 2.1."""
    settings, _ = resolve([("--", {"dropout": 0.6})])
    place = Place(best_nats=2.5, val_nats=2.5, train_nats=2.6, learnt_nats=2.1, best_step=9)
    assert "close to overfitting" in verdict(place, "done", settings, None)


def test_a_text_that_is_dropped_too_much_is_advised_less_of_it():
    settings, _ = resolve([("--", {"dropout": 0.6})])
    place = Place(best_nats=2.5, val_nats=2.5, train_nats=2.7, learnt_nats=2.49, best_step=9)
    assert "--dropout 0.3 should help" in verdict(place, "done", settings, None)


def test_the_training_text_is_scored_without_dropout_at_the_end(few, tmp_path, one_thread):
    place = run(few, tmp_path / "a", steps=300, lr=0.03, dropout=0.9, patience=0).place
    assert place.learnt_nats < place.train_nats - 0.1


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
    """What `make names` promises: below the best n-gram on the same split, and at least 45 % of
    1,000 samples in no corpus: with `--counting off` 62 %, but a worse score.
    """
    (name, values), names = (
        toml_layer("names"),
        shipped("corpora", "names.txt").read_text().splitlines(),
    )
    outcome = train(Request("names", ((name, values),), run=tmp_path / "run"), Watcher())[1]
    assert outcome.place.best_nats < outcome.ngram.score.nats_per_char - 0.05
    samples = load(tmp_path / "run").generate(1000, decoding=Decoding(temperature=0.8), seed=1)
    assert sum(sample.text not in names for sample in samples) >= 450


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
        def step(self, update):
            self.first = self.first or time.perf_counter()
        def evaluated(self, *a): pass
        def sampled(self, *a): pass
        def saved(self, *a): pass
        def started(self, *a): pass
        def stop_reason(self): return ''
        def ended(self, *a): pass

    bare, began, watcher = resident(), time.perf_counter(), Watcher()
    settings = {
        "steps": int(sys.argv[2]), "hidden_size": 32, "num_layers": 1, "batch_size": 64,
        "seq_length": 256, "threads": 2, **dict(word.split("=") for word in sys.argv[3:]),
    }
    layers = (("--", settings),)
    request = session.Request(sys.argv[1], layers, run=session.Path("run"), began=began)
    session.train(request, watcher)
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


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="reads Linux's own account of memory"
)
def test_a_table_of_a_gigabyte_trains_in_600_megabytes(tmp_path):
    random = np.random.default_rng(0)
    words = ["".join(map(chr, random.integers(97, 123, n))) for n in random.integers(2, 9, 99)]
    titles = [" ".join(random.choice(words, 9)) for _ in range(10_000)]
    size = 0
    with open(tmp_path / "big.csv", "w") as file:
        file.write("id,title,year\n")
        while size < 1_000_000_000:
            rows = "".join(
                f'{size + n},"{title}, {size + n}",{1900 + n % 100}\n'
                for n, title in enumerate(titles)
            )
            file.write(rows)
            size += len(rows)
    command = [sys.executable, "-c", MEMORY, "big.csv", "2", "column=title"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["above_mb"] < 600
    assert found["first_step_s"] < 240

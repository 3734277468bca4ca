"""The trainings, table and curves of a comparison, against other trainings."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from compare_support import SMALL, VARY, Bar, asked, done
from support import FEW, Killed, Watcher

from charrnn.errors import CheckpointError, DivergedError, SettingsError
from charrnn.lab import compare
from charrnn.lab.compare import Stopped, prepare
from charrnn.lab.compared import compared, read_run
from charrnn.lab.plan import PLAN, Plan
from charrnn.modelfile import read_model
from charrnn.scoring.counting import counted_for_training
from charrnn.text.corpus import open_corpus
from charrnn.training import session


def weights(path):
    return {name: value.tobytes() for name, value in read_model(path).tensors.items()}


def test_each_run_is_the_one_that_train_makes(few, finished, tmp_path):
    plan, _, folder = finished
    chosen = plan.variants[1].settings
    settings = {
        "cell": "rnn",
        "hidden_size": chosen.model.hidden_size,
        "weight_decay": chosen.training.weight_decay,
        "steps": 12,
        "batch_size": 8,
        "eval_every": "4",
        "seed": 4,
        "split_seed": 3,
        "patience": 0,
        "threads": 1,
    }
    session.train(
        session.Request(str(few), (("--", settings),), run=tmp_path / "by-hand"), Watcher()
    )
    assert weights(tmp_path / "by-hand") == weights(folder / "rnn-seed-4")


def test_all_seeds_share_one_split_and_nothing_else(few, finished):
    """The ids of the run of another seed are those of the first; its first weights are not."""
    folder = finished[2]
    texts = [
        next((folder / name / "corpus").glob("*.ids")) for name in ("gru-seed-3", "rnn-seed-4")
    ]
    assert texts[0].name == texts[1].name
    assert texts[0].read_bytes() == texts[1].read_bytes()
    plan = finished[0]
    assert plan.split_seed == 3
    assert compared(plan, folder, {}).settings["split"] == "of seed 3 for all"


def test_a_split_that_somebody_chose_is_kept(few, tmp_path):
    plan, _ = prepare(
        asked(VARY, corpus=str(few), split_seed="9", **SMALL), tmp_path / "a", Path("x"), Watcher()
    )
    assert plan.split_seed == 9


def test_a_stream_has_no_seed_of_a_split(tmp_path):
    (tmp_path / "stream.txt").write_text("what is learnt as one text " * 40)
    chosen = SMALL | {"mode": "stream", "seq_length": "5"}
    plan, _ = prepare(
        asked(["lr=0.1,0.2"], corpus=str(tmp_path / "stream.txt"), **chosen),
        tmp_path / "a",
        Path("x"),
        Watcher(),
    )
    assert plan.split_seed is None


def as_recorded_before(path):
    """compare.json as charrnn up to 0.4.0 wrote it."""
    recorded = json.loads(path.read_text())
    for variant in recorded["variants"]:
        del variant["settings"]["text"]["split_seed"]
    del recorded["name"], recorded["seeds"]
    path.write_text(json.dumps(recorded))


def test_a_comparison_of_an_old_version_goes_on_with_a_split_for_each_seed(few, tmp_path):
    request = asked(VARY, corpus=str(few), seeds=2, **SMALL)
    prepare(request, tmp_path / "runs", Path("x"), Watcher())
    as_recorded_before(tmp_path / "runs" / PLAN)
    plan, _ = done(few, tmp_path / "runs")
    assert plan.split_seed is None
    names = [
        next((tmp_path / "runs" / f"gru-seed-{seed}" / "corpus").glob("*.ids")).name
        for seed in (3, 4)
    ]
    assert names[0] != names[1]
    assert "split" not in compared(plan, tmp_path / "runs", {}).settings
    assert json.loads((tmp_path / "runs" / PLAN).read_text())["seeds"] == 2


def test_the_table_is_made_of_the_runs_own_figures(finished):
    plan, failed, folder = finished
    result = compared(plan, folder, failed)
    best = {}
    for cell in ("gru", "rnn"):
        for seed in (3, 4):
            lines = (folder / f"{cell}-seed-{seed}" / "metrics.jsonl").read_text().splitlines()
            nats = [
                each["val_nats_per_char"]
                for each in map(json.loads, lines)
                if each.get("event") == "eval"
            ]
            assert len(nats) == 4
            best[cell, seed] = min(nats) / math.log(2)
    (gru, rnn, counting), names = result.rows, result.columns
    assert (gru[0], rnn[0], counting[0]) == ("gru", "rnn", "counting") and gru[
        names.index("steps")
    ] == 12
    column = names.index("bits/char")
    assert gru[column] == pytest.approx((best["gru", 3] + best["gru", 4]) / 2)
    apart = [best["rnn", seed] - best["gru", seed] for seed in (3, 4)]
    half = 12.7062 * abs(apart[0] - apart[1]) / 2  # s of two is their distance over sqrt(2)
    assert rnn[-3:] == pytest.approx(
        (np.mean(apart), np.mean(apart) - half, np.mean(apart) + half), abs=1e-5
    )
    assert rnn[names.index("± 95 %")] == pytest.approx(
        12.7062 * abs(best["rnn", 3] - best["rnn", 4]) / 2, abs=1e-5
    )
    assert gru[-3:] == (None, None, None)
    assert f"rnn is better than gru by {-np.mean(apart):.3f} bits/char" in result.sentence


def test_counting_stands_beside_the_networks(finished):
    plan, failed, folder = finished
    bits = []
    for seed in (3, 4):
        run = folder / f"gru-seed-{seed}"
        baseline = counted_for_training(
            open_corpus(run / "corpus", read_model(run).meta["fingerprint"])
        )
        bits.append(baseline.score.bits_per_char)
    row = compared(plan, folder, failed).rows[-1]
    assert row[5] == pytest.approx(np.mean(bits))


def test_curves_are_means_over_seeds_and_leave_out_the_network_that_has_learnt_nothing(finished):
    plan, failed, folder = finished
    runs = [read_run(folder / f"gru-seed-{seed}") for seed in (3, 4)]
    steps, time, each = compared(plan, folder, failed).panels
    assert [series.name for series in steps.series] == ["gru", "rnn", "counting"]
    assert steps.series[0].x == (4, 8, 12)
    assert steps.series[0].y == pytest.approx(
        [(a + b) / 2 for a, b in zip(*(run.bits[1:] for run in runs), strict=True)]
    )
    assert time.series[0].x[-1] == pytest.approx(np.mean([run.seconds[-1] for run in runs]))
    assert each.series[0].x == (3, 4) and each.series[0].y == pytest.approx(
        [run.best for run in runs]
    )


def test_what_is_finished_is_not_trained_again(few, finished, monkeypatch):
    plan, failed, folder = finished
    monkeypatch.setattr(session.Trainer, "train_step", lambda *_: pytest.fail("trained again"))
    again, _ = done(few, folder)
    assert compared(again, folder, {}).rows == compared(plan, folder, failed).rows


def test_killed_in_a_training_it_goes_on_to_the_same_weights(few, finished, tmp_path):
    bars = iter([Bar(), Bar(kill_at=7)])
    with pytest.raises(Killed):
        done(few, tmp_path / "runs", bar=lambda: next(bars), save_every="5")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        PLAN,
        "gru-seed-3",
        "rnn-seed-3",
    ]
    done(few, tmp_path / "runs", save_every="5")
    for name in ("gru-seed-3", "gru-seed-4", "rnn-seed-3", "rnn-seed-4"):
        assert weights(tmp_path / "runs" / name) == weights(finished[2] / name), name


def test_more_seeds_are_added_to_what_is_there(few, tmp_path):
    done(few, tmp_path / "runs", seeds=1)
    trained_before = weights(tmp_path / "runs" / "rnn-seed-3")
    plan, failed = done(few, tmp_path / "runs", seeds=2)
    assert plan.seeds == (3, 4) and weights(tmp_path / "runs" / "rnn-seed-3") == trained_before
    one = compared(
        Plan(plan.corpus, plan.name, plan.variants, plan.parameters, (3,), plan.equal),
        tmp_path / "runs",
        failed,
    )
    assert "one seed, which gives no interval" in one.sentence and len(one.panels) == 2


def test_another_comparison_in_its_place_is_refused(few, finished):
    with pytest.raises(
        SettingsError, match=r"holds another comparison \(the settings differ\); name another"
    ):
        done(few, finished[2], lr="0.5")


def test_a_changed_text_is_another_comparison(finished, tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW[1:]))
    with pytest.raises(SettingsError, match="the text"):
        done(tmp_path / "few.txt", finished[2])


def test_a_directory_of_something_else_is_refused(few, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SettingsError, match="holds no comparison"):
        done(few, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"asked": 1}', "[" * 100_000])
def test_a_damaged_plan_is_told_in_one_line(few, tmp_path, text):
    (tmp_path / PLAN).write_text(text)
    with pytest.raises((CheckpointError, SettingsError), match=r"is damaged|another comparison"):
        done(few, tmp_path)


def test_without_run_the_same_comparison_finds_its_directory_and_another_gets_its_own(
    few, tmp_path
):
    def place(**more):
        return prepare(asked(VARY, corpus=str(few), **(SMALL | more)), None, tmp_path, Watcher())[
            1
        ].name

    assert [place(), place(lr="0.5"), place(), place(lr="0.5")] == [
        "compare-few",
        "compare-few-2",
        "compare-few",
        "compare-few-2",
    ]


def outcome(reason, epochs=2.0, elapsed_s=1.0):
    place = type("Place", (), {"elapsed_s": elapsed_s, "best_nats": 1.0})()
    return Path("x"), type("Outcome", (), {"reason": reason, "epochs": epochs, "place": place})()


def test_a_budget_becomes_the_same_passes_for_all_at_the_first_ones_pace(
    few, tmp_path, monkeypatch
):
    """2 passes in 1 s, so 16 in 8 s."""
    requests = []
    monkeypatch.setattr(
        session, "train", lambda request, progress: requests.append(request) or outcome("done")
    )
    chosen = {key: value for key, value in SMALL.items() if key != "steps"} | {"budget": "8s"}
    plan, _ = prepare(
        asked(VARY, corpus=str(few), **chosen), tmp_path / "a", Path("none"), Watcher()
    )
    assert [
        (each.settings.training.budget, each.settings.training.epochs) for each in plan.variants
    ] == [(None, 16.0)] * 2
    assert len(requests) == 1 and dict(requests[0].layers[0][1])["budget"] == "3s"
    plan, _ = prepare(
        asked(VARY, "time", corpus=str(few), **chosen), tmp_path / "b", Path("none"), Watcher()
    )
    assert [
        (each.settings.training.budget, each.settings.training.epochs) for each in plan.variants
    ] == [("8s", None)] * 2
    assert len(requests) == 1


def test_a_signal_stops_the_comparison(few, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "train", lambda request, progress: outcome("SIGTERM"))
    with pytest.raises(Stopped, match="SIGTERM"):
        done(few, tmp_path / "runs")


def test_a_variant_that_diverges_has_no_figure_and_the_rest_goes_on(few, tmp_path, monkeypatch):
    original = session.train

    def train(request, progress):
        result = original(request, progress)
        if request.run.name == "rnn-seed-4":
            raise DivergedError("it diverged")
        return result

    monkeypatch.setattr(session, "train", train)
    plan, failed = done(few, tmp_path / "runs")
    result = compared(plan, tmp_path / "runs", failed)
    assert result.rows[1][5] is None and result.rows[0][5] is not None
    assert (
        "no figure, a training diverged" in result.sentence
        and "rnn with seed 4: it diverged" in result.sentence
    )


def test_a_run_without_metrics_is_told_in_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        read_run(tmp_path)
    for text in ("{", "[]", '{"event": "eval"}'):
        (tmp_path / "metrics.jsonl").write_text(text)
        with pytest.raises(CheckpointError, match="is damaged"):
            read_run(tmp_path)


def test_the_command(charrnn, few):
    words = (
        "compare",
        few,
        "--vary",
        "cell=gru,rnn",
        "--seeds",
        2,
        "--set",
        "training.steps=3",
        "--set",
        "model.hidden_size=12",
        "--run",
        "here",
    )
    told = charrnn(*words, "--json", "--csv", "curves.csv")
    assert told.returncode == 0, told.stderr
    first = json.loads(told.stdout.splitlines()[0])
    assert first["kind"] == "result" and [row[0] for row in first["rows"]] == [
        "gru",
        "rnn",
        "counting",
    ]
    assert "4/4  gru, seed 1338" in told.stderr and "equal parameters and steps" in told.stderr


def test_a_name_that_another_comparison_takes_meanwhile_is_left_to_it(few, tmp_path, monkeypatch):
    original = compare._planned

    def planned(*rest):
        (tmp_path / "compare-few").mkdir()
        (tmp_path / "compare-few" / PLAN).write_text('{"asked": "another"}')
        return original(*rest)

    monkeypatch.setattr(compare, "_planned", planned)
    _, place = prepare(asked(VARY, corpus=str(few), **SMALL), None, tmp_path, Watcher())
    assert place == tmp_path / "compare-few-2"
    assert (tmp_path / "compare-few" / PLAN).read_text() == '{"asked": "another"}'

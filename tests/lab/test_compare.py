"""charrnn compare: statistics against tables and hand-worked numbers, trainings against others."""

import json
import math
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from support import FEW, Killed, Watcher

from charrnn.config import ModelSettings, resolve
from charrnn.errors import CheckpointError, DivergedError, SettingsError
from charrnn.lab import compare
from charrnn.lab.asked import ask
from charrnn.lab.compare import PLAN, Plan, Stopped, prepare, train_all
from charrnn.lab.compared import compared, read_run
from charrnn.lab.paired import difference, interval, t_quantile, verdict, within
from charrnn.lab.variants import Variant, count, matched_hidden_size, sized, variants_of
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import read_model
from charrnn.scoring.counting import counted_for_training
from charrnn.text.building import survey
from charrnn.text.corpus import open_corpus
from charrnn.training import session

# Intervals


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 4, 2.776),
        (0.95, 5, 2.571),
        (0.95, 9, 2.262),
        (0.95, 10, 2.228),
        (0.95, 30, 2.042),
        (0.95, 120, 1.980),
        (0.99, 2, 9.925),
        (0.99, 5, 4.032),
        (0.5, 1, 1.0),
    ],
)
def test_quantiles_are_those_of_the_printed_table(share, freedom, value):
    assert t_quantile(share, freedom) == pytest.approx(value, abs=5e-4)


def test_the_quantile_of_two_degrees_in_closed_form_and_of_many_the_normal():
    assert t_quantile(0.95, 2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)
    z, freedom = NormalDist().inv_cdf(0.975), 2001
    assert t_quantile(0.95, freedom) == pytest.approx(z + (z**3 + z) / 4 / freedom, abs=1e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8])
def test_probabilities_are_the_integral_of_the_density(freedom):
    t = np.linspace(0, 1.7, 20_001)
    scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    density = scale * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
    assert within(1.7, freedom) == pytest.approx(
        (density[:-1] + density[1:]).sum() * t[1], abs=1e-8
    )


def test_an_interval_by_hand():
    """1, 2, 3: s = 1, and 4.3027 / sqrt(3) = 2.4841."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.low, found.high) == pytest.approx(
        (2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-4
    )
    assert math.isnan(interval([1.0]).low) and interval([1.0]).mean == 1.0


def test_pairs_cancel_what_a_seed_does_to_both():
    """Differences 0.1, 0.1, 0.2: s = 0.05774, so 0.13333 ± 4.3027 x 0.05774 / sqrt(3) = 0.1434."""
    found = difference([1.1, 5.1, 9.2], [1.0, 5.0, 9.0])
    assert (found.mean, found.half) == pytest.approx((0.13333, 0.14342), abs=1e-4)


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (
            (-0.1, 0.1, -0.1),
            "gru against lstm: no conclusive evidence (-0.033 bits/char, 95 % -0.320 to +0.254)",
        ),
        ((-0.2, -0.2, -0.3), "gru is better than lstm by 0.233 bits/char (95 % 0.090 to 0.377)"),
        ((0.2, 0.2, 0.3), "gru is worse than lstm by 0.233 bits/char (95 % 0.090 to 0.377)"),
        ((0.2, math.nan, 0.3), "gru against lstm: no figure, a training diverged"),
    ],
)
def test_verdicts(apart, words):
    """By hand: s = 0.11547 and 0.05774; 4.3027 / sqrt(3) = 2.4841 times that: 0.2868, 0.1434."""
    others = (2.1, 3.0, 4.1)
    assert (
        verdict("gru", "lstm", [a + b for a, b in zip(apart, others, strict=True)], others) == words
    )


def test_one_seed_gives_no_interval_and_says_so():
    assert (
        verdict("a", "b", [2.0], [2.5])
        == "a against b: -0.500 bits/char with one seed, which gives no interval"
    )


# What is asked


def asked(vary=(), equal=None, seeds=3, corpus=None, **chosen):
    return ask(corpus, (("--set", chosen),), vary, equal, seeds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": ["cel=lstm,gru"]}, "--vary cel: there is no such setting; did you mean cell?"),
        ({"vary": ["cell=lstm"]}, "one value compares nothing"),
        ({"vary": ["cell"]}, "write it as setting=value,value"),
        ({"vary": ["=a,b"]}, "write it as setting=value,value"),
        ({"vary": ["cell=lstm,"]}, "'' is not one of rnn, lstm"),
        ({"vary": ["lr=1,1.0"]}, "1.0 is given twice"),
        ({"vary": ["lr=1,nan"]}, "'nan' is not a finite number"),
        ({"vary": ["cell=lstm,ngram"]}, "counting (ngram) stands beside the networks anyway"),
        ({"vary": ["lr=1,2", "lr=3,4"]}, "--vary lr is given twice"),
        ({"vary": ["unit=char,byte"]}, "figures of different texts do not compare"),
        ({"vary": ["seed=1,2"]}, "as many as --seeds says"),
        ({"vary": ["lr=1,2"], "lr": "0.1"}, "--set training.lr and --vary lr both set it"),
        ({"vary": ["hidden-size=8,9"], "equal": "params"}, "chooses the hidden size"),
        ({"vary": ["steps=8,9"], "equal": "time"}, "says how long to train"),
        ({"vary": ["steps=8,9"], "budget": "3s"}, "leave the other lengths out"),
        ({"equal": "parms"}, "did you mean params?"),
        ({"equal": "time,steps"}, "give one"),
        ({"equal": "time", "epochs": "3"}, "--set training.epochs gives each as many steps"),
        ({"seeds": 0}, "must be between 1 and 1,000"),
        ({"corpus": "-"}, "standard input"),
        ({"init_from": "x"}, "begins from scratch"),
        ({"cell": "ngram"}, "compare networks"),
    ],
)
def test_nonsense_is_refused_in_one_line(options, message):
    with pytest.raises(SettingsError, match=re.escape(message)) as told:
        asked(**options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("vary", "equal", "made"),
    [
        ((), None, ("params", "steps")),
        (["dropout=0,0.5"], None, ("params", "steps")),
        ((), "time", ("time",)),
        (["hidden-size=8,9"], None, ("steps",)),
        ((), "params,time", ("params", "time")),
        ((), "steps", ("steps",)),
        (["steps=8,9"], None, ("params",)),
    ],
)
def test_what_is_made_equal(vary, equal, made):
    assert asked(vary, equal).equal == made


def test_a_flag_varied_takes_the_place_of_a_files():
    assert ask(None, (("x.toml", {"cell": "gru"}),), ["cell=lstm,gru"], None, 3).vary == (
        ("cell", ("lstm", "gru")),
    )


# Variants


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    place = tmp_path_factory.mktemp("few") / "few.txt"
    place.write_text("".join(f"{name}\n" for name in FEW))
    return place


def variants(few, **options):
    request = asked(corpus=str(few), **options)
    return variants_of(
        request, survey(str(few), resolve(request.layers)[0].text, 1337), lambda settings: 1e9
    )


@pytest.mark.parametrize(
    "more",
    [{"cell": "gru"}, {"cell": "rnn", "skip": "dense"}, {"cell": "lstm", "tie_weights": True}],
)
def test_the_width_is_the_one_whose_real_network_comes_nearest(more):
    settings = ModelSettings(hidden_size=1, num_layers=2, embedding_size=5, **more)
    real = {size: CharModel(sized(settings, size), 7).parameter_count() for size in range(1, 40)}
    for wanted in (1, 500, 1003, 4000, real[17]):
        nearest = min(real, key=lambda size: abs(real[size] - wanted))
        assert matched_hidden_size(settings, 7, wanted) == nearest
    assert count(sized(settings, 17), 7) == real[17]


def test_equal_parameters_are_within_two_percent_and_really_the_networks(few):
    made, parameters = variants(few, hidden_size="40", steps="5")
    size = len(survey(str(few), made[0].settings.text, 1337).vocabulary)
    assert [each.name for each in made] == ["lstm", "gru", "rnn"] and made[
        0
    ].settings.model.hidden_size == 40
    for each, numbers in zip(made, parameters, strict=True):
        assert CharModel(each.settings.model, size).parameter_count() == numbers
        assert abs(numbers - parameters[0]) <= 0.02 * parameters[0]
    assert len({each.settings.model.hidden_size for each in made}) == 3


def test_a_network_too_small_to_be_matched_is_refused(few):
    with pytest.raises(SettingsError, match="no width of lstm comes within 2% of"):
        variants(few, vary=["cell=rnn,lstm"], hidden_size="3", embedding_size="2", steps="5")


def test_variants_differ_in_what_is_varied_and_nothing_else(few):
    made, _ = variants(few, vary=["lr=0.1,0.2", "cell=gru,rnn"], equal="steps", steps="5")
    assert [each.name for each in made] == [
        "lr 0.1, gru",
        "lr 0.1, rnn",
        "lr 0.2, gru",
        "lr 0.2, rnn",
    ]
    first = made[0].settings.to_dict()
    for each in made[1:]:
        other = each.settings.to_dict()
        differing = {
            key
            for section in first
            for key in first[section]
            if first[section][key] != other[section][key]
        }
        assert differing <= {"lr", "cell"}
    assert all(value is not None for value in made[0].settings.to_dict()["model"].values())


def test_no_two_variants_share_a_name_or_a_run(few):
    """Values that six digits do not tell apart, and names longer than a directory's."""
    made, _ = variants(
        few, vary=["lr=0.0012345671,0.0012345672", "clip=1,2"], equal="steps", steps="5"
    )
    assert made[0].name == "lr 0.0012345671, clip 1" and len({each.name for each in made}) == 4
    made = [
        Variant(f"{'dropout 0.1, ' * 9}clip {clip}", made[0].settings) for clip in (1, 2, "../..")
    ]
    runs = {each.run(Path("runs"), 1) for each in made}
    assert len(runs) == 3 and all(
        run.parent == Path("runs") and len(run.name) < 100 for run in runs
    )


def test_without_a_length_it_is_small_and_quick(few):
    made, _ = variants(few)
    assert (made[0].settings.model.hidden_size, made[0].settings.training.steps) == (
        64,
        1500,
    )  # no clock in it
    assert variants(few, equal="time")[0][0].settings.training.budget == "6s"
    assert variants(few, budget="1m")[0][0].settings.model.hidden_size == 96  # as charrnn train


def test_each_gets_its_whole_length_unless_patience_is_asked_for(few):
    assert variants(few, steps="5")[0][0].settings.training.patience == 0
    assert variants(few, steps="5", patience="3")[0][0].settings.training.patience == 3


def test_every_seed_begins_with_another_variant():
    made = tuple(Variant(name, resolve([])[0]) for name in "abc")
    plan = Plan(None, "x", made, (1, 1, 1), (5, 6, 7, 8), "")
    order = "".join(variant.name for variant, _ in plan.runs())
    assert order == "abcbcacababc"


# Trainings


SMALL = {
    "hidden_size": "12",
    "steps": "12",
    "batch_size": "8",
    "threads": "1",
    "eval_every": "4",
    "seed": "3",
}
VARY = ["cell=gru,rnn"]


class Bar(Watcher):
    def close(self):
        pass


def done(few, folder, seeds=2, bar=Bar, **more):
    """(plan, runs that diverged) of a small comparison in folder."""
    request = asked(VARY, corpus=str(few), seeds=seeds, **(SMALL | more))
    plan, place = prepare(request, folder, Path("none"), Watcher())
    assert place == folder
    return plan, train_all(plan, place, bar, lambda text: None)


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "runs"
    return (*done(few, folder), folder)


def weights(path):
    return {name: value.tobytes() for name, value in read_model(path).tensors.items()}


def test_each_run_is_the_one_that_train_makes(few, finished, tmp_path):
    plan, _, folder = finished
    width = plan.variants[1].settings.model.hidden_size
    settings = {
        "cell": "rnn",
        "hidden_size": width,
        "steps": 12,
        "batch_size": 8,
        "eval_every": "4",
        "seed": 4,
        "patience": 0,
        "threads": 1,
    }
    session.train(
        session.Request(str(few), (("--", settings),), run=tmp_path / "by-hand"), Watcher()
    )
    assert weights(tmp_path / "by-hand") == weights(folder / "rnn-seed-4")


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
    assert f"rnn against gru: no conclusive evidence ({np.mean(apart):+.3f}" in result.sentence


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
    with pytest.raises(
        (CheckpointError, SettingsError), match=r"makes no sense|another comparison"
    ):
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
        compare, "train", lambda request, progress: requests.append(request) or outcome("done")
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
    monkeypatch.setattr(compare, "train", lambda request, progress: outcome("SIGTERM"))
    with pytest.raises(Stopped, match="SIGTERM"):
        done(few, tmp_path / "runs")


def test_a_variant_that_diverges_has_no_figure_and_the_rest_goes_on(few, tmp_path, monkeypatch):
    def train(request, progress):
        result = session.train(request, progress)
        if request.run.name == "rnn-seed-4":
            raise DivergedError("it diverged")
        return result

    monkeypatch.setattr(compare, "train", train)
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
        with pytest.raises(CheckpointError, match="makes no sense"):
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

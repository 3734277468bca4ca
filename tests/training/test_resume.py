"""Stopped is the same as not stopped: to the bit, in both modes, however often, across an epoch's end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support import FEW, Killed, Watcher, needs_kernel

from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.model import kernel
from charrnn.modelfile import KINDS, checkpoint_files
from charrnn.storage import read_tensors, write_tensors
from charrnn.training import checkpoint
from charrnn.training.checkpoint import RunDirectory, load_newest
from charrnn.training.pacing import Pace
from charrnn.training.resuming import find_checkpoint
from charrnn.training.session import Request, train

SETTINGS = {
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.3,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 60,
    "save_every": "4",
    "eval_every": "13",
    "sample_every": "20",
    "threads": 1,
    "patience": 0,
}
PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. It is 300 characters long or so.\n\n"
    * 3
)


pytestmark = pytest.mark.fault("F11 resumes")


def layers(**changes):
    return (("--", SETTINGS | changes),)


@pytest.fixture
def corpus(tmp_path):
    def write(mode):
        path = tmp_path / f"{mode}.txt"
        path.write_text("".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE)
        return str(path)

    return write


def straight(tmp_path, corpus, **changes):
    return train(Request(corpus, layers(**changes), run=tmp_path / "straight"), Watcher())[1]


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


def steps_in_metrics(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "event" not in row]


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize(
    ("cell", "backend"),
    [("lstm", "own"), ("lstm", "torch"), ("gru", "own"), ("gru-before", "own"), ("rnn", "torch")],
)
def test_killed_five_times_equals_undisturbed(tmp_path, corpus, one_thread, mode, cell, backend):
    # 38 lines in batches of 5 are 8 steps an epoch, the stream's is 8 too: the kills lie around epochs' ends.
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
    """Two resumes from one checkpoint made after the plan: no clock decides the weights any more."""
    monkeypatch.setattr(
        Pace, "correct", lambda pace, step: False
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

    def step(self, step, total, chars, bits_per_char, seconds_left):
        if total is not None and self.plan_known is None:
            self.plan_known = step
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
        ({"budget": "0.001s"}, "--budget 0.001s.*can only be longer"),
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
        def step(self, step, total, chars, bits_per_char, seconds_left):
            if total is not None:
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
    assert kept.meta["plan"]["total_steps"] == plans[0]["total_steps"]
    assert kept.step == plans[0]["step"]


def test_a_longer_run_is_evaluated_as_often_as_if_it_had_been_longer_from_the_start(
    tmp_path, corpus, one_thread
):
    changes = {"eval_every": None, "sample_every": None, "steps": 20}
    train(Request(corpus("lines"), layers(**changes), run=tmp_path / "r"), Watcher())
    watcher = Watcher()
    train(Request(None, (("--", {"steps": 400}),), run=tmp_path / "r", resume=True), watcher)
    assert [step for step, _ in watcher.evaluations] == list(range(40, 401, 20))


def test_a_budget_in_other_words_is_the_same_budget(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(steps=None, budget="2s"), run=tmp_path / "r"), Watcher())
    assert (
        train(
            Request(None, (("--", {"budget": "2.0s"}),), run=tmp_path / "r", resume=True), Watcher()
        )[1].reason
        == "already done"
    )


@pytest.mark.fault("F13 files of other versions")
def test_a_checkpoint_of_a_newer_charrnn_is_not_passed_over(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    newest = checkpoint_files(tmp_path / "r/checkpoints")[-1]
    tensors, meta = read_tensors(newest, KINDS)
    write_tensors(newest, tensors, meta | {"format": 3, "charrnn": "9.9"})
    with pytest.raises(
        CheckpointError, match=r"has format 3, written by charrnn 9\.9; .* reads up to format 2"
    ):
        train(Request(run=tmp_path / "r", resume=True), Watcher())


def test_a_damaged_checkpoint_is_set_aside_not_deleted(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    newest = checkpoint_files(tmp_path / "r/checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    train(Request(run=tmp_path / "r", resume=True), Watcher())
    assert newest.with_name(newest.name + ".damaged").exists()


def test_a_damaged_copy_of_the_text_is_made_anew_from_the_text(tmp_path, corpus, one_thread):
    expected = straight(tmp_path, corpus("lines"))
    with pytest.raises(Killed):
        train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher(30))
    ids = next((tmp_path / "r/corpus").glob("*.ids"))
    ids.write_bytes(ids.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="does not fit its description"):
        train(Request(run=tmp_path / "r", resume=True), Watcher())
    _, outcome = train(Request(corpus_path(tmp_path), run=tmp_path / "r", resume=True), Watcher())
    assert outcome.weights_sha256 == expected.weights_sha256


def test_overwrite_leaves_the_old_run_when_the_new_one_cannot_start(tmp_path, corpus, one_thread):
    train(Request(corpus("stream"), layers(), run=tmp_path / "r"), Watcher())
    before = (tmp_path / "r/model.safetensors").read_bytes()
    with pytest.raises(CorpusError):
        train(
            Request(corpus("stream"), layers(batch_size=5000), run=tmp_path / "r", overwrite=True),
            Watcher(),
        )
    assert (tmp_path / "r/model.safetensors").read_bytes() == before
    assert train(Request(run=tmp_path / "r", resume=True), Watcher())[1].reason == "already done"


def test_overwrite_leaves_nothing_of_the_old_run(tmp_path, corpus, one_thread):
    train(Request(corpus("stream"), layers(steps=90), run=tmp_path / "r"), Watcher())
    train(Request(corpus("lines"), layers(), run=tmp_path / "r", overwrite=True), Watcher())
    assert steps_in_metrics(tmp_path / "r") == list(range(1, 61))
    assert [int(path.stem[5:]) for path in checkpoint_files(tmp_path / "r/checkpoints")][-1] == 60
    assert len(list((tmp_path / "r/corpus").glob("*.ids"))) == 1


def test_a_directory_with_other_files_is_neither_trained_in_nor_touched(
    tmp_path, corpus, one_thread
):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ".notes.tmp").write_text("mine")
    for request in (Request(corpus("lines"), layers(), run=mine), Request(run=mine, resume=True)):
        with pytest.raises((SettingsError, CheckpointError)):
            train(request, Watcher())
        assert [path.name for path in mine.iterdir()] == [".notes.tmp"]


def test_how_often_to_save_may_change(tmp_path, corpus, one_thread):
    expected = straight(tmp_path, corpus("lines"), eval_every="31")
    with pytest.raises(Killed):
        train(Request(corpus("lines"), layers(eval_every="31"), run=tmp_path / "r"), Watcher(30))
    _, outcome = train(
        Request(None, (("--", {"save_every": "25"}),), run=tmp_path / "r", resume=True), Watcher()
    )
    assert outcome.weights_sha256 == expected.weights_sha256
    assert [path.name for path in checkpoint_files(tmp_path / "r/checkpoints")] == [
        f"step-{step:08d}.safetensors" for step in (50, 60)
    ]


def test_a_flag_that_repeats_what_was_is_none(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    assert (
        train(Request(None, layers(), run=tmp_path / "r", resume=True), Watcher())[1].reason
        == "already done"
    )


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_is_still_exact(
    tmp_path, corpus, one_thread
):
    expected = straight(tmp_path, corpus("lines"))
    with pytest.raises(Killed):
        train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher(30))
    newest = checkpoint_files(tmp_path / "r/checkpoints")[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    watcher = Watcher()
    _, outcome = train(Request(None, (), run=tmp_path / "r", resume=True), watcher)
    assert "is damaged" in watcher.said[0]
    assert outcome.weights_sha256 == expected.weights_sha256


def test_two_checkpoints_are_kept(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    assert [path.name for path in checkpoint_files(tmp_path / "r/checkpoints")] == [
        f"step-{n:08d}.safetensors" for n in (56, 60)
    ]


def test_the_run_directory_can_be_moved(tmp_path, corpus, one_thread):
    expected = straight(tmp_path, corpus("lines"))
    with pytest.raises(Killed):
        train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher(30))
    (tmp_path / "r").rename(tmp_path / "moved")
    os.remove(tmp_path / "lines.txt")
    assert (
        train(Request(None, (), run=tmp_path / "moved", resume=True), Watcher())[1].weights_sha256
        == expected.weights_sha256
    )


@pytest.mark.fault("F14 the text changes")
def test_another_text_at_resume_is_refused(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    (tmp_path / "lines.txt").write_text("".join(f"{name}\n" for name in reversed(FEW[5:])))
    with pytest.raises(
        CorpusError, match="is not the text this run was trained on.*--allow-corpus-change"
    ):
        train(Request(corpus_path(tmp_path), (), run=tmp_path / "r", resume=True), Watcher())


def test_allow_corpus_change_goes_on_with_another_text(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    (tmp_path / "lines.txt").write_text("".join(f"{name}\n" for name in reversed(FEW[5:])))
    request = Request(
        corpus_path(tmp_path),
        (("--", {"steps": 70}),),
        run=tmp_path / "r",
        resume=True,
        allow_corpus_change=True,
    )
    assert train(request, Watcher())[1].place.step == 70


def test_unseen_characters_at_resume_are_named(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    (tmp_path / "lines.txt").write_text("".join(f"{name}ß\n" for name in FEW))
    request = Request(
        corpus_path(tmp_path),
        (("--", {"steps": 70}),),
        run=tmp_path / "r",
        resume=True,
        allow_corpus_change=True,
    )
    with pytest.raises(CorpusError, match=r"'ß' U\+00DF LATIN SMALL LETTER SHARP S"):
        train(request, Watcher())


def corpus_path(tmp_path):
    return str(tmp_path / "lines.txt")


@pytest.mark.fault("F12 memory and devices")
def test_another_number_of_threads_is_declared_not_exact(tmp_path, corpus, one_thread):
    with pytest.raises(Killed):
        train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher(30))
    watcher = Watcher()
    train(Request(None, (("--", {"threads": 2}),), run=tmp_path / "r", resume=True), watcher)
    assert any("not exact to the bit: threads 1 -> 2" in line for line in watcher.said)


@pytest.mark.fault("F12 memory and devices")
def test_a_checkpoint_moves_between_backends(tmp_path, corpus, one_thread):
    with pytest.raises(Killed):
        train(Request(corpus("stream"), layers(backend="own"), run=tmp_path / "r"), Watcher(30))
    _, moved = train(
        Request(None, (("--", {"backend": "torch"}),), run=tmp_path / "r", resume=True), Watcher()
    )
    expected = straight(tmp_path, corpus("stream"), backend="own")
    assert moved.place.val_nats == pytest.approx(expected.place.val_nats, abs=1e-4)


def test_resume_without_a_run_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="no run .* to resume"):
        train(Request(None, (), run=tmp_path / "none", resume=True), Watcher())
    assert not (tmp_path / "none").exists()


def test_a_new_training_never_takes_a_directory_that_holds_a_run(tmp_path, corpus, one_thread):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    with pytest.raises(SettingsError, match="already holds a run; pass --resume .* --overwrite"):
        train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())


def test_a_training_that_fails_before_its_first_step_leaves_no_directory(
    tmp_path, corpus, one_thread
):
    with pytest.raises(CorpusError, match="the largest batch"):
        train(Request(corpus("stream"), layers(batch_size=5000), run=tmp_path / "r"), Watcher())
    assert not (tmp_path / "r").exists()


@pytest.mark.medium
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.fault("F9 signals")
def test_a_signal_finishes_the_step_saves_and_resumes_exactly(tmp_path, corpus, number, code):
    path, options = (
        corpus("lines"),
        ["--batch-size", "4", "--hidden-size", "16", "--threads", "1", "--patience", "0"],
    )

    def start(run, *more):
        command = [sys.executable, "-m", "charrnn", "train", *more, "--run", run, "--json"]
        return subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    expected = json.loads(start("a", path, *options, "--steps", "1500").communicate(timeout=200)[0])
    process = start("b", path, *options, "--steps", "1500")
    wait_for(
        lambda: (
            (tmp_path / "b/metrics.jsonl").exists()
            and (tmp_path / "b/metrics.jsonl").stat().st_size > 8192
        )
    )
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "charrnn train --resume --run b" in err
    stopped_at = json.loads(out)["step"]
    assert 0 < stopped_at < 1500
    assert (
        checkpoint_files(tmp_path / "b/checkpoints")[-1].name
        == f"step-{stopped_at:08d}.safetensors"
    )
    found = json.loads(start("b", "--resume").communicate(timeout=200)[0])
    assert found["weights_sha256"] == expected["weights_sha256"]


@pytest.mark.medium
@pytest.mark.fault("F9 signals")
def test_a_signal_that_was_ignored_stays_ignored(tmp_path, corpus):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        corpus("lines"),
        "--run",
        "r",
        "--steps",
        "1500",
        "--quiet",
    ]
    process = subprocess.Popen(
        ["nohup", *command], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: (tmp_path / "r/metrics.jsonl").exists())
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=100) == 0


@pytest.mark.medium
@pytest.mark.fault("F1 SIGKILL at random moments, resumed until done")
def test_kill_9_and_resume_until_done(tmp_path, corpus):
    path = corpus("lines")
    options = [
        path,
        "--batch-size",
        "4",
        "--hidden-size",
        "16",
        "--dropout",
        "0.2",
        "--threads",
        "1",
        "--patience",
        "0",
        "--steps",
        "2000",
        "--save-every",
        "50",
    ]

    def start(run, *more):
        command = [
            sys.executable,
            "-m",
            "charrnn",
            "train",
            *more,
            "--run",
            run,
            "--json",
            "--quiet",
        ]
        return subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    expected = json.loads(start("a", *options).communicate(timeout=200)[0])
    process = start("b", *options)
    for _ in range(3):
        before = newest_step(tmp_path / "b")
        wait_for(
            lambda before=before, process=process: (
                newest_step(tmp_path / "b") > before + 100 or process.poll() is not None
            )
        )
        process.kill()
        process.wait()
        process = start("b", "--resume")
    found = process.communicate(timeout=200)[0]
    assert json.loads(found)["weights_sha256"] == expected["weights_sha256"]
    assert steps_in_metrics(tmp_path / "b") == list(range(1, 2001))


@pytest.mark.medium
@pytest.mark.fault("F8 two trainers")
def test_a_second_trainer_in_a_run_leaves_with_5(tmp_path, corpus):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        corpus("lines"),
        "--run",
        "r",
        "--steps",
        "100000",
        "--quiet",
    ]
    first = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: (tmp_path / "r/metrics.jsonl").exists())
    second = subprocess.run(
        [*command[:4], "--resume", "--run", "r"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    first.terminate()
    assert first.wait(timeout=60) == 143
    assert second.returncode == 5
    assert f"is in use by process {first.pid}" in second.stderr


def newest_step(run):
    files = checkpoint_files(run / "checkpoints")
    return int(files[-1].stem[5:]) if files else -1


def wait_for(condition, limit_s=60):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_a_resume_reads_its_checkpoint_once(tmp_path, corpus, one_thread, monkeypatch):
    train(Request(corpus("lines"), layers(), run=tmp_path / "r"), Watcher())
    read = checkpoint.load_checkpoint
    files = []

    def counting(path):
        files.append(path)
        return read(path)

    monkeypatch.setattr(checkpoint, "load_checkpoint", counting)
    train(Request(None, (("--", {"steps": 70}),), run=tmp_path / "r", resume=True), Watcher())
    assert len(files) == 1


def test_a_checkpoint_written_before_the_lock_is_taken_is_the_one_to_resume(
    tmp_path, corpus, one_thread
):
    run = tmp_path / "r"
    train(Request(corpus("lines"), layers(), run=run), Watcher())
    newest = find_checkpoint(run)
    train(Request(None, (("--", {"steps": 70}),), run=run, resume=True), Watcher())
    assert newest.locked()[0].step == 70

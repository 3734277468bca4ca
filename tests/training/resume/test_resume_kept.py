"""What a resume may change, what it refuses, and what it makes of damage."""

import os

import pytest
import torch
from resume_support import layers, steps_in_metrics, straight
from support import FEW, Killed, Watcher

from charrnn.config import Settings
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.modelfile import KINDS, checkpoint_files
from charrnn.storage import read_tensors, write_tensors
from charrnn.training.resuming import restore_threads
from charrnn.training.session import Request, train

pytestmark = pytest.mark.fault("F11 resumes")


def test_a_longer_run_is_evaluated_as_often_as_if_it_had_been_longer_from_the_start(
    tmp_path, corpus, one_thread
):
    changes = {"eval_every": None, "sample_every": None, "steps": 20}
    train(Request(corpus("lines"), layers(**changes), run=tmp_path / "r"), Watcher())
    watcher = Watcher()
    train(Request(None, (("--", {"steps": 400}),), run=tmp_path / "r", resume=True), watcher)
    whole = Watcher()
    train(Request(corpus("lines"), layers(**changes | {"steps": 400}), run=tmp_path / "w"), whole)
    expected = [step for step, _ in whole.evaluations if step > 20]
    assert [step for step, _ in watcher.evaluations] == expected


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
    write_tensors(newest, tensors, meta | {"format": 5, "charrnn": "9.9"})
    with pytest.raises(
        CheckpointError, match=r"has format 5, written by charrnn 9\.9; .* reads up to format 4"
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
    watcher = Watcher()
    _, outcome = train(Request(corpus_path(tmp_path), run=tmp_path / "r", resume=True), watcher)
    assert outcome.weights_sha256 == expected.weights_sha256
    assert any("was damaged and is made again from" in line for line in watcher.said)


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


@pytest.mark.parametrize("recorded", [{}, {"threads": "2"}, {"threads": True}, {"threads": None}])
def test_threads_that_are_no_number_are_not_restored(recorded, one_thread):
    restore_threads(Settings(), recorded)
    assert torch.get_num_threads() == 1


@pytest.mark.fault("F12 memory and devices")
def test_a_checkpoint_moves_between_backends(tmp_path, corpus, one_thread):
    own = {"backend": "own", "precision": "float32"}  # bfloat16 rounds what torch.nn does not
    with pytest.raises(Killed):
        train(Request(corpus("stream"), layers(**own), run=tmp_path / "r"), Watcher(30))
    _, moved = train(
        Request(None, (("--", {"backend": "torch"}),), run=tmp_path / "r", resume=True), Watcher()
    )
    expected = straight(tmp_path, corpus("stream"), **own)
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


def leftovers(run):
    """A temporary file of each kind that a killed write of 0.4.0 and of this charrnn leaves."""
    names = [
        "report.html",
        "run.json",
        "checkpoints/step-00000010.safetensors",
        f"corpus/{'0' * 16}.ids",
    ]
    for name in names:
        for random in ("", ".0123456789abcdef"):
            path = run / name
            yield path.with_name(f".{path.name}{random}.tmp")


def test_a_resume_sweeps_what_killed_writes_left_but_not_what_a_report_may_be_writing(
    tmp_path, corpus, one_thread
):
    run = tmp_path / "r"
    train(Request(corpus("lines"), layers(), run=run), Watcher())
    files = list(leftovers(run))
    for file in files:
        file.write_text("half")
    (run / ".notes.tmp").write_text("mine")
    train(Request(run=run, resume=True), Watcher())
    young = [file for file in files if file.exists()]
    assert [file.name.split(".")[1] for file in young] == ["report", "report"]
    for file in young:
        os.utime(file, (0, 0))
    train(Request(run=run, resume=True), Watcher())
    assert [file.name for file in run.rglob("*.tmp")] == [".notes.tmp"]

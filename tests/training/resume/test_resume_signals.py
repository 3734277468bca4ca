"""Signals, kills and second trainers: every end of a process can be resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from resume_support import PROSE, layers, steps_in_metrics
from support import FEW, Watcher

from charrnn.modelfile import checkpoint_files
from charrnn.training import checkpoint
from charrnn.training.resuming import find_checkpoint
from charrnn.training.session import Request, train

pytestmark = pytest.mark.fault("F11 resumes")


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


# The run's copy of the text is cut short under the training


@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_text_cut_short_under_its_training_is_one_line_and_exit_3(tmp_path, mode, share):
    """SIGBUS ended it without a word. Share 1: but for one byte, which reads as zero."""
    piece = "".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE
    (tmp_path / "text.txt").write_text(piece * 300)
    options = ["--mode", mode, "--no-deduplicate"] if mode == "lines" else ["--mode", mode]
    options += ["--hidden-size=8", "--steps=1000000", "--threads=1", "--quiet"]
    command = [sys.executable, "-m", "charrnn", "train", "text.txt", "--run", "r", *options]
    training = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "r/metrics.jsonl").exists())
    before = newest_step(tmp_path / "r")
    [ids] = (tmp_path / "r/corpus").glob("*.ids")
    os.truncate(ids, max(0, int(ids.stat().st_size * share) - 1))
    try:
        _, told = training.communicate(timeout=60)
    finally:
        training.kill()
    assert training.returncode == 3, told
    [line] = [line for line in told.splitlines() if not line.startswith(("note:", "warning:"))]
    assert f"r/corpus/{ids.name} was cut short while it was in use" in line
    assert newest_step(tmp_path / "r") >= before

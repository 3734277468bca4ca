"""The parts of gpu.py that run commands: the tests on the card, trainings by budget, kills."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu import ROOT, Bench

TINY = ["--hidden-size", "8", "--num-layers", "1", "--embedding-size", "4", "--threads", "1"]
CHECKPOINT = re.compile(r"step-(\d+)\.safetensors")


def environment() -> dict[str, str]:
    """Return the environment of a child: the charrnn of this tree, no colour."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}


def charrnn(bench: Bench, *words: str) -> dict[str, Any]:
    """Run a command with --json. Returns its last object. Raises RuntimeError, TimeoutExpired."""
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *words, "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=min(1e6, max(1.0, bench.left_s())),
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def tests(bench: Bench) -> None:
    """Run the tests that need a CUDA device; a dry run collects them."""
    words = ["-q", "-p", "no:cacheprovider", "tests/machine/test_cuda.py"]
    if bench.is_dry:
        words.append("--collect-only")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=min(1e6, max(1.0, bench.left_s())),
        check=False,
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no output"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    bench.report(exit_code=done.returncode, said=lines[-1], failures=failed)


def trained(
    bench: Bench, text: str, budget_s: int, words: list[str], score: list[str], target: str
) -> None:
    """Train by a budget, and score: when did it end, what did it choose, what did it reach?"""
    with tempfile.TemporaryDirectory(prefix="charrnn-gpu-") as folder:
        run = str(Path(folder) / "run")
        length = ["--budget", f"{budget_s}s"]
        device = bench.device
        if bench.is_dry:
            length = ["--steps", "3", *TINY]
        began = time.monotonic()
        done = charrnn(
            bench, "train", bench.text(text), "--run", run, "--device", device, *length, *words
        )
        took_s = time.monotonic() - began
        about = json.loads((Path(run) / "run.json").read_text())["settings"]
        chosen = {
            key: about[section][key]
            for section, key in (
                ("model", "cell"),
                ("model", "num_layers"),
                ("model", "hidden_size"),
                ("model", "dropout"),
                ("training", "batch_size"),
                ("training", "seq_length"),
            )
        }
        bench.report(
            text=text,
            budget_s=budget_s,
            took_s=took_s,
            off_by=took_s / budget_s - 1,
            chars_per_s=done["train_chars_per_s"],
            epochs=done["epochs"],
            best_val_nats=done["best_val_nats_per_char"],
            last_val_nats=done["val_nats_per_char"],
            chosen=chosen,
        )
        card = charrnn(bench, "eval", run, "--device", device, "--no-baselines", *score)
        bench.report(
            text=text,
            scored=" ".join(score),
            nats=card["nats_per_char"],
            experts=card.get("experts"),
            target=target,
        )


def shakespeare(bench: Bench) -> None:
    """Tiny Shakespeare in 90 s without a flag, in windows of 256 characters."""
    score = ["--split", "val", "--protocol", "windowed", "--window", "256"]
    if bench.is_dry:
        score = ["--split", "val"]
    trained(bench, "tinyshakespeare.txt", 90, ["--split", "0.9,0.1"], score, "1.43 nats")


def names(bench: Bench) -> None:
    """The names of makemore in a minute."""
    trained(bench, "names-makemore.txt", 60, [], ["--split", "test"], "1.85 nats")


def c(bench: Bench) -> None:
    """C in five minutes, the network alone, as one stream."""
    words = ["--mode", "stream", "--split", "0.9,0.1", "--counting", "off"]
    trained(bench, "linux-kernel.c", 300, words, ["--split", "val"], "1.10 nats")


def latex(bench: Bench) -> None:
    """LaTeX in five minutes, the network alone, as one stream."""
    words = ["--mode", "stream", "--split", "0.9,0.1", "--counting", "off"]
    trained(bench, "stacks-algebra.tex", 300, words, ["--split", "val"], "0.61 nats")


def resume(bench: Bench) -> None:
    """Is a training that is killed twice, to the bit, the one that is not?

    Two that are not come first: where these differ, no resume can be exact.
    """
    steps, every = (40, 5) if bench.is_dry else (3000, 200)
    hidden = TINY if bench.is_dry else ["--hidden-size", "256", "--num-layers", "2"]
    sizes = ["--batch-size", "16", "--seq-length", "32", *hidden]
    length = ["--steps", str(steps), "--save-every", str(every), "--eval-every", str(10 * every)]
    words = ["--mode", "stream", "--dropout", "0.2", "--device", bench.device]
    train = ["names", *words, *sizes, *length, "--counting", "off", "--patience", "0"]
    with tempfile.TemporaryDirectory(prefix="charrnn-gpu-") as folder:
        straight = [
            charrnn(bench, "train", *train, "--run", f"{folder}/{name}")["weights_sha256"]
            for name in ("a", "b")
        ]
        bench.report(same_training_twice_is_equal=straight[0] == straight[1])

        # Killed in the middle of steps, twice
        run = Path(folder) / "killed"
        killed: list[int] = []
        for begin in (["train", *train, "--run", str(run)], _resumed(run)):
            after = (killed[-1] if killed else 0) + 2 * every
            killed.append(_killed_at(bench, begin, run, after))
        done = charrnn(bench, *_resumed(run))
        bench.report(
            killed_after_checkpoints_of=killed,
            resumed_is_equal=done["weights_sha256"] == straight[0],
            steps=done["step"],
        )


def _resumed(run: Path) -> list[str]:
    return ["train", "--resume", "--run", str(run)]


def _killed_at(bench: Bench, words: list[str], run: Path, least_step: int) -> int:
    """Run a training and kill it once it has a checkpoint of this step. Returns that step."""
    command = [sys.executable, "-m", "charrnn", *words]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        try:
            while bench.left_s() > 0 and process.poll() is None:
                newest = max(_checkpoint_steps(run), default=0)
                if newest >= least_step:
                    break
                time.sleep(0.01)
        finally:
            process.kill()
    return max(_checkpoint_steps(run), default=0)


def _checkpoint_steps(run: Path) -> list[int]:
    """Return the steps of the checkpoints that there are."""
    found = (CHECKPOINT.fullmatch(path.name) for path in (run / "checkpoints").glob("step-*"))
    return [int(match[1]) for match in found if match]

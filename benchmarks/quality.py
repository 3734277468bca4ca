"""Rerun a row of benchmarks/results.md: train as it says, score as it says, print the row as it came out here.

    python benchmarks/quality.py                                   # the rows there are
    python benchmarks/quality.py shakespeare-20m --text tinyshakespeare.txt [--threads 2] [--device cpu]

Texts are not part of the project: --text names the file (rows of the shipped names need none), and the SHA-256 in the row
says whether it is the same. A row can be appended to results.md as it is printed, whatever came out.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """Arguments of charrnn train (after the text) and of charrnn eval."""

    train: str
    score: str


STREAM = "--mode stream --split 0.9,0.1"
WINDOWS = "--split val --protocol windowed --window 256"
ROWS = {"names": Row("", "--split val"), "names-1m": Row("--budget 1m", "--split val")}
for budget in ("1m", "3m", "5m", "20m", "1h"):
    ROWS[f"shakespeare-{budget}"] = Row(f"--config shakespeare --budget {budget}", WINDOWS)
    ROWS[f"latex-{budget}"] = ROWS[f"c-{budget}"] = Row(f"{STREAM} --budget {budget}", "--split val --cache 2000")
HEAD = (
    "| row | command | score | commit | text (sha256) | parameters | seconds | machine | nats/char (95 %) "
    "| best n-gram | gain in bits |"
)


def charrnn(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> str:
    """The processors or the GPU that it ran on, and torch's version."""
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="?", choices=[*ROWS, []], default=[])
    parser.add_argument("--text", default="names")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", help="keep the run here; one that is there is scored, not trained again")
    chosen = parser.parse_args()
    if not chosen.row:
        print("\n".join(f"{name:18} train TEXT {row.train} ; eval {row.score}" for name, row in ROWS.items()))
        return
    row = ROWS[chosen.row]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    with tempfile.TemporaryDirectory() as folder:
        run = chosen.run or folder + "/run"
        goes_on = ["--resume"] if Path(run).exists() else row.train.split()
        place = ["--threads", chosen.threads, "--device", chosen.device, "--run", run]
        trained = charrnn("train", chosen.text, *goes_on, *place)
        scored = charrnn("eval", run, *row.score.split())
    ngram, bits = scored["ngram"]["order"], scored["baselines"]["ngram"]
    place = f"{machine()}, {chosen.threads} threads, {trained['device']}"
    ways = [(scored["protocol"], scored)]
    if scored["cache"]:
        ways.append((f"{scored['protocol']}, with a cache", scored["cache"]))
    print(HEAD)
    for protocol, read in ways:
        low, high = read["interval"]["nats_per_char"]
        print(
            f"| {chosen.row} | `train TEXT {row.train}` | `{row.score}`, {protocol}, {scored['chars']:,} characters | "
            f"{commit.stdout.strip()} | {scored['data']['sha256'][:12]} | {trained['parameters']:,} | "
            f"{trained['elapsed_s']:.0f} | {place} | {read['nats_per_char']:.4f} ({low:.3f} to {high:.3f}) | "
            f"{ngram}-gram {bits * 0.6931472:.4f} | {read['gain_over_ngram']['bits_per_char'] / bits:.1%} |"
        )


if __name__ == "__main__":
    main()

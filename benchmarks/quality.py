"""Train and score a row of the record again, and append what came out to benchmarks/results.jsonl.

    python benchmarks/quality.py                                    # list the rows
    python benchmarks/quality.py shakespeare-20m --text tinyshakespeare.txt
    python benchmarks/page.py --write                               # print the record as a page

Texts are not part of the project: --text names the file. Rows of the shipped names need none. The
SHA-256 in the record says whether a text is the same.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from page import RECORD


class Row(NamedTuple):
    """A text, the options of charrnn train after it, and those of charrnn eval."""

    text: str
    train: str
    score: str


STREAM = "--mode stream --split 0.9,0.1"
WINDOWS = "--split val --protocol windowed --window 256"
CACHE = "--split val --cache 2000"
ROWS = {
    "names": Row("names", "", "--split val"),
    "names-1m": Row("names", "--budget 1m", "--split val"),
}
for budget in ("1m", "3m", "5m", "20m", "1h"):
    ROWS |= {
        f"shakespeare-{budget}": Row(
            "Shakespeare", f"--config shakespeare --budget {budget}", WINDOWS
        ),
        f"latex-{budget}": Row("LaTeX", f"{STREAM} --budget {budget}", CACHE),
        f"c-{budget}": Row("C", f"{STREAM} --budget {budget}", CACHE),
    }


# A budget of processor time: what else runs on the machine takes nothing from it. The age of the
# process, which a budget includes, is then the processor time of its start.
CPU_CLOCK = """
import os, time
os.environ["OPENBLAS_NUM_THREADS"] = "1"
time.perf_counter = time.process_time
from charrnn.cli import main, train
assert train.process_age_s
train.process_age_s = time.process_time
main.main()
"""


def charrnn(*arguments: str, clock: str = "wall") -> dict[str, Any]:
    """Run a command of charrnn and return the last object it prints.

    clock: "wall", or "cpu" for a child whose budget is processor time.
    """
    program = ["-c", CPU_CLOCK] if clock == "cpu" else ["-m", "charrnn"]
    command = [sys.executable, *program, *arguments, "--json"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def machine() -> str:
    """Return the name of the processor and torch's version."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, torch {torch.__version__}"


def commit() -> str:
    """Return the commit that is checked out, marked when files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    place = Path(__file__).parent
    return subprocess.run(command, capture_output=True, text=True, cwd=place).stdout.strip()


def records(
    name: str,
    trained: dict[str, Any],
    scored: dict[str, Any],
    *,
    version: str,
    place: str,
    note: str,
) -> list[dict[str, Any]]:
    """Return the lines of the record: one for the plain score, one for the score with a cache."""
    row = ROWS[name]
    ngram_bits = scored["baselines"]["ngram"]
    scores = [(scored["protocol"], scored)]
    if scored["cache"]:
        scores.append((f"{scored['protocol']}, with a cache", scored["cache"]))
    return [
        {
            "suite": "rows",
            "row": name,
            "text": row.text,
            "text_sha256": scored["data"]["sha256"][:12],
            "train": row.train,
            "eval": row.score,
            "protocol": protocol,
            "chars": scored["chars"],
            "commit": version,
            "parameters": trained["parameters"],
            "seconds": round(trained["elapsed_s"]),
            "machine": place,
            "nats_per_char": round(score["nats_per_char"], 4),
            "interval": [round(bound, 3) for bound in score["interval"]["nats_per_char"]],
            "ngram_order": scored["ngram"]["order"],
            "ngram_nats_per_char": round(ngram_bits * math.log(2), 4),
            "gain": round(score["gain_over_ngram"]["bits_per_char"] / ngram_bits, 4),
            "note": note,
        }
        for protocol, score in scores
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", nargs="?", choices=[*ROWS, []], default=[])
    parser.add_argument("--text", default="names")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", help="keep the run here; one that is there is scored again")
    parser.add_argument("--out", type=Path, default=RECORD, help="append to this file")
    parser.add_argument("--note", default="", help="what else ran on the machine, for example")
    options = parser.parse_args()
    if not options.row:
        for name, row in ROWS.items():
            print(f"{name:18} train TEXT {row.train} ; eval {row.score}")
        return
    row = ROWS[options.row]
    version = commit()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or folder + "/run"
        arguments = ["--resume"] if Path(run).exists() else row.train.split()
        place = ["--threads", options.threads, "--device", options.device, "--run", run]
        trained = charrnn("train", options.text, *arguments, *place)
        scored = charrnn("eval", run, *row.score.split())
    where = f"{machine()}, {options.threads} threads, {trained['device']}"
    runs = records(options.row, trained, scored, version=version, place=where, note=options.note)
    lines = [json.dumps(run, ensure_ascii=False) for run in runs]
    with options.out.open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
    print("\n".join(lines))
    print(f"appended {len(lines)} to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()

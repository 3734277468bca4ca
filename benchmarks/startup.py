"""Whole processes for benchmarks/sampling.py: from the start to the last character."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from race import median_ratio
from writers import Contest

from charrnn.modelfile import MODEL_FILE, model_meta
from charrnn.storage import write_tensors

MODELS = (("lstm", 1, 128, 28), ("lstm", 2, 128, 65), ("lstm", 3, 512, 65))

SCRIPT = """
import json, sys, torch
from safetensors.torch import load_file
tensors = load_file(sys.argv[1])
layers = sum(name.startswith("recurrent.weight_hh") for name in tensors)
hidden = tensors["recurrent.weight_hh_l0"].shape[1]
embedding = torch.nn.Embedding.from_pretrained(tensors["embedding.weight"])
recurrent = torch.nn.LSTM(embedding.embedding_dim, hidden, layers, batch_first=True)
prefix = "recurrent."
recurrent.load_state_dict(
    {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
)
head = torch.nn.Linear(hidden, len(tensors["head.bias"]))
head.load_state_dict({"weight": tensors["head.weight"], "bias": tensors["head.bias"]})
symbols = [chr(code) for code in json.loads(sys.argv[2])]
with torch.no_grad():
    ids, state, written = torch.zeros(1, 1, dtype=torch.long), None, []
    for _ in range(1000):
        out, state = recurrent(embedding(ids), state)
        ids = torch.multinomial(torch.softmax(head(out[:, -1]) / 0.8, 1), 1)
        written.append(symbols[ids.item()])
print("".join(written))
"""


def race_processes(rounds: int, folder: Path) -> None:
    """Print the seconds of charrnn sample, and of a torch script with the plain loop."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = str(Path(sys.executable).parent / "charrnn")
    for cell, layers, hidden, vocabulary in MODELS:
        contest = Contest(cell, layers, hidden, vocabulary, "stream")
        run = folder / f"run-{layers}x{hidden}"
        run.mkdir()
        meta = model_meta("charrnn-model", contest.settings, contest.vocabulary, "stream", 0)
        write_tensors(run / MODEL_FILE, contest.tensors, meta)
        symbols = str(list(contest.vocabulary.symbols))
        runs = {
            "script": [sys.executable, "-c", SCRIPT, str(run / MODEL_FILE), symbols],
            "charrnn sample": [command, "sample", str(run), "--length", "1000", "--seed", "1"],
        }
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, words in runs.items():
                began = time.perf_counter()
                subprocess.run(words, check=True, capture_output=True, env=environment)
                elapsed = time.perf_counter() - began
                if number:  # the first fills the disk cache
                    taken[name].append(elapsed)
        for name, times in taken.items():
            ratio = median_ratio(taken["script"], times)
            title = f"{name}, {cell} {layers}x{hidden}"
            print(f"| {title} | {statistics.median(times):.3f} | {ratio:.1f} |", flush=True)
    model = folder / "run-2x128"
    measure_large(
        [command, "sample", str(model), "--length", "10000000", "--seed", "1"], environment
    )


def measure_large(words: list[str], environment: dict[str, str]) -> None:
    """Print the seconds and the peak memory of a process that writes 10 MB."""
    began = time.perf_counter()
    peak = 0
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    # getrusage would count this process's own memory before the exec.
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.05)
    taken_s = time.perf_counter() - began
    peak_mb = peak / 1024
    print(
        f"\n10 MB from one stream of lstm 2x128: {peak_mb:.0f} MB resident at most, {taken_s:.0f} s"
    )

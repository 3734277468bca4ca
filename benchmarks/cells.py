"""Forward, loss and backward of one batch: the own cells beside torch.nn's, interleaved in one process.

    python benchmarks/cells.py [--threads 2] [--repeats 15]

Prints milliseconds (medians), the ratio own / torch in speed, and characters per second of the faster one. The choice
that `--backend auto` makes (training/runtime.choose_backend) follows from this table; the README shows a run.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from charrnn.config import ModelSettings
from charrnn.model.charmodel import CharModel, summed_nats

# vocabulary, embedding, hidden, layers, batch, time
SIZES = ((53, 53, 192, 1, 64, 8), (65, 64, 128, 2, 50, 50), (65, 64, 320, 1, 20, 64), (65, 64, 512, 1, 32, 100))


def milliseconds(model: CharModel, ids: torch.Tensor, targets: torch.Tensor) -> float:
    began = time.perf_counter()
    logits, _ = model(ids, model.zero_state(len(ids)))
    summed_nats(logits, targets).backward()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} threads")
    print(f"{'cell':11}{'size (V, E, H, L, B, T)':30}{'own ms':>9}{'torch ms':>10}{'own/torch':>11}{'chars/s':>11}")
    for cell in ("lstm", "gru", "rnn", "gru-before"):
        for vocabulary, embedding, hidden, layers, batch, length in SIZES:
            settings = ModelSettings(
                cell=cell, hidden_size=hidden, num_layers=layers, embedding_size=embedding, dropout=0.0
            )
            backends = ("own",) if cell == "gru-before" else ("own", "torch")
            models = {backend: CharModel(settings, vocabulary, backend) for backend in backends}
            ids, targets = torch.randint(vocabulary, (2, batch, length)).unbind()
            times: dict[str, list[float]] = {backend: [] for backend in backends}
            for repeat in range(options.repeats + 2):
                for backend, model in models.items():
                    taken = milliseconds(model, ids, targets)
                    if repeat >= 2:  # the first ones pay for set-up
                        times[backend].append(taken)
            medians = {backend: statistics.median(taken) for backend, taken in times.items()}
            size = str((vocabulary, embedding, hidden, layers, batch, length))
            theirs = (
                f"{medians['torch']:10.1f}{medians['torch'] / medians['own']:11.2f}" if "torch" in medians else " " * 21
            )
            rate = 1000 * batch * length / min(medians.values())
            print(f"{cell:11}{size:30}{medians['own']:9.1f}{theirs}{rate:11,.0f}")


if __name__ == "__main__":
    main()

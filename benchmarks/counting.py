"""Counting, sampling from counts and verbatim runs: charrnn beside the plain way, interleaved in one process.

    python benchmarks/counting.py [TEXT]          ratios, medians of 5 rounds; TEXT: any file (default: Python's own library)
    python benchmarks/counting.py --large TEXT    the whole command on a large text: seconds and peak memory

The plain way is what a person writes in an evening: dictionaries of slices for n-grams (Witten-Bell, whose formula is the
shorter), sets of slices and bisection for the longest run. Both count, score and find the same, which is checked.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from charrnn.config import Settings
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.text.counting import count
from charrnn.text.matching import longest_run
from charrnn.text.vocabulary import Vocabulary

ORDER, ROUNDS, CHARS, DRAWN, SCORED = 5, 5, 1_000_000, 10_000, 20_000


def plain_counts(text: str) -> list[dict[str, dict[str, int]]]:
    levels = []
    for n in range(1, ORDER + 1):
        following: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for i in range(len(text) - n + 1):
            following[text[i : i + n - 1]][text[i + n - 1]] += 1
        levels.append(following)
    return levels


def plain_distribution(
    levels: list[dict[str, dict[str, int]]], context: str, alphabet: str
) -> list[float]:
    found = [1 / len(alphabet)] * len(alphabet)
    for n, following in enumerate(levels):
        if n > len(context) or not (seen := following.get(context[len(context) - n :])):
            break
        whole = sum(seen.values()) + len(seen)
        found = [
            (seen.get(char, 0) + len(seen) * p) / whole
            for char, p in zip(alphabet, found, strict=True)
        ]
    return found


def plain_score(levels: list[dict[str, dict[str, int]]], text: str, alphabet: str) -> float:
    found = (
        plain_distribution(levels, text[max(0, i - ORDER + 1) : i], alphabet)
        for i in range(len(text))
    )
    return -sum(
        math.log(each[alphabet.index(char)]) for each, char in zip(found, text, strict=True)
    )


def plain_sample(levels: list[dict[str, dict[str, int]]], alphabet: str, length: int) -> str:
    random, text = np.random.default_rng(1), ""
    for _ in range(length):
        text += random.choice(
            list(alphabet), p=plain_distribution(levels, text[-ORDER + 1 :], alphabet)
        )
    return text


def plain_longest(pieces: list[str], text: str) -> int:
    low, high = 0, max(map(len, pieces)) + 1
    while low + 1 < high:
        length = (low + high) // 2
        windows = {text[i : i + length] for i in range(len(text) - length + 1)}
        is_there = any(
            piece[i : i + length] in windows
            for piece in pieces
            for i in range(len(piece) - length + 1)
        )
        low, high = (length, high) if is_there else (low, length)
    return low


def timed(function, *arguments):
    began = time.perf_counter()
    return function(*arguments), time.perf_counter() - began


def compare(path: Path | None) -> None:
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    data = (
        path.read_bytes()
        if path
        else b"".join(file.read_bytes() for file in sorted(stdlib.glob("*.py")))
    )
    text = data.decode("utf-8", "ignore")[: 2 * CHARS]
    vocabulary = Vocabulary("char", tuple(sorted(set(map(ord, text)))))
    alphabet = "".join(map(chr, vocabulary.symbols))
    train, held_out = text[: len(text) // 2], text[len(text) // 2 :]
    ids, held_ids = (vocabulary.encode(part).astype(np.uint8) for part in (train, held_out))
    print(
        f"{len(train):,} characters to count, {len(vocabulary)} distinct; medians of {ROUNDS} rounds\n"
    )
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(ROUNDS):
        model, ours = timed(count, ids, len(vocabulary), ORDER, None, "witten-bell")
        levels, theirs = timed(plain_counts, train)
        times[f"count n-grams of 1 to {ORDER} characters"].append((ours, theirs))
        settings = Settings().with_values("model", cell="ngram", smoothing="witten-bell")
        file = ModelFile(Path("none"), settings, vocabulary, "stream", 0, model.tensors(), {})
        sampler = Sampler(file)
        stream = sampler.stream(length=DRAWN, decoding=Decoding(temperature=1.0), seed=number)
        _, ours = timed(lambda stream: b"".join(stream), stream)
        _, theirs = timed(plain_sample, levels, alphabet, DRAWN)
        times[f"draw {DRAWN:,} characters"].append((ours, theirs))
        cost, ours = timed(
            lambda model=model: float(-np.log(model.probabilities(held_ids[:SCORED])).sum())
        )
        plain, theirs = timed(plain_score, levels, held_out[:SCORED], alphabet)
        assert abs(cost / plain - 1) < 1e-9, (cost, plain)
        times[f"score {SCORED:,} characters"].append((ours, theirs))
        pieces = [held_out[at : at + 500] for at in range(0, 100_000, 500)]
        run, ours = timed(
            longest_run, [vocabulary.encode(piece).astype(np.uint8) for piece in pieces], ids
        )
        found, theirs = timed(plain_longest, pieces, train)
        assert (run.length if run else 0) == found
        times["longest verbatim run of 200 pieces of 500 characters"].append((ours, theirs))
    print(f"{'':54} {'charrnn':>9} {'plain':>9} {'ratio':>7}")
    for name, rounds in times.items():
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs in rounds)
        print(f"{name:54} {ours:8.3f}s {theirs:8.3f}s {ratio:6.1f}x")


def large(path: Path) -> None:
    for order in ("5", "auto"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "charrnn", "train", str(path.resolve()), "--cell", "ngram", "--order", order,
                       "--run", f"{folder}/run", "--quiet", "--json"]  # fmt: skip
            done, seconds = timed(
                lambda command=command: subprocess.run(
                    command, capture_output=True, text=True, check=True
                )
            )
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            print(
                f"--order {order}: {seconds:.1f} s, {peak:,.0f} MB at most so far; {done.stdout.strip()[:400]}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    large(asked.text) if asked.large else compare(asked.text)

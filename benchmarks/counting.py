"""Counting, sampling from counts and verbatim runs: charrnn beside the plain way, interleaved.

    python benchmarks/counting.py [TEXT]          ratios, medians of 5 rounds; TEXT: any file
                                                  (default: Python's own library)
    python benchmarks/counting.py --large TEXT    the whole command on a large text: seconds and
                                                  peak memory

The plain way is what a person writes in an evening: dictionaries of slices for n-grams
(Witten-Bell, whose formula is the shorter), sets of slices and bisection for the longest run. Both
count, score and find the same, which is checked.
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
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from charrnn.config import Settings
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.text.counting import count
from charrnn.text.matching import longest_run
from charrnn.text.vocabulary import Vocabulary

ORDER = 5
ROUNDS = 5
CHARS = 1_000_000
DRAWN = 10_000
SCORED = 20_000
PIECE = 500  # characters of a piece whose longest run is looked for

Levels = list[dict[str, dict[str, int]]]  # by length of the context: context -> next -> count
Result = TypeVar("Result")


def plain_counts(text: str) -> Levels:
    levels = []
    for n in range(1, ORDER + 1):
        following: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for i in range(len(text) - n + 1):
            following[text[i : i + n - 1]][text[i + n - 1]] += 1
        levels.append(following)
    return levels


def plain_distribution(levels: Levels, context: str, alphabet: str) -> list[float]:
    probabilities = [1 / len(alphabet)] * len(alphabet)
    for n, following in enumerate(levels):
        if n > len(context):
            break
        seen = following.get(context[len(context) - n :])
        if not seen:
            break
        whole = sum(seen.values()) + len(seen)
        lower = zip(alphabet, probabilities, strict=True)
        probabilities = [(seen.get(char, 0) + len(seen) * p) / whole for char, p in lower]
    return probabilities


def plain_score(levels: Levels, text: str, alphabet: str) -> float:
    nats = 0.0
    for i, char in enumerate(text):
        context = text[max(0, i - ORDER + 1) : i]
        probabilities = plain_distribution(levels, context, alphabet)
        nats -= math.log(probabilities[alphabet.index(char)])
    return nats


def plain_sample(levels: Levels, alphabet: str, length: int) -> str:
    random = np.random.default_rng(1)
    text = ""
    for _ in range(length):
        probabilities = plain_distribution(levels, text[-ORDER + 1 :], alphabet)
        text += random.choice(list(alphabet), p=probabilities)
    return text


def plain_longest(pieces: list[str], text: str) -> int:
    low = 0
    high = max(map(len, pieces)) + 1
    while low + 1 < high:
        length = (low + high) // 2
        windows = {text[i : i + length] for i in range(len(text) - length + 1)}
        is_there = any(
            piece[i : i + length] in windows
            for piece in pieces
            for i in range(len(piece) - length + 1)
        )
        if is_there:
            low = length
        else:
            high = length
    return low


def timed(function: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    began = time.perf_counter()
    return function(*arguments), time.perf_counter() - began


def compare(path: Path | None) -> None:
    """Print the seconds of both ways."""
    # 1. The text, half to count and half to score.
    if path:
        data = path.read_bytes()
    else:
        files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        data = b"".join(file.read_bytes() for file in files)
    text = data.decode("utf-8", "ignore")[: 2 * CHARS]
    vocabulary = Vocabulary("char", tuple(sorted(set(map(ord, text)))))
    alphabet = "".join(map(chr, vocabulary.symbols))
    train = text[: len(text) // 2]
    held_out = text[len(text) // 2 :]
    pieces = [held_out[at : at + PIECE] for at in range(0, 200 * PIECE, PIECE)]
    ids = vocabulary.encode(train).astype(np.uint8)
    scored_ids = vocabulary.encode(held_out).astype(np.uint8)[:SCORED]
    print(
        f"{len(train):,} characters to count, {len(vocabulary)} distinct; "
        f"medians of {ROUNDS} rounds\n"
    )

    # 2. The rounds: charrnn's seconds, then those of the plain way.
    settings = Settings().with_values("model", cell="ngram", smoothing="witten-bell")
    decoding = Decoding(temperature=1.0)
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(ROUNDS):
        model, ours = timed(count, ids, len(vocabulary), ORDER, None, "witten-bell")
        levels, theirs = timed(plain_counts, train)
        times[f"count n-grams of 1 to {ORDER} characters"].append((ours, theirs))

        file = ModelFile(Path("none"), settings, vocabulary, "stream", 0, model.tensors(), {})
        stream = Sampler(file).stream(length=DRAWN, decoding=decoding, seed=number)
        _, ours = timed(b"".join, stream)
        _, theirs = timed(plain_sample, levels, alphabet, DRAWN)
        times[f"draw {DRAWN:,} characters"].append((ours, theirs))

        began = time.perf_counter()
        nats = float(-np.log(model.probabilities(scored_ids)).sum())
        ours = time.perf_counter() - began
        plain_nats, theirs = timed(plain_score, levels, held_out[:SCORED], alphabet)
        assert abs(nats / plain_nats - 1) < 1e-9, (nats, plain_nats)
        times[f"score {SCORED:,} characters"].append((ours, theirs))

        encoded = [vocabulary.encode(piece).astype(np.uint8) for piece in pieces]
        run, ours = timed(longest_run, encoded, ids)
        length, theirs = timed(plain_longest, pieces, train)
        assert (run.length if run else 0) == length
        times[f"longest verbatim run of 200 pieces of {PIECE} characters"].append((ours, theirs))

    # 3. The table.
    print(f"{'':54} {'charrnn':>9} {'plain':>9} {'ratio':>7}")
    for name, rounds in times.items():
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs in rounds)
        print(f"{name:54} {ours:8.3f}s {theirs:8.3f}s {ratio:6.1f}x")


def large(path: Path) -> None:
    """Print the seconds and the peak memory of the whole command on a large text."""
    for order in ("5", "auto"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "charrnn", "train", str(path.resolve())]
            command += ["--cell", "ngram", "--order", order, "--run", f"{folder}/run"]
            command += ["--quiet", "--json"]
            began = time.perf_counter()
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            output = result.stdout.strip()[:400]
            print(f"--order {order}: {seconds:.1f} s, {peak:,.0f} MB at most so far; {output}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    if options.large:
        large(options.text)
    else:
        compare(options.text)


if __name__ == "__main__":
    main()

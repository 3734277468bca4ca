"""Score charrnn on the texts of benchmarks/shelf.py: no flags, settings by hand, and counting.

    python benchmarks/corpora.py --list                             # make the texts, train nothing
    python benchmarks/corpora.py --data TEXTS --half choose --budgets 20s,1m
    python benchmarks/corpora.py --data TEXTS --only zen --only gpl --clock cpu

Each line of the table is the test tenth of one text after one budget, in bits per character:
- charrnn: `train TEXT --test TEST --budget BUDGET`, nothing else.
- by hand: that with each line of HANDS. The validation score chooses one, as a person would.
- n-gram: the best one, its order chosen on the validation text.
- PPMd: what the test tenth adds to the compressed nine tenths, at the best of five orders. It goes
  on learning while it reads the test tenth, and needs no validation text: charrnn keeps a twentieth
  of the nine tenths for that, the last of a stream.

With more than one seed each figure is the median. --clock cpu gives the children processor time
instead of wall-clock time, so that other work on the machine takes nothing from a budget; it adds
up the time of all threads, so it needs --threads 1. --record appends the lines to the record;
docs/results.md shows them between `<!-- record: corpora -->` and `<!-- end of record -->`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import shelf
from page import RECORD
from quality import charrnn, commit, machine
from shelf import Halves

HANDS = (
    "--hidden-size 64 --num-layers 1 --dropout 0.2 --lr 0.01",
    "--hidden-size 128 --num-layers 2 --dropout 0.1",
    "--hidden-size 256 --num-layers 1 --dropout 0 --lr 0.005",
    "--hidden-size 384 --num-layers 1 --dropout 0.3 --set training.weight_decay=0.1",
    "--hidden-size 512 --num-layers 1 --dropout 0.5 --set training.weight_decay=0.3",
    "--cell lstm --hidden-size 256 --num-layers 2 --dropout 0.3",
    "--cell lstm --hidden-size 512 --num-layers 1 --dropout 0.1 --lr 0.003",
)
PPMD_ORDERS = (3, 4, 6, 8, 12)
PPMD_MEMORY = 256 << 20
TITLES = ("text", "characters", "budget", "charrnn", "by hand", "n-gram", "PPMd", "best by hand")
LINE = "{:15} {:>10} {:>6} {:>8} {:>8} {:>12} {:>7}  {}"


class Trial(NamedTuple):
    """One training and its score. settings: the line of HANDS; empty without flags."""

    settings: str
    trained: dict[str, Any]
    scored: dict[str, Any]


class Place(NamedTuple):
    """Where and how trainings run. folder: for the text and the runs; it can be thrown away."""

    folder: Path
    clock: str
    threads: int


def train(settings: str, budget: str, seed: int, place: Place) -> dict[str, Any]:
    """Train on the text in the place's folder, and return what `train --json` says."""
    options = f"--budget {budget} --seed {seed} --threads {place.threads} --device cpu --overwrite"
    files = [str(place.folder / "text.txt"), "--test", str(place.folder / "test.txt")]
    run = ["--run", str(place.folder / _run_name(settings)), "--quiet"]
    return charrnn("train", *files, *settings.split(), *options.split(), *run, clock=place.clock)


def score(settings: str, place: Place, *, baselines: bool) -> dict[str, Any]:
    """Score the run of these settings on the test tenth."""
    option = "--baselines" if baselines else "--no-baselines"
    return charrnn("eval", str(place.folder / _run_name(settings)), "--split", "test", option)


def _run_name(settings: str) -> str:
    return f"hand-{HANDS.index(settings)}" if settings else "no-flags"


def without_flags(budget: str, seed: int, place: Place) -> Trial:
    """Train as somebody does who gives a text and a time."""
    trained = train("", budget, seed, place)
    return Trial("", trained, score("", place, baselines=True))


def best_by_hand(count: int, budget: str, seed: int, place: Place) -> Trial:
    """Train with the first `count` lines of HANDS, and score the one that validates best."""
    trained = {settings: train(settings, budget, seed, place) for settings in HANDS[:count]}
    best = min(trained, key=lambda settings: float(trained[settings]["best_val_nats_per_char"]))
    return Trial(best, trained[best], score(best, place, baselines=False))


def ppmd_bits(text: Halves) -> float | None:
    """Return PPMd's bits per character of the test tenth; None without pyppmd."""
    try:
        import pyppmd
    except ImportError:
        return None
    learnt = text.train.encode()
    whole = learnt + text.test.encode()

    def size(data: bytes, order: int) -> int:
        return len(pyppmd.compress(data, max_order=order, mem_size=PPMD_MEMORY))

    added = min(size(whole, order) - size(learnt, order) for order in PPMD_ORDERS)
    return 8 * added / len(text.test)


def rows(name: str, text: Halves, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a line of the record for each budget."""
    ppmd = ppmd_bits(text)
    for budget in options.budgets.split(","):
        plain: list[Trial] = []
        hands: list[Trial] = []
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), options.clock, options.threads)
            (place.folder / "text.txt").write_text(text.train, encoding="utf-8", newline="")
            (place.folder / "test.txt").write_text(text.test, encoding="utf-8", newline="")
            for seed in range(1, options.seeds + 1):
                plain.append(without_flags(budget, seed, place))
                if options.hands:
                    hands.append(best_by_hand(options.hands, budget, seed, place))
        middle = sorted(plain, key=lambda trial: trial.scored["bits_per_char"])[len(plain) // 2]
        yield {
            "suite": "corpora",
            "half": shelf.TEXTS[name].half,
            "text": name,
            "text_sha256": middle.scored["data"]["sha256"][:12],
            "train_chars": len(text.train),
            "chars": middle.scored["chars"],
            "budget": budget,
            "clock": options.clock,
            "seeds": options.seeds,
            "commit": commit(),
            "machine": f"{machine()}, {options.threads} threads, cpu",
            "parameters": middle.trained["parameters"],
            "seconds": round(middle.trained["elapsed_s"]),
            "bits_per_char": median_bits(plain),
            "hand_bits_per_char": median_bits(hands),
            "hand": statistics.mode(trial.settings for trial in hands) if hands else "",
            "ngram_order": middle.scored["ngram"]["order"],
            "ngram_bits_per_char": round(middle.scored["baselines"]["ngram"], 4),
            "ppmd_bits_per_char": None if ppmd is None else round(ppmd, 4),
            "note": options.note,
        }


def median_bits(trials: list[Trial]) -> float | None:
    """Return the median score; None without trials."""
    if not trials:
        return None
    bits: list[float] = [trial.scored["bits_per_char"] for trial in trials]
    return round(statistics.median(bits), 4)


def line(row: dict[str, Any]) -> str:
    """Return a row as a line of the table."""
    return LINE.format(
        row["text"],
        f"{row['train_chars']:,}",
        row["budget"],
        shown(row["bits_per_char"]),
        shown(row["hand_bits_per_char"]),
        f"{row['ngram_order']}: {shown(row['ngram_bits_per_char'])}",
        shown(row["ppmd_bits_per_char"]),
        row["hand"],
    )


def shown(bits: float | None) -> str:
    """Return a figure for the table, a dash where there is none."""
    return "-" if bits is None else f"{bits:.4f}"


def chosen_names(options: argparse.Namespace) -> list[str]:
    """Return the names of the texts that the options ask for, in the order of the table."""
    halves = ("choose", "report") if options.half is None else (options.half,)
    return [
        name
        for name, text in shelf.TEXTS.items()
        if text.half in halves and (not options.only or name in options.only)
    ]


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of texts")
    parser.add_argument("--only", action="append", choices=list(shelf.TEXTS), metavar="NAME")
    parser.add_argument("--half", choices=("choose", "report"))
    parser.add_argument("--budgets", default="20s,1m,5m")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--hands", type=int, default=len(HANDS), help="how many settings of HANDS")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the texts and train nothing")
    parser.add_argument("--record", action="store_true", help=f"append to {RECORD.name}")
    parser.add_argument("--note", default="", help="what else ran on the machine, for example")
    options = parser.parse_args(arguments)
    if options.clock == "cpu" and options.threads != 1:
        parser.error("--clock cpu adds up the time of all threads; leave --threads at 1")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    if not options.list:
        print(LINE.format(*TITLES))
        if ppmd_bits(Halves("", "a")) is None:
            print("PPMd: not scored, because the package pyppmd is not installed", file=sys.stderr)
    for name in chosen_names(options):
        try:
            text = shelf.halves(name, options.data)
        except shelf.Missing as reason:
            print(f"{name:15} {'-':>10} {reason}", flush=True)
            continue
        if options.list:
            half = shelf.TEXTS[name].half
            symbols = len(set(text.train))
            print(f"{name:15} {half:6} {len(text.train):>10,} + {len(text.test):,}, V {symbols:,}")
            continue
        try:
            for row in rows(name, text, options):
                print(line(row), flush=True)
                if options.record:
                    with RECORD.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except subprocess.CalledProcessError as error:  # it has said why on standard error
            print(f"{name:15} {'-':>10} charrnn exited with {error.returncode}", flush=True)


if __name__ == "__main__":
    main()

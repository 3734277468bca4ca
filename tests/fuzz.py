"""Fuzzing: files, settings and texts of a stranger, altered at random, given to the program as a person would.

    python tests/fuzz.py model pattern --minutes 10     # targets side by side, a process each; "all" is every one
    python tests/fuzz.py run --only 4711                # one input again, with its traceback

Every input must be refused with one line and exit code 2 or 3, or work: no traceback, no hang, no crash of the process,
no memory to speak of, no control character to a terminal. Input n of a seed is always the same. Where atheris is
installed, `--atheris` lets coverage choose what is altered further; the mutations are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from fuzz_inputs import HERE, MOST_MB, SLOW_S
from fuzz_words import TARGETS

# Running them


def one_input(target, seeds: list[bytes], seed: int, number: int) -> bytes:
    chance = random.Random(f"{seed} {number}")
    data = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 2))):
        data = target.mutate(data, chance)
    return data


def work(name: str, seed: int, seconds: float, first: int, report: Path, inputs: int) -> None:
    """Give a target its inputs until the time is over; after each, what has been found is in report."""
    import torch

    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        open(report, "r+b", buffering=0) as told,
    ):
        target, ends, faults = TARGETS[name](Path(folder, "x")), Counter(), []
        Path(folder, "x").mkdir()
        seeds = target.seeds()
        for place, whole in enumerate(seeds):  # what is whole must work
            target.run(whole, 16 * place)
        start, began, number = peak_mb(), time.monotonic(), first
        signal.signal(signal.SIGALRM, hang)
        while time.monotonic() - began < seconds and number < inputs:
            data = one_input(target, seeds, seed, number)
            signal.setitimer(signal.ITIMER_REAL, SLOW_S)
            before = peak_mb()
            try:
                ends["worked" if target.run(data, number) else "refused"] += 1
            except BaseException as error:
                ends["hangs" if isinstance(error, Hang) else "crashes"] += 1
                faults.append([number, "".join(traceback.format_exception_only(error))[:400]])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if peak_mb() - before > MOST_MB / 4:
                faults.append([number, f"took {peak_mb() - before:.0f} MB more than any before"])
            number += 1
            found = {
                "next": number,
                "ends": ends,
                "faults": faults[:50],
                "peak_mb": round(peak_mb() - start, 1),
            }
            line = json.dumps(found).encode()
            os.pwrite(told.fileno(), line.ljust(1 << 16), 0)


class Hang(BaseException):
    pass


def hang(number, frame):
    raise Hang(f"over {SLOW_S} s")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def supervise(names: list[str], seed: int, seconds: float, inputs: int) -> int:
    """A process for each target; one that dies is counted, and another goes on behind the input that killed it."""
    until, total, code = time.monotonic() + seconds, {name: Counter() for name in names}, 0
    faults: dict[str, list] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        reports = {name: Path(folder, name) for name in names}

        def start(name: str, first: int) -> subprocess.Popen:
            reports[name].write_bytes(
                json.dumps({"next": first, "ends": {}, "faults": [], "peak_mb": 0})
                .encode()
                .ljust(1 << 16)
            )
            left = max(0.0, until - time.monotonic())
            numbers = {
                "--seed": seed,
                "--minutes": left / 60,
                "--first": first,
                "--inputs": inputs,
                "--work": reports[name],
            }
            options = [str(word) for pair in numbers.items() for word in pair]
            return subprocess.Popen([sys.executable, __file__, name, *options])

        running = {name: start(name, 0) for name in names}
        while running:
            for name, process in list(running.items()):
                if process.poll() is None:
                    continue
                told = json.loads(reports[name].read_bytes())
                total[name].update(told["ends"])
                total[name]["peak_mb"] = max(total[name]["peak_mb"], told["peak_mb"])
                faults[name] += told["faults"]
                del running[name]
                if process.returncode:
                    total[name]["crashes"] += 1
                    faults[name].append(
                        [told["next"], f"the process ended with {process.returncode}"]
                    )
                    if time.monotonic() < until and told["next"]:
                        running[name] = start(name, told["next"] + 1)
            time.sleep(0.2)
    for name in names:
        ends = total[name]
        inputs = sum(ends[key] for key in ("worked", "refused", "crashes", "hangs"))
        told = "  ".join(
            f"{key} {ends[key]:,}" for key in ("worked", "refused", "crashes", "hangs")
        )
        print(f"{name:<8} inputs {inputs:,}  {told}  peak {ends['peak_mb']:.1f} MB over the start")
        for number, what in faults[name]:
            print(f"    --only {number}: {what.strip()}")
        code |= bool(faults[name]) or ends["peak_mb"] > MOST_MB
    return int(code)


def with_atheris(name: str, seed: int, seconds: float) -> None:
    """Coverage-guided (libFuzzer); ends with the process. A fault is written to ./crash-*."""
    import atheris

    with atheris.instrument_imports(include=["charrnn", "tomllib", "json"]):
        import charrnn.cli.main
        import charrnn.scoring.evaluation
        import charrnn.training.session  # noqa: F401
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "x").mkdir()
    target, count = TARGETS[name](folder / "x"), iter(range(1 << 60))
    (folder / "seeds").mkdir()
    for place, data in enumerate(target.seeds()):
        (folder / f"seeds/{place}").write_bytes(data)

    def mutator(data: bytes, max_size: int, number: int) -> bytes:
        return target.mutate(data, random.Random(number))[:max_size]

    options = [
        f"-seed={seed + 1}",
        f"-max_total_time={seconds:.0f}",
        "-max_len=200000",
        f"-timeout={0 if name == 'pattern' else SLOW_S}",  # whose own clock is the same one
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *options, str(folder / "seeds")],
        lambda data: target.run(data, next(count)) and None,
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "targets",
        nargs="+",
        choices=[*TARGETS, "all"],
        metavar="TARGET",
        help=f"all, or some of {', '.join(TARGETS)}",
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--inputs", type=int, default=1 << 60, help="at most so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", type=int, help="this input alone, with its traceback; it stays in ./fuzz-input"
    )
    parser.add_argument("--atheris", action="store_true", help="coverage-guided, one target")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "TERM": "dumb",
    }  # no bold from rich: what is left of escapes is the text's
    names = list(TARGETS) if "all" in asked.targets else asked.targets
    sys.path.insert(0, str(HERE.parent))
    if asked.work:
        work(names[0], asked.seed, 60 * asked.minutes, asked.first, asked.work, asked.inputs)
    elif asked.only is not None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            target = TARGETS[names[0]](Path(folder, "x"))
            Path(folder, "x").mkdir()
            data = one_input(target, target.seeds(), asked.seed, asked.only)
            Path("fuzz-input").write_bytes(data)
            print("worked" if target.run(data, asked.only) else "refused")
    elif asked.atheris:
        with_atheris(names[0], asked.seed, 60 * asked.minutes)
    else:
        return supervise(names, asked.seed, 60 * asked.minutes, asked.inputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""All that is to be known of training on one GPU, in one call of under ten minutes.

    python benchmarks/gpu.py --data TEXTS          # all parts that fit, to the screen and gpu.jsonl
    python benchmarks/gpu.py --only steps --only many
    python benchmarks/gpu.py --only c --data TEXTS # five minutes of training; also --only latex
    python benchmarks/gpu.py --dry                 # the usual parts on a processor, tiny

It needs torch and no network. TEXTS is a folder with tinyshakespeare.txt, names-makemore.txt,
linux-kernel.c and stacks-algebra.tex. A part runs in a process of its own, with a clock of its own;
one that fails, hangs or takes the driver with it leaves one line, and the next part begins.

Each line is also one JSON object of the --out file: the part, and what was measured. "target" is
what should hold on an H100. Not cuda.py: torch would import that for NVIDIA's package.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 20  # that a part may take to begin and to end


class Bench:
    """What a part is given: where to compute, how long, and where lines go."""

    def __init__(self, part: str, seconds: float, out: Path, data: Path, is_dry: bool) -> None:
        self.part = part
        self.data = data
        self.is_dry = is_dry
        self._out = out
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return how much of the part's time is left."""
        return self._end - time.monotonic()

    @property
    def device(self) -> str:
        return "cpu" if self.is_dry else "cuda:0"

    def report(self, **figures: Any) -> None:
        """Print one line, and write it."""
        shown = "  ".join(f"{name} {_shown(value)}" for name, value in figures.items())
        print(f"{self.part}: {shown}", flush=True)
        with self._out.open("a") as out:
            out.write(json.dumps({"part": self.part, "dry": self.is_dry, **figures}) + "\n")

    def text(self, name: str) -> str:
        """Return the path of a text, or the names that charrnn has where a dry run lacks it.

        Raises FileNotFoundError.
        """
        if self.is_dry:
            return "names"
        path = self.data / name
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there; name its folder with --data")
        return str(path)


class Part(NamedTuple):
    """A part: its function as module.name, its seconds, and whether a plain call runs it."""

    function: str
    seconds: float
    is_usual: bool = True


# In the order in which they run. The usual ones take nine and a half minutes together at most.
PARTS = {
    "about": Part("gpu_steps.about", 15),
    "steps": Part("gpu_steps.steps", 90),
    "gaps": Part("gpu_steps.gaps", 30),
    "training": Part("gpu_trainings.training", 30),
    "many": Part("gpu_trainings.many", 45),
    "traced": Part("gpu_steps.traced", 15),
    "tests": Part("gpu_runs.tests", 70),
    "resume": Part("gpu_runs.resume", 75),
    "shakespeare": Part("gpu_runs.shakespeare", 115),
    "names": Part("gpu_runs.names", 85),
    "saturation": Part("gpu_trainings.saturation", 240, is_usual=False),
    "c": Part("gpu_runs.c", 360, is_usual=False),
    "latex": Part("gpu_runs.latex", 360, is_usual=False),
}


def function_of(part: str) -> Callable[[Bench], None]:
    """Return the function of a part. Only now torch is imported."""
    module, _, name = PARTS[part].function.partition(".")
    found: Callable[[Bench], None] = getattr(__import__(module), name)
    return found


def run_part(bench: Bench) -> None:
    """Run a part in this process. What it lacks is one line."""
    try:
        function_of(bench.part)(bench)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        bench.report(failed=f"{type(error).__name__}: {first}")


def run_apart(part: str, seconds: float, arguments: argparse.Namespace) -> None:
    """Run a part in a process of its own, and end it and its children when its time is over."""
    command = [sys.executable, __file__, "--part", part, "--seconds", str(seconds)]
    command += ["--out", str(arguments.out), "--data", str(arguments.data)]
    if arguments.dry:
        command.append("--dry")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stderr=errors, start_new_session=True)
        try:
            process.wait(seconds + GRACE_S)
            fault = f"ended with {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            fault = f"did not end in {seconds + GRACE_S:.0f} s"
        if fault:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or [""])[-1]
            Bench(part, 0, arguments.out, arguments.data, arguments.dry).report(
                failed=f"{fault}: {last}"
            )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part alone")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on a processor")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="append lines here")
    parser.add_argument("--data", type=Path, default=ROOT / "shared" / "data")
    parser.add_argument("--minutes", type=float, default=9.5, help="of all parts together")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    arguments.out = arguments.out.resolve()
    arguments.data = arguments.data.resolve()
    if arguments.part:
        run_part(
            Bench(
                arguments.part,
                arguments.seconds,
                arguments.out,
                arguments.data,
                arguments.dry,
            )
        )
        return

    end = time.monotonic() + 60 * arguments.minutes
    usual = [name for name, part in PARTS.items() if part.is_usual]
    for name in arguments.only or usual:
        seconds = PARTS[name].seconds
        if not arguments.only:
            seconds = min(seconds, end - time.monotonic() - GRACE_S)
        if seconds < 10:
            Bench(name, 0, arguments.out, arguments.data, arguments.dry).report(
                failed="no time was left; run it with --only"
            )
            continue
        run_apart(name, seconds, arguments)


def _shown(value: object) -> str:
    """Return a figure as a person reads it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.1e}"


if __name__ == "__main__":
    main()

"""What it costs that nothing is lost: the share of training time that goes into checkpoints, at the defaults.

    python benchmarks/checkpointing.py [CORPUS] [--budget 5m] [--hidden-size N]

A whole training with the default intervals, in this process. Timed: making and writing checkpoints and best models,
with their syncs and the look at the weights before; and, as they are written anyway, apart from it the lines of metrics.
The processor's seconds are those to compare when other programs run beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.training.checkpoint import RunDirectory
from charrnn.training.loop import Trainer
from charrnn.training.session import Request, train

MOST = 0.02  # of the training's time


class Clock:
    """Counts calls of methods, the seconds spent in them, and how many of these a processor computed for them."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.computed: dict[str, float] = {}

    def watch(self, owner: type, name: str, said: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)
        self.calls[said], self.seconds[said], self.computed[said] = 0, 0.0, 0.0

        def timed(*arguments: Any, **named: Any) -> Any:
            began, computed = time.perf_counter(), time.process_time()
            try:
                return original(*arguments, **named)
            finally:
                self.calls[said] += 1
                self.seconds[said] += time.perf_counter() - began
                self.computed[said] += time.process_time() - computed

        setattr(owner, name, timed)


class Silent:
    def say(self, text: str) -> None:
        if text.startswith(("network:", "text:")):
            print(text, flush=True)

    step = evaluated = sampled = lambda self, *what: None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", default="names")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--hidden-size", type=int)
    options = parser.parse_args()
    clock = Clock()
    clock.watch(Trainer, "fit", "training")
    clock.watch(Trainer, "_keep", "checkpoints and best models")
    clock.watch(RunDirectory, "save", "  of it writing checkpoints")
    clock.watch(RunDirectory, "save_best", "  of it writing best models")
    clock.watch(RunDirectory, "log", "lines of metrics")
    chosen: dict[str, Any] = {"budget": options.budget}
    if options.hidden_size:
        chosen["hidden_size"] = options.hidden_size
    with tempfile.TemporaryDirectory() as folder:
        run, outcome = train(
            Request(options.corpus, (("--", chosen),), run=Path(folder) / "run"), Silent()
        )
        largest = max(path.stat().st_size for path in (run / "checkpoints").iterdir())
    whole, processor = clock.seconds["training"], clock.computed["training"]
    print(
        f"{outcome.place.step:,} steps, {outcome.reason}; a checkpoint has {largest / 1e6:.1f} MB\n"
    )
    print("| | times | s | share | processor s | share |\n|---|---|---|---|---|---|")
    for said, seconds in clock.seconds.items():
        computed = clock.computed[said]
        print(
            f"| {said} | {clock.calls[said]:,} | {seconds:.3f} | {seconds / whole:.2%} "
            f"| {computed:.3f} | {computed / processor:.2%} |"
        )
    share = clock.seconds["checkpoints and best models"] / whole
    print(
        f"\ncheckpoints: {share:.2%} of training time; at most {MOST:.0%}: {'met' if share <= MOST else 'NOT MET'}"
    )


if __name__ == "__main__":
    main()

"""The cost of losing nothing: the share of training time that goes into checkpoints.

    python benchmarks/checkpointing.py [CORPUS] [--budget 5m] [--hidden-size N]

A whole training with the default intervals, in this process. Timed: making and writing checkpoints
and best models, with their syncs and the look at the weights before; and apart from it the lines of
metrics, as they are written anyway. The processor's seconds are those to compare when other
programs run beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.training.checkpoint import RunDirectory
from charrnn.training.listener import Silent
from charrnn.training.loop import Trainer
from charrnn.training.session import Request, train

MOST = 0.02  # of the training's time
WHOLE = "training"
CHECKPOINTS = "checkpoints and best models"


class Clock:
    """Counts calls of methods, the seconds in them, and the processor's seconds among these."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.computed: dict[str, float] = {}

    def watch(self, owner: type, name: str, title: str) -> None:
        """Replace the method by one that counts for the row of that title."""
        original: Callable[..., Any] = getattr(owner, name)
        self.calls[title] = 0
        self.seconds[title] = 0.0
        self.computed[title] = 0.0

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            computed = time.process_time()
            try:
                return original(*arguments, **named)
            finally:
                self.calls[title] += 1
                self.seconds[title] += time.perf_counter() - began
                self.computed[title] += time.process_time() - computed

        setattr(owner, name, timed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", default="names")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--hidden-size", type=int)
    options = parser.parse_args()
    clock = Clock()
    clock.watch(Trainer, "fit", WHOLE)
    clock.watch(Trainer, "_keep", CHECKPOINTS)
    clock.watch(RunDirectory, "save", "  of it writing checkpoints")
    clock.watch(RunDirectory, "save_best", "  of it writing best models")
    clock.watch(RunDirectory, "log", "lines of metrics")
    settings: dict[str, Any] = {"budget": options.budget}
    if options.hidden_size:
        settings["hidden_size"] = options.hidden_size
    with tempfile.TemporaryDirectory() as folder:
        request = Request(options.corpus, (("--", settings),), run=Path(folder) / "run")
        run, outcome = train(request, Silent())
        largest = max(path.stat().st_size for path in (run / "checkpoints").iterdir())
    print(
        f"{outcome.place.step:,} steps, {outcome.reason}; a checkpoint has {largest / 1e6:.1f} MB\n"
    )
    show(clock)


def show(clock: Clock) -> None:
    """Print the table, and whether checkpoints keep to their share."""
    whole = clock.seconds[WHOLE]
    processor = clock.computed[WHOLE]
    print("| | times | s | share | processor s | share |\n|---|---|---|---|---|---|")
    for title, seconds in clock.seconds.items():
        computed = clock.computed[title]
        print(
            f"| {title} | {clock.calls[title]:,} | {seconds:.3f} | {seconds / whole:.2%} "
            f"| {computed:.3f} | {computed / processor:.2%} |"
        )
    share = clock.seconds[CHECKPOINTS] / whole
    verdict = "met" if share <= MOST else "NOT MET"
    print(f"\ncheckpoints: {share:.2%} of training time; at most {MOST:.0%}: {verdict}")


if __name__ == "__main__":
    main()

"""One training of a comparison in a process of its own: `python -m charrnn.lab.worker`.

A line of standard input says what to train; its end means that whoever asked is gone. Each line of
standard output is an event, as JSON.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from charrnn.errors import CharrnnError, DivergedError
from charrnn.strictjson import parsed
from charrnn.training.listener import Silent, Step
from charrnn.training.session import Request, train

LEAST_S = 0.1  # between two lines about steps


class Telling(Silent):
    """The progress of the training, as lines."""

    def __init__(self) -> None:
        self._told_s = 0.0
        self._chars = 0

    def say(self, text: str) -> None:
        """Tell a note or a warning."""
        tell(event="say", text=text)

    def step(self, update: Step) -> None:
        """Tell of steps, a few times a second."""
        self._chars += update.chars
        now = time.monotonic()
        if now - self._told_s < LEAST_S and update.step != update.total_steps:
            return
        self._told_s = now
        nats = update.train_nats_per_char
        tell(
            event="step",
            step=update.step,
            total=update.total_steps,
            chars=self._chars,
            nats=nats if math.isfinite(nats) else None,
        )
        self._chars = 0


def tell(**event: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(event, allow_nan=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Train what standard input says."""
    # Unbuffered: at the end of Python nobody may hold the lock of a buffer
    orders = open(0, "rb", buffering=0, closefd=False)
    job = parsed(orders.readline())
    threading.Thread(target=_end_with_the_asker, args=(orders,), daemon=True).start()
    if job["resume"]:
        request = Request(None, (), run=Path(job["run"]), resume=True)
    else:
        layers = ((job["origin"], job["settings"]),)
        request = Request(job["corpus"], layers, run=Path(job["run"]))
    try:
        _, outcome = train(request, Telling())
    except DivergedError as error:
        tell(event="diverged", text=str(error))
    except CharrnnError as error:
        tell(event="fault", text=str(error), code=error.exit_code)
    else:
        place = outcome.place
        tell(
            event="done",
            reason=outcome.reason,
            nats=place.best_nats if math.isfinite(place.best_nats) else None,
            elapsed_s=place.elapsed_s,
        )


def _end_with_the_asker(orders: io.RawIOBase) -> None:
    """Save and stop once standard input ends."""
    orders.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

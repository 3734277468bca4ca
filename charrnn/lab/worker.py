"""Trainings of a comparison in a process of their own: `python -m charrnn.lab.worker`.

Each line of standard input says what to train next; its end means that whoever asked is gone. Each
line of standard output is an event, as JSON; the last about a training is done, diverged or fault.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from charrnn.errors import CharrnnError, DivergedError
from charrnn.strictjson import parsed
from charrnn.terminal import forget_stdout
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
    """Write a line, if anybody reads it."""
    try:
        sys.stdout.write(json.dumps(event, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()


def main() -> None:
    """Train what standard input says, until it ends."""
    orders: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    while line := orders.get():
        _train(parsed(line))


def _read(orders: SimpleQueue[bytes]) -> None:
    """Read what to train, even while something is trained: save and stop once the input ends."""
    # Unbuffered: at the end of Python nobody may hold the lock of a buffer
    for line in open(0, "rb", buffering=0, closefd=False):
        orders.put(line)
    orders.put(b"")
    os.kill(os.getpid(), signal.SIGTERM)


def _train(order: dict[str, Any]) -> None:
    """Train, and tell how it ended."""
    if order["resume"]:
        request = Request(None, (), run=Path(order["run"]), resume=True)
    else:
        layers = ((order["origin"], order["settings"]),)
        request = Request(order["corpus"], layers, run=Path(order["run"]))
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


if __name__ == "__main__":
    main()

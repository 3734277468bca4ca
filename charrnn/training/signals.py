"""Signals while a training runs: the first one saves, the second one leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}

# torchrun passes on what a terminal has sent to all already: within this time it is one signal.
SAME_S = 5.0


@contextlib.contextmanager
def signals(
    stop: Callable[[str], None],
    wake: Callable[[], None] | None,
    is_guest: bool,
    *,
    is_launched: bool = False,
) -> Iterator[None]:
    """Let the first signal finish the step and save, and the second leave at once.

    Files are replaced whole or not at all. Signals that are ignored (nohup, background jobs) stay
    so. stop: told the signal's name. wake: told that the process goes on after it was stopped.
    is_guest: of Ctrl-C alone, and the second one interrupts the caller. is_launched: by torchrun.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped_s = 0.0

    def leave(number: int, frame: object) -> None:
        if is_launched and time.monotonic() - stopped_s < SAME_S:
            return
        if is_guest:
            raise KeyboardInterrupt
        os._exit(128 + number)

    def first(number: int, frame: object) -> None:
        nonlocal stopped_s
        stopped_s = time.monotonic()
        for other in numbers:
            signal.signal(other, leave)
        stop(signal.Signals(number).name)

    names = ["SIGINT"] if is_guest else SIGNALS
    present = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in present if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, first) for number in numbers}
    if hasattr(signal, "SIGCONT") and wake is not None:
        handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda number, frame: wake())
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

"""A callback that writes live.html into the run: a page that refreshes itself."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

from charrnn import events
from charrnn.errors import StorageError
from charrnn.report.live import Live, live_page
from charrnn.storage import write_atomically

LIVE_PAGE = "live.html"
EVERY_S = 2.0  # at most once in this time, except for scores, samples and the end


class LivePage:
    """Writes live.html beside the run's other files, and nothing into these.

    A full disk costs the page and not the training.
    """

    def __init__(self) -> None:
        self._live = Live("")
        self._path: Path | None = None
        self._written_s = -math.inf
        self._since_s = 0.0  # what the pace is of: characters since this time
        self._chars = 0

    def on_start(self, event: events.Start) -> None:
        """Begin the page."""
        self._path = event.run / LIVE_PAGE
        noun = "byte" if event.settings.get("unit") == "byte" else "character"
        self._live = Live(event.run.resolve().name, noun, event.step)
        self._since_s = time.monotonic()
        self._write()

    def on_step(self, event: events.Step) -> None:
        """Take in an update; write the page where that was long ago."""
        live = self._live
        live.step = event.step
        live.total_steps = event.total_steps
        live.seconds_left = event.seconds_left
        self._chars += event.chars
        live.learn(event.step, event.train_nats_per_char / math.log(2))
        now_s = time.monotonic()
        if now_s - self._written_s >= EVERY_S:
            live.chars_per_s = self._chars / max(1e-3, now_s - self._since_s)
            self._chars = 0
            self._since_s = now_s
            self._write()

    def on_evaluation(self, event: events.Evaluation) -> None:
        """Take in a score."""
        self._live.scored.append((event.step, event.val_nats_per_char / math.log(2)))
        self._write()

    def on_samples(self, event: events.Samples) -> None:
        """Take in what the network wrote."""
        self._live.write(event.step, event.text)
        self._write()

    def on_end(self, event: events.End) -> None:
        """Say how it ended; the page refreshes itself no longer."""
        self._live.step = event.step
        self._live.end = event.reason
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written_s = time.monotonic()
        with contextlib.suppress(StorageError):
            write_atomically(self._path, live_page(self._live), "--page")

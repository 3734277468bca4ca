"""Since when this process has been running."""

from __future__ import annotations

import os
import time


def process_age_s() -> float:
    """Seconds since this process began: a budget counts from when the person pressed Enter."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/uptime", "rb") as file:
            uptime = float(file.read().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return time.process_time()

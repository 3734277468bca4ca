"""How glibc's malloc is told to hold on to memory between training steps."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping
from functools import cache

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@cache
def tune_malloc() -> str:
    """Let glibc keep freed memory for the next step. Returns what was done, in words.

    Without it each step's large tensors may be mapped and unmapped: thousands of page faults a step
    or none, by luck. With another library nothing is done.
    """
    reason = _malloc_left_alone(os.environ)
    if reason:
        return reason
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "as it is (no mallopt here)"
    # mallopt returns 1 for yes. Some versions of glibc refuse a threshold for mmap above 32 MiB.
    maps_less = any(mallopt(M_MMAP_THRESHOLD, size) == 1 for size in (1 << 30, 32 << 20))
    trims_less = mallopt(M_TRIM_THRESHOLD, 0x7FFFFFFF) == 1
    if maps_less and trims_less:
        return "keeps freed memory (mallopt)"
    return "as it is (mallopt refused)"


def _malloc_left_alone(environment: Mapping[str, str]) -> str:
    """Say why malloc is not ours to set: another library, or the person's settings. Empty: none."""
    if sys.platform != "linux":
        return "as it is (not Linux)"
    with contextlib.suppress(OSError, ValueError):
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return "as it is (not glibc)"
        for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            if environment.get(name):
                return f"as {name} says"
        for name, word in (("GLIBC_TUNABLES", "glibc.malloc."), ("LD_PRELOAD", "malloc")):
            if word in environment.get(name, ""):
                return f"as {name} says"
        return ""
    return "as it is (not glibc)"  # this system does not know the name of its library

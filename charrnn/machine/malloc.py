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
    """Let glibc keep freed memory for the next step. Returns what was done, in words; elsewhere nothing is.

    Otherwise each step's large tensors are mapped and unmapped anew: thousands of page faults a step or none, by luck.
    """
    reason = _malloc_left_alone(os.environ)
    if reason:
        return reason
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "as it is (no mallopt here)"
    # Some versions of glibc refuse more than 32 MiB as a threshold for mmap. 1 is yes.
    is_kept = any(mallopt(M_MMAP_THRESHOLD, size) == 1 for size in (1 << 30, 32 << 20))
    is_kept = mallopt(M_TRIM_THRESHOLD, 0x7FFFFFFF) == 1 and is_kept
    return "keeps freed memory (mallopt)" if is_kept else "as it is (mallopt refused)"


def _malloc_left_alone(environment: Mapping[str, str]) -> str:
    """Why malloc is not ours to set: another system or library, or the person has set it. Empty: it is."""
    if sys.platform != "linux":
        return "as it is (not Linux)"
    with contextlib.suppress(OSError, ValueError):
        if (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
                if environment.get(name):
                    return f"as {name} says"
            for name, word in (("GLIBC_TUNABLES", "glibc.malloc."), ("LD_PRELOAD", "malloc")):
                if word in environment.get(name, ""):
                    return f"as {name} says"
            return ""
    return "as it is (not glibc)"

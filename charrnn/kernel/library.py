"""Finds and loads the compiled kernel (the C files beside it). No numpy here: `charrnn --version` asks too.

pip builds the library where there is a C compiler; where it is missing or does not fit, numpy does the work. The
environment variable CHARRNN_KERNEL names another library, or says `off`.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

VERSION = 4  # of the structures that the kernel is handed; library.c has the same number
CELLS = ("rnn", "lstm", "gru", "gru-before")  # in the order of level.h
LEVELS = ("baseline", "AVX2", "AVX-512")  # instruction sets of x86-64; elsewhere there is one


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or None: not built, switched off, or of another version."""
    asked = os.environ.get("CHARRNN_KERNEL", "")
    if asked == "off":
        return None
    here = Path(__file__).parent
    for path in (
        [Path(asked)] if asked else [here / f"_kernel{suffix}" for suffix in EXTENSION_SUFFIXES]
    ):
        try:
            loaded = ctypes.CDLL(str(path))
            if loaded.charrnn_version() != VERSION:
                continue
        except (OSError, AttributeError):
            continue
        pointer, whole = ctypes.c_void_p, ctypes.c_int64
        loaded.charrnn_step.argtypes = [pointer, whole, *[pointer] * 4]
        loaded.charrnn_read.argtypes = [
            pointer,
            pointer,
            whole,
            *[pointer] * 4,
            ctypes.c_double,
            whole,
        ]
        loaded.charrnn_read.restype = whole
        loaded.charrnn_write.argtypes = [pointer, pointer]
        return loaded
    return None


@cache
def lend_openmp() -> bool:
    """Let training compute on the threads of the OpenMP that PyTorch has loaded, if that is GNU's. Else it starts its own,
    which must then take the processors from PyTorch's, awake for some time after each operation."""
    kernel = library()
    if kernel is None or not hasattr(os, "RTLD_NOLOAD"):
        return False
    try:
        gomp = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        return bool(
            kernel.charrnn_use_openmp(
                gomp.GOMP_parallel, gomp.omp_get_num_threads, gomp.omp_get_thread_num
            )
        )
    except (OSError, AttributeError):
        return False


def build() -> str | None:
    """What the bits of the kernel's results depend on: its instruction set and its compiler."""
    loaded = library()
    if loaded is None:
        return None
    loaded.charrnn_compiler.restype = ctypes.c_char_p
    return f"{describe()}, {loaded.charrnn_compiler().decode(errors='replace')}"


def describe() -> str:
    """Which engine samples here: a word for `charrnn --version`."""
    loaded = library()
    if loaded is None:
        return "numpy"
    return "compiled" + (f" for {LEVELS[level]}" if (level := loaded.charrnn_level()) else "")

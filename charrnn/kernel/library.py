"""Finds and loads the compiled kernel, which is built from the C files beside this one.

pip builds the library where there is a C compiler. Where it is missing or does not fit, numpy
samples and PyTorch trains. The environment variable CHARRNN_KERNEL names another library, or is
`off`. No numpy here: `charrnn --version` imports this file too.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

VERSION = 9  # of the structures that the kernel is handed; library.c has the same number
CELLS = ("rnn", "lstm", "gru", "gru-before")  # in the order of level.h
LEVELS = ("baseline", "AVX2", "AVX-512")  # instruction sets of x86-64; elsewhere there is one


@cache
def library() -> ctypes.CDLL | None:
    """Return the loaded library, or None: not built, switched off, or of another version."""
    choice = os.environ.get("CHARRNN_KERNEL", "")
    if choice == "off":
        return None
    here = Path(__file__).parent
    paths = [here / f"_kernel{suffix}" for suffix in EXTENSION_SUFFIXES]
    if choice:
        paths = [Path(choice)]
    for path in paths:
        try:
            kernel = ctypes.CDLL(str(path))
            if kernel.charrnn_version() == VERSION:
                _declare(kernel)
                return kernel
        except (OSError, AttributeError):  # no such file, not a library, or not this one
            continue
    return None


def _declare(kernel: ctypes.CDLL) -> None:
    """Give the types of the functions that take more than one pointer."""
    pointer = ctypes.c_void_p
    whole = ctypes.c_int64
    state = [pointer] * 5  # h, c, nodes, states of the spelling, logits
    nats = pointer
    goes_on = ctypes.c_int
    seconds = ctypes.c_double
    kernel.charrnn_step.argtypes = [pointer, whole, pointer, *state]
    kernel.charrnn_read.argtypes = [pointer, pointer, whole, *state, nats, goes_on, seconds, whole]
    kernel.charrnn_read.restype = whole
    kernel.charrnn_write.argtypes = [pointer, pointer]
    kernel.charrnn_compiler.restype = ctypes.c_char_p


@cache
def lend_openmp() -> bool:
    """Let training compute on PyTorch's own threads, if its OpenMP is GNU's.

    Otherwise the kernel starts threads of its own. They must take the processors from PyTorch's,
    which stay awake for some time after each operation.
    """
    kernel = library()
    if kernel is None or not hasattr(os, "RTLD_NOLOAD"):
        return False
    try:
        gomp = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        functions = (gomp.GOMP_parallel, gomp.omp_get_num_threads, gomp.omp_get_thread_num)
    except (OSError, AttributeError):  # not loaded, or without these functions
        return False
    return bool(kernel.charrnn_use_openmp(*functions))


def build() -> str | None:
    """Name what the bits of results depend on: the kernel's instruction set and its compiler."""
    kernel = library()
    if kernel is None:
        return None
    compiler = kernel.charrnn_compiler().decode(errors="replace")
    return f"{describe()}, {compiler}"


def describe() -> str:
    """Name the engine that samples here: a word for `charrnn --version`."""
    kernel = library()
    if kernel is None:
        return "numpy"
    level = kernel.charrnn_level()
    if level == 0:
        return "compiled"
    return f"compiled for {LEVELS[level]}"

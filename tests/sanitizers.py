"""A process in which the kernel is built with a sanitizer, changed or as it is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_support import (
    KERNEL,
    build,
    child,
)

STRICT = (
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-g",
    "-O1",
    "-pthread",
    "-fno-sanitize-recover=all",
)


ADDRESSES = (*STRICT, "-fsanitize=address,undefined")


RACES = (*STRICT, "-fsanitize=thread")


def changed(pattern, replacement):
    """A change of a file for `sanitized`, wherever it fits."""

    def change(text):
        text, found = re.subn(pattern, replacement, text)
        assert found, "the file has changed: do this in another place"
        return text

    return change


# One allocation for each array of a call, instead of one for all: no array may run into the next.
SEPARATE = {
    "sampling.c": changed(
        r"(static void \*part\([^)]*\) \{\n)",
        r"\1    if (bytes >= 0) return malloc((size_t)bytes);\n",
    ),
    "training.c": changed(
        r"(static float \*take\([^)]*\) \{\n)",
        r"\1    if (n >= 0) return malloc((size_t)n * sizeof(float));\n",
    ),
}


def sanitized(folder, flags, code, change=str, of="sampling.c"):
    """What a process says that uses the kernel with gcc's sanitizers, one of its files changed."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc here")
    name = "libtsan.so" if "-fsanitize=thread" in flags else "libasan.so"
    runtime = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip(f"gcc has no {name} here")
    shutil.copytree(KERNEL, folder / "kernel")
    sources = sorted((folder / "kernel").glob("*.c"))
    for file, how in (*SEPARATE.items(), (of, change)):
        path = folder / "kernel" / file
        path.write_text(how(path.read_text()))
    done = build(sources, folder / "k.so", *flags, compiler="gcc")
    assert done.returncode == 0, done.stderr
    environment = child(
        CHARRNN_KERNEL=folder / "k.so",
        LD_PRELOAD=runtime,
        PYTHONMALLOC="malloc",
        OPENBLAS_NUM_THREADS=1,
        OMP_NUM_THREADS=1,
        UBSAN_OPTIONS="print_stacktrace=1",
        TSAN_OPTIONS="exitcode=99:halt_on_error=1",
        # new memory is full of NaN: what is read before it is written is seen in the results
        ASAN_OPTIONS="detect_leaks=0:exitcode=99:max_malloc_fill_size=1000000000:malloc_fill_byte=255",
    )
    path = str(folder / "k.so")
    check = f"import charrnn.kernel.library as l; assert l.library()._name == {path!r}"
    code = f"{check}; {code}"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900
    )


def races(folder, code, *change):
    done = sanitized(folder, RACES, code, *change)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not know this system's memory layout")
    return done

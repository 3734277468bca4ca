"""A few lines of C that measure the processor: reading memory, and multiply-adds on registers."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

PROBE = r"""
#include <stddef.h>
typedef float v16 __attribute__((vector_size(64), aligned(4)));
/* counts: multiples of 128 */
float read_once(const float **piece, const size_t *count, int pieces, int times) {
    v16 s[8] = {{0}};
    while (times--) for (int p = 0; p < pieces; p++) {
        const float *w = piece[p];
        for (size_t i = 0; i < count[p]; i += 128)
            for (int k = 0; k < 8; k++) s[k] += *(const v16 *)(w + i + 16 * k);
        __asm__ volatile("" ::: "memory");
    }
    for (int k = 1; k < 8; k++) s[0] += s[k];
    return s[0][0];
}
/* 16 independent chains of 16 lanes: 512 operations a turn */
float multiply_add(long times) {
    v16 s[16], a = (v16){0} + 0.5f, b = (v16){0} + 0.1f;
    for (int k = 0; k < 16; k++) s[k] = (v16){0} + (float)k;
    while (times--) for (int k = 0; k < 16; k++) s[k] = s[k] * a + b;
    for (int k = 1; k < 16; k++) s[0] += s[k];
    return s[0][0];
}
"""


def compile_probe(folder: Path) -> ctypes.CDLL:
    """Compile the probe in the folder and load it. Needs cc."""
    (folder / "probe.c").write_text(PROBE)
    # 512-bit vectors where the processor has them: what the kernel may use, the ceiling may too.
    options = [
        "-O3",
        "-march=native",
        "-mprefer-vector-width=512",
        "-ffp-contract=fast",
        "-shared",
        "-fPIC",
    ]
    subprocess.run(["cc", *options, "probe.c", "-o", "probe.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "probe.so"))
    library.read_once.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.read_once.restype = ctypes.c_float
    library.multiply_add.argtypes = [ctypes.c_long]
    library.multiply_add.restype = ctypes.c_float
    return library

"""The compiled kernel as a network calls it: what it can do here, its threads, its tensors.

kernel_layer.py and kernel_scores.py make the calls. The kernel computes in float32 on a CPU. Its
results equal those of recurrent.py to rounding, and are the same bits on any number of threads.
With bfloat16 the factors of matrix products are rounded to it; sums, gates, states, weights and
gradients stay float32.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from charrnn.kernel.library import lend_openmp, library

BAD_ID = -2  # a result of kernel/training.h
BFLOAT16 = 3  # the kernel's level that multiplies bfloat16
WORK_PER_THREAD = 4_000_000  # products; a thread takes some 20 us to begin
Shape = tuple[int | None, ...]  # None: any size but 0


def is_usable() -> bool:
    """Say whether there is a compiled kernel here."""
    return library() is not None


def has_bfloat16() -> bool:
    """Say whether the kernel and this processor multiply bfloat16 (AVX512-BF16)."""
    kernel = library()
    return kernel is not None and bool(kernel.charrnn_bfloat16())


def loaded() -> ctypes.CDLL:
    """Return the library, ready to compute. The caller has asked is_usable."""
    kernel = library()
    assert kernel is not None
    lend_openmp()
    return kernel


def level_of(kernel: ctypes.CDLL, bfloat16: bool) -> int:
    """Return the instruction set to compute with. Raises ValueError where bfloat16 is missing."""
    if not bfloat16:
        return int(kernel.charrnn_level())
    if not kernel.charrnn_bfloat16():
        raise ValueError("this processor or this build of the kernel has no bfloat16")
    return BFLOAT16


def threads_for(work: int, rows: int) -> int:
    """Return one or all of torch's threads, for `work` products over `rows` independent rows.

    Nothing between: an OpenMP whose teams grow and shrink ends and begins threads all the time.
    """
    threads = torch.get_num_threads()
    pays = rows > 1 and 2 * work >= WORK_PER_THREAD * threads
    return threads if pays else 1


def address(tensor: Tensor | None) -> int | None:
    """Return where a tensor's numbers lie, None for a null pointer. The caller keeps it alive."""
    return None if tensor is None else tensor.data_ptr()


def check_result(result: int, count: int = 0) -> None:
    """Raise what a call's result means: IndexError for an id not below count, or MemoryError."""
    if result == BAD_ID:
        raise IndexError(f"an id is not below {count}")
    if result:
        raise MemoryError("no memory for the kernel's weights")


def check_shapes(dtype: torch.dtype, *expected: tuple[Tensor, Shape]) -> None:
    """Raise TypeError or ValueError unless each tensor has its type and shape.

    The kernel gets bare addresses: it would read beyond a smaller tensor.
    """
    for tensor, shape in expected:
        if tensor.dtype != dtype or tensor.device.type != "cpu":
            raise TypeError(
                f"the kernel computes {dtype} on a CPU, not {tensor.dtype} on {tensor.device}"
            )
        actual = tuple(tensor.shape)
        if 0 in actual or not _fits(actual, shape):
            raise ValueError(
                f"a tensor of shape {actual} where the kernel expects {shape}, and none empty"
            )


def _fits(actual: tuple[int, ...], shape: Shape) -> bool:
    if len(actual) != len(shape):
        return False
    return all(wanted in (None, size) for wanted, size in zip(shape, actual, strict=True))

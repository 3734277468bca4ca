"""Arrays as one .npz file, in memory: what `numpy.load` reads. Equal arrays give equal bytes."""

from __future__ import annotations

import io
import zipfile

import numpy as np

MAGIC = b"\x93NUMPY\x01\x00"
ALIGNMENT = 64  # bytes: where the numbers of a .npy file begin
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # a zip file knows no earlier time


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the bytes of a .npz file, uncompressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", FIRST_DAY), npy(array))
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """Return the bytes of a .npy file: a header of text, then the numbers in C order."""
    about = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    text = repr(about).encode("latin-1")
    begun = len(MAGIC) + 2 + len(text) + 1  # two bytes of length, a newline at the end
    header = text + b" " * (-begun % ALIGNMENT) + b"\n"
    return MAGIC + len(header).to_bytes(2, "little") + header + array.tobytes()

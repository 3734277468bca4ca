"""Where a prompt comes from: the words after --prime, or a file."""

from __future__ import annotations

import sys
from pathlib import Path

from charrnn.errors import SettingsError
from charrnn.terminal import one_line

MAX_PRIME_BYTES = 16 << 20


def read_prime(path: Path, is_lines: bool) -> str:
    """Return the prompt in a file. Raises SettingsError.

    is_lines: the model writes lines, and the newline that ends the file is no part of the prompt.
    """
    shown = one_line(str(path))
    try:
        data = _read(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"--prime-file {shown}: {reason}") from None
    if len(data) > MAX_PRIME_BYTES:
        raise SettingsError(
            f"--prime-file {shown}: more than {MAX_PRIME_BYTES >> 20} MiB; give its end only"
        )
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise SettingsError(
            f"--prime-file {shown}: {byte} is not UTF-8; save it as UTF-8"
        ) from None
    return text.removesuffix("\n").removesuffix("\r") if is_lines else text


def _read(path: Path) -> bytes:
    if str(path) != "-":
        with open(path, "rb") as file:
            return file.read(MAX_PRIME_BYTES + 1)
    if sys.stdin is None:  # the shell's <&-
        raise SettingsError("--prime-file -: standard input is closed")
    return sys.stdin.buffer.read(MAX_PRIME_BYTES + 1)


def check_utf8(name: str, value: str) -> None:
    """Raises SettingsError for an argument that is not UTF-8: it arrives with surrogates."""
    for position, character in enumerate(value):
        if 0xD800 <= ord(character) < 0xE000:
            advice = "use --prime-file" if name == "--prime" else "retype it"
            raise SettingsError(
                f"{name}: what stands at position {position} is not UTF-8; {advice}"
            )

"""Where a prompt comes from: the words after --prime, or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import SettingsError
from charrnn.terminal import one_line, say

if TYPE_CHECKING:
    from charrnn.modelfile import ModelFile

MAX_PRIME_BYTES = 16 << 20
ESCAPES = {"\\n": ("\n", "a newline"), "\\t": ("\t", "a tab")}


def begin_of(prime: str | None, prime_file: Path | None, model: ModelFile) -> str:
    """Return the prompt of --prime or of --prime-file, as it was meant. Raises SettingsError."""
    if prime_file is None:
        return as_meant("--prime", prime or "", model)
    text = read_prime(prime_file, model.mode == "lines")
    return as_meant("--prime-file", text, model, is_typed=False)


def as_meant(name: str, text: str, model: ModelFile, *, is_typed: bool = True) -> str:
    """Return a text for a model as it was meant, and say where it differs from what was given.

    A \\n that a shell passes on as two characters is a newline where the model knows no backslash.
    name: of the option. is_typed: the text stands on the command line.
    """
    if is_typed:
        text = unescaped(name, text, model)
    if text.isascii():
        return text
    from charrnn.text.normalizing import prepare
    from charrnn.text.words import in_known_form, respelt_note

    _, count = in_known_form(prepare(text, model.reading), model.vocabulary)
    if count:
        say(f"note: {name}: {respelt_note(count)}")
    return text


def unescaped(name: str, text: str, model: ModelFile) -> str:
    """Return a text with \\n and \\t as newlines and tabs, where a backslash says nothing else."""
    for escape, (char, meaning) in ESCAPES.items():
        if escape not in text or ord(char) not in model.vocabulary.symbols:
            continue
        if ord("\\") in model.vocabulary.symbols:
            say(
                f"note: {name}: {escape} is read as two characters, which this model knows; "
                f"for {meaning} write $'{escape}' in the shell"
            )
        else:
            text = text.replace(escape, char)
            say(f"note: {name}: {escape} is read as {meaning}")
    return text


def read_prime(path: Path, is_lines: bool) -> str:
    """Return the prompt in a file. Raises SettingsError.

    is_lines: the model writes lines, and the newline that ends the file is no part of the prompt.
    """
    text = read_text("--prime-file", path)
    return text.removesuffix("\n").removesuffix("\r") if is_lines else text


def read_text(option: str, path: Path) -> str:
    """Return the text of a file, or of standard input for -. Raises SettingsError.

    option: the one that named it.
    """
    shown = one_line(str(path))
    try:
        data = _read(option, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{option} {shown}: {reason}") from None
    if len(data) > MAX_PRIME_BYTES:
        raise SettingsError(
            f"{option} {shown}: more than {MAX_PRIME_BYTES >> 20} MiB; give its end only"
        )
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise SettingsError(f"{option} {shown}: {byte} is not UTF-8; save it as UTF-8") from None


def _read(option: str, path: Path) -> bytes:
    if str(path) != "-":
        with open(path, "rb") as file:
            return file.read(MAX_PRIME_BYTES + 1)
    if sys.stdin is None:  # the shell's <&-
        raise SettingsError(f"{option} -: standard input is closed")
    return sys.stdin.buffer.read(MAX_PRIME_BYTES + 1)


def check_utf8(name: str, value: str) -> None:
    """Raises SettingsError for an argument that is not UTF-8: it arrives with surrogates."""
    for position, character in enumerate(value):
        if 0xD800 <= ord(character) < 0xE000:
            advice = "use --prime-file" if name == "--prime" else "retype it"
            raise SettingsError(
                f"{name}: what stands at position {position} is not UTF-8; {advice}"
            )


def number_of(name: str, kind: type, argument: str) -> Any:
    """Return the number that stands after a command of a session. Raises SettingsError."""
    try:
        return kind(argument)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise SettingsError(f"/{name} {argument}: not a {what}") from None


def in_session(message: str) -> str:
    """Turn a message about an option into one about a command."""
    if message.startswith("--prime "):
        return f"what you typed {message.removeprefix('--prime ')}"
    return f"/{message.removeprefix('--')}" if message.startswith("--") else message

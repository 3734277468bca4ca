"""How the inputs of fuzz.py are altered: bytes, JSON, tensor files, and the runs they are made of."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from pathlib import Path

HERE = Path(__file__).parent


FIXTURES = HERE / "fixtures"


SLOW_S = 30  # of one input: a hang


MOST_MB = 200  # above what the program takes after its first inputs


CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


JUNK = [
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**31,
    2**32,
    2**53,
    2**62,
    2**63,
    2**64,
    10**30,
    1.5,
    -0.0,
    1e308,
    True,
    False,
    None,
    "",
    "x",
    "\0",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "../../../x",
    "/etc/passwd",
    "F32",
    [],
    [[]],
    {},
    {"a": 1},
    [0, 0],
    "9" * 5000,
    "A" * 70000,
]


WORDS = [
    b"\x00",
    b"\xff",
    b"\xfe\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\x1b]52;c;eA==\x07",
    b"\x1b[2J",
    b"\xc2\x9b31m",
    b"\r\n",
    b"\r",
    b"\n",
    b"\n\n",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"e\xcc\x81",
    b"=cmd|' /C calc'!A0",
    b"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9",
    b"<script>",
    b"[/nope]",
    b"[bold]",
    b"%s%n",
    b"$\\frac$",
    b"9" * 400,
    b"a" * 5000,
    b"[" * 3000,
    b"a." * 3000,
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"0x",
    b"{",
    b"}",
    b'"',
    b"'",
    b'"""',
    b"\\",
    b"=",
    b"#",
    b"true",
    b"[model]\n",
    b"[training]\n",
    b"lr = ",
    b"hidden_size = ",
    b"(a+)+$",
    b"(a*)*b",
    b"((a?){99}){99}",
    b"(?i)",
    b"(?P<a>",
    b"(?=",
    b"\\1",
    b"[^\\x00-\\U0010ffff]",
    b"{1,999}",
    b"(?(1)a|b)",
    b"*+",
    b".*.*",
]


# Inputs


def altered(data: bytes, chance: random.Random, most: int = 4) -> bytes:
    """A few bytes or pieces of it changed, cut out, put in, repeated."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(changed) + 1)
        end = min(len(changed), at + chance.choice((1, 1, 2, 4, 16, 100)))
        match chance.randrange(6):
            case 0:
                changed[at:end] = chance.randbytes(end - at)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = chance.choice(WORDS)
            case 3:
                changed[at:end] = chance.choice(WORDS)
            case 4:
                changed[at:at] = changed[at:end] * chance.choice((1, 2, 50))
            case _ if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed[: 1 << 20])


def altered_json(value, chance: random.Random):
    """Somewhere in it, something else: another value, a key less, more, or under another name."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key, value = chance.choice(list(value)), dict(value)
        match chance.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[chance.choice([f"{key}x", "", "\x1b", "model.head.bias"])] = value[key]
            case 2:
                value[key] = chance.choice(JUNK)
            case _:
                value[key] = altered_json(value[key], chance)
        return value
    if isinstance(value, list) and value and chance.random() < 0.8:
        place, value = chance.randrange(len(value)), list(value)
        if chance.random() < 0.3:
            value[place : place + 1] = chance.choice(
                ([], [value[place]] * 2, [chance.choice(JUNK)])
            )
        else:
            value[place] = altered_json(value[place], chance)
        return value
    if type(value) in (int, float) and chance.random() < 0.5:
        return chance.choice((value + 1, value - 1, -value, value * 2, value * 1000, float(value)))
    return chance.choice(JUNK)


def altered_tensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file: bytes anywhere, or header, metadata and numbers each in their own way, mostly with a right digest."""
    if chance.random() < 0.2:
        return altered(data, chance)
    try:
        size = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
        meta = json.loads(header["__metadata__"]["meta"])
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            match chance.randrange(6):
                case 0:
                    about = header.pop("__metadata__")
                    header = altered_json(header, chance) | {"__metadata__": about}
                case 1 if body:
                    at = chance.randrange(0, max(1, len(body) - 8))
                    number = chance.choice(
                        (
                            0.0,
                            -1.0,
                            1e-40,
                            1e30,
                            3.4e38,
                            float("inf"),
                            float("nan"),
                            chance.gauss(0, 100),
                        )
                    )
                    body[at & ~3 : (at & ~3) + 4] = struct.pack("<f", number)
                case 2 if body:
                    body = bytearray(altered(bytes(body), chance))
                case _:
                    digest = meta.pop("sha256", "")
                    meta = {"sha256": digest} | altered_json(meta, chance)
        header = {
            "__metadata__": {"meta": json.dumps(meta, separators=(",", ":"))},
            **{k: v for k, v in header.items() if k != "__metadata__"},
        }
        text = json.dumps(header, separators=(",", ":")).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return altered(data, chance)
    text += b" " * (-len(text) % 8)
    data = bytearray(len(text).to_bytes(8, "little") + text + body)
    found = re.search(rb'\\"sha256\\":\\"([0-9a-f]{64})\\"', data)
    if found and chance.random() < 0.95:
        data[found.start(1) : found.end(1)] = b"0" * 64
        data[found.start(1) : found.end(1)] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


RUNS = sorted(
    str(path.parent.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*/model.safetensors")
)


def files_of(run: Path) -> list[Path]:
    return [*run.glob("checkpoints/*"), *sorted(run.glob("corpus/*")), run / "model.safetensors"]


def file_named(head: bytes) -> Path:
    files = files_of(FIXTURES / RUNS[head[0] % len(RUNS)])
    return files[head[1] % len(files)]

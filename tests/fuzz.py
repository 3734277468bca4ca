"""Fuzzing: files, settings and texts of a stranger, altered at random, given to the program as a person would.

    python tests/fuzz.py model pattern --minutes 10     # targets side by side, a process each; "all" is every one
    python tests/fuzz.py run --only 4711                # one input again, with its traceback

Every input must be refused with one line and exit code 2 or 3, or work: no traceback, no hang, no crash of the process,
no memory to speak of, no control character to a terminal. Input n of a seed is always the same. Where atheris is
installed, `--atheris` lets coverage choose what is altered further; the mutations are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

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


# What is done with them


class Stream(io.TextIOWrapper):
    """A standard stream that says it is a terminal, or not, and keeps what it gets."""

    def __init__(self, encoding: str, is_terminal: bool) -> None:
        super().__init__(
            io.BytesIO(),
            encoding=encoding,
            errors="backslashreplace",
            newline="",
            write_through=True,
        )
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        return self.buffer.getvalue().decode("utf-8", "replace")


class Typed(NamedTuple):
    code: int
    out: str
    err: str


def typed(
    *arguments: object, stdin: bytes = b"", encoding: str = "utf-8", terminal: bool = True
) -> Typed:
    """`charrnn ARGUMENTS` in this process, at a terminal. Raises what the program would have shown as a traceback."""
    from charrnn.cli import main

    before, out, err = (
        (sys.argv, sys.stdin, sys.stdout, sys.stderr),
        Stream(encoding, terminal),
        Stream(encoding, terminal),
    )
    sys.argv, sys.stdout, sys.stderr = ["charrnn", *map(str, arguments)], out, err
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8", "surrogateescape")
    try:
        main.main()
    except SystemExit as done:
        code = done.code
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before
    # What the bar draws is its own: back to the line's beginning, a line up. The name of a file in a message is not.
    return Typed(code, out.text(), re.sub("\r[^\r\n]*?\r|\r|\x1b\\[A", "", err.text()))


def command(*arguments: object, stdin: bytes = b"", allowed: tuple[int, ...] = (0, 2, 3)) -> int:
    """The exit code, if it is an allowed one, with one line of complaint or none, and no control character shown."""
    code, out, err = typed(*arguments, stdin=stdin)
    for shown in (out, err):
        assert not CONTROL.search(shown), (
            f"a control character on the terminal: {CONTROL.search(shown)[0]!r}"
        )
    assert code in allowed, f"exit code {code}: {err[-300:]}"
    complaints = [line for line in err.splitlines() if line.startswith("charrnn: ")]
    assert len(complaints) == (code != 0) and (code == 0 or err.splitlines()[-1] in complaints), (
        f"{code}: {err[-300:]}"
    )
    return code


def refused(call, *arguments, codes=(2, 3), **named):
    """What call returns; None where it refuses as it should."""
    from charrnn.errors import CharrnnError

    error = None
    try:
        return call(*arguments, **named)
    except CharrnnError as caught:
        error = caught
    assert error.exit_code in codes, repr(error)
    assert "\n" not in str(error) and not CONTROL.search(str(error)), repr(str(error))
    return None


class Model:
    """A model file, loaded, sampled and scored."""

    seeds = staticmethod(
        lambda: [path.read_bytes() for path in sorted(FIXTURES.glob("*/*/model.safetensors"))]
    )
    mutate = staticmethod(altered_tensors)

    def __init__(self, folder: Path) -> None:
        self.file = folder / "model.safetensors"

    def run(self, data: bytes, number: int) -> bool:
        from charrnn.modelfile import read_model
        from charrnn.sampling.engine import Sampler

        self.file.write_bytes(data)
        if number % 16 == 0:
            command(
                "sample",
                self.file,
                "-n",
                2,
                "--length",
                20,
                "--seed",
                1,
                "--novel" if number % 32 else "--rank",
            )
            return (
                command(
                    "eval", self.file, "--text", "Ada so", "--no-baselines", "--unknown", "skip"
                )
                == 0
            )
        model = refused(read_model, self.file, codes=(3,))
        if model is None:
            return False
        sampler = refused(Sampler, model)
        for sample in sampler.generate(2, length=9, seed=number):
            assert 0 <= sample.chars <= 9
        refused(sampler.score, "Ada", unknown="skip")
        return True


class Run:
    """A run directory, of which one file is altered, resumed, sampled, scored, fine-tuned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def seeds() -> list[bytes]:
        """Number of the file and run in a byte each, then the file."""
        return [
            bytes((i, j)) + file.read_bytes()
            for i, run in enumerate(RUNS)
            for j, file in enumerate(files_of(FIXTURES / run))
        ]

    @staticmethod
    def mutate(data: bytes, chance: random.Random) -> bytes:
        head, body = data[:2], data[2:]
        file = file_named(head)
        if file.suffix == ".json":
            with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
                about = json.loads(body)
                about.pop("digest", None)
                about = altered_json(about, chance)
                if isinstance(about, dict):
                    about["digest"] = hashlib.sha256(json.dumps(about).encode()).hexdigest()
                return head + json.dumps(about).encode()
        return head + (
            altered_tensors(body, chance)
            if file.suffix in (".safetensors", ".novel")
            else altered(body, chance)
        )

    def run(self, data: bytes, number: int) -> bool:
        from charrnn.modelfile import read_model
        from charrnn.sampling.engine import Sampler
        from charrnn.texts import OpenedRun
        from charrnn.training.session import Request, train

        if len(data) < 2:
            return False
        file, source = file_named(data[:2]), FIXTURES / RUNS[data[0] % len(RUNS)]
        run = self.folder / "run"
        shutil.rmtree(self.folder)
        shutil.copytree(source, run)
        (run / file.relative_to(source)).write_bytes(data[2:])
        if file.suffix == ".ids" and number % 2:  # the description fits again
            [about] = run.glob("corpus/*.json")
            new = json.loads(about.read_text()) | {"sha256": hashlib.sha256(data[2:]).hexdigest()}
            new.pop("digest", None)
            about.write_text(json.dumps(new))
        before = sorted(
            path
            for path in self.folder.rglob("*")
            if path.suffix not in (".tmp", ".damaged") and "run/" not in f"{path}/"
        )
        if number % 8 == 0:
            command("eval", run, "--split", "val")
            command("sample", run, "-n", 2, "--length", 20, "--novel", "--tries", 20, "--seed", 1)
            command(
                "train",
                "--init-from",
                run,
                HERE / "fuzz.py",
                "--mix",
                0.3,
                "--steps",
                1,
                "--run",
                self.folder / "tuned",
                "--threads",
                1,
            )
            code = command(
                "train", "--resume", "--run", run, "--allow-corpus-change", allowed=(0, 2, 3, 4)
            )
        else:
            model = refused(read_model, run, codes=(3,))
            if model is not None:
                known = OpenedRun(model).novelty
                for sample in refused(Sampler, model).generate(1, length=9, seed=1):
                    _ = known and known.is_novel(sample.data)
            layers = () if "ngram" in str(source) else (("--", {"steps": 8}),)
            code = (
                refused(
                    train, Request(run=run, resume=True, layers=layers), Quiet(), codes=(2, 3, 4)
                )
                is None
            )
        after = sorted(
            path
            for path in self.folder.rglob("*")
            if "run/" not in f"{path}/" and "tuned" not in str(path)
        )
        assert before == after, f"written outside the run: {set(after) ^ set(before)}"
        return code == 0


class Quiet:
    """A training.loop.Progress that only looks at what it is told."""

    def say(self, text):
        pass

    def sampled(self, step, text):
        pass

    step = evaluated = lambda self, *rest: None


class Config:
    """A TOML file of settings."""

    seeds = staticmethod(
        lambda: [path.read_bytes() for path in sorted((HERE.parent / "configs").glob("*.toml"))]
    )
    mutate = staticmethod(lambda data, chance: altered(data, chance, 6))

    def __init__(self, folder: Path) -> None:
        self.file = folder / "my.toml"

    def run(self, data: bytes, number: int) -> bool:
        from charrnn.config import resolve
        from charrnn.layers import toml_layer

        self.file.write_bytes(data)
        if number % 16 == 0:
            return command("train", "--config", self.file, "--print-config", allowed=(0, 2)) == 0
        layer = refused(toml_layer, str(self.file), codes=(2,))
        return layer is not None and refused(resolve, [layer], codes=(2,)) is not None


class Corpus:
    """A text file: surveyed, split, checked, counted. Its first byte chooses how."""

    ENCODINGS = ("utf-16", "utf-7", "utf-8-sig", "shift_jis", "unicode_escape", "idna")
    HOW = (
        {},
        {"mode": "lines"},
        {"mode": "stream"},
        {"unit": "byte"},
        {"errors": "replace"},
        {"normalize": "nfc", "newlines": "lf"},
        {"encoding": "latin-1", "mode": "lines", "deduplicate": False},
        *({"encoding": name} for name in ENCODINGS),
    )
    mutate = staticmethod(
        lambda data, chance: bytes([chance.randrange(256)]) + altered(data[1:], chance, 8)
    )

    @staticmethod
    def seeds() -> list[bytes]:
        names = b"".join(
            b"%s\n" % name
            for name in b"Ada Ali Ann Ben Bob Cal Dan Eva Fay Gus Ian Ida Jan Joe Kim Lea Leo Lou Max Mia".split()
        )
        return [
            b"\0" + text
            for text in (
                names,
                b"so it goes on and on, as it has gone on so far. " * 9,
                "é漢😀\n".encode() * 40,
                names.decode().encode("utf-16"),
            )
        ]

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "text.txt"

    def run(self, data: bytes, number: int) -> bool:
        from charrnn.config import resolve
        from charrnn.insight.cooccur import count_text
        from charrnn.text import building

        how = self.HOW[(data[:1] or b"\0")[0] % len(self.HOW)]
        self.file.write_bytes(data[1:])
        flags = [
            f"--{key}={value}"
            for key, value in how.items()
            if key in ("mode", "encoding", "errors")
        ]
        if number % 16 == 0:
            command(
                "train", self.file, "--check", *flags, *(["--unit=byte"] if "unit" in how else [])
            )
            return (
                command(
                    "cooccur",
                    self.file,
                    "--csv",
                    self.folder / "out.csv",
                    *(["--words"] if number % 32 else []),
                    *flags,
                )
                == 0
            )
        settings = resolve([("--", how)])[0].text
        found = refused(building.survey, str(self.file), settings, 1, codes=(3,))
        if found is None:
            return False
        refused(count_text, str(self.file), settings, words=number % 2 > 0, codes=(3,))
        made = refused(building.build, found, settings, 1, self.folder / "corpus", codes=(3,))
        shutil.rmtree(self.folder / "corpus", ignore_errors=True)
        return made is not None


class Prompt:
    """What is typed after --prime, --until, --text, or lies in a --prime-file. The first byte chooses."""

    seeds = staticmethod(
        lambda: [
            b"\0Ad",
            b"\1so it",
            b"\2Anna\nBob",
            b"\3Eva",
            b"\4a",
            b"\5/temp 0.5",
            b"\5\n/again\n/fork x\n/back x\n/text\n",
        ]
    )
    mutate = staticmethod(
        lambda data, chance: bytes([chance.randrange(8)]) + altered(data[1:], chance)
    )

    def __init__(self, folder: Path) -> None:
        from charrnn.sampling.engine import load

        self.file, self.samplers = folder / "prime.txt", {run: load(FIXTURES / run) for run in RUNS}

    def run(self, data: bytes, number: int) -> bool:
        run = RUNS[number % len(RUNS)]
        which, text = (data[:1] or b"\0")[0] % 6, os.fsdecode(data[1:].replace(b"\0", b""))
        unknown = ("error", "skip", "replace")[number % 3]
        sampler = self.samplers[run]
        if which == 0 and number % 8:
            samples = refused(
                sampler.generate,
                1,
                prime=text,
                until=text[:2],
                length=5,
                seed=1,
                unknown=unknown,
                codes=(2,),
            )
            return samples is not None and bool(list(samples))
        if which == 1 and number % 8:
            return refused(sampler.score, text, unknown=unknown, codes=(3,)) is not None
        self.file.write_bytes(data[1:])
        common = (
            "sample",
            FIXTURES / run,
            "-n",
            1,
            "--length",
            9,
            "--seed",
            1,
            "--unknown",
            unknown,
        )
        if which == 2:
            return (
                command(
                    "eval",
                    FIXTURES / run,
                    f"--text={text}",
                    "--unknown",
                    unknown,
                    *(["--per-char"] if number % 2 else ["--rank"]),
                )
                == 0
            )
        if which == 3:
            return command(*common, "--prime-file", self.file) == 0
        if which == 4:
            return command(*common, f"--until={text}", f"--prime={text}") == 0
        asked = (
            "sample",
            FIXTURES / run,
            "--interactive",
            "--length",
            9,
            "--seed",
            1,
            "--unknown",
            unknown,
        )
        return command(*asked, stdin=data[1:]) == 0


class Pattern:
    """A regular expression after --matching, looked for in names and in longer texts."""

    seeds = staticmethod(
        lambda: [
            b"^[A-M].*a$",
            b"(a|b)+c?",
            b"(?P<x>a)(?P=x)|\\bAda\\b",
            b"[^\\d\\s]{2,5}",
            b"(?i:ann)(?!a)",
        ]
    )
    mutate = staticmethod(lambda data, chance: altered(data, chance, 5))

    def __init__(self, folder: Path) -> None:
        from charrnn.sampling import constraints

        constraints.PATTERN_S = 0.2

    def run(self, data: bytes, number: int) -> bool:
        from charrnn.sampling.constraints import Constraints

        text = os.fsdecode(data.replace(b"\0", b""))
        if number % 32 == 0:
            return (
                command(
                    "sample",
                    FIXTURES / RUNS[0],
                    "-n",
                    1,
                    "--length",
                    30,
                    "--seed",
                    1,
                    "--tries",
                    3,
                    f"--matching={text}",
                    allowed=(0, 2),
                )
                == 0
            )
        found = refused(Constraints, matching=text, codes=(2,))
        for each in ("Ada", "a" * 1000, "so it goes on, \n" * 60) if found is not None else ():
            refused(found.matches, each, codes=(2,))
        return found is not None


RUNS = sorted(
    str(path.parent.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*/model.safetensors")
)
TARGETS = {
    "model": Model,
    "run": Run,
    "config": Config,
    "corpus": Corpus,
    "prompt": Prompt,
    "pattern": Pattern,
}


def files_of(run: Path) -> list[Path]:
    return [*run.glob("checkpoints/*"), *sorted(run.glob("corpus/*")), run / "model.safetensors"]


def file_named(head: bytes) -> Path:
    files = files_of(FIXTURES / RUNS[head[0] % len(RUNS)])
    return files[head[1] % len(files)]


# Running them


def one_input(target, seeds: list[bytes], seed: int, number: int) -> bytes:
    chance = random.Random(f"{seed} {number}")
    data = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 2))):
        data = target.mutate(data, chance)
    return data


def work(name: str, seed: int, seconds: float, first: int, report: Path, inputs: int) -> None:
    """Give a target its inputs until the time is over; after each, what has been found is in report."""
    import torch

    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        open(report, "r+b", buffering=0) as told,
    ):
        target, ends, faults = TARGETS[name](Path(folder, "x")), Counter(), []
        Path(folder, "x").mkdir()
        seeds = target.seeds()
        for place, whole in enumerate(seeds):  # what is whole must work
            target.run(whole, 16 * place)
        start, began, number = peak_mb(), time.monotonic(), first
        signal.signal(signal.SIGALRM, hang)
        while time.monotonic() - began < seconds and number < inputs:
            data = one_input(target, seeds, seed, number)
            signal.setitimer(signal.ITIMER_REAL, SLOW_S)
            before = peak_mb()
            try:
                ends["worked" if target.run(data, number) else "refused"] += 1
            except BaseException as error:
                ends["hangs" if isinstance(error, Hang) else "crashes"] += 1
                faults.append([number, "".join(traceback.format_exception_only(error))[:400]])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if peak_mb() - before > MOST_MB / 4:
                faults.append([number, f"took {peak_mb() - before:.0f} MB more than any before"])
            number += 1
            found = {
                "next": number,
                "ends": ends,
                "faults": faults[:50],
                "peak_mb": round(peak_mb() - start, 1),
            }
            line = json.dumps(found).encode()
            os.pwrite(told.fileno(), line.ljust(1 << 16), 0)


class Hang(BaseException):
    pass


def hang(number, frame):
    raise Hang(f"over {SLOW_S} s")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def supervise(names: list[str], seed: int, seconds: float, inputs: int) -> int:
    """A process for each target; one that dies is counted, and another goes on behind the input that killed it."""
    until, total, code = time.monotonic() + seconds, {name: Counter() for name in names}, 0
    faults: dict[str, list] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        reports = {name: Path(folder, name) for name in names}

        def start(name: str, first: int) -> subprocess.Popen:
            reports[name].write_bytes(
                json.dumps({"next": first, "ends": {}, "faults": [], "peak_mb": 0})
                .encode()
                .ljust(1 << 16)
            )
            left = max(0.0, until - time.monotonic())
            numbers = {
                "--seed": seed,
                "--minutes": left / 60,
                "--first": first,
                "--inputs": inputs,
                "--work": reports[name],
            }
            options = [str(word) for pair in numbers.items() for word in pair]
            return subprocess.Popen([sys.executable, __file__, name, *options])

        running = {name: start(name, 0) for name in names}
        while running:
            for name, process in list(running.items()):
                if process.poll() is None:
                    continue
                told = json.loads(reports[name].read_bytes())
                total[name].update(told["ends"])
                total[name]["peak_mb"] = max(total[name]["peak_mb"], told["peak_mb"])
                faults[name] += told["faults"]
                del running[name]
                if process.returncode:
                    total[name]["crashes"] += 1
                    faults[name].append(
                        [told["next"], f"the process ended with {process.returncode}"]
                    )
                    if time.monotonic() < until and told["next"]:
                        running[name] = start(name, told["next"] + 1)
            time.sleep(0.2)
    for name in names:
        ends = total[name]
        inputs = sum(ends[key] for key in ("worked", "refused", "crashes", "hangs"))
        told = "  ".join(
            f"{key} {ends[key]:,}" for key in ("worked", "refused", "crashes", "hangs")
        )
        print(f"{name:<8} inputs {inputs:,}  {told}  peak {ends['peak_mb']:.1f} MB over the start")
        for number, what in faults[name]:
            print(f"    --only {number}: {what.strip()}")
        code |= bool(faults[name]) or ends["peak_mb"] > MOST_MB
    return int(code)


def with_atheris(name: str, seed: int, seconds: float) -> None:
    """Coverage-guided (libFuzzer); ends with the process. A fault is written to ./crash-*."""
    import atheris

    with atheris.instrument_imports(include=["charrnn", "tomllib", "json"]):
        import charrnn.cli.main
        import charrnn.scoring.evaluation
        import charrnn.training.session  # noqa: F401
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "x").mkdir()
    target, count = TARGETS[name](folder / "x"), iter(range(1 << 60))
    (folder / "seeds").mkdir()
    for place, data in enumerate(target.seeds()):
        (folder / f"seeds/{place}").write_bytes(data)

    def mutator(data: bytes, max_size: int, number: int) -> bytes:
        return target.mutate(data, random.Random(number))[:max_size]

    options = [
        f"-seed={seed + 1}",
        f"-max_total_time={seconds:.0f}",
        "-max_len=200000",
        f"-timeout={0 if name == 'pattern' else SLOW_S}",  # whose own clock is the same one
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *options, str(folder / "seeds")],
        lambda data: target.run(data, next(count)) and None,
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "targets",
        nargs="+",
        choices=[*TARGETS, "all"],
        metavar="TARGET",
        help=f"all, or some of {', '.join(TARGETS)}",
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--inputs", type=int, default=1 << 60, help="at most so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", type=int, help="this input alone, with its traceback; it stays in ./fuzz-input"
    )
    parser.add_argument("--atheris", action="store_true", help="coverage-guided, one target")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "TERM": "dumb",
    }  # no bold from rich: what is left of escapes is the text's
    names = list(TARGETS) if "all" in asked.targets else asked.targets
    sys.path.insert(0, str(HERE.parent))
    if asked.work:
        work(names[0], asked.seed, 60 * asked.minutes, asked.first, asked.work, asked.inputs)
    elif asked.only is not None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            target = TARGETS[names[0]](Path(folder, "x"))
            Path(folder, "x").mkdir()
            data = one_input(target, target.seeds(), asked.seed, asked.only)
            Path("fuzz-input").write_bytes(data)
            print("worked" if target.run(data, asked.only) else "refused")
    elif asked.atheris:
        with_atheris(names[0], asked.seed, 60 * asked.minutes)
    else:
        return supervise(names, asked.seed, 60 * asked.minutes, asked.inputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

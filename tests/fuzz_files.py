"""Targets of fuzz.py that are files: a model, a run; and how a call is refused."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from fuzz_inputs import (
    CONTROL,
    FIXTURES,
    HERE,
    RUNS,
    altered,
    altered_json,
    altered_tensors,
    file_named,
    files_of,
)

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
    """`charrnn ARGUMENTS` in this process, at a terminal that is wider than any message.

    Raises what the program would have shown as a traceback.
    """
    from charrnn.cli import main

    before, out, err = (
        (sys.argv, sys.stdin, sys.stdout, sys.stderr),
        Stream(encoding, terminal),
        Stream(encoding, terminal),
    )
    sys.argv, sys.stdout, sys.stderr = ["charrnn", *map(str, arguments)], out, err
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8", "surrogateescape")
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "40000"
    try:
        main.main()
    except SystemExit as done:
        code = done.code
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before
    # What the bar draws is its own: back to the line's beginning, a line up. The name of a file in
    # a message is not.
    return Typed(code, out.text(), re.sub("\r[^\r\n]*?\r|\r|\x1b\\[A", "", err.text()))


def command(*arguments: object, stdin: bytes = b"", allowed: tuple[int, ...] = (0, 2, 3)) -> int:
    """The exit code, if it is an allowed one, with one line of complaint or none, and no control
    character shown.
    """
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


class Quiet:
    """A training.listener.Progress that only looks at what it is told."""

    def say(self, text):
        pass

    def sampled(self, step, text):
        pass

    started = step = evaluated = saved = ended = close = lambda self, *rest: None

    def stop_reason(self):
        return ""


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

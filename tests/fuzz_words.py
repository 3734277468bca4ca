"""Targets of fuzz.py that are words: settings, texts, prompts, patterns."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fuzz_files import Model, Run, command, refused
from fuzz_inputs import FIXTURES, HERE, RUNS, altered


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


TARGETS = {
    "model": Model,
    "run": Run,
    "config": Config,
    "corpus": Corpus,
    "prompt": Prompt,
    "pattern": Pattern,
}

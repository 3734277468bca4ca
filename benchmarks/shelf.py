"""The texts of benchmarks/corpora.py: what they are, which half they belong to, how they are made.

A text comes from a folder of texts, from this repository, from Python's library, from packages that
charrnn needs, or from the messages that Debian's programs bring. The same files give the same text.
Its last tenth is the test text; a list is shuffled first, with each line once.
"""

from __future__ import annotations

import ast
import gettext
import importlib.metadata
import re
import sys
import sysconfig
import unicodedata
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
LICENCES = Path("/usr/share/common-licenses")
MESSAGES = Path("/usr/share/locale")
MOST_CHARS = 5_000_000
SEED = 19  # of the order of lists


Folders = Sequence[Path]  # of texts that are no part of the project


class Missing(Exception):
    """Says what a text needs and this machine does not have."""


class Text(NamedTuple):
    """A text of the suite. is_list: its lines may come in any order."""

    half: str
    is_list: bool
    content: Callable[[Folders], Iterable[str]]  # lines, or pieces


class Halves(NamedTuple):
    """The nine tenths that are learnt from, and the tenth that is scored."""

    train: str
    test: str


def halves(name: str, folders: Folders) -> Halves:
    """Return a text of the table, divided. Raises Missing."""
    text = TEXTS[name]
    if not text.is_list:
        whole = _joined(text.content(folders))
        edge = len(whole) * 9 // 10
        return Halves(whole[:edge], whole[edge:])
    lines = list(dict.fromkeys(line for line in text.content(folders) if line))
    order = np.random.default_rng(SEED).permutation(len(lines))
    edge = len(lines) * 9 // 10
    return Halves(_lines(lines, order[:edge]), _lines(lines, order[edge:]))


def _joined(pieces: Iterable[str]) -> str:
    """Join pieces up to MOST_CHARS."""
    taken: list[str] = []
    room = MOST_CHARS
    for piece in pieces:
        taken.append(piece[:room])
        room -= len(taken[-1])
        if not room:
            break
    return "".join(taken)


def _lines(lines: list[str], order: np.ndarray) -> str:
    """Return the lines of these numbers, each with its end."""
    return "".join(f"{lines[number]}\n" for number in order)


# What the texts are made of. Each takes the folders of texts; most do not need them.


def given(name: str, folders: Folders) -> list[str]:
    """Return a file of the folders of texts, in one piece."""
    return [_read(_found(name, folders))]


def given_lines(name: str, folders: Folders) -> list[str]:
    """Return the lines of a file of the folders of texts."""
    return _read(_found(name, folders)).splitlines()


def shipped_lines(name: str, count: int, folders: Folders) -> list[str]:
    """Return lines of a list that comes with charrnn, taken evenly from it."""
    lines = _read(ROOT / "corpora" / name).splitlines()
    return lines[:: len(lines) // count][:count]


def package_names(folders: Folders) -> list[str]:
    """Return 60,000 names from a list of Python's packages, taken evenly from it."""
    rows = _read(_found("pypi.tsv", folders)).splitlines()[1:]
    every = max(1, len(rows) // 60_000)
    return [row.partition("\t")[0] for row in rows[::every]][:60_000]


def licence(path: Path, folders: Folders) -> list[str]:
    """Return a licence of this machine."""
    return [_read(path)]


def zen(folders: Folders) -> list[str]:
    """Return the Zen of Python, which Python's library keeps with its letters moved by 13."""
    source = _read(LIBRARY / "this.py")
    moved = source.split('"""')[1]
    letters = "abcdefghijklmnopqrstuvwxyz"
    turned = letters[13:] + letters[:13]
    return [moved.translate(str.maketrans(letters + letters.upper(), turned + turned.upper()))]


def topics(folders: Folders) -> list[str]:
    """Return the chapters of Python's language reference that `help` prints."""
    from pydoc_data.topics import topics as chapters

    return [chapters[title] for title in sorted(chapters)]


def python_source(folders: Folders) -> Iterator[str]:
    """Yield the modules at the top of Python's library, up to 1.1 million characters."""
    room = 1_100_000
    for path in sorted(LIBRARY.glob("*.py")):
        source = _read(path)[:room]
        room -= len(source)
        yield source


def identifiers(folders: Folders) -> list[str]:
    """Return 8,000 names that Python's library uses, taken evenly from their sorted list."""
    sources = (_read(path) for path in sorted(LIBRARY.glob("*.py")))
    names = {name for source in sources for name in re.findall(r"[A-Za-z_]\w{3,}", source)}
    return sorted(names)[:: max(1, len(names) // 8_000)][:8_000]


def docstrings(folders: Folders) -> Iterator[str]:
    """Yield numpy's docstrings, in the order of its files."""
    for path in sorted(_package("numpy").rglob("*.py")):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(_read(path))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{text}\n\n"


def headers(folders: Folders) -> Iterator[str]:
    """Yield the C++ headers that come with torch."""
    folder = _package("torch") / "include"
    if not folder.is_dir():
        raise Missing("torch was installed without its headers")
    yield from map(_read, sorted(folder.rglob("*.h")))


def paths(folders: Folders) -> list[str]:
    """Return the paths of the files of numpy and torch, without headers."""
    files: list[str] = []
    for name in ("numpy", "torch"):
        files += map(str, importlib.metadata.files(name) or ())
    return sorted(path for path in files if not path.endswith((".h", ".hpp", ".pyc")))


def zones(folders: Folders) -> list[str]:
    """Return the names of the time zones."""
    return sorted(zoneinfo.available_timezones())


def unicode_names(folders: Folders) -> Iterator[str]:
    """Yield the names of all characters but ideographs and Hangul, which are numbered."""
    for code in range(sys.maxunicode + 1):
        name = unicodedata.name(chr(code), "")
        if name and "IDEOGRAPH" not in name and not name.startswith("HANGUL SYLLABLE"):
            yield name


def messages(pattern: str, folders: Folders) -> list[str]:
    """Return messages of the programs here, each once, in a fixed random order.

    pattern: of catalogues in MESSAGES.
    """
    paths = sorted(MESSAGES.glob(pattern))
    if len(paths) < 20:
        raise Missing(f"only {len(paths)} catalogues of messages match {pattern}")
    distinct: set[str] = set()
    for path in paths:
        with path.open("rb") as file:
            try:
                catalogue = gettext.GNUTranslations(file)
            except (OSError, ValueError, IndexError):
                continue  # a few have an encoding or a header that Python does not read
        translations: dict[str, str] = vars(catalogue)["_catalog"]
        distinct.update(text for key, text in translations.items() if key)
    ordered = sorted(distinct)
    order = np.random.default_rng(SEED).permutation(len(ordered))
    return [f"{ordered[number]}\n" for number in order]


def _found(name: str, folders: Folders) -> Path:
    """Return the first file of this name in the folders of texts. Raises Missing."""
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise Missing(f"{name} is in no folder of --data")


def _read(path: Path) -> str:
    """Return a file's text with LF at its lines' ends. Raises Missing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise Missing(f"{path.name} is not on this machine") from None


def _package(name: str) -> Path:
    """Return the folder of an installed package."""
    return Path(str(importlib.metadata.distribution(name).locate_file(name)))


# The first half chooses the recipe; the second is looked at only to report.
TEXTS = {
    "thousand-names": Text("choose", True, partial(shipped_lines, "names.txt", 1000)),
    "psf-licence": Text("choose", False, partial(licence, LIBRARY / "LICENSE.txt")),
    "tang-poems": Text("choose", False, partial(given, "tang300.txt")),
    "identifiers": Text("choose", True, identifiers),
    "makemore-names": Text("choose", True, partial(given_lines, "names-makemore.txt")),
    "topics": Text("choose", False, topics),
    "paths": Text("choose", True, paths),
    "shakespeare": Text("choose", False, partial(given, "tinyshakespeare.txt")),
    "python-source": Text("choose", False, python_source),
    "kernel-c": Text("choose", False, partial(given, "linux-kernel.c")),
    "russian": Text("choose", False, partial(messages, "ru/LC_MESSAGES/*.mo")),
    "all-languages": Text("choose", False, partial(messages, "*/LC_MESSAGES/g*.mo")),
    "zen": Text("report", False, zen),
    "time-zones": Text("report", True, zones),
    "gpl": Text("report", False, partial(licence, LICENCES / "GPL-3")),
    "surnames": Text("report", True, partial(shipped_lines, "surnames.txt", 20_000)),
    "korean": Text("report", False, partial(messages, "ko/LC_MESSAGES/*.mo")),
    "chinese": Text("report", False, partial(messages, "zh_CN/LC_MESSAGES/*.mo")),
    "english-words": Text("report", True, partial(given_lines, "words-american.txt")),
    "package-names": Text("report", True, package_names),
    "unicode-names": Text("report", True, unicode_names),
    "docstrings": Text("report", False, docstrings),
    "latex": Text("report", False, partial(given, "stacks-algebra.tex")),
    "headers": Text("report", False, headers),
}

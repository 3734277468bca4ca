"""How much of a text's structure samples keep: brackets, quotes, environments, functions, words; how varied they are.

Pieces of a stream begin and end anywhere, inside brackets too, so no count here is 100 % even of real text: every
share is meant to be read beside that of real pieces of the same length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.text.corpus import Corpus
from charrnn.text.matching import distinct

BRACKETS = ("()", "[]", "{}", "“”", "«»")
DISTINCT = (1, 2, 3, 4, 5)  # lengths of n-grams
SIGNS = ('"', "$")  # the same sign opens and closes
LEAST = (
    20  # a structure that real pieces show less often is not reported: its share would be chance
)
_ENVIRONMENT = re.compile(r"\\(begin|end)\{([^{}\n]*)\}")
_NO_FUNCTION = (
    "",
    " ",
    "\t",
    "}",
    "#",
    "/",
    "*",
    "\\",
    "%",
)  # first signs of a line: inside of one, comments, LaTeX
_WORD = re.compile(r"[^\W\d_]+")


@dataclass
class Share:
    """good of all."""

    good: int = 0
    all: int = 0

    def add(self, good: int, all_: int) -> None:
        self.good += good
        self.all += all_

    @property
    def value(self) -> float | None:
        return self.good / self.all if self.all else None


def structure_report(
    sets: dict[float, list[str]], held: list[str], dictionary: set[str] | None, *, whole: bool
) -> dict[str, Any]:
    """Shares by structure, of held-out pieces and of each temperature's; what real pieces rarely have is left out."""
    real = shares(held, dictionary, whole=whole)
    found = {
        temperature: shares(texts, dictionary, whole=whole) for temperature, texts in sets.items()
    }
    return {
        name: {
            "held_out": share.value,
            "held_out_of": share.all,
            "by_temperature": {
                f"{t:g}": {"share": each[name].value, "of": each[name].all}
                for t, each in found.items()
            },
        }
        for name, share in real.items()
        if share.all >= LEAST
    }


def shares(pieces: Iterable[str], dictionary: set[str] | None, *, whole: bool) -> dict[str, Share]:
    """Each structure's share over all pieces, by name; whole: no piece begins or ends in the middle of something.

    "()", "[]" ...    brackets that have a partner in the piece; one closes only what was opened last
    "crossed"         closing brackets that surely close the wrong one: another kind stands open since
    '"', "$"          paragraphs with an even number of them, among those that have any
    "environments"    \\begin and \\end that have a partner of the same name in the piece
    "environments_closed"  those that close, of those whose fate the piece decides: none that its ends cut
    "functions"       see functions()
    "words"           words that the dictionary has
    """
    found = {
        name: Share()
        for name in (
            *BRACKETS,
            "crossed",
            *SIGNS,
            "environments",
            "environments_closed",
            "functions",
        )
    }
    if dictionary is not None:
        found["words"] = Share()
    for piece in pieces:
        partnered, crossed, _ = paired(_brackets(piece))
        for kind in BRACKETS:
            found[kind].add(partnered.get(kind, 0), piece.count(kind[0]) + piece.count(kind[1]))
        closers = sum(piece.count(kind[1]) for kind in BRACKETS)
        found["crossed"].add(crossed, closers)
        tokens = [(name, word == "begin") for word, name in _ENVIRONMENT.findall(piece)]
        partnered, _, broken = paired(tokens)
        closed = sum(partnered.values())
        found["environments"].add(closed, len(tokens))
        found["environments_closed"].add(closed // 2, closed // 2 + broken)
        found["functions"].add(*functions(piece))
        paragraphs = re.split(r"\n[ \t]*\n", piece)
        for sign in SIGNS:
            counts = [
                paragraph.count(sign) for paragraph in (paragraphs if whole else paragraphs[1:-1])
            ]
            found[sign].add(sum(n % 2 == 0 for n in counts if n), sum(n > 0 for n in counts))
        if dictionary is not None:
            words = list(words_of(piece))
            words = words if whole else words[1:-1]
            found["words"].add(sum(word in dictionary for word in words), len(words))
    return found


def distinct_report(
    pieces: list[np.ndarray], held: list[np.ndarray], corpus: Corpus
) -> dict[str, Any]:
    """Different n-grams of all, of equally much text of both: a longer text repeats more."""
    report: dict[str, Any] = {}
    ours, theirs = _equally_much(pieces, held)
    for n, (pair, real) in enumerate(
        zip(distinct(ours, DISTINCT).values(), distinct(theirs, DISTINCT).values(), strict=True), 1
    ):
        report[f"chars_{n}"] = {"samples": Share(*pair).value, "held_out": Share(*real).value}
    if corpus.mode == "stream":
        texts = [
            [list(words_of(corpus.vocabulary.decode(piece))) for piece in each]
            for each in (ours, theirs)
        ]
        for n in (1, 2):
            grams = [
                [tuple(words[i : i + n]) for words in each for i in range(len(words) - n + 1)]
                for each in texts
            ]
            report[f"words_{n}"] = dict(
                zip(
                    ("samples", "held_out"),
                    (Share(len(set(each)), len(each)).value for each in grams),
                    strict=True,
                )
            )
    return report | {"chars": sum(map(len, ours))}


def _equally_much(
    pieces: list[np.ndarray], others: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first pieces of both that together have the same number of ids; the last one is cut."""
    least = min(sum(map(len, pieces)), sum(map(len, others)))
    cut = []
    for each in (pieces, others):
        ends = np.cumsum([len(piece) for piece in each])
        cut.append(
            [
                piece[: max(0, least - (end - len(piece)))]
                for piece, end in zip(each, ends, strict=True)
            ]
        )
    return cut[0], cut[1]


def paired(tokens: Iterable[tuple[str, bool]]) -> tuple[dict[str, int], int, int]:
    """tokens: kind, and whether it opens. How many of each kind have a partner, how many closers close wrongly, and
    how many are surely broken.

    A closer belongs to what was opened last. If that is another kind, it is crossed: all that was opened since its own
    kind was, and that too, is given up and broken; if its own kind is not open, it is itself broken. With nothing open
    it may have been opened before the piece, and what stays open at the end may be closed after it: these have no
    partner, but are neither crossed nor broken.
    """
    partnered: dict[str, int] = {}
    crossed, broken, open_ = 0, 0, list[str]()
    for kind, opens in tokens:
        if opens:
            open_.append(kind)
        elif open_ and open_[-1] == kind:
            open_.pop()
            partnered[kind] = partnered.get(kind, 0) + 2
        elif open_:
            crossed += 1
            broken += 1
            if kind in open_:
                while open_.pop() != kind:
                    broken += 1
    return partnered, crossed, broken


def functions(piece: str) -> tuple[int, int]:
    """C functions of a piece whose braces balance, and all of them.

    A function (or another block: struct, enum) begins with a line at column 0 that ends in `{` and ends with the next
    `}` at column 0. It balances if that brace closes the first one. One that another begins inside of does not; one
    that the piece cuts off at its end is not counted. Braces in strings and comments count as braces.
    """
    balanced = all_ = 0
    depth: int | None = None  # None: outside
    for line in piece.split("\n")[:-1]:  # the last line may be cut
        begins = line[:1] not in _NO_FUNCTION and line.rstrip().endswith("{")
        if begins and depth is not None:
            all_ += 1
            depth = None
        if depth is None and not begins:
            continue
        depth = (depth or 0) + line.count("{") - line.count("}")
        if line.startswith("}"):
            all_ += 1
            balanced += depth == 0
            depth = None
        elif depth <= 0:
            depth = -(1 << 40)  # closed too early: it cannot balance any more
    return balanced, all_


def dictionary_of(chunks: Iterable[bytes]) -> set[str]:
    """The words of a text in UTF-8 that comes in chunks, which may cut words."""
    words, rest = set[str](), b""
    for data in chunks:
        data = rest + data
        cut = max(data.rfind(b"\n"), data.rfind(b" ")) + 1 or len(data)
        words.update(words_of(data[:cut].decode("utf-8", "replace")))
        rest = data[cut:]
    return words.union(words_of(rest.decode("utf-8", "replace")))


def words_of(text: str) -> Iterator[str]:
    """Runs of letters, in small letters."""
    return (match[0].lower() for match in _WORD.finditer(text))


def _brackets(piece: str) -> Iterator[tuple[str, bool]]:
    for match in _BRACKET.finditer(piece):
        yield _KIND[match[0]], match[0] == _KIND[match[0]][0]


_KIND = {sign: kind for kind in BRACKETS for sign in kind}
_BRACKET = re.compile("[" + re.escape("".join(BRACKETS)) + "]")

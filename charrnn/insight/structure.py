"""How much of a text's structure samples keep, and how varied they are.

Pieces of a stream begin and end anywhere, inside brackets too. So no share here is 100 %, even of
real text: every one is read beside that of real pieces of the same length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.insight.card import Comparison, Distinct, PartOf, Structure, ratio
from charrnn.text.corpus import Corpus
from charrnn.text.matching import distinct
from charrnn.text.words import letters_pattern

BRACKETS = ("()", "[]", "{}", "“”", "«»")
DISTINCT = (1, 2, 3, 4, 5)  # lengths of n-grams
SIGNS = ('"', "$")  # the same sign opens and closes
LEAST = 20  # a structure that real pieces show less often is left out: its share would be chance
_ENVIRONMENT = re.compile(r"\\(begin|end)\{([^{}\n]*)\}")
# First signs of a line that begins no function: inside one, in a comment, of LaTeX.
_NO_FUNCTION = ("", " ", "\t", "}", "#", "/", "*", "\\", "%")


@dataclass
class Share:
    """How many of all are good."""

    good: int = 0
    all: int = 0

    def add(self, good: int, all_: int) -> None:
        self.good += good
        self.all += all_

    @property
    def value(self) -> float | None:
        return ratio(self.good, self.all)


def structure_report(
    sets: dict[float, list[str]], held: list[str], dictionary: set[str] | None, *, whole: bool
) -> dict[str, Structure]:
    """Each structure's share in held-out pieces and in the pieces of each temperature.

    What real pieces rarely have is left out.
    """
    real = shares(held, dictionary, whole=whole)
    written = {t: shares(texts, dictionary, whole=whole) for t, texts in sets.items()}
    report = {}
    for name, share in real.items():
        if share.all >= LEAST:
            by_temperature = {
                f"{t:g}": PartOf(here[name].value, here[name].all) for t, here in written.items()
            }
            report[name] = Structure(share.value, share.all, by_temperature)
    return report


def shares(pieces: Iterable[str], dictionary: set[str] | None, *, whole: bool) -> dict[str, Share]:
    """Each structure's share over all pieces, by name.

    whole: no piece begins or ends in the middle of something.

    "()", "[]" ...        brackets that have a partner in the piece; one closes what opened last
    "crossed"             closers that surely close the wrong kind: another stands open since
    '"', "$"              paragraphs with an even number of them, among those that have any
    "environments"        \\begin and \\end that have a partner of the same name in the piece
    "environments_closed" environments that close, of those that the piece's ends do not cut
    "functions"           see functions()
    "words"               words that the dictionary has
    """
    names = (*BRACKETS, "crossed", *SIGNS, "environments", "environments_closed", "functions")
    table = {name: Share() for name in names}
    if dictionary is not None:
        table["words"] = Share()
    for piece in pieces:
        _add_brackets(table, piece)
        _add_environments(table, piece)
        table["functions"].add(*functions(piece))
        paragraphs = re.split(r"\n[ \t]*\n", piece)
        if not whole:
            paragraphs = paragraphs[1:-1]
        _add_signs(table, paragraphs)
        if dictionary is not None:
            words = list(words_of(piece))
            if not whole:
                words = words[1:-1]
            table["words"].add(sum(word in dictionary for word in words), len(words))
    return table


def _add_brackets(table: dict[str, Share], piece: str) -> None:
    partnered, crossed, _ = paired(_brackets(piece))
    for kind in BRACKETS:
        table[kind].add(partnered.get(kind, 0), piece.count(kind[0]) + piece.count(kind[1]))
    closers = sum(piece.count(kind[1]) for kind in BRACKETS)
    table["crossed"].add(crossed, closers)


def _add_environments(table: dict[str, Share], piece: str) -> None:
    tokens = [(name, word == "begin") for word, name in _ENVIRONMENT.findall(piece)]
    partnered, _, broken = paired(tokens)
    closed = sum(partnered.values())
    table["environments"].add(closed, len(tokens))
    table["environments_closed"].add(closed // 2, closed // 2 + broken)


def _add_signs(table: dict[str, Share], paragraphs: list[str]) -> None:
    for sign in SIGNS:
        counts = [paragraph.count(sign) for paragraph in paragraphs]
        table[sign].add(sum(n % 2 == 0 for n in counts if n), sum(n > 0 for n in counts))


def distinct_report(pieces: list[np.ndarray], held: list[np.ndarray], corpus: Corpus) -> Distinct:
    """Different n-grams among all, of equally much text of both: a longer text repeats more."""
    written, real = _equally_much(pieces, held)
    written_counts = distinct(written, DISTINCT)
    real_counts = distinct(real, DISTINCT)
    table = {
        f"chars_{n}": Comparison(ratio(*written_counts[n]), ratio(*real_counts[n]))
        for n in DISTINCT
    }
    if corpus.mode == "stream":
        decode = corpus.vocabulary.decode
        written_words = [list(words_of(decode(piece))) for piece in written]
        real_words = [list(words_of(decode(piece))) for piece in real]
        for n in (1, 2):
            table[f"words_{n}"] = Comparison(
                _distinct_words(written_words, n), _distinct_words(real_words, n)
            )
    return Distinct(table, sum(map(len, written)))


def _distinct_words(texts: list[list[str]], n: int) -> float | None:
    """Different runs of n words among all."""
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return ratio(len(set(grams)), len(grams))


def _equally_much(
    pieces: list[np.ndarray], others: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first pieces of both that have the same number of ids in all; the last one is cut."""
    least = min(sum(map(len, pieces)), sum(map(len, others)))
    return _first(pieces, least), _first(others, least)


def _first(pieces: list[np.ndarray], most: int) -> list[np.ndarray]:
    """The first `most` ids, still in pieces; those behind are empty."""
    ends = np.cumsum([len(piece) for piece in pieces])
    return [
        piece[: max(0, most - (end - len(piece)))] for piece, end in zip(pieces, ends, strict=True)
    ]


def paired(tokens: Iterable[tuple[str, bool]]) -> tuple[dict[str, int], int, int]:
    """Pair tokens, each a kind and whether it opens.

    Returns how many of each kind have a partner, how many closers close wrongly (crossed), and how
    many tokens are surely broken.

    A closer belongs to what was opened last. If that is another kind, the closer is crossed. All
    that was opened since its own kind was is given up and broken, and so is the closer's partner;
    if its own kind is not open, the closer itself is broken. With nothing open, a closer may have
    been opened before the piece, and what stays open at the end may be closed after it: these have
    no partner, but are neither crossed nor broken.
    """
    partnered: dict[str, int] = {}
    crossed = 0
    broken = 0
    open_: list[str] = []
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
    """The C functions of a piece whose braces balance, and all of them.

    A function (or another block: struct, enum) begins with a line at column 0 that ends in `{` and
    ends with the next `}` at column 0. It balances if that brace closes the first one, and not if
    another function begins inside it. One that the piece cuts off at its end is not counted.
    Braces in strings and comments count as braces.
    """
    balanced = 0
    all_ = 0
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
    words = set[str]()
    rest = b""
    for data in chunks:
        data = rest + data
        cut = max(data.rfind(b"\n"), data.rfind(b" ")) + 1 or len(data)
        words.update(words_of(data[:cut].decode("utf-8", "replace")))
        rest = data[cut:]
    return words.union(words_of(rest.decode("utf-8", "replace")))


def words_of(text: str) -> Iterator[str]:
    """The words of a text, which are runs of letters, in lower case."""
    return (match[0].lower() for match in letters_pattern().finditer(text))


def _brackets(piece: str) -> Iterator[tuple[str, bool]]:
    for match in _BRACKET.finditer(piece):
        yield _KIND[match[0]], match[0] == _KIND[match[0]][0]


_KIND = {sign: kind for kind in BRACKETS for sign in kind}
_BRACKET = re.compile("[" + re.escape("".join(BRACKETS)) + "]")

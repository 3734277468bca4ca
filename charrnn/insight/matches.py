"""What samples share with the training text: whole lines, the longest run, the nearest lines.

Each function takes pieces, ids (N,) each, of samples or of held-out text. Nothing is estimated;
what is looked at only in part says so. How samples are drawn is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.insight.card import (
    Comparison,
    Expected,
    LearntBefore,
    LineShares,
    Nearest,
    NearLine,
    Nearness,
    Run,
    ratio,
)
from charrnn.insight.nearest import MAX_LENGTH, MOST, Lines
from charrnn.text.corpus import Corpus
from charrnn.text.matching import longest_run
from charrnn.text.novelty import SURE, NoveltyFilter
from charrnn.text.splits import SPLITS

LEAST_LINE = 20  # characters; shorter lines of a stream, such as `}` or `ROMEO:`, say nothing
NEAREST = 100  # new lines whose nearest line is sought: the first different ones that were drawn
EXAMPLES = 5
READ_CHARS = 32_000_000  # characters of the training text that the nearest lines are sought in
CHUNK = 1 << 20  # characters read at a time


def text_in_chunks(corpus: Corpus, split: str, most: int | None = None) -> Iterator[bytes]:
    """The first `most` characters of a split as bytes, some at a time."""
    ids = corpus.split(split)[:most]
    return (corpus.vocabulary.to_bytes(ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK))


# Whole lines


def whole_lines(pieces: Sequence[np.ndarray], corpus: Corpus) -> list[np.ndarray]:
    """The whole lines of some pieces. In lines mode these are the pieces themselves.

    Of a stream they have LEAST_LINE ids at least. The first and the last line of a piece may be
    cut and are left out.
    """
    if corpus.mode == "lines":
        return [piece for piece in pieces if len(piece)]
    newline = corpus.vocabulary.newline
    if newline is None:
        return []
    lines = []
    for piece in pieces:
        parts = np.split(piece, np.flatnonzero(piece == newline))
        lines += [part[1:] for part in parts[1:-1]]
    return [line for line in lines if len(line) >= LEAST_LINE]


def lines_in(wanted: set[bytes], corpus: Corpus, split: str) -> set[bytes]:
    """Which of these lines a split holds as whole lines. Memory: a chunk and the longest line."""
    hits = set[bytes]()
    rest = b""
    for data in text_in_chunks(corpus, split):
        *lines, rest = (rest + data).split(b"\n")
        hits |= wanted.intersection(lines)
    return hits | wanted.intersection([rest])


def _lines_in_any(wanted: set[bytes], corpora: list[Corpus], split: str) -> set[bytes]:
    return set[bytes]().union(*(lines_in(wanted, corpus, split) for corpus in corpora))


def lines_report(
    corpora: list[Corpus], pieces: list[np.ndarray], held: list[np.ndarray]
) -> LineShares:
    """Count whole lines by the first of train, val and test that has them, or as new."""
    to_bytes = corpora[0].vocabulary.to_bytes
    written = [to_bytes(line) for line in whole_lines(pieces, corpora[0])]
    real = [to_bytes(line) for line in whole_lines(held, corpora[0])]
    distinct = set(written)
    inside = {split: _lines_in_any(distinct, corpora, split) for split in SPLITS}
    counts = dict.fromkeys((*SPLITS, "new"), 0)
    for line in written:
        counts[next((split for split in SPLITS if line in inside[split]), "new")] += 1
    real_in_train = _lines_in_any(set(real), corpora, "train")
    total = len(written)
    return LineShares(
        lines=total,
        in_train=ratio(counts["train"], total),
        in_val=ratio(counts["val"], total),
        in_test=ratio(counts["test"], total),
        new=ratio(counts["new"], total),
        counts=counts,
        repeated=ratio(total - len(distinct), total),
        expected_in_train=None,
        held_out_lines=len(real),
        held_out_in_train=ratio(sum(line in real_in_train for line in real), len(real)),
    )


def expected_in_train(counts: dict[str, int], corpora: list[Corpus]) -> Expected | None:
    """The share of training lines to expect of a model that only generalises.

    The splits are drawn from the same lines by chance, so such a model writes a training line as
    often as a held-out line. The deviation is that of the number of held-out lines that were
    written (Poisson). None for streams and for several texts.
    """
    corpus = corpora[0]
    if corpus.mode != "lines" or len(corpora) > 1:
        return None
    sizes = {split: len(corpus.lines(split)[0]) for split in SPLITS}
    held = sizes["val"] + sizes["test"]
    total = sum(counts.values())
    if not held or not total:
        return None
    hits = counts["val"] + counts["test"]
    scale = sizes["train"] / held / total
    return Expected(share=hits * scale, deviation=math.sqrt(hits + 1) * scale)


# Texts that are not here


def learnt_before(
    corpora: list[Corpus],
    filters: list[NoveltyFilter],
    gaps: list[str],
    pieces: list[np.ndarray],
    held: list[np.ndarray],
) -> LearntBefore | None:
    """What the filters of texts that are not here may hold. None where there are no such texts."""
    if not filters and not gaps:
        return None
    asked, may_hold = _held_by_filters(corpora, filters, pieces)
    held_out_asked, may_hold_held_out = _held_by_filters(corpora, filters, held)
    samples_share = None
    held_out_share = None
    if filters:
        samples_share = ratio(may_hold, asked)
        held_out_share = ratio(may_hold_held_out, held_out_asked)
    piece_chars = None if corpora[0].mode == "lines" else SURE
    return LearntBefore(
        filters=len(filters),
        piece_chars=piece_chars,
        asked=asked,
        held_out_asked=held_out_asked,
        share=Comparison(samples_share, held_out_share),
        gaps=tuple(gaps),
    )


def _held_by_filters(
    corpora: list[Corpus], filters: list[NoveltyFilter], pieces: list[np.ndarray]
) -> tuple[int, int]:
    """How many whole lines, or pieces of SURE characters, are asked about, and how many held."""
    vocabulary = corpora[0].vocabulary
    if corpora[0].mode == "lines":
        lines = [vocabulary.to_bytes(line) for line in whole_lines(pieces, corpora[0])]
        known = _lines_in_any(set(lines), corpora, "train")
        candidates = [line for line in lines if line not in known]
        asked = len(lines)
    else:
        candidates = [
            vocabulary.to_bytes(piece[at : at + SURE])
            for piece in pieces
            for at in range(0, len(piece) - SURE + 1, SURE)
        ]
        asked = len(candidates)
    may_hold = 0
    for data in candidates:
        text = data.decode() if vocabulary.unit == "char" else data
        may_hold += any(one.may_hold(text) for one in filters)
    return asked, may_hold


# Runs


def longest_copy(corpora: list[Corpus], pieces: list[np.ndarray]) -> Run | None:
    """The longest run of a piece that stands in the training text, and where its line begins."""
    run = None
    corpus = corpora[0]
    for other in corpora:
        candidate = longest_run(pieces, other.split("train"))
        if candidate and (run is None or candidate.length > run.length):
            run = candidate
            corpus = other
    if run is None:
        return None
    train = corpus.split("train")
    newline = corpus.vocabulary.newline
    decode = corpus.vocabulary.decode
    end = run.place + run.length

    # 1. The line in which the run begins: its number and its first character.
    number = 1
    begin = 0
    for at in range(0, run.place, CHUNK):
        ends = np.flatnonzero(train[at : min(at + CHUNK, run.place)] == newline)
        if len(ends):
            number += len(ends)
            begin = at + int(ends[-1]) + 1

    # 2. Where the line in which the run ends does so, as far as it will be shown.
    rest = train[end:][:CHUNK]
    is_newline = rest == newline
    if is_newline.any():
        rest = rest[: int(np.argmax(is_newline))]
    source = np.concatenate([train[begin:end], rest])

    return Run(
        chars=run.length,
        text=decode(pieces[run.piece][run.start : run.start + run.length]),
        sample=run.piece,
        start=run.start,
        text_name=corpus.name,
        place=run.place,
        line=number,
        column=run.place - begin + 1,
        source=decode(source[: 4 * MAX_LENGTH + run.length]),
    )


# Nearest lines


@dataclass(frozen=True)
class _Neighbour:
    """A new line (ids), the nearest training line, and their distance."""

    line: np.ndarray
    other: np.ndarray
    edits: int

    @property
    def edits_per_char(self) -> float:
        return self.edits / len(self.line)


def nearest_report(
    corpora: list[Corpus], pieces: list[np.ndarray], held: list[np.ndarray]
) -> Nearest | None:
    """How far new lines are from training lines, in edits. None where there are no newlines."""
    newline = corpora[0].vocabulary.newline
    if newline is None:
        return None
    texts = [Lines(corpus.split("train")[:READ_CHARS], newline) for corpus in corpora]
    return Nearest(
        training_lines=sum(map(len, texts)),
        most_chars=MOST,
        samples=_nearness(corpora, texts, pieces),
        held_out=_nearness(corpora, texts, held),
    )


def _nearness(corpora: list[Corpus], texts: list[Lines], pieces: list[np.ndarray]) -> Nearness:
    decode = corpora[0].vocabulary.decode
    neighbours = []
    for line in _new_lines(corpora, pieces)[:NEAREST]:
        hits = [hit for text in texts if (hit := text.nearest(line))]
        if hits:
            edits, other = min(hits, key=lambda hit: hit[0])
            neighbours.append(_Neighbour(line, other, edits))
    if not neighbours:
        return Nearness(0, None, None, None, [])
    neighbours.sort(key=lambda neighbour: (neighbour.edits_per_char, neighbour.edits))
    middle = neighbours[len(neighbours) // 2]
    return Nearness(
        lines=len(neighbours),
        one_edit=ratio(sum(one.edits <= 1 for one in neighbours), len(neighbours)),
        median_edits=middle.edits,
        median_edits_per_char=middle.edits_per_char,
        examples=[
            NearLine(decode(one.line), decode(one.other), one.edits)
            for one in neighbours[:EXAMPLES]
        ],
    )


def _new_lines(corpora: list[Corpus], pieces: list[np.ndarray]) -> list[np.ndarray]:
    """The different whole lines of at most MOST ids that no training text has."""
    to_bytes = corpora[0].vocabulary.to_bytes
    lines = whole_lines(pieces, corpora[0])
    different = {line.tobytes(): line for line in lines if len(line) <= MOST}
    wanted = {to_bytes(line) for line in different.values()}
    known = _lines_in_any(wanted, corpora, "train")
    return [line for line in different.values() if to_bytes(line) not in known]

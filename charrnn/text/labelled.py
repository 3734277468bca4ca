"""Labels as they stand in a text: before a delimiter in each line, or as the names of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError, VocabularyError
from charrnn.terminal import many, one_line
from charrnn.text.labels import SHOWN
from charrnn.text.records import BREAK_SIGN
from charrnn.text.sources import Source
from charrnn.text.vocabulary import MOST_LABEL_CHARS, MOST_LABELS, NEWLINE, Vocabulary


def delimiter_of(settings: TextSettings) -> str:
    """Return what ends a label: a tab may be typed as backslash and t.

    In records so may a line break, as backslash and n: the label is the first line.
    """
    delimiter = settings.delimiter.replace("\\t", "\t")
    if settings.mode == "records":
        delimiter = delimiter.replace("\\n", BREAK_SIGN)
    return delimiter


def without_prefixes(
    pieces: Iterable[np.ndarray], settings: TextSettings, labels: list[str] | None
) -> Iterator[np.ndarray]:
    """Yield codes whose lines have lost what stands before the delimiter, and the delimiter.

    A line without the delimiter is unlabelled. labels: gets the label of each line, "" for none.
    """
    delimiter = delimiter_of(settings)
    is_record = settings.mode == "records"
    cut = partial(_cut, delimiter=delimiter, labels=labels, is_record=is_record)
    parts: list[str] = []  # of a line that goes on
    for codes in pieces:
        text = _text(codes, settings.unit)
        if "\n" not in text:
            parts.append(text)
            continue
        *lines, last = "".join([*parts, text]).split("\n")
        parts = [last]
        yield _codes([cut(line) + "\n" for line in lines], settings.unit)
    line = "".join(parts)
    if line:
        yield _codes([cut(line)], settings.unit)


def _cut(line: str, delimiter: str, labels: list[str] | None, *, is_record: bool) -> str:
    """Return a line without its label, which is added to labels.

    A record's label stands in its first line.
    """
    label, found, item = line.partition(delimiter)
    if is_record:
        found = "" if BREAK_SIGN in label else found
        item = item.lstrip(BREAK_SIGN)
    if labels is not None:
        name = label.strip() if found else ""
        labels.append(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return item if found else line


def _text(codes: np.ndarray, unit: str) -> str:
    """Return codes as a text that holds whatever bytes they may be."""
    if unit == "byte":
        return codes.tobytes().decode("utf-8", "surrogateescape")
    return codes.astype("<u4").tobytes().decode("utf-32-le")


def _codes(lines: list[str], unit: str) -> np.ndarray:
    text = "".join(lines)
    if unit == "byte":
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint32)


def with_file_labels(
    parts: Iterable[tuple[int, np.ndarray]], source: Source, labels: list[str] | None
) -> Iterator[np.ndarray]:
    """Yield the codes of parts. labels: gets for each line the name of the file where it begins.

    parts: the number of a file, and codes of it; each file begins with a newline, but the first.
    Raises CorpusError for a text that is no file.
    """
    if not source.paths:
        raise CorpusError(f"--label file: {source.shown} is no file; give files, or --label prefix")
    begun = ""  # the label of a line that goes on
    for number, codes in parts:
        yield codes
        if labels is None or not len(codes):
            continue
        label = source.paths[number].stem.strip()
        ends = np.flatnonzero(codes == NEWLINE)
        if len(ends):
            labels.append(begun or label)
            labels += [label] * (len(ends) - 1)
            begun = "" if ends[-1] == len(codes) - 1 else label
        else:
            begun = begun or label
    if labels is not None and begun:
        labels.append(begun)


def with_names(vocabulary: Vocabulary, labels: Iterable[Sequence[str]], shown: str) -> Vocabulary:
    """Return a vocabulary with the different labels of several texts, in order.

    shown: the text, in a message. Raises CorpusError.
    """
    distinct = set().union(*labels) - {""}
    if not distinct:
        raise CorpusError(f"{shown} has no label; check --label and --delimiter, or leave them out")
    if len(distinct) > MOST_LABELS:
        raise CorpusError(
            f"{shown} has {len(distinct):,} labels; at most {MOST_LABELS:,} are learnt: "
            "check --delimiter"
        )
    longest = max(distinct, key=len)
    if len(longest) > MOST_LABEL_CHARS:
        raise CorpusError(
            f"{shown} has a label of {len(longest):,} characters ({one_line(longest[:20])}...); "
            f"a label has at most {MOST_LABEL_CHARS}: check --delimiter"
        )
    return dataclasses.replace(vocabulary, labels=tuple(sorted(distinct)))


def check_known(labels: Mapping[str, Sequence[str]], vocabulary: Vocabulary) -> None:
    """Raise VocabularyError for labels of texts that are not in a vocabulary."""
    unknown = sorted(set().union(*labels.values()) - {"", *vocabulary.labels})
    if unknown:
        listed = ", ".join(one_line(name) for name in unknown[:SHOWN])
        raise VocabularyError(
            f"the text has {many(len(unknown), 'label')} that this model does not know "
            f"({listed}); train one on this text, or start from this one with --init-from"
        )


def tags_of(pairs: Sequence[tuple[bytes, int]], *, distinct: bool) -> list[list[int]]:
    """Return the labels of each line, or of each distinct line, of pairs of a line and a label."""
    if not distinct:
        return [[number] for _, number in pairs]
    tags: dict[bytes, dict[int, None]] = {}
    for line, number in pairs:
        tags.setdefault(line, {})[number] = None
    return [list(numbers) for numbers in tags.values()]

"""Census: what one pass over a text counts. Memory does not grow with the text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text.encodings import without_mark
from charrnn.text.faults import NAMED, Faults
from charrnn.text.reading import pieces
from charrnn.text.sources import Source, joined_digest
from charrnn.text.spelling import MAX_CODE
from charrnn.text.vocabulary import NEWLINE, RETURN

_LONGEST = 1024  # line lengths are counted up to here
HEAD = 4096  # codes that tell whether a text is one of two or four bytes a character
_LONG = 64  # characters of a line that is not short


@dataclass
class Census:
    """The counts of one text; codes are code points, or bytes with --unit byte."""

    shown: str  # the text's name in messages
    counts: np.ndarray = field(default_factory=lambda: np.zeros(MAX_CODE, np.int64))  # by code
    chars: int = 0
    lf: int = 0  # newlines without a carriage return before them
    crlf: int = 0
    lone_cr: int = 0  # carriage returns without a newline behind them
    lines: int = 0  # newlines, and a last line without one
    last: int = 0  # the last code
    wide: str = ""  # "utf-16-le" where every other byte is zero, as in such a text
    line_lengths: np.ndarray = field(default_factory=lambda: np.zeros(_LONGEST + 1, np.int64))
    indented: int = 0  # lines that begin with a space or a tab
    sha256: str = ""
    faults: Faults = field(default_factory=Faults)  # wrong rows of a table
    parts: tuple[Census, ...] = ()  # of several texts

    @property
    def carriage_returns(self) -> int:
        """The carriage returns of the text as it was written."""
        return self.crlf + self.lone_cr

    def keep_line_ends_of(self, other: Census) -> None:
        """Take the line ends from a census of the same text before they were translated."""
        self.lf = other.lf
        self.crlf = other.crlf
        self.lone_cr = other.lone_cr

    @property
    def blank_share(self) -> float:
        """The share of lines that are blank."""
        return float(self.line_lengths[0]) / max(1, self.lines)

    @property
    def median_line(self) -> int:
        """The median length of a line, in characters."""
        return int(np.searchsorted(np.cumsum(self.line_lengths), self.line_lengths.sum() / 2))

    @property
    def long_share(self) -> float:
        """The share of lines of more than 64 characters."""
        return float(self.line_lengths[_LONG + 1 :].sum()) / max(1, self.lines)


def take_census(source: Source, settings: TextSettings) -> Census:
    """Read a text once and count its characters and lines.

    Raises CorpusError where it does not decode or is empty.
    """
    if source.parts:
        censuses = [take_census(part.source, part.read(settings)) for part in source.parts]
        return _added(source.shown, censuses)
    census = Census(source.shown)
    census.faults.skips = settings.errors == "skip"
    digest = hashlib.sha256()
    open_line = 0  # characters since the last newline
    previous = NEWLINE  # the last code of the piece before
    for codes in pieces(source, settings, digest, census.faults):
        # 1. Characters.
        if not census.chars:
            census.wide = without_mark(codes[:HEAD].astype(np.uint8).tobytes())
        counts = np.bincount(codes)
        census.counts[: len(counts)] += counts
        census.chars += len(codes)

        # 2. Lines that end in this piece.
        ends = np.flatnonzero(codes == NEWLINE)
        if len(ends):
            lengths = np.diff(ends, prepend=-1) - 1
            lengths[0] += open_line
            # The carriage return is no part of the length: a line of CRLF alone is blank.
            is_crlf = codes[ends - 1] == RETURN
            if ends[0] == 0:
                is_crlf[0] = previous == RETURN
            lengths -= is_crlf
            census.crlf += int(is_crlf.sum())
            census.line_lengths += np.bincount(
                np.minimum(lengths, _LONGEST), minlength=_LONGEST + 1
            )
            open_line = len(codes) - int(ends[-1]) - 1
        else:
            open_line += len(codes)
        census.lines += len(ends)

        # 3. Lines that begin in it.
        starts = ends[ends + 1 < len(codes)] + 1
        first = [codes[0]] if previous == NEWLINE else []
        is_indented = np.isin(np.concatenate([codes[starts], first]), (ord(" "), ord("\t")))
        census.indented += int(is_indented.sum())
        previous = int(codes[-1])

    # 4. A last line without a newline.
    if open_line:
        census.lines += 1
        census.line_lengths[min(open_line, _LONGEST)] += 1
    census.lf = int(census.counts[NEWLINE]) - census.crlf
    census.lone_cr = int(census.counts[RETURN]) - census.crlf
    census.last = previous
    census.sha256 = digest.hexdigest()
    if census.chars == 0:
        raise CorpusError(
            f"{source.shown} is empty; give a text with at least a few hundred characters"
        )
    return census


def _added(shown: str, parts: list[Census]) -> Census:
    """Return the counts of several texts together. shown: their name in messages."""
    whole = Census(shown, last=parts[-1].last, parts=tuple(parts))
    whole.wide = next((part.wide for part in parts if part.wide), "")
    whole.sha256 = joined_digest([part.sha256 for part in parts])
    for part in parts:
        for name in ("chars", "lf", "crlf", "lone_cr", "lines", "indented"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
        whole.counts += part.counts
        part.counts = part.counts[:0]  # 9 MB, and only those of all are asked for
        whole.line_lengths += part.line_lengths
        whole.faults.count += part.faults.count
        whole.faults.found += part.faults.found
        whole.faults.places += part.faults.places
    whole.faults.places = whole.faults.places[:NAMED]
    return whole

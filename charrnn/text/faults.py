"""Rows of a table that are wrong: each is one line of error with its place, or is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from charrnn.errors import CorpusError
from charrnn.terminal import many, one_line

NAMED = 3  # places that a message names
MOST_WHAT = 200  # characters of what is wrong


@dataclass
class Faults:
    """What was wrong in the rows of a text. skips: such rows are left out, and counted."""

    skips: bool = False
    places: list[str] = field(default_factory=list)  # of the first few rows
    count: int = 0
    found: Counter[str] = field(default_factory=Counter)  # what else a person should know, by word

    def meet(self, place: str, what: str) -> None:
        """Count a wrong row. Raises CorpusError where such rows are not to be skipped."""
        if not self.skips:
            shown = one_line(what)[:MOST_WHAT]
            raise CorpusError(f"{place}: {shown}; mend it, or pass --errors skip")
        self.count += 1
        if len(self.places) < NAMED:
            self.places.append(place)

    def notes(self) -> list[str]:
        """Return what a person should know of the rows that were read."""
        notes = []
        if self.count:
            verb = "is" if self.count == 1 else "are"
            more = ", ..." if self.count > len(self.places) else ""
            notes.append(
                f"{many(self.count, 'wrong row')} {verb} left out: {', '.join(self.places)}{more}"
            )
        if broken := self.found["line breaks"]:
            notes.append(
                f"{many(broken, 'entry' if broken == 1 else 'entrie')} had line breaks inside, "
                "which are spaces now"
            )
        return notes

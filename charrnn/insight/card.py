"""What a look at samples says: an `Examination`, filled in by `copies.py`.

Of every figure of the samples, that of held-out text stands beside it. The order of the fields is
the order in `eval --samples --json`. Of a place, `sample`, `start` (in the sample) and `place` (in
the training text) count from 0, as in Python; `line` and `column` from 1, as in an editor.

How the figures are found, and how they are shown, is not known here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """A share of the samples beside that of held-out text. None: there is nothing to divide by."""

    samples: float | None
    held_out: float | None


@dataclass(frozen=True)
class OtherSets:
    """How many samples are drawn at each further temperature, and how long they are at most."""

    samples: int
    length: int


@dataclass(frozen=True)
class HeldOut:
    """The text that the samples are compared with."""

    split: str
    pieces: int
    chars: int


@dataclass(frozen=True)
class Expected:
    """The share of samples that would be training lines if each were written like a held-out one.

    deviation: the standard deviation of that share.
    """

    share: float
    deviation: float


@dataclass(frozen=True)
class LineShares:
    """Where whole lines of the samples stand in the corpus, as counts and shares.

    repeated: the share of lines that another sample wrote before.
    """

    lines: int
    in_train: float | None
    in_val: float | None
    in_test: float | None
    new: float | None
    counts: dict[str, int]
    repeated: float | None
    expected_in_train: Expected | None
    held_out_lines: int
    held_out_in_train: float | None


@dataclass(frozen=True)
class LearntBefore:
    """What filters say of the texts that the model learnt before those of its run.

    A filter holds 1 or 2 in a hundred by mistake. What is asked about are whole lines or, of a
    stream, pieces of piece_chars characters. Lines of the run's own training texts are none that
    it may hold. share: of those that a filter may hold.
    gaps: what cannot be told, a sentence each.
    """

    filters: int
    piece_chars: int | None
    asked: int
    held_out_asked: int
    share: Comparison
    gaps: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run of characters that stands in the training text too.

    text_name, place, line, column: where it stands there. source: the lines around it there.
    """

    chars: int
    text: str
    sample: int
    start: int
    text_name: str
    place: int
    line: int
    column: int
    source: str


@dataclass(frozen=True)
class LongestRuns:
    """The longest run of the samples, and that of held-out text."""

    samples: Run | None
    held_out: Run | None


@dataclass(frozen=True)
class NearLine:
    """A new line, the training line nearest to it, and the edits between them."""

    text: str
    nearest: str
    edits: int


@dataclass(frozen=True)
class Nearness:
    """How far new lines are from training lines. one_edit: the share that is one edit away."""

    lines: int
    one_edit: float | None
    median_edits: int | None
    median_edits_per_char: float | None
    examples: list[NearLine]


@dataclass(frozen=True)
class Nearest:
    """The nearness of new lines. most_chars: those of the longest line that is looked at."""

    training_lines: int
    most_chars: int
    samples: Nearness
    held_out: Nearness


@dataclass(frozen=True)
class Distinct:
    """Different n-grams among all, of equally many characters of samples and held-out text."""

    shares: dict[str, Comparison]  # by name, such as chars_3 or words_1
    chars: int


@dataclass(frozen=True)
class PartOf:
    """A share, and the number of things that it is a share of."""

    share: float | None
    of: int


@dataclass(frozen=True)
class Structure:
    """How well one structure is kept by held-out text and at each temperature."""

    held_out: float | None
    held_out_of: int
    by_temperature: dict[str, PartOf]


@dataclass(frozen=True)
class Entropy:
    """How surprising samples are to the model, by temperature, and real text beside them.

    matching_temperature: where samples are as surprising as the validation text.
    """

    val_nats_per_char: float | None
    nats_per_char: dict[str, float]
    matching_temperature: float | None


@dataclass(frozen=True)
class Examination:
    """All of a look at samples. nearest: None where the model knows no newline.

    learnt_before: None where the model has learnt no texts but those of its run.
    warnings: a line for each sign of copying. doubt: why copies could have gone without one.
    """

    samples: int
    mode: str
    temperature: float
    seed: int
    length: int
    chars: int
    other_temperatures: OtherSets
    held_out: HeldOut
    training_texts: int
    lines: LineShares
    longest_run: LongestRuns
    ngrams_in_training: dict[str, Comparison]  # by length
    distinct: Distinct
    nearest: Nearest | None
    structure: dict[str, Structure]
    entropy: Entropy
    warnings: list[str] = field(default_factory=list)
    doubt: str | None = None
    learnt_before: LearntBefore | None = None

    def to_json(self) -> dict[str, Any]:
        """The values as `eval --samples --json` writes them."""
        values = dataclasses.asdict(self)
        distinct = values["distinct"]
        values["distinct"] = distinct["shares"] | {"chars": distinct["chars"]}
        return values


def ratio(part: int, whole: int) -> float | None:
    """A share; None of nothing."""
    return part / whole if whole else None

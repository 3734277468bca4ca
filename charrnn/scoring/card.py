"""The card of a score: the figure, what it is of, what it stands beside, and what flatters it.

`evaluation.py` fills it in, `charrnn eval` and `charrnn report` show it. Only `to_json` makes the
object of `eval --json`, so the order of the fields here is the order there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from charrnn.scoring.by_text import TextScore
from charrnn.scoring.detail import RankedLine
from charrnn.scoring.figures import Figures, Gain
from charrnn.scoring.overlap import Overlap


@dataclass(frozen=True)
class NetworkModel:
    """The model that was scored, a network."""

    cell: str
    num_layers: int | None
    hidden_size: int | None


@dataclass(frozen=True)
class CountingModel:
    """The model that was scored, an n-gram model."""

    cell: str
    order: int
    smoothing: str


@dataclass(frozen=True)
class Source:
    """Which text was scored. sha256: of its UTF-8 bytes.

    text_sha256, fingerprint: of the files that the run's own text was read from, and of that text.
    """

    name: str
    sha256: str
    text_sha256: dict[str, str]
    fingerprint: str | None


@dataclass(frozen=True)
class Reading:
    """The figures of another way to read the text, and what it gains over the plain one."""

    figures: Figures
    gain_nats_per_char: float
    gain_over_ngram: Gain | None


@dataclass(frozen=True)
class CachedReading(Reading):
    """With a cache of the last `length` characters (sampling/cache.py)."""

    length: int
    theta: float
    model_counts: list[float]
    switch: float


@dataclass(frozen=True)
class DynamicReading(Reading):
    """With a model that learns as it reads (dynamic.py)."""

    rule: str
    segment: int
    lr: float
    decay: float


@dataclass(frozen=True)
class Experts:
    """What the parts of a mixture score alone, in bits per character, and counting's mean share."""

    network: float
    counting: float
    order: int
    mean_share: float


@dataclass(frozen=True)
class NGramBaseline:
    """The n-gram model among the baselines."""

    order: int
    smoothing: str
    picked_by: str


@dataclass(frozen=True)
class Unseen:
    """The score of the lines that are in no text the model has learnt.

    ngram: bits per character of counting on them; None where all lines are new.
    """

    lines: int
    chars: int
    nats_per_char: float
    bits_per_char: float
    ngram: float | None
    ngram_order: int | None


@dataclass(frozen=True)
class Evaluation:
    """The card. baselines: bits per character by name.

    likeliest, least_likely: lines of a file; None for any other text. texts: the score of each,
    where the run is of several; None: it is of one.
    """

    split: str | None
    split_rule: str | None
    file: str | None
    protocol: str
    window: int | None
    figures: Figures
    model: NetworkModel | CountingModel
    unknown: int
    data: Source
    experts: Experts | None = None
    cache: CachedReading | None = None
    dynamic: DynamicReading | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    ngram: NGramBaseline | None = None
    gain_over_ngram: Gain | None = None
    overlap: Overlap | None = None
    unseen: Unseen | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    likeliest: list[RankedLine] | None = None
    least_likely: list[RankedLine] | None = None
    texts: list[TextScore] | None = None

    def to_json(self) -> dict[str, Any]:
        """The card as `eval --json` writes it, with figures among the values they belong to."""
        values = dataclasses.asdict(self)
        for name in ("likeliest", "least_likely"):
            lines = values.pop(name)
            if lines is not None:
                values[name] = [line._asdict() for line in lines]
        if self.texts is None:
            del values["texts"]
        for name in ("cache", "dynamic"):
            if values[name] is not None:
                values[name] = _with_figures_inside(values[name])
        return _with_figures_inside(values)


def _with_figures_inside(values: dict[str, Any]) -> dict[str, Any]:
    """The values in their order, with those of "figures" in the place of "figures"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name == "figures":
            flat |= value
        else:
            flat[name] = value
    return flat

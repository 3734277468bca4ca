"""Which cell tracks what: every unit of every state and gate against every feature of a text.

The score is Pearson's correlation (with a binary feature, that is the point-biserial one). There
are thousands of units, and the best of so many looks good by luck. So a unit is picked on the first
half of the text and scored on the second, which had no say. Of the first half only sums are kept,
and of the second the units that were picked, so that a text may be long.

Shapes: N or n characters, H units of an activation, K features, U units of all activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from charrnn.insight.cells import PIECE, Activations, pieces
from charrnn.insight.features import dialect_of, features
from charrnn.modelfile import ModelFile

LEAST = 20  # characters of each half that differ from the rest: with fewer a score says nothing
AROUND = 24  # characters shown on each side of a peak
CONSTANT = 1e-5  # a standard deviation of no more than this share of the mean is rounding


class Tracker(NamedTuple):
    """A unit that tracks a feature.

    score: the correlation on the second half of the text, with its sign.
    picked: that on the first half, where it was the best except for rank - 1 others.
    accuracy: of binary features, the balanced accuracy on the second half of a threshold half way
    between the unit's two means on the first.
    chance: the best score of any unit on the first half, with the feature taken from elsewhere.
    before, peak, after: the text of the second half around the character at which the unit is most
    as it should be where the feature is high.
    """

    feature: str
    is_binary: bool
    rank: int
    cell: str
    unit: int
    score: float
    picked: float
    accuracy: float | None
    chance: float
    before: str
    peak: str
    after: str

    @property
    def beats_luck(self) -> bool:
        return abs(self.score) > self.chance


@dataclass(frozen=True)
class Search:
    """The best units of each feature, the features that are tracked best first.

    left_out: the features that are too rare in this text.
    """

    chars: int
    units: int
    dialect: str
    trackers: list[Tracker]
    left_out: list[str]


class _Picks(NamedTuple):
    """What the first half says.

    best (top, K): the places of the best units among `names`. correlations (U, K).
    chances (K,): the best correlation with each displaced feature.
    """

    sums: dict[str, Sums]
    names: list[tuple[str, int]]
    best: np.ndarray
    correlations: np.ndarray
    chances: np.ndarray


def search(model: ModelFile, ids: np.ndarray, top: int = 1) -> Search:
    """Rank all units of a network by how well they track each feature of a text, ids (N,).

    top: how many units of each feature are kept. Raises SettingsError for a counting model.
    """
    # 1. The features that vary enough in both halves.
    text = text_of(model, ids)
    size = min(PIECE, max(1, len(text) // 2))
    half = len(text) // 2 // size * size
    dialect = dialect_of(text)
    offered = features(text, dialect)
    kept = []
    left_out = []
    for feature in offered:
        if _is_frequent(feature.values[:half]) and _is_frequent(feature.values[half:]):
            kept.append(feature)
        else:
            left_out.append(feature.name)
    targets = np.zeros((half, 0))
    if kept:
        targets = np.stack([feature.values[:half] for feature in kept], 1)
    # The features half of the first half away belong to other text: they tell what luck can do.
    both = np.concatenate([targets, np.roll(targets, half // 2, axis=0)], 1)

    # 2. The first half picks units, and the second is read for these alone.
    reading = pieces(model, ids, size)
    picks = _pick(islice(reading, half // size), both, top)
    columns: dict[tuple[str, int], list[np.ndarray]] = {
        picks.names[index]: [] for index in picks.best.ravel()
    }
    for _, activations in reading:
        for (cell, unit), parts in columns.items():
            parts.append(activations[cell][:, unit])
    columns_whole = {
        name: np.concatenate(parts).astype(np.float64) for name, parts in columns.items()
    }

    # 3. Their scores on the second half, by feature.
    rows = []
    for k, feature in enumerate(kept):
        target = feature.values[half:]
        row = []
        for rank, index in enumerate(picks.best[:, k], 1):
            cell, unit = picks.names[index]
            values = columns_whole[cell, unit]
            picked = float(picks.correlations[index, k])
            accuracy = None
            if feature.is_binary:
                threshold = picks.sums[cell].threshold(unit, k, both)
                accuracy = balanced_accuracy(values, target, threshold, picked)
            place = np.argmax(values) if picked >= 0 else np.argmin(values)
            before, peak, after = _around(model, ids, half + int(place))
            tracker = Tracker(
                feature=feature.name,
                is_binary=feature.is_binary,
                rank=rank,
                cell=cell,
                unit=unit,
                score=correlation(values, target),
                picked=picked,
                accuracy=accuracy,
                chance=float(picks.chances[k]),
                before=before,
                peak=peak,
                after=after,
            )
            row.append(tracker)
        rows.append(row)
    rows.sort(key=lambda row: -abs(row[0].score))
    trackers = [tracker for row in rows for tracker in row]
    return Search(len(text), len(picks.names), dialect, trackers, left_out)


def _pick(reading: Iterator[tuple[slice, Activations]], both: np.ndarray, top: int) -> _Picks:
    """Pick the best units. both (n, 2 K): the features, then the same displaced."""
    sums: dict[str, Sums] = {}
    for place, activations in reading:
        for cell, values in activations.items():
            if cell not in sums:
                sums[cell] = Sums(values.shape[1], both.shape[1])
            sums[cell].add(values, both[place])
    names = [(cell, unit) for cell, one in sums.items() for unit in range(len(one.total))]
    correlations = np.zeros((0, 0))
    if sums:
        correlations = np.concatenate([one.correlations(both) for one in sums.values()])
    count = both.shape[1] // 2
    best = np.argsort(-np.abs(correlations[:, :count]), axis=0, kind="stable")[:top]
    chances = np.abs(correlations[:, count:]).max(axis=0, initial=0)
    return _Picks(sums, names, best, correlations, chances)


class Sums:
    """The sums of a text read so far that correlations are made of: of H units with K features."""

    def __init__(self, units: int, count: int) -> None:
        self.total = np.zeros(units)
        self.squares = np.zeros(units)
        self.products = np.zeros((units, count))

    def add(self, values: np.ndarray, targets: np.ndarray) -> None:
        """Add values (n, H) with their targets (n, K)."""
        values = values.astype(np.float64)
        self.total += values.sum(axis=0)
        self.squares += (values * values).sum(axis=0)
        self.products += values.T @ targets

    def correlations(self, targets: np.ndarray) -> np.ndarray:
        """(H, K), of all N values that were added with targets (N, K).

        It is 0 for a unit that is constant or not a number.
        """
        mean = self.total / len(targets)
        variance = self.squares / len(targets)
        variance -= mean * mean
        covariance = self.products / len(targets) - mean[:, None] * targets.mean(axis=0)
        varies = variance > (CONSTANT * mean) ** 2
        scale = np.sqrt(np.where(varies, variance, 1))[:, None] * targets.std(axis=0)
        return np.where(varies[:, None], covariance / scale, 0.0)

    def threshold(self, unit: int, k: int, targets: np.ndarray) -> float:
        """Half way between a unit's mean where a binary feature is 1 and its mean where it is 0."""
        ones = targets[:, k].sum()
        inside = self.products[unit, k] / ones
        outside = (self.total[unit] - self.products[unit, k]) / (len(targets) - ones)
        return float(inside + outside) / 2


def correlation(values: np.ndarray, target: np.ndarray) -> float:
    """Pearson's correlation of (N,) and (N,); 0 for a constant."""
    sums = Sums(1, 1)
    sums.add(values[:, None], target[:, None])
    return float(sums.correlations(target[:, None])[0, 0])


def balanced_accuracy(
    values: np.ndarray, target: np.ndarray, threshold: float, sign: float
) -> float:
    """The mean of two shares: of the ones and of the zeros that lie on their side of a threshold.

    sign: negative where the ones lie below it.
    """
    is_one = values > threshold if sign >= 0 else values < threshold
    return float(is_one[target == 1].mean() + (~is_one[target == 0]).mean()) / 2


def text_of(model: ModelFile, ids: np.ndarray) -> str:
    """A text with one character for each place, so that a byte is the character of its number."""
    return "".join(map(chr, model.vocabulary.codes_of(ids)))


def _is_frequent(values: np.ndarray) -> bool:
    """Do enough characters differ from the commonest value?"""
    commonest = int(np.bincount(values.astype(np.int64), minlength=1).max())
    return len(values) - commonest >= LEAST


def _around(model: ModelFile, ids: np.ndarray, place: int) -> tuple[str, str, str]:
    """The text before a character, the character, and the text after it."""
    edges = model.vocabulary.edges(ids)
    bounds = np.array([place - AROUND, place, place + 1, place + 1 + AROUND])
    begin, peak, after, end = edges[np.clip(bounds, 0, len(edges) - 1)].tolist()
    decode = model.vocabulary.decode
    return decode(ids[begin:peak]), decode(ids[peak:after]), decode(ids[after:end])

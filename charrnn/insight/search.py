"""Which cell tracks what: every unit of every state and gate against every feature of a held-out text.

The score is the correlation (Pearson's; with a binary feature that is the point-biserial one). There are thousands of
units, and the best of so many looks good by luck: so a unit is picked on the first half of the text, and scored on the
second, which had no say. Only sums are kept of the first half, and the units picked of the second, so that a text may be long.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from charrnn.insight.cells import PIECE, pieces
from charrnn.insight.features import dialect_of, features
from charrnn.modelfile import ModelFile

LEAST = 20  # characters that differ from the rest, in each half: with fewer a score says nothing
AROUND = 24  # characters shown on each side of a peak
CONSTANT = 1e-5  # a unit whose standard deviation is no larger than this share of its mean holds rounding, and no more


class Found(NamedTuple):
    """A unit that tracks a feature.

    score: correlation on the second half of the text, with its sign. picked: on the first half, where it was the best
    but for rank - 1 others. accuracy, of binary features: balanced accuracy on the second half, of a threshold half way
    between the unit's two means on the first. chance: the best that any unit reaches on the first half with the feature
    as it is elsewhere in the text. before, peak, after: the second half's text around the character at which the unit
    is most as it should be where the feature is high.
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
    """found: the best units of each feature, the features that are tracked best first. left_out: too rare in this text."""

    chars: int
    units: int
    dialect: str
    found: list[Found]
    left_out: list[str]


def search(model: ModelFile, ids: np.ndarray, top: int = 1) -> Search:
    """Rank all units of a network by how well they track each feature of a text, ids (N,). top: so many of each feature.

    Raises SettingsError for a counting model.
    """
    size = min(PIECE, max(1, len(ids) // 2))
    half = len(ids) // 2 // size * size
    text = text_of(model, ids)
    dialect = dialect_of(text)
    offered = features(text, dialect)
    kept = [
        feature
        for feature in offered
        if _is_frequent(feature.values[:half]) and _is_frequent(feature.values[half:])
    ]
    targets = np.stack([feature.values for feature in kept], 1) if kept else np.zeros((len(ids), 0))
    # The same features half of the first half away, where they belong to other text, tell what luck can do.
    both = np.concatenate([targets[:half], np.roll(targets[:half], half // 2, axis=0)], 1)

    reading = pieces(model, ids, size)
    sums: dict[str, Sums] = {}
    for place, activations in islice(reading, half // size):
        for cell, values in activations.items():
            if cell not in sums:
                sums[cell] = Sums(values.shape[1], both.shape[1])
            sums[cell].add(values, both[place])
    names = [(cell, unit) for cell, one in sums.items() for unit in range(len(one.total))]
    correlations = (
        np.concatenate([one.correlations(both) for one in sums.values()])
        if sums
        else np.zeros((0, 0))
    )
    best = np.argsort(-np.abs(correlations[:, : len(kept)]), axis=0, kind="stable")[
        :top
    ]  # (top, K)
    chances = np.abs(correlations[:, len(kept) :]).max(axis=0, initial=0)

    columns: dict[tuple[str, int], list[np.ndarray]] = {names[index]: [] for index in best.ravel()}
    for _, activations in reading:
        for (cell, unit), parts in columns.items():
            parts.append(activations[cell][:, unit])
    rows = []
    for k, feature in enumerate(kept):
        row = []
        for rank, index in enumerate(best[:, k], 1):
            cell, unit = names[index]
            values = np.concatenate(columns[cell, unit]).astype(np.float64)
            picked, target = float(correlations[index, k]), feature.values[half:]
            accuracy = None
            if feature.is_binary:
                accuracy = balanced_accuracy(
                    values, target, sums[cell].threshold(unit, k, both), picked
                )
            around = _around(model, ids, half + int(np.argmax(values if picked >= 0 else -values)))
            score = correlation(values, target)
            row.append(
                Found(
                    feature.name,
                    feature.is_binary,
                    rank,
                    cell,
                    unit,
                    score,
                    picked,
                    accuracy,
                    float(chances[k]),
                    *around,
                )
            )
        rows.append(row)
    rows.sort(key=lambda row: -abs(row[0].score))
    left_out = [feature.name for feature in offered if all(feature is not one for one in kept)]
    return Search(len(ids), len(names), dialect, [one for row in rows for one in row], left_out)


class Sums:
    """Of a text read so far, for the H units of an activation and K features: what correlations are made of."""

    def __init__(self, units: int, count: int) -> None:
        self.total, self.squares, self.products = (
            np.zeros(units),
            np.zeros(units),
            np.zeros((units, count)),
        )

    def add(self, values: np.ndarray, targets: np.ndarray) -> None:
        """values (n, H), targets (n, K)."""
        values = values.astype(np.float64)
        self.total += values.sum(axis=0)
        self.squares += (values * values).sum(axis=0)
        self.products += values.T @ targets

    def correlations(self, targets: np.ndarray) -> np.ndarray:
        """(H, K), of all N values that were added with targets (N, K). 0 for a unit that is constant or no number."""
        mean, variance = self.total / len(targets), self.squares / len(targets)
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
    """Pearson's, of (N,) and (N,); 0 for a constant."""
    sums = Sums(1, 1)
    sums.add(values[:, None], target[:, None])
    return float(sums.correlations(target[:, None])[0, 0])


def balanced_accuracy(
    values: np.ndarray, target: np.ndarray, threshold: float, sign: float
) -> float:
    """The mean of the shares of ones and of zeros that are told by the side of the threshold they are on."""
    told = values > threshold if sign >= 0 else values < threshold
    return float(told[target == 1].mean() + (~told[target == 0]).mean()) / 2


def text_of(model: ModelFile, ids: np.ndarray) -> str:
    """One character an id, so that a byte is the character of its number."""
    return "".join(map(chr, np.array(model.vocabulary.symbols)[ids]))


def _is_frequent(values: np.ndarray) -> bool:
    """Do enough characters differ from the commonest value?"""
    return len(values) - int(np.bincount(values.astype(np.int64), minlength=1).max()) >= LEAST


def _around(model: ModelFile, ids: np.ndarray, place: int) -> tuple[str, str, str]:
    pieces_of_text = (
        ids[max(0, place - AROUND) : place],
        ids[place : place + 1],
        ids[place + 1 : place + 1 + AROUND],
    )
    before, peak, after = map(model.vocabulary.decode, pieces_of_text)
    return before, peak, after

"""Logits -> next-character distribution -> a character.

Pure functions of arrays: no model, no state, no global seed.

Everything here is float64 and works on B rows at once.
"""

from __future__ import annotations

import math
import secrets
import zlib
from dataclasses import dataclass

import numpy as np

from charrnn.errors import SettingsError
from charrnn.values import finite

WINDOW = 64  # generated characters that the repetition penalty looks back on
MAX_SEED = (1 << 63) - 1
_LARGEST = 1e300  # stands for infinity where weights have grown beyond float32
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Decoding:
    """How a distribution is narrowed before a character is drawn. Raises SettingsError.

    Applied in this order: repetition penalty, temperature, top-k, top-p, min-p; then renormalised.
    """

    temperature: float = 1.0  # 0: always the likeliest character
    top_k: int = 0  # only the k likeliest; 0: off
    top_p: float = 1.0  # only the smallest set whose probabilities reach p (Holtzman et al. 2020)
    min_p: float = 0.0  # only those with at least this share of the likeliest's probability
    repetition_penalty: float = 1.0  # above 1: characters among the last WINDOW become less likely

    def __post_init__(self) -> None:
        finite(self.temperature, "--temp", minimum=0.0)
        if self.top_k < 0:
            raise SettingsError(f"--top-k {self.top_k}: must be at least 0 (0 switches it off)")
        finite(self.top_p, "--top-p", above=0.0, maximum=1.0)
        finite(self.min_p, "--min-p", minimum=0.0, maximum=1.0)
        finite(self.repetition_penalty, "--repetition-penalty", above=0.0, maximum=1e6)


def distribution(
    logits: np.ndarray, decoding: Decoding, recent: np.ndarray | None = None
) -> np.ndarray:
    """Return the probabilities (B, V) of the next character.

    logits (B, V); recent (B, W) ids generated lately, -1: nothing.
    """
    scores = _tamed(logits)
    if recent is not None and decoding.repetition_penalty != 1.0:
        scores = _tamed(_penalized(scores, recent, decoding.repetition_penalty))
    if decoding.temperature == 0:
        greedy = np.zeros_like(scores)
        greedy[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
        return greedy
    scores -= scores.max(axis=1, keepdims=True)
    if decoding.temperature != 1.0:
        with np.errstate(over="ignore"):
            # -3 / 1e-308 is -inf, and exp(-inf) is 0: the greedy limit
            scores /= decoding.temperature
    weights: np.ndarray = np.exp(scores)  # the likeliest has exactly 1
    if 0 < decoding.top_k < weights.shape[1]:
        weights *= _largest(scores, decoding.top_k)
    if decoding.top_p < 1.0:
        weights *= _nucleus(weights, decoding.top_p)
    if decoding.min_p > 0.0:
        weights *= weights >= decoding.min_p
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def draw(probabilities: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return ids (B,): the inverse of the cumulative sum of P (B, V) at u (B,) in [0, 1).

    An id of probability 0 is never drawn. The sum need not be 1 to the last bit. u is at most
    1 - 2^-53, and so u * total rounds below total: no draw falls off the end.
    """
    sums = probabilities.cumsum(axis=1)
    ids: np.ndarray = (sums <= u[:, None] * sums[:, -1:]).sum(axis=1)
    return ids


def surprise(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the nats (B,) of ids (B,) under the model itself: temperature 1, nothing filtered."""
    nats: np.ndarray = -log_probabilities(logits)[np.arange(len(ids)), ids]
    return nats


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return ln P (B, V) under the model itself: temperature 1, nothing filtered."""
    scores = _tamed(logits)
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores


def uniforms(seed: int, streams: np.ndarray, positions: np.ndarray | int) -> np.ndarray:
    """Return numbers in [0, 1), float64, that depend on seed, stream and position alone.

    streams (B,) from 0.

    SplitMix64 (Steele, Lea & Flood 2014), whose output number n from state s is mix(s + (n + 1) *
    GOLDEN), modulo 2^64. Stream i starts in the state that is output number i of SplitMix64(seed);
    its output number `position`, without its lowest 11 bits, is the number, in units of 2^-53.
    """
    state = _mix(
        np.uint64(seed) + (np.atleast_1d(streams).astype(np.uint64) + np.uint64(1)) * _GOLDEN
    )
    output = _mix(state + (np.atleast_1d(positions).astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    numbers: np.ndarray = (output >> np.uint64(11)) * 2.0**-53
    return numbers


def checked_seed(seed: int | None) -> int:
    """Return the seed, or a fresh one for None. Raises SettingsError."""
    if seed is None:
        return secrets.randbelow(1_000_000)  # short enough to type again
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"--seed {seed}: must be between 0 and {MAX_SEED}")
    return seed


def seed_of_label(seed: int, label: str) -> int:
    """Return the seed of the items of a label: equal draws would make labels look alike."""
    if not label:
        return seed
    return (seed + (zlib.crc32(label.encode("utf-8", "surrogatepass")) << 20)) % (MAX_SEED + 1)


def _mix(z: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser. uint64 arrays wrap around; numpy warns of scalars only."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed


def _tamed(scores: np.ndarray) -> np.ndarray:
    """Return a float64 copy whose rows all have a finite maximum, whatever the weights were."""
    scores = scores.astype(np.float64)
    if not math.isfinite(scores.max(axis=1).sum()):
        np.nan_to_num(scores, copy=False, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
    return scores


def _penalized(scores: np.ndarray, recent: np.ndarray, penalty: float) -> np.ndarray:
    """Divide the positive logits of recent characters and multiply the negative ones.

    Source: Keskar et al. 2019, CTRL.
    """
    batch, size = scores.shape
    marked = np.zeros((batch, size + 1), bool)  # the last column takes the -1s
    np.put_along_axis(marked, np.where(recent < 0, size, recent), True, axis=1)
    with np.errstate(over="ignore"):
        penalized = np.where(scores > 0, scores / penalty, scores * penalty)
    return np.where(marked[:, :size], penalized, scores)


def _largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Mark (B, V) exactly k of each row, the lowest ids where scores tie."""
    place = scores.shape[1] - k
    least = np.partition(scores, place, axis=1)[:, place : place + 1]
    above = scores > least
    tied = scores == least
    missing = k - above.sum(axis=1, keepdims=True)
    largest: np.ndarray = above | (tied & (tied.cumsum(axis=1) <= missing))
    return largest


def _nucleus(weights: np.ndarray, p: float) -> np.ndarray:
    """Mark (B, V) the smallest set of largest weights that reaches p of the sum; at least one."""
    order = np.argsort(-weights, axis=1, kind="stable")
    sums = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    kept_in_order = np.ones(weights.shape, bool)
    # One is in the set while the set without it does not reach p yet.
    kept_in_order[:, 1:] = sums[:, :-1] < p * sums[:, -1:]
    kept = np.empty_like(kept_in_order)
    np.put_along_axis(kept, order, kept_in_order, axis=1)
    return kept

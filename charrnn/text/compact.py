"""N-grams in few bytes, for a model file: about three for each.

    ngram.N.children   how many n-grams of length N each context has
    ngram.N.chars      the character that each n-gram ends with, context after context
    ngram.N.counts     its count; 255 stands for the next one of `large`
    ngram.N.large      the counts of 255 and more

The smallest unsigned type that holds the alphabet is used for children and characters.
Shapes: C contexts, M n-grams of one length.
"""

from __future__ import annotations

import numpy as np

from charrnn.text.ngram import Level
from charrnn.values import MAX_ORDER

LARGE = 255  # the first count that does not fit a byte beside the others
MOST_GRAMS = (1 << 31) - 2  # the kernel numbers them in 32 bits
PARTS = ("children", "chars", "counts", "large")


def packed_levels(levels: list[Level], vocabulary_size: int) -> dict[str, np.ndarray]:
    """Return levels as a file holds them."""
    dtype = smallest_type(vocabulary_size)
    tensors: dict[str, np.ndarray] = {}
    contexts = 1
    for n, level in enumerate(levels, 1):
        owner, character = np.divmod(level.grams, vocabulary_size)
        parts = (
            np.bincount(owner, minlength=contexts).astype(dtype),
            character.astype(dtype),
            np.minimum(level.counts, LARGE).astype(np.uint8),
            level.counts[level.counts >= LARGE].astype(np.uint32),
        )
        tensors |= {f"ngram.{n}.{name}": part for name, part in zip(PARTS, parts, strict=True)}
        contexts = len(level.grams)
    return tensors


def unpacked_levels(tensors: dict[str, np.ndarray], vocabulary_size: int) -> list[Level]:
    """Return the levels that packed_levels packed. Raises ValueError where they are no such thing.

    tensors: nothing else.
    """
    levels: list[Level] = []
    contexts = 1
    dtype = smallest_type(vocabulary_size)
    while f"ngram.{len(levels) + 1}.chars" in tensors:
        if len(levels) >= MAX_ORDER:
            raise ValueError("n-grams that are too long")
        n = len(levels) + 1
        parts = [tensors.get(f"ngram.{n}.{name}") for name in PARTS]
        level = _level(parts, contexts, vocabulary_size, dtype)
        levels.append(level)
        contexts = len(level.grams)
    if sum(len(level.grams) for level in levels) > MOST_GRAMS:
        raise ValueError("too many n-grams")
    if not levels or len(tensors) != len(PARTS) * len(levels):
        raise ValueError("not n-grams")
    return levels


def _level(
    parts: list[np.ndarray | None], contexts: int, base: int, dtype: type[np.unsignedinteger]
) -> Level:
    children, chars, counts, large = parts
    if children is None or chars is None or counts is None or large is None:
        raise ValueError("n-grams with a part missing")
    dtypes = [part.dtype for part in (children, chars, counts, large)]
    if dtypes != [dtype, dtype, np.uint8, np.uint32]:
        raise ValueError("n-grams of another type")
    is_large = counts == LARGE
    shapes = [children.shape, chars.shape, counts.shape, large.shape]
    number = int(children.sum(dtype=np.int64))
    if shapes != [(contexts,), (number,), (number,), (int(is_large.sum()),)] or not number:
        raise ValueError("n-grams that do not fit each other")
    if int(chars.max()) >= base or (large < LARGE).any():
        raise ValueError("n-grams out of range")
    grams = np.repeat(np.arange(contexts), children) * base + chars
    if (np.diff(grams) <= 0).any():
        raise ValueError("n-grams out of order")
    all_counts = counts.astype(np.uint32)
    all_counts[is_large] = large
    return Level(grams, all_counts)


def smallest_type(most: int) -> type[np.unsignedinteger]:
    """Return the smallest type that holds whole numbers up to this one."""
    if most < 1 << 8:
        return np.uint8
    return np.uint16 if most < 1 << 16 else np.uint32

"""Labels of items: their ids, and what a person may ask for.

A label is a symbol of its own before an item. It takes the newline's place as the first input, is
never part of the item's text, and is never predicted: with V symbols, label k has the id V + k.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import SettingsError
from charrnn.terminal import one_line
from charrnn.text.vocabulary import Vocabulary

ELSEWHERE = ("", "file", "prefix")  # values of --label that are no column
ALL = "all"  # of --label
DROPPED = 0.1  # of the labels, in each step of a training
SHOWN = 5  # labels in a message
_STREAM = 0x6C6162656C  # of random numbers: "label"


def column_of(settings: TextSettings) -> str:
    """Return the column of a table that holds the labels; "" where they stand elsewhere."""
    return "" if settings.label in ELSEWHERE else settings.label


def numbered(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return (N,) uint32: 1 + the place in names of each label; 0: none, or not among them."""
    number = {name: place for place, name in enumerate(names, 1)}
    return np.array([number.get(label, 0) for label in labels], np.uint32)


def first_ids(numbers: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Return (N,) int64: the first input of each item: its label's id, or the newline's."""
    newline = int(vocabulary.newline or 0)
    ids = numbers.astype(np.int64) - 1 + len(vocabulary)
    return np.where(numbers == 0, newline, ids)


def is_dropped(rows: int, seed: int, step: int) -> np.ndarray:
    """Return (rows,) bool: which rows of a step go without their label. A resume drops the same."""
    dropped: np.ndarray = np.random.default_rng([seed, step, _STREAM]).random(rows) < DROPPED
    return dropped


def check_labels(option: str, vocabulary: Vocabulary) -> None:
    """Raise SettingsError for a model without labels."""
    if not vocabulary.labels:
        raise SettingsError(
            f"{option}: this model knows no labels; train one with --label, or leave it out"
        )


def label_id(name: str, vocabulary: Vocabulary) -> int:
    """Return the id of a label. Raises SettingsError for one that the model does not know."""
    check_labels("--label", vocabulary)
    if name not in vocabulary.label_ids:
        raise SettingsError(_unknown_label(name, vocabulary))
    return vocabulary.label_ids[name]


def asked_labels(asked: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Return the labels that a person asked for; `all` stands for each. Raises SettingsError."""
    labels: list[str] = []
    for name in asked:
        if name == ALL and vocabulary.labels and name not in vocabulary.label_ids:
            labels += vocabulary.labels
        else:
            label_id(name, vocabulary)
            labels.append(name)
    return labels


def _unknown_label(name: str, vocabulary: Vocabulary) -> str:
    """Say that a model does not know a label, with those most like it."""
    folded = {known.casefold(): known for known in reversed(vocabulary.labels)}
    matches = difflib.get_close_matches(name.casefold(), folded, SHOWN, 0.5)
    near = [folded[match] for match in matches]
    hint = "the nearest" if near else "such as"
    listed = ", ".join(one_line(known) for known in near or vocabulary.labels[:SHOWN])
    return (
        f"--label {one_line(name)!r} is not among the {len(vocabulary.labels):,} labels "
        f"this model knows; {hint}: {listed}"
    )

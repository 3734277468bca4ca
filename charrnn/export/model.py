"""What a page must know to run a model: its weights, alphabet, n-grams and filters, as JSON.

The page's engine (engine.js, counting.js, codec.js) reads it. Numbers travel as base64. Of the
model file's own strings the labels are in it, which the page shows as text; of others, the names
that `named` makes of them.
"""

from __future__ import annotations

import base64
from typing import Any, TypedDict

import numpy as np

from charrnn.errors import SettingsError
from charrnn.export.named import corpus_name, described
from charrnn.layout import expected_shapes, sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import seed_of_label
from charrnn.text.compact import PARTS, packed_levels
from charrnn.text.gate import Ally
from charrnn.text.labelgrams import PARTS as LABEL_PARTS
from charrnn.text.novelty import read_filter
from charrnn.text.spelling import Spelling
from charrnn.texts import OpenedRun

WEIGHTS = ("auto", "float32", "float16")
MOST_SINGLES = 500_000  # weights that "auto" keeps in float32: a page of some 3 MB
MOST_FILTER_BYTES = 4 << 20
_MOST_HALF = float(np.finfo(np.float16).max)


class Packed(TypedDict):
    """An array in base64. kind: its type."""

    kind: str
    data: str


class Model(TypedDict):
    """A model as writer.js reads it.

    tensors: name, begin and end of each in `weights`. newline: the id that ends a line, or -1.
    known: filters of the training lines. labels: their names, and what each adds to a seed.
    """

    name: str
    kind: str
    lines: bool
    start: int
    newline: int
    shape: dict[str, Any]
    labels: dict[str, list[Any]]
    text: dict[str, Any]
    tensors: list[tuple[str, int, int]]
    weights: Packed
    spelling: dict[str, Packed] | None
    counting: dict[str, Any] | None
    known: list[Packed]


def check_pageable(model: ModelFile, option: str) -> None:
    """Raise SettingsError for a model that no page can run: one that only counts."""
    if model.counts:
        raise SettingsError(f"{option} runs networks, and this model counts n-grams; use --hub")


def packed_model(model: ModelFile, *, weights: str = "auto", with_filter: bool = True) -> Model:
    """Return a network as a page runs it, with the n-grams beside it.

    weights: "float16" halves the page and moves probabilities by about a thousandth; "auto" takes
    it for large networks. with_filter: a filter of the training lines goes along, which tells new
    lines from known ones.
    """
    settings = model.settings.model
    hidden, layers, embedding = sizes(settings)
    vocabulary = model.vocabulary
    reading = model.reading
    newline = -1
    if model.mode == "lines" and vocabulary.newline is not None:
        newline = vocabulary.newline
    labels = vocabulary.labels
    order = list(expected_shapes(settings, len(vocabulary), len(labels)))
    kind = _kind(model, weights)
    counting = None
    if model.ally is not None:
        counting = _counting(model.ally, len(vocabulary), len(labels))
    tensors, numbers = _joined(model, order, kind)
    return {
        "name": corpus_name(model),
        "kind": described(model),
        "lines": model.mode == "lines",
        "start": model.start,
        "newline": newline,
        "shape": {
            "cell": settings.cell,
            "skip": settings.skip,
            "layers": layers,
            "hidden": hidden,
            "embedding": embedding,
            "vocabulary": len(vocabulary),
            "conv": settings.conv,
            "tied": settings.tie_weights,
            "labels": len(labels),
            "newline": newline,
        },
        "labels": {"names": list(labels), "seeds": [seed_of_label(0, name) for name in labels]},
        "text": {
            "unit": vocabulary.unit,
            "symbols": list(vocabulary.symbols),
            "hasBreaks": vocabulary.has_breaks,
            "normalize": "" if reading.normalize == "none" else reading.normalize.upper(),
            "lineEnds": reading.newlines,
        },
        "tensors": tensors,
        "weights": numbers,
        "spelling": None if vocabulary.spelling is None else _spelling(vocabulary.spelling),
        "counting": counting,
        "known": _filters(model) if with_filter and model.mode == "lines" else [],
    }


def _kind(model: ModelFile, weights: str) -> str:
    """Return the type of the weights. Raises SettingsError where float16 cannot hold them."""
    fits = all(float(np.abs(value).max()) <= _MOST_HALF for value in model.tensors.values())
    if weights == "float16" and not fits:
        raise SettingsError("--weights float16: a weight is too large for it; use float32")
    if weights != "auto":
        return weights
    count = sum(value.size for value in model.tensors.values())
    return "float16" if count > MOST_SINGLES and fits else "float32"


def _joined(
    model: ModelFile, order: list[str], kind: str
) -> tuple[list[tuple[str, int, int]], Packed]:
    """Return where each tensor lies among all weights, and these."""
    places = []
    begin = 0
    for name in order:
        end = begin + model.tensors[name].size
        places.append((name, begin, end))
        begin = end
    flat = np.concatenate([model.tensors[name].ravel() for name in order])
    return places, packed(flat.astype(kind))


def packed(array: np.ndarray) -> Packed:
    """Return an array in base64, with its lowest byte first."""
    kind = array.dtype.name
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {"kind": kind, "data": base64.b64encode(data.tobytes()).decode()}


def _spelling(spelling: Spelling) -> dict[str, Packed]:
    """Return which bytes of rare characters may follow which."""
    return {
        "after": packed(spelling.after.astype(np.int16)),
        "table": packed(spelling.table.ravel().astype(np.int16)),
    }


def _counting(ally: Ally, vocabulary_size: int, labels: int) -> dict[str, Any]:
    """Return the n-grams beside a network, those of its labels, and their gate. labels: K."""
    levels = ally.contexts.ngram.levels
    tensors = packed_levels(levels, vocabulary_size)
    names = ("children", "characters", "counts", "large")
    by_label = None
    if ally.by_label is not None:
        owned = ally.by_label.tensors(labels)
        by_label = {
            "share": ally.by_label.share,
            "levels": [
                {name: packed(owned[f"bylabel.{n}.{name}"]) for name in LABEL_PARTS}
                for n in range(1, len(levels) + 1)
            ],
        }
    return {
        "theta": ally.theta.tolist(),
        "labels": by_label,
        "levels": [
            {
                name: packed(tensors[f"ngram.{n}.{part}"])
                for name, part in zip(names, PARTS, strict=True)
            }
            for n in range(1, len(levels) + 1)
        ],
    }


def _filters(model: ModelFile) -> list[Packed]:
    """Return the filters of the lines that a model has learnt; none where one is missing."""
    files = OpenedRun(model).filter_files
    filters = [read_filter(file, model.mode, model.vocabulary.unit) for file in files]
    words = [one.words for one in filters if one is not None]
    if len(words) < len(files) or sum(map(len, words)) * 8 > MOST_FILTER_BYTES:
        return []
    return [packed(one) for one in words]

"""The first section of a page: what the finished model writes, and the model itself.

Samples are drawn with fixed seeds, so that equal models have equal pages.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from charrnn.export.model import Model, packed_model
from charrnn.modelfile import ModelFile
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler

TEMPERATURES = (0.5, 0.8, 1.1)
LINES = 10  # at each temperature
PASSAGE_CHARS = 400
LINE_CHARS = 120  # what is shown of a line
SEED = 1
MOST_LABELS = 9  # that are shown
LABEL_LINES = 5  # of each
LABEL_TEMPERATURE = 0.8
MOST_WEIGHTS = 3_000_000  # of a model that goes into the page: 8 MB


class Written(TypedDict):
    """What was written at a temperature: lines, or one passage."""

    temperature: float
    texts: list[str]


class Labelled(TypedDict):
    """What was written with a label."""

    label: str
    texts: list[str]


class Finished(TypedDict):
    """What the finished model writes. said: how it was drawn.

    labelled: items of the most frequent labels, where it knows some.
    """

    lines: bool
    said: str
    written: list[Written]
    labelled: list[Labelled]


def finished_of(model: ModelFile) -> Finished:
    """Return thirty lines at three temperatures, or three passages."""
    sampler = Sampler(model)
    is_lines = model.mode == "lines"
    count = LINES if is_lines else 1
    length = LINE_CHARS if is_lines else PASSAGE_CHARS
    written: list[Written] = []
    for temperature in TEMPERATURES:
        decoding = Decoding(temperature)
        samples = sampler.generate(count, decoding=decoding, length=length, seed=SEED)
        written.append({"temperature": temperature, "texts": [sample.text for sample in samples]})
    return {
        "lines": is_lines,
        "said": "A low temperature keeps to what is likely; a high one dares more.",
        "written": written,
        "labelled": _labelled(model, sampler),
    }


def _labelled(model: ModelFile, sampler: Sampler) -> list[Labelled]:
    """Return what the model writes with its labels, the most frequent first."""
    names = model.vocabulary.labels
    order = np.argsort(-model.label_counts, kind="stable")[:MOST_LABELS]
    decoding = Decoding(LABEL_TEMPERATURE)
    written: list[Labelled] = []
    for name in (names[place] for place in order.tolist()):
        samples = sampler.generate(
            LABEL_LINES, decoding=decoding, length=LINE_CHARS, seed=SEED, label=name
        )
        written.append({"label": name, "texts": [sample.text for sample in samples]})
    return written


def model_in_page(model: ModelFile) -> Model | None:
    """Return the model for the box; None for one that only counts, or is too large for a page."""
    if model.counts or sum(value.size for value in model.tensors.values()) > MOST_WEIGHTS:
        return None
    return packed_model(model)

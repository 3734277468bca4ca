"""Held-out text with what the model did at each character: its cells, guesses and surprise.

This is the data of the page's viewer (viewer.js). Activations are rounded to 255 levels of each
unit's own range: a colour shows no more, and a page stays small. Which cells are worth a look is
not known here.
"""

from __future__ import annotations

import base64
import math
from typing import NotRequired, TypedDict

import numpy as np

from charrnn.insight import cells
from charrnn.modelfile import ModelFile
from charrnn.sampling.counted import Counted
from charrnn.sampling.decode import Decoding, distribution, surprise
from charrnn.scoring.text import Text, cut
from charrnn.text.spelling import MAX_CODE

SHOWN_CHARS = 1600
MOST_BYTES = 1_500_000  # of activations, before base64
LEVELS = 127
# The state comes first: of the others, a large network has only some units in the page.
LABELS = {
    "cell": "cell state",
    "hidden": "hidden state",
    "forget": "forget gate",
    "input": "input gate",
    "output": "output gate",
    "reset": "reset gate",
    "update": "update gate",
    "candidate": "candidate",
}
PART_NOTE = (
    "To keep the page small, some gates show only part of their units: those of the cells found, "
    "and those that vary most."
)


class TrackingCell(TypedDict):
    """A cell that follows a feature, in words. array, unit: where it is in the viewer."""

    title: str
    array: str
    unit: int
    place: str
    score: str
    luck: str
    accuracy: str


class Units(TypedDict):
    """Some units of one state or gate. of: how many it has. data: signed bytes (units, N)."""

    name: str
    label: str
    gate: bool
    of: int
    units: list[int]
    scales: list[float]
    data: str


class Viewer(TypedDict):
    """The text, and what the model did at each character.

    most: guesses at each character; shares: their probabilities, in thousandths. note: which units
    are left out. said, missed: an introduction, and the features that no cell follows.
    """

    split: str | None
    symbols: list[str]
    lines: bool
    newline: int | None
    ids: list[int]
    bits: list[float | None]
    most: int
    guesses: list[int]
    shares: list[int]
    arrays: list[Units]
    found: list[TrackingCell]
    note: str
    said: NotRequired[str]
    missed: NotRequired[str]


def viewer(model: ModelFile, text: Text, tracking: list[TrackingCell]) -> Viewer:
    """The beginning of a text. tracking: cells that are all in the viewer."""
    ids = cut(model, text.ids, SHOWN_CHARS)[: 4 * SHOWN_CHARS]
    trace = _trace_of_counts(model, ids) if model.counts else cells.trace(model, ids)
    arrays = _arrays(trace.activations, tracking)
    is_partial = any(len(array["units"]) < array["of"] for array in arrays)
    note = PART_NOTE if is_partial else ""
    # Where rare characters are bytes, the text's own ones follow the vocabulary's symbols.
    known = np.array(model.vocabulary.symbols, np.uint32)
    symbols = np.append(known, np.setdiff1d(trace.codes, known))
    return {
        "split": text.split,
        "symbols": [_symbol(model, code) for code in symbols.tolist()],
        "lines": model.mode == "lines",
        "newline": model.vocabulary.newline,
        "ids": _places(symbols, trace.codes).tolist(),
        "bits": [_bits(nats) for nats in trace.surprise.tolist()],
        "most": trace.guesses.shape[1],
        "guesses": trace.guesses.ravel().tolist(),
        "shares": np.round(1000 * trace.probabilities).astype(int).ravel().tolist(),
        "arrays": arrays,
        "found": tracking,
        "note": note,
    }


def _places(symbols: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return where each of codes (N,) stands among symbols, which are distinct."""
    order = np.argsort(symbols)
    places: np.ndarray = order[np.searchsorted(symbols, codes, sorter=order)]
    return places


def label(name: str, layers: int) -> str:
    """`layer0.cell` in words; of a network of one layer without its number."""
    words = LABELS[_kind(name)]
    return words if layers == 1 else f"layer {_layer(name)}, {words}"


def _symbol(model: ModelFile, code: int) -> str:
    if model.vocabulary.unit == "byte" and code >= 0x80:
        return f"\\x{code:02x}"
    if code >= MAX_CODE:  # a byte of a rare character
        return f"\\x{code - MAX_CODE:02x}"
    return chr(code)


def _bits(nats: float) -> float | None:
    return None if math.isnan(nats) else round(nats / math.log(2), 3)


def _arrays(activations: cells.Activations, tracking: list[TrackingCell]) -> list[Units]:
    """As many units of each array as there is room for.

    States come before gates, and tracking cells before others.
    """
    if not activations:
        return []
    chars, size = next(iter(activations.values())).shape
    kinds = list(LABELS)
    names = sorted(activations, key=lambda name: (kinds.index(_kind(name)), name))
    state_kind = _kind(names[0])
    layers = sum(_kind(name) == state_kind for name in names)
    room = MOST_BYTES // chars
    of_states = min(size, room // layers)
    of_gates = min(size, (room - of_states * layers) // max(1, len(names) - layers))
    arrays = []
    for name in sorted(names, key=lambda name: (_layer(name), names.index(name))):
        most = of_states if _kind(name) == state_kind else of_gates
        arrays.append(_array(name, activations[name], most, tracking, layers))
    return arrays


def _array(
    name: str, values: np.ndarray, most: int, tracking: list[TrackingCell], layers: int
) -> Units:
    """Round values (N, H) to bytes (units, N), with 0 in the middle of a unit's range."""
    # 1. The units that track something, then those that vary most.
    wanted = list(dict.fromkeys(int(cell["unit"]) for cell in tracking if cell["array"] == name))
    by_variation = np.argsort(-values.std(axis=0), kind="stable").tolist()
    others = [unit for unit in by_variation if unit not in set(wanted)]
    units = sorted(wanted + others[: max(0, most - len(wanted))])

    # 2. Their levels.
    chosen = np.nan_to_num(values[:, units].T.astype(np.float64))
    is_gate = _kind(name) in cells.GATES
    if is_gate:
        centre = 0.5
        scales = np.full(len(units), 0.5)
    else:
        centre = 0.0
        scales = np.maximum(np.abs(chosen).max(axis=1), 1e-6)
    levels = np.rint(LEVELS * (chosen - centre) / scales[:, None])
    levels = np.clip(levels, -LEVELS, LEVELS).astype(np.int8)

    return {
        "name": name,
        "label": label(name, layers),
        "gate": is_gate,
        "of": values.shape[1],
        "units": units,
        "scales": [float(f"{scale:.4g}") for scale in scales.tolist()],
        "data": base64.b64encode(levels.tobytes()).decode(),
    }


def _kind(name: str) -> str:
    return name.split(".")[1]


def _layer(name: str) -> int:
    return int(name.split(".")[0].removeprefix("layer"))


def _trace_of_counts(model: ModelFile, ids: np.ndarray) -> cells.Trace:
    """A text as a counting model read it: its guesses and its surprise. It has no cells."""
    ngram = model.ngram()
    steps = Counted(ngram)
    most = min(cells.GUESSES, len(model.vocabulary))
    nats = np.full(len(ids), np.nan)
    guesses = np.full((len(ids), most), -1)
    probabilities = np.zeros((len(ids), most))
    state = steps.zero_state(1)
    logits = steps.logits(state)
    spelling = model.vocabulary.spelling
    states = np.zeros(len(ids), np.int32) if spelling is None else spelling.states(ids)
    for place, char in enumerate(ids.tolist()):
        if place or ngram.boundary is not None:
            if spelling is not None:
                logits = spelling.masked(logits, states[place : place + 1])
            shares = distribution(logits, Decoding())[0]
            best = np.argsort(-shares, kind="stable")[:most]
            nats[place] = surprise(logits, np.array([char]))[0]
            guesses[place] = best
            probabilities[place] = shares[best]
        if char == ngram.boundary:
            state = steps.zero_state(1)
        logits, state = steps.step(np.array([char]), state)
    predicted = cells.Predictions(nats, guesses, probabilities)
    return cells.joined(model, ids, predicted, {})

"""Held-out text with what the model thought at each character: its cells, its guesses, its surprise. For the page's viewer.

Activations are rounded to 255 levels of each unit's own range: a colour shows no more, and a page stays small.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from charrnn.insight import cells
from charrnn.modelfile import ModelFile
from charrnn.sampling.counted import Counted
from charrnn.sampling.decode import Decoding, distribution, surprise
from charrnn.scoring.text import Text

SHOWN_CHARS = 1600
MOST_BYTES = 1_500_000  # of activations, before base64
LEVELS = 127
# The state first: of the others a large network has only some units in the page.
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


def viewer(model: ModelFile, text: Text, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The beginning of a text. found: cells that were found, with "array" and "unit"; these are all in it."""
    ids = cells.cut(model, text.ids, SHOWN_CHARS)[: 4 * SHOWN_CHARS]
    traced = _counted(model, ids) if model.counts else cells.trace(model, ids)
    arrays = _arrays(traced.activations, found)
    partly = sorted(
        {(len(each["units"]), each["of"]) for each in arrays if len(each["units"]) < each["of"]}
    )
    return {
        "split": text.split,
        "symbols": [_symbol(model, code) for code in model.vocabulary.symbols],
        "lines": model.mode == "lines",
        "newline": model.vocabulary.newline,
        "ids": ids.tolist(),
        "bits": [
            None if math.isnan(nats) else round(nats / math.log(2), 3)
            for nats in traced.surprise.tolist()
        ],
        "most": traced.guesses.shape[1],
        "guesses": traced.guesses.ravel().tolist(),
        "shares": np.round(1000 * traced.probabilities).astype(int).ravel().tolist(),
        "arrays": arrays,
        "found": found,
        "note": ""
        if not partly
        else "To keep the page small, some gates show only part of their units: those of the cells "
        "found, and those that vary most.",
    }


def label(name: str, layers: int) -> str:
    """`layer0.cell` in words; of a network of one layer without its number."""
    return LABELS[_kind(name)] if layers == 1 else f"layer {_layer(name)}, {LABELS[_kind(name)]}"


def _symbol(model: ModelFile, code: int) -> str:
    return f"\\x{code:02x}" if model.vocabulary.unit == "byte" and code >= 0x80 else chr(code)


def _arrays(
    activations: dict[str, np.ndarray], found: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of each array as many units as there is room for: of states before gates, of found cells before others."""
    if not activations:
        return []
    chars, size = next(iter(activations.values())).shape
    names = sorted(activations, key=lambda name: (list(LABELS).index(_kind(name)), name))
    first = _kind(names[0])
    states, rest = [n for n in names if _kind(n) == first], [n for n in names if _kind(n) != first]
    room = MOST_BYTES // chars
    of_states = min(size, room // len(states))
    of_rest = min(size, (room - of_states * len(states)) // max(1, len(rest)))
    return [
        _array(
            name, activations[name], of_states if name in states else of_rest, found, len(states)
        )
        for name in sorted(names, key=lambda name: (_layer(name), names.index(name)))
    ]


def _array(
    name: str, values: np.ndarray, most: int, found: list[dict[str, Any]], layers: int
) -> dict[str, Any]:
    """values (N, H) -> bytes (units, N), 0 in the middle of a unit's range."""
    wanted = list(dict.fromkeys(int(each["unit"]) for each in found if each["array"] == name))
    others = [
        unit
        for unit in np.argsort(-values.std(axis=0), kind="stable").tolist()
        if unit not in set(wanted)
    ]
    units = sorted(wanted + others[: max(0, most - len(wanted))])
    chosen = np.nan_to_num(values[:, units].T.astype(np.float64))
    is_gate = _kind(name) in cells.GATES
    centre = 0.5 if is_gate else 0.0
    scales = np.full(len(units), 0.5) if is_gate else np.maximum(np.abs(chosen).max(axis=1), 1e-6)
    levels = np.clip(np.rint(LEVELS * (chosen - centre) / scales[:, None]), -LEVELS, LEVELS).astype(
        np.int8
    )
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


def _counted(model: ModelFile, ids: np.ndarray) -> cells.Trace:
    """The same of a counting model, which has guesses and no cells."""
    ngram = model.ngram()
    steps, most = Counted(ngram), min(cells.GUESSES, len(model.vocabulary))
    state = steps.zero_state(1)
    logits = steps.logits(state)
    found = cells.Trace(
        ids,
        np.full(len(ids), np.nan),
        np.full((len(ids), most), -1),
        np.zeros((len(ids), most)),
        {},
    )
    for place, char in enumerate(ids.tolist()):
        if place or ngram.boundary is not None:
            shares = distribution(logits, Decoding())[0]
            best = np.argsort(-shares, kind="stable")[:most]
            found.surprise[place] = surprise(logits, np.array([char]))[0]
            found.guesses[place], found.probabilities[place] = best, shares[best]
        logits, state = steps.step(
            np.array([char]), steps.zero_state(1) if char == ngram.boundary else state
        )
    return found

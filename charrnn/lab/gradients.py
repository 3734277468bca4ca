"""How far back a loss is felt: the norm of dL_t/dh_{t-k}, and of dL_t/dc_{t-k}, against the lag k.

L_t is the nats of one character. dL_t/dh_{t-k} is the lecture's product: the head's gradient times the Jacobians
dh_t/dh_{t-1} ... dh_{t-k+1}/dh_{t-k}; with several layers, all ways from h_{t-k} of a layer to L_t, up and forward.
The LSTM has two states: the derivative by one holds the other of the same time fixed, except that h_{t-k} follows from
c_{t-k}. Computed in float64 by the textbook's equations, each position of a text by itself; norms are averaged over
positions. Source: Bengio et al. 1994; Pascanu et al. 2013.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from charrnn.config import ModelSettings
from charrnn.errors import CorpusError
from charrnn.lab.models import fresh, names_stream, read_run, train_briefly
from charrnn.lab.result import Cell, Panel, Result, Series
from charrnn.lab.unrolled import Step, Tensors, linear_step, nats, tensors_of, unroll
from charrnn.layout import sizes
from charrnn.model import equations
from charrnn.terminal import one_line
from charrnn.text.corpus import line_bounds

POSITIONS = 256  # losses looked at
LEAST_LAGS = 3
WARM_UP = 32  # characters read, from the zero state, before the farthest lag
SIZE, STEPS = 64, 400  # hidden units and updates of the lab's own cells
EMBEDDING = 16
MAX_BYTES = 1 << 30  # of a graph held at once, about


class Windows(NamedTuple):
    """ids (N, T + 1): a text and, last, the character whose loss is looked at. starts (N,): where each text begins."""

    ids: torch.Tensor
    starts: torch.Tensor
    lags: int


class Curve(NamedTuple):
    """What the table and the pictures are made of. norms (N, lags + 1), from lag 0, by position."""

    cell: str
    weights: str
    of: str
    norms: np.ndarray
    radius: float | None = None


def stream_windows(ids: np.ndarray, lags: int, seed: int) -> Windows:
    """POSITIONS different places of a stream; fewer, and fewer lags, where it is short. Raises CorpusError."""
    lags = min(lags, max(LEAST_LAGS, len(ids) - WARM_UP - POSITIONS - 1))
    width = WARM_UP + lags + 2
    if len(ids) < width:
        raise CorpusError(f"the text held out has {len(ids):,} characters; this lab needs {width}")
    places = len(ids) - width + 1
    first = np.sort(
        np.random.default_rng(seed).choice(places, min(POSITIONS, places), replace=False)
    )
    text = ids[first[:, None] + np.arange(width)].astype(np.int64)
    return Windows(torch.from_numpy(text), torch.zeros(len(text), dtype=torch.int64), lags)


def line_windows(ids: np.ndarray, newline: int, lags: int, seed: int) -> Windows:
    """Places in lines, each line from the zero state; fewer lags where lines are short. Raises CorpusError."""
    starts, lengths = line_bounds(ids, newline)
    # Place p of a line comes after the newline before it and p characters, so that lags 0 to p have a state of the line.
    places = {k: np.clip(lengths - k + 1, 0, WARM_UP) for k in range(LEAST_LAGS, lags + 1)}
    found = {k: int(counts.sum()) for k, counts in places.items()}
    if not found[LEAST_LAGS]:
        raise CorpusError(
            f"no line held out has {LEAST_LAGS} characters; this lab needs longer ones"
        )
    lags = max(k for k in found if found[k] >= min(POSITIONS, found[LEAST_LAGS]))
    after = np.cumsum(places[lags])
    chosen = np.sort(
        np.random.default_rng(seed).choice(found[lags], min(POSITIONS, found[lags]), replace=False)
    )
    line = np.searchsorted(after, chosen, side="right")
    place = lags + chosen - (after - places[lags])[line]
    width = lags + WARM_UP  # characters read at the farthest place
    text = ids.take((starts[line] + place)[:, None] + np.arange(-width, 1), mode="wrap").astype(
        np.int64
    )
    return Windows(torch.from_numpy(text), torch.from_numpy(width - 1 - place), lags)


def gradient_norms(
    settings: ModelSettings, tensors: Tensors, windows: Windows, step: Step = equations.step
) -> list[list[np.ndarray]]:
    """[layer][h, c] -> (N, lags + 1): the norm of dL_t/dh_{t-k}, and of dL_t/dc_{t-k} for the LSTM."""
    hidden, layers, _ = sizes(settings)
    read = windows.ids.shape[1] - 1
    rows = max(
        1, MAX_BYTES // (30 * 8 * hidden * layers * read)
    )  # some 30 numbers a unit and character
    parts = []
    for ids, starts in zip(windows.ids.split(rows), windows.starts.split(rows), strict=True):
        unrolled = unroll(settings, tensors, ids[:, :-1], starts=starts, step=step)
        loss = nats(
            tensors, unrolled.hidden[-1], ids[:, -1]
        ).sum()  # rows do not meet: each has its own gradient
        wanted = [states[: -windows.lags - 2 : -1] for states in unrolled.states]
        nodes = [node for states in wanted for kind in zip(*states, strict=True) for node in kind]
        gradients = torch.autograd.grad(loss, nodes)
        norms = torch.stack([torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients])
        parts.append(norms.view(layers, -1, windows.lags + 1, len(ids)).transpose(2, 3).numpy())
    return [list(layer) for layer in np.concatenate(parts, 2)]


def fitted_rate(mean_norms: np.ndarray) -> float:
    """The factor by which norms shrink from one lag to the next: least squares on their logarithms, over the farther
    half of the lags, where the first ones' own ways have died out. NaN where a norm is zero. mean_norms: from lag 0.
    """
    far = mean_norms[len(mean_norms) // 2 :]
    if not (far > 0).all():
        return math.nan
    lags = np.arange(len(far)) - (len(far) - 1) / 2
    return math.exp(float(lags @ np.log(far) / (lags @ lags)))


def half_life(rate: float) -> float:
    """Characters after which half is left; infinite for a rate of 1 or more."""
    return math.inf if rate >= 1 else math.log(0.5) / math.log(rate)


def shares(mean_norms: np.ndarray) -> np.ndarray:
    """(lags + 1,): the part of all the gradient that lies within each lag; NaN where there is none."""
    total = mean_norms.sum()
    return np.cumsum(mean_norms) / total if total > 0 else np.full(len(mean_norms), math.nan)


def spectral_radius(matrix: torch.Tensor) -> float:
    """The largest absolute eigenvalue of a (H, H) matrix; NaN if it is not finite."""
    finite = bool(torch.isfinite(matrix).all())
    return float(torch.linalg.eigvals(matrix.detach().double()).abs().max()) if finite else math.nan


def vanish(run: Path | None, lags: int, seed: int, say: Callable[[str], None]) -> Result:
    """The lab: of a run's model and held-out text, or of fresh and briefly trained cells on the shipped names.

    Raises CheckpointError, CorpusError.
    """
    return _of_run(run, lags, seed) if run is not None else _of_cells(lags, seed, say)


def _of_run(run: Path, lags: int, seed: int) -> Result:
    model_file, ids = read_run(run)
    settings = model_file.settings.model
    tensors = {name: torch.from_numpy(value).double() for name, value in model_file.tensors.items()}
    if model_file.mode == "lines":
        windows = line_windows(ids, int(model_file.vocabulary.newline or 0), lags, seed)
    else:
        windows = stream_windows(ids, lags, seed)
    norms, curves = gradient_norms(settings, tensors, windows), []
    for k, layer in enumerate(norms):
        name = f"{settings.cell}, layer {k + 1}" if len(norms) > 1 else settings.cell
        radius = (
            spectral_radius(tensors[f"recurrent.weight_hh_l{k}"])
            if settings.cell == "rnn"
            else None
        )
        curves += [
            Curve(name, "trained", of, each, radius) for of, each in zip("hc", layer, strict=False)
        ]
    sentence = about_slowest(curves, windows.lags)
    settled = {"run": str(run), "lags": windows.lags, "positions": len(windows.ids), "seed": seed}
    return Result(
        f"Gradient of one character's loss by earlier states: {one_line(run.name)}, {model_file.mode}",
        _columns(windows.lags),
        tuple(map(_row, curves)),
        (
            _norm_panel("norm of the gradient", curves),
            _share_panel("share of the gradient", curves),
        ),
        sentence,
        settled,
    )


def about_slowest(curves: list[Curve], lags: int) -> str:
    """What to see in a run, in words."""
    half = (lags + 1) // 2
    reaching = [curve for curve in curves if math.isfinite(_rate(curve))]
    if not reaching:
        return f"From {half} characters back on, nothing is left of the gradient."
    slowest = max(reaching, key=_rate)
    others = ", and less by all others" if len(curves) > 1 else ""
    return (
        f"From {half} to {lags} characters back, each one leaves {_left(slowest)} of the gradient by {slowest.of} of "
        f"{slowest.cell}{others}; 90 % of it lies within {_within(slowest)} characters."
    )


def _of_cells(lags: int, seed: int, say: Callable[[str], None]) -> Result:
    train, held_out, vocabulary_size = names_stream(seed)
    windows = stream_windows(held_out, lags, seed)
    untrained: list[Curve] = []
    trained: list[Curve] = []
    for name in ("linear rnn", "rnn", "lstm, bias 0", "lstm", "gru", "gru-before"):
        cell = {"linear rnn": "rnn", "lstm, bias 0": "lstm"}.get(name, name)
        settings = ModelSettings(
            cell=cell, hidden_size=SIZE, num_layers=1, embedding_size=EMBEDDING
        )
        if name != cell and cell == "lstm":
            settings = dataclasses.replace(settings, forget_bias=0.0)
        model = fresh(settings, vocabulary_size, seed)
        step = linear_step if name == "linear rnn" else equations.step
        untrained += _curves(name, "untrained", settings, tensors_of(model), windows, step)
        if name == cell:
            say(f"{name}: {STEPS} updates")
            train_briefly(model, train, STEPS)
            trained += _curves(name, "trained", settings, tensors_of(model), windows, step)
    find = {(curve.cell, curve.weights, curve.of): curve for curve in untrained + trained}
    rnn, linear = find["rnn", "untrained", "h"], find["linear rnn", "untrained", "h"]
    lstm, bare = find["lstm", "untrained", "c"], find["lstm, bias 0", "untrained", "c"]
    kept = max(trained, key=lambda curve: curve.norms.mean(0)[-1])
    sentence = (
        f"Straight lines on a logarithmic axis: untrained, each character back leaves {_left(rnn)} of the gradient in the rnn, "
        f"{_left(lstm)} in the lstm's c with forget bias 1 and {_left(bare)} without; the linear rnn's {_rate(linear):.3f} "
        f"comes from the spectral radius of its matrix, {linear.radius:.3f}. After {STEPS} updates, most has come {windows.lags} "
        f"characters far in the {kept.cell}: {kept.norms.mean(0)[-1]:.1e} nats, against "
        f"{find['rnn', 'trained', 'h'].norms.mean(0)[-1]:.1e} in the rnn."
    )
    settled = {
        "text": "names, shuffled, as one stream",
        "hidden size": SIZE,
        "updates": STEPS,
        "lags": windows.lags,
        "positions": len(windows.ids),
        "seed": seed,
    }
    panels = (
        _norm_panel("norm, untrained", untrained),
        _norm_panel(f"norm, after {STEPS} updates", trained),
        _share_panel("share, untrained", untrained),
        _share_panel(f"share, after {STEPS} updates", trained),
    )
    rows = tuple(map(_row, untrained + trained))
    return Result(
        "Gradient of one character's loss by earlier states",
        _columns(windows.lags),
        rows,
        panels,
        sentence,
        settled,
    )


def _curves(
    name: str, weights: str, settings: ModelSettings, tensors: Tensors, windows: Windows, step: Step
) -> list[Curve]:
    (layer,) = gradient_norms(settings, tensors, windows, step)
    radius = spectral_radius(tensors["recurrent.weight_hh_l0"]) if settings.cell == "rnn" else None
    return [Curve(name, weights, of, each, radius) for of, each in zip("hc", layer, strict=False)]


def _columns(lags: int) -> tuple[str, ...]:
    at = (f"lag {k}" for k in (1, (lags + 1) // 2, lags))
    return ("cell", "weights", "of", *at, "rate", "half-life", "90 % in", "radius")


def _row(curve: Curve) -> tuple[Cell, ...]:
    mean = curve.norms.mean(0)
    rate = _rate(curve)
    ends = (mean[1], mean[len(mean) // 2], mean[-1])
    return (
        curve.cell,
        curve.weights,
        curve.of,
        *(float(each) for each in ends),
        rate,
        half_life(rate),
        _within(curve),
        curve.radius,
    )


def _rate(curve: Curve) -> float:
    return fitted_rate(curve.norms.mean(0))


def _within(curve: Curve) -> int:
    return int(np.searchsorted(shares(curve.norms.mean(0)), 0.9))


def _left(curve: Curve) -> str:
    rate = _rate(curve)
    life = half_life(rate)
    return f"{rate:.3f} ({f'half in {life:.3g} characters' if math.isfinite(life) else 'no fall'})"


def _norm_panel(title: str, curves: list[Curve]) -> Panel:
    """Means, and the middle half of the positions as a band."""
    series = []
    for curve in curves:
        low, high = np.quantile(curve.norms, [0.25, 0.75], axis=0)
        series.append(_series(curve, curve.norms.mean(0), low, high))
    return Panel(
        title, "lag k, characters", "norm of the gradient, nats", tuple(series), log_y=True
    )


def _share_panel(title: str, curves: list[Curve]) -> Panel:
    series = tuple(_series(curve, shares(curve.norms.mean(0))) for curve in curves)
    return Panel(title, "lag k, characters", "share of the gradient within k", series)


def _series(
    curve: Curve, y: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> Series:
    name = f"{curve.cell}, {curve.of}" if curve.cell.startswith("lstm") else curve.cell
    bounds = [None if each is None else tuple(each.tolist()) for each in (low, high)]
    return Series(name, tuple(range(len(y))), tuple(y.tolist()), *bounds)

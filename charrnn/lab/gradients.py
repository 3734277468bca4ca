"""How far back a loss is felt: the norm of dL_t/dh_{t-k}, and of dL_t/dc_{t-k}, against the lag k.

L_t is the nats of one character. dL_t/dh_{t-k} is the head's gradient times the Jacobians
dh_t/dh_{t-1} ... dh_{t-k+1}/dh_{t-k}. With several layers it sums all ways from h_{t-k} of a layer
to L_t, upwards and forward. The LSTM has two states: the derivative by one holds the other of the
same time fixed, except that h_{t-k} follows from c_{t-k}.

Everything is computed in float64 by the textbook's equations. Each position of a text has its own
gradient; the norms are averaged over positions. Source: Bengio et al. 1994; Pascanu et al. 2013.

Shapes: N positions, T characters read, H hidden units.
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
from charrnn.machine.runtime import choose_device
from charrnn.model import equations
from charrnn.terminal import one_line
from charrnn.text.corpus import line_bounds

POSITIONS = 256  # losses looked at
LEAST_LAGS = 3
WARM_UP = 32  # characters read, from the zero state, before the farthest lag
MAX_BYTES = 1 << 30  # of a graph held at once, about

# The lab's own networks
NETWORKS = ("linear rnn", "rnn", "lstm, bias 0", "lstm", "gru", "gru-before")
CELLS = {"linear rnn": "rnn", "lstm, bias 0": "lstm"}  # where the name is not the cell's
SIZE = 64  # hidden units
EMBEDDING = 16
STEPS = 400  # updates


class Windows(NamedTuple):
    """Positions of a text whose loss is looked at."""

    ids: torch.Tensor  # (N, T + 1): what is read and, last, the character that is predicted
    starts: torch.Tensor  # (N,): where each text begins
    lags: int


class Curve(NamedTuple):
    """The gradients of one state of one network: a row of the table, a line of a picture."""

    cell: str
    weights: str  # "untrained" or "trained"
    of: str  # the state: h or c
    norms: np.ndarray  # (N, lags + 1), from lag 0
    radius: float | None = None  # spectral radius of the rnn's recurrent matrix

    @property
    def mean(self) -> np.ndarray:
        """The mean norm of each lag, (lags + 1,)."""
        mean: np.ndarray = self.norms.mean(0)
        return mean

    @property
    def rate(self) -> float:
        """The factor by which the mean norm shrinks from one lag to the next."""
        return fitted_rate(self.mean)

    @property
    def reach(self) -> int:
        """The lag within which 90 % of the gradient lies."""
        return int(np.searchsorted(shares(self.mean), 0.9))


def stream_windows(ids: np.ndarray, lags: int, seed: int) -> Windows:
    """Draw POSITIONS different places of a stream; fewer, and fewer lags, where it is short.

    Raises CorpusError.
    """
    lags = min(lags, max(LEAST_LAGS, len(ids) - WARM_UP - POSITIONS - 1))
    width = WARM_UP + lags + 2
    if len(ids) < width:
        raise CorpusError(f"the text held out has {len(ids):,} characters; this lab needs {width}")
    places = len(ids) - width + 1
    random = np.random.default_rng(seed)
    first = np.sort(random.choice(places, min(POSITIONS, places), replace=False))
    text = ids[first[:, None] + np.arange(width)].astype(np.int64)
    return Windows(torch.from_numpy(text), torch.zeros(len(text), dtype=torch.int64), lags)


def line_windows(ids: np.ndarray, newline: int, lags: int, seed: int) -> Windows:
    """Draw places in lines, each line read from the zero state; fewer lags where lines are short.

    Raises CorpusError.
    """
    # 1. How many lags. Place p of a line comes after the newline before it and p characters, so
    #    that lags 0 to p have a state of the line.
    starts, lengths = line_bounds(ids, newline)
    places = {k: np.clip(lengths - k + 1, 0, WARM_UP) for k in range(LEAST_LAGS, lags + 1)}
    totals = {k: int(counts.sum()) for k, counts in places.items()}
    if not totals[LEAST_LAGS]:
        raise CorpusError(
            f"no line held out has {LEAST_LAGS} characters; this lab needs longer ones"
        )
    enough = min(POSITIONS, totals[LEAST_LAGS])
    lags = max(k for k, total in totals.items() if total >= enough)

    # 2. Which places: of all lines' places, numbered through
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(totals[lags], min(POSITIONS, totals[lags]), replace=False))
    after = np.cumsum(places[lags])
    line = np.searchsorted(after, chosen, side="right")
    place = lags + chosen - (after - places[lags])[line]

    # 3. Their texts, all as wide as the farthest place needs
    width = lags + WARM_UP
    columns = (starts[line] + place)[:, None] + np.arange(-width, 1)
    text = ids.take(columns, mode="wrap").astype(np.int64)
    return Windows(torch.from_numpy(text), torch.from_numpy(width - 1 - place), lags)


def gradient_norms(
    settings: ModelSettings, tensors: Tensors, windows: Windows, step: Step = equations.step
) -> list[list[np.ndarray]]:
    """Measure the norms of dL_t/dh_{t-k} and, for the LSTM, of dL_t/dc_{t-k}.

    Returns them as [layer][h or c], each (N, lags + 1).
    """
    hidden_size, layers, _ = sizes(settings)
    read = windows.ids.shape[1] - 1
    bytes_a_row = 30 * 8 * hidden_size * layers * read  # some 30 numbers a unit and character
    rows = max(1, MAX_BYTES // bytes_a_row)
    parts = []
    pieces = zip(torch.split(windows.ids, rows), torch.split(windows.starts, rows), strict=True)
    for ids, starts in pieces:
        unrolled = unroll(settings, tensors, ids[:, :-1], starts=starts, step=step)
        # One sum for all rows: they do not meet, so each has its own gradient.
        loss = nats(tensors, unrolled.hidden[-1], ids[:, -1]).sum()
        by_layer = [states[: -windows.lags - 2 : -1] for states in unrolled.states]
        nodes = [node for states in by_layer for kind in zip(*states, strict=True) for node in kind]
        gradients = torch.autograd.grad(loss, nodes)
        norms = torch.stack([torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients])
        parts.append(
            norms.view(layers, -1, windows.lags + 1, len(ids)).transpose(2, 3).cpu().numpy()
        )
    return [list(layer) for layer in np.concatenate(parts, 2)]


def fitted_rate(mean_norms: np.ndarray) -> float:
    """Fit the factor by which norms shrink from one lag to the next.

    Least squares on their logarithms, over the farther half of the lags, where what is particular
    to the first ones has died out. NaN where a norm is zero. mean_norms (lags + 1,): from lag 0.
    """
    far = mean_norms[len(mean_norms) // 2 :]
    if not (far > 0).all():
        return math.nan
    lags = np.arange(len(far)) - (len(far) - 1) / 2
    return math.exp(float(lags @ np.log(far) / (lags @ lags)))


def half_life(rate: float) -> float:
    """Return after how many characters half is left; infinite for a rate of 1 or more."""
    return math.inf if rate >= 1 else math.log(0.5) / math.log(rate)


def shares(mean_norms: np.ndarray) -> np.ndarray:
    """Return the share of the gradient within each lag, (lags + 1,); NaN where there is none."""
    total = float(mean_norms.sum())
    if total <= 0:
        total = math.nan
    return np.cumsum(mean_norms) / total


def spectral_radius(matrix: torch.Tensor) -> float:
    """Return the largest absolute eigenvalue of a (H, H) matrix; NaN if it is not finite."""
    if not torch.isfinite(matrix).all():
        return math.nan
    return float(torch.linalg.eigvals(matrix.detach().double()).abs().max())


def vanish(
    run: Path | None, lags: int, seed: int, say: Callable[[str], None], device: str = "cpu"
) -> Result:
    """Measure how gradients fade with distance.

    With a run, in its network, on its held-out text. Without one, in small cells on the shipped
    names, fresh and briefly trained. device: of a run's network. Raises CheckpointError,
    CorpusError; SettingsError for a device that is not there.
    """
    if run is not None:
        return _of_run(run, lags, seed, device)
    return _of_cells(lags, seed, say)


def _of_run(run: Path, lags: int, seed: int, device_name: str) -> Result:
    device = choose_device(device_name)
    model_file, ids = read_run(run)
    settings = model_file.settings.model
    tensors = {
        name: torch.from_numpy(value).double().to(device)
        for name, value in model_file.tensors.items()
    }
    if model_file.mode == "lines":
        windows = line_windows(ids, int(model_file.vocabulary.newline or 0), lags, seed)
    else:
        windows = stream_windows(ids, lags, seed)
    windows = windows._replace(ids=windows.ids.to(device), starts=windows.starts.to(device))
    layers = gradient_norms(settings, tensors, windows)
    curves = []
    for k, layer in enumerate(layers):
        name = f"{settings.cell}, layer {k + 1}" if len(layers) > 1 else settings.cell
        curves += _layer_curves(name, "trained", settings.cell, k, layer, tensors)
    title = "Gradient of one character's loss by earlier states: "
    return Result(
        title + f"{one_line(run.name)}, {model_file.mode}",
        _columns(windows.lags),
        tuple(map(_row, curves)),
        (
            _norm_panel("norm of the gradient", curves),
            _share_panel("share of the gradient", curves),
        ),
        about_slowest(curves, windows.lags),
        {"run": str(run), "lags": windows.lags, "positions": len(windows.ids), "seed": seed},
    )


def about_slowest(curves: list[Curve], lags: int) -> str:
    """Say what there is to see in a run."""
    half = (lags + 1) // 2
    reaching = [curve for curve in curves if math.isfinite(curve.rate)]
    if not reaching:
        return f"From {half} characters back on, nothing is left of the gradient."
    slowest = max(reaching, key=lambda curve: curve.rate)
    others = ", and less by all others" if len(curves) > 1 else ""
    return (
        f"From {half} to {lags} characters back, each one leaves {_left(slowest)} of the gradient "
        f"by {slowest.of} of {slowest.cell}{others}; 90 % of it lies within {slowest.reach} "
        "characters."
    )


def _of_cells(lags: int, seed: int, say: Callable[[str], None]) -> Result:
    # 1. Every network, before and after a brief training
    train, held_out, vocabulary_size = names_stream(seed)
    windows = stream_windows(held_out, lags, seed)
    untrained: list[Curve] = []
    trained: list[Curve] = []
    for name in NETWORKS:
        cell = CELLS.get(name, name)
        settings = ModelSettings(
            cell=cell, hidden_size=SIZE, num_layers=1, embedding_size=EMBEDDING
        )
        if name == "lstm, bias 0":
            settings = dataclasses.replace(settings, forget_bias=0.0)
        model = fresh(settings, vocabulary_size, seed)
        step = linear_step if name == "linear rnn" else equations.step
        untrained += _curves(name, "untrained", settings, tensors_of(model), windows, step)
        if name == cell:
            say(f"{name}: {STEPS} updates")
            train_briefly(model, train, STEPS)
            trained += _curves(name, "trained", settings, tensors_of(model), windows, step)

    # 2. What there is to see
    panels = (
        _norm_panel("norm, untrained", untrained),
        _norm_panel(f"norm, after {STEPS} updates", trained),
        _share_panel("share, untrained", untrained),
        _share_panel(f"share, after {STEPS} updates", trained),
    )
    return Result(
        "Gradient of one character's loss by earlier states",
        _columns(windows.lags),
        tuple(map(_row, untrained + trained)),
        panels,
        _about_cells(untrained, trained, windows.lags),
        {
            "text": "names, shuffled, as one stream",
            "hidden size": SIZE,
            "updates": STEPS,
            "lags": windows.lags,
            "positions": len(windows.ids),
            "seed": seed,
        },
    )


def _about_cells(untrained: list[Curve], trained: list[Curve], lags: int) -> str:
    """Say what there is to see in the lab's own cells."""
    by_name = {(curve.cell, curve.weights, curve.of): curve for curve in untrained + trained}
    rnn = by_name["rnn", "untrained", "h"]
    linear = by_name["linear rnn", "untrained", "h"]
    lstm = by_name["lstm", "untrained", "c"]
    without_bias = by_name["lstm, bias 0", "untrained", "c"]
    farthest = max(trained, key=lambda curve: curve.mean[-1])
    trained_rnn = by_name["rnn", "trained", "h"]
    return (
        "Straight lines on a logarithmic axis: untrained, each character back leaves "
        f"{_left(rnn)} of the gradient in the rnn, {_left(lstm)} in the lstm's c with forget bias "
        f"1 and {_left(without_bias)} without; the linear rnn's {linear.rate:.3f} comes from the "
        f"spectral radius of its matrix, {linear.radius:.3f}. After {STEPS} updates, most has come "
        f"{lags} characters far in the {farthest.cell}: {farthest.mean[-1]:.1e} nats, against "
        f"{trained_rnn.mean[-1]:.1e} in the rnn."
    )


def _curves(
    name: str, weights: str, settings: ModelSettings, tensors: Tensors, windows: Windows, step: Step
) -> list[Curve]:
    (layer,) = gradient_norms(settings, tensors, windows, step)
    return _layer_curves(name, weights, settings.cell, 0, layer, tensors)


def _layer_curves(
    name: str, weights: str, cell: str, k: int, norms: list[np.ndarray], tensors: Tensors
) -> list[Curve]:
    """The curve of h and, for the LSTM, that of c. norms: of layer k."""
    radius = None
    if cell == "rnn":
        radius = spectral_radius(tensors[f"recurrent.weight_hh_l{k}"])
    return [
        Curve(name, weights, of, of_state, radius)
        for of, of_state in zip("hc", norms, strict=False)
    ]


def _columns(lags: int) -> tuple[str, ...]:
    at = (f"lag {k}" for k in (1, (lags + 1) // 2, lags))
    return ("cell", "weights", "of", *at, "rate", "half-life", "90 % in", "radius")


def _row(curve: Curve) -> tuple[Cell, ...]:
    mean = curve.mean
    at = (float(mean[1]), float(mean[len(mean) // 2]), float(mean[-1]))
    rates = (curve.rate, half_life(curve.rate))
    return (curve.cell, curve.weights, curve.of, *at, *rates, curve.reach, curve.radius)


def _left(curve: Curve) -> str:
    """A rate in words: `0.500 (half in 1 characters)`."""
    life = half_life(curve.rate)
    fall = f"half in {life:.3g} characters" if math.isfinite(life) else "no fall"
    return f"{curve.rate:.3f} ({fall})"


def _norm_panel(title: str, curves: list[Curve]) -> Panel:
    """Draw means, and the middle half of the positions as a band."""
    series = []
    for curve in curves:
        low, high = np.quantile(curve.norms, [0.25, 0.75], axis=0)
        series.append(_series(curve, curve.mean, low, high))
    label = "norm of the gradient, nats"
    return Panel(title, "lag k, characters", label, tuple(series), log_y=True)


def _share_panel(title: str, curves: list[Curve]) -> Panel:
    series = tuple(_series(curve, shares(curve.mean)) for curve in curves)
    return Panel(title, "lag k, characters", "share of the gradient within k", series)


def _series(
    curve: Curve, y: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> Series:
    name = f"{curve.cell}, {curve.of}" if curve.cell.startswith("lstm") else curve.cell
    bounds = [None if bound is None else tuple(bound.tolist()) for bound in (low, high)]
    return Series(name, tuple(range(len(y))), tuple(y.tolist()), *bounds)

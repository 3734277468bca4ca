"""Which implementation of the cells trains: the compiled kernel, the same in PyTorch ("func"), or torch.nn's.

`--backend own` and `torch` force one; `auto` measures those that could be fastest on a piece of the very training.
"""

from __future__ import annotations

import math
import time

import torch

from charrnn.config import ModelSettings, RuntimeSettings, Settings
from charrnn.errors import SettingsError
from charrnn.kernel.library import describe
from charrnn.layout import GATES, expected_shapes
from charrnn.model import kernel
from charrnn.model.charmodel import CharModel

MARGIN = 1.1  # another than the expected one must be so much faster, so that equal trainings choose alike
LEAST_WORK = 20_000_000  # products in a step; below, all are quick and none can be told from noise
MEASURED_CHARS, MEASURED_WORK = 16, 1_500_000_000  # of a line or lane; products of a piece at most
MEASURED_S = 0.3  # after which no other round is begun
RATED_HIDDEN, RATED_SHAPE = 256, (16, 64)  # what tells how fast this machine trains


def words(name: str, precision: str = "float32") -> str:
    """A backend and its precision for a person."""
    found = {
        "kernel": f"own cells ({describe()})",
        "func": "own cells (PyTorch)",
        "torch": "torch.nn's cells",
    }[name]
    return found if precision == "float32" else f"{found} in {precision}"


def precision_of(runtime: RuntimeSettings, backend: str) -> str:
    """What `auto` means with this backend: bfloat16 in the kernel, whose products it makes twice as fast; float32 elsewhere."""
    if runtime.precision != "auto":
        return runtime.precision
    return "bfloat16" if backend == "kernel" and kernel.has_bfloat16() else "float32"


def candidates(runtime: RuntimeSettings, cell: str, device: torch.device) -> tuple[str, ...]:
    """What may run here, the expected fastest first (benchmarks/training.py). Raises SettingsError: none in bfloat16."""
    if runtime.precision == "bfloat16":
        if device.type == "cpu" and runtime.backend != "torch" and kernel.has_bfloat16():
            return ("kernel",)
        if runtime.backend == "own" or cell == "gru-before":
            raise SettingsError(
                "--precision bfloat16 of the own cells needs the compiled kernel and a processor with AVX512-BF16; use float32"
            )
        return ("torch",)
    own = "kernel" if device.type == "cpu" and kernel.is_usable() else "func"
    if runtime.backend != "auto":
        return (runtime.backend if runtime.backend == "torch" else own,)
    if cell == "gru-before":
        return (own,)
    if device.type != "cpu":
        return ("torch",)  # cuDNN; the own cells would launch some ten operations a character
    if own == "func" and cell == "lstm":
        return ("torch", own)  # oneDNN fuses nn.LSTM on a CPU, and no other cell
    return (own, "torch")


def expected_backend(settings: Settings, device: torch.device) -> str:
    """Without measurement: for scoring, which is short, and for what must be known beforehand."""
    return candidates(settings.runtime, settings.model.cell, device)[0]


def pick(
    settings: Settings,
    vocabulary_size: int,
    shape: tuple[int, int],
    device: torch.device,
    recorded: str | None = None,
) -> tuple[str, str]:
    """The backend for a training with batches of shape (B, T), and why, in words.

    recorded: the one that an earlier part of the training used.
    """
    model = settings.model
    able = candidates(settings.runtime, model.cell, device)
    if settings.runtime.backend != "auto":
        return able[0], "as asked"
    if recorded in able:
        return recorded, "as before"
    if len(able) == 1:
        reduced = " in bfloat16" if settings.runtime.precision == "bfloat16" else ""
        return able[0], f"the only one for {model.cell}{reduced} on {device.type}"
    weights = sum(math.prod(size) for size in expected_shapes(model, vocabulary_size).values())
    if shape[0] * shape[1] * weights < LEAST_WORK:
        return able[0], "too small to measure"
    most = max(1, MEASURED_WORK // weights)  # characters
    piece = (min(shape[0], most), max(1, min(shape[1], MEASURED_CHARS, most // shape[0])))
    taken = _measured(able, settings.runtime, model, vocabulary_size, piece, device)
    expected, fastest = able[0], min(able, key=taken.__getitem__)
    chosen = fastest if taken[fastest] * MARGIN < taken[expected] else expected
    other = next(name for name in able if name != chosen)
    return chosen, f"measured: {taken[other] / taken[chosen]:.1f}x the speed of {words(other)}"


def training_rate(settings: Settings, device: torch.device) -> float:
    """Recurrent weights times characters that a second of training takes here, of one layer of 256 units."""
    cell, name = settings.model.cell, expected_backend(settings, device)
    sized = ModelSettings(cell=cell, hidden_size=RATED_HIDDEN, num_layers=1, embedding_size=64)
    taken = _measured((name,), settings.runtime, sized, 64, RATED_SHAPE, device)[name]
    return GATES[cell] * RATED_HIDDEN**2 * math.prod(RATED_SHAPE) / taken


def _measured(
    names: tuple[str, ...],
    runtime: RuntimeSettings,
    model: ModelSettings,
    vocabulary_size: int,
    shape: tuple[int, int],
    device: torch.device,
) -> dict[str, float]:
    """Least seconds of a forward and backward pass, in turn."""
    with torch.random.fork_rng(devices=[]):
        models = {
            name: CharModel(model, vocabulary_size, name, precision_of(runtime, name)).to(device)
            for name in names
        }
        ids = (torch.arange(math.prod(shape), device=device) % vocabulary_size).reshape(shape)
        taken = dict.fromkeys(names, float("inf"))
        until = time.perf_counter() + MEASURED_S
        for round_number in range(6):
            for name, each in models.items():
                began = time.perf_counter()
                each.nats(ids, ids, each.zero_state(shape[0]))[0].backward()
                if round_number:  # the first pays for set-up
                    taken[name] = min(taken[name], time.perf_counter() - began)
            if round_number and time.perf_counter() > until:
                break
    return taken

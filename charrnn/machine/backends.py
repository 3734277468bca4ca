"""Which implementation of the cells runs: the compiled kernel, own cells in PyTorch, torch.nn's.

Their names are "kernel", "func" and "torch". `--backend own` and `torch` force one. `auto` measures
those that could be fastest, on a piece of the training itself.
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

# So much faster than the expected one must another be: equal trainings should choose alike.
MARGIN = 1.1
LEAST_WORK = 20_000_000  # products in a step; with fewer, all are quick and differ by noise
MEASURED_CHARS = 16  # of a line or lane
MEASURED_WORK = 1_500_000_000  # products of the measured piece at most
MEASURED_S = 0.3  # after which no other round begins
ROUNDS = 6  # of a measurement; the first pays for set-up and does not count
# The network and the batch that tell how fast this machine trains.
RATED_HIDDEN = 256
RATED_EMBEDDING = 64
RATED_VOCABULARY = 64
RATED_SHAPE = (16, 64)  # (B, T)


def words(name: str, precision: str = "float32") -> str:
    """Describe a backend and its precision to a person."""
    cells = {
        "kernel": f"own cells ({describe()})",
        "func": "own cells (PyTorch)",
        "torch": "torch.nn's cells",
    }[name]
    return cells if precision == "float32" else f"{cells} in {precision}"


def precision_of(runtime: RuntimeSettings, backend: str) -> str:
    """Return the precision that `auto` means with this backend.

    It is bfloat16 in the kernel, whose products it makes twice as fast, and float32 elsewhere.
    """
    if runtime.precision != "auto":
        return runtime.precision
    return "bfloat16" if backend == "kernel" and kernel.has_bfloat16() else "float32"


def candidates(runtime: RuntimeSettings, cell: str, device: torch.device) -> tuple[str, ...]:
    """Return what may run here, the expected fastest first (benchmarks/training.py).

    Raises SettingsError where nothing runs in bfloat16.
    """
    if runtime.precision == "bfloat16":
        if device.type == "cpu" and runtime.backend != "torch" and kernel.has_bfloat16():
            return ("kernel",)
        if runtime.backend == "own" or cell == "gru-before":
            raise SettingsError(
                "--precision bfloat16 of the own cells needs the compiled kernel "
                "and a processor with AVX512-BF16; use float32"
            )
        return ("torch",)
    own = "kernel" if device.type == "cpu" and kernel.is_usable() else "func"
    if runtime.backend == "torch":
        return ("torch",)
    if runtime.backend == "own" or cell == "gru-before":
        return (own,)
    if device.type != "cpu":
        return ("torch",)  # cuDNN; the own cells would launch some ten operations a character
    if own == "func" and cell == "lstm":
        return ("torch", own)  # oneDNN fuses nn.LSTM on a CPU, and no other cell
    return (own, "torch")


def expected_backend(settings: Settings, device: torch.device) -> str:
    """Return the backend expected to be fastest, without measuring.

    Scoring is short and uses it; so does whatever must be known before a training.
    """
    return candidates(settings.runtime, settings.model.cell, device)[0]


def pick(
    settings: Settings,
    vocabulary_size: int,
    shape: tuple[int, int],
    device: torch.device,
    recorded: str | None = None,
) -> tuple[str, str]:
    """Return the backend for a training with batches of shape (B, T), and why, in words.

    recorded: the backend that an earlier part of this training used.
    """
    model = settings.model
    able = candidates(settings.runtime, model.cell, device)

    # 1. Nothing to choose.
    if settings.runtime.backend != "auto":
        return able[0], "as asked"
    if recorded in able:
        return recorded, "as before"
    if len(able) == 1:
        reduced = " in bfloat16" if settings.runtime.precision == "bfloat16" else ""
        return able[0], f"the only one for {model.cell}{reduced} on {device.type}"
    weights = sum(math.prod(size) for size in expected_shapes(model, vocabulary_size).values())
    batch, time_steps = shape
    if batch * time_steps * weights < LEAST_WORK:
        return able[0], "too small to measure"

    # 2. A measurement, on a piece of a batch.
    most_chars = max(1, MEASURED_WORK // weights)
    piece_batch = min(batch, most_chars)
    piece_time = max(1, min(time_steps, MEASURED_CHARS, most_chars // batch))
    seconds = _measured(
        able, settings.runtime, model, vocabulary_size, (piece_batch, piece_time), device
    )
    expected = able[0]
    fastest = min(able, key=seconds.__getitem__)
    is_clear = seconds[fastest] * MARGIN < seconds[expected]
    chosen = fastest if is_clear else expected
    other = next(name for name in able if name != chosen)
    ratio = seconds[other] / seconds[chosen]
    return chosen, f"measured: {ratio:.1f}x the speed of {words(other)}"


def training_rate(settings: Settings, device: torch.device) -> float:
    """Return how many recurrent weights times characters one layer of 256 units trains a second."""
    cell = settings.model.cell
    name = expected_backend(settings, device)
    sized = ModelSettings(
        cell=cell, hidden_size=RATED_HIDDEN, num_layers=1, embedding_size=RATED_EMBEDDING
    )
    seconds = _measured((name,), settings.runtime, sized, RATED_VOCABULARY, RATED_SHAPE, device)[
        name
    ]
    return GATES[cell] * RATED_HIDDEN**2 * math.prod(RATED_SHAPE) / seconds


def _measured(
    names: tuple[str, ...],
    runtime: RuntimeSettings,
    model: ModelSettings,
    vocabulary_size: int,
    shape: tuple[int, int],
    device: torch.device,
) -> dict[str, float]:
    """Return the least seconds that each backend took for a forward and backward pass.

    They take turns, so that what else the machine does meets all of them.
    """
    with torch.random.fork_rng(devices=[]):
        networks = {
            name: CharModel(model, vocabulary_size, name, precision_of(runtime, name)).to(device)
            for name in names
        }
        ids = (torch.arange(math.prod(shape), device=device) % vocabulary_size).reshape(shape)
        least = dict.fromkeys(names, float("inf"))
        deadline = time.perf_counter() + MEASURED_S
        for round_number in range(ROUNDS):
            for name, network in networks.items():
                start = time.perf_counter()
                nats, _ = network.nats(ids, ids, network.zero_state(shape[0]))
                nats.backward()
                float(nats.detach())  # a GPU has only been told so far: wait until it has done it
                if round_number:
                    least[name] = min(least[name], time.perf_counter() - start)
            if round_number and time.perf_counter() > deadline:
                break
    return least

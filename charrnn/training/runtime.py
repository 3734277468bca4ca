"""Where training runs: device, precision, threads, backend, and the seeds of one step."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn import __version__
from charrnn.config import RuntimeSettings, Settings
from charrnn.errors import SettingsError
from charrnn.layout import expected_shapes
from charrnn.terminal import one_line


def available_devices() -> list[str]:
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def choose_device(name: str) -> torch.device:
    """auto: cuda if there is one, else cpu; never mps, whose multilayer LSTM gradients were wrong (pytorch#190056).

    Raises SettingsError for a device that is not there, naming those that are.
    """
    found = available_devices()
    if name == "auto":
        return torch.device("cuda:0" if "cuda:0" in found else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in found:
        raise SettingsError(f"--device {one_line(name)!r} is not here; this machine has {', '.join(found)}")
    return torch.device(wanted)


def prepare(runtime: RuntimeSettings) -> torch.device:
    """Set threads and precision of this process and return the device. Raises SettingsError."""
    device = choose_device(runtime.device)
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if runtime.precision != "float32" and device.type != "cuda":
        raise SettingsError(
            f"--precision {runtime.precision} needs a CUDA device, and this run is on {device}; use float32"
        )
    torch.set_float32_matmul_precision("high" if runtime.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = runtime.precision == "tf32"
    return device


def choose_backend(runtime: RuntimeSettings, cell: str, device: torch.device) -> str:
    """auto, as measured (benchmarks/cells.py): torch.nn's LSTM is fused on CPU, its GRU and RNN are not; cuDNN is."""
    if runtime.backend != "auto":
        return runtime.backend
    if cell == "gru-before":
        return "own"
    return "torch" if cell == "lstm" or device.type == "cuda" else "own"


def seed_step(seed: int, step: int) -> None:
    """Seed dropout for one step, so that no generator's state has to be kept: step s draws the same after any resume.

    SplitMix64's finaliser (Steele et al. 2014) spreads (seed, step) over the 32 bits that torch's generator takes.
    """
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    torch.manual_seed((z ^ (z >> 31)) >> 32)


def surroundings(device: torch.device, backend: str, precision: str) -> dict[str, Any]:
    """What the bits of a training depend on besides its settings: a resume that differs here is declared not exact."""
    return {
        "device": device.type
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "mps",
        "backend": backend,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "precision": precision,
        "charrnn": __version__,
    }


def check_memory(settings: Settings, vocabulary_size: int, batch_size: int, length: int, device: torch.device) -> None:
    """Refuse a training that cannot fit, before anything is allocated. Raises SettingsError with a smaller size.

    Weights, gradients and two moments, and per character and layer about 12 numbers a unit of activations.
    """
    model = settings.model
    assert model.hidden_size is not None
    assert model.num_layers is not None
    weights = sum(int(np.prod(shape, dtype=object)) for shape in expected_shapes(model, vocabulary_size).values())
    per_char = 12 * model.hidden_size * model.num_layers + 3 * vocabulary_size
    needed, free = 4 * (4 * weights + batch_size * length * per_char), free_memory_bytes(device)
    if free is not None and needed > free:
        smaller = max(1, int(model.hidden_size * (free / needed) ** 0.5 / 2))
        raise SettingsError(
            f"a network of {weights:,} parameters with batches of {batch_size} x {length} needs about "
            f"{needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; try --hidden-size {smaller}, or a smaller --batch-size"
        )


def free_memory_bytes(device: torch.device) -> int | None:
    """Memory this process could still take on a device, or None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None

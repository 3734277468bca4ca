"""Where training runs: device, precision, threads, and the seeds of one step."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path
from typing import Any

import torch

from charrnn import __version__
from charrnn.config import RuntimeSettings
from charrnn.errors import SettingsError
from charrnn.kernel.library import build
from charrnn.machine.malloc import tune_malloc
from charrnn.model import kernel
from charrnn.model.recurrent import run_torch_as
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
        raise SettingsError(
            f"--device {one_line(name)!r} is not here; this machine has {', '.join(found)}"
        )
    return torch.device(wanted)


def prepare(runtime: RuntimeSettings) -> torch.device:
    """Set threads, precision and malloc of this process and return the device. Raises SettingsError."""
    device = choose_device(runtime.device)
    tune_malloc()
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams, graphs and seeds are of the current device
    is_kernels = device.type == "cpu" and runtime.backend != "torch" and kernel.has_bfloat16()
    lacking = (
        ""
        if runtime.precision == "bfloat16" and is_kernels
        else _lacking(runtime.precision, device)
    )
    if lacking:
        raise SettingsError(f"--precision {runtime.precision} needs {lacking}; use float32")
    torch.set_float32_matmul_precision("high" if runtime.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = runtime.precision == "tf32"
    return device


def _lacking(precision: str, device: torch.device) -> str:
    """What a precision would need and this device has not, in words. Empty: nothing."""
    if precision in ("auto", "float32"):
        return ""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            return f"a GPU of compute capability 8.0, and {torch.cuda.get_device_name(device)} has {major}.{minor}"
    elif precision == "tf32":
        return f"a CUDA device, and this run is on {device}"
    elif device.type != "cpu" or not _cpu_has_bfloat16():
        return f"a CUDA device or a processor with AVX512-BF16 or AMX, and this run's {device.type} has none of them"
    if precision == "bfloat16":
        return _bfloat16_fault(device)
    return ""


def _cpu_has_bfloat16() -> bool:
    """As Linux tells; elsewhere as torch does."""
    with contextlib.suppress(OSError):
        return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", Path("/proc/cpuinfo").read_text()))
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return ask is not None and bool(ask())


def _bfloat16_fault(device: torch.device) -> str:
    """Why an LSTM does not run in bfloat16 here, by trying: cuDNN before 9.13, or a oneDNN held to less, may refuse."""
    ones = torch.ones(32, 8, device=device)
    h, bias = ones[:1], ones[:, 0]
    try:
        run_torch_as(
            torch.bfloat16,
            "lstm",
            h[None].bfloat16(),
            (h, h),
            (ones, ones, bias, bias),
            train=False,
        )
    except RuntimeError as error:
        return f"a torch that runs LSTMs in it on this {device.type} ({one_line(str(error).splitlines()[0])})"
    return ""


def seed_step(seed: int, step: int, piece: int = 0) -> None:
    """Seed dropout for one step, so that no generator's state has to be kept: step s draws the same after any resume.

    piece: of a window that is computed in several. SplitMix64's finaliser (Steele et al. 2014) spreads
    (seed, step, piece) over the 32 bits that torch's generator takes.
    """
    mask = (1 << 64) - 1
    z = (
        seed * 0x9E3779B97F4A7C15
        + step * 0xD1B54A32D192ED03
        + piece * 0x8CB92BA72F3D8DD7
        + 0x9E3779B97F4A7C15
    ) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    drawn = (z ^ (z >> 31)) >> 32
    # As torch.manual_seed, which formats the stack for each kind of device that is not there: 0.2 ms.
    torch.default_generator.manual_seed(drawn)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(drawn)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(drawn)


def surroundings(device: torch.device, backend: str, precision: str) -> dict[str, Any]:
    """What the bits of a training depend on besides its settings: a resume that differs here is declared not exact."""
    return {
        "device": device.type
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "mps",
        "backend": backend,
        "kernel": build() if backend == "kernel" else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "precision": precision,
        "charrnn": __version__,
    }

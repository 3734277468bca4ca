"""Where a network runs: device, precision, threads, and the seeds of one step."""

from __future__ import annotations

import contextlib
import platform
import re
import threading
from collections.abc import Iterator
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
    """Return the names of this machine's devices, "cpu" first."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def choose_device(name: str) -> torch.device:
    """Return the device of this name. auto: the first GPU of CUDA if there is one, else the CPU.

    auto is never mps, whose multilayer LSTM gradients were wrong (pytorch#190056).
    Raises SettingsError for a device that is not there, naming those that are.
    """
    names = available_devices()
    if name == "auto":
        wanted = "cuda:0" if "cuda:0" in names else "cpu"
    elif name == "cuda":
        wanted = "cuda:0"
    else:
        wanted = name
    if wanted not in names:
        raise SettingsError(
            f"--device {one_line(name)!r} is not here; this machine has {', '.join(names)}"
        )
    return torch.device(wanted)


def prepare(runtime: RuntimeSettings) -> torch.device:
    """Set this process's threads, precision and malloc; return the device. Raises SettingsError."""
    device = choose_device(runtime.device)
    tune_malloc()
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams, graphs and seeds are of the current device
    runs_in_kernel = device.type == "cpu" and runtime.backend != "torch" and kernel.has_bfloat16()
    if runtime.precision != "bfloat16" or not runs_in_kernel:
        lacking = _lacking(runtime.precision, device)
        if lacking:
            raise SettingsError(f"--precision {runtime.precision} needs {lacking}; use float32")
    allows_tf32 = runtime.precision == "tf32"
    matmul_precision = "high" if allows_tf32 else "highest"
    torch.set_float32_matmul_precision(matmul_precision)
    torch.backends.cudnn.allow_tf32 = allows_tf32
    return device


class _Flags:
    """What `prepare` sets for the whole process, as it was before the first of its users."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.threads = 1
        self.matmul = "highest"
        self.tf32 = True


_flags = _Flags()


@contextlib.contextmanager
def as_found() -> Iterator[None]:
    """Leave torch's threads and flags as they were before the block.

    Where several threads are in such blocks at once, the last one out restores them.
    """
    with _flags.lock:
        _flags.users += 1
        if _flags.users == 1:
            _flags.threads = torch.get_num_threads()
            _flags.matmul = torch.get_float32_matmul_precision()
            _flags.tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        with _flags.lock:
            _flags.users -= 1
            if not _flags.users:
                torch.set_num_threads(_flags.threads)
                torch.set_float32_matmul_precision(_flags.matmul)
                torch.backends.cudnn.allow_tf32 = _flags.tf32


def _lacking(precision: str, device: torch.device) -> str:
    """Say what torch needs for a precision and this device lacks. Empty: nothing."""
    if precision in ("auto", "float32"):
        return ""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            name = torch.cuda.get_device_name(device)
            return f"a GPU of compute capability 8.0, and {name} has {major}.{minor}"
        return _bfloat16_fault(device) if precision == "bfloat16" else ""
    if precision == "tf32":
        return f"a CUDA device, and this run is on {device}"
    if device.type == "cpu" and _cpu_has_bfloat16():
        return _bfloat16_fault(device)
    return (
        "a CUDA device or a processor with AVX512-BF16 or AMX, "
        f"and this run's {device.type} has none of them"
    )


def _cpu_has_bfloat16() -> bool:
    """Say whether the processor multiplies bfloat16, as Linux tells; elsewhere as torch does."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", flags))
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return is_supported is not None and bool(is_supported())


def _bfloat16_fault(device: torch.device) -> str:
    """Try an LSTM in bfloat16; say why it does not run. Empty: it does.

    cuDNN before 9.13, or a oneDNN that is told to use less than the processor has, may refuse.
    """
    ones = torch.ones(32, 8, device=device)
    h = ones[:1]  # (1, 8): one row of eight units, which have 32 gate rows
    bias = ones[:, 0]
    inputs = h[None].bfloat16()
    weights = (ones, ones, bias, bias)
    try:
        run_torch_as(torch.bfloat16, "lstm", inputs, (h, h), weights, train=False)
    except RuntimeError as error:
        reason = one_line(str(error).splitlines()[0])
        return f"a torch that runs LSTMs in it on this {device.type} ({reason})"
    return ""


def step_seed(seed: int, step: int, piece: int = 0, shard: int = 0) -> int:
    """Return the seed of a step's dropout: it draws the same after any resume.

    So no generator is saved. piece: the number of a piece, where a window is computed in several.
    shard: the number of a part of the batch, where its gradients are computed one by one.
    SplitMix64's finaliser (Steele et al. 2014) spreads the four over the 32 bits that torch's
    generator takes.
    """
    mask = (1 << 64) - 1
    z = (
        seed * 0x9E3779B97F4A7C15
        + step * 0xD1B54A32D192ED03
        + piece * 0x8CB92BA72F3D8DD7
        + shard * 0xBEA225F9EB34556D
        + 0x9E3779B97F4A7C15
    ) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 32


def surroundings(device: torch.device, backend: str, precision: str) -> dict[str, Any]:
    """Return what the bits of a training depend on besides its settings.

    A resume where one of these differs is declared not exact.
    """
    device_name = device.type
    if device.type == "cuda":
        device_name = torch.cuda.get_device_name(device)
    kernel_build = build() if backend == "kernel" else None
    return {
        "device": device_name,
        "backend": backend,
        "kernel": kernel_build,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "precision": precision,
        "charrnn": __version__,
    }
